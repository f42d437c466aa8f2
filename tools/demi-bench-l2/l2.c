/* SPDX-License-Identifier: MIT */
/*
 * A bare layer-2 echo on a DPDK port, as the side "l2" of demi-bench, which it is loaded into: receive burst, swap the
 * addresses, transmit burst. A frame is as long as the one that carries the same payload over UDP or TCP over IPv4.
 */
#include "demi-bench/device.h"
#include "demi-bench/side.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define BURST 32
#define MBUFS 2047
#define ENTRIES 512
#define HDRS_UDP (14 + 20 + 8)
#define HDRS_TCP (14 + 20 + 32)
#define ARGS_MAX 32

struct l2_client {
	struct flow flow;
	uint16_t port;
	uint16_t len;
	struct rte_mempool *pool;
};

/* EAL pins the thread that starts it; where it runs is what --cpus says. */
static int eal_start(struct side *s, bool server)
{
	static char args[1024], cpu[16], *argv[ARGS_MAX + 1];
	char *word, *rest = NULL;
	cpu_set_t before;
	int argc = 0, ret;

	if (sched_getaffinity(0, sizeof(before), &before))
		return -errno;
	snprintf(cpu, sizeof(cpu), "-l%d", sched_getcpu());
	device_dpdk_args(s, server, args, sizeof(args));
	argv[argc++] = (char *)"demi-bench";
	argv[argc++] = (char *)"--log-level=error";
	argv[argc++] = cpu;
	for (word = strtok_r(args, " ", &rest); word && argc < ARGS_MAX; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	ret = rte_eal_init(argc, argv) < 0 ? -(rte_errno ? rte_errno : ENODEV) : 0;
	sched_setaffinity(0, sizeof(before), &before);
	return ret ? ret : side_pin(s, server);
}

/* The first port, one queue each way. */
static int port_start(uint16_t *port, struct rte_mempool **pool)
{
	struct rte_eth_conf conf = { 0 };
	uint16_t rx = ENTRIES, tx = ENTRIES;
	int ret;

	*port = (uint16_t)rte_eth_find_next(0);
	if (*port >= RTE_MAX_ETHPORTS)
		return -ENODEV;
	*pool = rte_pktmbuf_pool_create("l2", MBUFS, 64, 0, RTE_MBUF_DEFAULT_BUF_SIZE + 64, SOCKET_ID_ANY);
	if (!*pool)
		return -rte_errno;
	ret = rte_eth_dev_configure(*port, 1, 1, &conf);
	if (!ret)
		ret = rte_eth_dev_adjust_nb_rx_tx_desc(*port, &rx, &tx);
	if (!ret)
		ret = rte_eth_rx_queue_setup(*port, 0, rx, SOCKET_ID_ANY, NULL, *pool);
	if (!ret)
		ret = rte_eth_tx_queue_setup(*port, 0, tx, SOCKET_ID_ANY, NULL);
	return ret ? ret : rte_eth_dev_start(*port);
}

static void send_all(uint16_t port, struct rte_mbuf **m, uint16_t n)
{
	uint16_t sent = 0;

	while (sent < n)
		sent = (uint16_t)(sent + rte_eth_tx_burst(port, 0, m + sent, (uint16_t)(n - sent)));
}

static void swap(struct rte_mbuf *m)
{
	struct rte_ether_hdr *h = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	struct rte_ether_addr a = h->src_addr;

	h->src_addr = h->dst_addr;
	h->dst_addr = a;
}

static int l2_serve(struct side *s)
{
	struct rte_mbuf *m[BURST];
	struct rte_mempool *pool;
	unsigned int empty = 0;
	uint16_t port, n, i;
	int ret = eal_start(s, true);

	if (!ret)
		ret = port_start(&port, &pool);
	if (ret)
		return ret;
	side_ready(s);
	for (;;) {
		n = rte_eth_rx_burst(port, 0, m, BURST);
		if (!n) {
			if (!side_spin(s, &empty))
				return 0;
			continue;
		}
		for (i = 0; i < n; i++)
			swap(m[i]);
		send_all(port, m, n);
	}
}

static void send_one(struct l2_client *c)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(c->pool);
	struct rte_ether_hdr *h;

	while (!m)
		m = rte_pktmbuf_alloc(c->pool);
	h = (struct rte_ether_hdr *)rte_pktmbuf_append(m, c->len);
	memset(h, 0, c->len);
	h->ether_type = RTE_BE16(0x88b5); /* for experiments: IEEE 802, 9.2.3 */
	send_all(c->port, &m, 1);
}

static int l2_open(struct side *s, void **client)
{
	struct l2_client *c = calloc(1, sizeof(*c));
	struct rte_eth_link link = { 0 };
	int ret, tries;

	if (!c)
		return -ENOMEM;
	*client = c;
	ret = eal_start(s, false);
	if (!ret)
		ret = port_start(&c->port, &c->pool);
	if (ret)
		return ret;
	c->len = (uint16_t)(s->opts->size + (s->over == OVER_UDP ? HDRS_UDP : HDRS_TCP));
	if (c->len > RTE_ETHER_MAX_LEN - RTE_ETHER_CRC_LEN)
		return -EMSGSIZE;
	for (tries = 0; tries < 5000 && !link.link_status; tries++) {
		rte_eth_link_get_nowait(c->port, &link);
		rte_delay_us_sleep(1000);
	}
	return link.link_status ? flow_init(&c->flow, s->opts) : -ENOTCONN;
}

static int l2_run(struct side *s, void *client)
{
	struct l2_client *c = client;
	struct rte_mbuf *m[BURST];
	struct slice_clock clock;
	uint32_t under_way = 0, w;
	uint64_t t = ticks();
	uint16_t n, i;

	slice_begin(s, &clock, t);
	for (w = 0; w < s->opts->window && slice_next(&clock, t); w++, under_way++) {
		flow_sent(&c->flow, t);
		send_one(c);
	}
	while (under_way) {
		n = rte_eth_rx_burst(c->port, 0, m, BURST);
		if (!n) {
			cpu_relax();
			continue;
		}
		t = ticks();
		for (i = 0; i < n; i++) {
			under_way -= flow_got(&c->flow, s, s->opts->size, t);
			rte_pktmbuf_free(m[i]);
			if (slice_next(&clock, t)) {
				flow_sent(&c->flow, t);
				send_one(c);
				under_way++;
			}
		}
	}
	return 0;
}

static void l2_close(struct side *s, void *client)
{
	struct l2_client *c = client;

	rte_eth_dev_stop(c->port);
	flow_free(&c->flow);
	free(c);
}

extern const struct side_kind demi_bench_l2;
const struct side_kind demi_bench_l2 = {
	.name = "l2",
	.serve = l2_serve,
	.open = l2_open,
	.run = l2_run,
	.close = l2_close,
};
