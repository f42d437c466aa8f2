/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a threads */
/*
 * The user's side of a queue's rings against a kernel's side in the same process: descriptors arrive once and
 * in order over many wraps, indices wrap at 2^32, no wake-up is lost, indices and layouts that cannot be are
 * refused.
 */
#include "kdev_fake.h"

#include <pthread.h>
#include <sys/eventfd.h>

#define ENTRIES 64

static struct demi_kqueue q;
static struct fake_queue fake;
static const uint32_t rounds = SLOW ? 20000 : 400000;
static int kernel_fd, user_fd; /* for the sides to sleep on */

static struct demi_queue_create wish(void)
{
	return (struct demi_queue_create){
		.rx_fill_entries = ENTRIES, .rx_entries = ENTRIES, .tx_entries = ENTRIES, .tx_done_entries = ENTRIES
	};
}

static void make(void)
{
	struct demi_queue_create c = wish();

	fake_queue_create(&fake, &c);
	OK(demi_kqueue_map(&q, &c));
}

static void unmake(void)
{
	OK(munmap(q.map, q.map_bytes));
	OK(munmap(fake.map, fake.bytes));
	OK(close(q.fd));
}

static void test_order(void)
{
	uint32_t sent = 0, got = 0, i;
	int n;

	make();
	/* as if 2^32 - 100 descriptors had gone through already */
	q.tx.own = q.tx.other = fake.tx.own = *fake.tx.producer = *fake.tx.consumer = -100u;
	q.rx.own = fake.rx.own = *fake.rx.producer = *fake.rx.consumer = -100u;
	while (got < 10000) {
		n = demi_kring_room(&q.tx, 1 + rnd_below(ENTRIES));
		CHECK(n >= 0 && n <= ENTRIES);
		n = n ? (int)rnd_below((uint32_t)n + 1) : 0;
		for (i = 0; i < (uint32_t)n; i++, sent++)
			demi_kring_put(&q.tx, sent, sent + 1, 7, sent & 1);
		CHECK_EQ(fake_avail(&fake.tx) + i, q.tx.own - fake.tx.own); /* unseen before … */
		demi_kring_publish(&q.tx);
		CHECK_EQ(fake_avail(&fake.tx), q.tx.own - fake.tx.own); /* … and seen after */
		while (fake_avail(&fake.tx) && fake_room(&fake.rx) && rnd_below(8))
			fake_give(&fake.rx, fake_take(&fake.tx));
		n = demi_kring_avail(&q.rx);
		CHECK(n >= 0);
		for (i = 0; i < (uint32_t)n; i++, got++) {
			struct demi_desc d = demi_kring_peek(&q.rx, i);

			CHECK(d.offset == got && d.len == got + 1 && d.region == 7 && d.flags == (got & 1));
		}
		demi_kring_release(&q.rx, (uint32_t)n);
	}
	unmake();
}

static void test_hostile(void)
{
	make();
	CHECK_EQ(demi_kring_room(&q.tx, 1), ENTRIES);
	*fake.tx.consumer = 1; /* more than was ever produced */
	q.tx.other = -ENTRIES;
	CHECK_EQ(demi_kring_room(&q.tx, 1), -EPROTO);
	*fake.rx.producer = ENTRIES + 1;
	CHECK_EQ(demi_kring_avail(&q.rx), -EPROTO);
	*fake.rx.producer = -1u;
	CHECK_EQ(demi_kring_avail(&q.rx), -EPROTO);
	*fake.rx.producer = ENTRIES;
	CHECK_EQ(demi_kring_avail(&q.rx), ENTRIES);
	unmake();
}

/* Each way of breaking a layout, everything else being right. */
static void test_layouts(void)
{
	struct demi_queue_create c = wish(), bad;
	uint32_t i;

	fake_queue_create(&fake, &c);
	for (i = 0; i < 9; i++) {
		struct demi_kqueue none;

		bad = c;
		switch (i) {
		case 0:
			bad.rx.entries = 48;
			break;
		case 1:
			bad.rx_fill.entries = 2 * DEMI_RING_ENTRIES_MAX;
			break;
		case 2:
			bad.tx.desc += 8;
			break;
		case 3:
			bad.tx_done.desc = (uint32_t)c.mmap_bytes;
			break;
		case 4:
			bad.tx.entries = DEMI_RING_ENTRIES_MAX;
			break;
		case 5:
			bad.rx.producer += 2;
			break;
		case 6:
			bad.rx.consumer = (uint32_t)c.mmap_bytes;
			break;
		case 7:
			bad.tx.flags = -4u;
			break;
		default:
			bad.mmap_bytes = 100;
		}
		CHECK_EQ(demi_kqueue_map(&none, &bad), -EPROTO);
	}
	/* a queue that does not send */
	bad = c;
	bad.tx = bad.tx_done = (struct demi_ring_layout){ 0 };
	OK(demi_kqueue_map(&q, &bad));
	CHECK(!q.tx.desc && q.rx.desc);
	unmake();
}

static void wait_fd(int fd)
{
	uint64_t v;

	CHECK(read(fd, &v, sizeof(v)) == sizeof(v));
}

static void wake_fd(int fd)
{
	uint64_t v = 1;

	CHECK(write(fd, &v, sizeof(v)) == sizeof(v));
}

/* A kernel that sleeps whenever tx is empty, and gives back what it took, waking who asked for it. */
static void *kernel_side(void *unused)
{
	uint32_t done = 0;

	while (done < rounds) {
		if (!fake_avail(&fake.tx)) {
			__atomic_store_n(fake.tx.flags, DEMI_RING_NEED_WAKEUP, __ATOMIC_RELAXED);
			demi_full_barrier();
			if (!fake_avail(&fake.tx))
				wait_fd(kernel_fd);
			__atomic_store_n(fake.tx.flags, 0, __ATOMIC_RELAXED);
			continue;
		}
		CHECK(fake_room(&fake.tx_done)); /* the user never has more under way than it has entries */
		fake_give(&fake.tx_done, fake_take(&fake.tx));
		done++;
		demi_full_barrier();
		if (__atomic_load_n(fake.tx_done.flags, __ATOMIC_RELAXED) & DEMI_RING_NEED_WAKEUP)
			wake_fd(user_fd);
	}
	return NULL;
}

static void test_sleep(void)
{
	uint32_t sent = 0, got = 0;
	pthread_t kernel;

	make();
	kernel_fd = eventfd(0, EFD_CLOEXEC);
	user_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(kernel_fd >= 0 && user_fd >= 0);
	OK(pthread_create(&kernel, NULL, kernel_side, NULL));
	while (got < rounds) {
		uint32_t burst = 1 + rnd_below(8);
		int n, i;

		while (burst-- && sent < rounds && sent - got < ENTRIES)
			demi_kring_put(&q.tx, sent++, 1, 1, 0);
		demi_kring_publish(&q.tx);
		if (demi_kring_wants_wakeup(&q.tx))
			wake_fd(kernel_fd);
		n = demi_kring_avail(&q.tx_done);
		if (!n) {
			if (!demi_kring_arm(&q.tx_done))
				wait_fd(user_fd);
			demi_kring_disarm(&q.tx_done);
			continue;
		}
		for (i = 0; i < n; i++, got++)
			CHECK_EQ(demi_kring_peek(&q.tx_done, (uint32_t)i).offset, got);
		demi_kring_release(&q.tx_done, (uint32_t)n);
	}
	OK(pthread_join(kernel, NULL));
	OK(close(kernel_fd));
	OK(close(user_fd));
	unmake();
}

int main(void)
{
	alarm(100);
	check_seed();
	test_order();
	test_hostile();
	test_layouts();
	test_sleep();
	return 0;
}
