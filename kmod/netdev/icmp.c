// SPDX-License-Identifier: GPL-2.0
/*
 * ICMP errors: a copy for the queue whose packet they quote.
 *
 * The message goes on to the stack, which finds the reservation's socket by the quoted addresses
 * and keeps the route's path MTU for UDP, with the checks that it makes for any socket. For TCP
 * the stack believes such messages only if they quote what is in a connection's window, of which
 * it knows nothing here: the user's TCP decides (RFC 5927).
 */
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include <net/xfrm.h>

#include "../compat.h"
#include "../core/filter.h"
#include "rx.h"

/* The quoted packet was sent by us: its source is the flow's local side. */
static bool demi_icmp_quoted_ports(const struct sk_buff *skb, u32 at, struct demi_tuple *t)
{
	__be16 *ports, buf[2];

	if (t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP)
		return false;
	ports = skb_header_pointer(skb, at, sizeof(buf), buf);
	if (!ports)
		return false;
	t->lport = ports[0];
	t->rport = ports[1];
	return true;
}

/* Filters speak of the flow's own packets; what concerns all of them is not theirs to drop. */
static void demi_icmp_copy(struct demi_net *dn, struct sk_buff *skb, const struct demi_tuple *t,
			   const struct demi_ingress *in)
{
	const struct demi_flow *flow;
	struct demi_queue *q;
	struct sock *sk;

	flow = demi_flow_lookup(dn, t, in);
	if (!flow)
		return;
	sk = flow->rsv->sock->sk;
	if (!(skb->protocol == htons(ETH_P_IP) ? xfrm4_policy_check(sk, XFRM_POLICY_IN, skb) :
						 xfrm6_policy_check(sk, XFRM_POLICY_IN, skb)))
		return;
	q = demi_flow_queue(flow, t);
	if (!q)
		return;
	local_bh_disable();
	demi_tap_frame(q, skb, 0, skb->len, DEMI_CAPTURE_F_RX);
	if (!demi_rx_deliver(q, skb)) {
		spin_lock(&q->rx_lock);
		q->count.rx_icmp++;
		spin_unlock(&q->rx_lock);
	}
	local_bh_enable();
}

/* ---- IPv4 ---------------------------------------------------------------------------------- */

static bool demi_icmp4_is_error(u8 type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

static bool demi_icmp4_sum_ok(const struct sk_buff *skb, u32 at)
{
	return skb_csum_unnecessary(skb) || !csum_fold(skb_checksum(skb, at, skb->len - at, 0));
}

static bool demi_icmp4_quoted(const struct sk_buff *skb, u32 at, struct demi_tuple *t)
{
	const struct iphdr *ip;
	struct iphdr buf;

	ip = skb_header_pointer(skb, at, sizeof(buf), &buf);
	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & htons(IP_OFFSET))
		return false;
	ipv6_addr_set_v4mapped(ip->saddr, &t->local);
	ipv6_addr_set_v4mapped(ip->daddr, &t->remote);
	t->protocol = ip->protocol;
	return demi_icmp_quoted_ports(skb, at + ip->ihl * 4, t);
}

void demi_rx_icmp4(struct demi_net *dn, struct sk_buff *skb)
{
	u32 at = skb_transport_offset(skb);
	const struct icmphdr *icmp;
	struct demi_ingress in;
	struct demi_tuple t = {};
	struct icmphdr buf;

	icmp = skb_header_pointer(skb, at, sizeof(buf), &buf);
	if (!icmp || !demi_icmp4_is_error(icmp->type))
		return;
	demi_rx_ingress4(&in, skb);
	if (in.broadcast || in.multicast || !demi_icmp4_quoted(skb, at + sizeof(*icmp), &t) ||
	    !demi_icmp4_sum_ok(skb, at))
		return;
	demi_icmp_copy(dn, skb, &t, &in);
}

/* ---- IPv6 ---------------------------------------------------------------------------------- */

static bool demi_icmp6_is_error(u8 type)
{
	return type == ICMPV6_DEST_UNREACH || type == ICMPV6_PKT_TOOBIG ||
	       type == ICMPV6_TIME_EXCEED || type == ICMPV6_PARAMPROB;
}

static bool demi_icmp6_sum_ok(const struct sk_buff *skb, u32 at)
{
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);
	u32 len = skb->len - at;

	return skb_csum_unnecessary(skb) ||
	       !csum_ipv6_magic(&ip6->saddr, &ip6->daddr, len, IPPROTO_ICMPV6,
				skb_checksum(skb, at, len, 0));
}

static bool demi_icmp6_quoted(const struct sk_buff *skb, u32 at, struct demi_tuple *t)
{
	const struct ipv6hdr *ip6;
	struct ipv6hdr buf;
	__be16 frag_off;
	int end;

	ip6 = skb_header_pointer(skb, at, sizeof(buf), &buf);
	if (!ip6 || ip6->version != 6)
		return false;
	t->local = ip6->saddr;
	t->remote = ip6->daddr;
	t->protocol = ip6->nexthdr;
	/* the kernel may have fragmented what the queue sent */
	end = ipv6_skip_exthdr(skb, at + sizeof(*ip6), &t->protocol, &frag_off);
	return end >= 0 && !(frag_off & htons(IP6_OFFSET)) && demi_icmp_quoted_ports(skb, end, t);
}

void demi_rx_icmp6(struct demi_net *dn, struct sk_buff *skb)
{
	u32 at = skb_transport_offset(skb);
	const struct icmp6hdr *icmp;
	struct demi_ingress in;
	struct demi_tuple t = {};
	struct icmp6hdr buf;

	icmp = skb_header_pointer(skb, at, sizeof(buf), &buf);
	if (!icmp || !demi_icmp6_is_error(icmp->icmp6_type))
		return;
	demi_rx_ingress6(&in, skb);
	if (in.multicast || !demi_icmp6_quoted(skb, at + sizeof(*icmp), &t) ||
	    !demi_icmp6_sum_ok(skb, at))
		return;
	demi_icmp_copy(dn, skb, &t, &in);
}
