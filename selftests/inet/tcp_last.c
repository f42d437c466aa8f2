/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * How long the end of a context waits for a connection, and what it says to the peers that it leaves:
 * lib/inet/tcp_last.c, RFC 5961 3.2, RFC 9293 3.10.7.1.
 */
#include "script.h"

#include "inet/tcp.h"
#include "inet/tx.h"

static int qd;

/* ---- closed connections that something is under way of ---- */

static const struct demi_inet_tx *held_tx(uint32_t i)
{
	CHECK(i < sn->nheld);
	return (const struct demi_inet_tx *)(uintptr_t)sn->held[i];
}

/* The device has no use for that frame any more. */
static void comes_back(uint32_t i)
{
	struct demi_pkt_done done = { .cookie = sn->held[i] };

	demi_inet_done(&sn->in, &done, 1);
	sn->held[i] = sn->held[--sn->nheld];
}

static void fin_frame_after_its_ack(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	CHECK_EQ(sn->in.draining, 1);
	sn->hold = true;
	pass(200);
	out("F. 1 ack 1");
	CHECK(sn->nheld == 1 && !held_tx(0)->plain);
	in(". 1 ack 2");
	CHECK_EQ(sn->in.draining, 1); /* a frame is the peer's only when it has left */
	comes_back(0);
	CHECK_EQ(sn->in.draining, 0);
	in("F. 1 ack 2");
	out(". 2 ack 2");
}

/* One that nobody waits for: demi_inet_done() has a short way for those. */
static void plain_frame_after_fin_and_ack(void)
{
	demi_qtoken_t qt;

	qd = established("mss 1000");
	qt = script_push(qd, 10); /* the first one, which leaves memory for the fast path behind */
	out("P. 1+10 ack 1");
	in(". 1 ack 11");
	CHECK_EQ(result_now(qt).qr_opcode, DEMI_OPC_PUSH);
	sn->hold = true;
	script_push(qd, 10);
	out("P. 11+10 ack 1");
	CHECK(sn->nheld == 1 && held_tx(0)->plain);
	OK(demi_close(qd));
	out("F. 21 ack 1");
	comes_back(1);
	in(". 1 ack 22");
	CHECK_EQ(sn->in.draining, 1);
	comes_back(0);
	CHECK_EQ(sn->in.draining, 0);
	in("F. 1 ack 22");
	out(". 22 ack 2");
}

static void frame_before_the_ack(void)
{
	qd = established("mss 1000");
	sn->hold = true;
	OK(demi_close(qd));
	out("F. 1 ack 1");
	comes_back(0);
	CHECK_EQ(sn->in.draining, 1); /* the peer may not have got it */
	in(". 1 ack 2");
	CHECK_EQ(sn->in.draining, 0);
	in("F. 1 ack 2");
	out(". 2 ack 2");
}

/* ---- resets of the last moment ---- */

static struct {
	uint8_t p[16][200];
	uint32_t len[16], head, tail;
} asked; /* what has come to the device since */

static int last_out(struct demi_pktdev *d, const void *packet, uint32_t len)
{
	node_emit((struct node *)d, packet, len);
	return 0;
}

static uint32_t last_in(struct demi_pktdev *d, void *packet, uint32_t max)
{
	uint32_t len;

	if (asked.head == asked.tail)
		return 0;
	len = asked.len[asked.head] < max ? asked.len[asked.head] : max;
	memcpy(packet, asked.p[asked.head++], len);
	return len;
}

static uint8_t *ask(const char *s)
{
	struct seg g = parse_seg(s);
	uint8_t *p = asked.p[asked.tail];

	asked.len[asked.tail++] = build_seg(&g, p);
	return p;
}

static void abort_now(void)
{
	struct demi_queue *q = demi_queue_at(&demi_ctx_self->queues, (uint32_t)qd);

	memset(&asked, 0, sizeof(asked));
	q->ops->abort(q);
}

/* The peer has not got the ten bytes: it asks about the reset, and is told the number that it expects. */
static void wrong_number(void)
{
	qd = established("mss 1000");
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	abort_now();
	out("R. 11 ack 1");
	ask(". 1 ack 1");
	demi_tcp_last_answers(&sn->in);
	out("R 1");
	none();
	reset_close(qd);
}

static void every_question_is_answered(void)
{
	qd = established("mss 1000");
	abort_now();
	out("R. 1 ack 1");
	ask("P. 1+100 ack 7"); /* with payload, and behind options of TCP */
	ask(". 101 ack 9 <ts 5 0>");
	demi_tcp_last_answers(&sn->in);
	out("R 7");
	out("R 9");
	none();
	reset_close(qd);
}

static void options_of_ip(void)
{
	uint8_t *p;

	qd = established("mss 1000");
	abort_now();
	out("R. 1 ack 1");
	p = ask(". 1 ack 33");
	memmove(p + 24, p + 20, 20);
	memset(p + 20, 1, 4);
	p[0] = 0x46;
	asked.len[0] += 4;
	demi_tcp_last_answers(&sn->in);
	out("R 33");
	none();
	reset_close(qd);
}

/* What has no answer: resets, what acknowledges nothing, other protocols, fragments, what is cut off. */
static void nothing_to_answer(void)
{
	uint8_t *p;

	qd = established("mss 1000");
	abort_now();
	out("R. 1 ack 1");
	ask("R. 1 ack 1");
	ask("R 1");
	ask("S 1");
	p = ask(". 1 ack 1");
	p[script_six ? 6 : 9] = 17;
	if (!script_six) {
		p = ask(". 1 ack 1");
		p[7] = 1;
	}
	ask(". 1 ack 1");
	asked.len[asked.tail - 1] -= 1;
	ask(". 1 ack 1");
	asked.len[asked.tail - 1] = 1;
	p = ask(". 1 ack 1");
	p[0] = 0;
	demi_tcp_last_answers(&sn->in);
	CHECK_EQ(asked.head, asked.tail);
	none();
	reset_close(qd);
}

/* Where nothing was left to be said nobody waits for questions, and what comes is not looked at. */
static void nothing_was_said(void)
{
	listening();
	qd = script_listener;
	abort_now();
	none();
	stack_port = STACK_PORT;
	ask(". 1 ack 1");
	demi_tcp_last_answers(&sn->in);
	CHECK_EQ(asked.head, 0);
	none();
	OK(demi_close(script_listener));
}

static void all_said(void)
{
	qd = established("mss 1000");
	OK(demi_shutdown(qd, SHUT_WR));
	out("F. 1 ack 1");
	in(". 1 ack 2");
	abort_now();
	none();
	reset_close(qd);
}

static void resets(void)
{
	RUN(wrong_number);
	RUN(every_question_is_answered);
	if (!script_six)
		RUN(options_of_ip);
	RUN(nothing_to_answer);
	RUN(nothing_was_said);
	RUN(all_said);
}

int main(void)
{
	alarm(60);
	init_memq();
	node_ops.last = last_out;
	node_ops.last_rx = last_in;
	RUN(fin_frame_after_its_ack);
	RUN(plain_frame_after_fin_and_ack);
	RUN(frame_before_the_ack);
	resets();
	script_six = true;
	RUN(fin_frame_after_its_ack);
	resets();
	return script_done();
}
