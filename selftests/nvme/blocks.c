// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 1600 */
/*
 * Block queues of the library on a controller's own rings, as its unprivileged owner: what is pushed is there, in 512
 * byte and in 4 KiB blocks, copied or not, in order; against a model.
 */
#include "kselftest_harness.h"

#include "../kmod/machine.h"

#include <demi/demi.h>
#include <demi/file.h>
#include <demi/sockopt.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNER 65534
#define MIB (1u << 20)
#define NS1_BYTES (64ull * MIB)
#define NS2_BYTES (32ull * MIB)

/* Bytes of random reads and writes, each: DEMI_NVME_MODEL_MIB says more. */
#define MODEL_MIB 16

FIXTURE(blocks)
{
	int qd, qd2;
};

/* Buffers for a thousand commands have to be registered. */
static int become_owner(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &all);
	return chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(OWNER, OWNER, OWNER) ||
	       setresuid(OWNER, OWNER, OWNER) || prctl(PR_SET_DUMPABLE, 1);
}

FIXTURE_SETUP(blocks)
{
	ASSERT_EQ(0, become_owner());
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, demi_open(&self->qd, "nvme:/1", O_RDWR, 0));
	ASSERT_EQ(0, demi_open(&self->qd2, "nvme:/2", O_RDWR | DEMI_O_DURABLE, 0));
}

FIXTURE_TEARDOWN(blocks)
{
	EXPECT_EQ(0, demi_close(self->qd));
	EXPECT_EQ(0, demi_close(self->qd2));
}

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
}

static demi_qtoken_t start_push(int qd, void *p, size_t n)
{
	demi_sgarray_t sga = { .sga_numsegs = 1, .sga_segs = { { .sgaseg_buf = p, .sgaseg_len = (uint32_t)n } } };
	demi_qtoken_t qt = 0;

	return demi_push(&qt, qd, &sga) ? 0 : qt;
}

/* 0, or the errno that the operation ended with; what a pop brought goes to @sga. */
static int finish(demi_qtoken_t qt, demi_sgarray_t *sga)
{
	demi_qresult_t qr;
	int err = demi_wait(&qr, qt, NULL);

	if (err)
		return err;
	if (sga)
		*sga = qr.qr_value.sga;
	return qr.qr_opcode == DEMI_OPC_FAILED ? (int)qr.qr_ret : 0;
}

static int push(int qd, uint64_t at, void *p, size_t n)
{
	int err = demi_setsockopt(qd, DEMI_SOL, DEMI_SO_OFFSET, &at, sizeof(at));
	demi_qtoken_t qt;

	if (err)
		return err;
	qt = start_push(qd, p, n);
	return qt ? finish(qt, NULL) : EIO;
}

/* Are the @n bytes at @at those at @want? */
static bool holds(int qd, uint64_t at, const void *want, size_t n)
{
	demi_qtoken_t qt;
	demi_sgarray_t sga;
	bool same;

	if (demi_lseek(NULL, qd, (off_t)at, SEEK_SET) || demi_pop_n(&qt, qd, n) || finish(qt, &sga))
		return false;
	same = sga.sga_segs[0].sgaseg_len == n && !memcmp(sga.sga_segs[0].sgaseg_buf, want, n);
	demi_sgafree(&sga);
	return same;
}

TEST_F(blocks, push_and_pop)
{
	uint8_t data[3 * 4096], *heap = demi_malloc(sizeof(data));
	int qds[] = { self->qd, self->qd2 };

	ASSERT_NE(NULL, heap);
	for (int i = 0; i < 2; i++) {
		/* copied, and where they are */
		fill(data, sizeof(data), 1 + i);
		EXPECT_EQ(0, push(qds[i], 8192, data, 4096));
		EXPECT_TRUE(holds(qds[i], 8192, data, 4096));
		fill(heap, sizeof(data), 3 + i);
		EXPECT_EQ(0, push(qds[i], 8192, heap, sizeof(data)));
		EXPECT_TRUE(holds(qds[i], 8192, heap, sizeof(data)));
		EXPECT_TRUE(holds(qds[i], 8192 + 4096, heap + 4096, 4096));
	}
	demi_free(heap);
}

/* Pushes follow each other, pops do; a queue's own offsets; the end. */
TEST_F(blocks, offsets)
{
	uint8_t data[4 * 512];
	demi_sgarray_t sga = { .sga_numsegs = 2,
			       .sga_segs = { { .sgaseg_buf = data, .sgaseg_len = 100 },
					     { .sgaseg_buf = data + 100, .sgaseg_len = 412 } } };
	demi_qtoken_t qt[4];
	uint64_t at = 0;
	socklen_t len = sizeof(at);
	off_t off;

	fill(data, sizeof(data), 9);
	ASSERT_EQ(0, demi_setsockopt(self->qd, DEMI_SOL, DEMI_SO_OFFSET, &at, sizeof(at)));
	ASSERT_EQ(0, demi_push(&qt[0], self->qd, &sga));
	for (int i = 1; i < 4; i++)
		ASSERT_NE(0, qt[i] = start_push(self->qd, data + i * 512, 512));
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(0, finish(qt[i], NULL));
	ASSERT_EQ(0, demi_getsockopt(self->qd, DEMI_SOL, DEMI_SO_OFFSET, &at, &len));
	EXPECT_EQ(2048, at);
	ASSERT_EQ(0, demi_lseek(&off, self->qd, 0, SEEK_SET));
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, demi_pop_n(&qt[i], self->qd, 512));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, finish(qt[i], &sga));
		EXPECT_EQ(0, memcmp(sga.sga_segs[0].sgaseg_buf, data + i * 512, 512));
		demi_sgafree(&sga);
	}
	ASSERT_EQ(0, demi_lseek(&off, self->qd, 0, SEEK_END));
	EXPECT_EQ(NS1_BYTES, off);
	ASSERT_EQ(0, demi_pop(&qt[0], self->qd));
	ASSERT_EQ(0, finish(qt[0], &sga));
	EXPECT_EQ(0, sga.sga_segs[0].sgaseg_len);
	demi_sgafree(&sga);
	/* what is no whole block, or no place */
	EXPECT_EQ(0, start_push(self->qd, data, 511));
	EXPECT_EQ(0, start_push(self->qd2, data, 512));
	EXPECT_EQ(EINVAL, demi_lseek(&off, self->qd, 100, SEEK_SET));
	EXPECT_EQ(EINVAL, demi_pop_n(&qt[0], self->qd, 100));
	at = NS1_BYTES - 512;
	ASSERT_EQ(0, demi_setsockopt(self->qd, DEMI_SOL, DEMI_SO_OFFSET, &at, sizeof(at)));
	sga = (demi_sgarray_t){ .sga_numsegs = 1, .sga_segs = { { .sgaseg_buf = data, .sgaseg_len = 1024 } } };
	EXPECT_EQ(ENOSPC, demi_push(&qt[0], self->qd, &sga));
	ASSERT_NE(0, qt[0] = start_push(self->qd, data, 512));
	EXPECT_EQ(0, finish(qt[0], NULL));
}

/* More under way than the controller takes at a time; more than one command takes. */
TEST_F(blocks, deep_and_long)
{
	enum { DEEP = 3000, LONG = 3 * MIB };
	demi_qtoken_t *qts = calloc(DEEP, sizeof(*qts));
	uint8_t *data = demi_malloc(LONG);
	uint64_t at = 0;

	ASSERT_TRUE(qts && data);
	fill(data, LONG, 77);
	ASSERT_EQ(0, demi_setsockopt(self->qd, DEMI_SOL, DEMI_SO_OFFSET, &at, sizeof(at)));
	for (int i = 0; i < DEEP; i++)
		ASSERT_NE(0, qts[i] = start_push(self->qd, data + i * 512, 512));
	for (int i = 0; i < DEEP; i++)
		ASSERT_EQ(0, finish(qts[i], NULL));
	EXPECT_TRUE(holds(self->qd, 0, data, DEEP * 512));
	EXPECT_EQ(0, push(self->qd, 12 * MIB, data + 512, LONG - 512));
	EXPECT_TRUE(holds(self->qd, 12 * MIB, data + 512, LONG - 512));
	ASSERT_EQ(0, demi_lseek(NULL, self->qd, 0, SEEK_SET));
	for (int i = 0; i < DEEP; i++)
		ASSERT_EQ(0, demi_pop_n(&qts[i], self->qd, 512));
	for (int i = 0; i < DEEP; i++) {
		demi_sgarray_t sga;

		ASSERT_EQ(0, finish(qts[i], &sga));
		ASSERT_EQ(0, memcmp(sga.sga_segs[0].sgaseg_buf, data + i * 512, 512));
		demi_sgafree(&sga);
	}
	demi_free(data);
	free(qts);
}

static bool is_zero(int qd, uint64_t at, size_t n)
{
	uint8_t *zero = calloc(1, n);
	bool ret = holds(qd, at, zero, n);

	free(zero);
	return ret;
}

TEST_F(blocks, truncate)
{
	int qds[] = { self->qd, self->qd2 };
	uint8_t data[16384];
	uint64_t at;
	socklen_t len = sizeof(at);

	for (int i = 0; i < 2; i++) {
		fill(data, sizeof(data), 5);
		EXPECT_EQ(0, push(qds[i], 0, data, sizeof(data)));
		EXPECT_EQ(0, push(qds[i], NS2_BYTES - sizeof(data), data, sizeof(data)));
		EXPECT_EQ(0, demi_truncate(qds[i], 8192));
		ASSERT_EQ(0, demi_getsockopt(qds[i], DEMI_SOL, DEMI_SO_OFFSET, &at, &len));
		EXPECT_EQ(8192, at);
		EXPECT_TRUE(holds(qds[i], 0, data, 8192));
		EXPECT_TRUE(is_zero(qds[i], 8192, 8192));
		EXPECT_TRUE(is_zero(qds[i], NS2_BYTES - sizeof(data), sizeof(data)));
		EXPECT_EQ(EINVAL, demi_truncate(qds[i], 100));
	}
}

TEST_F(blocks, names)
{
	char name[64];
	int qd;

	EXPECT_EQ(ENXIO, demi_open(&qd, "nvme:/3", O_RDWR, 0));
	EXPECT_EQ(EINVAL, demi_open(&qd, "nvme:/x", O_RDWR, 0));
	EXPECT_EQ(EINVAL, demi_open(&qd, "nvme:/1x", O_RDWR, 0));
	EXPECT_EQ(ENODEV, demi_open(&qd, "nvme:9999:00:00.0/1", O_RDWR, 0));
	EXPECT_EQ(EINVAL, demi_open(&qd, "nvme:/1", O_RDWR | O_DIRECTORY, 0));
	snprintf(name, sizeof(name), "nvme:%s", getenv("DEMI_NVME_PCI"));
	ASSERT_EQ(0, demi_open(&qd, name, O_RDONLY, 0));
	EXPECT_EQ(0, start_push(qd, name, 512));
	EXPECT_EQ(0, demi_close(qd));
}

/* A pop that sleeps is woken by the interrupt: there is no other way. */
TEST_F_TIMEOUT(blocks, model, 1500)
{
	uint64_t left = (uint64_t)kmod_amount("DEMI_NVME_MODEL_MIB", MODEL_MIB, 4) * MIB, reads = left;
	uint8_t *model = calloc(1, NS2_BYTES), *data = demi_malloc(MIB);
	uint32_t seed = 4711;

	ASSERT_TRUE(model && data);
	ASSERT_EQ(0, demi_truncate(self->qd2, 0));
	while (left || reads) {
		uint64_t at = (uint64_t)rand_r(&seed) % (NS2_BYTES / 4096) * 4096;
		size_t n = ((size_t)rand_r(&seed) % 64 + 1) * 4096;

		if (n > NS2_BYTES - at)
			n = NS2_BYTES - at;
		if (left && rand_r(&seed) & 1) {
			fill(data, n, (uint32_t)rand_r(&seed));
			memcpy(model + at, data, n);
			ASSERT_EQ(0, push(self->qd2, at, data, n));
			left -= n < left ? n : left;
		} else {
			ASSERT_TRUE(holds(self->qd2, at, model + at, n));
			reads -= n < reads ? n : reads;
		}
	}
	demi_free(data);
	free(model);
}

TEST_HARNESS_MAIN
