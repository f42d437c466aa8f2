/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_DPDK_H
#define DEMI_SELFTESTS_INET_DPDK_H

/* Two processes, joined by DPDK's memif: shared memory and a socket in the abstract name space. No privileges. */

#include "../lib/check.h"

#include <stdarg.h>
#include <limits.h>
#include <sys/wait.h>

/* Where DPDK was not there to build against, there is nothing to be tested; else it has to work. */
static inline void dpdk_or_skip(void)
{
	char path[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

	CHECK(n > 0);
	for (int up = 0; up < 3; up++) /* BUILD/selftests/inet/NAME */
		*strrchr(path, '/') = '\0';
	strcat(path, "/libdemi-dpdk.so");
	if (access(path, R_OK)) {
		printf("no libdemi-dpdk.so: libdpdk-dev is not installed\n");
		exit(77);
	}
}

static inline void dpdk_args(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void dpdk_args(const char *fmt, ...)
{
	char args[512];
	va_list ap;

	va_start(ap, fmt);
	CHECK(vsnprintf(args, sizeof(args), fmt, ap) < (int)sizeof(args));
	va_end(ap);
	OK(setenv("DEMI_LIBOS", "dpdk", 1));
	OK(setenv("DEMI_DPDK_ARGS", args, 1));
}

/* The server's end or the client's. @id: the same for both, another one in every run. */
static inline void dpdk_memif(bool server, pid_t id)
{
	dpdk_args("--no-huge -m 64 --no-shconf --no-pci --no-telemetry "
		  "--vdev=net_memif0,role=%s,socket=demi-%d,mac=02:00:00:00:00:0%d",
		  server ? "server" : "client", (int)id, server ? 1 : 2);
}

/* Run @fn as the server in a process of its own, in which it says by a byte that clients may come. */
static inline pid_t dpdk_server(void (*fn)(pid_t id, int ready_fd))
{
	pid_t id = getpid(), pid;
	int fds[2];
	char c;

	OK(pipe(fds));
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(60);
		close(fds[0]);
		dpdk_memif(true, id);
		fn(id, fds[1]);
		exit(0);
	}
	close(fds[1]);
	CHECK_EQ(read(fds[0], &c, 1), 1);
	close(fds[0]);
	dpdk_memif(false, id);
	return pid;
}

static inline void dpdk_ready(int ready_fd)
{
	CHECK_EQ(write(ready_fd, "r", 1), 1);
	close(ready_fd);
}

static inline void dpdk_server_ended(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

#endif /* DEMI_SELFTESTS_INET_DPDK_H */
