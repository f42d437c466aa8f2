/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, alone: its processes poll, two at a time */
/*
 * The DPDK device by itself: frames of every size and shape come back as they were sent, what was received is sent in
 * place, each packet is done once. Over memif both ends poll; over vhost and virtio-user they sleep and are woken, and
 * one of them reaches EAL's memory only, so that all it sends and receives is copied.
 */
#include "dpdk.h"

#include "core/config.h"
#include "heap/heap.h"
#include "pktdev/pktdev.h"

#include <poll.h>

#define FRAME_MAX 1514
#define HDRS 54
#define BURST 64
#define IN_PLACE 512 /* what is not shorter is sent in place, where the port reaches it */
#define LAST 0xff /* first payload byte of the frame that ends the server */

static const struct dpdk_wire *wire;
static bool in_place; /* this end's port can be given any memory */
static int nothing; /* stands for a context, which the device only keeps */

static struct demi_pktdev *dev_open(void)
{
	struct demi_pktdev *d;

	OK(demi_config_load(NULL));
	OK(demi_dpdk_open((struct demi_ctx *)&nothing, &d));
	CHECK(!(d->caps & DEMI_PKTDEV_C_L3));
	CHECK_EQ(d->mtu_bytes, 1500);
	CHECK_EQ(d->zc_min_bytes, in_place ? IN_PLACE : UINT32_MAX);
	CHECK_EQ(d->wake_fd >= 0, wire == &dpdk_vhost);
	return d;
}

/* Sleeps where the port can wake, and there is nothing to be done. As core/backend.h wants it: armed, looked again. */
static int receive(struct demi_pktdev *d, struct demi_pkt *pkts, bool sleep)
{
	struct pollfd p = { .fd = d->wake_fd, .events = POLLIN };
	int n = d->ops->rx(d, pkts, BURST);

	if (n || d->wake_fd < 0 || !sleep)
		return n;
	OK(d->ops->arm(d));
	n = d->ops->rx(d, pkts, BURST);
	if (!n)
		CHECK_EQ(poll(&p, 1, 30000), 1);
	d->ops->disarm(d);
	return n;
}

/* ---- the server: every frame back, out of the buffers that it came in ---- */

static uint32_t flying;

static void server_done(struct demi_pktdev *d)
{
	struct demi_pkt_done done[BURST];
	int n = d->ops->tx_done(d, done, BURST);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(done[i].err, 0);
		CHECK(in_place || !done[i].copied);
		OK(demi_heap_free((void *)(uintptr_t)done[i].cookie));
		flying--;
	}
}

static bool echo(struct demi_pktdev *d, struct demi_pkt *pkts, int n)
{
	bool last = false;
	int sent = 0;

	for (int i = 0; i < n; i++) {
		uint8_t mac[6];

		/* memif's buffers are longer than a frame, so that nothing comes in pieces */
		CHECK_EQ(pkts[i].flags, 0);
		CHECK(demi_heap_contains(pkts[i].data - DEMI_PKT_HEADROOM, pkts[i].len + DEMI_PKT_HEADROOM));
		CHECK_EQ(demi_heap_usable(pkts[i].data) >= pkts[i].len, 1);
		memcpy(mac, pkts[i].data, 6);
		memcpy(pkts[i].data, pkts[i].data + 6, 6);
		memcpy(pkts[i].data + 6, mac, 6);
		last |= pkts[i].data[HDRS] == LAST;
		pkts[i].cookie = (uintptr_t)pkts[i].data;
		pkts[i].flags = pkts[i].len >= d->zc_min_bytes ? DEMI_PKT_F_ZEROCOPY : 0;
		flying++;
	}
	while (sent < n) {
		int took = d->ops->tx(d, pkts + sent, (uint32_t)(n - sent));

		CHECK(took >= 0);
		sent += took;
		OK(d->ops->kick(d));
		server_done(d);
	}
	return last;
}

static void server(int ready_fd)
{
	struct demi_pktdev *d;
	struct demi_pkt pkts[BURST];
	struct demi_pktdev_stats stats;
	bool last = false;
	int n;

	in_place = true;
	d = dev_open();
	dpdk_ready(ready_fd);
	while (!last) {
		n = receive(d, pkts, !flying);
		CHECK(n >= 0);
		last = echo(d, pkts, n);
	}
	while (flying)
		server_done(d);
	d->ops->stats(d, &stats);
	CHECK_EQ(stats.rx_packets, stats.tx_packets);
	CHECK_EQ(stats.rx_bytes, stats.tx_bytes);
	CHECK_EQ(stats.tx_copied, 0);
	sleep_ms(100); /* the last one shall be read before the memory goes */
	d->ops->destroy(d);
	/* the port is free for another context */
	OK(demi_dpdk_open((struct demi_ctx *)&nothing, &d));
	d->ops->destroy(d);
}

/* ---- the client ---- */

static struct {
	uint8_t bytes[FRAME_MAX];
	uint32_t len;
	uint8_t *piece[9];
	bool done;
} sent[BURST];

static uint32_t done_count;

static void client_done(struct demi_pktdev *d)
{
	struct demi_pkt_done done[BURST];
	int n = d->ops->tx_done(d, done, BURST);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		CHECK(done[i].cookie < BURST && !sent[done[i].cookie].done);
		CHECK_EQ(done[i].err, 0);
		sent[done[i].cookie].done = true;
		done_count++;
	}
}

/* Frame @i, in one to nine pieces of heap memory. Returns the entries. */
static uint32_t make(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t i, bool last)
{
	uint32_t len = HDRS + 1 + rnd_below(FRAME_MAX - HDRS), at = 0, n = 0;

	for (uint32_t k = 0; k < len; k++)
		sent[i].bytes[k] = (uint8_t)rnd_below(255);
	sent[i].bytes[HDRS] = last ? LAST : (uint8_t)i;
	sent[i].len = len;
	sent[i].done = false;
	while (at < len) {
		uint32_t part = n == 8 || !rnd_below(3) ? len - at : 1 + rnd_below(len - at);

		if (!n && part < HDRS)
			part = HDRS;
		sent[i].piece[n] = d->ops->buf_alloc(d, part);
		CHECK(sent[i].piece[n]);
		memcpy(sent[i].piece[n], sent[i].bytes + at, part);
		pkts[n] = (struct demi_pkt){ .data = sent[i].piece[n],
					     .len = part,
					     .flags = part >= IN_PLACE ? DEMI_PKT_F_ZEROCOPY : 0,
					     .cookie = i };
		if (n)
			pkts[n - 1].flags |= DEMI_PKT_F_MORE;
		at += part;
		n++;
	}
	return n;
}

static void check_back(const struct demi_pkt *p, uint32_t i)
{
	CHECK_EQ(p->len, sent[i].len);
	CHECK(!memcmp(p->data, sent[i].bytes + 6, 6) && !memcmp(p->data + 6, sent[i].bytes, 6));
	CHECK(!memcmp(p->data + 12, sent[i].bytes + 12, p->len - 12));
	OK(demi_heap_free(p->data));
}

/* @n frames at once. memif loses none and keeps their order. */
static void round_trip(struct demi_pktdev *d, uint32_t n, bool last)
{
	struct demi_pkt pkts[BURST * 9];
	uint32_t entries = 0, at = 0, back = 0;

	for (uint32_t i = 0; i < n; i++)
		entries += make(d, pkts + entries, i, last && i == n - 1);
	done_count = 0;
	while (back < n || done_count < n) {
		struct demi_pkt in[BURST];
		int got;

		if (at < entries) {
			got = d->ops->tx(d, pkts + at, entries - at);
			CHECK(got >= 0);
			at += (uint32_t)got;
			OK(d->ops->kick(d));
		}
		client_done(d);
		got = receive(d, in, at == entries && done_count == n);
		CHECK(got >= 0);
		for (int k = 0; k < got; k++)
			check_back(&in[k], back++);
	}
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < 9 && sent[i].piece[k]; k++)
			OK(demi_heap_free(sent[i].piece[k]));
		memset(sent[i].piece, 0, sizeof(sent[i].piece));
	}
}

/* In a process of its own: EAL starts once. */
static void client(int rounds)
{
	struct demi_pktdev *d, *second;
	struct demi_pktdev_stats stats;
	uint64_t bytes = 0;
	pid_t pid = dpdk_server(wire, server);

	in_place = wire == &dpdk_memif;
	d = dev_open();
	CHECK_EQ(d->mac[0], 2);
	CHECK_EQ(d->mac[5], 2);
	/* one port, one context */
	CHECK_EQ(demi_dpdk_open((struct demi_ctx *)&nothing, &second), -EBUSY);
	for (int i = 0; i < rounds; i++) {
		uint32_t n = i % 7 ? 1 + rnd_below(8) : BURST;

		round_trip(d, n, false);
		for (uint32_t k = 0; k < n; k++)
			bytes += sent[k].len;
	}
	round_trip(d, 1, true);
	bytes += sent[0].len;
	d->ops->stats(d, &stats);
	CHECK_EQ(stats.tx_bytes, bytes);
	CHECK_EQ(stats.rx_bytes, bytes);
	CHECK_EQ(stats.rx_packets, stats.tx_packets);
	CHECK_EQ(stats.tx_copied != 0, !in_place);
	CHECK_EQ(stats.rx_dropped + stats.rx_errors + stats.tx_dropped, 0);
	dpdk_server_ended(wire, pid);
	d->ops->destroy(d);
}

static void over(const struct dpdk_wire *w, int rounds)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(60);
		wire = w;
		client(rounds);
		exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		printf("over %s\n", w->name);
		exit(1);
	}
}

int main(void)
{
	alarm(100);
	dpdk_or_skip();
	check_seed();
	over(&dpdk_memif, 2000);
	over(&dpdk_vhost, 500);
	return 0;
}
