/* SPDX-License-Identifier: MIT */
/*
 * What the path takes: less than was thought (RFC 1191, 8201, and 4821 7.7 where nobody says so), and, some time later,
 * whether it is more again (RFC 4821). Then one segment that is larger than the others goes out ahead of them. If it
 * arrives the path takes its size; if it alone is lost the path does not, which has nothing to do with congestion.
 */
#include "inet/tcp_stack.h"

#define AGAIN_NS (600 * DEMI_TCP_S) /* RFC 1191 6.3, RFC 8201 4 */
#define INCONCLUSIVE_NS (10 * DEMI_TCP_S) /* RFC 4821 7.6.4: not at once */
#define FOLLOWERS 4 /* RFC 4821 7.4: segments behind it, whose acknowledgements tell that it alone is lost */
#define CLOSE_ENOUGH 64 /* bytes that the search does not go on for */

static uint32_t route_mtu(const struct demi_tcp *t)
{
	uint32_t mtu = t->s.in->dev->mtu_bytes;

	return t->s.peer.mtu_bytes < mtu ? t->s.peer.mtu_bytes : mtu;
}

static uint32_t header_bytes(const struct demi_tcp *t)
{
	return (uint32_t)sizeof(struct demi_tcp_hdr) +
	       (uint32_t)(demi_ip_is4(&t->s.peer.dst.ip) ? sizeof(struct demi_ip4_hdr) : sizeof(struct demi_ip6_hdr));
}

/* Payload of a segment in a packet of @mtu bytes that the peer and the user agree to. */
static uint16_t mss_of(const struct demi_tcp *t, uint32_t mtu)
{
	uint32_t hdr = header_bytes(t), mss = mtu > hdr ? mtu - hdr : 0;

	if (mss > t->mss_peer)
		mss = t->mss_peer;
	if (t->mss_user && mss > t->mss_user)
		mss = t->mss_user;
	/* RFC 6691: both maxima are without options */
	if (t->ts_ok)
		mss -= mss > DEMI_TCP_TS_LEN ? DEMI_TCP_TS_LEN : 0;
	return (uint16_t)(mss < DEMI_TCP_MSS_MIN - DEMI_TCP_TS_LEN ? DEMI_TCP_MSS_MIN - DEMI_TCP_TS_LEN : mss);
}

void demi_tcp_mss_sync(struct demi_tcp *t)
{
	uint32_t mtu = route_mtu(t);

	demi_tcp_forget(t);
	t->mss = mss_of(t, t->pmtu_bytes && t->pmtu_bytes < mtu ? t->pmtu_bytes : mtu);
}

void demi_tcp_mtu_lower(struct demi_tcp *t, uint32_t mtu)
{
	t->pmtu_bytes = (uint16_t)mtu;
	t->pmtu_high = 0;
	t->pmtu_ns = t->s.in->now_ns + AGAIN_NS;
	t->mtu_probe = false;
	demi_tcp_mss_sync(t);
}

void demi_tcp_mtu_new_path(struct demi_tcp *t)
{
	t->pmtu_bytes = 0;
	t->mtu_probe = false;
}

/* ---- looking for more ---- */

static bool may_probe(const struct demi_tcp *t)
{
	uint8_t discover = demi_ip_is4(&t->s.peer.dst.ip) ? t->s.pmtudisc4 : t->s.pmtudisc6;

	return !t->mtu_probe && t->s.in->now_ns >= t->pmtu_ns && t->recovery == DEMI_TCP_OPEN && !t->lost_out &&
	       !t->sacked_out && !t->reno_sacked && !t->tlp_out && !t->backoff && !t->nsacks && !t->df_off &&
	       discover != IP_PMTUDISC_DONT; /* else routers cut it, and it arrives */
}

uint32_t demi_tcp_mtu_probe_bytes(struct demi_tcp *t, uint32_t unsent)
{
	uint32_t out = t->snd_nxt - t->snd_una, pipe = demi_tcp_pipe(t), mtu = route_mtu(t), n, room;

	if (!may_probe(t))
		return 0;
	if (t->pmtu_high && t->pmtu_high < mtu)
		mtu = t->pmtu_high;
	n = mss_of(t, mtu);
	if (n < (uint32_t)t->mss + CLOSE_ENOUGH) {
		t->pmtu_high = 0;
		t->pmtu_ns = t->s.in->now_ns + AGAIN_NS;
		return 0;
	}
	room = n + FOLLOWERS * t->mss;
	if (unsent < room || t->snd_wnd < out + room || t->cwnd < pipe + room)
		return 0;
	return n;
}

void demi_tcp_mtu_probe_sent(struct demi_tcp *t, uint32_t n)
{
	t->probe_seq = t->snd_nxt - n;
	t->probe_end = t->snd_nxt;
	t->mtu_probe = true;
	demi_tcp_fast_update(t);
}

static uint32_t probe_mtu(const struct demi_tcp *t)
{
	return t->probe_end - t->probe_seq + header_bytes(t) + (t->ts_ok ? DEMI_TCP_TS_LEN : 0U);
}

/* RFC 4821 7.6.1 */
static void succeeded(struct demi_tcp *t)
{
	uint32_t mtu = probe_mtu(t);

	t->mtu_probe = false;
	t->pmtu_bytes = mtu < route_mtu(t) ? (uint16_t)mtu : 0;
	t->s.in->count.TcpExtTCPMTUPSuccess++;
	demi_tcp_mss_sync(t);
}

void demi_tcp_mtu_probe_failed(struct demi_tcp *t)
{
	t->mtu_probe = false;
	t->pmtu_high = (uint16_t)((t->pmtu_bytes + probe_mtu(t)) / 2);
	t->s.in->count.TcpExtTCPMTUPFail++;
}

/* Is all that is called lost the probe's? */
static bool alone(const struct demi_tcp *t)
{
	uint32_t lost = 0;

	for (struct demi_tcp_rec *rec = t->rec_head; rec && seq_lt(rec->seq, t->probe_end); rec = rec->next) {
		if (rec->flags & DEMI_TCP_REC_LOST && seq_leq(t->probe_seq, rec->seq))
			lost += demi_tcp_rec_len(rec);
	}
	return lost == t->lost_out;
}

/* Lost without congestion, as if the route had changed (RFC 1191 6.5): the window stays. */
static void send_again(struct demi_tcp *t)
{
	t->recovery = DEMI_TCP_LOSS;
	t->recover = t->snd_nxt;
	t->undo_ok = t->frto = t->frto_new = false;
}

void demi_tcp_sent_too_large(struct demi_tcp *t)
{
	for (struct demi_tcp_rec *rec = t->rec_head; rec; rec = rec->next) {
		if (demi_tcp_rec_len(rec) > t->mss)
			demi_tcp_rec_lost(t, rec);
	}
	if (t->recovery < DEMI_TCP_RECOVERY && t->lost_out)
		send_again(t);
}

/* RFC 4821 7.6.2 */
static void lost_alone(struct demi_tcp *t)
{
	struct demi_tcp_rec *rec;

	demi_tcp_mtu_probe_failed(t);
	for (rec = t->rec_head; rec && seq_lt(rec->seq, t->probe_end); rec = rec->next) {
		if (seq_leq(t->probe_seq, rec->seq))
			demi_tcp_rec_lost(t, rec);
	}
	send_again(t);
}

void demi_tcp_mtu_probe_input(struct demi_tcp *t)
{
	if (seq_leq(t->probe_end, t->snd_una)) {
		succeeded(t);
	} else if (t->lost_out && t->recovery < DEMI_TCP_RECOVERY && alone(t)) {
		lost_alone(t);
	} else if (t->lost_out) { /* RFC 4821 7.6.4 */
		t->mtu_probe = false;
		t->pmtu_ns = t->s.in->now_ns + INCONCLUSIVE_NS;
	}
}
