/* SPDX-License-Identifier: MIT */
#ifndef DEMI_NVME_BLOCK_H
#define DEMI_NVME_BLOCK_H

/*
 * Block queues: namespaces as queues. Pushes go in order to the offsets that follow each other, pops come from the read
 * cursor; both in whole blocks, and as many at a time as the controller takes. Pushes complete in their order: behind
 * one that failed all fail.
 */

#include "nvme/device.h"

enum demi_block_what {
	DEMI_BLOCK_READ,
	DEMI_BLOCK_WRITE,
	DEMI_BLOCK_FLUSH,
};

/* One push or pop, or the flush at the end: as many commands as its length takes. */
struct demi_block_io {
	struct demi_block_io *next; /* of the pushes, or of those that are free */
	struct demi_block_io *next_waiting;
	struct demi_block *block;
	struct demi_op *op; /* NULL: it was cancelled, or is nobody's */
	char *buf;
	size_t len, submitted; /* bytes */
	uint64_t offset;
	uint32_t commands; /* under way */
	int err;
	uint8_t what; /* enum demi_block_what */
	bool waiting; /* in the device's list */
	bool lent; /* buf is the application's, lent */
	bool finished; /* a push that waits for those before it */
	bool flush_next; /* when it is written */
	bool flushing; /* it is written */
};

struct demi_block {
	struct demi_queue q; /* first */
	struct demi_nvme_dev *dev;
	struct demi_block *next; /* of the device's */
	struct demi_nvme_namespace ns;
	uint64_t bytes; /* of the namespace */
	unsigned int shift; /* of a block */
	bool readable, writable;
	bool durable; /* writes with FUA */
	bool flush_writes; /* and flushes each, as the controller ignores FUA */
	bool dirty; /* what was written may be in a volatile cache */
	bool failed; /* a push failed: later ones must not leave a hole */
	uint64_t read_offset, write_offset;
	struct demi_block_io *push_head, *push_tail; /* that have not completed */
	struct demi_op_list pops;
	uint32_t ios; /* not finished */
};

void demi_block_free_ios(struct demi_nvme_backend *b);

#endif /* DEMI_NVME_BLOCK_H */
