// SPDX-License-Identifier: GPL-2.0
#define CREATE_TRACE_POINTS
#include "trace.h"

/* The reasons of demi_drop are numbers in what a tracer reads, so they stand there as such. */
#define DEMI_REASON_IS(name, number) \
	static_assert(offsetof(struct demi_queue_counters, name) == (number) * sizeof(u64))

DEMI_REASON_IS(rx_no_buffer, 2);
DEMI_REASON_IS(rx_filtered, 3);
DEMI_REASON_IS(rx_policy, 4);
DEMI_REASON_IS(rx_error, 5);
DEMI_REASON_IS(tx_refused, 11);
DEMI_REASON_IS(tx_unreachable, 12);
DEMI_REASON_IS(tx_dropped, 13);
DEMI_REASON_IS(tx_bad_desc, 14);
