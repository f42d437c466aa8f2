/* SPDX-License-Identifier: MIT */
/*
 * Memory of somebody else in the heap's range: shared memory out of which a pipe hands out elements in place.
 * Its reference words are the process's own, one per 64 bytes; an object uses that of its start.
 */

#include "heap/span.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SLOT_SHIFT 6
#define SLOT_SIZE ((size_t)1 << SLOT_SHIFT)

struct slot {
	demi_ref_t ref;
	uint32_t len;
};

struct demi_heap_extern {
	uintptr_t base;
	size_t len; /* what is mapped */
	void (*release)(void *arg, void *p);
	void *arg;
	size_t slot_bytes;
	struct slot *slots;
	_Atomic(uint64_t) *starts; /* bit per slot: an object begins here */
};

static int meta_map(struct demi_heap_extern *e)
{
	size_t n = e->len >> SLOT_SHIFT;
	void *m;

	e->slot_bytes = n * sizeof(struct slot) + n / 8;
	m = mmap(NULL, e->slot_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return -ENOMEM;
	e->slots = m;
	e->starts = (void *)(e->slots + n);
	return 0;
}

static void publish(struct demi_heap_extern *e)
{
	struct demi_span *s = demi_span_at(e->base);
	uint32_t head = (uint32_t)(s - demi_heap.spans);
	size_t n = e->len >> DEMI_SPAN_SHIFT, i;

	for (i = 1; i < n; i++)
		demi_heap.heads[head + i] = head;
	s->run = (uint32_t)n;
	s->ext = e;
	s->kind = DEMI_SPAN_EXTERN;
}

int demi_heap_extern_map(struct demi_heap_extern **out, void **base, int fd, off_t off, size_t len,
			 void (*release)(void *arg, void *p), void *arg)
{
	struct demi_heap_extern *e;
	int ret;

	if (!len || (len | (size_t)off) & DEMI_SPAN_MASK || off < 0)
		return -EINVAL;
	ret = demi_heap_init();
	if (ret)
		return ret;
	if (len > demi_heap.reserved)
		return -ENOMEM;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->len = len;
	e->release = release;
	e->arg = arg;
	ret = meta_map(e);
	if (ret)
		goto err_free;
	ret = demi_range_take(len, &e->base);
	if (ret)
		goto err_meta;
	if (mmap((void *)e->base, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED, fd, off) == MAP_FAILED) {
		ret = -errno;
		goto err_range;
	}
	publish(e);
	*out = e;
	*base = (void *)e->base;
	return 0;

err_range:
	mmap((void *)e->base, len, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	demi_range_give(e->base, len);
err_meta:
	munmap(e->slots, e->slot_bytes);
err_free:
	free(e);
	return ret;
}

int demi_heap_extern_object(struct demi_heap_extern *e, void *p, size_t len)
{
	size_t off = (uintptr_t)p - e->base, i = off >> SLOT_SHIFT;

	if (off & (SLOT_SIZE - 1) || !len || len > UINT32_MAX || off >= e->len || len > e->len - off)
		return -EINVAL;
	if (atomic_load_explicit(&e->slots[i].ref, memory_order_acquire))
		return -EEXIST;
	e->slots[i].len = (uint32_t)len;
	atomic_store_explicit(&e->slots[i].ref, DEMI_OWNER_ONE, memory_order_relaxed);
	atomic_fetch_or_explicit(&e->starts[i / 64], (uint64_t)1 << i % 64, memory_order_release);
	return 0;
}

/* The object begins at the last start at or before the pointer, if it reaches this far. */
bool demi_extern_find(struct demi_span *s, uintptr_t p, struct demi_object *o)
{
	struct demi_heap_extern *e = s->ext;
	size_t off = p - e->base, i = off >> SLOT_SHIFT, w = i / 64;
	uint64_t bits = atomic_load_explicit(&e->starts[w], memory_order_acquire) & (~(uint64_t)0 >> (63 - i % 64));

	while (!bits && w)
		bits = atomic_load_explicit(&e->starts[--w], memory_order_acquire);
	if (!bits)
		return false;
	i = w * 64 + 63 - (size_t)__builtin_clzll(bits);
	o->span = s;
	o->ref = &e->slots[i].ref;
	o->start = e->base + (i << SLOT_SHIFT);
	o->size = e->slots[i].len;
	return p - o->start < o->size;
}

void demi_extern_release(struct demi_object *o)
{
	struct demi_heap_extern *e = o->span->ext;
	size_t i = (o->start - e->base) >> SLOT_SHIFT;

	atomic_fetch_and_explicit(&e->starts[i / 64], ~((uint64_t)1 << i % 64), memory_order_release);
	e->release(e->arg, (void *)o->start);
}

void demi_heap_extern_unmap(struct demi_heap_extern *e)
{
	struct demi_span *s;

	if (!e)
		return;
	s = demi_span_at(e->base);
	s->kind = DEMI_SPAN_INNER;
	s->run = 0;
	s->ext = NULL;
	/* Fails only where the kernel cannot split a mapping; then nobody may have these addresses again. */
	if (mmap((void *)e->base, e->len, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
	    MAP_FAILED)
		demi_range_give(e->base, e->len);
	munmap(e->slots, e->slot_bytes);
	free(e);
}
