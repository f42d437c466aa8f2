/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_FAST_H
#define DEMI_INET_FAST_H

/*
 * The expected datagram, straight through; pushing it is in fast.c. What is not expected changes nothing here and goes
 * the long way (ip4.c, udp.c, dgram.c), which makes every check again and counts.
 */

#include "core/enter.h"
#include "core/op_inline.h"
#include "inet/cksum.h"
#include "inet/udp.h"
#include "inet/wire.h"

#define DEMI_FAST_HDRS (sizeof(struct demi_ip4_hdr) + sizeof(struct demi_udp_hdr))

/* Version 4 and no options; neither "more fragments" nor an offset: the first 8 bytes, little-endian. */
#define DEMI_FAST_MASK 0xff3f0000000000ffu
#define DEMI_FAST_PLAIN 0x0000000000000045u

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the masks are those of a little-endian machine"
#endif

static inline uint32_t demi_load32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint16_t demi_load16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/*
 * Assumes: one segment, not put together from several; IPv4 without options, whole; UDP with a checksum and at least
 * one byte; from and to where the last one of its kind came from and went to, a socket of AF_INET on which
 * a pop waits that takes so many bytes. RFC 791 3.1, RFC 768.
 */
static inline bool demi_inet_fast_input(struct demi_inet *in, const struct demi_pkt *p)
{
	uint8_t *d = p->data;
	uint64_t w0, w1, addrs, sum;
	const struct demi_inet_hint *h;
	uint32_t ports, len;
	struct demi_op *op;
	struct demi_udp *u;

	if (demi_unlikely(p->len <= DEMI_FAST_HDRS || p->flags & (DEMI_PKT_F_MORE | DEMI_PKT_F_GSO)))
		return false;
	w0 = demi_load64(d);
	w1 = demi_load64(d + 8);
	addrs = demi_load64(d + 12);
	ports = demi_load32(d + 20);
	len = ntohs(demi_load16(d + 24)); /* of UDP header and payload */
	h = demi_inet_hint(in, addrs, ports);
	u = h->u;
	if (demi_unlikely((w0 & DEMI_FAST_MASK) != DEMI_FAST_PLAIN || d[9] != IPPROTO_UDP || h->addrs != addrs ||
			  h->ports != ports || !u))
		return false;
	op = u->ops.head;
	if (demi_unlikely(!op || len <= sizeof(struct demi_udp_hdr) || len + sizeof(struct demi_ip4_hdr) > p->len ||
			  ntohs((uint16_t)(w0 >> 16)) != len + sizeof(struct demi_ip4_hdr)))
		return false;
	sum = demi_cksum_wrap(demi_cksum_wrap(w0, w1), demi_load32(d + 16));
	if (demi_unlikely(!demi_cksum_wrapped_ok(sum)))
		return false;
	if (!(p->flags & (DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_CSUM_PARTIAL))) {
		sum = demi_cksum_wrap(addrs, (uint64_t)demi_load16(d + 24) + htons(IPPROTO_UDP));
		sum = demi_cksum_words(sum, d + 20, len);
		if (demi_unlikely(!demi_cksum_wrapped_ok(sum) || !demi_load16(d + 26)))
			return false;
	}
	len -= (uint32_t)sizeof(struct demi_udp_hdr);
	if (demi_unlikely(len > op->priv.u64[0]))
		return false;

	in->count.IpInReceives++;
	in->count.IpInDelivers++;
	in->count.UdpInDatagrams++;
	u->ops.head = op->next;
	if (demi_unlikely(op->next != NULL))
		op->next->prev = NULL;
	else
		u->ops.tail = NULL;
	op->value = DEMI_OP_VALUE_DGRAM;
	op->buf = d + DEMI_FAST_HDRS;
	op->buf_len = len;
	/* a sockaddr_in: family, port, address */
	sum = AF_INET | (ports & 0xffff) << 16 | addrs << 32;
	memcpy(&op->sga.sga_addr, &sum, sizeof(sum));
	demi_op_ready_inline(in->ctx, op);
	return true;
}

#endif /* DEMI_INET_FAST_H */
