/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints demi:*. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM demi

#if !defined(_DEMI_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DEMI_TRACE_H

#include <linux/tracepoint.h>

#include "device.h"
#include "queue.h"

TRACE_EVENT(demi_queue_create,
	    TP_PROTO(const struct demi_queue *q),
	    TP_ARGS(q),
	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, kind)
			     __field(u32, device)
			     __field(u32, ring_bytes)),
	    TP_fast_assign(__entry->id = q->id;
			   __entry->kind = q->kind;
			   __entry->device = q->dev->id;
			   __entry->ring_bytes = q->ring_bytes;),
	    TP_printk("queue=%u kind=%u device=%u ring_bytes=%u",
		      __entry->id, __entry->kind, __entry->device, __entry->ring_bytes)
);

TRACE_EVENT(demi_queue_end,
	    TP_PROTO(const struct demi_queue *q),
	    TP_ARGS(q),
	    TP_STRUCT__entry(__field(u32, id)
			     __field(u64, rx_frames)
			     __field(u64, tx_frames)),
	    TP_fast_assign(__entry->id = q->id;
			   __entry->rx_frames = q->count.rx_frames;
			   __entry->tx_frames = q->count.tx_frames;),
	    TP_printk("queue=%u rx_frames=%llu tx_frames=%llu",
		      __entry->id, __entry->rx_frames, __entry->tx_frames)
);

TRACE_EVENT(demi_kick,
	    TP_PROTO(const struct demi_queue *q, u32 sent, int err),
	    TP_ARGS(q, sent, err),
	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, sent)
			     __field(int, err)),
	    TP_fast_assign(__entry->id = q->id;
			   __entry->sent = sent;
			   __entry->err = err;),
	    TP_printk("queue=%u sent=%u err=%d",
		      __entry->id, __entry->sent, __entry->err)
);

/* A frame and the rx ring: 0, or why it was dropped. */
TRACE_EVENT(demi_deliver,
	    TP_PROTO(const struct demi_queue *q, u32 len, int err),
	    TP_ARGS(q, len, err),
	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, len)
			     __field(int, err)),
	    TP_fast_assign(__entry->id = q->id;
			   __entry->len = len;
			   __entry->err = err;),
	    TP_printk("queue=%u len=%u err=%d",
		      __entry->id, __entry->len, __entry->err)
);

/*
 * A frame that went nowhere. The reason is the counter, of struct demi_queue_counters, in which it
 * is counted; err is what tx_done tells of a frame to be sent, else 0.
 */
TRACE_EVENT(demi_drop,
	    TP_PROTO(const struct demi_queue *q, const u64 *counter, u32 len, int err),
	    TP_ARGS(q, counter, len, err),
	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, reason)
			     __field(u32, len)
			     __field(int, err)),
	    TP_fast_assign(__entry->id = q->id;
			   __entry->reason = counter - (const u64 *)&q->count;
			   __entry->len = len;
			   __entry->err = err;),
	    TP_printk("queue=%u reason=%s len=%u err=%d", __entry->id,
		      __print_symbolic(__entry->reason,
				       { 2, "rx_no_buffer" },
				       { 3, "rx_filtered" },
				       { 4, "rx_policy" },
				       { 5, "rx_error" },
				       { 11, "tx_refused" },
				       { 12, "tx_unreachable" },
				       { 13, "tx_dropped" },
				       { 14, "tx_bad_desc" }),
		      __entry->len, __entry->err)
);

/* What the queue's filter said of a packet. */
TRACE_EVENT(demi_filter,
	    TP_PROTO(const struct demi_queue *q, u32 len, bool pass),
	    TP_ARGS(q, len, pass),
	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, len)
			     __field(bool, pass)),
	    TP_fast_assign(__entry->id = q->id;
			   __entry->len = len;
			   __entry->pass = pass;),
	    TP_printk("queue=%u len=%u pass=%d",
		      __entry->id, __entry->len, __entry->pass)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH core
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
