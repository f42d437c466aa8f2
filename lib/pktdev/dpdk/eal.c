/* SPDX-License-Identifier: MIT */
/* EAL: its arguments, its messages, and the thread that happens to start it. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#define ARGS_MAX 64
#define LCORES_MAX 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int state; /* 1: runs; negative errno: it has failed, and cannot be tried again */

/* EAL's messages become the library's. */
static ssize_t log_write(void *cookie, const char *buf, size_t len)
{
	int level = rte_log_cur_msg_loglevel();
	size_t n = len;

	while (n && buf[n - 1] == '\n')
		n--;
	if (level <= (int)RTE_LOG_ERR)
		demi_dpdk_log(DEMI_LOG_WARN, "%.*s", (int)n, buf);
	else if (level <= (int)RTE_LOG_NOTICE)
		demi_dpdk_log(DEMI_LOG_INFO, "%.*s", (int)n, buf);
	else
		demi_dpdk_log(DEMI_LOG_DEBUG, "%.*s", (int)n, buf);
	return (ssize_t)len;
}

static void log_open(void)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_write });

	if (!f)
		return;
	setvbuf(f, NULL, _IOLBF, 0);
	rte_openlog_stream(f);
}

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* Did the user say on which processors EAL is to run threads? */
static bool chooses_cores(const char *arg)
{
	return (begins(arg, "-l") && !begins(arg, "--")) || begins(arg, "-c") || begins(arg, "-s") ||
	       begins(arg, "--lcores") || begins(arg, "--main-lcore");
}

/* One lcore, which is this thread, wherever it is allowed to run: EAL makes no threads and pins none. */
static void one_lcore(char *to, size_t room)
{
	cpu_set_t set;
	size_t n;
	int cpu;

	n = (size_t)snprintf(to, room, "--lcores=0@(");
	if (sched_getaffinity(0, sizeof(set), &set))
		CPU_ZERO(&set);
	for (cpu = 0; cpu < CPU_SETSIZE && n < room; cpu++)
		if (CPU_ISSET(cpu, &set))
			n += (size_t)snprintf(to + n, room - n, "%s%d", to[n - 1] == '(' ? "" : ",", cpu);
	if (n < room)
		n += (size_t)snprintf(to + n, room - n, ")");
	if (n >= room || !CPU_COUNT(&set))
		snprintf(to, room, "--lcores=0");
}

/* argv points into memory that is kept: nobody says what EAL remembers of it. */
static int start(const char *args)
{
	static char *argv[ARGS_MAX + 3], lcores[LCORES_MAX];
	char *words = strdup(args), *word, *rest = NULL;
	bool cores = false;
	int argc = 0;

	if (!words)
		return -ENOMEM;
	argv[argc++] = (char *)"demi";
	for (word = strtok_r(words, "\n", &rest); word; word = strtok_r(NULL, "\n", &rest)) {
		if (argc > ARGS_MAX) {
			demi_dpdk_log(DEMI_LOG_WARN, "more than %d arguments of EAL", ARGS_MAX);
			free(words);
			return -EINVAL;
		}
		cores |= chooses_cores(word);
		argv[argc++] = word;
	}
	if (!cores) {
		one_lcore(lcores, sizeof(lcores));
		argv[argc++] = lcores;
	}
	log_open();
	if (rte_eal_init(argc, argv) < 0) {
		demi_dpdk_log(DEMI_LOG_WARN, "EAL does not start: %s", rte_strerror(rte_errno));
		return rte_errno == EACCES || rte_errno == EPERM ? -EPERM : rte_errno == ENOMEM ? -ENOMEM : -ENODEV;
	}
	return 1;
}

int demi_dpdk_eal_start(const char *args)
{
	cpu_set_t before;
	bool known = !pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
	int ret;

	pthread_mutex_lock(&lock);
	if (!state) {
		state = start(args);
		if (known) /* where the thread runs is the program's business */
			pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	}
	ret = state;
	pthread_mutex_unlock(&lock);
	return ret < 0 ? ret : 0;
}
