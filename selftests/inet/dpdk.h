/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_DPDK_H
#define DEMI_SELFTESTS_INET_DPDK_H

/* Two processes, joined by DPDK ports of software that share memory. No privileges. */

#include "../lib/check.h"

#include <dlfcn.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifdef __SANITIZE_ADDRESS__
/* Its drivers forget a few bytes for each port. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:librte_";
}
#endif

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
#ifdef __SANITIZE_ADDRESS__
	/* its dlopen() does not know who asks, hence where that one's objects lie: from now on the name is enough */
	CHECK(dlopen(path, RTLD_NOW | RTLD_LOCAL));
#endif
}

/* How the two are joined. @id: the same for both, another one in every run. */
struct dpdk_wire {
	const char *name;
	const char *socket; /* a format: the path below /tmp that takes @id; NULL: none is made */
	const char *server, *client; /* formats, too */
};

#define DPDK_EAL "--no-huge -m 64 --no-shconf --no-pci --no-telemetry "

static const struct dpdk_wire dpdk_memif = {
	.name = "memif",
	.server = DPDK_EAL "--vdev=net_memif0,role=server,socket=demi-%d,mac=02:00:00:00:00:01",
	.client = DPDK_EAL "--vdev=net_memif0,role=client,socket=demi-%d,mac=02:00:00:00:00:02",
};

/* Interrupts, checksums in software; the client's port reaches EAL's memory only. */
static const struct dpdk_wire dpdk_vhost = {
	.name = "vhost",
	.socket = "/tmp/demi-vhost-%d",
	.server = DPDK_EAL "--vdev=net_vhost0,iface=/tmp/demi-vhost-%d",
	.client = DPDK_EAL "--vdev=net_virtio_user0,path=/tmp/demi-vhost-%d,queue_size=1024,mac=02:00:00:00:00:02",
};

static inline void dpdk_wire_args(const char *fmt, pid_t id)
{
	char args[512];

	CHECK(snprintf(args, sizeof(args), fmt, (int)id) < (int)sizeof(args));
	OK(setenv("DEMI_LIBOS", "dpdk", 1));
	OK(setenv("DEMI_DPDK_ARGS", args, 1));
}

/* Run @fn as the server in a process of its own, in which it says by a byte that clients may come. */
static inline pid_t dpdk_server(const struct dpdk_wire *w, void (*fn)(int ready_fd))
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
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		dpdk_wire_args(w->server, id);
		fn(fds[1]);
		exit(0);
	}
	close(fds[1]);
	CHECK_EQ(read(fds[0], &c, 1), 1);
	close(fds[0]);
	dpdk_wire_args(w->client, id);
	return pid;
}

static inline void dpdk_ready(int ready_fd)
{
	CHECK_EQ(write(ready_fd, "r", 1), 1);
	close(ready_fd);
}

static inline void dpdk_server_ended(const struct dpdk_wire *w, pid_t pid)
{
	char path[64];
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	if (!w->socket)
		return;
	snprintf(path, sizeof(path), w->socket, (int)getpid());
	unlink(path);
}

#endif /* DEMI_SELFTESTS_INET_DPDK_H */
