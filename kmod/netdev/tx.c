// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit on flow queues. A frame's headers are copied and checked, its payload is copied behind
 * them, and the packet takes the way of a socket's: charged to the reservation's socket, with a
 * route, into ip_local_out(). What the user changes meanwhile changes payload only.
 *
 * A frame is taken from the ring when its fate is known; then each of its descriptors has come
 * back in tx_done. A refused one does not stop those behind it, but for a full send buffer or
 * tx_done.
 */
#include <linux/filter.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/dst.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include <net/sock.h>
#include <net/xfrm.h>

#include "../compat.h"
#include "../core/filter.h"
#include "../core/trace.h"
#include "tx.h"

/* A frame between its descriptors and the network. */
struct demi_tx_frame {
	u32 avail;			/* how much of it is in @bytes */
	u64 *counter;			/* where it is counted if it is not sent */
	struct demi_flow *flow;		/* RCU read side, as what follows */
	struct demi_route *route;
	struct demi_tx_head head;
	struct virtio_net_hdr_v1 vh;
	u8 bytes[DEMI_TX_HDR_MAX] __aligned(8);
};

/* ---- may it go, and where to --------------------------------------------------------------- */

/*
 * As for a socket: each segment fits the path, has a checksum of its own, and is not given to a
 * transformation that cannot cut it.
 */
static int demi_tx_check_uso(const struct demi_tx_frame *f)
{
	const struct dst_entry *dst = f->route->dst;

	if (!(f->head.gso_type & SKB_GSO_UDP_L4))
		return 0;
	if (f->head.payload + f->head.gso_size > dst_mtu(dst))
		return -EMSGSIZE;
	return dst_xfrm(dst) ? -EIO : 0;
}

/* -EAGAIN: wait for room in the send buffer. Fills in head, flow, route. RCU read side. */
static int demi_tx_admit(struct demi_queue *q, struct demi_tx *tx, struct demi_tx_frame *f)
{
	const struct demi_slice *first = &tx->ring.slice[0];
	int err;

	err = demi_tx_map(q, &tx->ring, &f->vh);
	if (err) {
		if (err == -EFAULT)
			f->counter = &q->count.tx_bad_desc;
		return err;
	}
	f->avail = min_t(u32, first->len - sizeof(f->vh), sizeof(f->bytes));
	demi_slice_read(first, sizeof(f->vh), f->bytes, f->avail);
	err = demi_tx_check(&f->head, &f->vh, f->bytes, f->avail, tx->ring.len);
	if (err)
		return err;
	f->flow = demi_flow_lookup_send(demi_net(q->ctx->net), &f->head.tuple, q);
	if (!f->flow)
		return -EACCES;
	if (demi_tx_wait_start(&tx->wait, f->flow->rsv->sock->sk))
		return -EAGAIN;
	f->route = demi_route_find(tx, f->flow, &f->head);
	if (IS_ERR(f->route)) {
		err = PTR_ERR(f->route);
		if (err != -EACCES)
			f->counter = &q->count.tx_unreachable;
		return err;
	}
	return demi_tx_check_uso(f);
}

/* ---- the packet ---------------------------------------------------------------------------- */

/* The field gets the sum of the pseudo header; what the user wrote there does not matter. */
static void demi_tx_set_csum(struct sk_buff *skb, const struct demi_tx_head *h)
{
	__sum16 *field = (__sum16 *)(skb_transport_header(skb) + h->csum_offset);
	u32 len = skb->len - h->l4;

	if (!h->csum)
		return;
	if (h->ipv6)
		*field = ~csum_ipv6_magic(&ipv6_hdr(skb)->saddr, &ipv6_hdr(skb)->daddr, len,
					  h->tuple.protocol, 0);
	else
		*field = ~csum_tcpudp_magic(ip_hdr(skb)->saddr, ip_hdr(skb)->daddr, len,
					    h->tuple.protocol, 0);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = h->csum_offset;
}

static void demi_tx_set_headers(struct sk_buff *skb, struct net *net, struct sock *sk,
				const struct demi_tx_head *h)
{
	skb->protocol = h->ipv6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, h->l4);
	demi_tx_set_csum(skb, h);
	if (h->gso_type) {
		skb_shinfo(skb)->gso_type = h->gso_type;
		skb_shinfo(skb)->gso_size = h->gso_size;
		skb_shinfo(skb)->gso_segs = h->gso_segs;
	}
	if (!h->ipv6)
		ip_select_ident_segs(net, skb, sk, h->gso_type ? h->gso_segs : 1);
	else if (h->tuple.protocol == IPPROTO_UDP)
		skb->ignore_df = 1;	/* no DF in IPv6: datagrams are cut, as a socket's are */
}

static void demi_tx_capture(struct demi_queue *q, struct sk_buff *skb)
{
	if (likely(!rcu_access_pointer(q->tap)))
		return;
	if (skb->protocol == htons(ETH_P_IP))
		ip_send_check(ip_hdr(skb));
	local_bh_disable();
	demi_tap_frame(q, skb, 0, skb->len, DEMI_CAPTURE_F_TX);
	local_bh_enable();
}

/* An error of the way out, which has freed the packet. */
static int demi_tx_lost(struct demi_queue *q, struct demi_tx_frame *f, int err)
{
	bool dropped = err == -ENOBUFS || err == -ENOMEM;

	f->counter = dropped ? &q->count.tx_dropped : &q->count.tx_unreachable;
	return err;
}

/* An admitted frame leaves. Consumes @skb. RCU read side. */
static int demi_tx_emit(struct demi_queue *q, struct demi_tx *tx, struct demi_tx_frame *f,
			struct sk_buff *skb)
{
	struct sock *sk = f->flow->rsv->sock->sk;
	struct net *net = q->ctx->net;
	int err;

	/* the headers from the checked copy, what follows from the user's memory */
	memcpy(skb->data, f->bytes, f->head.payload);
	demi_tx_fill(skb, &tx->ring, f->head.payload);
	skb_set_owner_w(skb, sk);
	skb->priority = READ_ONCE(sk->sk_priority);
	skb->mark = f->route->mark;
	demi_tx_set_headers(skb, net, sk, &f->head);
	skb_dst_set_noref(skb, f->route->dst);
	demi_tx_capture(q, skb);
	if (f->head.ipv6)
		err = ip6_local_out(net, sk, skb);
	else
		err = ip_local_out(net, sk, skb);
	if (err > 0)
		err = net_xmit_errno(err);
	if (err)
		return demi_tx_lost(q, f, err);
	q->count.tx_frames++;
	q->count.tx_bytes += tx->ring.len;
	return 0;
}

/* ---- frame after frame --------------------------------------------------------------------- */

/* The gathered frame is sent or refused. -EAGAIN: neither, it stays in the ring. */
static int demi_tx_frame(struct demi_queue *q, struct demi_tx *tx, int err)
{
	struct sk_buff *skb = NULL;
	struct demi_tx_frame f;

	f.counter = &q->count.tx_refused;
	if (!err) {
		skb = demi_tx_alloc(tx->ring.len, DEMI_TX_HDR_MAX);
		if (!skb) {
			f.counter = &q->count.tx_dropped;
			err = -ENOBUFS;
		}
	}
	rcu_read_lock();
	if (!err)
		err = demi_tx_admit(q, tx, &f);
	if (err != -EAGAIN && !demi_done_reserve(q, tx->ring.n))
		err = -EAGAIN;
	if (!err) {
		err = demi_tx_emit(q, tx, &f, skb);
		skb = NULL;
	}
	rcu_read_unlock();
	kfree_skb(skb);
	if (err == -EAGAIN)
		return err;
	if (err && !tx->ring.skip) {
		++*f.counter;
		trace_demi_drop(q, f.counter, tx->ring.len, err);
	}
	demi_tx_return(q, &tx->ring, err);
	return 0;
}

static int demi_tx_next(struct demi_queue *q)
{
	struct demi_tx *tx = q->priv;
	int err;

	if (!demi_tx_gather(q, &tx->ring, &err))
		return 0;
	err = demi_tx_frame(q, tx, err);
	return err ? err : tx->ring.n;
}

static int demi_tx_kick(struct demi_queue *q, u32 *sent)
{
	struct demi_tx *tx = q->priv;

	if (READ_ONCE(q->tx_blocked))
		demi_tx_wait_stop(&tx->wait);
	return demi_tx_run(q, sent, demi_tx_next);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* The queue is dead: nobody kicks it, or will. */
static void demi_tx_quiesce(struct demi_queue *q)
{
	struct demi_tx *tx = q->priv;

	synchronize_net();
	demi_tx_wait_stop(&tx->wait);
	demi_routes_forget(tx);
}

static void demi_tx_free(struct demi_queue *q)
{
	kfree(q->priv);
}

static const struct demi_queue_ops demi_flow_queue_ops = {
	.kick = demi_tx_kick,
	.quiesce = demi_tx_quiesce,
	.free = demi_tx_free,
};

int demi_flow_queue_create(struct demi_queue *q)
{
	struct demi_tx *tx = kzalloc(sizeof(*tx), GFP_KERNEL_ACCOUNT);

	if (!tx)
		return -ENOMEM;
	demi_tx_wait_init(&tx->wait, q);
	q->priv = tx;
	q->kernel_bytes += ksize(tx);
	q->ops = &demi_flow_queue_ops;
	return 0;
}
