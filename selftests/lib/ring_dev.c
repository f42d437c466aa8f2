/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * The packet device on a flow queue, against a module played by this program (it has its own demi_kdev_call()):
 * packets of every size and shape arrive as they were sent, each is done once, also when descriptors come back in
 * any order, when little or no memory can be registered, and when the rings lie.
 */
#include "kdev_fake.h"

#include "heap/heap.h"
#include "pktdev/ring/dev.h"

#include <sys/epoll.h>

#define REGIONS 4096

static struct {
	struct fake_queue q;
	struct {
		char *base;
		size_t len;
	} region[REGIONS];
	uint32_t nregions;
	size_t budget; /* bytes that can still be registered */
	bool refused; /* there were not enough */
	bool hold; /* tx: keep what is taken, until it is given back */
	struct demi_desc held[4096];
	uint32_t nheld;
	int error; /* of every frame */
	bool shut;
	uint32_t kicks, stop_after; /* frames that a kick takes */
	uint32_t no_buffer;
} k;

static struct demi_ctx ctx;
static size_t budget_at_open = SIZE_MAX;

/* ---- the module ---- */

int demi_kdev_open(struct demi_get_info *info)
{
	memset(&k, 0, sizeof(k));
	k.budget = budget_at_open;
	k.stop_after = UINT32_MAX;
	*info = (struct demi_get_info){ .size = sizeof(*info), .abi = 1, .ring_entries_max = 1024 };
	info->features = DEMI_FEATURE_GSO;
	return memfd_create("demi", MFD_CLOEXEC);
}

const char *demi_kdev_hint(int err)
{
	return NULL;
}

static char *memory_of(const struct demi_desc *d)
{
	CHECK(d->region && d->region <= k.nregions && k.region[d->region].base);
	CHECK(d->len && d->offset + d->len <= k.region[d->region].len);
	return k.region[d->region].base + d->offset;
}

/* A frame into posted buffers, all or nothing. */
static bool deliver(const char *p, size_t len)
{
	struct fake_ring *fill = &k.q.rx_fill;
	size_t room = 0;
	uint32_t n = 0;

	while (room < len && n < fake_avail(fill))
		room += fill->desc[(fill->own + n++) & fill->mask].len;
	CHECK(fake_room(&k.q.rx) >= n);
	if (room < len) {
		k.no_buffer++;
		return false;
	}
	while (n--) {
		struct demi_desc d = fake_take(fill);

		if (d.len > len)
			d.len = (uint32_t)len;
		memcpy(memory_of(&d), p, d.len);
		p += d.len;
		len -= d.len;
		d.flags = n ? DEMI_DESC_F_MORE : 0;
		fake_give(&k.q.rx, d);
	}
	return true;
}

static void give_back(struct demi_desc d)
{
	CHECK(fake_room(&k.q.tx_done));
	d.flags = DEMI_DESC_F_COPIED;
	if (k.error) {
		d.flags |= DEMI_DESC_F_ERROR;
		d.len = (uint32_t)k.error;
	}
	fake_give(&k.q.tx_done, d);
}

/* What is sent is received. */
static int kick(void)
{
	static char frame[DEMI_FRAME_MAX];
	uint32_t frames = 0, n = 0;
	size_t len = 0;

	if (k.shut)
		return -ENODEV;
	k.kicks++;
	while (fake_avail(&k.q.tx) && frames < k.stop_after) {
		struct demi_desc d = fake_take(&k.q.tx);

		n++;
		CHECK(n <= DEMI_FRAME_DESCS_MAX && len + d.len <= sizeof(frame));
		memcpy(frame + len, memory_of(&d), d.len);
		if (!len)
			CHECK(d.len >= 12 + 20);
		len += d.len;
		if (k.hold)
			k.held[k.nheld++] = d;
		else
			give_back(d);
		if (d.flags & DEMI_DESC_F_MORE)
			continue;
		if (!k.hold)
			deliver(frame, len);
		len = n = 0;
		frames++;
	}
	CHECK(!len);
	return frames ? 0 : -EAGAIN;
}

int demi_kdev_call(int fd, unsigned long command, void *arg)
{
	switch (command) {
	case DEMI_DEVICE_LIST: {
		struct demi_device_list *a = arg;

		*(uint32_t *)(uintptr_t)a->ids = 1;
		a->count = 1;
		return 0;
	}
	case DEMI_DEVICE_INFO: {
		struct demi_device_info *a = arg;

		a->kind = DEMI_DEVICE_HOST;
		a->mtu_bytes = 65535;
		a->offloads = DEMI_OFFLOAD_TX_CSUM | DEMI_OFFLOAD_TX_USO;
		return 0;
	}
	case DEMI_REGION_REGISTER: {
		struct demi_region_register *a = arg;

		CHECK(a->length_bytes && !((a->addr | a->length_bytes) & 4095));
		if (a->length_bytes > k.budget) {
			k.refused = true;
			return -ENOMEM;
		}
		k.budget -= a->length_bytes;
		a->region_id = ++k.nregions;
		CHECK(k.nregions < REGIONS);
		k.region[k.nregions].base = (char *)(uintptr_t)a->addr;
		k.region[k.nregions].len = a->length_bytes;
		return 0;
	}
	case DEMI_REGION_UNREGISTER: {
		struct demi_region_unregister *a = arg;

		CHECK(k.region[a->region_id].base);
		k.region[a->region_id].base = NULL;
		return 0;
	}
	case DEMI_QUEUE_CREATE:
		fake_queue_create(&k.q, arg);
		*k.q.tx.flags = DEMI_RING_NEED_WAKEUP;
		return 0;
	case DEMI_QUEUE_SHUTDOWN:
		k.shut = true;
		return 0;
	case DEMI_QUEUE_KICK:
		return kick();
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- helpers ---- */

static struct demi_pktdev *d;

static void open_dev(void)
{
	OK(demi_ring_open(&ctx, &d));
}

static void close_dev(void)
{
	d->ops->destroy(d);
	OK(munmap(k.q.map, k.q.bytes));
}

static uint8_t byte_at(uint32_t seed, uint32_t i)
{
	return (uint8_t)((seed * 2654435761u + i * 40503u) >> 7);
}

static void fill(uint8_t *p, uint32_t seed, uint32_t from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = byte_at(seed, from + i);
}

struct packet {
	struct demi_pkt pkt[DEMI_RING_SEGS_MAX];
	uint32_t n, len;
};

/* A packet of @len bytes in segments of random sizes; on the heap, or (@foreign) not. */
static void packet_make(struct packet *p, uint32_t seed, uint32_t len, bool foreign)
{
	uint32_t at = 0;

	memset(p, 0, sizeof(*p));
	p->len = len;
	while (at < len) {
		uint32_t n = p->n ? 1 + rnd_below(9000) : 28 + rnd_below(3000);

		if (n > len - at || p->n + 1 == DEMI_RING_SEGS_MAX)
			n = len - at;
		p->pkt[p->n].data = foreign ? malloc(n) : demi_heap_alloc(n);
		CHECK(p->pkt[p->n].data);
		fill(p->pkt[p->n].data, seed, at, n);
		p->pkt[p->n].len = n;
		p->pkt[p->n].flags = DEMI_PKT_F_MORE | (n >= 1024 && rnd_below(2) ? DEMI_PKT_F_ZEROCOPY : 0);
		at += n;
		p->n++;
	}
	p->pkt[p->n - 1].flags &= (uint16_t)~DEMI_PKT_F_MORE;
	p->pkt[0].cookie = seed;
}

static void packet_free(struct packet *p, bool foreign)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (foreign)
			free(p->pkt[i].data);
		else
			OK(demi_heap_free(p->pkt[i].data));
	}
}

/* Compare and free what was received: entries of the packet. */
static uint32_t check_packet(const struct demi_pkt *r, uint32_t seed, uint32_t len, bool keep)
{
	uint32_t at = 0, i, n = 0;

	do {
		CHECK(r[n].len && at + r[n].len <= len);
		for (i = 0; i < r[n].len; i++)
			CHECK(r[n].data[i] == byte_at(seed, at + i));
		CHECK(demi_heap_contains(r[n].data, r[n].len));
		if (!n) {
			CHECK(demi_heap_contains(r[n].data - DEMI_PKT_HEADROOM, DEMI_PKT_HEADROOM));
			CHECK(len == r[n].len || r[n].len >= DEMI_PKT_RX_FIRST_MIN);
		}
		if (!keep)
			OK(demi_heap_free(r[n].data));
		at += r[n].len;
	} while (r[n++].flags & DEMI_PKT_F_MORE);
	CHECK_EQ(at, len);
	return n;
}

/* ---- tests ---- */

static void round_trips(int rounds, bool keep)
{
	static const uint32_t sizes[] = { 20,	28,   92,   1023, 1024, 1500, 1971,  1984,
					  1985, 2036, 2037, 3980, 4096, 9000, 60000, 65535 };
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done[4];
	int r;

	for (r = 0; r < rounds; r++) {
		uint32_t seed = (uint32_t)rnd(), i = rnd_below(24);
		uint32_t len = i < 16 ? sizes[i] : 28 + rnd_below(65535 - 28);
		bool foreign = rnd_below(2);
		struct packet p;
		int n;

		packet_make(&p, seed, len, foreign);
		CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
		OK(d->ops->kick(d));
		CHECK_EQ(d->ops->tx_done(d, done, 4), 1);
		CHECK(done[0].cookie == p.pkt[0].cookie && !done[0].err);
		packet_free(&p, foreign);
		n = d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX);
		CHECK(n > 0);
		CHECK_EQ(check_packet(got, seed, len, keep), n);
		CHECK_EQ(d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX), 0);
		CHECK_EQ(d->ops->tx_done(d, done, 4), 0);
	}
	OK(k.no_buffer);
}

static void test_loopback(void)
{
	struct demi_pktdev_stats s;

	open_dev();
	round_trips(SLOW ? 300 : 2000, false);
	d->ops->stats(d, &s);
	CHECK_EQ(s.rx_packets, SLOW ? 300 : 2000);
	CHECK_EQ(s.tx_packets, s.rx_packets);
	CHECK_EQ(s.rx_bytes, s.tx_bytes);
	close_dev();
}

/* From the moment that no more can be registered received bytes are copied, and nothing is lost. */
static void test_no_memory(void)
{
	open_dev();
	k.budget = 0;
	round_trips(300, true); /* the buffers are kept: the heap grows by areas that are not registered */
	CHECK(k.refused);
	round_trips(300, false);
	close_dev();
}

/* What is too little for an area of the heap does for single spans: of receive buffers, and then of nothing. */
static void test_little_memory(void)
{
	budget_at_open = 2 << 20;
	open_dev();
	CHECK(k.refused && k.nregions > 8 && k.budget < 2 << 20);
	round_trips(200, false);
	round_trips(200, true);
	close_dev();
	/* not even the longest packet can be received */
	budget_at_open = 100 << 10;
	CHECK_EQ(demi_ring_open(&ctx, &d), -ENOMEM);
	OK(munmap(k.q.map, k.q.bytes));
	budget_at_open = SIZE_MAX;
}

/* Metadata in both directions. */
static void test_metadata(void)
{
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done;
	struct packet p;

	open_dev();
	CHECK(d->caps & DEMI_PKTDEV_C_L3 && d->caps & DEMI_PKTDEV_C_TX_CSUM && d->caps & DEMI_PKTDEV_C_TX_USO);
	CHECK(!(d->caps & DEMI_PKTDEV_C_TX_TSO4) && d->gso_max_bytes);
	packet_make(&p, 1, 5000, false);
	p.pkt[0].flags |= DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO_UDP;
	p.pkt[0].csum_start = 20;
	p.pkt[0].csum_offset = 6;
	p.pkt[0].gso_size = 1472;
	p.pkt[0].hdr_len = 28;
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	CHECK(d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX) > 0);
	CHECK(got[0].csum_start == 20 && got[0].csum_offset == 6 && got[0].gso_size == 1472 && got[0].hdr_len == 28);
	CHECK((got[0].flags & ~DEMI_PKT_F_MORE) == (DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO_UDP));
	check_packet(got, 1, 5000, false);
	/* without checksum offload there is no segmentation either */
	p.pkt[0].flags &= (uint16_t)~DEMI_PKT_F_CSUM_PARTIAL;
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	CHECK(d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX) > 0);
	CHECK(!(got[0].flags & ~DEMI_PKT_F_MORE) && !got[0].gso_size);
	check_packet(got, 1, 5000, false);
	CHECK_EQ(d->ops->tx_done(d, &done, 1), 1);
	/* an error says so, once, and makes the stack ask for routes again */
	CHECK_EQ(d->ops->tx_done(d, &done, 1), 1);
	k.error = EHOSTUNREACH;
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	CHECK_EQ(d->ops->tx_done(d, &done, 1), 1);
	CHECK_EQ(done.err, EHOSTUNREACH);
	CHECK(d->route_gen);
	packet_free(&p, false);
	close_dev();
}

/* Descriptors come back in any order, of the same memory in flight several times, too. */
static void test_order(void)
{
	enum { N = 600, MEM = 8 };
	uint8_t *mem[MEM], in_flight[N] = { 0 };
	uint32_t next = 0, reported = 0, i, rejected = 0;
	struct demi_pkt_done done[16];

	open_dev();
	k.hold = true;
	for (i = 0; i < MEM; i++)
		CHECK((mem[i] = demi_heap_alloc(4096)));
	while (reported < N) {
		struct demi_pkt p[3] = { { .data = mem[0], .len = 28, .flags = DEMI_PKT_F_MORE, .cookie = next },
					 { .data = mem[rnd_below(MEM)], .len = 1024 + rnd_below(3000) },
					 { .data = mem[rnd_below(MEM)], .len = 1024 + rnd_below(3000) } };
		int n;

		if (next < N && rnd_below(3)) {
			uint32_t segs = 1 + rnd_below(3);

			p[0].flags = segs > 1 ? DEMI_PKT_F_MORE : 0;
			p[1].flags = segs > 2 ? DEMI_PKT_F_MORE : 0;
			n = d->ops->tx(d, p, segs);
			CHECK(n == (int)segs || n == 0);
			if (n)
				in_flight[next++] = 1;
			else
				rejected++;
			OK(d->ops->kick(d));
		}
		/* mostly full, at the end empty */
		while (k.nheld && (k.nheld > 400 || next == N || !rnd_below(8))) {
			i = rnd_below(k.nheld);
			give_back(k.held[i]);
			k.held[i] = k.held[--k.nheld];
		}
		do {
			n = d->ops->tx_done(d, done, 16);
			CHECK(n >= 0);
			for (i = 0; i < (uint32_t)n; i++) {
				CHECK(done[i].cookie < N && in_flight[done[i].cookie] == 1);
				in_flight[done[i].cookie] = 2;
				reported++;
			}
		} while (n == 16);
	}
	CHECK(!k.nheld && demi_ring_dev(d)->inflight == 0);
	/* nothing has leaked: all slots and references are there again */
	k.hold = false;
	for (i = 0; i < MEM; i++)
		demi_heap_free(mem[i]);
	round_trips(10, false);
	close_dev();
}

/* Of two packets with the same memory the one is not done before the kernel can be through with what it shows. */
static void test_shared_memory(void)
{
	uint8_t *mem = demi_heap_alloc(8192);
	struct demi_pkt p[2] = { { .data = mem, .len = 28, .flags = DEMI_PKT_F_MORE, .cookie = 1 },
				 { .data = mem + 1024, .len = 4096 } };
	struct demi_pkt_done done[4];
	uint32_t i;

	open_dev();
	k.hold = true;
	CHECK_EQ(d->ops->tx(d, p, 2), 2);
	p[0].cookie = 2;
	p[1].len = 1024;
	CHECK_EQ(d->ops->tx(d, p, 2), 2);
	OK(d->ops->kick(d));
	CHECK_EQ(k.nheld, 4);
	/* the short one's memory comes back first: the long one's first 1 KiB may still be read, and no more */
	for (i = 0; i < 4; i++)
		if (k.held[i].len != 4096)
			give_back(k.held[i]);
	CHECK_EQ(d->ops->tx_done(d, done, 4), 1);
	CHECK_EQ(done[0].cookie, 2);
	for (i = 0; i < 4; i++)
		if (k.held[i].len == 4096)
			give_back(k.held[i]);
	CHECK_EQ(d->ops->tx_done(d, done, 4), 1);
	CHECK_EQ(done[0].cookie, 1);
	demi_heap_free(mem);
	close_dev();
}

/* A kick that does not take everything is followed by another one. */
static void test_blocked(void)
{
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done[16];
	struct packet p;
	int i, n;

	open_dev();
	ctx.epoll_fd = -1;
	k.stop_after = 1;
	packet_make(&p, 7, 100, false);
	for (i = 0; i < 5; i++)
		CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	CHECK_EQ(k.kicks, 1);
	for (i = 0; i < 5; i += n) {
		n = d->ops->tx_done(d, done, 16);
		CHECK(n >= 0);
	}
	CHECK_EQ(k.kicks, 5);
	n = d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX);
	CHECK_EQ(n, 5);
	for (i = 0; i < n; i++)
		check_packet(&got[i], 7, 100, false);
	/* and nobody is told without need */
	OK(d->ops->kick(d));
	CHECK_EQ(k.kicks, 5);
	*k.q.tx.flags = 0;
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	CHECK_EQ(k.kicks, 5);
	packet_free(&p, false);
	close_dev();
}

static void test_sleep(void)
{
	struct packet p;

	open_dev();
	OK(d->ops->arm(d));
	CHECK(*k.q.rx.flags == DEMI_RING_NEED_WAKEUP && *k.q.tx_done.flags == 0);
	d->ops->disarm(d);
	CHECK(*k.q.rx.flags == 0);
	k.hold = true;
	packet_make(&p, 7, 100, false);
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	OK(d->ops->kick(d));
	OK(d->ops->arm(d));
	CHECK(*k.q.rx.flags == DEMI_RING_NEED_WAKEUP && *k.q.tx_done.flags == DEMI_RING_NEED_WAKEUP);
	d->ops->disarm(d);
	CHECK(*k.q.rx.flags == 0 && *k.q.tx_done.flags == 0);
	packet_free(&p, false);
	close_dev();
}

/* After a shutdown the mapping is a page of zeroes: that is noticed, and everything that was taken is done. */
static void test_gone(void)
{
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done[2];
	struct packet p;
	int i;

	open_dev();
	k.hold = true;
	packet_make(&p, 7, 5000, false);
	for (i = 0; i < 5; i++) {
		p.pkt[0].cookie = (uint32_t)i;
		CHECK_EQ(d->ops->tx(d, p.pkt, p.n), p.n);
	}
	OK(d->ops->kick(d));
	k.shut = true;
	memset(k.q.map, 0, k.q.bytes);
	CHECK_EQ(d->ops->arm(d), -ENODEV);
	CHECK_EQ(d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX), -ENODEV);
	CHECK_EQ(d->ops->tx(d, p.pkt, p.n), -ENODEV);
	CHECK_EQ(d->ops->tx_done(d, done, 2), 2);
	CHECK(done[0].err == ENODEV);
	CHECK_EQ(d->ops->tx_done(d, done, 2), 2);
	CHECK_EQ(d->ops->tx_done(d, done, 2), 1);
	CHECK_EQ(d->ops->tx_done(d, done, 2), -ENODEV);
	packet_free(&p, false);
	close_dev();
}

/* Rings that lie: whatever they say, no memory is touched that is not the device's. */
static void test_hostile(void)
{
	struct demi_pkt got[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done[16];
	struct packet p;
	int i, j, n, r;

	for (r = 0; r < (SLOW ? 20 : 100); r++) {
		open_dev();
		packet_make(&p, 7, 3000, false);
		k.hold = true;
		for (i = 0; i < 30; i++) {
			struct demi_desc bad = { .offset = rnd() >> rnd_below(64),
						 .len = (uint32_t)rnd() >> rnd_below(32),
						 .region = (uint16_t)rnd_below(rnd_below(8) ? 4 : 65536),
						 .flags = (uint16_t)rnd_below(4) };

			d->ops->tx(d, p.pkt, p.n);
			d->ops->kick(d);
			if (rnd_below(2)) /* near the truth */
				bad = k.q.rx_fill.desc[rnd_below(k.q.rx_fill.mask + 1)];
			bad.flags = (uint16_t)rnd_below(4);
			fake_give(&k.q.rx, bad);
			if (k.nheld && rnd_below(2))
				bad = k.held[rnd_below(k.nheld)]; /* given back twice, perhaps */
			fake_give(&k.q.tx_done, bad);
			if (r > 10 && !rnd_below(100))
				*k.q.rx.producer = (uint32_t)rnd();
			if (r > 10 && !rnd_below(100))
				*k.q.tx_done.producer = (uint32_t)rnd();
			n = d->ops->rx(d, got, DEMI_PKT_RX_SEGS_MAX);
			for (j = 0; j < n; j++)
				OK(demi_heap_free(got[j].data));
			k.q.rx.own = *k.q.rx.consumer;
			*k.q.rx.producer = k.q.rx.own;
			d->ops->tx_done(d, done, 16);
			k.q.tx_done.own = *k.q.tx_done.consumer;
			*k.q.tx_done.producer = k.q.tx_done.own;
		}
		packet_free(&p, false);
		close_dev();
	}
}

int main(void)
{
	alarm(100);
	check_seed();
	ctx.epoll_fd = -1;
	test_loopback();
	test_metadata();
	test_order();
	test_shared_memory();
	test_blocked();
	test_sleep();
	test_gone();
	test_hostile();
	test_no_memory();
	test_little_memory();
	return 0;
}
