/* SPDX-License-Identifier: MIT */
/*
 * Design, statement 8: a push never fails for a ring's size; beyond the byte limit it is ENOBUFS, and it goes on as
 * soon as something has been popped. The place of an element is charged, too.
 */
#include "lib/check.h"

#define LIMIT (1 << 20)

static unsigned int fill_up(int q, const void *p, size_t len)
{
	demi_sgarray_t sga = sga_of(p, len);
	demi_qtoken_t qt, was = 77;
	unsigned int n = 0;
	int err;

	sga.sga_segs[0].sgaseg_len = (uint32_t)len;
	for (;; n++) {
		qt = was;
		err = demi_push(&qt, q, &sga);
		if (err)
			break;
		wait_result(qt);
	}
	CHECK_EQ(err, ENOBUFS);
	CHECK(qt == was); /* unchanged on error */
	return n;
}

/* The limit is the context's: two queues share it, until one is exported and pays for itself. */
static void test_shared_limit(char *data)
{
	int a = new_queue(), b = new_queue(), fd;
	unsigned int n = fill_up(a, data, 4096);

	CHECK(n > 2);
	CHECK_EQ(fill_up(b, data, 4096), 0);
	pop_bytes(a, data, 4096);
	CHECK_EQ(fill_up(b, data, 4096), 1);
	OK(demi_queue_export(&fd, a));
	CHECK_EQ(fill_up(b, data, 4096), n - 1);
	CHECK_EQ(fill_up(a, data, 4096), 1);
	OK(demi_close(a));
	OK(demi_close(b));
	CHECK_EQ(fill_up(a = new_queue(), data, 4096), n);
	OK(demi_close(a));
	close(fd);
}

int main(void)
{
	static char data[65536];
	const size_t sizes[] = { 0, 1, 100, 4096, 65536 };
	char limit[20];
	demi_qtoken_t qt;

	alarm(60);
	snprintf(limit, sizeof(limit), "%d", LIMIT);
	setenv("DEMI_PUSH_LIMIT", limit, 1);
	init_memq();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i % 253);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		int q = new_queue(), off;
		unsigned int n = fill_up(q, data, sizes[s]);
		demi_qresult_t qr;

		printf("%u elements of %zu bytes\n", n, sizes[s]);
		CHECK(n * sizes[s] <= LIMIT && n <= LIMIT / 8); /* charged more than its bytes */
		CHECK(n * (sizes[s] + 128) > LIMIT - sizes[s] - 128); /* but not much more */
		for (unsigned int i = 0; i < n / 2; i++)
			pop_bytes(q, data, sizes[s]);
		CHECK_EQ(fill_up(q, data, sizes[s]), n / 2);
		for (unsigned int i = 0; i < n; i++)
			pop_bytes(q, data, sizes[s]);
		/* all of it came back; a pop that waits needs no room */
		qt = pop_start(q);
		CHECK_EQ(fill_up(q, data, sizes[s]), n + 1);
		OK(demi_wait_any(&qr, &off, &qt, 1, NULL));
		check_popped(&qr, data, sizes[s]);
		OK(demi_close(q));
		/* another queue has room */
	}
	test_shared_limit(data);
	return 0;
}
