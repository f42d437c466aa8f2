// SPDX-License-Identifier: GPL-2.0
/* The queue of a mock device: what is sent is received, by the same paths that a packet takes. */
#include <linux/rcupdate.h>
#include <linux/skbuff.h>
#include <linux/virtio_net.h>

#include "../core/region.h"
#include "mock.h"

struct demi_mock_frame {
	u32 ndesc;
	u32 len; /* virtio_net_hdr_v1 included */
	struct demi_desc desc[DEMI_FRAME_DESCS_MAX];
};

/* Copy the next frame's descriptors. False: the frame is not there whole. */
static bool demi_mock_peek(const struct demi_queue *q, u32 filled, struct demi_mock_frame *f)
{
	f->len = 0;
	for (f->ndesc = 0; f->ndesc < min_t(u32, filled, DEMI_FRAME_DESCS_MAX);) {
		struct demi_desc d = demi_ring_peek(&q->tx, f->ndesc);

		f->desc[f->ndesc++] = d;
		f->len += min_t(u32, d.len, DEMI_FRAME_MAX + 1);
		if (!(d.flags & DEMI_DESC_F_MORE))
			return true;
	}
	return f->ndesc == DEMI_FRAME_DESCS_MAX;
}

static int demi_mock_read(struct demi_queue *q, const struct demi_mock_frame *f, void *to)
{
	struct demi_slice s;
	int err = 0;
	u32 i;

	rcu_read_lock();
	for (i = 0; i < f->ndesc && !err; i++) {
		err = demi_slice_init(&s, q->ctx, &f->desc[i]);
		if (err)
			break;
		demi_slice_read(&s, 0, to, s.len);
		to += s.len;
	}
	rcu_read_unlock();
	return err;
}

static int demi_mock_loop(struct demi_queue *q, const struct demi_mock_frame *f)
{
	const u32 hdr = sizeof(struct virtio_net_hdr_v1);
	struct sk_buff *skb;
	int err;

	if (f->len <= hdr || f->len > DEMI_FRAME_MAX ||
	    f->desc[f->ndesc - 1].flags & DEMI_DESC_F_MORE)
		return -EINVAL;
	skb = alloc_skb(f->len, GFP_KERNEL_ACCOUNT);
	if (!skb)
		return -ENOMEM;
	err = demi_mock_read(q, f, skb_put(skb, f->len));
	if (!err)
		demi_queue_deliver(q, skb->data, hdr, skb, hdr, f->len - hdr);
	kfree_skb(skb);
	return err;
}

static int demi_mock_kick(struct demi_queue *q, u32 *sent)
{
	struct demi_mock_frame *f;
	u32 filled, i;
	int err;

	f = kmalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	q->count.tx_kicks++;
	while ((filled = demi_ring_filled(&q->tx)) && demi_mock_peek(q, filled, f)) {
		if (!demi_done_reserve(q, f->ndesc)) {
			q->count.tx_again++;
			kfree(f);
			return *sent ? 0 : -EAGAIN;
		}
		demi_ring_consume(&q->tx, f->ndesc);
		err = demi_mock_loop(q, f);
		if (err)
			q->count.tx_bad_desc++;
		else
			q->count.tx_frames++;
		for (i = 0; i < f->ndesc; i++)
			demi_done_put(q, &f->desc[i], DEMI_DESC_F_COPIED, err);
		*sent += f->ndesc;
	}
	kfree(f);
	return 0;
}

static void demi_mock_quiesce(struct demi_queue *q)
{
}

const struct demi_queue_ops demi_mock_queue_ops = {
	.kick = demi_mock_kick,
	.quiesce = demi_mock_quiesce,
};
