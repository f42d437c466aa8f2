/* SPDX-License-Identifier: MIT */
#ifndef DEMI_NVME_PAIR_H
#define DEMI_NVME_PAIR_H

/*
 * The user's side of a pair of I/O queues that the controller reads and writes itself. Which barrier pairs with which,
 * the controller being the other side:
 *
 *	ring	store-release to the doorbell	its read of commands after it has seen the new tail
 *	poll	load-acquire of the phase	its write of the phase with or after the rest of a completion
 *	arm	store seen, full barrier	the kernel's interrupt handler: events after completions
 *
 * Everything in completions may be wrong, if the controller is, or if the mapping was revoked: the command that one
 * names must be under way, and the submission queue's head must be between the last one and the tail. A pair
 * that saw something else is broken, for good.
 */

#include "core/barrier.h"
#include "nvme/wire.h"

#include <linux/demi_nvme.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Commands under way at most. The other bits of a command's number tell one use of a slot from the next. */
#define DEMI_NVME_DEPTH_MAX 1024
#define DEMI_NVME_SLOT_BITS 10

/* PRP entries of one command that do not fit in it, and the data that they are enough for wherever it begins. */
#define DEMI_NVME_LIST_ENTRIES 32
#define DEMI_NVME_DATA_MAX (DEMI_NVME_LIST_ENTRIES * DEMI_NVME_PAGE)

struct demi_nvme_slot;
typedef void demi_nvme_done_fn(void *arg, unsigned int status);

struct demi_nvme_slot {
	demi_nvme_done_fn *done; /* NULL: free */
	void *arg;
	uint16_t cid;
	uint16_t next_free;
};

struct demi_nvme_pair {
	struct demi_nvme_queue *shared;
	volatile struct demi_nvme_command *sq;
	volatile struct demi_nvme_completion *cq;
	uint32_t *sq_doorbell, *cq_doorbell;
	uint32_t sq_entries, cq_entries;
	uint32_t tail, rung; /* of sq */
	uint32_t sq_head; /* as the controller has told */
	uint32_t head; /* of cq */
	uint16_t phase;
	uint16_t depth; /* slots */
	uint16_t free_head, free_count;
	uint32_t looks; /* at an empty queue, until it is asked whether the controller is there */
	bool broken;
	struct demi_nvme_slot *slots;
	uint64_t (*lists)[DEMI_NVME_LIST_ENTRIES]; /* by slot; registered */
};

/*
 * On a mapping as <linux/demi_nvme.h> describes it. @lists is registered memory for the depth that demi_nvme_depth()
 * tells of the mapping, page aligned. 0, -EPROTO, -ENOMEM.
 */
int demi_nvme_pair_init(struct demi_nvme_pair *p, void *map, size_t map_bytes, void *lists);
void demi_nvme_pair_exit(struct demi_nvme_pair *p);
uint16_t demi_nvme_depth(const struct demi_nvme_queue *shared);

/*
 * One more command, if there is a slot: p->free_count. All but cid and prp are filled in; @len bytes of registered
 * memory at @data, at most DEMI_NVME_DATA_MAX, at a multiple of 4; none: @len 0. The controller sees it when the
 * doorbell is rung. @done(@arg, status) comes out of demi_nvme_pair_poll().
 */
void demi_nvme_pair_submit(struct demi_nvme_pair *p, const struct demi_nvme_command *c, const void *data, uint32_t len,
			   demi_nvme_done_fn *done, void *arg);

static inline bool demi_nvme_pair_idle(const struct demi_nvme_pair *p)
{
	return p->free_count == p->depth;
}

static inline void demi_nvme_pair_ring(struct demi_nvme_pair *p)
{
	if (p->rung == p->tail)
		return;
	p->rung = p->tail;
	__atomic_store_n(p->sq_doorbell, p->tail, __ATOMIC_RELEASE);
}

/* Is there a completion? The phase only. */
static inline bool demi_nvme_pair_has(const struct demi_nvme_pair *p)
{
	return (__atomic_load_n(&p->cq[p->head].status, __ATOMIC_ACQUIRE) & 1) == p->phase;
}

/* Completions: their @done is called. 0, or -EIO: broken now. */
int demi_nvme_pair_poll(struct demi_nvme_pair *p);

/* Is the mapping a controller's that works? */
static inline bool demi_nvme_pair_works(const struct demi_nvme_pair *p)
{
	return __atomic_load_n(&p->shared->magic, __ATOMIC_RELAXED) == DEMI_NVME_MAGIC &&
	       !(__atomic_load_n(&p->shared->status, __ATOMIC_RELAXED) & DEMI_NVME_BROKEN);
}

static inline void demi_nvme_pair_acknowledge(struct demi_nvme_pair *p)
{
	__atomic_store_n(&p->shared->seen, __atomic_load_n(&p->shared->events, __ATOMIC_ACQUIRE), __ATOMIC_RELAXED);
}

/* Nothing reads or writes memory for it any more: all that is under way fails with this status. */
#define DEMI_NVME_S_GONE 0xffffu
void demi_nvme_pair_fail(struct demi_nvme_pair *p);

#endif /* DEMI_NVME_PAIR_H */
