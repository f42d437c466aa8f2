// SPDX-License-Identifier: GPL-2.0
/*
 * The whitelist of transmit: every field that is not named here is free, everything that is not a
 * plain TCP or UDP packet is refused. That the addresses and ports are the sender's is not known
 * here: tx.c asks the flow table and the routing table.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "../compat.h"
#include "tx_check.h"

#define DEMI_IP_RESERVED_BIT	0x8000

static int demi_check_ipv4(struct demi_tx_head *h, const struct iphdr *ip, u32 avail, u32 len)
{
	if (avail < sizeof(*ip) || ip->ihl != sizeof(*ip) / 4)
		return -EINVAL;
	if (len > IP_MAX_MTU)
		return -EMSGSIZE;
	/* DF is the sender's choice; identification and header checksum are the kernel's */
	if (ntohs(ip->tot_len) != len || !ip->ttl ||
	    ip->frag_off & htons(DEMI_IP_RESERVED_BIT | IP_MF | IP_OFFSET))
		return -EINVAL;
	if (ipv4_is_zeronet(ip->saddr) || ipv4_is_multicast(ip->saddr) ||
	    ipv4_is_lbcast(ip->saddr))
		return -EACCES;
	if (!ip->daddr)
		return -EINVAL;
	h->multicast = ipv4_is_multicast(ip->daddr);
	h->broadcast = ipv4_is_lbcast(ip->daddr);
	h->tos = ip->tos;
	h->l4 = sizeof(*ip);
	h->tuple.protocol = ip->protocol;
	ipv6_addr_set_v4mapped(ip->saddr, &h->tuple.local);
	ipv6_addr_set_v4mapped(ip->daddr, &h->tuple.remote);
	return 0;
}

/* A mapped address on the wire is nobody's, and would be taken for IPv4 in the flow table. */
static int demi_check_ipv6(struct demi_tx_head *h, const struct ipv6hdr *ip6, u32 avail, u32 len)
{
	if (avail < sizeof(*ip6))
		return -EINVAL;
	if (len > sizeof(*ip6) + IPV6_MAXPLEN)
		return -EMSGSIZE;
	if (ntohs(ip6->payload_len) != len - sizeof(*ip6) || !ip6->hop_limit)
		return -EINVAL;
	if (ipv6_addr_any(&ip6->saddr) || ipv6_addr_is_multicast(&ip6->saddr) ||
	    ipv6_addr_v4mapped(&ip6->saddr))
		return -EACCES;
	if (ipv6_addr_any(&ip6->daddr) || ipv6_addr_v4mapped(&ip6->daddr))
		return -EINVAL;
	h->ipv6 = true;
	h->multicast = ipv6_addr_is_multicast(&ip6->daddr);
	h->flowinfo = ip6_flowinfo(ip6);
	h->tos = ipv6_get_dsfield(ip6);
	h->l4 = sizeof(*ip6);
	h->tuple.protocol = ip6->nexthdr;
	h->tuple.local = ip6->saddr;
	h->tuple.remote = ip6->daddr;
	return 0;
}

/* A checksum of zero, "none", is what SO_NO_CHECK and UDP_NO_CHECK6_TX give any socket. */
static int demi_check_udp(struct demi_tx_head *h, const void *ip, u32 avail, u32 len)
{
	const struct udphdr *uh = ip + h->l4;

	if (avail < h->l4 + sizeof(*uh) || ntohs(uh->len) != len - h->l4)
		return -EINVAL;
	h->tuple.lport = uh->source;
	h->tuple.rport = uh->dest;
	h->payload = h->l4 + sizeof(*uh);
	h->csum_offset = offsetof(struct udphdr, check);
	return uh->dest ? 0 : -EINVAL;
}

/* Multicast and broadcast are not for connections. */
static int demi_check_tcp(struct demi_tx_head *h, const void *ip, u32 avail, u32 len)
{
	const struct tcphdr *th = ip + h->l4;

	if (avail < h->l4 + sizeof(*th) || th->doff < sizeof(*th) / 4 ||
	    tcp_flag_word(th) & TCP_RESERVED_BITS)
		return -EINVAL;
	if (avail < h->l4 + th->doff * 4 || h->multicast || h->broadcast)
		return -EINVAL;
	h->tuple.lport = th->source;
	h->tuple.rport = th->dest;
	h->payload = h->l4 + th->doff * 4;
	h->csum_offset = offsetof(struct tcphdr, check);
	return th->dest ? 0 : -EINVAL;
}

/* Segments are cut from one checked header. Less than two are none. */
static int demi_check_gso(struct demi_tx_head *h, const struct virtio_net_hdr_v1 *vh,
			  const void *ip, u32 len)
{
	const struct tcphdr *th = ip + h->l4;
	u32 size = le16_to_cpu((__force __le16)vh->gso_size);
	u32 bytes = len - h->payload;
	u32 least, most, type;
	bool ipv6 = h->ipv6;
	u8 protocol;

	switch (vh->gso_type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
		type = h->ipv6 ? SKB_GSO_TCPV6 : SKB_GSO_TCPV4;
		ipv6 = vh->gso_type == VIRTIO_NET_HDR_GSO_TCPV6;
		protocol = IPPROTO_TCP;
		/* as small as a peer can make the kernel's own segments */
		least = TCP_MIN_SND_MSS;
		most = GSO_MAX_SEGS;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		protocol = IPPROTO_UDP;
		type = SKB_GSO_UDP_L4;
		least = 1;
		most = UDP_MAX_SEGMENTS;
		break;
	default:
		return -EINVAL;
	}
	if (h->ipv6 != ipv6 || h->tuple.protocol != protocol || !h->csum)
		return -EINVAL;
	if (size < least || size >= GSO_BY_FRAGS)
		return -EINVAL;
	if (bytes <= size)
		return 0;
	if (DIV_ROUND_UP(bytes, size) > most)
		return -EINVAL;
	if (protocol == IPPROTO_TCP && th->cwr)
		type |= SKB_GSO_TCP_ECN;	/* only the first segment may carry it */
	h->gso_type = type;
	h->gso_size = size;
	h->gso_segs = DIV_ROUND_UP(bytes, size);
	return 0;
}

/* hdr_len and num_buffers say nothing that is not known better. */
static int demi_check_offload(struct demi_tx_head *h, const struct virtio_net_hdr_v1 *vh,
			      const void *ip, u32 len)
{
	if (vh->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return -EINVAL;
	h->csum = vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (h->csum && (le16_to_cpu((__force __le16)vh->csum_start) != h->l4 ||
			le16_to_cpu((__force __le16)vh->csum_offset) != h->csum_offset))
		return -EINVAL;
	if (vh->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return 0;
	return demi_check_gso(h, vh, ip, len);
}

int demi_tx_check(struct demi_tx_head *head, const struct virtio_net_hdr_v1 *vh, const void *ip,
		  u32 avail, u32 len)
{
	const struct iphdr *any = ip;
	int err;

	memset(head, 0, sizeof(*head));
	if (!avail || avail > len)
		return -EINVAL;
	if (any->version == 4)
		err = demi_check_ipv4(head, ip, avail, len);
	else if (any->version == 6)
		err = demi_check_ipv6(head, ip, avail, len);
	else
		err = -EINVAL;
	if (err)
		return err;
	if (head->tuple.protocol == IPPROTO_UDP)
		err = demi_check_udp(head, ip, avail, len);
	else if (head->tuple.protocol == IPPROTO_TCP)
		err = demi_check_tcp(head, ip, avail, len);
	else
		err = -EINVAL;
	if (err)
		return err;
	return demi_check_offload(head, vh, ip, len);
}
