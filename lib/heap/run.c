/* SPDX-License-Identifier: MIT */
/* Runs of spans: free ones are kept by length, merged with their neighbours, and their pages given back. */

#include "heap/span.h"

#include <errno.h>
#include <sys/mman.h>

/* Lists of free runs: by exact length up to 32 spans (2 MiB), above that one per power of two. */
#define NEXACT 32
#define NBINS 64
#define PURGE_SPANS 512 /* 32 MiB of free memory that was used: give back what is worth it */

static struct demi_span *bins[NBINS];
static uint64_t bins_used; /* bit per non-empty list */
static size_t dirty_spans, purge_at = PURGE_SPANS;

static unsigned int bin_of(size_t n)
{
	return n <= NEXACT ? (unsigned int)n - 1 : NEXACT + 58 - (unsigned int)__builtin_clzl(n);
}

static void bin_add(struct demi_span *s, size_t n, bool clean)
{
	unsigned int b = bin_of(n);
	struct demi_span *last = s + n - 1;

	last->kind = DEMI_SPAN_FREE;
	last->run = (uint32_t)n;
	s->kind = DEMI_SPAN_FREE;
	s->run = (uint32_t)n;
	s->clean = clean;
	if (!clean)
		dirty_spans += n;
	s->prev = NULL;
	s->next = bins[b];
	if (s->next)
		s->next->prev = s;
	bins[b] = s;
	bins_used |= (uint64_t)1 << b;
}

static void bin_del(struct demi_span *s)
{
	unsigned int b = bin_of(s->run);
	struct demi_span *last = s + s->run - 1;

	if (!s->clean)
		dirty_spans -= s->run;
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		bins[b] = s->next;
	if (!bins[b])
		bins_used &= ~((uint64_t)1 << b);
	last->kind = DEMI_SPAN_INNER;
	s->kind = DEMI_SPAN_INNER;
}

/* How many spans at the start of @s to leave so that the rest is aligned. */
static size_t lead_of(const struct demi_span *s, size_t align)
{
	size_t i = (size_t)(s - demi_heap.spans);

	return ((i + align - 1) & ~(align - 1)) - i;
}

static struct demi_span *take(size_t n, size_t align, enum demi_span_kind kind, bool *clean)
{
	uint64_t left = bins_used & (~(uint64_t)0 << bin_of(n));
	size_t lead = 0, have;
	struct demi_span *s = NULL;

	for (; left && !s; left &= left - 1) {
		for (s = bins[__builtin_ctzll(left)]; s; s = s->next) {
			lead = lead_of(s, align);
			if (s->run >= lead + n)
				break;
		}
	}
	if (!s)
		return NULL;
	have = s->run;
	*clean = s->clean;
	bin_del(s);
	if (lead)
		bin_add(s, lead, *clean);
	s += lead;
	if (have > lead + n)
		bin_add(s + n, have - lead - n, *clean);
	s->kind = (uint8_t)kind; /* under the lock: neighbours look at it */
	return s;
}

/* Pages of runs of 2 MiB and more go back to the kernel; smaller pieces would only split huge pages. */
static void purge(void)
{
	int saved = errno; /* free() keeps it */
	unsigned int b;

	for (b = NEXACT - 1; b < NBINS; b++) {
		struct demi_span *s;

		for (s = bins[b]; s; s = s->next) {
			if (s->clean ||
			    madvise((void *)demi_span_addr(s), (size_t)s->run << DEMI_SPAN_SHIFT, MADV_DONTNEED))
				continue;
			s->clean = true;
			dirty_spans -= s->run;
		}
	}
	purge_at = dirty_spans + PURGE_SPANS;
	errno = saved;
}

void demi_run_give(struct demi_span *s, size_t n, bool clean)
{
	size_t i = (size_t)(s - demi_heap.spans), end = demi_heap.used >> DEMI_SPAN_SHIFT;

	s->owner = NULL;
	s->cache = NULL;
	s->magic = 0;
	s->size = 0;
	s->kind = DEMI_SPAN_INNER;
	if (i + n < end && !s[n].fence && s[n].kind == DEMI_SPAN_FREE) {
		struct demi_span *right = s + n;

		clean &= right->clean;
		n += right->run;
		bin_del(right);
	}
	if (!s->fence && i && s[-1].kind == DEMI_SPAN_FREE) {
		struct demi_span *left = s - s[-1].run;

		clean &= left->clean;
		n += left->run;
		bin_del(left);
		s = left;
	}
	bin_add(s, n, clean);
	/* A device's view of a page must not part from the process's: keep what is registered. */
	if (dirty_spans > purge_at && !demi_heap_hooked)
		purge();
}

struct demi_span *demi_run_alloc(size_t n, size_t align, enum demi_span_kind kind, bool *clean)
{
	struct demi_span *s;
	size_t used;

	for (;;) {
		pthread_mutex_lock(&demi_heap_lock);
		s = take(n, align, kind, clean);
		if (!s && demi_thread_scavenge())
			s = take(n, align, kind, clean);
		used = demi_heap.used;
		pthread_mutex_unlock(&demi_heap_lock);
		if (s || demi_heap_grow(n, used))
			return s;
	}
}

void demi_run_free(struct demi_span *s, size_t n, bool clean)
{
	pthread_mutex_lock(&demi_heap_lock);
	demi_run_give(s, n, clean);
	pthread_mutex_unlock(&demi_heap_lock);
}
