/* SPDX-License-Identifier: MIT */
/*
 * Fragments become packets: RFC 791 3.2, RFC 8200 4.5. They are copied, so that what a stranger sends piece by piece
 * never keeps the device's buffers; the memory is this layer's, limited, the oldest going first. A bit for each 8
 * bytes says what is there: fragments that overlap end the packet (RFC 5722, for both families), repeated ones do not.
 */
#include "ether/dev.h"

#include "heap/heap.h"
#include "inet/cksum.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>

/* As Linux: ipfrag_high_thresh, ipfrag_time; RFC 8200 4.5 */
#define BYTES_MAX (4U << 20)
#define TIME4_NS (30 * DEMI_ETHER_S)
#define TIME6_NS (60 * DEMI_ETHER_S)
#define PACKETS_MAX 256

/*
 * The packet in objects of one size. In the first one the stack's headroom and room for headers are in front, so
 * that a packet of up to 65,535 bytes fits.
 */
#define CHUNK 2048U
#define HEAD 256U
#define CHUNKS (1 + (65536 - (CHUNK - HEAD) + CHUNK - 1) / CHUNK)
#define HEADERS_MAX (HEAD - DEMI_PKT_HEADROOM)

_Static_assert(CHUNKS <= DEMI_PKT_RX_SEGS_MAX, "too many segments");
_Static_assert(CHUNK - HEAD >= DEMI_PKT_RX_FIRST_MIN, "the first segment must have that");

#define FRAG6_LEN 8

struct demi_ether_reass {
	struct demi_ether_reass *next;
	struct demi_ip src, dst;
	uint32_t id;
	uint8_t proto; /* IPv4; else 0 */
	uint8_t from[6];
	uint64_t until_ns;
	uint32_t bytes; /* of memory */
	uint32_t got, end, total; /* bytes: received, the highest, all (0: not known yet) */
	uint32_t hlen; /* of the first fragment's headers, with the fragment header; 0: it has not come */
	uint32_t next_at; /* IPv6: where the number of the fragment header stands */
	uint8_t headers[HEADERS_MAX];
	uint8_t *chunks[CHUNKS];
	uint64_t map[8192 / 64];
};

/* A fragment as it is on the wire. */
struct piece {
	const struct demi_ether_in *in;
	uint32_t off, len; /* in the packet's payload */
	uint32_t at; /* of it in the received packet */
	bool more;
	uint32_t hlen; /* bytes in front of `at` */
};

static uint8_t *place(struct demi_ether_reass *r, uint32_t off, uint32_t *room)
{
	uint32_t i = off < CHUNK - HEAD ? 0 : 1 + (off - (CHUNK - HEAD)) / CHUNK;
	uint32_t at = i ? (off - (CHUNK - HEAD)) % CHUNK : HEAD + off;

	*room = CHUNK - at;
	if (!r->chunks[i]) {
		r->chunks[i] = demi_heap_alloc(CHUNK);
		r->bytes += r->chunks[i] ? CHUNK : 0;
	}
	return r->chunks[i] ? r->chunks[i] + at : NULL;
}

static void destroy(struct demi_ether *e, struct demi_ether_reass *r)
{
	struct demi_ether_reass **at = &e->reass;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	for (uint32_t i = 0; i < CHUNKS; i++) {
		if (r->chunks[i])
			demi_heap_free(r->chunks[i]);
	}
	e->reass_bytes -= r->bytes;
	free(r);
}

static void give_up(struct demi_ether *e, struct demi_ether_reass *r)
{
	e->rx_dropped++;
	destroy(e, r);
}

static struct demi_ether_reass *find(struct demi_ether *e, const struct demi_ether_in *in, uint32_t id, uint8_t proto)
{
	struct demi_ether_reass *r = e->reass;

	while (r && !(r->id == id && r->proto == proto && demi_ip_equal(&r->src, &in->src) &&
		      demi_ip_equal(&r->dst, &in->dst)))
		r = r->next;
	return r;
}

static struct demi_ether_reass *create(struct demi_ether *e, const struct demi_ether_in *in, uint32_t id, uint8_t proto)
{
	struct demi_ether_reass *r, **at = &e->reass;
	uint32_t n = 0;

	for (; *at; at = &(*at)->next)
		n++;
	if (n >= PACKETS_MAX) {
		give_up(e, e->reass);
		for (at = &e->reass; *at; at = &(*at)->next)
			;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->src = in->src;
	r->dst = in->dst;
	r->id = id;
	r->proto = proto;
	r->bytes = sizeof(*r);
	e->reass_bytes += r->bytes;
	r->until_ns = demi_ether_now(e) + (demi_ip_is4(&in->src) ? TIME4_NS : TIME6_NS);
	demi_ether_due(e, r->until_ns);
	*at = r;
	return r;
}

/* ---- what is there ---- */

static bool has(const struct demi_ether_reass *r, uint32_t unit)
{
	return r->map[unit / 64] >> (unit % 64) & 1;
}

/* How many of the piece's units are there already. */
static uint32_t overlap(const struct demi_ether_reass *r, const struct piece *p)
{
	uint32_t n = 0;

	for (uint32_t u = p->off / 8; u < (p->off + p->len + 7) / 8; u++)
		n += has(r, u);
	return n;
}

/* RFC 8200 4.5: the same once more is no attack. */
static bool same(struct demi_ether_reass *r, const struct piece *p)
{
	uint8_t old[CHUNK];
	uint32_t done = 0;

	while (done < p->len) {
		uint32_t room, n;
		const uint8_t *to = place(r, p->off + done, &room);

		n = p->len - done < room ? p->len - done : room;
		if (!to)
			return false;
		demi_pkt_copy(old, p->in->p, p->at + done, n);
		if (memcmp(to, old, n))
			return false;
		done += n;
	}
	return true;
}

static bool store(struct demi_ether_reass *r, const struct piece *p)
{
	uint32_t done = 0;

	while (done < p->len) {
		uint32_t room, n;
		uint8_t *to = place(r, p->off + done, &room);

		if (!to)
			return false;
		n = p->len - done < room ? p->len - done : room;
		demi_pkt_copy(to, p->in->p, p->at + done, n);
		done += n;
	}
	for (uint32_t u = p->off / 8; u < (p->off + p->len + 7) / 8; u++)
		r->map[u / 64] |= 1ULL << (u % 64);
	r->got += p->len;
	return true;
}

/* ---- whole ---- */

/* The headers in front of the first chunk's payload; how long they are. 0: the packet would be too long. */
static uint32_t put_headers(struct demi_ether_reass *r)
{
	bool v4 = demi_ip_is4(&r->src);
	uint32_t hlen = v4 ? r->hlen : r->hlen - FRAG6_LEN;
	uint32_t len = (v4 ? hlen : hlen - (uint32_t)sizeof(struct demi_ip6_hdr)) + r->total;
	uint8_t *to = r->chunks[0] + HEAD - hlen;
	uint16_t n = htons((uint16_t)len), zero = 0;

	if (len > UINT16_MAX)
		return 0;
	memcpy(to, r->headers, hlen);
	if (v4) {
		memcpy(to + 2, &n, sizeof(n));
		memcpy(to + 6, &zero, sizeof(zero));
		memcpy(to + 10, &zero, sizeof(zero));
		n = (uint16_t)~demi_cksum_fold(demi_cksum_add(0, to, hlen));
		memcpy(to + 10, &n, sizeof(n));
	} else {
		memcpy(to + 4, &n, sizeof(n));
		to[r->next_at] = r->headers[hlen]; /* the fragment header's next */
	}
	return hlen;
}

/* To the stack, if it is for it. */
static void finish(struct demi_ether *e, struct demi_ether_reass *r)
{
	uint32_t n = r->total <= CHUNK - HEAD ? 1 : 1 + (r->total - (CHUNK - HEAD) + CHUNK - 1) / CHUNK, left;
	uint32_t hlen = put_headers(r);
	struct demi_ether_ready *ready = hlen ? demi_ether_ready_alloc(n) : NULL;
	struct demi_ether_in in = { .segs = n, .joined = true };

	if (!ready) {
		give_up(e, r);
		return;
	}
	left = r->total;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t room = i ? CHUNK : CHUNK - HEAD, m = left < room ? left : room;

		ready->pkts[i].data = r->chunks[i] + (i ? 0 : HEAD - hlen);
		ready->pkts[i].len = m + (i ? 0 : hlen);
		ready->pkts[i].flags = i + 1 < n ? DEMI_PKT_F_MORE : 0;
		r->chunks[i] = NULL;
		left -= m;
	}
	in.p = ready->pkts;
	in.len = hlen + r->total;
	in.mcast = demi_ip_is_multicast(&r->dst) || demi_ip_is_broadcast(&r->dst) ||
		   (demi_ip_is4(&r->dst) && demi_ether_is_subnet_broadcast(e, r->dst.w[3]));
	memcpy(in.from, r->from, sizeof(in.from));
	destroy(e, r);
	if (demi_ether_packet(e, &in)) {
		demi_ether_ready_add(e, ready);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		demi_heap_free(ready->pkts[i].data);
	free(ready);
}

static bool remember_headers(struct demi_ether_reass *r, const struct piece *p, uint32_t next_at)
{
	if (p->hlen > HEADERS_MAX || p->hlen > p->in->p->len)
		return false;
	memcpy(r->headers, p->in->p->data, p->hlen);
	r->hlen = p->hlen;
	r->next_at = next_at;
	memcpy(r->from, p->in->from, sizeof(r->from));
	return true;
}

/* False: nothing good can come of this packet any more. */
static bool add(struct demi_ether *e, struct demi_ether_reass *r, const struct piece *p, uint32_t next_at)
{
	uint32_t end = p->off + p->len, there = overlap(r, p), bytes = r->bytes;
	bool ok;

	if (!p->more && r->total && r->total != end)
		return false;
	if (!p->more)
		r->total = end;
	r->end = end > r->end ? end : r->end;
	if (r->total && r->end > r->total)
		return false;
	if (there)
		return there == (p->len + 7) / 8 && same(r, p);
	if (!p->off && !r->hlen && !remember_headers(r, p, next_at))
		return false;
	ok = store(r, p);
	e->reass_bytes += r->bytes - bytes;
	return ok;
}

static void input(struct demi_ether *e, const struct piece *p, uint32_t id, uint8_t proto, uint32_t next_at)
{
	struct demi_ether_reass *r;

	/* only the last one may have a length that is no multiple of 8; none may reach beyond the longest packet */
	if (!p->len || (p->more && p->len % 8) || p->off + p->len > UINT16_MAX) {
		e->rx_errors++;
		return;
	}
	r = find(e, p->in, id, proto);
	if (!r)
		r = create(e, p->in, id, proto);
	if (!r)
		return;
	if (!add(e, r, p, next_at)) {
		give_up(e, r);
		return;
	}
	if (r->total && r->got == r->total && r->hlen) {
		finish(e, r);
		return;
	}
	while (e->reass_bytes > BYTES_MAX)
		give_up(e, e->reass);
}

void demi_ether_reass4(struct demi_ether *e, const struct demi_ether_in *in)
{
	struct demi_ip4_hdr h;
	struct piece p = { .in = in, .at = in->off, .len = in->end - in->off, .hlen = in->off };

	memcpy(&h, in->p->data, sizeof(h));
	p.off = (ntohs(h.frag_off) & DEMI_IP4_OFFSET) * 8U;
	p.more = h.frag_off & htons(DEMI_IP4_MF);
	input(e, &p, h.id, h.proto, 0);
}

/* The fragment header at in->off is in one piece with what is in front of it. */
void demi_ether_reass6(struct demi_ether *e, const struct demi_ether_in *in, uint32_t at)
{
	const uint8_t *x = in->p->data + in->off;
	struct piece p = { .in = in, .at = in->off + FRAG6_LEN, .hlen = in->off + FRAG6_LEN };
	uint32_t id;

	memcpy(&id, x + 4, sizeof(id));
	p.len = in->end - p.at;
	p.off = ((uint32_t)x[2] << 8 | x[3]) & 0xfff8;
	p.more = x[3] & 1;
	input(e, &p, id, 0, at);
}

/* ---- time ---- */

/* RFC 1122 3.3.2, RFC 8200 4.5: the sender is told, if the first fragment was there to tell it of. */
static void time_is_up(struct demi_ether *e, struct demi_ether_reass *r)
{
	bool v4 = demi_ip_is4(&r->src);
	struct demi_pkt p = { .len = r->hlen };
	struct demi_ether_in in = { .p = &p, .segs = 1, .len = r->hlen, .end = r->hlen, .src = r->src, .dst = r->dst };
	uint8_t quoted[HEADERS_MAX + 64];

	if (r->hlen) {
		uint32_t n = 0;

		memcpy(quoted, r->headers, r->hlen);
		while (n < 64 && n / 8 < 8192 && has(r, n / 8))
			n += 8;
		memcpy(quoted + r->hlen, r->chunks[0] + HEAD, n);
		p.data = quoted;
		p.len = in.len = in.end = r->hlen + n;
		in.mcast = demi_ip_is_multicast(&r->dst) || demi_ip_is_broadcast(&r->dst);
		memcpy(in.from, r->from, sizeof(in.from));
		demi_ether_icmp_error(e, &in, v4 ? ICMP_TIME_EXCEEDED : ICMP6_TIME_EXCEEDED,
				      v4 ? ICMP_EXC_FRAGTIME : ICMP6_TIME_EXCEED_REASSEMBLY, 0);
	}
	give_up(e, r);
}

void demi_ether_reass_run(struct demi_ether *e, uint64_t now_ns)
{
	struct demi_ether_reass *r, *next;

	for (r = e->reass; r; r = next) {
		next = r->next;
		if (r->until_ns <= now_ns)
			time_is_up(e, r);
		else
			demi_ether_due(e, r->until_ns);
	}
}

void demi_ether_reass_exit(struct demi_ether *e)
{
	while (e->reass)
		destroy(e, e->reass);
}
