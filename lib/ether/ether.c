/* SPDX-License-Identifier: MIT */
/* The device's table: the expected frame in, the expected packet out. */
#include "ether/dev.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the masks are those of a little-endian machine"
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Entries that are handed to the device at once. */
#define BURST 64

static inline bool bit(const uint64_t *map, uint32_t i)
{
	return map[i >> 6] >> (i & 63) & 1;
}

/* ---- receiving ---- */

/* From the frame's type on, in memory order: IPv4 without options. */
#define TYPE_IP4_PLAIN (0x0008U | 0x45U << 16)
#define TYPE_IP6 (0xdd86U | 0x60U << 16)
#define MIN4 (DEMI_ETHER_HLEN + sizeof(struct demi_ip4_hdr) + sizeof(struct demi_udp_hdr))
#define MIN6 (DEMI_ETHER_HLEN + sizeof(struct demi_ip6_hdr) + sizeof(struct demi_udp_hdr))

/* A source and a destination, as they stand in an IPv4 header. */
static inline uint64_t *pair4(struct demi_ether *e, uint64_t pair)
{
	return &e->pairs4[pair * 0x9e3779b97f4a7c15 >> 56];
}

_Static_assert(DEMI_ETHER_PAIRS4 == 1 << (64 - 56), "as many as the shift leaves");

/*
 * The frame that nothing needs to be done about: to this device, with an IP packet without options, from where and to
 * where one has come that was looked at closely; not a fragment; TCP, or to an open port of UDP. The stack checks
 * everything else.
 */
static inline bool expected4(struct demi_ether *e, const uint8_t *d)
{
	uint32_t frag_proto = demi_load32(d + 20); /* fragment, time to live, protocol */
	uint64_t pair = demi_load64(d + 26);

	/* neither "more fragments" nor an offset */
	if (unlikely(*pair4(e, pair) != pair || frag_proto & 0xff3f))
		return false;
	frag_proto >>= 24;
	if (likely(frag_proto == IPPROTO_UDP))
		return bit(e->open4, demi_load16(d + 36));
	return frag_proto == IPPROTO_TCP;
}

static inline bool expected6(struct demi_ether *e, const uint8_t *d)
{
	/* sources that begin with 64 bits of 0 have a meaning of their own */
	if ((demi_load64(d + 38) ^ e->rx6.q[0]) | (demi_load64(d + 46) ^ e->rx6.q[1]) || !demi_load64(d + 22) ||
	    e->own6 >> (d[37] & 63) & 1)
		return false;
	if (d[20] == IPPROTO_UDP)
		return bit(e->open6, demi_load16(d + 56));
	return d[20] == IPPROTO_TCP;
}

static inline bool expected(struct demi_ether *e, const struct demi_pkt *p)
{
	const uint8_t *d = p->data;
	uint32_t type;

	/* the whole destination, and that the source is not a group */
	if (unlikely(p->len < MIN4 || (demi_load64(d) ^ e->mac) << 15 || p->flags & DEMI_PKT_F_MORE))
		return false;
	type = demi_load32(d + 12);
	if (likely((type & 0xffffff) == TYPE_IP4_PLAIN))
		return expected4(e, d);
	return (type & 0xf0ffff) == TYPE_IP6 && p->len >= MIN6 && expected6(e, d);
}

void demi_ether_expect(struct demi_ether *e, const struct demi_ip *src, const struct demi_ip *dst)
{
	uint64_t pair = src->w[3] | (uint64_t)dst->w[3] << 32;

	if (demi_ip_is4(dst))
		*pair4(e, pair) = pair;
	else
		demi_ether_expect6(e, dst);
}

void demi_ether_expect_nobody(struct demi_ether *e)
{
	memset(e->pairs4, 0, sizeof(e->pairs4));
	e->pairs4[0] = 1; /* not even 0.0.0.0 to itself, which belongs here; this pair does not */
	e->own6 = ~0ULL;
}

void demi_ether_recycle(struct demi_ether *e, const struct demi_pkt *p, uint32_t segs)
{
	for (uint32_t i = 0; i < segs; i++)
		e->low->ops->rx_recycle(e->low, p[i].data);
	e->kick |= segs != 0;
}

static inline uint32_t segs_of(const struct demi_pkt *p, uint32_t n)
{
	uint32_t segs = 1;

	while (unlikely(p[segs - 1].flags & DEMI_PKT_F_MORE) && segs < n)
		segs++;
	return segs;
}

/* All others; where the next packet goes. */
static __attribute__((noinline)) struct demi_pkt *unexpected(struct demi_ether *e, struct demi_pkt *to,
							     struct demi_pkt *p, uint32_t segs)
{
	if (!demi_ether_frame(e, p, segs))
		return to;
	if (to != p)
		memmove(to, p, segs * sizeof(*p));
	return to + segs;
}

/* Frames become packets in place; what is not the stack's drops out. */
static inline uint32_t receive(struct demi_ether *e, struct demi_pkt *pkts, uint32_t n)
{
	struct demi_pkt *to = pkts, *end = pkts + n;
	uint32_t segs;

	for (struct demi_pkt *p = pkts; p < end; p += segs) {
		segs = 1;
		if (unlikely(!expected(e, p))) {
			segs = segs_of(p, (uint32_t)(end - p));
			to = unexpected(e, to, p, segs);
			continue;
		}
		p->data += DEMI_ETHER_HLEN;
		p->len -= DEMI_ETHER_HLEN;
		p->csum_start -= DEMI_ETHER_HLEN;
		if (unlikely(to != p))
			*to = *p;
		to++;
	}
	return (uint32_t)(to - pkts);
}

static __attribute__((noinline)) void give_back(struct demi_ether *e)
{
	e->kick = false;
	e->low->ops->kick(e->low); /* if the device is gone, the next entry says so */
}

static __attribute__((noinline)) uint32_t rx_slow(struct demi_ether *e, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = demi_ether_ready_take(e, pkts, max);

	if (e->job.n)
		demi_ether_cut_more(e);
	e->slow = e->ready || e->job.n;
	return n;
}

static int ether_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_ether *e = demi_ether_of(d);
	uint32_t n = 0;
	int got;

	if (unlikely(e->slow)) {
		n = rx_slow(e, pkts, max);
		if (max - n < DEMI_PKT_RX_SEGS_MAX)
			return (int)n;
	}
	got = e->low->ops->rx(e->low, pkts + n, max - n);
	if (got > 0)
		n += receive(e, pkts + n, (uint32_t)got);
	if (unlikely(e->kick))
		give_back(e);
	return got < 0 && !n ? got : (int)n;
}

static void ether_rx_recycle(struct demi_pktdev *d, void *data)
{
	struct demi_ether *e = demi_ether_of(d);

	e->low->ops->rx_recycle(e->low, data);
}

/* ---- sending ---- */

static inline struct demi_ether_hint4 *hint4(struct demi_ether *e, uint32_t dst)
{
	return &e->hint4[dst * 0x9e3779b1U >> 26];
}

_Static_assert(DEMI_ETHER_HINTS4 == 1 << (32 - 26), "as many as the shift leaves");

static inline struct demi_ether_hint6 *hint6(struct demi_ether *e, const uint8_t *dst)
{
	return &e->hint6[(demi_load64(dst) ^ demi_load64(dst + 8)) * 0x9e3779b97f4a7c15 >> 60];
}

_Static_assert(DEMI_ETHER_HINTS6 == 1 << (64 - 60), "as many as the shift leaves");

/* Exactly 14 bytes: what is in front may be somebody's. */
static inline void put_header(uint8_t *to, const uint8_t *hdr)
{
	memcpy(to, hdr, 8);
	memcpy(to + 6, hdr + 6, 8);
}

/* The frame's header in front of a packet whose destination is known. */
static inline bool header_known(struct demi_ether *e, const struct demi_pkt *p)
{
	if (likely(p->data[0] >> 4 == 4)) {
		uint32_t dst = demi_load32(p->data + 16);
		const struct demi_ether_hint4 *h = hint4(e, dst);

		if (unlikely(h->key != (DEMI_ETHER_HINT4 | dst)))
			return false;
		put_header(p->data - DEMI_ETHER_HLEN, h->hdr);
		return true;
	} else {
		const struct demi_ether_hint6 *h = hint6(e, p->data + 24);

		if (!h->valid || (demi_load64(p->data + 24) ^ h->dst.q[0]) | (demi_load64(p->data + 32) ^ h->dst.q[1]))
			return false;
		put_header(p->data - DEMI_ETHER_HLEN, h->hdr);
		return true;
	}
}

/* A packet as the device wants it: from the frame's header on. */
static inline void framed(struct demi_pkt *to, const struct demi_pkt *p)
{
	*to = *p;
	to->data -= DEMI_ETHER_HLEN;
	to->len += DEMI_ETHER_HLEN;
	to->csum_start += DEMI_ETHER_HLEN; /* both mean nothing without their flags */
	to->hdr_len += DEMI_ETHER_HLEN;
}

int demi_ether_transmit(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, const uint8_t mac[6])
{
	struct demi_ether_hdr h = { .type = htons(DEMI_ETHER_TYPE_IP4) };
	struct demi_pkt out[DEMI_PKT_RX_SEGS_MAX];
	int n;

	if (pkts[0].data[0] >> 4 == 6)
		h.type = htons(DEMI_ETHER_TYPE_IP6);
	memcpy(h.dst, mac, sizeof(h.dst));
	memcpy(h.src, e->low->mac, sizeof(h.src));
	memcpy(pkts[0].data - DEMI_ETHER_HLEN, &h, sizeof(h));
	memcpy(out, pkts, segs * sizeof(out[0]));
	framed(&out[0], &pkts[0]);
	n = e->low->ops->tx(e->low, out, segs);
	if (n <= 0)
		return n ? n : -EAGAIN;
	e->own_flying += pkts[0].cookie & 1;
	return 0;
}

/* Remember how packets to @p's destination begin. The header is in front of it. */
static void remember(struct demi_ether *e, const struct demi_pkt *p)
{
	const uint8_t *hdr = p->data - DEMI_ETHER_HLEN;

	if (p->data[0] >> 4 == 4) {
		uint32_t dst = demi_load32(p->data + 16);
		struct demi_ether_hint4 *h = hint4(e, dst);

		h->key = DEMI_ETHER_HINT4 | dst;
		memcpy(h->hdr, hdr, sizeof(h->hdr));
	} else {
		struct demi_ether_hint6 *h = hint6(e, p->data + 24);

		memcpy(h->dst.b, p->data + 24, sizeof(h->dst.b));
		memcpy(h->hdr, hdr, sizeof(h->hdr));
		h->valid = true;
	}
}

void demi_ether_hints_forget(struct demi_ether *e)
{
	memset(e->hint4, 0, sizeof(e->hint4));
	memset(e->hint6, 0, sizeof(e->hint6));
}

/* The destination of a packet to be sent. False: it cannot have come from the stack. */
static bool destination(const struct demi_pkt *p, struct demi_ip *dst)
{
	if (p->len >= sizeof(struct demi_ip4_hdr) && p->data[0] >> 4 == 4) {
		*dst = demi_ip_from4(demi_load32(p->data + 16));
		return true;
	}
	if (p->len < sizeof(struct demi_ip6_hdr) || p->data[0] >> 4 != 6)
		return false;
	memcpy(dst->b, p->data + 24, sizeof(dst->b));
	return true;
}

static int fail(struct demi_ether *e, const struct demi_pkt *p, int err)
{
	e->tx_dropped++;
	demi_ether_done(e, p->cookie, err, false);
	return 0;
}

int demi_ether_deliver(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, const uint8_t mac[6])
{
	uint32_t len = 0, mtu = e->mtu;
	struct demi_ip dst;

	for (uint32_t i = 0; i < segs; i++)
		len += pkts[i].len;
	if (pkts[0].flags & DEMI_PKT_F_GSO)
		return demi_ether_transmit(e, pkts, segs, mac);
	if (destination(&pkts[0], &dst))
		mtu = demi_ether_path_mtu(e, &dst);
	/* RFC 791: not to be cut; a router that cannot pass it on says so */
	if (pkts[0].data[0] >> 4 == 4 && pkts[0].data[6] & DEMI_IP4_DF >> 8)
		mtu = e->mtu;
	if (len <= mtu)
		return demi_ether_transmit(e, pkts, segs, mac);
	if (pkts[0].data[0] >> 4 == 4 && pkts[0].data[6] & DEMI_IP4_DF >> 8)
		return fail(e, &pkts[0], EMSGSIZE);
	return demi_ether_cut(e, pkts, segs, len, mtu, mac);
}

int demi_ether_output(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, uint32_t len)
{
	struct demi_ether_hop hop;
	const uint8_t *mac = hop.mac;
	bool sure = false;
	struct demi_ip dst;
	uint32_t mtu;
	int err;

	if (!demi_ether_done_room(e))
		return -EAGAIN;
	if (!destination(&pkts[0], &dst))
		return fail(e, &pkts[0], EINVAL);
	err = demi_ether_hop(e, &dst, &hop);
	if (err)
		return fail(e, &pkts[0], -err);
	if (demi_ip_is_multicast(&dst) && demi_ether_joined(e, &dst) && !(pkts[0].cookie & 1))
		(void)demi_ether_loop(e, pkts, segs); /* IP_MULTICAST_LOOP; it may be lost like any other */
	if (hop.kind == DEMI_ETHER_HOP_SELF) {
		err = demi_ether_loop(e, pkts, segs);
		demi_ether_done(e, pkts[0].cookie, -err, false);
		return 0;
	}
	mtu = demi_ether_path_mtu(e, &dst);
	if (hop.kind == DEMI_ETHER_HOP_NEIGH)
		mac = demi_ether_neigh_resolve(e, &hop.ip, pkts, segs, &sure, &err);
	if (!mac)
		return err;
	err = demi_ether_deliver(e, pkts, segs, mac);
	if (!err && sure && mtu == e->mtu && len <= mtu)
		remember(e, &pkts[0]);
	return err;
}

/* Entries of what has been gathered that the device takes. */
static inline int pass(struct demi_ether *e, const struct demi_pkt *out, uint32_t n)
{
	return n ? e->low->ops->tx(e->low, out, n) : 0;
}

static __attribute__((noinline)) int tx_burst(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t n)
{
	struct demi_pkt out[BURST];
	uint32_t base = 0, i, segs, len; /* pkts[base] is out[0] */
	int ret;

	if (e->job.n && !demi_ether_cut_more(e))
		return 0;
	for (i = 0; i < n; i += segs) {
		const struct demi_pkt *p = &pkts[i];

		segs = segs_of(p, n - i);
		len = p->len;
		for (uint32_t k = 1; k < segs; k++)
			len += p[k].len;
		if (i + segs - base <= BURST && (len <= e->mtu || p->flags & DEMI_PKT_F_GSO) && header_known(e, p)) {
			framed(&out[i - base], p);
			for (uint32_t k = 1; k < segs; k++)
				out[i - base + k] = p[k];
			continue;
		}
		ret = pass(e, out, i - base);
		if (ret < 0 || base + (uint32_t)ret < i)
			return ret < 0 ? ret : (int)base + ret;
		ret = demi_ether_output(e, p, segs, len);
		if (ret == -EAGAIN)
			return (int)i;
		if (ret)
			return ret;
		base = i + segs;
	}
	ret = pass(e, out, n - base);
	return ret < 0 ? ret : (int)base + ret;
}

static int ether_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_pkt out;

	if (likely(n == 1 && pkts->len <= e->mtu && !e->job.n && header_known(e, pkts))) {
		framed(&out, pkts);
		return e->low->ops->tx(e->low, &out, 1);
	}
	return tx_burst(e, pkts, n);
}

void demi_ether_done(struct demi_ether *e, uint64_t cookie, int err, bool copied)
{
	if (cookie & 1) {
		demi_ether_own_free(e, cookie);
		return;
	}
	e->done[e->ndone++] = (struct demi_pkt_done){ cookie, err, copied };
	demi_ether_due(e, 1); /* whoever is about to sleep has to look first */
}

static uint32_t take_own(struct demi_ether *e, struct demi_pkt_done *done, uint32_t n)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!(done[i].cookie & 1)) {
			done[to++] = done[i];
			continue;
		}
		e->own_flying--;
		demi_ether_own_free(e, done[i].cookie);
	}
	return to;
}

static int ether_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	struct demi_ether *e = demi_ether_of(d);
	int n = e->low->ops->tx_done(e->low, done, max);

	if (unlikely(e->own_flying) && n > 0)
		n = (int)take_own(e, done, (uint32_t)n);
	while (unlikely(e->ndone) && n >= 0 && (uint32_t)n < max)
		done[n++] = e->done[--e->ndone];
	return n;
}

static int ether_kick(struct demi_pktdev *d)
{
	struct demi_ether *e = demi_ether_of(d);

	e->kick = false;
	return e->low->ops->kick(e->low);
}

static void *ether_buf_alloc(struct demi_pktdev *d, uint32_t size)
{
	struct demi_ether *e = demi_ether_of(d);

	return e->low->ops->buf_alloc(e->low, size);
}

/* ---- sleeping ---- */

static int ether_arm(struct demi_pktdev *d)
{
	struct demi_ether *e = demi_ether_of(d);

	return e->low->ops->arm(e->low);
}

static void ether_disarm(struct demi_pktdev *d)
{
	struct demi_ether *e = demi_ether_of(d);

	e->low->ops->disarm(e->low);
}

/* ---- time ---- */

static void ether_run(struct demi_pktdev *d, uint64_t now_ns)
{
	struct demi_ether *e = demi_ether_of(d);

	d->deadline_ns = 0; /* each tells anew what it waits for */
	demi_ether_addr_run(e, now_ns);
	demi_ether_route_run(e, now_ns);
	demi_ether_neigh_run(e, now_ns);
	demi_ether_ra_run(e, now_ns);
	demi_ether_group_run(e, now_ns);
	demi_ether_reass_run(e, now_ns);
	if (e->ready || e->ndone)
		demi_ether_due(e, 1);
	if (e->kick)
		give_back(e);
}

/* ---- the rest ---- */

static void ether_stats(struct demi_pktdev *d, struct demi_pktdev_stats *s)
{
	struct demi_ether *e = demi_ether_of(d);

	e->low->ops->stats(e->low, s);
	s->rx_dropped += e->rx_dropped;
	s->rx_errors += e->rx_errors;
	s->tx_dropped += e->tx_dropped;
}

struct demi_pktdev_ops demi_ether_ops = {
	.name = "ether",
	.abi = DEMI_PKTDEV_ABI,
	.rx = ether_rx,
	.tx = ether_tx,
	.tx_done = ether_tx_done,
	.kick = ether_kick,
	.rx_recycle = ether_rx_recycle,
	.run = ether_run,
	.buf_alloc = ether_buf_alloc,
	.arm = ether_arm,
	.disarm = ether_disarm,
	.port_reserve = demi_ether_port_reserve,
	.port_release = demi_ether_port_release,
	.flow_add = demi_ether_flow_add,
	.flow_del = demi_ether_flow_del,
	.group = demi_ether_group_op,
	.route = demi_ether_route,
	.stats = ether_stats,
	.destroy = demi_ether_destroy,
};
