/* SPDX-License-Identifier: MIT */
/* Frames that came to the wrong pair. */
#include "pktdev/virtio/share.h"

#include "ether/ether.h"
#include "inet/wire.h"
#include "pktdev/ports.h"
#include "pktdev/virtio/dev.h"

#include <stdlib.h>
#include <string.h>

#define MEMBERS 16
#define INBOX_MAX 1024 /* buffers that wait in an inbox; what comes for one that does not poll is dropped then */

/* Where a frame belongs: a member's number, or one of these. */
enum { MINE = 0, ALL = UINT8_MAX };

#define TYPE_IP4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IP6 0x86dd

/* A packet for another context, which frees it. */
struct demi_virtio_parcel {
	struct demi_virtio_parcel *next;
	uint32_t n;
	struct demi_pkt pkts[];
};

/* One who joins takes what is left of who was there before. */
struct member {
	_Atomic(struct demi_ctx *) ctx; /* NULL: there is none */
	_Atomic(struct demi_virtio_parcel *) inbox; /* newest first */
	atomic_uint held; /* buffers in the inbox, and in the mail that was taken from it */
	atomic_bool ring; /* another one wants this one's doorbell rung */
} __attribute__((aligned(64)));

struct demi_virtio_share {
	struct demi_pktdev_ports ports;
	struct demi_virtio_share *next;
	const struct demi_ring_mem *mem;
	uint32_t device_id;
	atomic_uint count;
	struct member members[MEMBERS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct demi_virtio_share *all;

static struct member *member_of(const struct demi_virtio_dev *vd)
{
	return &vd->share->members[vd->dev.ports_me - 1];
}

static void free_packet(const struct demi_pkt *p, uint32_t segs)
{
	for (uint32_t i = 0; i < segs; i++)
		demi_heap_free(p[i].data);
}

static void free_parcels(struct member *m, struct demi_virtio_parcel *p)
{
	while (p) {
		struct demi_virtio_parcel *next = p->next;

		free_packet(p->pkts, p->n);
		atomic_fetch_sub(&m->held, p->n);
		free(p);
		p = next;
	}
}

/* ---- members ---- */

static struct demi_virtio_share *find(const struct demi_virtio_dev *vd)
{
	struct demi_virtio_share *s = all;

	while (s && (s->mem != vd->mem || s->device_id != vd->device_id))
		s = s->next;
	if (s)
		return s;
	s = aligned_alloc(_Alignof(struct demi_virtio_share), sizeof(*s));
	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->mem = vd->mem;
	s->device_id = vd->device_id;
	s->next = all;
	all = s;
	return s;
}

int demi_virtio_share_join(struct demi_virtio_dev *vd, struct demi_ctx *ctx, uint32_t max)
{
	struct demi_virtio_share *s;
	uint8_t i = 0;
	int err = -ENOMEM;

	pthread_mutex_lock(&lock);
	s = find(vd);
	if (!s)
		goto out;
	while (i < MEMBERS && i < max && atomic_load(&s->members[i].ctx))
		i++;
	err = -EDQUOT;
	if (i == MEMBERS || i == max)
		goto out;
	free_parcels(&s->members[i], atomic_exchange(&s->members[i].inbox, NULL));
	atomic_store(&s->members[i].ctx, ctx);
	atomic_fetch_add(&s->count, 1);
	vd->share = s;
	vd->dev.ports = &s->ports;
	vd->dev.ports_me = (uint8_t)(i + 1);
	err = 0;
out:
	pthread_mutex_unlock(&lock);
	return err;
}

static void forget(struct demi_virtio_share *s)
{
	struct demi_virtio_share **at = &all;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	for (int i = 0; i < MEMBERS; i++)
		free_parcels(&s->members[i], atomic_load(&s->members[i].inbox));
	free(s);
}

void demi_virtio_share_leave(struct demi_virtio_dev *vd)
{
	struct demi_virtio_share *s = vd->share;
	uint8_t me = vd->dev.ports_me;

	if (!s)
		return;
	demi_virtio_share_ring(vd);
	free_parcels(member_of(vd), vd->mail);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < 2 * 65536; i++)
		if (atomic_load_explicit(&s->ports.who[i >> 16][i & 0xffff], memory_order_relaxed) == me)
			atomic_store(&s->ports.who[i >> 16][i & 0xffff], 0);
	atomic_store(&member_of(vd)->ctx, NULL);
	if (atomic_fetch_sub(&s->count, 1) == 1)
		forget(s);
	pthread_mutex_unlock(&lock);
	vd->share = NULL;
}

/* ---- whose it is ---- */

static uint8_t whose_port(const struct demi_pktdev *d, uint8_t proto, const uint8_t *transport)
{
	uint16_t port;
	uint8_t who;

	memcpy(&port, transport + 2, sizeof(port));
	who = atomic_load_explicit(demi_pktdev_port_at(d, proto, port), memory_order_relaxed);
	return who == d->ports_me ? MINE : who;
}

/* Every context answers an echo; all else that ICMP says may be about anybody's packets. */
static uint8_t whose_ip4(const struct demi_pktdev *d, const uint8_t *ip, uint32_t len)
{
	uint32_t hlen = (ip[0] & 15) * 4U;

	if (len < sizeof(struct demi_ip4_hdr) || len < hlen + 4)
		return MINE;
	if (ip[6] & 0x3f || ip[7])
		return ALL;
	switch (ip[9]) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		return whose_port(d, ip[9], ip + hlen);
	case IPPROTO_ICMP:
		return ip[hlen] == 8 ? MINE : ALL;
	default:
		return MINE;
	}
}

static uint8_t whose_ip6(const struct demi_pktdev *d, const uint8_t *ip, uint32_t len)
{
	const uint32_t hlen = sizeof(struct demi_ip6_hdr);

	if (len < hlen + 4)
		return MINE;
	switch (ip[6]) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		return whose_port(d, ip[6], ip + hlen);
	case IPPROTO_ICMPV6:
		return ip[hlen] == 128 ? MINE : ALL;
	case IPPROTO_FRAGMENT:
		return ALL;
	default:
		return MINE;
	}
}

static uint8_t whose(const struct demi_pktdev *d, const struct demi_pkt *p)
{
	const uint8_t *frame = p->data;
	uint32_t len = p->len - DEMI_ETHER_HLEN;

	if (p->len < DEMI_ETHER_HLEN)
		return MINE;
	if (frame[0] & 1)
		return ALL;
	switch (frame[12] << 8 | frame[13]) {
	case TYPE_IP4:
		return whose_ip4(d, frame + DEMI_ETHER_HLEN, len);
	case TYPE_IP6:
		return whose_ip6(d, frame + DEMI_ETHER_HLEN, len);
	case TYPE_ARP:
		return ALL;
	default:
		return MINE;
	}
}

/* ---- passing on ---- */

/* It finds something in its inbox, or that it is to ring. */
static void wake(struct member *m)
{
	struct demi_ctx *ctx;

	/* pairs with begin_sleep(): it is there, then is the other asleep? */
	demi_full_barrier();
	/* one that ends meanwhile is woken in vain: core/ctx.h. Its successor looks before it sleeps. */
	ctx = atomic_load(&m->ctx);
	if (ctx)
		demi_ctx_wake(ctx);
}

/* NULL: no memory, or too many wait already. */
static struct demi_virtio_parcel *pack(struct member *m, const struct demi_pkt *p, uint32_t segs)
{
	struct demi_virtio_parcel *parcel = NULL;

	if (atomic_fetch_add(&m->held, segs) + segs <= INBOX_MAX)
		parcel = malloc(sizeof(*parcel) + segs * sizeof(*p));
	if (!parcel) {
		atomic_fetch_sub(&m->held, segs);
		return NULL;
	}
	parcel->n = segs;
	memcpy(parcel->pkts, p, segs * sizeof(*p));
	return parcel;
}

/* The frame itself. */
static void pass(struct demi_virtio_dev *vd, uint8_t who, const struct demi_pkt *p, uint32_t segs)
{
	struct member *m = &vd->share->members[who - 1];
	struct demi_virtio_parcel *parcel = pack(m, p, segs);

	if (!parcel) {
		vd->stats.rx_dropped++;
		free_packet(p, segs);
		return;
	}
	parcel->next = atomic_load_explicit(&m->inbox, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&m->inbox, &parcel->next, parcel, memory_order_release,
						      memory_order_relaxed))
		;
	wake(m);
}

/* A copy of it, in one piece. */
static void pass_copy(struct demi_virtio_dev *vd, uint8_t who, const struct demi_pkt *p, uint32_t segs)
{
	struct demi_pkt copy = *p;
	uint8_t *obj;

	copy.len = 0;
	for (uint32_t i = 0; i < segs; i++)
		copy.len += p[i].len;
	obj = demi_heap_alloc(DEMI_PKT_HEADROOM + copy.len);
	if (!obj) {
		vd->stats.rx_dropped++;
		return;
	}
	copy.data = obj + DEMI_PKT_HEADROOM;
	copy.flags &= (uint16_t)~DEMI_PKT_F_MORE;
	demi_pkt_copy(copy.data, p, 0, copy.len);
	pass(vd, who, &copy, 1);
}

static void pass_to_all(struct demi_virtio_dev *vd, const struct demi_pkt *p, uint32_t segs)
{
	for (uint8_t i = 0; i < MEMBERS; i++)
		if (i + 1 != vd->dev.ports_me && atomic_load(&vd->share->members[i].ctx))
			pass_copy(vd, (uint8_t)(i + 1), p, segs);
}

void demi_virtio_share_ring(struct demi_virtio_dev *vd)
{
	for (struct member *m = vd->share->members; m < vd->share->members + MEMBERS; m++) {
		if (m == member_of(vd) || !atomic_load(&m->ctx))
			continue;
		/* the doorbell is after what was published */
		atomic_store_explicit(&m->ring, true, memory_order_release);
		wake(m);
	}
}

/* What is left of @n entries when others' packets have gone. */
static int sort(struct demi_virtio_dev *vd, struct demi_pkt *pkts, int n)
{
	struct demi_pkt *to = pkts, *end = pkts + n;
	uint32_t segs;

	for (struct demi_pkt *p = pkts; p < end; p += segs) {
		uint8_t who = whose(&vd->dev, p);

		for (segs = 1; p[segs - 1].flags & DEMI_PKT_F_MORE && p + segs < end;)
			segs++;
		if (who != MINE && who != ALL) {
			pass(vd, who, p, segs);
			continue;
		}
		if (who == ALL)
			pass_to_all(vd, p, segs);
		if (to != p)
			memmove(to, p, segs * sizeof(*p));
		to += segs;
	}
	return (int)(to - pkts);
}

/* ---- receiving ---- */

/* What others have put into the inbox, oldest first. */
static void empty_inbox(struct demi_virtio_dev *vd, struct member *m)
{
	struct demi_virtio_parcel *p = atomic_exchange_explicit(&m->inbox, NULL, memory_order_acquire);

	while (p) {
		struct demi_virtio_parcel *next = p->next;

		p->next = vd->mail;
		vd->mail = p;
		p = next;
	}
}

/* Of one cache line, but for what was taken already. */
static bool has_mail(const struct demi_virtio_dev *vd)
{
	const struct member *m = member_of(vd);

	return vd->mail || atomic_load_explicit(&m->inbox, memory_order_relaxed) ||
	       atomic_load_explicit(&m->ring, memory_order_relaxed);
}

static __attribute__((noinline)) uint32_t take_mail(struct demi_virtio_dev *vd, struct demi_pkt *pkts, uint32_t max)
{
	struct member *m = member_of(vd);
	uint32_t n = 0;

	if (atomic_exchange_explicit(&m->ring, false, memory_order_acquire))
		demi_vring_kick(&vd->rx);
	if (!vd->mail)
		empty_inbox(vd, m);
	while (vd->mail && vd->mail->n <= max - n) {
		struct demi_virtio_parcel *p = vd->mail;

		memcpy(pkts + n, p->pkts, p->n * sizeof(*pkts));
		n += p->n;
		atomic_fetch_sub(&m->held, p->n);
		vd->mail = p->next;
		free(p);
	}
	return n;
}

int demi_virtio_share_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);
	uint32_t n = 0;
	int got;

	if (__builtin_expect(has_mail(vd), 0)) {
		n = take_mail(vd, pkts, max);
		if (max - n < DEMI_PKT_RX_SEGS_MAX)
			return (int)n;
	}
	got = demi_virtio_rx(d, pkts + n, max - n);
	if (got > 0 && atomic_load_explicit(&vd->share->count, memory_order_relaxed) > 1)
		got = sort(vd, pkts + n, got);
	return got < 0 && !n ? got : (int)n + (got > 0 ? got : 0);
}
