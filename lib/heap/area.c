/* SPDX-License-Identifier: MIT */
/* The reserved range of addresses, the areas that are taken from it, and the devices that want to know. */

#include "heap/debug.h"
#include "heap/span.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define RESERVE_MIN ((size_t)64 << 20)
#define ADDR_MIN ((uintptr_t)4 << 30)
#define ADDR_MAX ((uintptr_t)1 << 38)
#define AREA_MIN ((size_t)8 << 20)
#define AREA_MAX ((size_t)64 << 20) /* of what the heap takes ahead of need */
#define NAREAS 2048
#define NRANGES 256
#define META_CHUNK ((size_t)256 << 10)

struct range {
	uintptr_t addr;
	size_t len;
};

struct demi_heap demi_heap = { .base = (uintptr_t)1 << 63 };
bool demi_heap_hooked;

/* Recursive: a hook's add() may allocate, and that may grow the heap. */
pthread_mutex_t demi_heap_grow_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
pthread_mutex_t demi_heap_lock = PTHREAD_MUTEX_INITIALIZER;

/* Under the grow lock. */
static struct range areas[NAREAS];
static unsigned int nareas;
static struct range free_ranges[NRANGES];
static unsigned int nfree_ranges;
static struct demi_heap_hook *hooks;

static pthread_mutex_t meta_lock = PTHREAD_MUTEX_INITIALIZER;
static char *meta_next, *meta_end;

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Address space without memory. */
static void *map_empty(uintptr_t at, size_t len, int prot)
{
	void *p = mmap((void *)at, len, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	if (p != MAP_FAILED && at && (uintptr_t)p != at) { /* a kernel, or valgrind, that takes it for a hint */
		munmap(p, len);
		p = MAP_FAILED;
	}
	return p == MAP_FAILED ? NULL : p;
}

/* A random place between 4 GiB and 2^38 first; then any place at all. */
static uintptr_t reserve(size_t len)
{
	const unsigned char *seed = (const unsigned char *)getauxval(AT_RANDOM);
	size_t room = (ADDR_MAX - ADDR_MIN - len) / DEMI_HUGE_SIZE;
	uint64_t r = 0;
	unsigned int i;
	char *p;

	if (seed)
		memcpy(&r, seed, sizeof(r));
	for (i = 0; i < 8; i++) {
		r = r * 6364136223846793005u + 1442695040888963407u;
		p = map_empty(ADDR_MIN + (r >> 20) % room * DEMI_HUGE_SIZE, len, PROT_NONE);
		if (p)
			return (uintptr_t)p;
	}
	p = map_empty(0, len + DEMI_HUGE_SIZE, PROT_NONE);
	return p ? round_up((uintptr_t)p, DEMI_HUGE_SIZE) : 0;
}

static int reserve_all(void)
{
	const size_t spans_bytes = DEMI_HEAP_SPANS * sizeof(struct demi_span);
	const size_t heads_bytes = DEMI_HEAP_SPANS * sizeof(uint32_t);
	char *tables = map_empty(0, spans_bytes + heads_bytes, PROT_READ);
	uintptr_t base = 0;
	size_t len;

	if (!tables)
		return -ENOMEM;
	for (len = DEMI_HEAP_MAX; len >= RESERVE_MIN; len /= 2) {
		base = reserve(len);
		if (base)
			break;
	}
	if (!base) {
		munmap(tables, spans_bytes + heads_bytes);
		return -ENOMEM;
	}
	demi_heap.spans = (struct demi_span *)tables;
	demi_heap.heads = (uint32_t *)(tables + spans_bytes);
	demi_heap.reserved = len;
	atomic_store_explicit(&demi_heap.base, base, memory_order_release);
	return 0;
}

static bool option(const char *list, const char *name)
{
	size_t len = strlen(name), n;

	for (; list && *list; list += n + (list[n] == ',')) {
		n = strcspn(list, ",");
		if (n == len && !memcmp(list, name, n))
			return true;
	}
	return false;
}

int demi_heap_init(void)
{
	int ret = 0;

	if (__atomic_load_n(&demi_heap.ready, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&demi_heap_grow_lock);
	if (!demi_heap.ready) {
		const char *env = secure_getenv("DEMI_HEAP");

		demi_classes_init();
		demi_heap.debug = option(env, "debug");
		demi_heap.hugetlb = option(env, "hugetlb");
		ret = reserve_all();
		if (!ret)
			__atomic_store_n(&demi_heap.ready, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&demi_heap_grow_lock);
	return ret;
}

void *demi_meta_alloc(size_t size)
{
	void *p = NULL;

	size = round_up(size, 64);
	pthread_mutex_lock(&meta_lock);
	if ((size_t)(meta_end - meta_next) < size) {
		size_t chunk = size > META_CHUNK ? round_up(size, 4096) : META_CHUNK;
		char *m = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (m != MAP_FAILED) {
			meta_next = m;
			meta_end = m + chunk;
		}
	}
	if ((size_t)(meta_end - meta_next) >= size) {
		p = meta_next;
		meta_next += size;
	}
	pthread_mutex_unlock(&meta_lock);
	return p;
}

static int table_commit(void *table, size_t elem, size_t from, size_t to)
{
	uintptr_t a = ((uintptr_t)table + from * elem) & ~(uintptr_t)4095;
	uintptr_t b = round_up((uintptr_t)table + to * elem, 4096);

	return mprotect((void *)a, b - a, PROT_READ | PROT_WRITE);
}

/* Take @len bytes more of the reservation. -ENOMEM. */
static int extend(size_t len, uintptr_t *out)
{
	size_t from = demi_heap.used >> DEMI_SPAN_SHIFT, to = (demi_heap.used + len) >> DEMI_SPAN_SHIFT;

	if (len > demi_heap.reserved - demi_heap.used ||
	    table_commit(demi_heap.spans, sizeof(struct demi_span), from, to) ||
	    table_commit(demi_heap.heads, sizeof(uint32_t), from, to))
		return -ENOMEM;
	demi_heap.spans[from].fence = true;
	*out = demi_heap.base + demi_heap.used;
	pthread_mutex_lock(&demi_heap_lock);
	demi_heap.used += len;
	pthread_mutex_unlock(&demi_heap_lock);
	return 0;
}

/*
 * Taken ranges are aligned to 64 KiB only in length; rounding to 2 MiB keeps the areas aligned. What is
 * given back stays PROT_NONE.
 */
int demi_range_take(size_t len, uintptr_t *out)
{
	unsigned int i, best = NRANGES;
	int ret = 0;

	len = round_up(len, DEMI_HUGE_SIZE);
	pthread_mutex_lock(&demi_heap_grow_lock);
	for (i = 0; i < nfree_ranges; i++)
		if (free_ranges[i].len >= len && (best == NRANGES || free_ranges[i].len < free_ranges[best].len))
			best = i;
	if (best == NRANGES) {
		ret = extend(len, out);
	} else {
		*out = free_ranges[best].addr;
		free_ranges[best].addr += len;
		free_ranges[best].len -= len;
		if (!free_ranges[best].len)
			free_ranges[best] = free_ranges[--nfree_ranges];
		demi_span_at(*out)->fence = true;
	}
	pthread_mutex_unlock(&demi_heap_grow_lock);
	return ret;
}

void demi_range_give(uintptr_t addr, size_t len)
{
	unsigned int i;

	len = round_up(len, DEMI_HUGE_SIZE);
	pthread_mutex_lock(&demi_heap_grow_lock);
	for (i = 0; i < nfree_ranges; i++) {
		struct range *r = &free_ranges[i];

		if (r->addr + r->len != addr && addr + len != r->addr)
			continue;
		addr = addr < r->addr ? addr : r->addr;
		len += r->len;
		*r = free_ranges[--nfree_ranges];
		i = (unsigned int)-1; /* the longer range may touch another one */
	}
	if (nfree_ranges < NRANGES) /* else the addresses are lost, of which there are many */
		free_ranges[nfree_ranges++] = (struct range){ addr, len };
	pthread_mutex_unlock(&demi_heap_grow_lock);
}

static int commit(uintptr_t addr, size_t len, bool first)
{
	char *p = (char *)addr;

	if (demi_heap.hugetlb && mmap(p, len, PROT_READ | PROT_WRITE,
				      MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0) != MAP_FAILED)
		return 0;
	/* A failed MAP_FIXED may have unmapped the range. */
	if (demi_heap.hugetlb &&
	    mmap(p, len, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(p, len, PROT_READ | PROT_WRITE))
		return -ENOMEM;
	/* Small processes stay small: the first 2 MiB are ordinary pages. Advice may fail. */
	if (first) {
		madvise(p, DEMI_HUGE_SIZE, MADV_NOHUGEPAGE);
		p += DEMI_HUGE_SIZE;
		len -= DEMI_HUGE_SIZE;
	}
	madvise(p, len, MADV_HUGEPAGE);
	return 0;
}

static void uncommit(uintptr_t addr, size_t len)
{
	/* Fails only where the kernel cannot split a mapping; then the memory stays, unused. */
	mmap((void *)addr, len, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	demi_range_give(addr, len);
}

static void hooks_del(struct demi_heap_hook *end, uintptr_t addr, size_t len)
{
	struct demi_heap_hook *h;

	for (h = hooks; h != end; h = h->next)
		h->del(h, (void *)addr, len);
}

/* All devices must know the area before any object of it is given out. */
static int hooks_add(uintptr_t addr, size_t len)
{
	struct demi_heap_hook *h;

	for (h = hooks; h; h = h->next) {
		int ret = h->add(h, (void *)addr, len);

		if (ret) {
			hooks_del(h, addr, len);
			return ret;
		}
	}
	return 0;
}

static size_t area_size(size_t need)
{
	size_t ahead = round_up(demi_heap.used / 4, DEMI_HUGE_SIZE), room = demi_heap.reserved - demi_heap.used;

	ahead = ahead < AREA_MIN ? AREA_MIN : ahead > AREA_MAX ? AREA_MAX : ahead;
	if (need < ahead && (ahead <= room || need > room))
		return ahead;
	return need;
}

static int grow(size_t len)
{
	bool first = !nareas;
	struct demi_span *s;
	uintptr_t addr;
	int ret;

	if (nareas == NAREAS)
		return -ENOMEM;
	ret = demi_range_take(len, &addr);
	if (ret)
		return ret;
	ret = commit(addr, len, first);
	if (!ret)
		ret = hooks_add(addr, len);
	if (!ret && nareas == NAREAS) { /* the hooks made the heap grow themselves */
		hooks_del(NULL, addr, len);
		ret = -ENOMEM;
	}
	if (ret) {
		uncommit(addr, len);
		return -ENOMEM;
	}
	areas[nareas++] = (struct range){ addr, len };
	s = demi_span_at(addr);
	pthread_mutex_lock(&demi_heap_lock);
	if (first) {
		s[DEMI_HUGE_SPANS].fence = true;
		demi_run_give(s + DEMI_HUGE_SPANS, (len >> DEMI_SPAN_SHIFT) - DEMI_HUGE_SPANS, true);
		demi_run_give(s, DEMI_HUGE_SPANS, true);
	} else {
		demi_run_give(s, len >> DEMI_SPAN_SHIFT, true);
	}
	pthread_mutex_unlock(&demi_heap_lock);
	return 0;
}

int demi_heap_grow(size_t nspans, size_t used)
{
	size_t need = nspans << DEMI_SPAN_SHIFT;
	int ret = 0;

	/* Areas begin at multiples of 2 MiB, which is the greatest alignment. */
	if (demi_heap_init() || nspans > demi_heap.reserved >> DEMI_SPAN_SHIFT)
		return -ENOMEM;
	need = round_up(need, DEMI_HUGE_SIZE);
	pthread_mutex_lock(&demi_heap_grow_lock);
	if (!nareas && need > AREA_MIN - DEMI_HUGE_SIZE)
		need += DEMI_HUGE_SIZE;
	if (demi_heap.used == used)
		ret = grow(area_size(need));
	if (ret && area_size(need) > need)
		ret = grow(need);
	pthread_mutex_unlock(&demi_heap_grow_lock);
	return ret;
}

int demi_heap_hook_add(struct demi_heap_hook *h)
{
	unsigned int i;
	int ret = 0;

	pthread_mutex_lock(&demi_heap_grow_lock);
	pthread_mutex_lock(&demi_heap_lock);
	demi_heap_hooked = true;
	pthread_mutex_unlock(&demi_heap_lock);
	/* add() may itself make the heap grow: nareas is read anew. */
	for (i = 0; i < nareas && !ret; i++)
		ret = h->add(h, (void *)areas[i].addr, areas[i].len);
	if (!ret) {
		h->next = hooks;
		hooks = h;
	} else {
		for (i--; i > 0; i--)
			h->del(h, (void *)areas[i - 1].addr, areas[i - 1].len);
		pthread_mutex_lock(&demi_heap_lock);
		demi_heap_hooked = hooks;
		pthread_mutex_unlock(&demi_heap_lock);
	}
	pthread_mutex_unlock(&demi_heap_grow_lock);
	return ret;
}

void demi_heap_hook_del(struct demi_heap_hook *h)
{
	struct demi_heap_hook **at;
	unsigned int i;

	pthread_mutex_lock(&demi_heap_grow_lock);
	for (at = &hooks; *at && *at != h; at = &(*at)->next)
		;
	if (*at) {
		*at = h->next;
		for (i = nareas; i > 0; i--)
			h->del(h, (void *)areas[i - 1].addr, areas[i - 1].len);
		pthread_mutex_lock(&demi_heap_lock);
		demi_heap_hooked = hooks;
		pthread_mutex_unlock(&demi_heap_lock);
	}
	pthread_mutex_unlock(&demi_heap_grow_lock);
}

static void fork_prepare(void)
{
	demi_debug_lock();
	pthread_mutex_lock(&demi_heap_grow_lock);
	pthread_mutex_lock(&demi_heap_lock);
	pthread_mutex_lock(&meta_lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&meta_lock);
	pthread_mutex_unlock(&demi_heap_lock);
	pthread_mutex_unlock(&demi_heap_grow_lock);
	demi_debug_unlock();
}

/*
 * The child has one thread. What other threads' heaps held stays where it is: they may have been in the
 * middle of an operation. Devices are not the child's: it tells no hook about new areas.
 */
static void fork_child(void)
{
	static const pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
	static const pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

	demi_debug_forked();
	meta_lock = plain;
	demi_heap_lock = plain;
	demi_heap_grow_lock = recursive;
	hooks = NULL;
	demi_heap_hooked = false;
}

__attribute__((constructor)) static void at_load(void)
{
	demi_classes_init();
	/* Without memory for it a child could find the locks taken; nothing else is lost. */
	(void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}
