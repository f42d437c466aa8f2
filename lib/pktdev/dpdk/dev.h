/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_DPDK_DEV_H
#define DEMI_PKTDEV_DPDK_DEV_H

/*
 * A DPDK port as a packet device: one port, one queue each way, for one context. An L2 device.
 *
 * Receive. The mbufs that the port fills have heap objects for buffers:
 *
 *	mbuf (EAL's memory) ---> object	| RTE_PKTMBUF_HEADROOM | frame ...
 *
 * The object of what was received is handed up, another one takes its place and the mbuf goes back to its pool. No byte
 * moves, and whoever frees the object, in whatever thread, knows nothing of DPDK.
 *
 * Transmit. Small pieces are copied into mbufs. Greater ones are attached to mbufs as external buffers: all of a packet
 * count as one, in a struct demi_dpdk_ref; when the last is freed the packet is done. What was copied alone is done at
 * once.
 *
 * Whether a port can be given memory that is not EAL's: see enum demi_dpdk_reach. Where it cannot, frames are copied on
 * both ways.
 */

#include "pktdev/module.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define DEMI_DPDK_BURST_MAX 64
#define DEMI_DPDK_BURST_MIN 8

/* What most cards want of a buffer: 2 KiB behind the headroom. */
#define DEMI_DPDK_RX_ROOM (RTE_PKTMBUF_HEADROOM + 2048)
/*
 * A little more than what memif's buffers hold: it puts a chain into one buffer only if it cannot be sure that each
 * mbuf has one of its own.
 */
#define DEMI_DPDK_TX_ROOM (DEMI_DPDK_RX_ROOM + 64)

/* Shorter pieces are copied: an external buffer costs more. */
#define DEMI_DPDK_REF_MIN 512
/* All headers, copied where DPDK is to change them. */
#define DEMI_DPDK_HDRS_MAX 256

enum demi_dpdk_reach {
	DEMI_DPDK_OWN_MEMORY, /* nothing but EAL's memory */
	DEMI_DPDK_COPIES, /* the driver is software that has copied when its burst call returns: any address */
	DEMI_DPDK_DMA, /* the heap's areas, registered and mapped for the device */
};

/* Pieces of a packet that the port reads in place. */
struct demi_dpdk_ref {
	struct rte_mbuf_ext_shared_info shared; /* counts the mbufs */
	struct demi_dpdk_dev *dd;
	struct demi_dpdk_ref *next; /* of the free list, or of those that are done */
	uint64_t cookie;
	bool copied; /* as demi_pkt_done.copied */
	bool dropped; /* never got as far as the port's queue: nobody is told */
};

struct demi_dpdk_dev {
	struct demi_pktdev dev; /* first */
	uint16_t port;
	uint16_t hw_segs_max, hw_gso_segs_max; /* mbufs of a packet */
	enum demi_dpdk_reach reach;
	bool prepare; /* checksums or segmentation are the port's: rte_eth_tx_prepare() first */
	bool cleanup; /* rte_eth_tx_done_cleanup() works */
	bool registered; /* the thread became EAL's here */
	bool started;

	/* receive */
	uint16_t burst; /* how many are asked for: twice what came, within limits */
	uint16_t held_at, held_n; /* received, but there was no room */
	struct rte_mempool *rx_pool;
	struct rte_mempool *swap_pool; /* the same, or none if its buffers are not heap objects */
	struct rte_mempool_cache *rx_cache; /* this thread's, so that it need not be looked for */
	struct rte_mbuf *held[DEMI_DPDK_BURST_MAX];

	/* transmit */
	uint16_t out_at, out_n; /* made, and not taken by the port yet */
	struct rte_mempool *tx_pool;
	struct rte_mempool_cache *tx_cache;
	struct demi_dpdk_ref *refs, *ref_free;
	struct demi_dpdk_ref *ref_done, **ref_done_end;
	uint32_t ref_count, refs_flying;
	uint32_t done_at, done_n;
	struct rte_mbuf *out[DEMI_DPDK_BURST_MAX];
	struct demi_pkt_done done[4 * DEMI_DPDK_BURST_MAX];

	/* sleeping: wake_fd is an epoll that has the port's interrupt and a timer for what no interrupt tells */
	int rx_epoll_fd, timer_fd;
	bool armed;

	struct demi_heap_hook hook; /* DMA: maps new areas for this port */
	bool hooked;
	struct demi_pktdev_stats stats;
};

static inline struct demi_dpdk_dev *demi_dpdk_dev(struct demi_pktdev *d)
{
	return (struct demi_dpdk_dev *)d;
}

extern const struct demi_pktdev_host *demi_dpdk_host;
extern struct demi_pktdev_ops demi_dpdk_ops;

#define demi_dpdk_log(level, ...)                                                                                      \
	do {                                                                                                           \
		if (*demi_dpdk_host->log_level >= (level))                                                             \
			demi_dpdk_host->log(level, "dpdk: " __VA_ARGS__);                                              \
	} while (0)

/* eal.c: EAL, once per process. 0 or -errno. */
int demi_dpdk_eal_start(const char *args);

/* port.c: which port, and what it can do; then its queues. */
int demi_dpdk_port_choose(const char *list, uint16_t *port_out);
void demi_dpdk_port_release(uint16_t port);
int demi_dpdk_port_start(struct demi_dpdk_dev *dd, const struct demi_pktdev_settings *s);
void demi_dpdk_port_stop(struct demi_dpdk_dev *dd);

/* mem.c: the pools, and the heap's memory for the port. */
int demi_dpdk_mem_init(struct demi_dpdk_dev *dd, const struct rte_eth_dev_info *info);
int demi_dpdk_pools_init(struct demi_dpdk_dev *dd, uint16_t rx_entries, uint16_t tx_entries);
void demi_dpdk_mem_destroy(struct demi_dpdk_dev *dd); /* after the port was stopped */

/* rx.c */
int demi_dpdk_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max);
void demi_dpdk_rx_destroy(struct demi_dpdk_dev *dd);

/* tx.c */
int demi_dpdk_tx_init(struct demi_dpdk_dev *dd, uint16_t entries);
void demi_dpdk_tx_destroy(struct demi_dpdk_dev *dd);
int demi_dpdk_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n);
int demi_dpdk_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max);
int demi_dpdk_kick(struct demi_pktdev *d);
void demi_dpdk_send(struct demi_dpdk_dev *dd); /* what is in out[], as far as the port takes it */

/* wake.c */
int demi_dpdk_wake_init(struct demi_dpdk_dev *dd); /* -ENOTSUP: the port has no interrupts */
void demi_dpdk_wake_destroy(struct demi_dpdk_dev *dd);
int demi_dpdk_arm(struct demi_pktdev *d);
void demi_dpdk_disarm(struct demi_pktdev *d);
void demi_dpdk_wake_soon(struct demi_dpdk_dev *dd); /* something is under way that no interrupt tells */

#endif /* DEMI_PKTDEV_DPDK_DEV_H */
