// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 300, last */
/*
 * The controller leaves its slot while its owner reads and writes, with and without the kernel being asked: whatever
 * is under way ends with ENODEV, and nothing hangs. Another controller in the same slot can be had again; it has one
 * namespace, and nobody knows what is on it.
 */
#include "kselftest_harness.h"

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

#include "../kmod/machine.h"

#define OWNER 65534
#define PATIENCE_MS 60000
#define QUEUES 4 /* half of them write */
#define BURST 64
#define BYTES 4096
#define SKIPPED 4 /* kselftest: the monitor is not there */

struct stream {
	int qd;
	uint32_t left; /* under way */
};

static char *buf;

static int burst(struct stream *s, bool write)
{
	demi_sgarray_t sga = { .sga_numsegs = 1, .sga_segs = { { .sgaseg_buf = buf, .sgaseg_len = BYTES } } };
	uint64_t offset = 0;
	demi_qtoken_t qt;
	int err;

	err = write ? demi_setsockopt(s->qd, DEMI_SOL, DEMI_SO_OFFSET, &offset, sizeof(offset))
		    : demi_lseek(NULL, s->qd, 0, SEEK_SET);
	for (int i = 0; i < BURST && !err; i++) {
		err = write ? demi_push(&qt, s->qd, &sga) : demi_pop_n(&qt, s->qd, BYTES);
		s->left += !err;
	}
	return err;
}

/* Reads and writes until that fails. 0 or the errno of the first that did; what else is under way ends, too. */
static int traffic(struct stream *streams, int tell, uint32_t *ended)
{
	uint32_t under_way = 0, done = 0;
	demi_qresult_t qrs[64];
	int n, err = 0;

	do {
		for (int i = 0; i < QUEUES && !err; i++)
			if (!streams[i].left) {
				err = burst(&streams[i], i & 1);
				under_way += streams[i].left;
			}
		n = 0;
		if (under_way && demi_wait_next_n(qrs, 64, &n, NULL))
			return EPROTO;
		for (int i = 0; i < n; i++) {
			int failed = qrs[i].qr_opcode == DEMI_OPC_FAILED ? (int)qrs[i].qr_ret : 0;

			if (failed == ENODEV || (failed == ECANCELED && err))
				++*ended;
			else if (failed)
				return EPROTO;
			err = err ?: failed;
			if (qrs[i].qr_opcode == DEMI_OPC_POP)
				demi_sgafree(&qrs[i].qr_value.sga);
			for (int k = 0; k < QUEUES; k++)
				streams[k].left -= streams[k].qd == qrs[i].qr_qd;
			under_way--;
			if (++done == BURST && write(tell, "r", 1) != 1)
				return EPROTO;
		}
	} while (!err || under_way);
	return err;
}

static int own(int tell)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	struct stream streams[QUEUES] = { 0 };
	uint32_t ended = 0;
	int qd;

	setrlimit(RLIMIT_MEMLOCK, &all);
	setenv("DEMI_LIBOS", "catmem", 1);
	if (chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(OWNER, OWNER, OWNER) ||
	    setresuid(OWNER, OWNER, OWNER) || prctl(PR_SET_DUMPABLE, 1) || demi_init(NULL))
		return 1;
	buf = demi_calloc(1, BYTES);
	for (int i = 0; i < QUEUES; i++)
		if (!buf || demi_open(&streams[i].qd, "nvme:/1", O_RDWR, 0))
			return 2;
	if (traffic(streams, tell, &ended) != ENODEV)
		return 3;
	/* neither is there anything to begin with */
	if (burst(&streams[0], false) != ENODEV || streams[0].left)
		return 4;
	for (int i = 0; i < QUEUES; i++)
		if (demi_close(streams[i].qd))
			return 5;
	if (demi_open(&qd, "nvme:/1", O_RDWR, 0) != ENODEV)
		return 6;
	printf("# %u operations ended with the controller\n", ended);
	fflush(stdout);
	return write(tell, "g", 1) != 1;
}

static bool said(int fd, char what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c = 0;

	return poll(&p, 1, PATIENCE_MS) == 1 && read(fd, &c, 1) == 1 && c == what;
}

static pid_t begin(int *told)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(own(ends[1]));
	}
	close(ends[1]);
	*told = ends[0];
	return pid;
}

static int sh(const char *line)
{
	int status = system(line);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool there(bool yes)
{
	for (int waited = 0; waited < PATIENCE_MS; waited += 100) {
		if (!sh("test -e /sys/bus/pci/devices/$DEMI_NVME_PCI") == yes)
			return true;
		usleep(100000);
	}
	return false;
}

/* What the module holds for somebody: the headings of three tables. */
static bool nothing_left(void)
{
	for (int waited = 0; waited < PATIENCE_MS; waited += 100) {
		if (!sh("cd /sys/kernel/debug/demi && test $(cat contexts queues users | wc -l) = 3"))
			return true;
		usleep(100000);
	}
	return false;
}

/* @how takes it out of its slot. 0 or the line that failed. */
static int unplugged(const char *how)
{
	int told, status;
	pid_t owner = begin(&told);

	if (owner < 0 || !said(told, 'r'))
		return __LINE__;
	if (sh(how))
		return __LINE__;
	if (!said(told, 'g') || waitpid(owner, &status, 0) != owner)
		return __LINE__;
	close(told);
	if (status) {
		fprintf(stderr, "# the owner ended with %#x\n", (unsigned int)status);
		return __LINE__;
	}
	if (!there(false) || !nothing_left())
		return __LINE__;
	/* the same bus again, with something that holds nothing; the last drive may go a moment after its card */
	if (sh("../vm/monitor drive_add 0 driver=null-co,size=64M,read-zeroes=on,if=none,id=back$$ && "
	       "../vm/monitor device_add nvme,id=nvme0,bus=disk0,serial=demi1,max_ioqpairs=8,drive=back$$") ||
	    !there(true))
		return __LINE__;
	return sh("\"$BUILD/tools/demictl\" device bind $DEMI_NVME_PCI --owner 65534") ? __LINE__ : 0;
}

FIXTURE(slot)
{
	int unused;
};

FIXTURE_SETUP(slot)
{
	if (sh("../vm/monitor info status >/dev/null") == SKIPPED)
		SKIP(return, "no monitor");
	kmod_prove_locking(false);
}

FIXTURE_TEARDOWN(slot)
{
	kmod_prove_locking(true);
}

TEST_F_TIMEOUT(slot, asked, 130)
{
	EXPECT_EQ(0, unplugged("../vm/monitor device_del nvme0"));
}

TEST_F_TIMEOUT(slot, pulled, 130)
{
	EXPECT_EQ(0, unplugged("../vm/pull $DEMI_NVME_PCI"));
}

TEST_HARNESS_MAIN
