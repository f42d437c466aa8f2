/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_TCP_TIMEWAIT_H
#define DEMI_INET_TCP_TIMEWAIT_H

/*
 * TIME-WAIT: 64 bytes for each connection that has ended, in a ring in order of their ends. The ring grows up to a
 * limit; then the oldest ones go early. A place in the ring is named by a number that counts on; its low bits are the
 * index.
 */

#include "inet/demux.h"

#include "core/timer.h"

#define DEMI_TCP_TW_MAX 16384U
#define DEMI_TCP_TW_NONE UINT32_MAX /* in buckets and next */

struct demi_tcp_tw {
	struct demi_ip local, remote;
	uint16_t lport, rport; /* lport 0: nothing is here any more */
	uint32_t rcv_nxt, snd_nxt;
	uint32_t ts_recent;
	uint32_t flow; /* of its own, if has_flow */
	uint32_t next; /* in its bucket */
	uint32_t end_ms; /* of the stack's time */
	uint32_t port : 29; /* index */
	uint32_t has_flow : 1, ts_ok : 1, v4 : 1;
};

_Static_assert(sizeof(struct demi_tcp_tw) == 64, "one cache line");

struct demi_tcp_tw_table {
	struct demi_tcp_tw *ring;
	uint32_t *buckets; /* as many as places */
	uint32_t size, head, tail; /* head: the oldest */
	uint32_t count; /* that are not gone */
	struct demi_timer timer;
	struct demi_inet *in;
};

#endif /* DEMI_INET_TCP_TIMEWAIT_H */
