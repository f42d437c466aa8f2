/* SPDX-License-Identifier: GPL-2.0 */
/* From the tx ring into a packet: what flow and raw queues do alike. All under q->tx_lock. */
#ifndef _DEMI_TX_RING_H
#define _DEMI_TX_RING_H

#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <uapi/linux/virtio_net.h>

#include "../core/region.h"

struct sk_buff;

/* The frame at the head of the ring, or a part of one that is too long. */
struct demi_tx_ring {
	bool skip;			/* in the rest of a frame of too many descriptors */
	bool more;			/* this part goes on */
	u32 n;				/* descriptors */
	u32 len;			/* of the packet, without virtio_net_hdr_v1 */
	struct demi_desc desc[DEMI_FRAME_DESCS_MAX];	/* copies */
	struct demi_slice slice[DEMI_FRAME_DESCS_MAX];	/* RCU read side */
};

/*
 * Copies of the next frame's descriptors. True: complete, or as much of a broken one as can come
 * back now, and *@err is why; false: there is none yet.
 */
bool demi_tx_gather(struct demi_queue *q, struct demi_tx_ring *r, int *err);

/*
 * The memory of the frame, and a copy of its virtio_net_hdr_v1. RCU read side: the slices are valid
 * until its end. -EFAULT: a descriptor names no memory; -EINVAL: nothing behind the header.
 */
int demi_tx_map(struct demi_queue *q, struct demi_tx_ring *r, struct virtio_net_hdr_v1 *vh);

/* A packet of @len, at least @linear_min bytes of it linear. May sleep. NULL: no memory. */
struct sk_buff *demi_tx_alloc(u32 len, u32 linear_min);

/* Bytes @from and on of the packet, to where they belong in @skb. RCU read side. */
void demi_tx_fill(struct sk_buff *skb, const struct demi_tx_ring *r, u32 from);

/* The frame's fate is known and demi_done_reserve() was done for it: its descriptors come back. */
void demi_tx_return(struct demi_queue *q, struct demi_tx_ring *r, int err);

/*
 * Frame after frame. @next: how many descriptors were taken; 0: nothing to take; -EAGAIN; another
 * error ends it. At most what was there at the beginning: nobody is kept in here by a second
 * writer.
 */
static inline int demi_tx_run(struct demi_queue *q, u32 *sent, int (*next)(struct demi_queue *q))
{
	u32 limit = demi_ring_filled(&q->tx);
	int n = 0;

	q->count.tx_kicks++;
	*sent = 0;
	while (*sent < limit && !fatal_signal_pending(current)) {
		n = next(q);
		if (n <= 0)
			break;
		*sent += n;
		cond_resched();
	}
	if (n == -EAGAIN)
		q->count.tx_again++;
	return n < 0 && !*sent ? n : 0;
}

#endif
