/* SPDX-License-Identifier: MIT */
#ifndef COMPAT_PAIR_H
#define COMPAT_PAIR_H

/*
 * A server and a client in two processes, each with a library of its own. The client learns from the server
 * through a pipe(2) where to connect. Included first: strict C99 hides fork(2) otherwise.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Fails the program: unlike assert() also when NDEBUG is set, and with what the value was. */
#define MUST(x)                                                                                                        \
	do {                                                                                                           \
		int must_ret_ = (x);                                                                                   \
		if (must_ret_ != 0) {                                                                                  \
			printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #x, strerror(must_ret_));                        \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)
#define HOLDS(x)                                                                                                       \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                         \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static char pair_yaml[256];

/* The environment that such programs are started with. */
static inline void pair_environment(const char *libos)
{
	static const char text[] =
		"demikernel:\n  name: compat\n"
		"tcp_socket_options:\n  keepalive:\n    enabled: false\n    time_millis: 0\n"
		"    interval: 0\n  linger:\n    enabled: false\n    time_seconds: 0\n  nodelay: true\n"
		"raw_socket:\n  linux_interface_name: \"eth0\"\ndpdk:\n  eal_init: [\"\", \"-c\"]\n";
	const char *tmp = getenv("TMPDIR");
	FILE *f;

	snprintf(pair_yaml, sizeof(pair_yaml), "%s/compat-%d.yaml", tmp ? tmp : "/tmp", (int)getpid());
	f = fopen(pair_yaml, "w");
	HOLDS(f && fputs(text, f) >= 0 && fclose(f) == 0);
	HOLDS(setenv("CONFIG_PATH", pair_yaml, 1) == 0 && setenv("LIBOS", libos, 1) == 0);
}

static inline void pair_init(int argc, char *const argv[])
{
	struct demi_args args;

	memset(&args, 0, sizeof(args));
	args.argc = argc;
	args.argv = argv;
	MUST(demi_init(&args));
}

/* Run both to their ends; the exit status of the program. */
static inline int pair_run(void (*server)(int tell), void (*client)(int hear))
{
	int fds[2], status = 0;
	pid_t pid;

	fflush(stdout);
	HOLDS(pipe(fds) == 0);
	pid = fork();
	HOLDS(pid >= 0);
	alarm(100);
	if (pid == 0) {
		close(fds[1]);
		client(fds[0]);
		exit(0);
	}
	close(fds[0]);
	server(fds[1]);
	HOLDS(waitpid(pid, &status, 0) == pid);
	unlink(pair_yaml);
	return status != 0;
}

static inline void pair_tell(int fd, const void *what, size_t len)
{
	HOLDS(write(fd, what, len) == (ssize_t)len);
}

static inline void pair_hear(int fd, void *what, size_t len)
{
	HOLDS(read(fd, what, len) == (ssize_t)len);
}

/* An address that nobody else uses: the server asks for port 0, the client is told what it got. */
static inline int pair_bind(int sockqd, struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);

	memset(addr, 0, sizeof(*addr));
	addr->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	MUST(demi_bind(sockqd, (const struct sockaddr *)addr, sizeof(*addr)));
	return demi_getsockname(sockqd, (struct sockaddr *)addr, &len);
}

/* Push @sga and wait until the queue has taken it. */
static inline void pair_push(int qd, const demi_sgarray_t *sga)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;

	memset(&qr, 0, sizeof(qr));
	MUST(demi_push(&qt, qd, sga));
	MUST(demi_wait(&qr, qt, NULL));
	HOLDS(qr.qr_opcode == DEMI_OPC_PUSH && qr.qr_qd == qd && qr.qr_qt == qt && qr.qr_ret == 0);
}

/* Pop what comes; the number of bytes. The caller frees @qr's sga. */
static inline size_t pair_pop(int qd, demi_qresult_t *qr)
{
	demi_qtoken_t qt;

	MUST(demi_pop(&qt, qd));
	MUST(demi_wait(qr, qt, NULL));
	HOLDS(qr->qr_opcode == DEMI_OPC_POP && qr->qr_qd == qd && qr->qr_qt == qt);
	HOLDS(qr->qr_value.sga.sga_numsegs == 1);
	return qr->qr_value.sga.sga_segs[0].sgaseg_len;
}

#endif /* COMPAT_PAIR_H */
