/* SPDX-License-Identifier: MIT */
/*
 * The process ends with a connection open: its peer is told by a reset. This may run in a signal handler that has
 * interrupted the stack anywhere: nothing is followed but the connection itself and the device, nothing is allocated,
 * no list is touched.
 *
 * A peer takes a reset only with the number that it expects next (RFC 5961 3.2). When that is another (numbers were
 * being changed, data was lost or had not left) it asks with an acknowledgment, which still comes to this device. So
 * for some milliseconds every segment that comes is answered by a reset with the number that it acknowledges, as by a
 * host that knows no connections (RFC 9293 3.10.7.1).
 */
#include "inet/cksum.h"
#include "inet/tcp.h"

#include <string.h>
#include <time.h>

#define WAIT_MS 5 /* for what peers ask: a round trip in a datacenter, and a scheduler */

struct reset {
	struct demi_ip src, dst;
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags, ttl;
};

struct last4 {
	struct demi_ip4_hdr ip;
	struct demi_tcp_hdr tcp;
} DEMI_WIRE;

struct last6 {
	struct demi_ip6_hdr ip;
	struct demi_tcp_hdr tcp;
} DEMI_WIRE;

static void fill_tcp(const struct reset *r, struct demi_tcp_hdr *h)
{
	uint64_t sum = demi_cksum_pseudo(&r->src, &r->dst, IPPROTO_TCP) + demi_cksum_len(sizeof(*h));

	*h = (struct demi_tcp_hdr){
		.sport = r->sport,
		.dport = r->dport,
		.seq = htonl(r->seq),
		.ack = htonl(r->ack),
		.doff = sizeof(*h) << 2,
		.flags = r->flags,
	};
	h->check = (uint16_t)~demi_cksum_fold(demi_cksum_add(sum, h, sizeof(*h)));
}

static int send4(const struct reset *r, struct demi_pktdev *dev)
{
	struct last4 p = { .ip = { .ver_ihl = 0x45,
				   .tot_len = htons(sizeof(p)),
				   .frag_off = htons(DEMI_IP4_DF),
				   .ttl = r->ttl,
				   .proto = IPPROTO_TCP,
				   .src = r->src.w[3],
				   .dst = r->dst.w[3] } };

	p.ip.check = (uint16_t)~demi_cksum_fold(demi_cksum_ip4(&p.ip));
	fill_tcp(r, &p.tcp);
	return dev->ops->last(dev, &p, sizeof(p));
}

static int send6(const struct reset *r, struct demi_pktdev *dev)
{
	struct last6 p = { .ip = { .ver_tc_flow = htonl(6U << 28),
				   .payload_len = htons(sizeof(p.tcp)),
				   .next = IPPROTO_TCP,
				   .hops = r->ttl } };

	memcpy(p.ip.src, &r->src, sizeof(p.ip.src));
	memcpy(p.ip.dst, &r->dst, sizeof(p.ip.dst));
	fill_tcp(r, &p.tcp);
	return dev->ops->last(dev, &p, sizeof(p));
}

static void reset_send(const struct reset *r, struct demi_pktdev *dev)
{
	int err = demi_ip_is4(&r->dst) ? send4(r, dev) : send6(r, dev);

	(void)err; /* nobody is left to be told */
}

void demi_tcp_last(struct demi_queue *q)
{
	const struct demi_tcp *t = DEMI_TCP(q);
	const struct demi_inet_path *p = &t->s.peer;
	struct demi_inet *in = t->s.in;

	if (!in->dev || in->dead || t->dead || t->state < DEMI_TCP_SYN_RCVD || t->sent_all)
		return;
	reset_send(&(struct reset){ .src = p->src,
				    .dst = p->dst.ip,
				    .sport = t->s.local.port,
				    .dport = p->dst.port,
				    .seq = t->snd_nxt,
				    .ack = t->rcv_nxt,
				    .flags = DEMI_TH_RST | DEMI_TH_ACK,
				    .ttl = demi_ip_is4(&p->dst.ip) ? t->s.ttl : t->s.hops },
		   in->dev);
	in->tcp_last = true;
}

/* What answers the first @len bytes of a packet; false: nothing does. */
static bool answer_to(const uint8_t *b, uint32_t len, struct reset *r)
{
	struct demi_ip4_hdr ip4;
	struct demi_ip6_hdr ip6;
	struct demi_tcp_hdr h;
	uint32_t off;

	if (len >= sizeof(ip4) && b[0] >> 4 == 4) {
		memcpy(&ip4, b, sizeof(ip4));
		off = (ip4.ver_ihl & 15U) * 4;
		if (ip4.proto != IPPROTO_TCP || ip4.frag_off & htons(DEMI_IP4_OFFSET))
			return false;
		r->src = demi_ip_from4(ip4.dst);
		r->dst = demi_ip_from4(ip4.src);
	} else if (len >= sizeof(ip6) && b[0] >> 4 == 6) {
		memcpy(&ip6, b, sizeof(ip6));
		off = sizeof(ip6);
		if (ip6.next != IPPROTO_TCP)
			return false;
		memcpy(&r->src, ip6.dst, sizeof(r->src));
		memcpy(&r->dst, ip6.src, sizeof(r->dst));
	} else {
		return false;
	}
	if (len < off + sizeof(h))
		return false;
	memcpy(&h, b + off, sizeof(h));
	r->sport = h.dport;
	r->dport = h.sport;
	r->seq = ntohl(h.ack);
	r->flags = DEMI_TH_RST;
	return (h.flags & (DEMI_TH_ACK | DEMI_TH_RST)) == DEMI_TH_ACK;
}

void demi_tcp_last_answers(struct demi_inet *in)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	uint8_t head[60 + sizeof(struct demi_tcp_hdr)];
	struct reset r = { .ttl = 64 };
	uint32_t len;

	for (int i = 0; in->tcp_last && in->dev->ops->last_rx && i <= WAIT_MS; i++) {
		while ((len = in->dev->ops->last_rx(in->dev, head, sizeof(head))) > 0) {
			if (answer_to(head, len, &r))
				reset_send(&r, in->dev);
		}
		if (i < WAIT_MS)
			nanosleep(&ms, NULL);
	}
}
