/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_FUZZ_PACKETS_H
#define DEMI_SELFTESTS_FUZZ_PACKETS_H

/*
 * A stack of its own for each input, with sockets of every kind: a UDP socket on port 7 of both families, a connected
 * one, a listener on port 80, a connection that is being opened. Inputs are packets for it.
 */

#include "input.h"

#include "inet/net.h"

#include <demi/sockopt.h>

#define PEER4 0x0a000009U
static const uint8_t fuzz_peer6[16] = { 0xfd, [15] = 9 };

static struct node *fuzz_node;
static int fuzz_udp, fuzz_connected, fuzz_listener;
static struct sockaddr_in fuzz_opening; /* of the connection that is being opened */

static inline void forget_results(void)
{
	demi_qresult_t qr;
	int n;

	while (demi_ctx_self->ops.live && !demi_wait_next_n(&qr, 1, &n, &check_now)) {
		if (qr.qr_opcode == DEMI_OPC_POP)
			demi_sgafree(&qr.qr_value.sga);
	}
}

static inline int fuzz_socket(int domain, int type)
{
	struct demi_queue *q;

	CHECK_EQ(demi_inet_socket(&fuzz_node->in, domain, type, 0, &q), 0);
	return q->qd;
}

static inline void fuzz_begin(void)
{
	static const uint8_t any[16];
	struct sockaddr_in6 a6 = addr6(any, 7);
	struct sockaddr_in a4 = addr4(PEER4, 9);
	socklen_t len = sizeof(fuzz_opening);
	demi_qtoken_t qt;
	int opening;

	if (!demi_ctx_self)
		init_memq();
	net_now = 1000000 * NET_MS;
	fuzz_node = node_new(1, 0, 1500);
	fuzz_udp = fuzz_socket(AF_INET6, SOCK_DGRAM);
	OK(demi_bind(fuzz_udp, (struct sockaddr *)&a6, sizeof(a6)));
	fuzz_connected = fuzz_socket(AF_INET, SOCK_DGRAM);
	OK(demi_connect(&qt, fuzz_connected, (struct sockaddr *)&a4, sizeof(a4)));
	fuzz_listener = node_listen(fuzz_node, AF_INET6, 80, 4);
	opening = fuzz_socket(AF_INET, SOCK_STREAM);
	OK(demi_connect(&qt, opening, (struct sockaddr *)&a4, sizeof(a4)));
	OK(demi_getsockname(opening, (struct sockaddr *)&fuzz_opening, &len));
	node_pump(fuzz_node);
}

/* Everything that a packet of @len bytes can bring along, as a device says it: @how chooses. */
static inline void fuzz_receive(const uint8_t *p, uint32_t len, uint32_t how)
{
	static const uint16_t flags[] = { 0,
					  DEMI_PKT_F_CSUM_OK,
					  DEMI_PKT_F_CSUM_PARTIAL,
					  DEMI_PKT_F_GSO_UDP | DEMI_PKT_F_CSUM_PARTIAL,
					  DEMI_PKT_F_GSO_TCP4 | DEMI_PKT_F_CSUM_PARTIAL,
					  DEMI_PKT_F_GSO_TCP6 | DEMI_PKT_F_CSUM_OK,
					  DEMI_PKT_F_GSO_UDP,
					  DEMI_PKT_F_GSO_TCP4 };
	struct demi_pkt meta = { .flags = flags[how & 7], .gso_size = (uint16_t)(how >> 3 & 1023) };

	node_receive(fuzz_node, p, len, &meta);
	node_pump(fuzz_node);
}

static inline void fuzz_end(void)
{
	struct packet *p;
	demi_qtoken_t qt;

	demi_pop(&qt, fuzz_udp);
	demi_pop(&qt, fuzz_connected);
	forget_results();
	while ((p = node_take(fuzz_node)))
		free(p);
	node_free(fuzz_node);
	forget_results();
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	CHECK_EQ(demi_ctx_self->queues.open, 0);
}

/* ---- sums: right ones, so that an input gets behind the first check ---- */

static inline void transport_sum(const uint8_t *ip, uint8_t *p, uint32_t len, uint8_t proto, uint32_t at)
{
	uint32_t sum = proto == 1 ? 0 : pseudo_sum(ip, proto, len);

	if (len < at + 2)
		return;
	put16(p + at, 0);
	put16(p + at, (uint16_t)~fold16(sum + sum16(p, len)));
}

/* Where each protocol has it. */
static inline uint32_t sum_offset(uint8_t proto)
{
	return proto == 6 ? 16 : proto == 17 ? 6 : 2;
}

#endif /* DEMI_SELFTESTS_FUZZ_PACKETS_H */
