/* SPDX-License-Identifier: MIT */
/* IPv6, receiving: RFC 8200. */
#include "inet/stack.h"
#include "inet/wire.h"

#include <string.h>

#define OPT_PAD1 0

/* Enough for every header in the order that RFC 8200 4.1 recommends. */
#define EXT_MAX 8

/* RFC 8200 4.2: an option that is not known may ask for the packet to be dropped. */
static bool options_ok(const uint8_t *o, uint32_t len)
{
	uint32_t i = 0;

	while (i < len) {
		if (o[i] == OPT_PAD1) {
			i++;
			continue;
		}
		if (o[i] & 0xc0 || len - i < 2 || len - i < 2U + o[i + 1])
			return false;
		i += 2U + o[i + 1];
	}
	return true;
}

/* Walk the extension headers. The transport protocol, *off behind the last of them; or -1. */
static int transport(const struct demi_pkt *p, uint8_t next, uint32_t *off, uint32_t end)
{
	uint32_t room = p->len < end ? p->len : end;

	for (int i = 0; i < EXT_MAX; i++) {
		const uint8_t *e = p->data + *off;
		uint32_t len;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_FRAGMENT)
			return next;
		if (room - *off < 8)
			return -1;
		len = next == IPPROTO_FRAGMENT ? 8 : 8U + e[1] * 8U;
		if (room - *off < len)
			return -1;
		switch (next) {
		case IPPROTO_HOPOPTS: /* 4.3: only directly behind the IPv6 header */
			if (i != 0 || !options_ok(e + 2, len - 2))
				return -1;
			break;
		case IPPROTO_DSTOPTS:
			if (!options_ok(e + 2, len - 2))
				return -1;
			break;
		case IPPROTO_ROUTING: /* 4.4: with no segments left it means nothing any more */
			if (e[3])
				return -1;
			break;
		default: /* RFC 6946: an atomic fragment is a packet; others are put together before they get here */
			if (e[2] || e[3] & 0xf9)
				return -1;
		}
		next = e[0];
		*off += len;
	}
	return -1;
}

void demi_ip6_input(struct demi_inet *in, struct demi_pkt *p, uint32_t segs, uint32_t len)
{
	const struct demi_ip6_hdr *h = (const void *)p->data;
	struct demi_inet_rxpkt r;
	uint32_t end;
	int proto;

	in->count.Ip6InReceives++;
	if (p->len < sizeof(*h) || p->data[0] >> 4 != 6)
		goto bad;
	end = (uint32_t)sizeof(*h) + ntohs(h->payload_len);
	if (end > len)
		goto bad;
	memcpy(r.key.remote.b, h->src, sizeof(r.key.remote.b));
	memcpy(r.key.local.b, h->dst, sizeof(r.key.local.b));
	/* RFC 4291 2.7: no multicast source. A mapped address would pass for one of IPv4. */
	if (r.key.remote.b[0] == 0xff || demi_ip_is4(&r.key.remote) || demi_ip_is4(&r.key.local)) {
		in->count.Ip6InAddrErrors++;
		goto drop;
	}
	r.p = p;
	r.segs = segs;
	r.off = sizeof(*h);
	proto = transport(p, h->next, &r.off, end);
	if (proto < 0)
		goto bad;
	r.proto = (uint8_t)proto;
	r.len = end - r.off;
	if (r.proto == IPPROTO_UDP) {
		in->count.Ip6InDelivers++;
		demi_udp_input(in, &r);
		return;
	}
	if (r.proto == IPPROTO_TCP) {
		in->count.Ip6InDelivers++;
		demi_inet_read_clock(in);
		demi_tcp_input(in, &r);
		return;
	}
	if (r.proto == IPPROTO_ICMPV6) {
		in->count.Ip6InDelivers++;
		demi_inet_read_clock(in);
		demi_icmp6_input(in, &r);
		return;
	}
	in->count.Ip6InUnknownProtos++;
	goto drop;
bad:
	in->count.Ip6InHdrErrors++;
drop:
	demi_inet_drop(in, p, segs);
}
