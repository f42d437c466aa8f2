/* SPDX-License-Identifier: MIT */
/* A TCP segment has arrived: whose is it, and is it the one that is expected? */
#include "inet/cksum.h"
#include "inet/tcp_stack.h"

#include <string.h>

/* The timestamps option as everybody sends it, behind two fillers. */
#define TS_WORD htonl(0x0101080a)

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline bool checksum_ok(const struct demi_inet_rxpkt *r)
{
	uint64_t sum;

	if (demi_inet_csum_known(r))
		return true;
	if (r->p->flags & DEMI_PKT_F_GSO) /* its headers are not those that were sent */
		return false;
	sum = demi_cksum_pseudo(&r->key.remote, &r->key.local, IPPROTO_TCP) + demi_cksum_len(r->len);
	return demi_cksum_fold(demi_cksum_pkt(sum, r->p, r->off, r->len)) == 0xffff;
}

/* RFC 3168 5: congestion was experienced */
static inline bool is_marked(const struct demi_inet_rxpkt *r)
{
	const uint8_t *h = r->p->data;

	return (h[0] >> 4 == 4 ? h[1] & 3 : (h[1] >> 4) & 3) == 3;
}

void demi_tcp_fast_update(struct demi_tcp *t)
{
	t->fast = t->state == DEMI_TCP_ESTABLISHED && !t->ooo && !t->nsacks && t->recovery == DEMI_TCP_OPEN &&
		  !t->sacked_out && !t->lost_out && !t->reno_sacked && !t->tlp_out && !t->mtu_probe && !t->dupacks &&
		  !t->framed && !t->ecn_ok && !t->fin_seen && !t->s.shut_rd && !t->s.q.closed && !t->rx_failed;
}

void demi_tcp_ack_later(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;

	t->ack_later = true;
	if (t->delack.next) /* the last one went with data, perhaps: no sooner than that, no later */
		return;
	t->delack_ns = in->now_ns + DEMI_TCP_DELACK_NS;
	demi_inet_link_add(&in->tcp->delack, &t->delack);
	demi_tcp_due(in, t->delack_ns);
}

/*
 * The segment that is expected. Assumed: the connection is established and nothing about it is unusual (t->fast:
 * nothing is missing in either direction, no probe is out, no ECN, no framing, nobody has closed). Looked at: no flag
 * but ACK and PSH; no option but timestamps, exactly where they were negotiated; the next number; an acknowledgement of
 * what is out; a timestamp that is not old; payload inside the window that was advertised. All else is
 * demi_tcp_state_input()'s.
 */
static inline bool fast_input(struct demi_tcp *t, const struct demi_inet_rxpkt *r, const struct demi_tcp_hdr *h)
{
	uint32_t hlen = (uint32_t)sizeof(*h) + (t->ts_ok ? DEMI_TCP_TS_LEN : 0), len = r->len - hlen;
	uint32_t seq = ntohl(h->seq), ack = ntohl(h->ack), tsval = 0;
	struct demi_inet *in = t->s.in;

	if (h->doff != hlen << 2 || (h->flags & ~DEMI_TH_PSH) != DEMI_TH_ACK || seq != t->rcv_nxt)
		return false;
	if (ack - t->snd_una > t->snd_nxt - t->snd_una || len > t->rcv_adv - seq)
		return false;
	if (t->ts_ok) {
		const uint8_t *o = r->p->data + r->off + sizeof(*h);

		if (load32(o) != TS_WORD)
			return false;
		tsval = ntohl(load32(o + 4));
		if (seq_lt(tsval, t->ts_recent))
			return false;
	}
	if (!len && ack == t->snd_una) /* a duplicate acknowledgement, a window, a probe */
		return false;
	if (t->ts_ok && seq_leq(seq, t->rcv_acked)) { /* RFC 7323 4.3 (2) */
		t->ts_recent = tsval;
		t->ts_recent_ms = demi_tcp_ts_now(in);
	}
	t->snd_wnd = (uint32_t)ntohs(h->wnd) << t->snd_wscale;
	t->wnd_word = 0;
	t->snd_wl1 = seq;
	if (t->snd_wnd > t->snd_wnd_max)
		t->snd_wnd_max = t->snd_wnd;
	t->rcv_ns = in->now_ns;
	if (ack != t->snd_una)
		demi_tcp_acked_fast(t, ack);
	if (!len) {
		demi_inet_drop(in, r->p, r->segs);
		return true;
	}
	t->rcv_nxt = seq + len;
	demi_tcp_rcv_mss(t, r, len);
	demi_tcp_rx_take(t, r, r->off + hlen, len);
	demi_tcp_ack_data(t);
	if (__builtin_expect(t->rx_failed, 0))
		demi_tcp_abort(t, EBADMSG);
	return true;
}

/* The header's fields as numbers. False: it is none. */
static bool parse(struct demi_tcp_in *i, const struct demi_inet_rxpkt *r, const struct demi_tcp_hdr *h)
{
	uint32_t hlen = (h->doff >> 4) * 4U;

	if (hlen < sizeof(*h) || hlen > r->len || r->off + hlen > r->p->len)
		return false;
	i->r = r;
	i->seq = ntohl(h->seq);
	i->ack = ntohl(h->ack);
	i->wnd = ntohs(h->wnd);
	i->flags = h->flags; /* the urgent pointer means nothing: data of RFC 6093 comes in line */
	i->off = r->off + hlen;
	i->len = r->len - hlen;
	i->ce = is_marked(r);
	demi_tcp_opts_parse(&i->o, (const uint8_t *)r->p->data + r->off + sizeof(*h), hlen - (uint32_t)sizeof(*h),
			    h->flags & DEMI_TH_SYN);
	return true;
}

static __attribute__((noinline)) void slow_input(struct demi_inet *in, struct demi_tcp *t,
						 const struct demi_inet_rxpkt *r, const struct demi_tcp_hdr *h)
{
	struct demi_tcp_in i;
	bool taken = false;

	if (!parse(&i, r, h)) {
		in->count.TcpInErrs++;
		demi_inet_drop(in, r->p, r->segs);
		return;
	}
	if (!t) {
		if (!demi_tcp_tw_input(in, &i))
			demi_tcp_send_reset_to(in, &i);
	} else if (t->state == DEMI_TCP_LISTEN) {
		if (!demi_tcp_tw_input(in, &i))
			taken = demi_tcp_listen_input(t, &i);
	} else if (t->state == DEMI_TCP_SYN_SENT) {
		taken = demi_tcp_syn_sent_input(t, &i);
	} else {
		taken = demi_tcp_state_input(t, &i);
	}
	if (!taken)
		demi_inet_drop(in, r->p, r->segs);
}

void demi_tcp_input(struct demi_inet *in, struct demi_inet_rxpkt *r)
{
	const struct demi_tcp_hdr *h = (const void *)(r->p->data + r->off);
	struct demi_tcp *t;

	in->count.TcpInSegs++;
	if (__builtin_expect(r->off + sizeof(*h) > r->p->len || r->len < sizeof(*h), 0)) {
		in->count.TcpInErrs++;
		goto drop;
	}
	if (__builtin_expect(!checksum_ok(r), 0)) {
		in->count.TcpInCsumErrors++;
		in->count.TcpInErrs++;
		goto drop;
	}
	r->key.lport = h->dport;
	r->key.rport = h->sport;
	t = DEMI_TCP(demi_demux_find(&in->tcp->demux, &r->key));
	if (t)
		demi_tcp_settle(t);
	if (__builtin_expect(t && t->fast, 1)) {
		demi_inet_hint_set(in, r, &t->s); /* the next one like it can go the fast way (fast.h) */
		if (fast_input(t, r, h))
			return;
	}
	slow_input(in, t, r, h);
	return;
drop:
	demi_inet_drop(in, r->p, r->segs);
}
