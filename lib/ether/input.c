/* SPDX-License-Identifier: MIT */
/*
 * Every received frame that is not the expected one: RFC 894, RFC 2464, RFC 1122 3.2.1, RFC 8200. Nothing is believed
 * before its length is; what the stack checks by itself is not checked here unless something is done about the packet.
 */
#include "ether/dev.h"

#include "inet/cksum.h"
#include "pktdev/ports.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

/* Headers of any packet that this layer answers. */
#define EXT_MAX 8

static bool errored(struct demi_ether *e)
{
	e->rx_errors++;
	return false;
}

static bool not_for_us(struct demi_ether *e)
{
	e->rx_dropped++;
	return false;
}

/* ---- IPv4 ---- */

/* RFC 1122 3.2.1.3: addresses that no packet from outside may come from. */
static bool bad_source4(struct demi_ether *e, const struct demi_ip *src)
{
	uint8_t first = src->b[12];

	return first == 0 || first == 127 || first >= 224 || demi_ether_is_local(e, src) ||
	       demi_ether_is_subnet_broadcast(e, src->w[3]);
}

static bool is_broadcast4(const struct demi_ether *e, const struct demi_ip *ip)
{
	return demi_ip_is_broadcast(ip) || demi_ether_is_subnet_broadcast(e, ip->w[3]);
}

/* RFC 1122 3.3.6: a packet to one host does not come in a frame to many. */
static bool is_for_us(struct demi_ether *e, const struct demi_ether_in *in)
{
	if (demi_ip_is_multicast(&in->dst))
		return demi_ether_joined(e, &in->dst);
	if (demi_ip_is4(&in->dst) && is_broadcast4(e, &in->dst))
		return in->mcast;
	return !in->mcast && demi_ether_is_local(e, &in->dst);
}

static bool udp_input(struct demi_ether *e, struct demi_ether_in *in)
{
	uint16_t port;

	if (in->end - in->off < sizeof(struct demi_udp_hdr) || in->off + sizeof(struct demi_udp_hdr) > in->p->len)
		return errored(e);
	memcpy(&port, in->p->data + in->off + 2, sizeof(port));
	if (demi_ether_port_open(e, IPPROTO_UDP, &in->dst, port))
		return true;
	if (demi_pktdev_port_elsewhere(e->low, IPPROTO_UDP, port)) /* which has got it, too: it came in fragments */
		return not_for_us(e);
	if (demi_ip_is4(&in->dst))
		demi_ether_icmp_error(e, in, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
	else
		demi_ether_icmp_error(e, in, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT, 0);
	return false;
}

/* RFC 1122 4.2.3.10. Of another context's port only what came in fragments comes here: it has got it, too. */
static bool tcp_input(struct demi_ether *e, const struct demi_ether_in *in)
{
	uint16_t port;

	if (in->mcast)
		return not_for_us(e);
	if (in->off + 4 > in->p->len)
		return true;
	memcpy(&port, in->p->data + in->off + 2, sizeof(port));
	return !demi_pktdev_port_elsewhere(e->low, IPPROTO_TCP, port) || not_for_us(e);
}

static bool transport4(struct demi_ether *e, struct demi_ether_in *in)
{
	switch (in->proto) {
	case IPPROTO_UDP:
		return udp_input(e, in);
	case IPPROTO_TCP:
		return tcp_input(e, in);
	case IPPROTO_ICMP:
		return demi_ether_icmp4_input(e, in);
	case IPPROTO_IGMP:
		demi_ether_igmp_input(e, in);
		return false;
	default:
		demi_ether_icmp_error(e, in, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
		return false;
	}
}

static bool packet4(struct demi_ether *e, struct demi_ether_in *in)
{
	const struct demi_pkt *p = in->p;
	struct demi_ip4_hdr h;
	uint32_t hlen;

	if (p->len < sizeof(h))
		return errored(e);
	memcpy(&h, p->data, sizeof(h));
	hlen = (h.ver_ihl & 15) * 4U;
	in->end = ntohs(h.tot_len);
	if (h.ver_ihl >> 4 != 4 || hlen < sizeof(h) || hlen > p->len || in->end < hlen || in->end > in->len ||
	    demi_cksum_fold(demi_cksum_add(0, p->data, hlen)) != 0xffff)
		return errored(e);
	in->src = demi_ip_from4(h.src);
	in->dst = demi_ip_from4(h.dst);
	in->off = hlen;
	in->proto = h.proto;
	if (bad_source4(e, &in->src))
		return errored(e);
	if (!is_for_us(e, in))
		return not_for_us(e);
	if (!in->mcast)
		demi_ether_expect(e, &in->src, &in->dst);
	if (h.frag_off & htons(DEMI_IP4_MF | DEMI_IP4_OFFSET)) {
		if (!in->joined)
			demi_ether_reass4(e, in);
		return false;
	}
	return transport4(e, in);
}

/* ---- IPv6 ---- */

static bool bad_source6(const struct demi_ip *src)
{
	static const struct demi_ip loopback = { .w = { 0, 0, 0, 0x01000000 } };

	return src->b[0] == 0xff || demi_ip_is4(src) || demi_ip_equal(src, &loopback);
}

/*
 * Walk the extension headers as far as a fragment header or the transport: whether options are known is the stack's
 * to see. False: it cannot be said what the packet is. *at: where the number of the header at in->off stands.
 */
static bool extensions(struct demi_ether_in *in, uint32_t *at)
{
	uint32_t room = in->p->len < in->end ? in->p->len : in->end;

	*at = 6;
	for (int i = 0; i < EXT_MAX; i++) {
		const uint8_t *x = in->p->data + in->off;
		uint32_t len;

		if (in->proto != IPPROTO_HOPOPTS && in->proto != IPPROTO_DSTOPTS && in->proto != IPPROTO_ROUTING)
			return true;
		if (room - in->off < 8)
			return false;
		len = 8U + x[1] * 8U;
		if (room - in->off < len)
			return false;
		*at = in->off;
		in->proto = x[0];
		in->off += len;
	}
	return false;
}

static bool transport6(struct demi_ether *e, struct demi_ether_in *in, uint32_t at)
{
	/* RFC 4291 2.5.2; our own address comes from outside only when it is somebody else's, too: RFC 4862 5.4 */
	if (in->proto != IPPROTO_ICMPV6 && (demi_ip_is_any(&in->src) || demi_ether_is_local(e, &in->src)))
		return errored(e);
	switch (in->proto) {
	case IPPROTO_UDP:
		return udp_input(e, in);
	case IPPROTO_TCP:
		return tcp_input(e, in);
	case IPPROTO_ICMPV6:
		return demi_ether_icmp6_input(e, in);
	default: /* no next header, or one that nobody has */
		if (in->proto != IPPROTO_NONE)
			demi_ether_icmp_error(e, in, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER, at);
		return false;
	}
}

static bool fragment6(struct demi_ether *e, struct demi_ether_in *in, uint32_t at)
{
	const uint8_t *x = in->p->data + in->off;
	uint32_t room = in->p->len < in->end ? in->p->len : in->end;

	if (room - in->off < 8 || in->joined)
		return errored(e);
	if (x[2] || x[3] & 0xf9) {
		demi_ether_reass6(e, in, at);
		return false;
	}
	in->proto = x[0]; /* RFC 6946: a packet like any other */
	in->off += 8;
	return extensions(in, &at) && in->proto != IPPROTO_FRAGMENT ? transport6(e, in, at) : errored(e);
}

static bool packet6(struct demi_ether *e, struct demi_ether_in *in)
{
	const struct demi_pkt *p = in->p;
	struct demi_ip6_hdr h;
	uint32_t at;

	if (p->len < sizeof(h))
		return errored(e);
	memcpy(&h, p->data, sizeof(h));
	in->end = (uint32_t)sizeof(h) + ntohs(h.payload_len);
	if (p->data[0] >> 4 != 6 || in->end > in->len)
		return errored(e);
	memcpy(in->src.b, h.src, sizeof(in->src.b));
	memcpy(in->dst.b, h.dst, sizeof(in->dst.b));
	in->off = sizeof(h);
	in->proto = h.next;
	if (bad_source6(&in->src) || demi_ip_is4(&in->dst)) /* that would pass for one of IPv4 */
		return errored(e);
	if (!is_for_us(e, in))
		return not_for_us(e);
	if (!in->mcast)
		demi_ether_expect(e, &in->src, &in->dst);
	if (!extensions(in, &at))
		return errored(e);
	return in->proto == IPPROTO_FRAGMENT ? fragment6(e, in, at) : transport6(e, in, at);
}

/* ---- frames ---- */

bool demi_ether_packet(struct demi_ether *e, struct demi_ether_in *in)
{
	return in->p->len && in->p->data[0] >> 4 == 4 ? packet4(e, in) : packet6(e, in);
}

static bool frame(struct demi_ether *e, struct demi_pkt *p, uint32_t segs)
{
	struct demi_ether_in in = { .p = p, .segs = segs };
	struct demi_ether_hdr h;

	if (p->len < sizeof(h))
		return errored(e);
	memcpy(&h, p->data, sizeof(h));
	in.mcast = h.dst[0] & 1;
	/* a sender's address is never a group's */
	if (h.src[0] & 1)
		return errored(e);
	if (!in.mcast && memcmp(h.dst, e->low->mac, sizeof(h.dst)))
		return not_for_us(e);
	memcpy(in.from, h.src, sizeof(in.from));
	p->data += sizeof(h);
	p->len -= (uint32_t)sizeof(h);
	p->csum_start = (uint16_t)(p->csum_start - sizeof(h));
	for (uint32_t i = 0; i < segs; i++)
		in.len += p[i].len;
	switch (ntohs(h.type)) {
	case DEMI_ETHER_TYPE_IP4:
		return p->len && p->data[0] >> 4 == 4 ? packet4(e, &in) : errored(e);
	case DEMI_ETHER_TYPE_IP6:
		return e->with6 ? packet6(e, &in) : not_for_us(e);
	case DEMI_ETHER_TYPE_ARP:
		demi_ether_arp_input(e, p);
		return false;
	default:
		return not_for_us(e);
	}
}

bool demi_ether_frame(struct demi_ether *e, struct demi_pkt *p, uint32_t segs)
{
	bool up = frame(e, p, segs);

	if (!up)
		demi_ether_recycle(e, p, segs);
	return up;
}
