/* SPDX-License-Identifier: MIT */
/* Submission and completion. */
#include "nvme/pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_MASK (DEMI_NVME_DEPTH_MAX - 1)
#define NONE UINT16_MAX

_Static_assert(DEMI_NVME_DEPTH_MAX == 1 << DEMI_NVME_SLOT_BITS, "a slot's number fits");

/* ---- beginning and end ---- */

uint16_t demi_nvme_depth(const struct demi_nvme_queue *shared)
{
	uint32_t n = shared->sq_entries < shared->cq_entries ? shared->sq_entries : shared->cq_entries;

	/* a queue holds one less than it has entries */
	return n < 2 ? 0 : (uint16_t)(n - 1 < DEMI_NVME_DEPTH_MAX ? n - 1 : DEMI_NVME_DEPTH_MAX);
}

static bool inside(size_t map_bytes, uint64_t at, uint64_t n, uint64_t each)
{
	return at <= map_bytes && n <= (map_bytes - at) / each && at % (each < 64 ? each : 64) == 0;
}

int demi_nvme_pair_init(struct demi_nvme_pair *p, void *map, size_t map_bytes, void *lists)
{
	struct demi_nvme_queue *s = map;
	char *base = map;
	uint16_t i;

	if (map_bytes < sizeof(*s) || s->magic != DEMI_NVME_MAGIC || !demi_nvme_depth(s) ||
	    !inside(map_bytes, s->sq, s->sq_entries, sizeof(struct demi_nvme_command)) ||
	    !inside(map_bytes, s->cq, s->cq_entries, sizeof(struct demi_nvme_completion)) ||
	    !inside(map_bytes, s->sq_doorbell, 1, 4) || !inside(map_bytes, s->cq_doorbell, 1, 4) ||
	    !inside(map_bytes, s->namespaces, s->namespace_count, sizeof(struct demi_nvme_namespace)))
		return -EPROTO;
	*p = (struct demi_nvme_pair){ .shared = s,
				      .sq = (void *)(base + s->sq),
				      .cq = (void *)(base + s->cq),
				      .sq_doorbell = (void *)(base + s->sq_doorbell),
				      .cq_doorbell = (void *)(base + s->cq_doorbell),
				      .sq_entries = s->sq_entries,
				      .cq_entries = s->cq_entries,
				      .phase = 1,
				      .depth = demi_nvme_depth(s),
				      .lists = lists };
	p->slots = calloc(p->depth, sizeof(*p->slots));
	if (!p->slots)
		return -ENOMEM;
	p->free_count = p->depth;
	for (i = 0; i < p->depth; i++) {
		p->slots[i].cid = i;
		p->slots[i].next_free = i + 1 < p->depth ? (uint16_t)(i + 1) : NONE;
	}
	return 0;
}

void demi_nvme_pair_exit(struct demi_nvme_pair *p)
{
	free(p->slots);
}

/* ---- submission ---- */

/*
 * 4.3: the first entry is where the data begins; the second the rest, if that is one page, or a list of pages. A
 * buffer's pages follow each other for the controller as they do here.
 */
static void set_prp(struct demi_nvme_pair *p, uint16_t slot, struct demi_nvme_command *c, uintptr_t at, uint32_t len)
{
	uint32_t first = DEMI_NVME_PAGE - (uint32_t)(at & (DEMI_NVME_PAGE - 1)), n = 0;

	c->prp[0] = at;
	c->prp[1] = 0;
	if (len <= first)
		return;
	at += first;
	len -= first;
	if (len <= DEMI_NVME_PAGE) {
		c->prp[1] = at;
		return;
	}
	for (;; at += DEMI_NVME_PAGE, len -= DEMI_NVME_PAGE) {
		p->lists[slot][n++] = at;
		if (len <= DEMI_NVME_PAGE)
			break;
	}
	c->prp[1] = (uintptr_t)p->lists[slot];
}

static uint16_t take_slot(struct demi_nvme_pair *p)
{
	uint16_t i = p->free_head;

	p->free_head = p->slots[i].next_free;
	p->free_count--;
	return i;
}

static void put_slot(struct demi_nvme_pair *p, uint16_t i)
{
	p->slots[i].done = NULL;
	/* another number for the next use */
	p->slots[i].cid = (uint16_t)(p->slots[i].cid + DEMI_NVME_DEPTH_MAX);
	p->slots[i].next_free = p->free_head;
	p->free_head = i;
	p->free_count++;
}

void demi_nvme_pair_submit(struct demi_nvme_pair *p, const struct demi_nvme_command *c, const void *data, uint32_t len,
			   demi_nvme_done_fn *done, void *arg)
{
	uint16_t i = take_slot(p);
	struct demi_nvme_command command = *c;

	p->slots[i].done = done;
	p->slots[i].arg = arg;
	command.cid = p->slots[i].cid;
	if (len)
		set_prp(p, i, &command, (uintptr_t)data, len);
	memcpy((void *)&p->sq[p->tail], &command, sizeof(command));
	if (++p->tail == p->sq_entries)
		p->tail = 0;
}

/* ---- completion ---- */

/* Entries of the submission queue from @from to @to. */
static uint32_t distance(const struct demi_nvme_pair *p, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + p->sq_entries - from;
}

/* What a completion says of the submission queue: its head goes forward, and not beyond what was rung. */
static bool head_is_possible(struct demi_nvme_pair *p, uint32_t sq_head)
{
	if (sq_head >= p->sq_entries || distance(p, p->sq_head, sq_head) > distance(p, p->sq_head, p->rung))
		return false;
	p->sq_head = sq_head;
	return true;
}

static int take_one(struct demi_nvme_pair *p)
{
	const volatile struct demi_nvme_completion *e = &p->cq[p->head];
	uint16_t cid = e->cid, sq_head = e->sq_head, status = e->status, i = cid & SLOT_MASK;
	demi_nvme_done_fn *done;
	void *arg;

	if (i >= p->depth || p->slots[i].cid != cid || !p->slots[i].done || !head_is_possible(p, sq_head)) {
		p->broken = true;
		return -EIO;
	}
	if (++p->head == p->cq_entries) {
		p->head = 0;
		p->phase ^= 1;
	}
	done = p->slots[i].done;
	arg = p->slots[i].arg;
	put_slot(p, i);
	done(arg, DEMI_NVME_STATUS(status));
	return 0;
}

int demi_nvme_pair_poll(struct demi_nvme_pair *p)
{
	uint32_t n;
	int ret = 0;

	if (p->broken)
		return -EIO;
	/* what is completed meanwhile may lead to new commands: one round is enough */
	for (n = 0; n < p->depth && !ret && demi_nvme_pair_has(p); n++)
		ret = take_one(p);
	if (n)
		__atomic_store_n(p->cq_doorbell, p->head, __ATOMIC_RELEASE);
	return ret;
}

void demi_nvme_pair_fail(struct demi_nvme_pair *p)
{
	uint16_t i;

	p->broken = true;
	for (i = 0; i < p->depth; i++) {
		demi_nvme_done_fn *done = p->slots[i].done;
		void *arg = p->slots[i].arg;

		if (!done)
			continue;
		put_slot(p, i);
		done(arg, DEMI_NVME_S_GONE);
	}
}
