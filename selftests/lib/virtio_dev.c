/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * The packet device on a virtio-net function's rings, against a device played by this program: packets of every size
 * and shape, merged buffers, checksums and segmentation; and a device that lies about all that.
 */
#include "virtio_device.h"

#include "core/ctx.h"
#include "heap/heap.h"
#include "pktdev/virtio/dev.h"

#define BIT(n) (1ull << (n))
#define CSUM (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM))
#define TSO                                                                                                            \
	(BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) |                      \
	 BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN))
#define MERGE BIT(VIRTIO_NET_F_MRG_RXBUF)
#define EVENTS BIT(VIRTIO_RING_F_EVENT_IDX)
#define ALL (CSUM | TSO | MERGE | EVENTS)

#define HDR 12
#define FRAME_MAX (14 + 65535)

static struct demi_ctx ctx;
static struct demi_pktdev *d;

static void open_dev(uint64_t features)
{
	vdev.features = features;
	vdev.entries_max = 256;
	vdev.mtu = 65535;
	vdev.budget = SIZE_MAX;
	OK(demi_virtio_open(&ctx, &d));
	CHECK_EQ(demi_virtio_dev(d)->rx.packed, features >> VIRTIO_F_RING_PACKED & 1);
}

static void close_dev(void)
{
	d->ops->destroy(d);
	CHECK(vdev.shut);
	OK(munmap(vdev.map, vdev.bytes));
}

/* ---- the device's side ---- */

static uint8_t frame[HDR + FRAME_MAX];

static uint32_t gather(const struct vdev_chain *c)
{
	uint32_t len = 0;

	for (uint16_t i = 0; i < c->ndesc; i++) {
		CHECK(!c->part[i].write && len + c->part[i].len <= sizeof(frame));
		memcpy(frame + len, c->part[i].at, c->part[i].len);
		len += c->part[i].len;
	}
	CHECK(len > HDR && c->part[0].len >= HDR);
	return len;
}

/* The frame, with the header in front of it, into as many buffers as it takes. */
static void deliver(uint32_t len)
{
	struct virtio_net_hdr_v1 *hdr = (void *)frame, *first = NULL;
	struct vdev_chain c;
	uint32_t at = 0, n = 0;

	for (; at < len; n++) {
		uint32_t part;

		CHECK(vdev_next(&vdev.rx, &c));
		CHECK(c.ndesc == 1 && c.part[0].write);
		part = len - at < c.part[0].len ? len - at : c.part[0].len;
		memcpy(c.part[0].at, frame + at, part);
		if (!n)
			first = (void *)c.part[0].at;
		vdev_use(&vdev.rx, c.id, part, 1);
		at += part;
	}
	CHECK(first && n >= 1);
	memcpy(first, hdr, sizeof(*hdr));
	first->num_buffers = (uint16_t)n;
	vdev_tell(&vdev.rx);
}

/* What is sent is received. */
static void loop(void)
{
	struct vdev_chain c;

	while (vdev_next(&vdev.tx, &c)) {
		uint32_t len = gather(&c);

		vdev_use(&vdev.tx, c.id, 0, c.ndesc);
		vdev_tell(&vdev.tx);
		deliver(len);
	}
}

/* ---- packets ---- */

static uint8_t byte_at(uint32_t seed, uint32_t i)
{
	return (uint8_t)((seed * 2654435761u + i * 40503u) >> 7);
}

struct packet {
	struct demi_pkt pkt[17];
	void *mem[17];
	uint32_t n;
};

/* A packet of @len bytes in segments of random sizes, on the heap, or, all but the first, perhaps not. */
static void packet_make(struct packet *p, uint32_t seed, uint32_t len)
{
	uint32_t at = 0;

	memset(p, 0, sizeof(*p));
	while (at < len) {
		uint32_t n = p->n ? 1 + rnd_below(9000) : 64 + rnd_below(3000), room = p->n ? 0 : d->tx_headroom_bytes;
		uint8_t *mem;

		if (n > len - at || p->n + 1 == d->tx_segs_max)
			n = len - at;
		mem = rnd_below(3) ? demi_heap_alloc(room + n) : malloc(room + n);
		CHECK(mem);
		p->mem[p->n] = mem;
		for (uint32_t i = 0; i < n; i++)
			mem[room + i] = byte_at(seed, at + i);
		p->pkt[p->n].data = mem + room;
		p->pkt[p->n].len = n;
		p->pkt[p->n].flags = DEMI_PKT_F_MORE | (n >= 1024 && rnd_below(2) ? DEMI_PKT_F_ZEROCOPY : 0);
		at += n;
		p->n++;
	}
	p->pkt[p->n - 1].flags &= (uint16_t)~DEMI_PKT_F_MORE;
	p->pkt[0].cookie = seed;
}

static void packet_free(struct packet *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (demi_heap_contains(p->mem[i], 1))
			OK(demi_heap_free(p->mem[i]));
		else
			free(p->mem[i]);
	}
}

/* Entries of the packet, which is compared and freed. */
static int packet_check(struct demi_pkt *r, uint32_t seed, uint32_t len)
{
	uint32_t at = 0;
	int n = 0;

	do {
		CHECK(n < DEMI_PKT_RX_SEGS_MAX && r[n].len && at + r[n].len <= len);
		for (uint32_t i = 0; i < r[n].len; i++)
			CHECK(r[n].data[i] == byte_at(seed, at + i));
		if (!n)
			CHECK(r[n].len == len || r[n].len >= DEMI_PKT_RX_FIRST_MIN);
		at += r[n].len;
		OK(demi_heap_free(r[n].data));
	} while (r[n++].flags & DEMI_PKT_F_MORE);
	CHECK_EQ(at, len);
	return n;
}

static void round_trips(int rounds, uint32_t longest)
{
	static const uint32_t sizes[] = { 60,	1023, 1024, 1500, 1514, 1983,	  1984,
					  1985, 2036, 2037, 3980, 9000, FRAME_MAX };
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done[4];
	struct packet p;

	for (int r = 0; r < rounds; r++) {
		uint32_t i = rnd_below(20), len = i < 13 ? sizes[i] : 60 + rnd_below(FRAME_MAX - 60);
		uint32_t seed = (uint32_t)rnd();
		int n;

		if (len > longest)
			len = 60 + rnd_below(longest - 60);
		packet_make(&p, seed, len);
		CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
		OK(d->ops->kick(d));
		loop();
		CHECK_EQ(d->ops->tx_done(d, done, 4), 1);
		CHECK(done[0].cookie == seed && !done[0].err);
		packet_free(&p);
		n = d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX);
		CHECK(n > 0);
		CHECK(!(got[0].flags & ~DEMI_PKT_F_MORE));
		CHECK_EQ(packet_check(got, seed, len), n);
		CHECK_EQ(d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX), 0);
		CHECK_EQ(d->ops->tx_done(d, done, 4), 0);
	}
}

static void test_round_trips(uint64_t how)
{
	struct demi_pktdev_stats s;
	int n = SLOW ? 200 : 2000;

	open_dev(how | ALL);
	CHECK_EQ(d->mtu_bytes, 65535);
	round_trips(n, FRAME_MAX);
	d->ops->stats(d, &s);
	CHECK_EQ(s.rx_packets, n);
	CHECK_EQ(s.tx_packets, n);
	CHECK_EQ(s.rx_bytes, s.tx_bytes);
	CHECK(!s.rx_errors && !s.rx_dropped);
	/* what cannot be registered is copied, both ways */
	vdev.budget = 0;
	round_trips(n / 4, FRAME_MAX);
	close_dev();
	/* a buffer holds a frame, or there are no long ones */
	open_dev(how);
	CHECK(d->mtu_bytes < 2048 && !(d->caps & (DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_TSO4)));
	round_trips(n / 4, d->mtu_bytes + 14);
	close_dev();
}

/* Chains come back in any order, and there are never more than the ring has room for. */
static void test_order(uint64_t how)
{
	enum { N = 2000 };
	static struct packet flying[N];
	static uint8_t state[N];
	struct vdev_chain held[256];
	struct demi_pkt_done done[16];
	uint32_t next = 0, nheld = 0, reported = 0;

	open_dev(how | ALL);
	memset(state, 0, sizeof(state));
	while (reported < N) {
		int n;

		if (next < N && rnd_below(4)) {
			packet_make(&flying[next], next, 60 + rnd_below(rnd_below(4) ? 2000 : 20000));
			n = d->ops->tx(d, flying[next].pkt, flying[next].n);
			CHECK(n == (int)flying[next].n || n == 0);
			if (n)
				state[next++] = 1;
			else
				packet_free(&flying[next]);
			OK(d->ops->kick(d));
			while (nheld < 256 && vdev_next(&vdev.tx, &held[nheld]))
				nheld++;
		}
		while (nheld && (nheld > 100 || next == N || !rnd_below(4))) {
			uint32_t i = rnd_below(nheld);

			vdev_use(&vdev.tx, held[i].id, 0, held[i].ndesc);
			held[i] = held[--nheld];
		}
		vdev_tell(&vdev.tx);
		do {
			n = d->ops->tx_done(d, done, 16);
			CHECK(n >= 0);
			for (int i = 0; i < n; i++) {
				CHECK(done[i].cookie < N && state[done[i].cookie] == 1);
				state[done[i].cookie] = 2;
				packet_free(&flying[done[i].cookie]);
				reported++;
			}
		} while (n == 16);
	}
	CHECK_EQ(demi_virtio_dev(d)->free_count, 256);
	round_trips(10, FRAME_MAX);
	close_dev();
}

/* ---- offloads ---- */

/* Sent as @flags say, and received just so. */
static void one_segmented(uint16_t flags)
{
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done;
	const struct virtio_net_hdr_v1 *h = (void *)frame;
	struct packet p;

	packet_make(&p, 5, 9000);
	p.pkt[0].flags |= flags;
	p.pkt[0].csum_start = 34;
	p.pkt[0].csum_offset = 16;
	if (flags & DEMI_PKT_F_GSO) {
		p.pkt[0].gso_size = 1448;
		p.pkt[0].hdr_len = 66;
	}
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	loop();
	CHECK(h->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && h->csum_start == 34 && h->csum_offset == 16);
	CHECK(h->gso_size == p.pkt[0].gso_size && h->hdr_len == p.pkt[0].hdr_len);
	CHECK_EQ(d->ops->tx_done(d, &done, 1), 1);
	packet_free(&p);
	CHECK(d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX) > 0);
	CHECK_EQ(got[0].flags & ~DEMI_PKT_F_MORE, flags);
	CHECK(got[0].csum_start == 34 && got[0].csum_offset == 16 && got[0].gso_size == h->gso_size);
	packet_check(got, 5, 9000);
}

static void test_offloads(uint64_t how)
{
	open_dev(how | ALL);
	CHECK_EQ(d->caps, DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6);
	CHECK(d->gso_max_bytes && d->gso_max_segs);
	one_segmented(DEMI_PKT_F_CSUM_PARTIAL);
	one_segmented(DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO_TCP4);
	one_segmented(DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO_TCP6);
	one_segmented(DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO_TCP4 | DEMI_PKT_F_GSO_ECN);
	close_dev();
	/* the stack marks packets with ECN: a device that does not know that mark gets none to cut */
	open_dev(how | (ALL & ~BIT(VIRTIO_NET_F_HOST_ECN)));
	CHECK_EQ(d->caps, DEMI_PKTDEV_C_TX_CSUM);
	close_dev();
}

/* ---- lies ---- */

static int receive_all(uint32_t *packets)
{
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	int n;

	*packets = 0;
	while ((n = d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX)) > 0) {
		for (int i = 0; i < n; i++) {
			*packets += !(got[i].flags & DEMI_PKT_F_MORE);
			/* all of it is there to be read */
			for (uint32_t k = 0; k < got[i].len; k++)
				frame[k % HDR] ^= got[i].data[k];
			OK(demi_heap_free(got[i].data));
		}
	}
	return n;
}

/* A header in front of a short frame: dropped, counted, and the device goes on. */
static void wrong_header(const struct virtio_net_hdr_v1 *h)
{
	struct demi_pktdev_stats before, after;
	uint32_t packets;

	d->ops->stats(d, &before);
	memset(frame, 0, sizeof(frame));
	memcpy(frame, h, sizeof(*h));
	deliver(HDR + 100);
	OK(receive_all(&packets));
	CHECK_EQ(packets, 0);
	d->ops->stats(d, &after);
	CHECK_EQ(after.rx_errors, before.rx_errors + 1);
	CHECK_EQ(after.rx_packets, before.rx_packets);
}

#define NEEDS VIRTIO_NET_HDR_F_NEEDS_CSUM

static void test_wrong_headers(uint64_t how)
{
	static const struct virtio_net_hdr_v1 wrong[] = {
		{ .flags = NEEDS, .csum_start = 99, .csum_offset = 0 },
		{ .flags = NEEDS, .csum_start = 34, .csum_offset = 65 },
		{ .flags = NEEDS, .csum_start = 13, .csum_offset = 16 },
		{ .flags = NEEDS, .csum_start = 65535, .csum_offset = 65535 },
		{ .flags = NEEDS, .csum_start = 65535, .csum_offset = 16 },
		{ .flags = NEEDS, .csum_start = 34, .csum_offset = 65535 },
		{ .flags = NEEDS, .csum_start = 34, .csum_offset = 16, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		{ .csum_start = 34, .csum_offset = 16, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1448 },
		{ .flags = VIRTIO_NET_HDR_F_DATA_VALID, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1448 },
		{ .flags = NEEDS,
		  .csum_start = 34,
		  .csum_offset = 6,
		  .gso_type = VIRTIO_NET_HDR_GSO_UDP,
		  .gso_size = 8 },
		{ .flags = NEEDS, .csum_start = 34, .csum_offset = 6, .gso_type = 5, .gso_size = 8 },
		{ .flags = NEEDS, .csum_start = 34, .csum_offset = 6, .gso_type = 0xff, .gso_size = 8 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_ECN },
	};
	struct virtio_net_hdr_v1 tso = {
		.flags = NEEDS, .csum_start = 34, .csum_offset = 16, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 9
	};

	open_dev(how | ALL);
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		wrong_header(&wrong[i]);
	round_trips(10, FRAME_MAX);
	close_dev();
	open_dev(how | (ALL & ~BIT(VIRTIO_NET_F_GUEST_TSO6)));
	wrong_header(&tso);
	close_dev();
	/* who asked for nothing does not look */
	open_dev(how);
	memcpy(frame, &wrong[3], HDR);
	deliver(HDR + 100);
	{
		uint32_t packets;

		OK(receive_all(&packets));
		CHECK_EQ(packets, 1);
	}
	close_dev();
}

/* The first of two buffers holds @first bytes: less than all headers may take, or more than the buffer has. */
static void wrong_parts(uint32_t first, uint32_t second)
{
	struct vdev_chain c[2];
	struct demi_pktdev_stats s;
	uint32_t packets;

	for (int i = 0; i < 2; i++)
		CHECK(vdev_next(&vdev.rx, &c[i]));
	memset(c[0].part[0].at, 0, HDR);
	((struct virtio_net_hdr_v1 *)c[0].part[0].at)->num_buffers = 2;
	vdev_use(&vdev.rx, c[0].id, first, 1);
	vdev_use(&vdev.rx, c[1].id, second, 1);
	vdev_tell(&vdev.rx);
	OK(receive_all(&packets));
	d->ops->stats(d, &s);
	CHECK_EQ(s.rx_errors, 1);
	CHECK_EQ(packets, 0);
	s.rx_errors = 0;
	demi_virtio_dev(d)->stats = s;
	round_trips(3, FRAME_MAX);
}

static void test_wrong_lengths(uint64_t how)
{
	static const uint32_t lens[] = { 0, 1, HDR, 2049, 65536, UINT32_MAX };
	struct vdev_chain c;
	struct demi_pktdev_stats s;
	uint32_t packets, i;

	open_dev(how | ALL);
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		CHECK(vdev_next(&vdev.rx, &c));
		memset(c.part[0].at, 0, HDR);
		((struct virtio_net_hdr_v1 *)c.part[0].at)->num_buffers = 1;
		vdev_use(&vdev.rx, c.id, lens[i], 1);
		vdev_tell(&vdev.rx);
		OK(receive_all(&packets));
		CHECK_EQ(packets, 0);
	}
	d->ops->stats(d, &s);
	CHECK_EQ(s.rx_errors, i);
	demi_virtio_dev(d)->stats.rx_errors = 0;
	wrong_parts(HDR + DEMI_PKT_RX_FIRST_MIN - 1, 100);
	wrong_parts(0, 100);
	wrong_parts(UINT32_MAX, 100);
	wrong_parts(1500, 0);
	wrong_parts(1500, UINT32_MAX);
	close_dev();
}

/* It has lost count of its buffers: that is the end of it. Everything that was sent is done, once. */
static void is_gone(uint32_t flying)
{
	struct demi_pkt_done done[64];
	uint32_t packets;
	int n;

	CHECK_EQ(receive_all(&packets), -ENODEV);
	n = d->ops->tx_done(d, done, 64);
	CHECK_EQ(n, flying ? (int)flying : -ENODEV);
	for (int i = 0; i < n; i++)
		CHECK(done[i].cookie == 77 && done[i].err == ENODEV);
	CHECK_EQ(d->ops->tx_done(d, done, 64), -ENODEV);
	close_dev();
}

static void wrong_count(uint64_t how, uint16_t count, uint32_t there)
{
	struct vdev_chain c;

	open_dev(how | ALL);
	for (uint32_t i = 0; i < there; i++) {
		CHECK(vdev_next(&vdev.rx, &c));
		memset(c.part[0].at, 0, 400);
		if (!i)
			((struct virtio_net_hdr_v1 *)c.part[0].at)->num_buffers = count;
		vdev_use(&vdev.rx, c.id, 400, 1);
	}
	vdev_tell(&vdev.rx);
	is_gone(0);
}

static void test_wrong_buffers(uint64_t how)
{
	static const uint32_t ids[] = { 256, 65535, 65536, UINT32_MAX };
	struct vdev_chain c;
	struct packet p;

	wrong_count(how, 0, 3);
	wrong_count(how, 2, 1);
	wrong_count(how, 40, 39);
	wrong_count(how, DEMI_PKT_RX_SEGS_MAX + 1, DEMI_PKT_RX_SEGS_MAX + 1);
	wrong_count(how, 65535, 200);
	for (uint32_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		if (how && ids[i] > UINT16_MAX)
			continue;
		open_dev(how | ALL);
		vdev_use(&vdev.rx, ids[i], 100, 1);
		vdev_tell(&vdev.rx);
		is_gone(0);
		/* and of what was sent */
		open_dev(how | ALL);
		packet_make(&p, 77, 1000);
		CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
		OK(d->ops->kick(d));
		vdev_use(&vdev.tx, ids[i], 0, 1);
		vdev_tell(&vdev.tx);
		CHECK_EQ(d->ops->tx_done(d, (struct demi_pkt_done[1]){ { 0 } }, 1), 1);
		packet_free(&p);
		is_gone(0);
	}
	/* one that was never sent, and one twice */
	open_dev(how | ALL);
	packet_make(&p, 77, 1000);
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	CHECK(vdev_next(&vdev.tx, &c));
	vdev_use(&vdev.tx, c.id, 0, c.ndesc);
	vdev_use(&vdev.tx, c.id, 0, c.ndesc);
	vdev_tell(&vdev.tx);
	CHECK_EQ(d->ops->tx_done(d, (struct demi_pkt_done[4]){ { 0 } }, 4), 1);
	packet_free(&p);
	is_gone(0);
}

/* Whatever the device writes to its rings and into buffers, at random, harms nobody. */
static void test_noise(uint64_t how)
{
	int lives = SLOW ? 20 : 200;

	for (int life = 0; life < lives; life++) {
		int ret = 0;

		open_dev(how | ALL);
		for (int step = 0; step < 300 && ret >= 0; step++) {
			struct demi_pkt_done done[16];
			struct vdev_ring *r = rnd_below(4) ? &vdev.rx : &vdev.tx;
			struct vdev_chain c;
			uint32_t packets;
			struct packet p;

			if (!rnd_below(4)) {
				packet_make(&p, 77, 60 + rnd_below(5000));
				ret = d->ops->tx(d, p.pkt, p.n);
				packet_free(&p); /* nobody reads it but this device */
				if (ret >= 0)
					d->ops->kick(d);
			}
			for (uint32_t n = rnd_below(4); n && vdev_next(r, &c); n--) {
				if (c.part[0].write)
					for (uint32_t i = 0; i < HDR; i++)
						c.part[0].at[i] = (uint8_t)(rnd_below(3) ? rnd_below(3) : rnd());
				vdev_use(r, rnd_below(100) ? c.id : (uint32_t)rnd(),
					 rnd_below(20) ? rnd_below(2100) : (uint32_t)rnd(), c.ndesc);
			}
			vdev_tell(r);
			if (!rnd_below(200))
				((uint8_t *)(r->packed ? (void *)r->desc : r->device))[rnd_below(r->entries * 8)] =
					(uint8_t)rnd();
			if (ret >= 0)
				ret = receive_all(&packets);
			if (ret >= 0)
				ret = d->ops->tx_done(d, done, 16);
		}
		close_dev();
	}
}

static void all(uint64_t how)
{
	test_round_trips(how);
	test_order(how);
	test_offloads(how);
	test_wrong_headers(how);
	test_wrong_lengths(how);
	test_wrong_buffers(how);
	test_noise(how);
}

int main(void)
{
	alarm(100);
	setenv("DEMI_LOG", "off", 1);
	check_seed();
	all(0);
	all(BIT(VIRTIO_F_RING_PACKED));
	return 0;
}
