/* SPDX-License-Identifier: MIT */
/* engines: both valgrind */
/* Files as queues: appends in order, a cursor for reading, no holes after a failure. */
#include "sock_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char path[64];

static off_t size_of(const char *p)
{
	struct stat st;

	CHECK(!stat(p, &st));
	return st.st_size;
}

static void check_content(off_t off, const void *want, size_t len)
{
	char *buf = malloc(len);
	int fd = open(path, O_RDONLY);

	CHECK(buf && fd >= 0);
	CHECK(pread(fd, buf, len, off) == (ssize_t)len && !memcmp(buf, want, len));
	close(fd);
	free(buf);
}

static void test_basic(void)
{
	demi_sgarray_t sga;
	demi_qtoken_t qt;
	off_t off = -1;
	int qd;

	OK(demi_creat(&qd, path, 0600));
	CHECK((size_of(path)) == 0);
	push(qd, "hello ", 6);
	push(qd, "world", 5);
	check_content(0, "hello world", 11);
	/* own cursor, from the beginning */
	OK(demi_pop_n(&qt, qd, 4));
	sga = wait_ok(qt, DEMI_OPC_POP).qr_value.sga;
	CHECK(sga.sga_segs[0].sgaseg_len == 4 && !memcmp(sga.sga_segs[0].sgaseg_buf, "hell", 4));
	OK(demi_sgafree(&sga));
	pop_is(qd, "o world", 7);
	pop_eof(qd);
	push(qd, "!", 1);
	pop_is(qd, "!", 1);
	OK(demi_lseek(&off, qd, 6, SEEK_SET));
	CHECK(off == 6);
	pop_is(qd, "world!", 6);
	OK(demi_lseek(&off, qd, -1, SEEK_END));
	CHECK(off == 11);
	pop_is(qd, "!", 1);
	OK(demi_lseek(&off, qd, -2, SEEK_CUR));
	CHECK(off == 10);
	CHECK_ERR(demi_lseek(&off, qd, -20, SEEK_CUR), EINVAL);
	CHECK_ERR(demi_lseek(&off, qd, 0, 77), EINVAL);
	/* the cursor does not move where pushes go */
	push(qd, "?", 1);
	check_content(0, "hello world!?", 13);
	OK(demi_truncate(qd, 5));
	CHECK(size_of(path) == 5);
	push(qd, "X", 1);
	check_content(0, "helloX", 6);
	OK(demi_close(qd));
	/* opened again: appends behind what is there */
	OK(demi_open(&qd, path, O_RDWR, 0));
	push(qd, "Y", 1);
	pop_is(qd, "helloXY", 7);
	OK(demi_close(qd));
}

/* Many pushes of all kinds, outstanding together, lie one behind the other. */
static void test_order(int flags)
{
	enum { N = 400 };
	static demi_qtoken_t qts[N];
	uint64_t seed = test_seed();
	char *want = malloc(N * 40000);
	size_t total = 0;
	int qd;

	CHECK(want);
	OK(demi_open(&qd, path, O_RDWR | O_CREAT | O_TRUNC | flags, 0600));
	for (int i = 0; i < N; i++) {
		uint32_t len = 1 + (uint32_t)(test_random(&seed) % (i % 10 ? 500 : 40000));
		demi_sgarray_t sga = demi_sgaalloc(len);

		memset(sga.sga_segs[0].sgaseg_buf, i, len);
		memset(want + total, i, len);
		total += len;
		OK(demi_push(&qts[i], qd, &sga));
		OK(demi_sgafree(&sga)); /* free protection */
	}
	for (int i = 0; i < N; i++)
		wait_ok(qts[i], DEMI_OPC_PUSH);
	CHECK(size_of(path) == (off_t)total);
	check_content(0, want, total);
	/* and comes back in order through pops that were issued together */
	demi_qtoken_t pops[8];
	size_t got = 0;
	bool end = false;
	while (!end) {
		for (int i = 0; i < 8; i++)
			OK(demi_pop_n(&pops[i], qd, 70000));
		for (int i = 0; i < 8; i++) {
			demi_sgarray_t sga = wait_ok(pops[i], DEMI_OPC_POP).qr_value.sga;
			uint32_t len = sga.sga_segs[0].sgaseg_len;

			end = !len;
			CHECK(end || !memcmp(sga.sga_segs[0].sgaseg_buf, want + got, len));
			got += len;
			if (len)
				OK(demi_sgafree(&sga));
		}
	}
	CHECK(got == total);
	/* what is queued at the close is written */
	demi_qtoken_t last = push_start(qd, "end", 3);
	OK(demi_close(qd));
	wait_ok(last, DEMI_OPC_PUSH);
	check_content((off_t)total, "end", 3);
	free(want);
}

/* The limit of the file's size stops a push: those behind it do not begin, until a truncate. */
static void test_failed_push(void)
{
	static char block[3000];
	struct rlimit old, low;
	demi_qtoken_t qts[4];
	int qd;

	signal(SIGXFSZ, SIG_IGN);
	CHECK(!getrlimit(RLIMIT_FSIZE, &old));
	low = old;
	low.rlim_cur = 8000;
	memset(block, 'b', sizeof(block));
	OK(demi_creat(&qd, path, 0600));
	push(qd, block, 3000);
	CHECK(!setrlimit(RLIMIT_FSIZE, &low));
	for (int i = 0; i < 4; i++)
		qts[i] = push_start(qd, block, 3000);
	wait_ok(qts[0], DEMI_OPC_PUSH); /* to 6000 */
	wait_failed(qts[1], EFBIG); /* would be to 9000 */
	wait_failed(qts[2], ECANCELED);
	wait_failed(qts[3], ECANCELED);
	wait_failed(push_start(qd, "x", 1), ECANCELED);
	CHECK(!setrlimit(RLIMIT_FSIZE, &old));
	wait_failed(push_start(qd, "x", 1), ECANCELED);
	OK(demi_truncate(qd, 6000));
	push(qd, "tail", 4);
	CHECK(size_of(path) == 6004);
	check_content(6000, "tail", 4);
	OK(demi_close(qd));
	/* a device that is full */
	OK(demi_open(&qd, "/dev/full", O_WRONLY, 0));
	wait_failed(push_start(qd, "x", 1), ENOSPC);
	OK(demi_close(qd));
}

static void test_refusals(void)
{
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt, qt2;
	off_t off;
	int qd, sock;

	CHECK_ERR(demi_open(&qd, "/", O_RDONLY, 0), EISDIR);
	CHECK_ERR(demi_open(&qd, "/nonexistent/file", O_RDONLY, 0), ENOENT);
	CHECK_ERR(demi_open(&qd, path, O_RDWR | O_DIRECTORY, 0), EINVAL);
	CHECK_ERR(demi_open(&qd, path, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	OK(demi_open(&qd, path, O_RDONLY, 0));
	CHECK_ERR(demi_push(&qt, qd, &sga), EBADF);
	CHECK_ERR(demi_truncate(qd, 0), EINVAL);
	CHECK_ERR(demi_accept(&qt, qd), EOPNOTSUPP);
	OK(demi_close(qd));
	OK(demi_open(&qd, path, O_WRONLY, 0));
	CHECK_ERR(demi_pop(&qt, qd), EBADF);
	sga.sga_segs[0].sgaseg_len = 0;
	CHECK_ERR(demi_push(&qt, qd, &sga), EINVAL);
	OK(demi_close(qd));
	OK(demi_socket(&sock, AF_INET, SOCK_STREAM, 0));
	CHECK_ERR(demi_lseek(&off, sock, 0, SEEK_SET), ESPIPE);
	CHECK_ERR(demi_truncate(sock, 0), ESPIPE);
	OK(demi_close(sock));
	/* an unconsumed result is not in the way, an operation that is under way is */
	OK(demi_open(&qd, path, O_RDWR, 0));
	OK(demi_pop_n(&qt, qd, 2));
	OK(demi_pop_n(&qt2, qd, 2));
	if (demi_lseek(&off, qd, 0, SEEK_SET) == EBUSY && demi_cancel(qt2) == 0)
		wait_failed(qt2, ECANCELED);
	else
		wait_qt(qt2);
	wait_qt(qt);
	OK(demi_lseek(&off, qd, 0, SEEK_SET));
	CHECK(off == 0);
	OK(demi_close(qd));
}

int main(void)
{
	snprintf(path, sizeof(path), "/tmp/demi-file-%d", (int)getpid());
	test_init();
	test_basic();
	test_order(0);
	test_order(DEMI_O_DURABLE);
	test_failed_push();
	test_refusals();
	unlink(path);
	return 0;
}
