/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_WATCH_H
#define DEMI_SELFTESTS_INET_WATCH_H

/*
 * What must hold of every packet of a connection, whatever happens to it: looked at where a stack sends it. A watched
 * connection has two sides; of each is known what it has said so far. A side that is not a stack may be noted with
 * watch_peer_window() and the like.
 */

#include "net.h"

struct watch_side {
	bool syn, fin, acked; /* said so far; acked: a segment with an acknowledgement */
	bool reset;
	bool unknown; /* what its SYN offered: what depends on that is not looked at */
	uint32_t isn;
	uint32_t end; /* behind the highest number that was sent, the FIN's too */
	uint32_t fin_seq;
	uint32_t ack; /* the last acknowledgement */
	uint32_t right; /* edge of the window that it offered; valid with `acked` */
	uint32_t tsval;
	bool ts, ws, sack_ok; /* in its SYN */
	uint8_t wscale;
	uint16_t mss;
	uint32_t options; /* bytes */
};

struct watch {
	struct watch_side side[2];
	bool nomem; /* a FIN may be lost before it is a packet, and takes its number all the same */
	/* the bytes of @from's stream at @pos, or NULL: not looked at */
	uint8_t (*byte)(int from, uint32_t pos);
};

/* A segment, as its header says. */
struct watch_seg {
	uint32_t seq, ack, wnd, len, hdr, off, end;
	uint8_t flags;
	bool ts;
	uint32_t tsval, tsecr;
	uint32_t nsacks, sacks[4][2];
	uint16_t mss;
	bool ws, sack_ok;
	uint8_t wscale;
	bool bad; /* malformed */
};

static inline bool watch_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline void watch_options(struct watch_seg *s, const uint8_t *o, uint32_t len)
{
	for (uint32_t i = 0; i < len && o[i]; i += o[i] == 1 ? 1 : o[i + 1]) {
		if (o[i] == 1)
			continue;
		if (i + 1 >= len || o[i + 1] < 2 || i + o[i + 1] > len) {
			s->bad = true;
			return;
		}
		if (o[i] == 2) {
			s->mss = (uint16_t)get16(o + i + 2);
		} else if (o[i] == 3) {
			s->ws = true;
			s->wscale = o[i + 2];
			s->bad |= s->wscale > 14;
		} else if (o[i] == 4) {
			s->sack_ok = true;
		} else if (o[i] == 8) {
			s->ts = true;
			s->tsval = get32(o + i + 2);
			s->tsecr = get32(o + i + 6);
		} else if (o[i] == 5) {
			s->bad |= (o[i + 1] - 2) % 8 != 0 || o[i + 1] < 10 || o[i + 1] > 34 || s->nsacks;
			for (uint32_t k = 2; k + 8 <= o[i + 1] && s->nsacks < 4; k += 8, s->nsacks++) {
				s->sacks[s->nsacks][0] = get32(o + i + k);
				s->sacks[s->nsacks][1] = get32(o + i + k + 4);
			}
		} else {
			s->bad = true;
		}
	}
}

static inline struct watch_seg watch_parse(const uint8_t *p, uint32_t len)
{
	uint32_t off = ip_hdr_len(p), hdr = (p[off + 12] >> 4) * 4U;
	struct watch_seg s = { .seq = get32(p + off + 4),
			       .ack = get32(p + off + 8),
			       .wnd = get16(p + off + 14),
			       .flags = p[off + 13],
			       .hdr = hdr,
			       .off = off + hdr };

	if (hdr < 20 || off + hdr > len) {
		s.bad = true;
		return s;
	}
	s.len = len - off - hdr;
	s.end = s.seq + s.len + !!(s.flags & 1) + !!(s.flags & 2);
	watch_options(&s, p + off + 20, hdr - 20);
	return s;
}

/* RFC 9293 3.8.6: the right edge never moves back, whatever was in the segment. */
static inline void watch_window(struct watch_side *w, const struct watch_side *peer, const struct watch_seg *s)
{
	uint32_t right = s->ack + (s->wnd << (w->ws && peer->ws && !(s->flags & 2) ? w->wscale : 0));
	/* behind the peer's FIN nothing comes any more, and the window says nothing */
	bool over = peer->fin && s->ack == peer->fin_seq + 1;

	if (w->acked && !over && !(s->flags & 2) && !peer->unknown)
		CHECK(!watch_lt(right, w->right));
	if (!w->acked || watch_lt(w->right, right))
		w->right = right;
	/* acknowledgements only grow, and never reach what was not sent */
	if (w->acked)
		CHECK(!watch_lt(s->ack, w->ack));
	if (peer->syn)
		CHECK(!watch_lt(peer->end, s->ack));
	w->ack = s->ack;
	w->acked = true;
}

/* RFC 2018 4: blocks above the acknowledgement, of what the peer has sent; RFC 2883: one more, first, may be below. */
static inline void watch_sacks(const struct watch_side *w, const struct watch_side *peer, const struct watch_seg *s)
{
	for (uint32_t i = 0; i < s->nsacks; i++) {
		uint32_t a = s->sacks[i][0], b = s->sacks[i][1];

		CHECK(w->sack_ok && (peer->sack_ok || peer->unknown));
		CHECK(watch_lt(a, b));
		if (peer->syn)
			CHECK(!watch_lt(peer->end, b));
		if (i)
			CHECK(watch_lt(s->ack, a));
	}
}

/* Payload and FIN: in the window, without gaps, the same bytes each time, nothing behind the end. */
static inline void watch_data(struct watch *x, int from, const struct watch_seg *s, const uint8_t *p)
{
	struct watch_side *w = &x->side[from], *peer = &x->side[!from];

	if (s->flags & 2) {
		CHECK(!w->syn || w->isn == s->seq);
		w->isn = s->seq;
		if (!w->syn)
			w->end = s->seq + 1;
		w->syn = true;
		return;
	}
	if (!w->syn)
		return;
	if (x->nomem && s->seq == w->end + 1 && !w->fin)
		w->end++;
	CHECK(!watch_lt(w->end, s->seq)); /* no number is left out */
	if (s->len && peer->acked)
		CHECK(!watch_lt(peer->right, s->seq + s->len));
	if (w->fin && s->len)
		CHECK(!watch_lt(w->fin_seq, s->seq + s->len));
	if (s->flags & 1) {
		CHECK(!w->fin || w->fin_seq == s->end - 1);
		CHECK(w->fin || !watch_lt(s->end - 1 + x->nomem, w->end));
		w->fin = true;
		w->fin_seq = s->end - 1;
	}
	if (watch_lt(w->end, s->end))
		w->end = s->end;
	for (uint32_t i = 0; x->byte && i < s->len; i++)
		CHECK_EQ(p[s->off + i], x->byte(from, s->seq + i - w->isn - 1));
}

static inline void watch_negotiate(struct watch_side *w, const struct watch_seg *s)
{
	if (!(s->flags & 2))
		return;
	w->ts = s->ts;
	w->ws = s->ws;
	w->wscale = s->wscale;
	w->sack_ok = s->sack_ok;
	w->mss = s->mss;
}

/* For who replays a run. */
static inline void watch_dump(int from, const uint8_t *p, uint32_t len)
{
	struct watch_seg s = watch_parse(p, len);

	printf("%llu.%06llu %d: flags %02x seq %u+%u ack %u wnd %u", (unsigned long long)(net_now / 1000000),
	       (unsigned long long)(net_now % 1000000), from, s.flags, s.seq, s.len, s.ack, s.wnd);
	if (s.ts)
		printf(" ts %u %u", s.tsval, s.tsecr);
	for (uint32_t i = 0; i < s.nsacks; i++)
		printf(" sack %u-%u", s.sacks[i][0], s.sacks[i][1]);
	printf("\n");
}

/* A packet of side @from; false: a reset, which says nothing about the stream. */
static inline bool watch_look(struct watch *x, int from, const uint8_t *p, uint32_t len)
{
	struct watch_side *w = &x->side[from], *peer = &x->side[!from];
	struct watch_seg s = watch_parse(p, len);

	CHECK_EQ(tcp_sum(p, len), 0xffff);
	CHECK(!s.bad);
	if (s.flags & 4) {
		w->reset = true;
		return false;
	}
	watch_negotiate(w, &s);
	if (s.mss)
		CHECK(s.flags & 2);
	/* RFC 7323 3.2: on every segment or on none, and never set back */
	if (!(s.flags & 2) && w->syn && !peer->unknown)
		CHECK_EQ(s.ts, w->ts && peer->ts);
	if (s.ts) {
		if (w->acked && w->ts && !(s.flags & 2))
			CHECK(!watch_lt(s.tsval, w->tsval));
		w->tsval = s.tsval;
	}
	if (s.flags & 16)
		watch_window(w, peer, &s);
	watch_sacks(w, peer, &s);
	watch_data(x, from, &s, p);
	if (peer->mss && !(s.flags & 2)) /* RFC 6691 */
		CHECK(s.len + s.hdr - 20 <= peer->mss || peer->mss < 88);
	return true;
}

#endif /* DEMI_SELFTESTS_INET_WATCH_H */
