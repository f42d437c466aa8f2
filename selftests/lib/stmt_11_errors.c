/* SPDX-License-Identifier: MIT */
/* engines: both */
/*
 * Design, statement 11: a call that cannot start returns its errno and changes nothing; a later failure is
 * a result with DEMI_OPC_FAILED; a success has qr_ret 0 and a zeroed value; nothing is printed unless
 * DEMI_LOG asks for it.
 */
#include "lib/check.h"

#include <fcntl.h>
#include <sys/wait.h>

static void test_call_errors(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	demi_sgarray_t sga = sga_of("x", 1), bad;
	demi_qtoken_t qt = 77;
	int q = new_queue(), n = 77;
	uint64_t v = 77;

	for (int qd = -2; qd < 100; qd += qd == 1 ? 90 : 1) {
		if (qd == q)
			continue;
		CHECK_EQ(demi_push(&qt, qd, &sga), EBADF);
		CHECK_EQ(demi_pop(&qt, qd), EBADF);
		CHECK_EQ(demi_pop_n(&qt, qd, 1), EBADF);
		CHECK_EQ(demi_accept(&qt, qd), EBADF);
		CHECK_EQ(demi_close(qd), EBADF);
		CHECK_EQ(demi_shutdown(qd, SHUT_WR), EBADF);
		CHECK_EQ(demi_bind(qd, (struct sockaddr *)&addr, sizeof(addr)), EBADF);
		CHECK_EQ(demi_listen(qd, 1), EBADF);
		CHECK_EQ(demi_lseek(NULL, qd, 0, SEEK_SET), EBADF);
		CHECK_EQ(demi_truncate(qd, 0), EBADF);
		CHECK_EQ(demi_queue_export(&n, qd), EBADF);
	}
	CHECK_EQ(demi_push(NULL, q, &sga), EINVAL);
	CHECK_EQ(demi_push(&qt, q, NULL), EINVAL);
	bad = sga;
	for (uint32_t segs = 0; segs < 8; segs++) {
		bad.sga_numsegs = segs == 1 ? UINT32_MAX : segs > 1 ? segs + DEMI_SGARRAY_MAXSIZE - 1 : 0;
		CHECK_EQ(demi_push(&qt, q, &bad), EINVAL);
	}
	bad = sga;
	bad.sga_segs[0].sgaseg_buf = NULL;
	CHECK_EQ(demi_push(&qt, q, &bad), EINVAL);
	bad = sga;
	bad.sga_numsegs = 2;
	bad.sga_segs[1].sgaseg_len = 5;
	CHECK_EQ(demi_push(&qt, q, &bad), EINVAL);
	CHECK_EQ(demi_pop(NULL, q), EINVAL);
	CHECK_EQ(demi_pop_n(&qt, q, 0), EINVAL);
	CHECK_EQ(demi_shutdown(q, 3), EINVAL);
	CHECK_EQ(demi_shutdown(q, -1), EINVAL);
	CHECK_EQ(demi_listen(q, 0), EINVAL);
	CHECK_EQ(demi_truncate(q, -1), EINVAL);
	CHECK_EQ(demi_queue(NULL), EINVAL);
	CHECK_EQ(demi_socket(NULL, AF_INET, SOCK_STREAM, 0), EINVAL);
	CHECK_EQ(demi_counter(NULL, "polls"), EINVAL);
	CHECK_EQ(demi_counter(&v, NULL), EINVAL);
	CHECK_EQ(demi_counter(&v, "no such counter"), ENOENT);
	CHECK_EQ(demi_socket(&n, 9999, SOCK_STREAM, 0), EAFNOSUPPORT);
	CHECK_EQ(demi_open(&n, "/no/such/folder/file", O_RDONLY, 0), ENOENT);
	CHECK(qt == 77 && n == 77 && v == 77);
	/* the refused calls have left no operation behind */
	demi_qresult_t qr;

	CHECK_EQ(demi_wait_next_n(&qr, 1, &n, NULL), ENOENT);
	OK(demi_close(q));
	CHECK_EQ(demi_init(&(struct demi_args){ 0 }), EEXIST);
}

static void test_result_errors(void)
{
	struct sockaddr_in addr;
	demi_qresult_t qr, none;
	demi_qtoken_t qt;
	int listener = tcp_listen(&addr), qd, file;

	/* nobody listens there any more */
	OK(demi_close(listener));
	OK(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&addr, sizeof(addr)));
	qr = wait_result(qt);
	check_failed(&qr, ECONNREFUSED);
	CHECK_EQ(qr.qr_qd, qd);
	memset(&none, 0, sizeof(none));
	CHECK(!memcmp(&qr.qr_value, &none.qr_value, sizeof(none.qr_value)));
	OK(demi_close(qd));

	/* a device that takes nothing */
	if (!demi_open(&file, "/dev/full", O_WRONLY, 0)) {
		qt = push_start(file, "x", 1);
		qr = wait_result(qt);
		check_failed(&qr, ENOSPC);
		OK(demi_close(file));
	}
}

/* All of the above, and what goes on underneath, with standard error in a pipe; how much is written to it. */
static size_t printed(const char *level)
{
	static char buf[1 << 16];
	size_t got = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	OK(pipe(fds));
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (level)
			setenv("DEMI_LOG", level, 1);
		else
			unsetenv("DEMI_LOG");
		/* something to warn of */
		setenv("DEMI_SPIN_US", "nonsense", 1);
		CHECK_EQ(demi_init(NULL), EINVAL);
		unsetenv("DEMI_SPIN_US");
		init_sockets();
		test_call_errors();
		test_result_errors();
		demi_free(buf); /* not the heap's */
		exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], buf, sizeof(buf))) > 0)
		got += (size_t)n;
	close(fds[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	CHECK_EQ(status, 0);
	if (got)
		CHECK(!strncmp(buf, "demi[", 5));
	return got;
}

int main(void)
{
	alarm(60);
	CHECK_EQ(printed(NULL), 0);
	CHECK_EQ(printed("off"), 0);
	CHECK(printed("warn") > 0);
	CHECK(printed("debug") > 0);
	return 0;
}
