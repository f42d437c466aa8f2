/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_FAST_H
#define DEMI_INET_FAST_H

/*
 * The expected packet, straight through. A datagram's way in is here, its way out in fast.c; a segment's are in
 * tcp_fast.h and tcp_fast.c. What is not expected changes nothing here and goes the long way (ip4.c, udp.c, …), which
 * makes every check again and counts.
 */

#include "core/instant.h"
#include "inet/cksum.h"
#include "inet/tcp_fast.h"
#include "inet/udp.h"
#include "inet/wire.h"

#define DEMI_FAST_HDRS (sizeof(struct demi_ip4_hdr) + sizeof(struct demi_udp_hdr))

/* Version 4 and no options; neither "more fragments" nor an offset: the first 8 bytes, little-endian. */
#define DEMI_FAST_MASK 0xff3f0000000000ffu
#define DEMI_FAST_PLAIN 0x0000000000000045u

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the masks are those of a little-endian machine"
#endif

/*
 * Assumes: UDP with a checksum; to a socket of AF_INET on which a pop waits that takes so many bytes. RFC 768. The IPv4
 * header, whose @total bytes have arrived and are more than headers, has been checked.
 */
static inline __attribute__((always_inline)) bool demi_udp_fast_input(struct demi_inet *in, const struct demi_pkt *p,
								      uint32_t total, struct demi_udp *u)
{
	uint8_t *d = p->data;
	uint64_t addrs = demi_load64(d + 12), sum;
	uint32_t len = total - (uint32_t)sizeof(struct demi_ip4_hdr); /* of UDP header and payload */
	struct demi_ctx *ctx = in->ctx;
	struct demi_op *op = NULL;
	size_t max = ctx->await.max_bytes;

	if (demi_unlikely(ctx->await.now != &u->s.q)) {
		op = u->ops.head;
		max = op ? op->priv.u64[0] : 0;
	}
	if (demi_unlikely(ntohs(demi_load16(d + 24)) != len || len - sizeof(struct demi_udp_hdr) > max))
		return false;
	if (!(p->flags & (DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_CSUM_PARTIAL))) {
		sum = demi_cksum_wrap(addrs, (uint64_t)demi_load16(d + 24) + htons(IPPROTO_UDP));
		sum = demi_cksum_words(sum, d + 20, len);
		if (demi_unlikely(!demi_cksum_wrapped_ok(sum) || !demi_load16(d + 26)))
			return false;
	}
	in->count.IpInReceives++;
	in->count.IpInDelivers++;
	in->count.UdpInDatagrams++;
	/* from a sockaddr_in: family, port, address */
	addrs = AF_INET | (uint64_t)demi_load16(d + 20) << 16 | addrs << 32;
	len -= (uint32_t)sizeof(struct demi_udp_hdr);
	if (demi_likely(!op))
		demi_await_done(ctx, &u->s.q, d + DEMI_FAST_HDRS, len, addrs);
	else
		demi_op_list_popped(ctx, &u->ops, op, d + DEMI_FAST_HDRS, len, addrs);
	return true;
}

/*
 * Another header than the last one between these ports: is it one that can come this way? Then the next one like it
 * needs no look. RFC 791 3.1.
 */
bool demi_inet_fast_header(struct demi_inet_hint *h, const uint8_t *d);

/*
 * Assumes: one segment, not put together from several; IPv4 without options, whole, and more than UDP's headers; from
 * and to where the last one of its kind came from and went to. A header that is the last one's, byte for byte, is as
 * good as that one was: its checksum, too. It is, of peers that do not count packets that must not be cut (RFC 6864
 * 4.1) and say as much again.
 */
static inline __attribute__((always_inline)) bool demi_inet_fast_input(struct demi_inet *in, const struct demi_pkt *p)
{
	const uint8_t *d = p->data;
	struct demi_inet_hint *h = in->last_hint;
	uint32_t ports, total;
	uint64_t addrs;

	if (demi_unlikely(p->len <= DEMI_FAST_HDRS || p->flags & (DEMI_PKT_F_MORE | DEMI_PKT_F_GSO)))
		return false;
	addrs = demi_load64(d + 12);
	ports = demi_load32(d + 20);
	if (demi_unlikely(h->addrs != addrs || h->ports != ports)) {
		h = demi_inet_hint(in, addrs, ports);
		if (h->addrs != addrs || h->ports != ports)
			return false;
		in->last_hint = h;
	}
	if (demi_unlikely(h->first != demi_load64(d) || h->second != demi_load32(d + 8)) &&
	    !demi_inet_fast_header(h, d))
		return false;
	/* Neither above p->len nor of headers alone. A hint without a header has one of no bytes, perhaps no socket. */
	total = ntohs(demi_load16(d + 2));
	if (demi_unlikely(total - (DEMI_FAST_HDRS + 1) > p->len - (DEMI_FAST_HDRS + 1)))
		return false;
	if (demi_likely(d[9] == IPPROTO_TCP))
		return demi_tcp_fast_input(in, p, total, (struct demi_tcp *)h->s);
	return demi_udp_fast_input(in, p, total, DEMI_UDP(h->s));
}

/* Copy the payload behind the headers; its sum. */
static inline uint64_t demi_fast_copy(uint8_t *to, const uint8_t *from, uint32_t len)
{
	const uint8_t *end = from + (len & ~63U);
	uint64_t sum = 0;

	for (; from != end; to += 64, from += 64) {
		memcpy(to, from, 64);
		sum = demi_cksum_wrap64(sum, to);
	}
	len &= 63;
	if (len) {
		memcpy(to, from, len);
		sum = demi_cksum_rest(sum, to, len);
	}
	return sum;
}

#endif /* DEMI_INET_FAST_H */
