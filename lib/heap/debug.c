/* SPDX-License-Identifier: MIT */
#include "heap/debug.h"
#include "core/ctx.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define ZONE 64 /* bytes before (or the alignment) and behind an object */
#define ZONE_BYTE 0xfa
#define NEW_BYTE 0xcd
#define FREE_BYTE 0xdb
#define FRAMES 16
#define QUARANTINE_BYTES ((size_t)32 << 20)

struct trace {
	int n;
	void *pc[FRAMES];
};

/* Of an object that is alive or in quarantine. All lists and all fields under the lock. */
struct demi_debug_record {
	uintptr_t start;
	size_t size;
	struct demi_object place; /* the memory with its red zones */
	struct demi_debug_record *prev, *next; /* live objects, or the quarantine, oldest first */
	struct trace allocated, freed;
};

struct list {
	struct demi_debug_record *first, *last;
};

/* Recursive: a hook of a new area may allocate. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static unsigned int depth;
static struct list live, quarantine;
static size_t quarantine_bytes;
static struct demi_debug_record *unused;
static bool can_trace;
static __thread bool tracing __attribute__((tls_model("initial-exec")));

void demi_debug_lock(void)
{
	pthread_mutex_lock(&lock);
	depth++;
}

void demi_debug_unlock(void)
{
	depth--;
	pthread_mutex_unlock(&lock);
}

void demi_debug_forked(void)
{
	static const pthread_mutex_t fresh = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

	lock = fresh;
	depth = 0;
}

/* Without the lock: unwinding may take the dynamic linker's, under which others allocate. */
static __attribute__((noinline)) void trace(struct trace *t)
{
	t->n = 0;
	if (!__atomic_load_n(&can_trace, __ATOMIC_RELAXED) || tracing)
		return;
	tracing = true;
	t->n = backtrace(t->pc, FRAMES);
	tracing = false;
}

/*
 * The first backtrace() loads the unwinder, which allocates: not before the program is set up, and,
 * if debug mode is wanted from the start, not in the middle of the program's own dlopen().
 */
__attribute__((constructor)) static void prepare_trace(void)
{
	struct trace t;

	__atomic_store_n(&can_trace, true, __ATOMIC_RELAXED);
	if (secure_getenv("DEMI_HEAP"))
		trace(&t);
}

/* Frames of the library itself say nothing; when it is part of the program they cannot be told apart. */
static int own_frames(const struct trace *t)
{
	Dl_info own, info;
	int i;

	if (!dladdr(&demi_heap, &own) || (getauxval(AT_PHDR) & ~(uintptr_t)4095) == (uintptr_t)own.dli_fbase)
		return 0;
	for (i = 0; i < t->n; i++)
		if (!dladdr(t->pc[i], &info) || info.dli_fbase != own.dli_fbase)
			return i;
	return 0;
}

static __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1) < 0)
		return; /* nobody listens */
}

static void say_trace(const char *title, const struct trace *t)
{
	int skip = own_frames(t);

	if (t->n == 0) {
		say("  %s: not known\n", title);
		return;
	}
	say("  %s:\n", title);
	backtrace_symbols_fd(t->pc + skip, t->n - skip, STDERR_FILENO);
}

/* @now: who does it at this moment, if that is known. */
static __attribute__((noreturn)) void die(const struct demi_debug_record *r, const char *what, const struct trace *now)
{
	struct demi_debug_record copy = *r;

	demi_debug_unlock(); /* what follows may want the dynamic linker's lock */
	say("demi heap: %s: the object at %#lx of %zu bytes\n", what, (unsigned long)copy.start, copy.size);
	if (now)
		say_trace("done by", now);
	say_trace("allocated by", &copy.allocated);
	if (copy.freed.n)
		say_trace("freed by", &copy.freed);
	abort();
}

static struct demi_debug_record **slot_of(const struct demi_object *o)
{
	struct demi_span *s = o->span;

	if (s->kind == DEMI_SPAN_LARGE)
		return &s->large_record;
	return (struct demi_debug_record **)((char *)s->refs + demi_classes[s->cls].meta_bytes) + (o->ref - s->refs);
}

static void list_add(struct list *l, struct demi_debug_record *r)
{
	r->next = NULL;
	r->prev = l->last;
	if (r->prev)
		r->prev->next = r;
	else
		l->first = r;
	l->last = r;
}

static void list_del(struct list *l, struct demi_debug_record *r)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		l->first = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		l->last = r->prev;
}

/* The offset of the first byte that is not @want, or @len. */
static size_t first_other(const unsigned char *p, size_t len, unsigned char want)
{
	size_t i;

	for (i = 0; i < len && p[i] == want; i++)
		;
	return i;
}

static size_t zone_behind(const struct demi_debug_record *r)
{
	size_t n = r->place.start + r->place.size - r->start - r->size;

	return n < 4 * ZONE ? n : 4 * ZONE;
}

static void check_zones(const struct demi_debug_record *r, const struct trace *now)
{
	const unsigned char *p = (const unsigned char *)r->start;
	size_t i, n = zone_behind(r);
	char what[128];

	i = first_other(p + r->size, n, ZONE_BYTE);
	if (i < n) {
		snprintf(what, sizeof(what), "overrun, byte %zu was written", r->size + i);
		die(r, what, now);
	}
	i = first_other(p - ZONE, ZONE, ZONE_BYTE);
	if (i < ZONE) {
		snprintf(what, sizeof(what), "underrun, byte -%zu was written", ZONE - i);
		die(r, what, now);
	}
}

static void check_poison(const struct demi_debug_record *r)
{
	size_t i = first_other((const unsigned char *)r->start, r->size, FREE_BYTE);
	char what[128];

	if (i == r->size) {
		check_zones(r, NULL);
		return;
	}
	snprintf(what, sizeof(what), "use after free, byte %zu was written", i);
	die(r, what, NULL);
}

static struct demi_debug_record *record_new(void)
{
	struct demi_debug_record *r = unused;

	if (r)
		unused = r->next;
	else
		r = demi_meta_alloc(sizeof(*r));
	return r;
}

void *demi_debug_alloc(size_t align, size_t size)
{
	size_t lead = align > ZONE ? align : ZONE;
	struct demi_debug_record *r;
	struct trace now;
	unsigned char *p;

	trace(&now);
	demi_debug_lock();
	r = record_new();
	p = r ? demi_heap_alloc_raw(align, lead + size + ZONE, &r->place) : NULL;
	if (!p) {
		if (r) {
			r->next = unused;
			unused = r;
		}
		demi_debug_unlock();
		return NULL;
	}
	r->start = (uintptr_t)p + lead;
	r->size = size;
	r->allocated = now;
	r->freed.n = 0;
	*slot_of(&r->place) = r;
	list_add(&live, r);
	memset((char *)r->start - ZONE, ZONE_BYTE, ZONE);
	memset((char *)r->start, NEW_BYTE, size);
	memset((char *)r->start + size, ZONE_BYTE, zone_behind(r));
	demi_debug_unlock();
	return (void *)r->start;
}

bool demi_debug_find(const void *p, struct demi_object *o)
{
	const struct demi_debug_record *r = *slot_of(o);

	if (!r || (uintptr_t)p - r->start >= r->size)
		return false;
	o->start = r->start;
	o->size = r->size;
	return true;
}

static void quarantine_leave(void)
{
	struct demi_debug_record *r = quarantine.first;

	check_poison(r);
	list_del(&quarantine, r);
	quarantine_bytes -= r->place.size;
	*slot_of(&r->place) = NULL;
	demi_heap_release_raw(&r->place);
	r->next = unused;
	unused = r;
}

void demi_debug_release(struct demi_object *o)
{
	struct demi_debug_record *r = *slot_of(o);
	struct trace now;

	trace(&now);
	demi_debug_lock();
	check_zones(r, &now);
	r->freed = now;
	memset((void *)r->start, FREE_BYTE, r->size);
	list_del(&live, r);
	list_add(&quarantine, r);
	quarantine_bytes += r->place.size;
	while (quarantine_bytes > QUARANTINE_BYTES)
		quarantine_leave();
	demi_debug_unlock();
}

void demi_debug_misuse(const void *p, const char *what)
{
	struct demi_debug_record *r;
	struct demi_object o;
	struct trace now;
	char text[128];

	if (!demi_object_locate(p, &o) || o.span->kind == DEMI_SPAN_EXTERN)
		return;
	trace(&now);
	demi_debug_lock();
	r = *slot_of(&o);
	if (!r) {
		demi_debug_unlock();
		say("demi heap: %s of %p, where there is no object\n", what, p);
		say_trace("done by", &now);
		abort();
	}
	if (atomic_load_explicit(o.ref, memory_order_relaxed) & DEMI_OWNER_MASK)
		snprintf(text, sizeof(text), "%s of %p, which is not the object's start", what, p);
	else if (!strcmp(what, "free"))
		snprintf(text, sizeof(text), "double free of %p", p);
	else
		snprintf(text, sizeof(text), "use after free (%s of %p)", what, p);
	die(r, text, &now);
}

/* What nobody touched since it was broken is found at the end. */
__attribute__((destructor)) static void check_all(void)
{
	struct demi_debug_record *r;

	if (!demi_heap.debug || pthread_mutex_trylock(&lock))
		return;
	/* exit() in a signal handler that interrupted the heap: nothing can be trusted */
	if (depth++ == 0) {
		for (r = quarantine.first; r; r = r->next)
			check_poison(r);
		for (r = live.first; r; r = r->next)
			check_zones(r, NULL);
	}
	demi_debug_unlock();
}
