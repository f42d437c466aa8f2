// SPDX-License-Identifier: GPL-2.0
/* Receive, the last step: a frame is copied, once, into buffers that the user posted. */
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/poll.h>
#include <linux/skbuff.h>
#include <linux/virtio_byteorder.h>
#include <net/ip6_checksum.h>

#include "../compat.h"
#include "queue.h"
#include "region.h"
#include "trace.h"

/*
 * Posted buffers for @need bytes, in q->slices. How many; 0: not enough, and then only the broken
 * descriptors ahead of the first good one have been taken. @looked is how many entries of rx_fill
 * the frame uses up, broken ones included: their number is bounded as the frame's buffers are, so
 * that a ring of nonsense costs a receiver no more than a good one.
 */
static u32 demi_rx_gather(struct demi_queue *q, u32 need, u32 *looked)
{
	u32 filled = min_t(u32, demi_ring_filled(&q->rx_fill), DEMI_FRAME_DESCS_MAX);
	u32 room = demi_ring_room(&q->rx);
	u32 i, n = 0, leading = 0;
	u64 got = 0;

	for (i = 0; i < filled && n < room && got < need; i++) {
		struct demi_desc desc = demi_ring_peek(&q->rx_fill, i);

		if (!desc.flags && !demi_slice_init(&q->slices[n], q->ctx, &desc))
			got += q->slices[n++].len;
		else if (!n)
			leading++;
	}
	if (got >= need) {
		q->count.rx_bad_desc += i - n;
		*looked = i;
		return n;
	}
	if (leading) {
		q->count.rx_bad_desc += leading;
		demi_ring_consume(&q->rx_fill, leading);
	}
	return 0;
}

/* A frame on its way into slices. */
struct demi_rx_copy {
	const u8 *prefix;
	u32 prefix_len;			/* not yet written */
	const struct sk_buff *skb;
	u32 offset;
	u32 len;			/* not yet written */
};

/* As much as @s holds. Bytes written, or what skb_copy_bits() says. */
static int demi_rx_fill_slice(struct demi_rx_copy *c, const struct demi_slice *s)
{
	u32 head = min(c->prefix_len, s->len);
	u32 body = min(c->len, s->len - head);
	int err;

	demi_slice_write(s, 0, c->prefix, head);
	c->prefix += head;
	c->prefix_len -= head;
	err = demi_slice_write_skb(s, head, c->skb, c->offset, body);
	if (err)
		return err;
	c->offset += body;
	c->len -= body;
	return head + body;
}

/* All or nothing: rx is published when the last byte is in place. */
static int demi_rx_put(struct demi_queue *q, struct demi_rx_copy *c)
{
	u32 len = c->len, looked, n, i;

	if (q->dead)
		return -ENODEV;
	n = demi_rx_gather(q, c->prefix_len + c->len, &looked);
	if (!n) {
		q->count.rx_no_buffer++;
		trace_demi_drop(q, &q->count.rx_no_buffer, len, 0);
		return -ENOBUFS;
	}
	for (i = 0; i < n; i++) {
		const struct demi_slice *s = &q->slices[i];
		int used = demi_rx_fill_slice(c, s);

		if (used < 0) {
			q->count.rx_error++;
			trace_demi_drop(q, &q->count.rx_error, len, 0);
			return used;
		}
		demi_ring_put(&q->rx, i, (struct demi_desc){
			.offset = s->offset,
			.len = used,
			.region = s->region->id,
			.flags = i + 1 < n ? DEMI_DESC_F_MORE : 0,
		});
	}
	demi_ring_consume(&q->rx_fill, looked);
	demi_ring_publish(&q->rx, n);
	q->count.rx_frames++;
	q->count.rx_bytes += len;
	return 0;
}

int demi_queue_deliver(struct demi_queue *q, const void *prefix, u32 prefix_len,
		       const struct sk_buff *skb, u32 offset, u32 len)
{
	struct demi_rx_copy c = {
		.prefix = prefix,
		.prefix_len = prefix_len,
		.skb = skb,
		.offset = offset,
		.len = len,
	};
	bool wake = false;
	int err;

	rcu_read_lock();	/* regions */
	spin_lock_bh(&q->rx_lock);
	err = demi_rx_put(q, &c);
	if (!err)
		wake = demi_ring_wants_wakeup(&q->rx);
	if (wake)
		q->count.rx_wakeups++;
	spin_unlock_bh(&q->rx_lock);
	rcu_read_unlock();
	if (wake)
		wake_up_interruptible_poll(&q->wait, EPOLLIN | EPOLLRDNORM);
	trace_demi_deliver(q, len, err);
	return err;
}

/*
 * The device summed the packet from its IP header on: is that what its TCP or UDP header says? The
 * IPv4 header sums to nothing. False also means: do not know, the user looks.
 */
static bool demi_csum_complete_valid(const struct sk_buff *skb)
{
	u32 hlen = skb_transport_offset(skb);
	u8 protocol;
	__wsum sum;

	if (skb->protocol == htons(ETH_P_IP)) {
		const struct iphdr *ip = ip_hdr(skb);

		protocol = ip->protocol;
		return (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) &&
		       !csum_tcpudp_magic(ip->saddr, ip->daddr, skb->len - hlen, protocol,
					  skb->csum);
	}
	if (skb->protocol == htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip6 = ipv6_hdr(skb);

		protocol = ip6->nexthdr;
		if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
			return false;
		sum = csum_sub(skb->csum, skb_checksum(skb, 0, hlen, 0));
		return !csum_ipv6_magic(&ip6->saddr, &ip6->daddr, skb->len - hlen, protocol, sum);
	}
	return false;
}

static void demi_describe_csum(struct virtio_net_hdr_v1 *hdr, const struct sk_buff *skb, u32 offset)
{
	int start;

	switch (skb->ip_summed) {
	case CHECKSUM_PARTIAL:
		/* Of a header that was removed: nothing is known about the packet. */
		start = skb_checksum_start_offset(skb) - (int)offset;
		if (start < 0)
			return;
		hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr->csum_start = __cpu_to_virtio16(true, start);
		hdr->csum_offset = __cpu_to_virtio16(true, skb->csum_offset);
		return;
	case CHECKSUM_UNNECESSARY:
		hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
		return;
	case CHECKSUM_COMPLETE:
		/* The sum begins at skb->data. */
		if (skb->csum_valid || (!offset && !skb_network_offset(skb) &&
					demi_csum_complete_valid(skb)))
			hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
		return;
	default:
		if (skb->csum_valid)
			hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
}

static u8 demi_gso_type(unsigned int type)
{
	u8 ecn = type & SKB_GSO_TCP_ECN ? VIRTIO_NET_HDR_GSO_ECN : 0;

	if (type & SKB_GSO_TCPV4)
		return VIRTIO_NET_HDR_GSO_TCPV4 | ecn;
	if (type & SKB_GSO_TCPV6)
		return VIRTIO_NET_HDR_GSO_TCPV6 | ecn;
	if (type & SKB_GSO_UDP_L4)
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	return VIRTIO_NET_HDR_GSO_NONE;
}

void demi_frame_describe(struct virtio_net_hdr_v1 *hdr, const struct sk_buff *skb, u32 offset)
{
	*hdr = (struct virtio_net_hdr_v1){ .num_buffers = __cpu_to_virtio16(true, 1) };
	demi_describe_csum(hdr, skb, offset);
	if (!skb_is_gso(skb))
		return;
	hdr->gso_type = demi_gso_type(skb_shinfo(skb)->gso_type);
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return;
	hdr->gso_size = __cpu_to_virtio16(true, skb_shinfo(skb)->gso_size);
	/* A hint, as virtio says: the linear part, which holds at least all headers. */
	hdr->hdr_len = __cpu_to_virtio16(true, min_t(u32, skb_headlen(skb) - offset, U16_MAX));
}
