// SPDX-License-Identifier: GPL-2.0
/* tx_done: buffers go back to the user, from wherever a packet was freed. */
#include <linux/poll.h>

#include "queue.h"

bool demi_done_reserve(struct demi_queue *q, u32 n)
{
	unsigned long flags;
	bool fits;
	u32 room;

	spin_lock_irqsave(&q->done_lock, flags);
	/* The user's index can take back room that was promised: nothing more is promised then. */
	room = demi_ring_room(&q->tx_done);
	fits = room >= q->done_reserved && room - q->done_reserved >= n;
	if (fits)
		q->done_reserved += n;
	spin_unlock_irqrestore(&q->done_lock, flags);
	return fits;
}

void demi_done_put(struct demi_queue *q, const struct demi_desc *desc, u16 flags, int error)
{
	struct demi_desc done = {
		.offset = desc->offset,
		.len = error ? abs(error) : desc->len,
		.region = desc->region,
		.flags = flags | (error ? DEMI_DESC_F_ERROR : 0),
	};
	unsigned long irq;
	bool wake;

	spin_lock_irqsave(&q->done_lock, irq);
	q->done_reserved--;
	demi_ring_put(&q->tx_done, 0, done);
	demi_ring_publish(&q->tx_done, 1);
	wake = demi_ring_wants_wakeup(&q->tx_done);
	spin_unlock_irqrestore(&q->done_lock, irq);
	if (wake)
		wake_up_interruptible_poll(&q->wait, EPOLLIN | EPOLLRDNORM);
}
