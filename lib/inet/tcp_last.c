/* SPDX-License-Identifier: MIT */
/*
 * The process ends with a connection open: its peer is told by a reset. This may run in a signal handler that has
 * interrupted the stack anywhere: nothing is followed but the connection itself and the device, nothing is allocated,
 * no list is touched. Numbers that were being changed make a reset that the peer asks about (RFC 5961 3.2), and the
 * kernel, which has the port again by then, answers with one that is right.
 */
#include "inet/cksum.h"
#include "inet/tcp.h"

#include <string.h>

struct last4 {
	struct demi_ip4_hdr ip;
	struct demi_tcp_hdr tcp;
} DEMI_WIRE;

struct last6 {
	struct demi_ip6_hdr ip;
	struct demi_tcp_hdr tcp;
} DEMI_WIRE;

static void fill_tcp(const struct demi_tcp *t, struct demi_tcp_hdr *h)
{
	const struct demi_inet_path *p = &t->s.peer;
	uint64_t sum = demi_cksum_pseudo(&p->src, &p->dst.ip, IPPROTO_TCP) + demi_cksum_len(sizeof(*h));

	*h = (struct demi_tcp_hdr){
		.sport = t->s.local.port,
		.dport = p->dst.port,
		.seq = htonl(t->snd_nxt),
		.ack = htonl(t->rcv_nxt),
		.doff = sizeof(*h) << 2,
		.flags = DEMI_TH_RST | DEMI_TH_ACK,
	};
	h->check = (uint16_t)~demi_cksum_fold(demi_cksum_add(sum, h, sizeof(*h)));
}

static int send4(const struct demi_tcp *t, struct demi_pktdev *dev)
{
	struct last4 p = { .ip = { .ver_ihl = 0x45,
				   .tot_len = htons(sizeof(p)),
				   .frag_off = htons(DEMI_IP4_DF),
				   .ttl = t->s.ttl,
				   .proto = IPPROTO_TCP,
				   .src = t->s.peer.src.w[3],
				   .dst = t->s.peer.dst.ip.w[3] } };

	p.ip.check = (uint16_t)~demi_cksum_fold(demi_cksum_ip4(&p.ip));
	fill_tcp(t, &p.tcp);
	return dev->ops->last(dev, &p, sizeof(p));
}

static int send6(const struct demi_tcp *t, struct demi_pktdev *dev)
{
	struct last6 p = { .ip = { .ver_tc_flow = htonl(6U << 28),
				   .payload_len = htons(sizeof(p.tcp)),
				   .next = IPPROTO_TCP,
				   .hops = t->s.hops } };

	memcpy(p.ip.src, &t->s.peer.src, sizeof(p.ip.src));
	memcpy(p.ip.dst, &t->s.peer.dst.ip, sizeof(p.ip.dst));
	fill_tcp(t, &p.tcp);
	return dev->ops->last(dev, &p, sizeof(p));
}

void demi_tcp_last(struct demi_queue *q)
{
	const struct demi_tcp *t = DEMI_TCP(q);
	struct demi_pktdev *dev = t->s.in->dev;
	int err;

	if (!dev || t->s.in->dead || t->dead || t->state < DEMI_TCP_SYN_RCVD || t->sent_all)
		return;
	err = demi_ip_is4(&t->s.peer.dst.ip) ? send4(t, dev) : send6(t, dev);
	(void)err; /* nobody is left to be told */
}
