/* SPDX-License-Identifier: MIT */
/* What ICMP says of a segment that was sent: RFC 1122 4.2.3.9, RFC 5927, RFC 1191, RFC 8201. */
#include "inet/tcp_stack.h"

/* RFC 1191 3: an old router says 0; less than everybody must take is not believed (RFC 5927 7.2, RFC 8200 5). */
#define MTU4_MIN 552U
#define MTU6_MIN 1280U

/* Packets of more than @mtu bytes do not get through: what is out in larger ones is lost. */
static void too_big(struct demi_tcp *t, uint32_t mtu)
{
	uint32_t min = demi_ip_is4(&t->s.peer.dst.ip) ? MTU4_MIN : MTU6_MIN, old = t->mss;

	if (mtu < min)
		mtu = min;
	if (mtu >= t->s.peer.mtu_bytes || (t->pmtu_bytes && mtu >= t->pmtu_bytes) || mtu > 65535)
		return;
	demi_tcp_mtu_lower(t, mtu);
	if (t->mss >= old)
		return;
	demi_tcp_sent_too_large(t);
	demi_tcp_fast_update(t);
	demi_tcp_want_output(t);
}

void demi_tcp_icmp(struct demi_inet *in, const struct demi_demux_key *k, uint32_t seq, int err, uint32_t mtu)
{
	struct demi_tcp *t = DEMI_TCP(demi_demux_find(&in->tcp->demux, k));

	if (!t || t->state == DEMI_TCP_LISTEN || t->dead)
		return;
	demi_tcp_settle(t);
	/* RFC 5927 4.1: of something that is under way, or somebody guesses */
	if (seq_lt(seq, t->snd_una) || !seq_lt(seq, t->snd_nxt))
		return;
	if (err == EMSGSIZE) {
		if (t->state >= DEMI_TCP_ESTABLISHED)
			too_big(t, mtu);
		return;
	}
	t->soft_err = (uint32_t)err; /* RFC 5927 5.2: no error ends a connection that was established */
	if (t->state < DEMI_TCP_ESTABLISHED)
		demi_tcp_end(t, err);
}
