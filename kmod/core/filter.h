/* SPDX-License-Identifier: GPL-2.0 */
/* The BPF program of a queue, and its capturer. */
#ifndef _DEMI_FILTER_H
#define _DEMI_FILTER_H

#include "queue.h"

/*
 * Run the queue's filter on a packet that begins @offset bytes behind skb->data. RCU read side, BH
 * off. True: pass. Counts in the filter, not in the queue.
 */
bool demi_filter_run(struct demi_queue *q, struct sk_buff *skb, u32 offset);

/* The queue ends: drop its filter. */
void demi_filter_release(struct demi_queue *q);

/*
 * A copy for the capturer, if there is one. RCU read side, BH off, without q->rx_lock. @direction:
 * DEMI_CAPTURE_F_RX or _TX.
 */
void demi_tap_frame(struct demi_queue *q, const struct sk_buff *skb, u32 offset, u32 len,
		    u32 direction);

/* The queue ends: nobody captures it, and it captures nobody. May sleep. */
void demi_tap_release(struct demi_queue *q);

#endif
