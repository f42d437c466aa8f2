/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/*
 * A pop that waits alone is no operation (lib/core/instant.h), and nobody can tell: whatever call comes between it and
 * the wait, and whatever the wait finds first, it gets what it would have got.
 */
#include "inet_test.h"

#define PORT 7000
#define OTHER 7001

static demi_qresult_t qr, qrs[4];
static uint8_t packet[128];

static void arrive(uint16_t port, char c)
{
	inject(packet, udp4(packet, 9, port, &c, 1));
}

/* The socket knows where such packets come from: the next ones go the short way. */
static int warm(void)
{
	int qd = bound4(PORT);
	demi_qtoken_t qt;

	arrive(PORT, '-');
	OK(demi_pop(&qt, qd));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	OK(demi_sgafree(&qr.qr_value.sga));
	return qd;
}

/* A pop that has to wait, and is none of the context's operations. */
static demi_qtoken_t await(int qd)
{
	uint32_t live = demi_ctx_self->ops.live;
	demi_qtoken_t qt;

	OK(demi_pop(&qt, qd));
	CHECK_EQ(demi_ctx_self->ops.live, live);
	return qt;
}

/* All of the result, whatever was there before. */
static void check_got(demi_qresult_t *r, demi_qtoken_t qt, int qd, char c)
{
	demi_sgarray_t want = { 0 };
	void *p = r->qr_value.sga.sga_segs[0].sgaseg_buf;

	CHECK_EQ(r->qr_opcode, DEMI_OPC_POP);
	CHECK(r->qr_qt == qt);
	CHECK_EQ(r->qr_qd, qd);
	CHECK_EQ(r->qr_ret, 0);
	CHECK_EQ(*(char *)p, c);
	want.sga_buf = r->qr_value.sga.sga_buf;
	want.sga_numsegs = 1;
	want.sga_segs[0] = (demi_sgaseg_t){ p, 1 };
	want.sga_addr = sin_of(PEER4, 9);
	CHECK(!memcmp(&r->qr_value.sga, &want, sizeof(want)));
	OK(demi_sgafree(&r->qr_value.sga));
}

static void wait_got(demi_qtoken_t qt, int qd, char c)
{
	memset(&qr, 0xee, sizeof(qr));
	OK(demi_wait(&qr, qt, NULL));
	check_got(&qr, qt, qd, c);
	CHECK_EQ(demi_wait(&qr, qt, NULL), EINVAL);
}

static void test_wait(void)
{
	int qd = warm();
	demi_qtoken_t qt, second;

	for (char c = 'a'; c <= 'e'; c++) {
		qt = await(qd);
		arrive(PORT, c);
		wait_got(qt, qd, c);
	}
	/* two of a burst: the other one waits for the next pop */
	qt = await(qd);
	arrive(PORT, 'f');
	arrive(PORT, 'g');
	wait_got(qt, qd, 'f');
	OK(demi_pop(&qt, qd));
	wait_got(qt, qd, 'g');
	/* the wait for another token, and for one that is none */
	qt = await(qd);
	CHECK_EQ(demi_wait(&qr, qt + 1, NULL), EINVAL);
	arrive(PORT, 'h');
	wait_got(qt, qd, 'h');
	qt = await(qd);
	CHECK_EQ(demi_wait(NULL, qt, NULL), EINVAL);
	arrive(PORT, 'i');
	wait_got(qt, qd, 'i');
	/* two pops: in their order */
	qt = await(qd);
	OK(demi_pop(&second, qd));
	arrive(PORT, 'j');
	arrive(PORT, 'k');
	wait_got(second, qd, 'k');
	wait_got(qt, qd, 'j');
	OK(demi_close(qd));
}

static void test_calls(void)
{
	int qd = warm(), off, n;
	demi_qtoken_t qt, pushed;

	qt = await(qd);
	nothing_ready(qt);
	arrive(PORT, 'a');
	wait_got(qt, qd, 'a');

	qt = await(qd);
	arrive(PORT, 'b');
	OK(demi_wait_any(&qr, &off, &qt, 1, NULL));
	CHECK_EQ(off, 0);
	check_got(&qr, qt, qd, 'b');

	qt = await(qd);
	arrive(PORT, 'c');
	OK(demi_wait_next_n(qrs, 4, &n, NULL));
	CHECK_EQ(n, 1);
	check_got(&qrs[0], qt, qd, 'c');

	qt = await(qd);
	OK(pushto4(&pushed, qd, "x", 1, PEER4, 9));
	arrive(PORT, 'd');
	CHECK_EQ(wait_result(pushed).qr_opcode, DEMI_OPC_PUSH);
	wait_got(qt, qd, 'd');

	qt = await(qd);
	OK(demi_cancel(qt));
	qr = wait_result(qt);
	check_failed(&qr, ECANCELED);
	arrive(PORT, 'e'); /* is nobody's yet */
	turn();
	OK(demi_pop(&qt, qd));
	wait_got(qt, qd, 'e');

	qt = await(qd);
	OK(demi_close(qd));
	qr = wait_result(qt);
	check_failed(&qr, ECANCELED);
	forget_sent();
}

/* What the poll finds first is not what the short way takes. */
static void test_long_way(void)
{
	int qd = warm(), other = bound4(OTHER);
	demi_qtoken_t qt;
	char long_one[2] = "yz";

	qt = await(qd);
	arrive(OTHER, 'x');
	arrive(PORT, 'a');
	wait_got(qt, qd, 'a');
	OK(demi_pop(&qt, other));
	wait_got(qt, other, 'x');

	qt = await(qd);
	udp4(packet, 9, PORT, "b", 1);
	put16(packet + 26, 0); /* RFC 768: no checksum */
	inject(packet, 29);
	wait_got(qt, qd, 'b');

	qt = await(qd);
	udp4(packet, 9, PORT, "!", 1);
	packet[28] ^= 1; /* a wrong one */
	inject(packet, 29);
	arrive(PORT, 'c');
	wait_got(qt, qd, 'c');

	OK(demi_pop_n(&qt, qd, 1));
	inject(packet, udp4(packet, 9, PORT, long_one, 2));
	qr = wait_result(qt);
	check_failed(&qr, EMSGSIZE);
	OK(demi_pop(&qt, qd));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 2);
	OK(demi_sgafree(&qr.qr_value.sga));
	OK(demi_close(qd));
	OK(demi_close(other));
}

static void test_gone(void)
{
	int qd = warm();
	demi_qtoken_t qt = await(qd);

	dev->gone = -ENODEV;
	OK(demi_wait(&qr, qt, NULL));
	check_failed(&qr, ENODEV);
	OK(demi_close(qd));
}

/* The context ends, and nobody has waited. */
static void *test_end(void *arg)
{
	inet_init(0);
	await(warm());
	return NULL;
}

int main(void)
{
	pthread_t t;

	inet_run(test_wait, 0);
	inet_run(test_calls, 0);
	inet_run(test_long_way, 0);
	inet_run(test_gone, 0);
	OK(pthread_create(&t, NULL, test_end, NULL));
	OK(pthread_join(t, NULL));
	CHECK(dev->destroyed);
	CHECK_EQ(dev->flows + dev->ports, 0);
	free(dev);
	return 0;
}
