/* SPDX-License-Identifier: MIT */
/* io_uring is refused, as in containers: the epoll engine takes over, with one warning for the process. */
#include "sock_test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void refuse_io_uring(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned int)err & SECCOMP_RET_DATA)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static void echo(void)
{
	int a, b;

	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	push(a, "ping", 4);
	pop_is(b, "ping", 4);
	OK(demi_close(a));
	OK(demi_close(b));
}

static void *second_context(void *arg)
{
	OK(demi_init(NULL));
	echo();
	return NULL;
}

/* Both contexts of a process work; what was written to standard error. */
static void child(int err, const char *engine, int out)
{
	pthread_t t;

	refuse_io_uring(err);
	CHECK(dup2(out, 2) == 2);
	if (engine)
		setenv("DEMI_ENGINE", engine, 1);
	else
		unsetenv("DEMI_ENGINE");
	setenv("DEMI_LOG", "warn", 1);
	alarm(60);
	err = demi_init(NULL);
	if (engine) {
		CHECK(err != 0);
		_exit(3);
	}
	CHECK(!err);
	echo();
	CHECK(!pthread_create(&t, NULL, second_context, NULL) && !pthread_join(t, NULL));
	exit(0);
}

static int run(int err, const char *engine, char *log, size_t size)
{
	size_t len = 0;
	int p[2];
	ssize_t n;
	pid_t pid;

	CHECK(!pipe(p));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(p[0]);
		child(err, engine, p[1]);
	}
	close(p[1]);
	while (len + 1 < size && (n = read(p[0], log + len, size - 1 - len)) > 0)
		len += (size_t)n;
	log[len] = 0;
	close(p[0]);
	return test_wait(pid);
}

int main(void)
{
	static const int errs[] = { EPERM, ENOSYS, ENOMEM };
	char log[4096], *warning;

	alarm(100);
	for (int i = 0; i < 3; i++) {
		CHECK(run(errs[i], NULL, log, sizeof(log)) == 0);
		warning = strstr(log, "epoll");
		CHECK(warning); /* one warning … */
		CHECK(!strstr(warning + 1, "epoll")); /* … and not one for each context */
	}
	/* who insists is told */
	CHECK(run(EPERM, "uring", log, sizeof(log)) == 3);
	return 0;
}
