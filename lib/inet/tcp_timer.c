/* SPDX-License-Identifier: MIT */
/* Deadlines of a connection: RFC 6298, 8985 7 and 6.3, 9293 3.8.6.1 (zero window), 3.8.4 (keepalive), 3.8.3. */
#include "inet/tcp_stack.h"

#define CORK_NS (200 * DEMI_TCP_MS)
#define BLACK_HOLE_RETRIES 3 /* RFC 4821 7.7: then the path may swallow packets of this size */
#define BLACK_HOLE_MTU 1024U

void demi_tcp_rtt_sample(struct demi_tcp *t, uint64_t rtt_ns)
{
	uint32_t rtt_us = rtt_ns / 1000 > DEMI_TCP_RTO_MAX_US ? DEMI_TCP_RTO_MAX_US : (uint32_t)(rtt_ns / 1000);

	demi_tcp_rtt_us(t, rtt_us ? rtt_us : 1);
}

static uint64_t rto_ns(const struct demi_tcp *t)
{
	uint64_t us = (uint64_t)t->rto_us << (t->backoff < 16 ? t->backoff : 16);

	return (us < DEMI_TCP_RTO_MAX_US ? us : DEMI_TCP_RTO_MAX_US) * 1000;
}

/* ---- the one timer ---- */

static uint64_t earliest(const struct demi_tcp *t)
{
	uint64_t ns = t->xmit ? t->xmit_ns : UINT64_MAX;

	if (t->keep_ns && t->keep_ns < ns)
		ns = t->keep_ns;
	return t->end_ns && t->end_ns < ns ? t->end_ns : ns;
}

void demi_tcp_timer_sync(struct demi_tcp *t)
{
	uint64_t ns = earliest(t);

	if (ns == UINT64_MAX || (t->timer.index && t->timer.deadline_ns <= ns))
		return;
	/* without memory for a place in the heap nothing can be timed */
	if (demi_tcp_timer_set(t->s.in, &t->timer, ns))
		demi_tcp_abort(t, ENOMEM);
}

void demi_tcp_xmit_at(struct demi_tcp *t, uint8_t what, uint64_t deadline_ns)
{
	uint64_t limit_ns = t->stuck_ns + t->user_timeout_ms * DEMI_TCP_MS;

	if (t->user_timeout_ms && t->stuck_ns && deadline_ns > limit_ns) /* RFC 5482 3 */
		deadline_ns = limit_ns;
	t->xmit = what;
	t->xmit_ns = deadline_ns;
	if (__builtin_expect(!t->timer.index || deadline_ns < t->timer.deadline_ns, 0))
		demi_tcp_timer_sync(t);
}

static bool wants_probe(const struct demi_tcp *t)
{
	return t->sack_ok && t->recovery == DEMI_TCP_OPEN && !t->tlp_out && !t->lost_out && !t->sacked_out &&
	       !t->backoff && t->srtt_us;
}

void demi_tcp_xmit_arm_at(struct demi_tcp *t, uint64_t now_ns)
{
	uint64_t ns;

	if (t->snd_una == t->snd_nxt) {
		if (t->fin_sent || (t->snd_end == t->snd_nxt && !t->s.shut_wr)) {
			t->xmit = DEMI_TCP_XMIT_NONE;
		} else if (t->xmit != DEMI_TCP_XMIT_PERSIST) { /* something keeps it from being sent */
			if (!t->stuck_ns)
				t->stuck_ns = now_ns;
			ns = t->cork && t->snd_wnd ? CORK_NS : rto_ns(t);
			demi_tcp_xmit_at(t, DEMI_TCP_XMIT_PERSIST, now_ns + ns);
		}
		return;
	}
	ns = rto_ns(t);
	if (wants_probe(t)) {
		/* RFC 8985 7.2: not later than the timeout of what is oldest, however often more is sent */
		uint64_t at_ns = now_ns + demi_tcp_pto_ns(t), rto_at_ns = t->rec_head->sent_ns + ns;

		demi_tcp_xmit_at(t, DEMI_TCP_XMIT_TLP, rto_at_ns > now_ns && rto_at_ns < at_ns ? rto_at_ns : at_ns);
		return;
	}
	/* RFC 6298 (5.1): one that runs goes on; a reordering timer is not put off by more data */
	if (t->xmit != DEMI_TCP_XMIT_RTO && t->xmit != DEMI_TCP_XMIT_REO)
		demi_tcp_xmit_at(t, DEMI_TCP_XMIT_RTO, now_ns + ns);
}

/* ---- what is due ---- */

/* True: nobody waits any longer. */
static bool gives_up(struct demi_tcp *t, unsigned int limit)
{
	uint64_t now_ns = t->s.in->now_ns;

	if (t->user_timeout_ms) {
		if (!t->stuck_ns || now_ns < t->stuck_ns + t->user_timeout_ms * DEMI_TCP_MS)
			return false;
	} else if (t->retries <= limit) {
		return false;
	}
	demi_tcp_end(t, t->soft_err ? (int)t->soft_err : ETIMEDOUT);
	return true;
}

static void syn_timeout(struct demi_tcp *t)
{
	t->retries++;
	if (gives_up(t, t->syn_retries))
		return;
	t->backoff++;
	demi_tcp_send_syn(t);
	t->s.in->count.TcpRetransSegs++;
	demi_tcp_xmit_at(t, DEMI_TCP_XMIT_RTO, t->s.in->now_ns + rto_ns(t));
}

static void look_for_black_hole(struct demi_tcp *t)
{
	if (t->retries < BLACK_HOLE_RETRIES || t->retries % 2 == 0)
		return;
	if (t->pmtu_bytes ? t->pmtu_bytes > BLACK_HOLE_MTU / 2 : t->mss > BLACK_HOLE_MTU) {
		demi_tcp_mtu_lower(t, t->pmtu_bytes ? BLACK_HOLE_MTU / 2 : BLACK_HOLE_MTU);
		t->s.in->count.TcpExtTCPMTUPFail++;
	}
}

static void data_timeout(struct demi_tcp *t)
{
	if (t->state < DEMI_TCP_ESTABLISHED) {
		syn_timeout(t);
		return;
	}
	if (!t->rec_head)
		return;
	t->retries++;
	if (gives_up(t, t->s.q.closed ? DEMI_TCP_ORPHAN_RETRIES : DEMI_TCP_DATA_RETRIES))
		return;
	look_for_black_hole(t);
	demi_tcp_enter_loss(t);
	t->backoff++; /* (5.5) */
	demi_tcp_fast_update(t);
	demi_tcp_xmit_at(t, DEMI_TCP_XMIT_RTO, t->s.in->now_ns + rto_ns(t));
	demi_tcp_want_output(t);
}

/* RFC 8985 7.3 */
static void tail_probe(struct demi_tcp *t)
{
	if (t->snd_una == t->snd_nxt)
		return;
	if (demi_tcp_send_tail(t)) {
		t->tlp_out = true;
		t->tlp_high = t->snd_nxt;
		t->s.in->count.TcpExtTCPLossProbes++;
		demi_tcp_fast_update(t);
	}
	demi_tcp_xmit_at(t, DEMI_TCP_XMIT_RTO, t->s.in->now_ns + rto_ns(t));
}

static void reordering_over(struct demi_tcp *t)
{
	struct demi_tcp_delivery none = { 0 };

	demi_tcp_recover(t, &none);
	if (t->xmit == DEMI_TCP_XMIT_NONE)
		demi_tcp_xmit_arm(t);
	demi_tcp_fast_update(t);
	demi_tcp_want_output(t);
}

/* The window is closed, or too small for what waits. */
static void persist(struct demi_tcp *t)
{
	if (t->snd_wnd && t->snd_una == t->snd_nxt) { /* 3.8.6.2.1 (4): a small one, after all */
		demi_tcp_send_small(t);
		return;
	}
	t->retries++;
	if (gives_up(t, t->s.q.closed ? DEMI_TCP_ORPHAN_RETRIES : DEMI_TCP_DATA_RETRIES))
		return;
	demi_tcp_send_probe(t);
	t->s.in->count.TcpExtTCPWinProbe++;
	if (t->backoff < 15)
		t->backoff++;
	demi_tcp_xmit_at(t, DEMI_TCP_XMIT_PERSIST, t->s.in->now_ns + rto_ns(t));
}

static void xmit_due(struct demi_tcp *t)
{
	uint8_t what = t->xmit;

	t->xmit = DEMI_TCP_XMIT_NONE;
	switch (what) {
	case DEMI_TCP_XMIT_RTO:
		data_timeout(t);
		break;
	case DEMI_TCP_XMIT_TLP:
		tail_probe(t);
		break;
	case DEMI_TCP_XMIT_REO:
		reordering_over(t);
		break;
	default:
		persist(t);
	}
}

void demi_tcp_keepalive_start(struct demi_tcp *t)
{
	t->keep_ns = 0;
	if (!t->keepalive || t->state < DEMI_TCP_ESTABLISHED)
		return;
	t->keep_ns = t->s.in->now_ns + t->keep_idle_s * DEMI_TCP_S;
	demi_tcp_timer_sync(t);
}

/* RFC 1122 4.2.3.6 */
static void keepalive_due(struct demi_tcp *t)
{
	uint64_t now_ns = t->s.in->now_ns, idle_ns = t->keep_idle_s * DEMI_TCP_S;

	if (t->snd_una != t->snd_nxt || now_ns - t->rcv_ns < idle_ns) { /* data finds out by itself */
		t->keep_sent = 0;
		t->keep_ns = (t->snd_una != t->snd_nxt ? now_ns : t->rcv_ns) + idle_ns;
		return;
	}
	if (t->user_timeout_ms ? now_ns - t->rcv_ns >= t->user_timeout_ms * DEMI_TCP_MS && t->keep_sent
			       : t->keep_sent >= t->keep_cnt) {
		demi_tcp_abort(t, ETIMEDOUT);
		return;
	}
	t->keep_sent++;
	demi_tcp_send_probe(t);
	t->s.in->count.TcpExtTCPKeepAlive++;
	t->keep_ns = now_ns + t->keep_intvl_s * DEMI_TCP_S;
}

static void timer_due(struct demi_timer *timer)
{
	struct demi_tcp *t = (struct demi_tcp *)((char *)timer - offsetof(struct demi_tcp, timer));
	uint64_t now_ns = t->s.in->now_ns;

	if (t->dead)
		return;
	demi_tcp_settle(t);
	t->push.until_ns = 0;
	if (t->end_ns && t->end_ns <= now_ns) {
		demi_tcp_give_up(t);
		return;
	}
	if (t->xmit && t->xmit_ns <= now_ns)
		xmit_due(t);
	if (!t->dead && t->keep_ns && t->keep_ns <= now_ns)
		keepalive_due(t);
	if (!t->dead)
		demi_tcp_timer_sync(t);
}

void demi_tcp_timer_init(struct demi_tcp *t)
{
	t->timer.fn = timer_due;
}
