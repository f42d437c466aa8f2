/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/*
 * Sending in place: memory of the heap is lent until the push completes, freed memory stays as it was
 * for so long, and a kernel that may pin nothing is a reason to copy, not to fail.
 */
#include "sock_test.h"

#include <sys/resource.h>

#define BLOCK 200000

static void fill(demi_sgarray_t *sga, int v)
{
	for (uint32_t i = 0; i < sga->sga_segs[0].sgaseg_len; i++)
		((unsigned char *)sga->sga_segs[0].sgaseg_buf)[i] = (unsigned char)(i * 5 + (uint32_t)v);
}

static void check(const unsigned char *p, uint32_t len, int v)
{
	for (uint32_t i = 0; i < len; i++)
		CHECK(p[i] == (unsigned char)(i * 5 + (uint32_t)v));
}

static void transfer(int a, int b, int rounds)
{
	static unsigned char in[BLOCK];
	demi_qtoken_t qts[8];
	demi_sgarray_t sga;

	for (int r = 0; r < rounds; r++) {
		uint64_t copied = counter("copied_bytes");

		for (int i = 0; i < 8; i++) {
			sga = demi_sgaalloc(BLOCK);
			CHECK(sga.sga_numsegs == 1);
			fill(&sga, r + i);
			OK(demi_push(&qts[i], a, &sga));
			OK(demi_sgafree(&sga));
			/* would be given the freed memory, were it free */
			sga = demi_sgaalloc(BLOCK);
			memset(sga.sga_segs[0].sgaseg_buf, 0xee, BLOCK);
			OK(demi_sgafree(&sga));
		}
		CHECK(counter("copied_bytes") == copied); /* not by us */
		for (int i = 0; i < 8; i++) {
			pop_exact(b, in, BLOCK);
			check(in, BLOCK, r + i);
		}
		for (int i = 0; i < 8; i++)
			wait_ok(qts[i], DEMI_OPC_PUSH);
	}
}

/* With DEMI_ZC_MIN set the kernel's zero copy is used on loopback too. */
static void child(const char *zc_min, bool may_pin)
{
	struct rlimit none = { 0, 0 };
	int a, b;

	if (zc_min)
		setenv("DEMI_ZC_MIN", zc_min, 1);
	if (!may_pin && geteuid() == 0) /* pinned memory is charged to whoever made the ring */
		CHECK(!setresuid(65534, 65534, 65534));
	test_init();
	if (!may_pin) /* the ring itself is there: only the sends suffer */
		CHECK(!setrlimit(RLIMIT_MEMLOCK, &none));
	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	transfer(a, b, 10);
	OK(demi_close(a));
	pop_eof(b);
	OK(demi_close(b));
	make_pair(AF_INET6, SOCK_STREAM, &a, &b);
	transfer(a, b, 3);
	/* closing with memory lent: the push completes and the peer has all of it */
	static unsigned char in[BLOCK];
	demi_sgarray_t sga = demi_sgaalloc(BLOCK);
	demi_qtoken_t qt;

	fill(&sga, 9);
	OK(demi_push(&qt, a, &sga));
	OK(demi_close(a));
	pop_exact(b, in, BLOCK);
	check(in, BLOCK, 9);
	wait_ok(qt, DEMI_OPC_PUSH);
	pop_eof(b);
	OK(demi_sgafree(&sga));
	OK(demi_close(b));
	exit(0);
}

int main(void)
{
	static const struct {
		const char *zc_min;
		bool may_pin;
	} runs[] = { { NULL, true }, { "16384", true }, { "16384", false } };

	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid)
			child(runs[i].zc_min, runs[i].may_pin);
		CHECK(test_wait(pid) == 0);
	}
	return 0;
}
