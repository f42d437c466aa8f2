/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/*
 * Design, statement 6: close fails what waits for a peer with ECANCELED and lets pushes drain; a descriptor is not
 * given out again while it has tokens; cancel or result, never both, and no data is lost.
 */
#include "lib/check.h"

static void test_pending(int q, demi_qtoken_t *qts, int n)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int other;

	OK(demi_close(q));
	CHECK_EQ(demi_close(q), EBADF);
	CHECK_EQ(demi_pop(&qt, q), EBADF);
	for (int i = 0; i < n; i++) {
		for (int k = 0; k < 20; k++) { /* the number is not given out again: its results are to come */
			other = new_queue();
			CHECK(other != q);
			OK(demi_close(other));
		}
		int err = demi_cancel(qts[i]);

		CHECK(err == 0 || err == EALREADY);
		qr = wait_result(qts[i]);
		check_failed(&qr, ECANCELED);
		CHECK_EQ(qr.qr_qd, q);
		CHECK_EQ(demi_wait(&qr, qts[i], NULL), EINVAL);
	}
}

static void test_close(void)
{
	struct sockaddr_in addr, nowhere = { .sin_family = AF_INET };
	demi_qtoken_t qts[10];
	int q, pair[2];

	q = new_queue();
	for (int i = 0; i < 10; i++)
		qts[i] = pop_start(q);
	test_pending(q, qts, 10);

	tcp_pair(pair);
	for (int i = 0; i < 10; i++)
		qts[i] = pop_start(pair[0]);
	test_pending(pair[0], qts, 10);
	OK(demi_close(pair[1]));

	q = tcp_listen(&addr);
	for (int i = 0; i < 10; i++)
		OK(demi_accept(&qts[i], q));
	test_pending(q, qts, 10);

	/* a connect that nobody answers: 203.0.113.0/24 is for documentation; where there is no route it fails */
	OK(demi_socket(&q, AF_INET, SOCK_STREAM, 0));
	nowhere.sin_addr.s_addr = htonl(0xcb007101);
	nowhere.sin_port = htons(9);
	if (!demi_connect(&qts[0], q, (struct sockaddr *)&nowhere, sizeof(nowhere))) {
		demi_qresult_t qr;

		OK(demi_close(q));
		qr = wait_result(qts[0]);
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_FAILED);
		CHECK(qr.qr_ret == ECANCELED || qr.qr_ret == ENETUNREACH || qr.qr_ret == EHOSTUNREACH ||
		      qr.qr_ret == ECONNREFUSED || qr.qr_ret == EACCES);
	} else {
		OK(demi_close(q));
	}
}

/* When the last token is consumed the number is free: there is no leak of numbers either. */
static void test_reuse(void)
{
	int q = new_queue(), highest = q;

	OK(demi_close(q));
	for (int i = 0; i < 10000; i++) {
		demi_qtoken_t qt;

		q = new_queue();
		highest = q > highest ? q : highest;
		qt = pop_start(q);
		push_start(q, "x", 1);
		OK(demi_close(q));
		demi_qresult_t qr = wait_result(qt);

		check_popped(&qr, "x", 1);
		int n;

		OK(demi_wait_next_n(&qr, 1, &n, NULL));
		CHECK_EQ(qr.qr_qd, q);
		CHECK_EQ(demi_wait_next_n(&qr, 1, &n, NULL), ENOENT);
	}
	CHECK(highest < 20);
}

static char data[1 << 20];

/* 8 MiB are pushed, none of it is read yet, and the queue is closed: all of it arrives, then the end. */
static void test_drain(void)
{
	enum { N = 8 };
	demi_qtoken_t qts[N];
	size_t got = 0;
	int pair[2];

	tcp_pair(pair);
	for (int i = 0; i < N; i++)
		qts[i] = push_start(pair[0], data, sizeof(data));
	OK(demi_close(pair[0]));
	for (;;) {
		demi_qresult_t qr = wait_result(pop_start(pair[1]));
		demi_sgaseg_t *seg = &qr.qr_value.sga.sga_segs[0];

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		if (!seg->sgaseg_len)
			break;
		for (uint32_t i = 0; i < seg->sgaseg_len; i += 97)
			CHECK(((char *)seg->sgaseg_buf)[i] == data[(got + i) % sizeof(data)]);
		got += seg->sgaseg_len;
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	CHECK_EQ(got, N * sizeof(data));
	for (int i = 0; i < N; i++) {
		demi_qresult_t qr = wait_result(qts[i]);

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	}
	OK(demi_close(pair[1]));
}

/* Of every pop either the cancel or the data: together they are all that was pushed, in order. */
static void test_cancel(int in, int out)
{
	uint32_t next = 0, sent = 0, cancels = 0;
	size_t have = 0;
	uint8_t part[4];

	for (int round = 0; round < 2000; round++) {
		demi_qtoken_t qt = pop_start(out);
		demi_qresult_t qr;
		int err;

		if (rnd_below(2)) {
			push_bytes(in, &sent, sizeof(sent));
			sent++;
		}
		err = demi_cancel(qt);
		qr = wait_result(qt);
		if (err == 0) {
			check_failed(&qr, ECANCELED);
			cancels++;
			continue;
		}
		CHECK_EQ(err, EALREADY);
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		demi_sgaseg_t *seg = &qr.qr_value.sga.sga_segs[0];

		for (uint32_t i = 0; i < seg->sgaseg_len; i++) {
			part[have++] = ((uint8_t *)seg->sgaseg_buf)[i];
			if (have == sizeof(next)) {
				CHECK(!memcmp(part, &next, sizeof(next)));
				next++;
				have = 0;
			}
		}
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	while (next < sent) {
		demi_qresult_t qr = wait_result(pop_start(out));
		demi_sgaseg_t *seg = &qr.qr_value.sga.sga_segs[0];

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK(seg->sgaseg_len > 0);
		for (uint32_t i = 0; i < seg->sgaseg_len; i++) {
			part[have++] = ((uint8_t *)seg->sgaseg_buf)[i];
			if (have == sizeof(next)) {
				CHECK(!memcmp(part, &next, sizeof(next)));
				next++;
				have = 0;
			}
		}
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	CHECK(cancels > 0);
	CHECK_EQ(next, sent);
	CHECK_EQ(have, 0);
	OK(demi_close(in));
	if (out != in)
		OK(demi_close(out));
}

int main(void)
{
	int pair[2], q;

	alarm(100);
	check_seed();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 131 + i / 257);
	init_sockets();
	test_close();
	test_reuse();
	test_drain();
	q = new_queue();
	test_cancel(q, q);
	tcp_pair(pair);
	test_cancel(pair[0], pair[1]);
	return 0;
}
