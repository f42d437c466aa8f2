// SPDX-License-Identifier: GPL-2.0
/*
 * Raw queues: one network device, seen and used as a packet socket would. A queue gets a copy of
 * each frame that the device receives or sends, but for its own, and takes none away: whatever else
 * uses the device (a bridge, a bond, the stack) goes on as before.
 *
 * The device is not held. NETDEV_UNREGISTER, which a move to another namespace causes too, takes it
 * away under rtnl; the kernel then waits for RCU readers itself, so who uses it stays inside
 * rcu_read_lock(). Nothing waits for a user: the queue is ended by a work item.
 */
#include <linux/capability.h>
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/virtio_net.h>
#include <net/sock.h>

#include "../core/cmd.h"
#include "../core/filter.h"
#include "../core/trace.h"
#include "tx.h"

/* Of a large frame: Ethernet, tags, and the headers behind them */
#define DEMI_RAW_LINEAR		256

struct demi_raw {
	struct packet_type pt;		/* registered while dev is set */
	struct net_device __rcu *dev;	/* rtnl */
	struct list_head node;		/* demi_net->raw_queues, while dev is set; rtnl */
	struct socket *sock;		/* of nobody's packets: owns what is sent, asks the LSM */
	struct demi_queue *queue;
	struct work_struct end_work;	/* holds the queue */
	struct demi_tx_wait wait;	/* this and what follows: q->tx_lock */
	struct demi_tx_ring ring;
};

/* ---- receive ------------------------------------------------------------------------------- */

/* Ours to change: the tag, which the kernel keeps beside the frame, is back in its place. */
static struct sk_buff *demi_raw_put_tag(const struct sk_buff *skb)
{
	struct sk_buff *own = skb_clone((struct sk_buff *)skb, GFP_ATOMIC);

	return own ? __vlan_hwaccel_push_inside(own) : NULL;
}

static void demi_raw_drop(struct demi_queue *q, u64 *counter, u32 len)
{
	spin_lock_bh(&q->rx_lock);
	++*counter;
	spin_unlock_bh(&q->rx_lock);
	trace_demi_drop(q, counter, len, 0);
}

/* skb->data is the Ethernet header, and no tag is missing. */
static void demi_raw_deliver(struct demi_queue *q, struct sk_buff *skb)
{
	struct virtio_net_hdr_v1 hdr;

	demi_tap_frame(q, skb, 0, skb->len, DEMI_CAPTURE_F_RX);
	if (!demi_filter_run(q, skb, 0)) {
		demi_raw_drop(q, &q->count.rx_filtered, skb->len);
		return;
	}
	demi_frame_describe(&hdr, skb, 0);
	demi_queue_deliver(q, &hdr, sizeof(hdr), skb, 0, skb->len);
}

/*
 * The skb is shared with the stack and other taps, which run before or after but not meanwhile:
 * what is moved is moved back. BH off, RCU read side.
 */
static int demi_raw_receive(struct sk_buff *skb, struct net_device *dev, struct packet_type *pt,
			    struct net_device *orig_dev)
{
	struct demi_raw *raw = container_of(pt, struct demi_raw, pt);
	struct demi_queue *q = raw->queue;
	struct sk_buff *own;
	u32 pulled;

	/* a copy of a multicast that is sent, seen already when it was */
	if (skb->pkt_type == PACKET_LOOPBACK)
		goto out;
	pulled = skb->data - skb_mac_header(skb);
	__skb_push(skb, pulled);
	if (skb_vlan_tag_present(skb)) {
		own = demi_raw_put_tag(skb);
		if (own)
			demi_raw_deliver(q, own);
		else
			demi_raw_drop(q, &q->count.rx_error, skb->len);
		consume_skb(own);
	} else {
		demi_raw_deliver(q, skb);
	}
	__skb_pull(skb, pulled);
out:
	consume_skb(skb);
	return NET_RX_SUCCESS;
}

/* ---- transmit ------------------------------------------------------------------------------ */

/* What a driver may rely on, as a packet socket sees to it: the rest of a frame is the user's. */
static int demi_raw_check(struct sk_buff *skb, const struct net_device *dev,
			  const struct virtio_net_hdr_v1 *vh)
{
	u32 most = dev->mtu + ETH_HLEN;

	if (skb->len < dev->hard_header_len)
		return -EINVAL;
	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	if (eth_type_vlan(eth_hdr(skb)->h_proto))
		most += VLAN_HLEN;
	if (vh->gso_type == VIRTIO_NET_HDR_GSO_NONE && skb->len > most)
		return -EMSGSIZE;
	skb->protocol = dev_parse_header_protocol(skb);
	/* the header of version 1 begins with the old one */
	if (virtio_net_hdr_to_skb(skb, (const struct virtio_net_hdr *)vh, true))
		return -EINVAL;
	skb_probe_transport_header(skb);
	return 0;
}

static void demi_raw_capture(struct demi_queue *q, const struct sk_buff *skb)
{
	local_bh_disable();
	demi_tap_frame(q, skb, 0, skb->len, DEMI_CAPTURE_F_TX);
	local_bh_enable();
}

/* Consumes @skb. RCU read side, which keeps @dev. *@counter: where an error is counted. */
static int demi_raw_emit(struct demi_raw *raw, struct sk_buff *skb, struct net_device *dev,
			 const struct virtio_net_hdr_v1 *vh, u64 **counter)
{
	struct demi_queue *q = raw->queue;
	int err;

	demi_tx_fill(skb, &raw->ring, 0);
	skb_set_owner_w(skb, raw->sock->sk);
	skb->dev = dev;
	err = demi_raw_check(skb, dev, vh);
	if (err) {
		kfree_skb(skb);
		return err;
	}
	demi_raw_capture(q, skb);
	*counter = &q->count.tx_dropped;
	err = dev_queue_xmit(skb);
	if (err > 0)
		err = net_xmit_errno(err);
	if (err)
		return err;
	q->count.tx_frames++;
	q->count.tx_bytes += raw->ring.len;
	return 0;
}

/* May the gathered frame go, and is there room for it? RCU read side. */
static int demi_raw_admit(struct demi_raw *raw, const struct net_device *dev,
			  struct virtio_net_hdr_v1 *vh, u64 **counter)
{
	struct demi_queue *q = raw->queue;
	int err = demi_tx_map(q, &raw->ring, vh);

	if (err == -EFAULT)
		*counter = &q->count.tx_bad_desc;
	if (err)
		return err;
	if (!(READ_ONCE(dev->flags) & IFF_UP)) {
		*counter = &q->count.tx_dropped;
		return -ENETDOWN;
	}
	return demi_tx_wait_start(&raw->wait, raw->sock->sk) ? -EAGAIN : 0;
}

/* The gathered frame is sent or refused. -EAGAIN, -ENODEV: neither, it stays in the ring. */
static int demi_raw_frame(struct demi_raw *raw, struct sk_buff *skb, int err)
{
	struct demi_queue *q = raw->queue;
	u64 *counter = err == -ENOBUFS ? &q->count.tx_dropped : &q->count.tx_refused;
	struct virtio_net_hdr_v1 vh;
	struct net_device *dev;

	rcu_read_lock();
	dev = rcu_dereference(raw->dev);
	if (!dev)
		err = -ENODEV;
	else if (!err)
		err = demi_raw_admit(raw, dev, &vh, &counter);
	if (err != -EAGAIN && err != -ENODEV && !demi_done_reserve(q, raw->ring.n))
		err = -EAGAIN;
	if (!err) {
		err = demi_raw_emit(raw, skb, dev, &vh, &counter);
		skb = NULL;
	}
	rcu_read_unlock();
	kfree_skb(skb);
	if (err == -EAGAIN || err == -ENODEV)
		return err;
	if (err && !raw->ring.skip) {
		++*counter;
		trace_demi_drop(q, counter, raw->ring.len, err);
	}
	demi_tx_return(q, &raw->ring, err);
	return 0;
}

static int demi_raw_next(struct demi_queue *q)
{
	struct demi_raw *raw = q->raw.state;
	struct sk_buff *skb = NULL;
	int err;

	if (!demi_tx_gather(q, &raw->ring, &err))
		return 0;
	if (!err) {
		skb = demi_tx_alloc(raw->ring.len, DEMI_RAW_LINEAR);
		if (!skb)
			err = -ENOBUFS;
	}
	err = demi_raw_frame(raw, skb, err);
	return err ? err : raw->ring.n;
}

/* ---- the device goes ----------------------------------------------------------------------- */

/* Receivers and senders may still be inside. */
static void demi_raw_detach(struct demi_raw *raw)
{
	ASSERT_RTNL();
	if (!rtnl_dereference(raw->dev))
		return;
	RCU_INIT_POINTER(raw->dev, NULL);
	__dev_remove_pack(&raw->pt);
	list_del(&raw->node);
}

static void demi_raw_end_work(struct work_struct *work)
{
	struct demi_queue *q = container_of(work, struct demi_raw, end_work)->queue;

	demi_queue_end(q);
	demi_queue_put(q);
}

static int demi_raw_notify(struct notifier_block *nb, unsigned long event, void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);
	struct demi_raw *raw, *next;

	if (event != NETDEV_UNREGISTER)
		return NOTIFY_DONE;
	list_for_each_entry_safe(raw, next, &demi_net(dev_net(dev))->raw_queues, node) {
		if (rtnl_dereference(raw->dev) != dev)
			continue;
		demi_raw_detach(raw);
		/* alive: a queue leaves the list before its last reference goes */
		demi_queue_get(raw->queue);
		queue_work(demi_wq, &raw->end_work);
	}
	return NOTIFY_DONE;
}

static struct notifier_block demi_raw_notifier = {
	.notifier_call = demi_raw_notify,
};

int demi_raw_init(void)
{
	return register_netdevice_notifier(&demi_raw_notifier);
}

void demi_raw_exit(void)
{
	unregister_netdevice_notifier(&demi_raw_notifier);
}

/* ---- operations ---------------------------------------------------------------------------- */

static int demi_raw_kick(struct demi_queue *q, u32 *sent)
{
	struct demi_raw *raw = q->raw.state;

	if (READ_ONCE(q->tx_blocked))
		demi_tx_wait_stop(&raw->wait);
	return demi_tx_run(q, sent, demi_raw_next);
}

static void demi_raw_quiesce(struct demi_queue *q)
{
	struct demi_raw *raw = q->raw.state;

	rtnl_lock();
	demi_raw_detach(raw);
	rtnl_unlock();
	synchronize_net();
	demi_tx_wait_stop(&raw->wait);
}

static void demi_raw_free(struct demi_queue *q)
{
	struct demi_raw *raw = q->raw.state;

	sock_release(raw->sock);
	kfree(raw);
}

static const struct demi_queue_ops demi_raw_queue_ops = {
	.kick = demi_raw_kick,
	.quiesce = demi_raw_quiesce,
	.free = demi_raw_free,
};

static int demi_raw_attach(struct demi_raw *raw, struct net *net, u32 ifindex)
{
	struct net_device *dev;

	ASSERT_RTNL();
	dev = __dev_get_by_index(net, ifindex);
	if (!dev)
		return -ENODEV;
	if (dev->type != ARPHRD_ETHER && dev->type != ARPHRD_LOOPBACK)
		return -EOPNOTSUPP;
	raw->pt.type = htons(ETH_P_ALL);
	raw->pt.dev = dev;
	raw->pt.func = demi_raw_receive;
	raw->pt.af_packet_priv = raw->sock->sk;		/* not shown: what it sent itself */
	raw->pt.af_packet_net = net;
	rcu_assign_pointer(raw->dev, dev);
	list_add(&raw->node, &demi_net(net)->raw_queues);
	dev_add_pack(&raw->pt);
	return 0;
}

int demi_raw_create(struct demi_queue *q, u32 ifindex, struct demi_cmd *cmd)
{
	struct net *net = q->ctx->net;
	struct demi_raw *raw;
	int err;

	if (!demi_cmd_capable(cmd, CAP_NET_RAW))
		return -EPERM;
	raw = kzalloc(sizeof(*raw), GFP_KERNEL_ACCOUNT);
	if (!raw)
		return -ENOMEM;
	raw->queue = q;
	INIT_WORK(&raw->end_work, demi_raw_end_work);
	demi_tx_wait_init(&raw->wait, q);
	err = __sock_create(net, PF_PACKET, SOCK_RAW, 0, &raw->sock, 0);
	if (err)
		goto err_free;
	rtnl_lock();
	err = demi_raw_attach(raw, net, ifindex);
	rtnl_unlock();
	if (err)
		goto err_sock;
	q->raw.state = raw;
	q->raw.ifindex = ifindex;
	q->kernel_bytes += ksize(raw) + sizeof(struct socket_alloc) +
			   raw->sock->sk->sk_prot->obj_size;
	q->ops = &demi_raw_queue_ops;
	return 0;

err_sock:
	sock_release(raw->sock);
err_free:
	kfree(raw);
	return err;
}
