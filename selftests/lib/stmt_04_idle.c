/* SPDX-License-Identifier: MIT */
/* alone */
/*
 * Design, statement 4: waiting need not burn a core. The CPU time of a wait is bounded far above what it takes
 * and far below what a spin would.
 */
#include "lib/check.h"

#include <sched.h>
#include <sys/wait.h>

#define WAIT_MS 400

/* CPU time of this thread for one wait of WAIT_MS that ends without a result. */
static uint64_t idle_ns(demi_qtoken_t qt)
{
	struct timespec timeout = { 0, WAIT_MS * 1000000 };
	uint64_t start = check_ns(CLOCK_THREAD_CPUTIME_ID);
	demi_qresult_t qr;

	CHECK_EQ(demi_wait(&qr, qt, &timeout), ETIMEDOUT);
	return check_ns(CLOCK_THREAD_CPUTIME_ID) - start;
}

static void in_child(const char *name, void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		fn();
		exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		printf("%s failed\n", name);
	CHECK_EQ(status, 0);
}

static void no_spin(void)
{
	setenv("DEMI_SPIN_US", "0", 1);
	init_memq();
	CHECK(idle_ns(pop_start(new_queue())) < WAIT_MS * 1000000 / 4);
	CHECK_EQ(counter("sleeps"), 1);
	CHECK_EQ(counter("spins"), 0);
}

static void short_spin(void)
{
	demi_qtoken_t qt;

	setenv("DEMI_SPIN_US", "1000", 1);
	init_memq();
	qt = pop_start(new_queue());
	CHECK(idle_ns(qt) < WAIT_MS * 1000000 / 4);
	CHECK_EQ(counter("sleeps"), 1);
}

/* Results that the program has not asked for yet do not keep a wait for another one awake. */
static void other_results(void)
{
	demi_qresult_t qr;
	demi_qtoken_t other, qt;
	int q, p;

	setenv("DEMI_SPIN_US", "0", 1);
	init_memq();
	q = new_queue();
	p = new_queue();
	other = push_start(p, "x", 1);
	qt = pop_start(q);
	CHECK(idle_ns(qt) < WAIT_MS * 1000000 / 4);
	CHECK_EQ(counter("sleeps"), 1);
	OK(demi_wait(&qr, other, &check_now));
}

/* A spin that is longer than the test: on one CPU there is none. */
static void one_cpu(void)
{
	cpu_set_t set, all;
	int cpu = 0;

	OK(sched_getaffinity(0, sizeof(all), &all));
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	OK(sched_setaffinity(0, sizeof(set), &set));
	setenv("DEMI_SPIN_US", "1000000", 1);
	init_memq();
	CHECK(idle_ns(pop_start(new_queue())) < WAIT_MS * 1000000 / 4);
	CHECK_EQ(counter("sleeps"), 1);
}

int main(void)
{
	alarm(60);
	in_child("DEMI_SPIN_US=0", no_spin);
	in_child("DEMI_SPIN_US=1000", short_spin);
	in_child("other results", other_results);
	in_child("one CPU", one_cpu);
	return 0;
}
