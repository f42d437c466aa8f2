// SPDX-License-Identifier: GPL-2.0
/*
 * Receive: packets for this host, at the place where the stack is about to look for a socket.
 *
 * The hooks are the last of LOCAL_IN: routing, NAT, the firewall and IPv4's reassembly have had
 * their say, whatever device the packet came by. Two things are still ahead there, and are done
 * here for what is claimed:
 *  - Hooks of the same or a later priority. Conntrack confirms entries with the very last
 *    priority, and hooks of one priority run in the reverse order of registration, so there is no
 *    way to be behind it for sure. What comes behind is run here before the packet is taken.
 *  - IPv6 processes extension headers, fragments among them, behind LOCAL_IN. See
 *    demi_rx_exthdrs().
 *
 * Then come the checks that the socket in its place would have made: XFRM policy, checksum, the
 * cgroup's program, LSM.
 */
#include <linux/icmpv6.h>
#include <linux/filter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include <net/protocol.h>
#include <net/route.h>
#include <net/tcp.h>
#include <net/xfrm.h>

#include "../compat.h"
#include "../core/filter.h"
#include "../core/trace.h"
#include "rx.h"

static unsigned int demi_rx_hook4(void *priv, struct sk_buff *skb,
				  const struct nf_hook_state *state);
static unsigned int demi_rx_hook6(void *priv, struct sk_buff *skb,
				  const struct nf_hook_state *state);

static const struct nf_hook_ops demi_rx_hooks[] = {
	{
		.hook = demi_rx_hook4,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP_PRI_LAST,
	},
	{
		.hook = demi_rx_hook6,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP6_PRI_LAST,
	},
};

int demi_rx_hooks_get(struct demi_net *dn)
{
	int err;

	lockdep_assert_held(&dn->lock);
	if (!dn->hooks) {
		err = nf_register_net_hooks(dn->net, demi_rx_hooks, ARRAY_SIZE(demi_rx_hooks));
		if (err)
			return err;
	}
	dn->hooks++;
	return 0;
}

void demi_rx_hooks_put(struct demi_net *dn)
{
	lockdep_assert_held(&dn->lock);
	if (!--dn->hooks)
		nf_unregister_net_hooks(dn->net, demi_rx_hooks, ARRAY_SIZE(demi_rx_hooks));
}

/* What became of a packet, beside what demi_queue_deliver() counts by itself. */
enum demi_rx_fate {
	DEMI_RX_OK,
	DEMI_RX_POLICY,
	DEMI_RX_ERROR,
	DEMI_RX_FILTERED,
};

static void demi_rx_drop(struct demi_queue *q, enum demi_rx_fate fate, u32 len)
{
	u64 *counter = fate == DEMI_RX_POLICY ? &q->count.rx_policy :
		       fate == DEMI_RX_FILTERED ? &q->count.rx_filtered : &q->count.rx_error;

	spin_lock(&q->rx_lock);
	++*counter;
	spin_unlock(&q->rx_lock);
	trace_demi_drop(q, counter, len, 0);
}

/* ---- what a socket would check ------------------------------------------------------------- */

static __wsum demi_rx_pseudo(struct sk_buff *skb, int proto)
{
	return skb->protocol == htons(ETH_P_IP) ? inet_compute_pseudo(skb, proto) :
						  ip6_compute_pseudo(skb, proto);
}

/*
 * A datagram that ends before its packet does: rare, and no device has summed it. The packet
 * stays as long as its IP header says.
 */
static bool demi_rx_udp_short_ok(struct sk_buff *skb, u32 ulen)
{
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);
	const struct iphdr *ip = ip_hdr(skb);
	__wsum sum = skb_checksum(skb, 0, ulen, 0);

	if (skb->protocol == htons(ETH_P_IP))
		return !udp_hdr(skb)->check ||
		       !csum_tcpudp_magic(ip->saddr, ip->daddr, ulen, IPPROTO_UDP, sum);
	return udp_hdr(skb)->check &&
	       !csum_ipv6_magic(&ip6->saddr, &ip6->daddr, ulen, IPPROTO_UDP, sum);
}

static bool demi_rx_udp_ok(struct sk_buff *skb)
{
	const struct udphdr *uh;
	bool v4 = skb->protocol == htons(ETH_P_IP);
	u32 ulen;

	if (!pskb_may_pull(skb, sizeof(*uh)))
		return false;
	uh = udp_hdr(skb);
	ulen = ntohs(uh->len);
	if (!ulen && !v4)	/* RFC 2675, 4 */
		ulen = skb->len;
	if (ulen < sizeof(*uh) || ulen > skb->len)
		return false;
	if (ulen < skb->len)
		return demi_rx_udp_short_ok(skb, ulen);
	if (v4)
		return !skb_checksum_init_zero_check(skb, IPPROTO_UDP, uh->check,
						     inet_compute_pseudo) &&
		       !skb_checksum_complete(skb);
	/* RFC 8200, 8.1 */
	return uh->check && !skb_checksum_init(skb, IPPROTO_UDP, ip6_compute_pseudo) &&
	       !skb_checksum_complete(skb);
}

static bool demi_rx_tcp_ok(struct sk_buff *skb)
{
	u32 hlen;

	if (!pskb_may_pull(skb, sizeof(struct tcphdr)))
		return false;
	hlen = __tcp_hdrlen(tcp_hdr(skb));
	return hlen >= sizeof(struct tcphdr) && pskb_may_pull(skb, hlen) &&
	       !skb_checksum_init(skb, IPPROTO_TCP, demi_rx_pseudo) && !skb_checksum_complete(skb);
}

/* skb->data is at the transport header. */
static enum demi_rx_fate demi_rx_check_transport(struct sk_buff *skb, u8 protocol, struct sock *sk)
{
	bool v4 = skb->protocol == htons(ETH_P_IP);
	int err;

	if (!(v4 ? xfrm4_policy_check(sk, XFRM_POLICY_IN, skb) :
		   xfrm6_policy_check(sk, XFRM_POLICY_IN, skb)))
		return DEMI_RX_POLICY;
	if (!(protocol == IPPROTO_UDP ? demi_rx_udp_ok(skb) : demi_rx_tcp_ok(skb)))
		return DEMI_RX_ERROR;
	/* nobody can attach a filter to this socket that would trim: this is cgroup and LSM */
	err = sk_filter_trim_cap(sk, skb, skb->len);
	return !err ? DEMI_RX_OK : err == -ENOMEM ? DEMI_RX_ERROR : DEMI_RX_POLICY;
}

/* skb->data is at the IP header, before and after. */
static enum demi_rx_fate demi_rx_check(struct sk_buff *skb, u8 protocol, struct sock *sk)
{
	u32 hlen = skb_transport_offset(skb);
	enum demi_rx_fate fate;

	if (!pskb_may_pull(skb, hlen))
		return DEMI_RX_ERROR;
	__skb_pull(skb, hlen);
	/* a device's sum of the packet: IPv4's header sums to nothing */
	if (skb->protocol != htons(ETH_P_IP))
		skb_postpull_rcsum(skb, skb_network_header(skb), hlen);
	fate = demi_rx_check_transport(skb, protocol, sk);
	__skb_push(skb, hlen);
	return fate;
}

/* ---- what is claimed ----------------------------------------------------------------------- */

int demi_rx_deliver(struct demi_queue *q, struct sk_buff *skb)
{
	struct virtio_net_hdr_v1 hdr;

	demi_frame_describe(&hdr, skb, 0);
	return demi_queue_deliver(q, &hdr, sizeof(hdr), skb, 0, skb->len);
}

/* The packet is the flow's: into its queue or away. */
static void demi_rx_take(struct sk_buff *skb, const struct demi_flow *flow,
			 const struct demi_tuple *t)
{
	struct demi_queue *q = demi_flow_queue(flow, t);
	enum skb_drop_reason reason = SKB_DROP_REASON_NO_SOCKET;
	enum demi_rx_fate fate;

	if (!q)
		goto drop;
	fate = demi_rx_check(skb, t->protocol, flow->rsv->sock->sk);
	if (fate == DEMI_RX_OK) {
		demi_tap_frame(q, skb, 0, skb->len, DEMI_CAPTURE_F_RX);
		if (!demi_filter_run(q, skb, 0))
			fate = DEMI_RX_FILTERED;
	}
	if (fate != DEMI_RX_OK) {
		demi_rx_drop(q, fate, skb->len);
		reason = fate == DEMI_RX_POLICY ? SKB_DROP_REASON_XFRM_POLICY :
			 fate == DEMI_RX_FILTERED ? SKB_DROP_REASON_SOCKET_FILTER :
			 t->protocol == IPPROTO_UDP ? SKB_DROP_REASON_UDP_CSUM :
						      SKB_DROP_REASON_TCP_CSUM;
		goto drop;
	}
	if (!demi_rx_deliver(q, skb)) {
		consume_skb(skb);
		return;
	}
	reason = SKB_DROP_REASON_SOCKET_RCVBUFF;
drop:
	kfree_skb_reason(skb, reason);
}

/* Hooks that come behind this one. False: the packet is not ours any more. */
static bool demi_rx_run_later_hooks(struct sk_buff *skb, const struct nf_hook_state *state)
{
	bool v4 = state->pf == NFPROTO_IPV4;
	const struct nf_hook_entries *e;
	struct nf_hook_state copy;
	unsigned int i;

	e = v4 ? rcu_dereference(state->net->nf.hooks_ipv4[NF_INET_LOCAL_IN]) :
		 rcu_dereference(state->net->nf.hooks_ipv6[NF_INET_LOCAL_IN]);
	if (!e)
		return true;
	for (i = e->num_hook_entries; i > 0; i--)
		if (e->hooks[i - 1].hook == (v4 ? demi_rx_hook4 : demi_rx_hook6))
			break;
	/* not in there: being unregistered */
	if (!i || i == e->num_hook_entries)
		return true;
	copy = *state;
	return nf_hook_slow(skb, &copy, e, i) == 1;
}

static unsigned int demi_rx_claim(struct demi_net *dn, struct sk_buff *skb, struct demi_tuple *t,
				  const struct demi_ingress *in, const struct nf_hook_state *state)
{
	const struct demi_flow *flow;
	__be16 *ports, buf[2];

	/* TCP answers nothing that was not sent to this host alone */
	if (t->protocol == IPPROTO_TCP && skb->pkt_type != PACKET_HOST)
		return NF_ACCEPT;
	ports = skb_header_pointer(skb, skb_transport_offset(skb), sizeof(buf), buf);
	if (!ports)
		return NF_ACCEPT;
	t->rport = ports[0];
	t->lport = ports[1];
	flow = demi_flow_lookup(dn, t, in);
	if (!flow)
		return NF_ACCEPT;
	if (demi_rx_run_later_hooks(skb, state)) {
		/* what the user's verdict lets go on (NFQUEUE) comes with BH on */
		local_bh_disable();
		demi_rx_take(skb, flow, t);
		local_bh_enable();
	}
	return NF_STOLEN;
}

/* ---- IPv4 ---------------------------------------------------------------------------------- */

void demi_rx_ingress4(struct demi_ingress *in, const struct sk_buff *skb)
{
	const struct rtable *rt = skb_rtable(skb);

	in->dif = inet_iif(skb);
	in->sdif = inet_sdif(skb);
	in->broadcast = rt && rt->rt_flags & RTCF_BROADCAST;
	in->multicast = rt && rt->rt_flags & RTCF_MULTICAST;
}

static unsigned int demi_rx_hook4(void *priv, struct sk_buff *skb,
				  const struct nf_hook_state *state)
{
	struct demi_net *dn = demi_net(state->net);
	const struct iphdr *ip = ip_hdr(skb);
	struct demi_tuple t = { .protocol = ip->protocol };
	struct demi_ingress in;

	if (ip->protocol == IPPROTO_ICMP)
		demi_rx_icmp4(dn, skb);
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return NF_ACCEPT;
	ipv6_addr_set_v4mapped(ip->saddr, &t.remote);
	ipv6_addr_set_v4mapped(ip->daddr, &t.local);
	demi_rx_ingress4(&in, skb);
	return demi_rx_claim(dn, skb, &t, &in, state);
}

/* ---- IPv6 ---------------------------------------------------------------------------------- */

void demi_rx_ingress6(struct demi_ingress *in, const struct sk_buff *skb)
{
	in->dif = inet6_iif(skb);
	in->sdif = inet6_sdif(skb);
	in->broadcast = false;
	in->multicast = ipv6_addr_is_multicast(&ipv6_hdr(skb)->daddr);
}

/* The header that IPv6 would look at next. */
static u8 demi_rx_nexthdr(const struct sk_buff *skb)
{
	return skb_network_header(skb)[IP6CB(skb)->nhoff];
}

/*
 * Process the headers before the transport's exactly as ip6_protocol_deliver_rcu() would in a
 * moment, by the same functions: fragments are collected, options obeyed, routing headers
 * followed. What they have processed it will not process again. (Raw sockets of a fragment's or
 * an option header's protocol number, which ping and routing daemons do not open, miss them.)
 * False: a function has the packet. skb->data is at the IP header, before and after.
 */
static bool demi_rx_exthdrs(struct sk_buff *skb)
{
	const struct inet6_protocol *p;

	for (;;) {
		p = rcu_dereference(inet6_protos[demi_rx_nexthdr(skb)]);
		if (!p || p->flags & INET6_PROTO_FINAL || !(p->flags & INET6_PROTO_NOPOLICY))
			return true;
		if (!pskb_pull(skb, skb_transport_offset(skb))) {
			kfree_skb_reason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
			return false;
		}
		if (p->handler(skb) <= 0)
			return false;
		__skb_push(skb, skb->data - skb_network_header(skb));
	}
}

static unsigned int demi_rx_hook6(void *priv, struct sk_buff *skb,
				  const struct nf_hook_state *state)
{
	struct demi_net *dn = demi_net(state->net);
	struct demi_tuple t = { .protocol = demi_rx_nexthdr(skb) };
	struct demi_ingress in;

	if (t.protocol != IPPROTO_UDP && t.protocol != IPPROTO_TCP &&
	    t.protocol != IPPROTO_ICMPV6) {
		if (!demi_rx_exthdrs(skb))
			return NF_STOLEN;
		t.protocol = demi_rx_nexthdr(skb);
	}
	if (t.protocol == IPPROTO_ICMPV6)
		demi_rx_icmp6(dn, skb);
	if (t.protocol != IPPROTO_TCP && t.protocol != IPPROTO_UDP)
		return NF_ACCEPT;
	t.remote = ipv6_hdr(skb)->saddr;
	t.local = ipv6_hdr(skb)->daddr;
	demi_rx_ingress6(&in, skb);
	return demi_rx_claim(dn, skb, &t, &in, state);
}
