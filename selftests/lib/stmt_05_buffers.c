/* SPDX-License-Identifier: MIT */
/*
 * Design, statement 5: free protection, realloc of lent memory, sharing without a copy from 1 KiB on,
 * DEMI_ZEROCOPY=off; also of memory that is not the heap's and of pieces of objects.
 */
#include "lib/check.h"

#include <sys/wait.h>

static void fill(char *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (char)(seed + i * 7 + i / 255);
}

static char want[1 << 20];

/* Pushed from the heap, freed at once, its memory asked for again: the element is as it was. */
static void test_free_protection(void)
{
	const size_t sizes[] = { 1, 64, 1023, 1024, 4096, 40000, 1 << 20 };
	demi_qtoken_t qts[100];
	demi_qresult_t qr;
	int q = new_queue();

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		int n = sizes[s] > 4096 ? 10 : 100;

		for (int i = 0; i < n; i++) {
			demi_sgarray_t sga = demi_sgaalloc(sizes[s]);
			void *p = sga.sga_segs[0].sgaseg_buf;

			CHECK(p);
			fill(p, sizes[s], (unsigned int)i);
			OK(demi_push(&qts[i], q, &sga));
			if (i % 2)
				demi_free(p);
			else
				OK(demi_sgafree(&sga));
			p = demi_malloc(sizes[s]); /* somebody else's now */
			memset(p, 0xee, sizes[s]);
			demi_free(p);
		}
		for (int i = 0; i < n; i++) {
			wait_result(qts[i]);
			fill(want, sizes[s], (unsigned int)i);
			qr = wait_result(pop_start(q));
			check_popped(&qr, want, sizes[s]);
		}
	}
	OK(demi_close(q));
}

/* @zerocopy: which of these is shared is seen by the pointer and by the counter. */
static void test_sharing(bool zerocopy)
{
	const size_t sizes[] = { 1, 1023, 1024, 1025, 65536 };
	demi_qresult_t qr;
	int q = new_queue();

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		char *object = demi_malloc(sizes[s] + 100), *p = object + 50;
		uint64_t copied = counter("copied_bytes");
		bool shared = zerocopy && sizes[s] >= 1024;

		fill(p, sizes[s], 3);
		push_bytes(q, p, sizes[s]);
		CHECK_EQ(counter("copied_bytes") - copied, shared ? 0 : sizes[s]);
		demi_free(object);
		qr = wait_result(pop_start(q));
		CHECK_EQ(counter("copied_bytes") - copied, shared ? 0 : sizes[s]);
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_buf == (void *)p, shared);
		fill(want, sizes[s], 3);
		check_popped(&qr, want, sizes[s]);

		/* not of the heap: always copied */
		copied = counter("copied_bytes");
		push_bytes(q, want, sizes[s]);
		CHECK_EQ(counter("copied_bytes") - copied, sizes[s]);
		qr = wait_result(pop_start(q));
		CHECK(qr.qr_value.sga.sga_segs[0].sgaseg_buf != (void *)want);
		check_popped(&qr, want, sizes[s]);
	}
	OK(demi_close(q));
}

/* A popped object may be pushed on; the last of all owners releases it. */
static void test_relay(void)
{
	demi_sgarray_t sga = demi_sgaalloc(5000);
	void *p = sga.sga_segs[0].sgaseg_buf;
	int q = new_queue();

	fill(p, 5000, 1);
	fill(want, 5000, 1);
	for (int i = 0; i < 100; i++) {
		OK(demi_blocking_push(q, &sga));
		OK(demi_blocking_push(q, &sga)); /* twice the same */
		OK(demi_sgafree(&sga));
		OK(demi_blocking_pop(&sga, q));
		CHECK(sga.sga_segs[0].sgaseg_buf == p);
		OK(demi_sgafree(&sga));
		CHECK(demi_malloc_usable_size(p) >= 5000);
		OK(demi_blocking_pop(&sga, q));
		CHECK(!memcmp(p, want, 5000));
	}
	OK(demi_sgafree(&sga));
	CHECK_EQ(demi_malloc_usable_size(p), 0);
	CHECK_EQ(demi_sgafree(&sga), EINVAL);
	OK(demi_close(q));
}

/* realloc of memory that a queue still needs moves it and leaves the queue's bytes alone. */
static void test_realloc(void)
{
	const size_t to[] = { 100, 3000, 4000, 4001, 100000 };
	demi_qresult_t qr;
	int q = new_queue();

	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		char *p = demi_malloc(4000), *moved;

		fill(p, 4000, 9);
		fill(want, 4000, 9);
		push_bytes(q, p, 4000);
		moved = demi_realloc(p, to[i]);
		CHECK(moved && moved != p);
		CHECK(!memcmp(moved, want, to[i] < 4000 ? to[i] : 4000));
		memset(moved, 0xcc, to[i]);
		qr = wait_result(pop_start(q));
		CHECK(qr.qr_value.sga.sga_segs[0].sgaseg_buf == (void *)p);
		check_popped(&qr, want, 4000);
		CHECK_EQ(demi_malloc_usable_size(p), 0);
		demi_free(moved);
	}
	OK(demi_close(q));
}

/* Elements that nobody pops are released with the queue; so are results that nobody waits for. */
static void test_released(void)
{
	void *p[3];
	int q = new_queue();
	demi_qtoken_t pop = 0;

	for (int i = 0; i < 3; i++) {
		p[i] = demi_malloc(2000);
		if (i == 2)
			pop = pop_start(q);
		push_start(q, p[i], 2000);
		demi_free(p[i]);
		CHECK(demi_malloc_usable_size(p[i]) >= 2000);
	}
	OK(demi_close(q));
	/* the tokens keep the queue, though closed */
	demi_qresult_t qr;
	int n;

	for (int i = 0; i < 4; i++) {
		OK(demi_wait_next_n(&qr, 1, &n, NULL));
		if (qr.qr_qt == pop) /* it got the first element: it was issued when two were there */
			OK(demi_sgafree(&qr.qr_value.sga));
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(demi_malloc_usable_size(p[i]), 0);
}

static void in_child(bool zerocopy)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		if (!zerocopy)
			setenv("DEMI_ZEROCOPY", "off", 1);
		init_memq();
		test_sharing(zerocopy);
		test_free_protection();
		if (zerocopy) {
			test_relay();
			test_realloc();
			test_released();
		}
		exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
}

int main(void)
{
	alarm(100);
	in_child(true);
	in_child(false);
	return 0;
}
