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

struct memdev {
	struct demi_pktdev d;
	uint32_t rx_own, rx_other; /* handed over; arrived */
	uint32_t tx_own, tx_done, doorbell;
	void *posted[MEMDEV_SLOTS];
	struct demi_pkt tx[MEMDEV_SLOTS];
	bool echo; /* the peer sends when it has got the answer; else whenever it can */
	uint32_t packet_len;
	uint8_t packet[256]; /* what the peer sends */
};

/* On which the peer has nothing to send yet: packet_len is 0. NULL without memory. */
struct memdev *memdev_new(struct demi_ctx *ctx);

#endif /* BENCH_INET_MEMDEV_H */
