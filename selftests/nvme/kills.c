// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 1600 */
/*
 * Owners that are killed at random moments of heavy traffic: nothing of theirs is left in the kernel, the next one can
 * have the controller at once, and what is on the disk is what somebody wrote there: each block says where it belongs.
 */
#include "kselftest_harness.h"

#include "../kmod/machine.h"

#include <demi/demi.h>
#include <demi/file.h>
#include <demi/sockopt.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWNER 65534

/* DEMI_NVME_KILLS */
#define KILLS 20
#define PATIENCE_MS 30000

#define BLOCK 512
#define QUEUES 8
#define BURST 32 /* commands under way on each queue */
#define LONGEST 16 /* blocks of one */
#define SLICE 2048 /* blocks that one queue writes and reads */
#define TRAFFIC (QUEUES * SLICE)
#define GUARD 4096 /* blocks behind them that nobody touches */
#define GUARD_SEED 1

#define WORDS (BLOCK / 8)

/* ---- blocks that can be told from all others ---- */

static uint64_t next(uint64_t x)
{
	return x * 6364136223846793005u + 1442695040888963407u;
}

static void block_fill(uint64_t *block, uint64_t number, uint64_t seed)
{
	uint64_t x = number << 32 ^ seed;

	block[0] = number;
	block[1] = seed;
	for (int i = 2; i < WORDS; i++)
		block[i] = x = next(x);
}

static bool block_ok(const uint64_t *block, uint64_t number)
{
	uint64_t want[WORDS] = { 0 };

	if (block[1]) /* else it was never written */
		block_fill(want, number, block[1]);
	return !memcmp(block, want, sizeof(want));
}

/* ---- the owner ---- */

static int become_owner(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &all);
	return chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(OWNER, OWNER, OWNER) ||
	       setresuid(OWNER, OWNER, OWNER) || prctl(PR_SET_DUMPABLE, 1);
}

struct stream {
	int qd;
	uint64_t first; /* block of its slice */
	uint32_t left; /* under way */
	char *buf;
};

static unsigned int seed;

static uint32_t below(uint32_t n)
{
	return (uint32_t)rand_r(&seed) % n;
}

static int push_blocks(int qd, char *buf, uint64_t at, uint32_t n, uint64_t with)
{
	demi_sgarray_t sga = { .sga_numsegs = 1, .sga_segs = { { .sgaseg_buf = buf, .sgaseg_len = n * BLOCK } } };
	demi_qtoken_t qt;

	for (uint32_t i = 0; i < n; i++)
		block_fill((uint64_t *)(buf + i * BLOCK), at + i, with);
	return demi_push(&qt, qd, &sga);
}

/* The next burst of a queue that has nothing under way. */
static int burst(struct stream *s)
{
	uint32_t n = below(LONGEST) + 1;
	uint64_t at = s->first + below(SLICE - n * BURST + 1), offset = at * BLOCK;
	bool write = below(4);
	demi_qtoken_t qt;
	int err;

	err = write ? demi_setsockopt(s->qd, DEMI_SOL, DEMI_SO_OFFSET, &offset, sizeof(offset))
		    : demi_lseek(NULL, s->qd, (off_t)offset, SEEK_SET);
	for (uint32_t i = 0; i < BURST && !err; i++) {
		err = write ? push_blocks(s->qd, s->buf + i * LONGEST * BLOCK, at + i * n, n,
					  (uint64_t)rand_r(&seed) + 2)
			    : demi_pop_n(&qt, s->qd, n * BLOCK);
		s->left += !err;
	}
	return err;
}

/* Writes and reads until it is killed. A byte for each hundred that are done. */
static int traffic(int tell)
{
	struct stream streams[QUEUES];
	demi_qresult_t qrs[64];
	uint32_t done = 0;
	int n;

	for (uint32_t i = 0; i < QUEUES; i++) {
		streams[i] = (struct stream){ .first = i * SLICE, .buf = demi_malloc(BURST * LONGEST * BLOCK) };
		if (!streams[i].buf || demi_open(&streams[i].qd, "nvme:/1", O_RDWR, 0))
			return 2;
	}
	for (;;) {
		for (int i = 0; i < QUEUES; i++)
			if (!streams[i].left && burst(&streams[i]))
				return 3;
		if (demi_wait_next_n(qrs, 64, &n, NULL))
			return 4;
		for (int i = 0; i < n; i++) {
			if (qrs[i].qr_opcode == DEMI_OPC_FAILED)
				return 5;
			if (qrs[i].qr_opcode == DEMI_OPC_POP)
				demi_sgafree(&qrs[i].qr_value.sga);
			for (int k = 0; k < QUEUES; k++)
				streams[k].left -= streams[k].qd == qrs[i].qr_qd;
			if (++done % 100 == 0 && write(tell, "r", 1) != 1)
				return 6;
		}
	}
}

static int finish(demi_qtoken_t qt, demi_sgarray_t *sga)
{
	demi_qresult_t qr;
	int err = demi_wait(&qr, qt, NULL);

	if (sga)
		*sga = qr.qr_value.sga;
	return err ?: qr.qr_opcode == DEMI_OPC_FAILED ? (int)qr.qr_ret : 0;
}

/* Zeroes where traffic will be, and behind it what has to stay. */
static int prepare(int tell)
{
	enum { AT_A_TIME = 128 };
	uint64_t offset = (uint64_t)TRAFFIC * BLOCK;
	char *buf = demi_malloc(AT_A_TIME * BLOCK);
	demi_qresult_t qr;
	int qd, n;

	if (!buf || demi_open(&qd, "nvme:/1", O_RDWR | DEMI_O_DURABLE, 0) || demi_truncate(qd, 0) ||
	    demi_setsockopt(qd, DEMI_SOL, DEMI_SO_OFFSET, &offset, sizeof(offset)))
		return 2;
	for (uint32_t at = 0; at < GUARD; at += AT_A_TIME) {
		if (push_blocks(qd, buf, TRAFFIC + at, AT_A_TIME, GUARD_SEED) || demi_wait_next_n(&qr, 1, &n, NULL) ||
		    qr.qr_opcode != DEMI_OPC_PUSH)
			return 3;
	}
	return demi_close(qd);
}

/* What is there is what was written there, and nobody wrote into the guard. */
static int verify(int tell)
{
	enum { AT_A_TIME = 64 };
	uint32_t written = 0;
	demi_sgarray_t sga;
	demi_qtoken_t qt;
	int qd;

	if (demi_open(&qd, "nvme:/1", O_RDONLY, 0))
		return 2;
	for (uint32_t at = 0; at < TRAFFIC + GUARD; at += AT_A_TIME) {
		if (demi_pop_n(&qt, qd, AT_A_TIME * BLOCK) || finish(qt, &sga))
			return 3;
		for (uint32_t i = 0; i < AT_A_TIME; i++) {
			const uint64_t *block = (uint64_t *)((char *)sga.sga_segs[0].sgaseg_buf + i * BLOCK);

			if (!block_ok(block, at + i) || (at >= TRAFFIC && block[1] != GUARD_SEED)) {
				fprintf(stderr, "# block %u holds %#lx, %#lx\n", at + i, (long)block[0],
					(long)block[1]);
				return 4;
			}
			written += block[1] != 0;
		}
		demi_sgafree(&sga);
	}
	printf("# %u of %u blocks were written\n", written - GUARD, TRAFFIC);
	fflush(stdout);
	return written == GUARD ? 5 : demi_close(qd);
}

/* ---- the parent ---- */

/* In a process of the owner's. @told: what it tells, or NULL. */
static pid_t begin(int (*what)(int tell), int *told)
{
	int ends[2] = { -1, -1 };
	pid_t pid;

	if (told && pipe2(ends, O_CLOEXEC))
		return -1;
	seed++;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("DEMI_LIBOS", "catmem", 1);
		_exit(become_owner() || demi_init(NULL) ? 1 : what(ends[1]));
	}
	if (told) {
		close(ends[1]);
		*told = ends[0];
	}
	return pid;
}

static int run(int (*what)(int tell))
{
	int status = -1;
	pid_t pid = begin(what, NULL);

	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

static bool says(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c = 0;

	return poll(&p, 1, PATIENCE_MS) == 1 && read(fd, &c, 1) == 1 && c == 'r';
}

FIXTURE(owners)
{
	int kills;
};

FIXTURE_SETUP(owners)
{
	self->kills = (int)kmod_amount("DEMI_NVME_KILLS", KILLS, KILLS / 4);
	seed = (unsigned int)getpid();
}

FIXTURE_TEARDOWN(owners)
{
}

TEST_F_TIMEOUT(owners, killed, 1500)
{
	int status, told;

	printf("# seed %u\n", seed);
	fflush(stdout);
	ASSERT_EQ(0, run(prepare));
	for (int i = 0; i < self->kills; i++) {
		pid_t owner = begin(traffic, &told);

		ASSERT_LT(0, owner);
		ASSERT_TRUE(says(told));
		usleep(below(20000));
		ASSERT_EQ(0, kill(owner, SIGKILL));
		ASSERT_EQ(owner, waitpid(owner, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		close(told);
	}
	printf("# figure nvme_kills %d\n", self->kills);
	fflush(stdout);
	EXPECT_TRUE(module_holds_nothing(PATIENCE_MS));
	EXPECT_EQ(0, run(verify));
	EXPECT_TRUE(module_holds_nothing(PATIENCE_MS));
}

TEST_HARNESS_MAIN
