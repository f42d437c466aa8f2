/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind timeout: 300 */
/*
 * Random operations against a model: every live object has its place, size, contents and reference counts;
 * no two overlap; it dies exactly with its last reference; any pointer into it finds it.
 */

#include <demi/heap.h>
#include <demi/sga.h>

#include "heap/heap.h"
#include "heap_check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define NOBJ 600
#define FULL_CHECK 4096 /* larger ones are checked at some places only */

struct model {
	unsigned char *p;
	size_t size;
	unsigned int owners, lends;
	uint64_t key;
};

static struct model objs[NOBJ];
static uint64_t rnd;

static size_t below(size_t n)
{
	return test_random(&rnd) % n;
}

static unsigned char expect(const struct model *m, size_t i)
{
	return (unsigned char)((m->key + i) * 0x9e3779b97f4a7c15ULL >> 56);
}

static size_t step(const struct model *m)
{
	return m->size <= FULL_CHECK ? 1 : m->size / 509 + 1;
}

static void fill(struct model *m)
{
	size_t i;

	m->key = test_random(&rnd);
	for (i = 0; i < m->size; i += step(m))
		m->p[i] = expect(m, i);
	m->p[m->size - 1] = expect(m, m->size - 1);
}

static void verify(const struct model *m)
{
	size_t i;

	for (i = 0; i < m->size; i += step(m))
		CHECK(m->p[i] == expect(m, i));
	CHECK(m->p[m->size - 1] == expect(m, m->size - 1));
}

static size_t random_size(void)
{
	switch (below(16)) {
	case 0:
		return 1 + below((size_t)4 << 20);
	case 1:
	case 2:
		return 1 + below(300000);
	case 3:
	case 4:
	case 5:
		return 1 + below(33000);
	case 6:
		return (size_t)1 << below(17);
	default:
		return 1 + below(1100);
	}
}

static void check_new(const struct model *m, size_t align)
{
	unsigned int i;

	CHECK(m->p && (uintptr_t)m->p % align == 0 && (uintptr_t)m->p % 16 == 0);
	CHECK(demi_malloc_usable_size(m->p) >= m->size);
	for (i = 0; i < NOBJ; i++) {
		const struct model *o = &objs[i];

		if (o != m && o->p)
			CHECK(m->p + m->size <= o->p || o->p + o->size <= m->p);
	}
}

static void make(struct model *m)
{
	size_t align = 16, i;
	demi_sgarray_t sga;

	m->size = random_size();
	switch (below(4)) {
	case 0:
		m->p = demi_malloc(m->size);
		break;
	case 1:
		align = (size_t)1 << below(22);
		m->p = demi_aligned_alloc(align, m->size);
		break;
	case 2:
		m->p = demi_calloc(1, m->size);
		for (i = 0; i < m->size; i += step(m))
			CHECK(m->p[i] == 0);
		break;
	default:
		sga = demi_sgaalloc(m->size);
		CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len == m->size);
		m->p = sga.sga_segs[0].sgaseg_buf;
	}
	m->owners = 1;
	m->lends = 0;
	check_new(m, align);
	fill(m);
}

/* The object has lost a reference. */
static void settle(struct model *m)
{
	if (m->owners || m->lends) {
		verify(m);
		CHECK(demi_heap_contains(m->p, m->size));
		return;
	}
	CHECK(!demi_heap_contains(m->p, 1) && !demi_heap_usable(m->p) && !demi_malloc_usable_size(m->p));
	CHECK(demi_heap_free(m->p) == -EINVAL);
	CHECK(demi_heap_lend(m->p, 1) == -EFAULT);
	CHECK(demi_heap_own(m->p) == -EINVAL);
	m->p = NULL;
}

static void drop(struct model *m)
{
	demi_sgarray_t sga = { .sga_numsegs = 1 };
	unsigned char *in = m->p + below(m->size);

	verify(m);
	if (!m->owners) {
		CHECK(demi_heap_free(in) == -EINVAL);
		return;
	}
	switch (below(3)) {
	case 0:
		demi_free(m->p);
		break;
	case 1:
		CHECK(demi_heap_free(in) == 0);
		break;
	default:
		sga.sga_segs[0].sgaseg_buf = in;
		sga.sga_segs[0].sgaseg_len = 1;
		CHECK(demi_sgafree(&sga) == 0);
	}
	m->owners--;
	settle(m);
}

static void lend(struct model *m)
{
	size_t off = below(m->size), len = below(m->size - off + 1);

	CHECK(demi_heap_lend(m->p + off, len) == 0);
	m->lends++;
	CHECK(demi_heap_lend(m->p + off, demi_heap_usable(m->p + off) + 1) == -EFAULT);
}

static void resize(struct model *m)
{
	struct model old = *m;
	size_t size = random_size(), i;
	unsigned char *p;

	if (!m->owners)
		return;
	p = demi_realloc(m->p, size);
	CHECK(p);
	for (i = 0; i < size && i < old.size; i += step(&old))
		CHECK(p[i] == expect(&old, i));
	if (old.owners > 1 || old.lends) {
		/* What others use stays as it was; this reference went to the new object. */
		struct model *n;

		CHECK(p != old.p);
		m->owners--;
		settle(m);
		for (n = objs; n < objs + NOBJ && n->p; n++)
			;
		if (n == objs + NOBJ) {
			demi_free(p);
			return;
		}
		m = n;
		m->lends = 0;
		m->owners = 1;
	}
	m->p = p;
	m->size = size;
	check_new(m, 16);
	fill(m);
}

static void one(void)
{
	struct model *m = &objs[below(NOBJ)];

	if (!m->p) {
		make(m);
		return;
	}
	switch (below(8)) {
	case 0:
		CHECK(demi_heap_own(m->p + below(m->size)) == 0);
		m->owners++;
		break;
	case 1:
		lend(m);
		break;
	case 2:
	case 3:
		if (m->lends) {
			demi_heap_unlend(m->p + below(m->size));
			m->lends--;
			settle(m);
		}
		break;
	case 4:
		resize(m);
		break;
	default:
		drop(m);
	}
}

static void drain(void)
{
	unsigned int i;

	for (i = 0; i < NOBJ; i++) {
		struct model *m = &objs[i];

		while (m->p && m->lends) {
			demi_heap_unlend(m->p);
			m->lends--;
			settle(m);
		}
		while (m->p)
			drop(m);
	}
}

/* Counts have limits and do not run over. */
static void test_overflow(void)
{
	char *p = demi_malloc(100);
	int i;

	for (i = 0; i < 0xffff; i++)
		CHECK(demi_heap_lend(p + 10, 20) == 0);
	CHECK(demi_heap_lend(p + 10, 20) == -EOVERFLOW);
	for (i = 0; i < 0xfffe; i++)
		CHECK(demi_heap_own(p) == 0);
	CHECK(demi_heap_own(p) == -EOVERFLOW);
	for (i = 0; i < 0xffff; i++) {
		CHECK(demi_heap_free(p) == 0);
		demi_heap_unlend(p);
	}
	CHECK(demi_heap_free(p) == -EINVAL && !demi_heap_contains(p, 1));
}

int main(void)
{
	unsigned int i, ops = getenv("DEMI_TEST_OPS") ? (unsigned int)atoi(getenv("DEMI_TEST_OPS")) : 60000;

	rnd = test_seed();
	alarm(280);
	for (i = 0; i < ops; i++) {
		one();
		if (i % 20000 == 19999)
			drain();
	}
	drain();
	test_overflow();
	return 0;
}
