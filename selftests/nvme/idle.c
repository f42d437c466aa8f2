// SPDX-License-Identifier: MIT
/* uses: libdemi.a */
/*
 * A process that sleeps while it has a controller's rings takes no processor time; and the interrupt of a read, whose
 * wait sleeps at once, wakes it. DEMI_NVME_IDLE_S says how long is slept.
 */
#include "kselftest_harness.h"

#include <demi/demi.h>
#include <demi/file.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OWNER 65534
#define BLOCK 4096

static int become_owner(void)
{
	return chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(OWNER, OWNER, OWNER) ||
	       setresuid(OWNER, OWNER, OWNER) || prctl(PR_SET_DUMPABLE, 1);
}

static int read_block(int qd)
{
	demi_qresult_t r;
	demi_qtoken_t qt;
	int err = demi_lseek(NULL, qd, 0, SEEK_SET);

	if (!err)
		err = demi_pop_n(&qt, qd, BLOCK);
	if (!err)
		err = demi_wait(&r, qt, NULL);
	if (err)
		return err;
	if (r.qr_opcode != DEMI_OPC_POP)
		return (int)r.qr_ret;
	return r.qr_value.sga.sga_segs[0].sgaseg_len == BLOCK ? demi_sgafree(&r.qr_value.sga) : EPROTO;
}

static double ran_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 50: a process that polls takes all there is. What little a sleeping one takes is a figure, and no test's business. */
TEST(asleep_it_takes_no_processor)
{
	const char *s = getenv("DEMI_NVME_IDLE_S");
	const struct timespec idle = { .tv_sec = s ? atoi(s) : 2 };
	demi_qresult_t r;
	demi_qtoken_t never;
	double ran;
	int qd, other;

	setenv("DEMI_SPIN_US", "0", 1); /* each wait sleeps */
	ASSERT_EQ(0, become_owner());
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, demi_open(&qd, "nvme:/1", O_RDWR, 0));
	ASSERT_EQ(0, demi_queue(&other));
	ASSERT_EQ(0, demi_pop(&never, other));
	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, read_block(qd));
	ran = ran_s();
	ASSERT_EQ(ETIMEDOUT, demi_wait(&r, never, &idle));
	ran = ran_s() - ran;
	ASSERT_EQ(0, read_block(qd));
	printf("# figure ring_idle_cpu_pct_nvme %g\n", ran * 100 / (double)idle.tv_sec);
	fflush(stdout);
	EXPECT_GT(50, ran * 100 / (double)idle.tv_sec);
	EXPECT_EQ(0, demi_close(qd));
}

TEST_HARNESS_MAIN
