/* SPDX-License-Identifier: MIT */
#ifndef BENCH_INET_MEMDEV_H
#define BENCH_INET_MEMDEV_H

/*
 * A packet device in memory, with a peer on it: what a ring costs and nothing else. Receive descriptors name posted
 * buffers, each of which is replaced when it is handed over; transmit descriptors are written one by one, a doorbell
 * ends a burst, and completions are read back. It checks nothing and offers no help: the stack makes and verifies
 * every checksum.
 */

#include "pktdev/pktdev.h"

#define MEMDEV_SLOTS 256 /* a power of two */
#define MEMDEV_BUF 2048

#define MEMDEV_PACKET 128 /* what the peer can send at most */

struct memdev {
	struct demi_pktdev d;
	uint32_t rx_own, rx_other; /* handed over; arrived */
	uint32_t tx_own, tx_done, doorbell;
	void *posted[MEMDEV_SLOTS];
	struct demi_pkt tx[MEMDEV_SLOTS];
	uint32_t burst; /* packets that are handed over at once, at most */
	bool always; /* the peer sends whenever it can; else when it gets something */
	int (*reached)(struct memdev *m,
		       const struct demi_pkt *e); /* the peer gets a packet; 0. NULL: it does not care */
	void (*next)(struct memdev *m); /* make the packet after the one that was just received. NULL: the same */
	uint32_t packet_len;
	uint32_t ack, seq; /* TCP: of the packet, in this order one number; */
	uint64_t tcp_sum; /* and the sum of all else in it */
	uint8_t packet[MEMDEV_PACKET]; /* what the peer sends */
};

/*
 * On which the peer has nothing to send yet: packet_len is 0. @burst: see there; with 1 nothing shares what a round
 * costs. NULL without memory.
 */
struct memdev *memdev_new(struct demi_ctx *ctx, uint32_t burst);

static inline const struct demi_pkt *memdev_last_sent(const struct memdev *m)
{
	return &m->tx[(m->tx_own - 1) % MEMDEV_SLOTS];
}

#endif /* BENCH_INET_MEMDEV_H */
