// SPDX-License-Identifier: GPL-2.0
/* From the tx ring into a packet: descriptors are copied, checked, read from, and given back. */
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

#include "tx_ring.h"

/* More descriptors than this no frame can have: they would not fit at once. */
static u32 demi_tx_descs_max(const struct demi_queue *q)
{
	return min3((u32)DEMI_FRAME_DESCS_MAX, demi_ring_entries(&q->tx),
		    demi_ring_entries(&q->tx_done));
}

bool demi_tx_gather(struct demi_queue *q, struct demi_tx_ring *r, int *err)
{
	u32 filled = demi_ring_filled(&q->tx), most = demi_tx_descs_max(q);
	u64 bytes = 0;

	lockdep_assert_held(&q->tx_lock);
	*err = r->skip ? -EMSGSIZE : 0;
	r->more = true;
	for (r->n = 0; r->more && r->n < min(filled, most); r->n++) {
		struct demi_desc desc = demi_ring_peek(&q->tx, r->n);

		if (desc.flags & ~DEMI_DESC_F_MORE)
			*err = -EINVAL;
		r->more = desc.flags & DEMI_DESC_F_MORE;
		bytes += desc.len;
		r->desc[r->n] = desc;
	}
	if (r->skip)
		return r->n > 0;
	if (r->more && r->n < most)
		return false;
	if (r->more || bytes > DEMI_FRAME_MAX)
		*err = -EMSGSIZE;
	else if (bytes <= sizeof(struct virtio_net_hdr_v1))
		*err = -EINVAL;
	r->len = bytes - min_t(u64, bytes, sizeof(struct virtio_net_hdr_v1));
	return true;
}

int demi_tx_map(struct demi_queue *q, struct demi_tx_ring *r, struct virtio_net_hdr_v1 *vh)
{
	u32 i;

	for (i = 0; i < r->n; i++) {
		if (demi_slice_init(&r->slice[i], q->ctx, &r->desc[i]))
			return -EFAULT;
	}
	if (r->slice[0].len <= sizeof(*vh))
		return -EINVAL;
	demi_slice_read(&r->slice[0], 0, vh, sizeof(*vh));
	return 0;
}

struct sk_buff *demi_tx_alloc(u32 len, u32 linear_min)
{
	u32 linear = len <= SKB_MAX_HEAD(MAX_HEADER) ? len : linear_min;
	struct sk_buff *skb;
	int err;

	skb = alloc_skb_with_frags(MAX_HEADER + linear, len - linear, PAGE_ALLOC_COSTLY_ORDER,
				   &err, GFP_KERNEL);
	if (!skb)
		return NULL;
	skb_reserve(skb, MAX_HEADER);
	skb_put(skb, linear);
	skb->data_len = len - linear;
	skb->len = len;
	return skb;
}

/* Where the frame is being read. */
struct demi_tx_reader {
	const struct demi_slice *slice;
	u32 at;
};

static void demi_tx_skip(struct demi_tx_reader *r, u32 n)
{
	while (n && n >= r->slice->len - r->at) {
		n -= r->slice->len - r->at;
		r->slice++;
		r->at = 0;
	}
	r->at += n;
}

static void demi_tx_read(struct demi_tx_reader *r, void *to, u32 n)
{
	while (n) {
		u32 some = min(n, r->slice->len - r->at);

		demi_slice_read(r->slice, r->at, to, some);
		demi_tx_skip(r, some);
		to += some;
		n -= some;
	}
}

void demi_tx_fill(struct sk_buff *skb, const struct demi_tx_ring *r, u32 from)
{
	struct demi_tx_reader reader = { .slice = r->slice };
	int i;

	demi_tx_skip(&reader, sizeof(struct virtio_net_hdr_v1) + from);
	demi_tx_read(&reader, skb->data + from, skb_headlen(skb) - from);
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		demi_tx_read(&reader, skb_frag_address(frag), skb_frag_size(frag));
	}
}

void demi_tx_return(struct demi_queue *q, struct demi_tx_ring *r, int err)
{
	u32 i;

	r->skip = r->more;
	for (i = 0; i < r->n; i++)
		demi_done_put(q, &r->desc[i], err ? 0 : DEMI_DESC_F_COPIED, err);
	demi_ring_consume(&q->tx, r->n);
}
