// SPDX-License-Identifier: MIT
/* uses: libdemi.a */
/*
 * Records pushed with DEMI_O_DURABLE, several under way, while others are pushed without. "durable N" is printed when
 * record N is durable. Usually they are read then; with DEMI_NVME_POWER_CUT the machine's power goes off instead, at a
 * random moment (power-cut, and replay, which knows what a record looks like).
 */
#include "kselftest_harness.h"

#include <demi/demi.h>
#include <demi/file.h>
#include <demi/sockopt.h>
#include <fcntl.h>
#include <grp.h>
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

#define MAGIC 0x64726f6365726564ull
#define BLOCK 512
#define BLOCKS 4 /* of a record */
#define RECORD (BLOCKS * BLOCK)
#define SLOTS 256 /* record N is in slot N % SLOTS; behind them as many for what is not durable */
#define WINDOW 8 /* under way */
#define COUNT 600
#define SOME 64 /* are durable before the power may go off */

#define POWER_MS 1500
#define EXIT_PORT 0xf4 /* of QEMU's isa-debug-exit */

struct writer {
	int qd;
	uint64_t first; /* its first slot */
	uint64_t begun, done;
	char *bufs; /* WINDOW */
};

static void record_fill(char *at, uint64_t n)
{
	for (uint64_t i = 0; i < BLOCKS; i++, at += BLOCK) {
		uint64_t *word = (uint64_t *)at, x = n << 8 | i;

		word[0] = MAGIC;
		word[1] = n;
		word[2] = i;
		for (int k = 3; k < BLOCK / 8; k++)
			word[k] = x = x * 6364136223846793005u + 1442695040888963407u;
	}
}

static int writer_open(struct writer *w, uint64_t first, int flags)
{
	*w = (struct writer){ .first = first, .bufs = demi_malloc(WINDOW * RECORD) };
	return !w->bufs || demi_open(&w->qd, "nvme:/1", O_RDWR | flags, 0);
}

/* One more, if it may: pushes follow each other, so the last slot waits for all. */
static int writer_push(struct writer *w)
{
	uint64_t n = w->begun, offset = w->first * RECORD;
	char *buf = w->bufs + n % WINDOW * RECORD;
	demi_sgarray_t sga = { .sga_numsegs = 1, .sga_segs = { { .sgaseg_buf = buf, .sgaseg_len = RECORD } } };
	demi_qtoken_t qt;

	if (n - w->done == WINDOW || (n % SLOTS == 0 && n != w->done))
		return 0;
	if (n % SLOTS == 0 && demi_setsockopt(w->qd, DEMI_SOL, DEMI_SO_OFFSET, &offset, sizeof(offset)))
		return 1;
	record_fill(buf, n);
	w->begun++;
	return demi_push(&qt, w->qd, &sga);
}

static int write_records(struct writer *durable, struct writer *other, uint64_t count, int tell)
{
	demi_qresult_t qrs[2 * WINDOW];
	int n;

	while (durable->done < count) {
		if (writer_push(durable) || writer_push(other) || demi_wait_next_n(qrs, 2 * WINDOW, &n, NULL))
			return 3;
		for (int i = 0; i < n; i++) {
			if (qrs[i].qr_opcode != DEMI_OPC_PUSH)
				return 4;
			if (qrs[i].qr_qd == other->qd) {
				other->done++;
				continue;
			}
			printf("durable %llu\n", (unsigned long long)durable->done++);
			fflush(stdout);
			if (durable->done == SOME && write(tell, "", 1) != 1)
				return 9;
		}
	}
	return 0;
}

/* All that is under way is, too, in the end: a record of each slot is. */
static int read_records(struct writer *w)
{
	char want[RECORD];
	demi_qresult_t qr;
	demi_qtoken_t qt;

	for (uint64_t slot = 0; slot < SLOTS; slot++) {
		uint64_t n = w->begun - 1 - (w->begun - 1 - slot) % SLOTS;

		record_fill(want, n);
		if (demi_lseek(NULL, w->qd, (off_t)((w->first + slot) * RECORD), SEEK_SET) ||
		    demi_pop_n(&qt, w->qd, RECORD))
			return 5;
		if (demi_wait(&qr, qt, NULL) || qr.qr_opcode != DEMI_OPC_POP)
			return 6;
		if (memcmp(qr.qr_value.sga.sga_segs[0].sgaseg_buf, want, RECORD))
			return 7;
		demi_sgafree(&qr.qr_value.sga);
	}
	return 0;
}

/* Whosever they are. */
static int finish(uint64_t under_way)
{
	demi_qresult_t qr;
	int n;

	while (under_way--) {
		if (demi_wait_next_n(&qr, 1, &n, NULL) || qr.qr_opcode != DEMI_OPC_PUSH)
			return 8;
	}
	return 0;
}

static int own(uint64_t count, int tell)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	struct writer durable, other;
	int ret;

	setrlimit(RLIMIT_MEMLOCK, &all);
	setenv("DEMI_LIBOS", "catmem", 1);
	if (chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(OWNER, OWNER, OWNER) ||
	    setresuid(OWNER, OWNER, OWNER) || prctl(PR_SET_DUMPABLE, 1) || demi_init(NULL))
		return 1;
	if (writer_open(&durable, 0, DEMI_O_DURABLE) || writer_open(&other, SLOTS, 0))
		return 2;
	ret = write_records(&durable, &other, count, tell);
	ret = ret ?: finish(durable.begun - durable.done + other.begun - other.done);
	return ret ?: read_records(&durable) ?: read_records(&other) ?: demi_close(durable.qd) ?: demi_close(other.qd);
}

/* As pulling the plug: QEMU ends in the middle of what it does. */
static void power_off(void)
{
	int fd = open("/dev/port", O_WRONLY | O_CLOEXEC);

	if (pwrite(fd, "", 1, EXIT_PORT) != 1)
		perror("# /dev/port");
}

TEST(pushes)
{
	bool cut = getenv("DEMI_NVME_POWER_CUT");
	int status, tell[2];
	char c;
	pid_t pid;

	ASSERT_EQ(0, pipe2(tell, O_CLOEXEC));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(own(cut ? UINT64_MAX : COUNT, tell[1]));
	}
	close(tell[1]);
	ASSERT_EQ(1, read(tell[0], &c, 1));
	if (cut) {
		srand((unsigned int)strtoul(getenv("DEMI_NVME_POWER_CUT"), NULL, 10));
		usleep(1000 * (useconds_t)(rand() % POWER_MS));
		power_off();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
