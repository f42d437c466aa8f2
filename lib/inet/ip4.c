/* SPDX-License-Identifier: MIT */
/* IPv4, receiving: RFC 791, RFC 1122 3.2.1. */
#include "inet/cksum.h"
#include "inet/stack.h"
#include "inet/wire.h"

/* Addresses that nobody may send from: RFC 1122 3.2.1.3. */
static bool bad_source(uint32_t src)
{
	return src == INADDR_NONE || demi_ip4_is_multicast(src);
}

static bool header_ok(const struct demi_ip4_hdr *h, uint32_t hlen)
{
	uint64_t sum = __builtin_expect(hlen == sizeof(*h), 1) ? demi_cksum_ip4(h) : demi_cksum_add(0, h, hlen);

	return demi_cksum_fold(sum) == 0xffff;
}

/*
 * What is behind the header may be longer than the datagram (padding), never shorter. A device on which a kernel has
 * received has had all this checked; it costs little, and the ring it came through is shared memory.
 */
void demi_ip4_input(struct demi_inet *in, struct demi_pkt *p, uint32_t segs, uint32_t len)
{
	const struct demi_ip4_hdr *h = (const void *)p->data;
	struct demi_inet_rxpkt r;
	uint32_t hlen, total;

	in->count.IpInReceives++;
	if (p->len < sizeof(*h))
		goto bad;
	hlen = (h->ver_ihl & 15) * 4U;
	total = ntohs(h->tot_len);
	if (hlen < sizeof(*h) || hlen > p->len || total < hlen || total > len)
		goto bad;
	if (!(in->caps & DEMI_PKTDEV_C_RX_IP_OK) && !header_ok(h, hlen))
		goto bad;
	/* fragments are put together before they get here */
	if (h->frag_off & htons(DEMI_IP4_MF | DEMI_IP4_OFFSET))
		goto bad;
	if (bad_source(h->src)) {
		in->count.IpInAddrErrors++;
		goto drop;
	}
	r.p = p;
	r.segs = segs;
	r.off = hlen;
	r.len = total - hlen;
	r.key.remote = demi_ip_from4(h->src);
	r.key.local = demi_ip_from4(h->dst);
	r.proto = h->proto;
	if (__builtin_expect(r.proto == IPPROTO_UDP, 1)) {
		in->count.IpInDelivers++;
		demi_udp_input(in, &r);
		return;
	}
	if (__builtin_expect(r.proto == IPPROTO_TCP, 1)) {
		in->count.IpInDelivers++;
		demi_inet_read_clock(in);
		demi_tcp_input(in, &r);
		return;
	}
	if (r.proto == IPPROTO_ICMP) {
		in->count.IpInDelivers++;
		demi_inet_read_clock(in);
		demi_icmp4_input(in, &r);
		return;
	}
	in->count.IpInUnknownProtos++;
	goto drop;
bad:
	in->count.IpInHdrErrors++;
drop:
	demi_inet_drop(in, p, segs);
}
