// SPDX-License-Identifier: GPL-2.0
/* Arithmetic of the rings, with indices that lie and indices that wrap; ranges of descriptors. */
#include <kunit/test.h>
#include <linux/rcupdate.h>
#include <linux/xarray.h>

#include "../core/ctx.h"
#include "../core/region.h"
#include "../core/ring.h"

#define ENTRIES	8

struct demi_test_ring {
	struct demi_ring r;
	u32 producer, consumer, flags;
	struct demi_desc desc[ENTRIES];
};

/* The kernel's and the user's index begin at @at. */
static void demi_test_ring_init(struct demi_test_ring *t, u32 at)
{
	memset(t, 0, sizeof(*t));
	t->producer = at;
	t->consumer = at;
	t->r.next = at;
	t->r.mask = ENTRIES - 1;
	t->r.producer = &t->producer;
	t->r.consumer = &t->consumer;
	t->r.flags = &t->flags;
	t->r.desc = t->desc;
}

static const u32 demi_test_starts[] = { 0, 1, ENTRIES - 1, ENTRIES, 0x7ffffffc, 0xfffffff9, ~0U };

/* What the user produced and the kernel takes. */
static void demi_test_filled(struct kunit *test)
{
	struct demi_test_ring t;
	int i;
	u32 n;

	for (i = 0; i < ARRAY_SIZE(demi_test_starts); i++) {
		for (n = 0; n <= ENTRIES; n++) {
			demi_test_ring_init(&t, demi_test_starts[i]);
			t.producer += n;
			KUNIT_EXPECT_EQ(test, demi_ring_filled(&t.r), n);
			demi_ring_consume(&t.r, n);
			KUNIT_EXPECT_EQ(test, demi_ring_filled(&t.r), 0u);
			KUNIT_EXPECT_EQ(test, t.consumer, demi_test_starts[i] + n);
		}
		/* more than there are entries, or less than were taken: nothing */
		for (n = 0; n < 32; n++) {
			demi_test_ring_init(&t, demi_test_starts[i]);
			t.producer += ENTRIES + (1U << n);
			KUNIT_EXPECT_EQ(test, demi_ring_filled(&t.r), 0u);
			t.producer = t.r.next - (1U << n);
			KUNIT_EXPECT_EQ(test, demi_ring_filled(&t.r), 0u);
		}
	}
}

/* What the kernel may fill. */
static void demi_test_room(struct kunit *test)
{
	struct demi_test_ring t;
	int i;
	u32 n;

	for (i = 0; i < ARRAY_SIZE(demi_test_starts); i++) {
		for (n = 0; n <= ENTRIES; n++) {
			demi_test_ring_init(&t, demi_test_starts[i]);
			KUNIT_EXPECT_EQ(test, demi_ring_room(&t.r), (u32)ENTRIES);
			demi_ring_publish(&t.r, n);
			KUNIT_EXPECT_EQ(test, demi_ring_room(&t.r), ENTRIES - n);
			KUNIT_EXPECT_EQ(test, t.producer, demi_test_starts[i] + n);
			t.consumer += n;
			KUNIT_EXPECT_EQ(test, demi_ring_room(&t.r), (u32)ENTRIES);
		}
		/* taken what was not produced, or given back what was taken: full */
		for (n = 0; n < 32; n++) {
			demi_test_ring_init(&t, demi_test_starts[i]);
			t.consumer = t.r.next + (1U << n);
			KUNIT_EXPECT_EQ(test, demi_ring_room(&t.r), 0u);
			t.consumer = t.r.next - ENTRIES - (1U << n);
			KUNIT_EXPECT_EQ(test, demi_ring_room(&t.r), 0u);
		}
	}
}

static void demi_test_entries(struct kunit *test)
{
	struct demi_test_ring t;
	int i;
	u32 n;

	KUNIT_EXPECT_EQ(test, sizeof(struct demi_desc), (size_t)16);
	for (i = 0; i < ARRAY_SIZE(demi_test_starts); i++) {
		demi_test_ring_init(&t, demi_test_starts[i]);
		for (n = 0; n < 2 * ENTRIES; n++) {
			struct demi_desc d = {
				.offset = 1ULL << n,
				.len = n,
				.region = 3,
				.flags = n,
			};
			struct demi_desc got;

			demi_ring_put(&t.r, 0, d);
			got = demi_ring_peek(&t.r, 0);
			KUNIT_EXPECT_EQ(test, memcmp(&got, &d, sizeof(d)), 0);
			/* the entry one turn later is the same one */
			got = demi_ring_peek(&t.r, ENTRIES);
			KUNIT_EXPECT_EQ(test, memcmp(&got, &d, sizeof(d)), 0);
			KUNIT_EXPECT_EQ(test, t.desc[(demi_test_starts[i] + n) % ENTRIES].len, n);
			demi_ring_publish(&t.r, 1);
		}
	}
}

static void demi_test_wakeup(struct kunit *test)
{
	struct demi_test_ring t;

	demi_test_ring_init(&t, 0);
	KUNIT_EXPECT_FALSE(test, demi_ring_wants_wakeup(&t.r));
	t.flags = DEMI_RING_NEED_WAKEUP;
	KUNIT_EXPECT_TRUE(test, demi_ring_wants_wakeup(&t.r));
	t.flags = ~DEMI_RING_NEED_WAKEUP;
	KUNIT_EXPECT_FALSE(test, demi_ring_wants_wakeup(&t.r));
}

static const struct {
	u64 offset;
	u32 len;
	u16 region;
	bool valid;
} demi_test_ranges[] = {
	{ 0, 1, 1, true },
	{ 0, 4 * PAGE_SIZE, 1, true },
	{ 4 * PAGE_SIZE - 1, 1, 1, true },
	{ PAGE_SIZE + 5, 2 * PAGE_SIZE, 1, true },
	{ 0, 0, 1, false },
	{ 0, 4 * PAGE_SIZE + 1, 1, false },
	{ 1, 4 * PAGE_SIZE, 1, false },
	{ 4 * PAGE_SIZE, 1, 1, false },
	{ 4 * PAGE_SIZE - 1, 2, 1, false },
	{ ~0ULL, 1, 1, false },
	{ ~0ULL, 2, 1, false },
	{ ~0ULL - 15, 16, 1, false },
	{ 1ULL << 32, 1, 1, false },
	{ 1ULL << 63, 4096, 1, false },
	{ 0, ~0U, 1, false },
	{ 1, ~0U, 1, false },
	{ 0, 1, 0, false },
	{ 0, 1, 2, false },
	{ 0, 1, 65535, false },
};

static void demi_test_slices(struct kunit *test)
{
	struct demi_region region = { .id = 1, .bytes = 4 * PAGE_SIZE, .npages = 4 };
	struct demi_ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	struct demi_slice s;
	int i, err;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ctx);
	xa_init_flags(&ctx->regions, XA_FLAGS_ALLOC1);
	KUNIT_ASSERT_EQ(test, xa_err(xa_store(&ctx->regions, 1, &region, GFP_KERNEL)), 0);
	for (i = 0; i < ARRAY_SIZE(demi_test_ranges); i++) {
		const struct demi_desc d = {
			.offset = demi_test_ranges[i].offset,
			.len = demi_test_ranges[i].len,
			.region = demi_test_ranges[i].region,
		};

		rcu_read_lock();
		err = demi_slice_init(&s, ctx, &d);
		rcu_read_unlock();
		KUNIT_EXPECT_EQ_MSG(test, err, demi_test_ranges[i].valid ? 0 : -EINVAL, "%d", i);
		if (err)
			continue;
		KUNIT_EXPECT_PTR_EQ(test, s.region, &region);
		KUNIT_EXPECT_EQ(test, s.offset, d.offset);
		KUNIT_EXPECT_EQ(test, s.len, d.len);
	}
	xa_destroy(&ctx->regions);
}

static struct kunit_case demi_ring_cases[] = {
	KUNIT_CASE(demi_test_filled),
	KUNIT_CASE(demi_test_room),
	KUNIT_CASE(demi_test_entries),
	KUNIT_CASE(demi_test_wakeup),
	KUNIT_CASE(demi_test_slices),
	{}
};

static struct kunit_suite demi_ring_suite = {
	.name = "demi_ring",
	.test_cases = demi_ring_cases,
};

kunit_test_suite(demi_ring_suite);
