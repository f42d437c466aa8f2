/* SPDX-License-Identifier: MIT */
#ifndef DEMI_NVME_DEVICE_H
#define DEMI_NVME_DEVICE_H

/*
 * NVMe controllers of a context: a pair of I/O queues on each, shared by the block queues (block.h) that are open on
 * its namespaces. The first one opened makes it, the last one closed ends it; then another process can have the
 * controller.
 *
 * Commands are written to the submission queue at once, and the doorbell is rung by the flush. What finds no free slot
 * waits in a list.
 */

#include "core/ctx.h"
#include "nvme/pair.h"
#include "pktdev/ring/mem.h"

struct demi_block;
struct demi_block_io;
struct demi_nvme_backend;

struct demi_nvme_dev {
	struct demi_nvme_dev *next;
	struct demi_nvme_backend *backend;
	char name[DEMI_NAME_MAX];
	uint32_t device_id;
	int fd; /* of the queue */
	void *map;
	size_t map_bytes;
	struct demi_nvme_pair pair;
	const struct demi_nvme_namespace *namespaces; /* in the mapping: a copy is made when one is opened */
	bool gone; /* the kernel's queue has ended: nothing is under way */
	struct demi_block *blocks; /* open, or closed and draining */
	struct demi_block_io *wait_head, *wait_tail; /* not all of their commands are submitted */
};

struct demi_nvme_backend {
	struct demi_backend b; /* first */
	struct demi_ring_mem *mem;
	struct demi_nvme_dev *devs;
	struct demi_block_io *free_ios;
	uint32_t draining; /* block queues that are closed and not idle yet */
	bool ending; /* the context ends: nothing is reaped before all is closed */
};

/* The context's pair on the controller @name, the first that can be had if that is empty; made if need be. */
int demi_nvme_dev_get(struct demi_ctx *ctx, const char *name, struct demi_nvme_dev **out);

/* End pairs that no block queue is open on. Not while completions are looked at. */
void demi_nvme_reap(struct demi_nvme_backend *b);

/* The controller was taken away, or is broken: end the kernel's queue, and fail what is under way. */
void demi_nvme_dev_gone(struct demi_nvme_dev *d);

/* Look for completions; then submit what waits, and ring. */
void demi_nvme_dev_poll(struct demi_nvme_dev *d);

/* One command, until it is completed: its status. @d->pair may become broken. */
unsigned int demi_nvme_dev_run(struct demi_nvme_dev *d, const struct demi_nvme_command *c, const void *data,
			       uint32_t len);

/* Can the controller reach these bytes of the heap? Registers them if they can be. */
bool demi_nvme_reach(struct demi_nvme_backend *b, const void *p, size_t len);

/* block.c: submit what waits, as far as there are slots. */
void demi_block_issue(struct demi_nvme_dev *d);

/* block.c: fail what waits, the device being gone; close what is open, the context ending. */
void demi_block_fail_waiting(struct demi_nvme_dev *d);
void demi_block_close_all(struct demi_nvme_dev *d);

#endif /* DEMI_NVME_DEVICE_H */
