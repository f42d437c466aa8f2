/* SPDX-License-Identifier: MIT */
/* valgrind */
/*
 * Design, statement 1: elements are atomic, one push is one pop; one segment unless the queue opted in to more; the end
 * is one segment of length 0. Also pushto, pop_n and options on memory queues.
 */
#include "lib/check.h"

static char text[] = "the quick brown fox jumps over the lazy dog";

static demi_sgarray_t split(const size_t *lens, uint32_t n)
{
	demi_sgarray_t sga = sga_of(text, lens[0]);
	char *p = text;

	sga.sga_numsegs = n;
	for (uint32_t i = 0; i < n; i++) {
		sga.sga_segs[i].sgaseg_buf = p;
		sga.sga_segs[i].sgaseg_len = (uint32_t)lens[i];
		p += lens[i];
	}
	return sga;
}

static void set_maxsegs(int q, int n)
{
	int got = -1;
	socklen_t len = sizeof(got);

	OK(demi_setsockopt(q, DEMI_SOL, DEMI_SO_MAXSEGS, &n, sizeof(n)));
	OK(demi_getsockopt(q, DEMI_SOL, DEMI_SO_MAXSEGS, &got, &len));
	CHECK(got == n && len == sizeof(got));
}

static void test_segments(void)
{
	const size_t lens[][4] = { { 1, 1, 1, 1 }, { 10, 0, 3, 7 }, { 0, 0, 0, 5 }, { 5, 20, 0, 0 } };
	demi_sgarray_t sga;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int q = new_queue();

	for (int maxsegs = 1; maxsegs <= DEMI_SGARRAY_MAXSIZE; maxsegs++) {
		set_maxsegs(q, maxsegs);
		for (uint32_t i = 0; i < 4 * 4; i++) {
			uint32_t n = i % 4 + 1;
			size_t total = 0;
			bool first = i & 4; /* the pop waits already */

			sga = split(lens[i / 4], n);
			for (uint32_t k = 0; k < n; k++)
				total += lens[i / 4][k];
			if (first)
				qt = pop_start(q);
			OK(demi_blocking_push(q, &sga));
			if (!first)
				qt = pop_start(q);
			qr = wait_result(qt);
			CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
			CHECK_EQ(qr.qr_value.sga.sga_numsegs, n <= (uint32_t)maxsegs ? n : 1);
			if (n <= (uint32_t)maxsegs) {
				for (uint32_t k = 0; k < n; k++)
					CHECK_EQ(qr.qr_value.sga.sga_segs[k].sgaseg_len, lens[i / 4][k]);
			}
			check_popped(&qr, text, total);
		}
	}
	OK(demi_close(q));
}

/* Whatever the sizes, elements stay apart and in order. */
static void test_atomic(void)
{
	static char big[70000];
	int q = new_queue();

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 31 + i / 251);
	for (int round = 0; round < 20; round++) {
		size_t lens[50];

		for (int i = 0; i < 50; i++) {
			lens[i] = rnd_below(2) ? rnd_below(64) : rnd_below(sizeof(big));
			push_bytes(q, big + i, lens[i] = lens[i] < sizeof(big) - 50 ? lens[i] : 1);
		}
		for (int i = 0; i < 50; i++)
			pop_bytes(q, big + i, lens[i]);
	}
	OK(demi_close(q));
}

static void test_end(void)
{
	demi_qresult_t qr;
	demi_qtoken_t waiting;
	demi_sgarray_t sga = sga_of("x", 1);
	int q = new_queue();

	/* after what was pushed before, and for ever; for waiting pops, too */
	push_bytes(q, "last", 4);
	OK(demi_shutdown(q, SHUT_WR));
	CHECK_EQ(demi_push(&waiting, q, &sga), EPIPE);
	pop_bytes(q, "last", 4);
	for (int i = 0; i < 3; i++) {
		qr = wait_result(pop_start(q));
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK_EQ(qr.qr_ret, 0);
		CHECK_EQ(qr.qr_value.sga.sga_numsegs, 1);
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	OK(demi_close(q));
	q = new_queue();
	waiting = pop_start(q);
	OK(demi_shutdown(q, SHUT_RDWR));
	qr = wait_result(waiting);
	check_popped(&qr, "", 0);
	OK(demi_close(q));
	/* SHUT_RD throws away what is there */
	q = new_queue();
	push_bytes(q, "gone", 4);
	OK(demi_shutdown(q, SHUT_RD));
	CHECK_EQ(counter("dropped"), 1);
	pop_bytes(q, "", 0);
	OK(demi_close(q));
}

/* An element that is larger than the pop's limit stays where it is. */
static void test_pop_n(void)
{
	demi_qtoken_t a, b, c;
	demi_qresult_t qr;
	int q = new_queue();

	push_bytes(q, "12345", 5);
	OK(demi_pop_n(&a, q, 4));
	qr = wait_result(a);
	check_failed(&qr, EMSGSIZE);
	OK(demi_pop_n(&a, q, 5));
	qr = wait_result(a);
	check_popped(&qr, "12345", 5);
	/* those that wait: the first that has room */
	OK(demi_pop_n(&a, q, 4));
	OK(demi_pop_n(&b, q, 5));
	OK(demi_pop_n(&c, q, SIZE_MAX));
	push_bytes(q, "12345", 5);
	qr = wait_result(a);
	check_failed(&qr, EMSGSIZE);
	qr = wait_result(b);
	check_popped(&qr, "12345", 5);
	push_bytes(q, "x", 1);
	qr = wait_result(c);
	check_popped(&qr, "x", 1);
	CHECK_EQ(demi_pop_n(&a, q, 0), EINVAL);
	OK(demi_close(q));
}

static void test_options(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	demi_sgarray_t sga = sga_of("x", 1);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int q = new_queue(), v = 0;

	CHECK_EQ(demi_setsockopt(q, DEMI_SOL, DEMI_SO_MAXSEGS, &v, sizeof(v)), EINVAL);
	v = DEMI_SGARRAY_MAXSIZE + 1;
	CHECK_EQ(demi_setsockopt(q, DEMI_SOL, DEMI_SO_MAXSEGS, &v, sizeof(v)), EINVAL);
	CHECK_EQ(demi_setsockopt(q, DEMI_SOL, DEMI_SO_MAXSEGS, &v, 1), EINVAL);
	CHECK_EQ(demi_setsockopt(q, SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)), ENOPROTOOPT);
	CHECK_EQ(demi_getsockopt(q, DEMI_SOL, 77, &v, &len), ENOPROTOOPT);
	CHECK_EQ(demi_pushto(&qt, q, &sga, (struct sockaddr *)&addr, sizeof(addr)), EOPNOTSUPP);
	CHECK_EQ(demi_accept(&qt, q), EOPNOTSUPP);
	CHECK_EQ(demi_connect(&qt, q, (struct sockaddr *)&addr, sizeof(addr)), EOPNOTSUPP);
	CHECK_EQ(demi_bind(q, (struct sockaddr *)&addr, sizeof(addr)), EOPNOTSUPP);
	CHECK_EQ(demi_listen(q, 1), EOPNOTSUPP);
	CHECK_EQ(demi_getsockname(q, (struct sockaddr *)&ss, &len), EOPNOTSUPP);
	CHECK_EQ(demi_getpeername(q, (struct sockaddr *)&ss, &len), EOPNOTSUPP);
	CHECK_EQ(demi_lseek(NULL, q, 0, SEEK_SET), ESPIPE);
	CHECK_EQ(demi_truncate(q, 0), ESPIPE);
	push_bytes(q, "x", 1);
	qr = wait_result(pop_start(q));
	CHECK_EQ(demi_sga_addr(&qr.qr_value.sga, &ss, &len), ENOENT);
	OK(demi_sgafree(&qr.qr_value.sga));
	OK(demi_close(q));
}

int main(void)
{
	alarm(100);
	check_seed();
	init_memq();
	test_segments();
	test_atomic();
	test_end();
	test_pop_n();
	test_options();
	return 0;
}
