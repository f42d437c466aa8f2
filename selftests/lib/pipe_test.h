/* SPDX-License-Identifier: MIT */
#ifndef SELFTESTS_PIPE_TEST_H
#define SELFTESTS_PIPE_TEST_H

/* What the tests of pipes share. A failed check ends the process: a parent sees its child's status. */

#include <demi/demi.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                     \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

#define CHECK_EQ(a, b)                                                                                                 \
	do {                                                                                                           \
		long long a_ = (long long)(a), b_ = (long long)(b);                                                    \
		if (a_ != b_) {                                                                                        \
			fprintf(stderr, "%s:%d: %s is %lld, not %lld (%s)\n", __FILE__, __LINE__, #a, a_, b_, #b);     \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* A folder of this test's own for names, and no other backend: pipes are all that is wanted. */
static char pipe_test_dir[] = "/tmp/demi-pipe-XXXXXX";

static inline void pipe_test_setup(unsigned int seconds)
{
	alarm(seconds);
	CHECK(mkdtemp(pipe_test_dir));
	CHECK(!setenv("DEMI_PIPE_DIR", pipe_test_dir, 1));
	CHECK(!setenv("DEMI_LIBOS", "memq", 1));
}

static inline void pipe_test_cleanup(void)
{
	CHECK_EQ(rmdir(pipe_test_dir), 0); /* nothing was left behind */
}

/* xorshift64*: the seed is printed by whoever picks it. */
static inline uint64_t pipe_test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

/* Contents that tell which element they belong to. */
static inline void pipe_test_fill(uint8_t *buf, size_t len, uint64_t seed)
{
	uint64_t state = seed * 2 + 1;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			pipe_test_random(&state);
		buf[i] = (uint8_t)(state >> i % 8 * 8);
	}
}

static inline bool pipe_test_same(const uint8_t *buf, size_t len, uint64_t seed)
{
	uint64_t state = seed * 2 + 1;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			pipe_test_random(&state);
		if (buf[i] != (uint8_t)(state >> i % 8 * 8))
			return false;
	}
	return true;
}

static inline demi_sgarray_t pipe_test_sga(const void *buf, size_t len)
{
	demi_sgarray_t sga;

	memset(&sga, 0, sizeof(sga));
	sga.sga_numsegs = 1;
	sga.sga_segs[0].sgaseg_buf = (void *)(uintptr_t)buf;
	sga.sga_segs[0].sgaseg_len = (uint32_t)len;
	return sga;
}

static inline demi_qresult_t pipe_test_wait(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	memset(&qr, 0, sizeof(qr));
	CHECK_EQ(demi_wait(&qr, qt, NULL), 0);
	return qr;
}

/* Push element number @seed of @len bytes, from the heap, and wait. */
static inline void pipe_test_push(int qd, size_t len, uint64_t seed)
{
	demi_sgarray_t sga = pipe_test_sga(NULL, 0);

	if (len) {
		sga = demi_sgaalloc(len);
		CHECK(sga.sga_numsegs == 1);
		pipe_test_fill(sga.sga_segs[0].sgaseg_buf, len, seed);
	}
	CHECK_EQ(demi_blocking_push(qd, &sga), 0);
	if (len)
		CHECK_EQ(demi_sgafree(&sga), 0);
}

/* Check a popped element's contents and free it. */
static inline void pipe_test_element(demi_sgarray_t *sga, size_t len, uint64_t seed)
{
	CHECK_EQ(sga->sga_numsegs, 1);
	CHECK_EQ(sga->sga_segs[0].sgaseg_len, len);
	CHECK(pipe_test_same(sga->sga_segs[0].sgaseg_buf, len, seed));
	CHECK_EQ(demi_sgafree(sga), 0);
}

static inline void pipe_test_pop(int qd, size_t len, uint64_t seed)
{
	demi_sgarray_t sga;

	CHECK_EQ(demi_blocking_pop(&sga, qd), 0);
	pipe_test_element(&sga, len, seed);
}

/* Wait for a pop that must fail with @err; 0: must be the end of the stream. */
static inline void pipe_test_pop_ends(int qd, int err)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	CHECK_EQ(demi_pop(&qt, qd), 0);
	qr = pipe_test_wait(qt);
	CHECK_EQ(qr.qr_ret, err);
	CHECK_EQ(qr.qr_opcode, err ? DEMI_OPC_FAILED : DEMI_OPC_POP);
	if (!err)
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
}

static inline uint64_t pipe_test_counter(const char *name)
{
	uint64_t v = 0;

	CHECK_EQ(demi_counter(&v, name), 0);
	return v;
}

/* Open @name as soon as it exists and its maker lives. */
static inline int pipe_test_open(const char *name)
{
	int qd = -1, err;

	while ((err = demi_open_pipe(&qd, name)) == ENOENT || err == ECONNREFUSED)
		usleep(1000);
	CHECK_EQ(err, 0);
	return qd;
}

/* Run @fn in a child, which must not have used the library before. */
static inline pid_t pipe_test_fork(void (*fn)(void *), void *arg)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	alarm(110);
	fn(arg);
	exit(0);
}

static inline void pipe_test_join(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

#endif /* SELFTESTS_PIPE_TEST_H */
