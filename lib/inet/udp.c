/* SPDX-License-Identifier: MIT */
/* UDP, receiving: RFC 768, RFC 1122 4.1, RFC 8200 8.1. */
#include "inet/udp.h"

#include "heap/heap.h"
#include "inet/cksum.h"
#include "inet/wire.h"

#include <string.h>

/* A packet that was put together of more datagrams than anybody does is not believed. */
#define GSO_SEGS_MAX 128

/* Payload below this part of its buffer is copied when it has to wait, so that it does not keep the buffer. */
#define COMPACT_BELOW 4

/* The head of a datagram fits over headers and headroom, at 8 bytes' alignment. */
_Static_assert(sizeof(struct demi_udp_rx) + 7 <=
		       DEMI_PKT_HEADROOM + sizeof(struct demi_ip4_hdr) + sizeof(struct demi_udp_hdr),
	       "no room in front of the payload");

/* ---- to the application ---- */

/* Where it came from. The device says nothing of interfaces: a link-local peer is on the socket's, if that has one. */
static void set_from(struct demi_udp_rx *rx, const struct demi_inet_sock *s, const struct demi_demux_key *key)
{
	struct demi_inet_addr from = { .ip = key->remote, .port = key->rport };

	if (demi_ip_is_linklocal(&from.ip))
		from.scope = s->ifindex;
	rx->rec.magic = DEMI_ADDR_MAGIC;
	rx->rec.off = offsetof(struct demi_udp_rx, from);
	rx->rec.len = (uint16_t)demi_inet_addr_fill(&rx->from, s->domain, &from);
}

/* @rx is the popper's from now on. */
static void give(struct demi_op *op, struct demi_udp_rx *rx)
{
	const struct sockaddr_in6 *from = &rx->from;
	demi_sgarray_t *sga = &op->sga;

	memset(sga, 0, sizeof(*sga));
	sga->sga_buf = rx;
	sga->sga_numsegs = 1;
	sga->sga_segs[0].sgaseg_buf = rx->data;
	sga->sga_segs[0].sgaseg_len = rx->len;
	if (rx->rec.len == sizeof(sga->sga_addr)) {
		memcpy(&sga->sga_addr, from, sizeof(sga->sga_addr));
	} else {
		sga->sga_addr.sin_family = from->sin6_family;
		sga->sga_addr.sin_port = from->sin6_port;
	}
	op->value = DEMI_OP_VALUE_FULL;
	demi_op_ready(op);
}

void demi_udp_deliver(struct demi_udp *u)
{
	struct demi_op *op;

	while ((op = u->ops.head)) {
		struct demi_udp_rx *rx = u->rx_head;

		if (rx) {
			demi_op_list_del(&u->ops, op);
			if (rx->len > op->priv.u64[0]) { /* it stays for the next one */
				demi_op_fail(op, EMSGSIZE);
				continue;
			}
			u->rx_head = rx->next;
			u->rx_bytes -= rx->charge;
			give(op, rx);
		} else if (u->s.err || u->s.in->dead) {
			demi_op_list_del(&u->ops, op);
			demi_op_fail(op, demi_inet_sock_take_err(&u->s));
		} else if (u->s.shut_rd) {
			demi_op_list_del(&u->ops, op);
			demi_op_complete_eof(op);
		} else {
			return;
		}
	}
}

void demi_udp_error(struct demi_inet_sock *s, int err, bool hard)
{
	bool recverr = s->domain == AF_INET ? s->recverr4 : s->recverr6;

	if (!recverr && !(hard && s->connected))
		return;
	demi_udp_set_err(DEMI_UDP(s), err);
	demi_udp_deliver(DEMI_UDP(s));
}

void demi_udp_fail_ops(struct demi_inet_sock *s, int err)
{
	demi_op_fail_list(&DEMI_UDP(s)->ops, err);
}

/* ---- arrivals ---- */

static void add(struct demi_udp *u, struct demi_udp_rx *rx)
{
	rx->next = NULL;
	if (u->rx_head)
		u->rx_tail->next = rx;
	else
		u->rx_head = rx;
	u->rx_tail = rx;
	u->rx_bytes += rx->charge;
	demi_udp_deliver(u);
}

static bool room_for(struct demi_udp *u, uint32_t charge)
{
	struct demi_inet *in = u->s.in;

	/* like Linux: one datagram fits, however large */
	if (!u->rx_bytes || u->ops.head || u->rx_bytes + charge <= u->s.rcvbuf_bytes)
		return true;
	in->count.UdpRcvbufErrors++;
	in->count.UdpInErrors++;
	in->ctx->count.dropped++;
	return false;
}

/* A datagram of its own out of @len bytes at @off. */
static void deliver_copy(struct demi_udp *u, const struct demi_inet_rxpkt *r, uint32_t off, uint32_t len)
{
	struct demi_inet *in = u->s.in;
	uint32_t size = (uint32_t)sizeof(struct demi_udp_rx) + (len ? len : 1);
	struct demi_udp_rx *rx;

	if (!room_for(u, size))
		return;
	rx = demi_heap_alloc(size);
	if (!rx) {
		in->count.UdpMemErrors++;
		in->count.UdpInErrors++;
		in->ctx->count.dropped++;
		return;
	}
	rx->data = (uint8_t *)(rx + 1);
	rx->len = len;
	rx->charge = size;
	demi_pkt_copy(rx->data, r->p, off, len);
	in->ctx->count.copied_bytes += len;
	set_from(rx, &u->s, &r->key);
	in->count.UdpInDatagrams++;
	add(u, rx);
}

/* The buffer itself, whose first segment holds all of the datagram. False: it is still the caller's. */
static bool deliver_buffer(struct demi_udp *u, const struct demi_inet_rxpkt *r, uint32_t len)
{
	struct demi_inet *in = u->s.in;
	uint8_t *data = r->p->data + r->off + sizeof(struct demi_udp_hdr);
	struct demi_udp_rx *rx = (struct demi_udp_rx *)((uintptr_t)(data - sizeof(*rx)) & ~(uintptr_t)7);

	if (!room_for(u, in->dev->rx_buf_bytes))
		return false;
	rx->data = len ? data : (uint8_t *)rx; /* behind the last byte may be another object */
	rx->len = len;
	rx->charge = in->dev->rx_buf_bytes;
	set_from(rx, &u->s, &r->key);
	in->count.UdpInDatagrams++;
	add(u, rx);
	return true;
}

static void deliver_gso(struct demi_udp *u, const struct demi_inet_rxpkt *r, uint32_t len)
{
	uint32_t size = r->p->gso_size, off = r->off + (uint32_t)sizeof(struct demi_udp_hdr), n;

	if (!size || (len + size - 1) / size > GSO_SEGS_MAX) {
		u->s.in->count.UdpInErrors++;
		return;
	}
	for (; len; off += n, len -= n) {
		n = len < size ? len : size;
		deliver_copy(u, r, off, n);
	}
}

static bool checksum_ok(struct demi_inet *in, const struct demi_inet_rxpkt *r, const struct demi_udp_hdr *h,
			uint32_t len)
{
	uint64_t sum;

	if (demi_inet_csum_known(r))
		return true;
	if (!h->check) /* RFC 768: none was made; RFC 8200 8.1: not with IPv6 */
		return demi_ip_is4(&r->key.remote);
	if (r->p->flags & DEMI_PKT_F_GSO) /* its headers are not those that were sent */
		return false;
	sum = demi_cksum_pseudo(&r->key.remote, &r->key.local, IPPROTO_UDP) + demi_cksum_len(len);
	return demi_cksum_fold(demi_cksum_pkt(sum, r->p, r->off, len)) == 0xffff;
}

void demi_udp_input(struct demi_inet *in, struct demi_inet_rxpkt *r)
{
	struct demi_inet_sock *s;
	struct demi_udp_hdr h;
	uint32_t len;

	if (r->off + sizeof(h) > r->p->len || r->len < sizeof(h))
		goto bad;
	memcpy(&h, r->p->data + r->off, sizeof(h));
	len = ntohs(h.len);
	if (len < sizeof(h) || len > r->len)
		goto bad;
	r->key.lport = h.dport;
	r->key.rport = h.sport;
	s = demi_demux_find(&in->udp, &r->key);
	if (__builtin_expect(!s || s->shut_rd, 0)) {
		in->count.UdpNoPorts++;
		goto drop;
	}
	if (!checksum_ok(in, r, &h, len)) {
		in->count.UdpInCsumErrors++;
		goto bad;
	}
	len -= (uint32_t)sizeof(h);
	if (s->domain == AF_INET)
		demi_inet_hint_set(in, r, s); /* the next one like it can go the fast way (fast.h) */
	if (r->p->flags & DEMI_PKT_F_GSO) {
		deliver_gso(DEMI_UDP(s), r, len);
		goto drop;
	}
	if (r->off + sizeof(h) + len > r->p->len ||
	    (len < in->dev->rx_buf_bytes / COMPACT_BELOW && !DEMI_UDP(s)->ops.head)) {
		deliver_copy(DEMI_UDP(s), r, r->off + (uint32_t)sizeof(h), len);
		goto drop;
	}
	if (!deliver_buffer(DEMI_UDP(s), r, len))
		goto drop;
	demi_inet_drop(in, r->p + 1, r->segs - 1); /* padding */
	return;
bad:
	in->count.UdpInErrors++;
drop:
	demi_inet_drop(in, r->p, r->segs);
}
