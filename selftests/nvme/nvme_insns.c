// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 300 */
/*
 * Reads of 4 KiB, one at a time and DEEP at a time: by the library on demi_nvme.ko's rings, then by io_uring on the
 * kernel's own driver of the same controller. How many instructions that takes, with the kernel's and those of its
 * interrupt handlers: by the time stamp counter, which under `selftests/vm/run --icount` is one instruction a tick, and
 * elsewhere means nothing.
 *
 * While the controller works the program reads the counter in a loop, and the loop is left out: what counts of that
 * time is by how much two readings are further apart than the loop takes, for then an interrupt came between them.
 */
#include "core/ctx.h"
#include "nvme/device.h"

#include <demi/demi.h>
#include <demi/file.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "../kmod/insns.h"
#include "../kmod/machine.h"
#include "../kmod/need.h"
#include "disk.h"

#define OWNER 65534
#define BLOCK 4096
#define DEEP 32
#define ROUNDS 65
#define WARM 32
#define APART 100 /* more than the loop takes between two readings, less than any interrupt */
#define PATIENCE 2000000000ull
#define PAUSE 20000

/* Instructions of a round, by what they were for. */
struct cost {
	uint64_t submit, interrupts, complete;
};

/* Instructions of a read, one at a time and DEEP at a time. */
struct result {
	double one, one_submit, one_interrupts, one_complete, deep;
};

/* ---- waiting ---- */

static bool until(bool (*there)(void *arg), void *arg, uint64_t *interrupts)
{
	uint64_t start = __rdtsc(), last = start, now;

	*interrupts = 0;
	while (!there(arg)) {
		now = __rdtsc();
		if (now - last > APART)
			*interrupts += now - last;
		if (now - start > PATIENCE)
			return false;
		last = now;
	}
	now = __rdtsc();
	if (now - last > APART)
		*interrupts += now - last;
	return true;
}

/* ---- the library ---- */

struct ours {
	int qd, n;
	struct demi_nvme_pair *pair;
	uint32_t last; /* where the last completion of the round comes, */
	uint16_t phase; /* and what it has */
	demi_qtoken_t qts[DEEP];
};

static struct demi_nvme_pair *pair_of(struct demi_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nbackends; i++)
		if (!strcmp(ctx->backends[i]->ops->name, "nvme"))
			return &((struct demi_nvme_backend *)ctx->backends[i])->devs->pair;
	return NULL;
}

/* The last of them has come: nothing is taken, and nothing of the library runs. */
static bool ours_there(void *arg)
{
	const struct ours *o = arg;

	return (__atomic_load_n(&o->pair->cq[o->last].status, __ATOMIC_ACQUIRE) & 1) == o->phase;
}

/* What a wait brought: blocks, whose memory is free again. */
static int ours_take(demi_qresult_t *qrs, int n)
{
	for (int i = 0; i < n; i++) {
		NEED(qrs[i].qr_opcode == DEMI_OPC_POP && qrs[i].qr_value.sga.sga_segs[0].sgaseg_len == BLOCK);
		NEED(!demi_sgafree(&qrs[i].qr_value.sga));
	}
	return 0;
}

/* @got: results. 0 or the errno of the wait. */
static int ours_wait(struct ours *o, demi_qresult_t *qrs, int n, int *got, const struct timespec *timeout)
{
	int err = o->n == 1 ? demi_wait(qrs, o->qts[0], timeout) : demi_wait_next_n(qrs, n, got, timeout);

	if (err)
		*got = 0;
	else if (o->n == 1)
		*got = 1;
	return err;
}

/*
 * Pops, and a wait that sends them off and looks once, usually in vain; then waits that find them. Each is freed.
 */
static int ours_round(void *arg, int n, struct cost *c)
{
	static const struct timespec now;
	demi_qresult_t qrs[DEEP];
	struct ours *o = arg;
	int err, got, left = n;
	uint64_t start;

	NEED(!demi_lseek(NULL, o->qd, 0, SEEK_SET));
	o->n = n;
	o->last = (o->pair->head + (uint32_t)n - 1) % o->pair->cq_entries;
	o->phase = o->last < o->pair->head ? o->pair->phase ^ 1 : o->pair->phase;
	start = __rdtsc();
	for (int i = 0; i < n; i++)
		NEED(!demi_pop_n(&o->qts[i], o->qd, BLOCK));
	err = ours_wait(o, qrs, left, &got, &now);
	NEED(!err || err == ETIMEDOUT);
	NEED(!ours_take(qrs, got));
	c->submit = __rdtsc() - start;
	left -= got;
	NEED(until(ours_there, o, &c->interrupts));
	start = __rdtsc();
	for (; left; left -= got)
		NEED(!ours_wait(o, qrs, left, &got, NULL) && !ours_take(qrs, got));
	c->complete = __rdtsc() - start;
	return 0;
}

static int become_owner(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &all);
	return chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(OWNER, OWNER, OWNER) ||
	       setresuid(OWNER, OWNER, OWNER) || prctl(PR_SET_DUMPABLE, 1);
}

static int ours_open(void *arg)
{
	struct ours *o = arg;

	NEED(!become_owner());
	setenv("DEMI_LIBOS", "catmem", 1); /* no backend but the controller's */
	NEED(!(errno = demi_init(NULL)));
	NEED(!(errno = demi_open(&o->qd, "nvme:/2", O_RDONLY, 0)));
	o->pair = pair_of(demi_ctx_self);
	NEED(o->pair);
	return 0;
}

/* ---- io_uring ---- */

struct theirs {
	unsigned int flags; /* of the ring */
	int n;
	struct io_uring ring;
	uint8_t *buf; /* registered */
};

static char disk[64];

/* Or, where completions are put off, what leads to them. */
static bool theirs_there(void *arg)
{
	struct theirs *t = arg;

	return io_uring_cq_ready(&t->ring) >= (unsigned int)t->n ||
	       (t->flags & IORING_SETUP_TASKRUN_FLAG && *t->ring.sq.kflags & IORING_SQ_TASKRUN);
}

/* Of calls that look for completions: those that find some. */
static int theirs_look(struct theirs *t, struct cost *c)
{
	unsigned int had = io_uring_cq_ready(&t->ring);
	uint64_t start = __rdtsc(), end;

	NEED(io_uring_get_events(&t->ring) >= 0);
	end = __rdtsc();
	if (io_uring_cq_ready(&t->ring) != had)
		c->complete += end - start;
	else
		while (__rdtsc() - end < PAUSE)
			;
	return 0;
}

static int theirs_round(void *arg, int n, struct cost *c)
{
	struct theirs *t = arg;
	struct io_uring_cqe *cqe;
	uint64_t start, more;

	*c = (struct cost){ 0 };
	t->n = n;
	start = __rdtsc();
	for (int i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

		io_uring_prep_read_fixed(sqe, 0, t->buf + i * BLOCK, BLOCK, (uint64_t)i * BLOCK, 0);
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	NEED(io_uring_submit(&t->ring) == n);
	c->submit = __rdtsc() - start;
	while (io_uring_cq_ready(&t->ring) < (unsigned int)n) {
		if (!(t->flags & IORING_SETUP_IOPOLL)) {
			NEED(until(theirs_there, t, &more));
			c->interrupts += more;
		}
		if (io_uring_cq_ready(&t->ring) < (unsigned int)n)
			NEED(!theirs_look(t, c));
	}
	start = __rdtsc();
	for (int i = 0; i < n; i++) {
		NEED(!io_uring_peek_cqe(&t->ring, &cqe));
		NEED(cqe->res == BLOCK);
		io_uring_cqe_seen(&t->ring, cqe);
	}
	c->complete += __rdtsc() - start;
	return 0;
}

static int theirs_open(void *arg)
{
	struct theirs *t = arg;
	int fd = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC);
	struct iovec iov = { .iov_len = DEEP * BLOCK };

	NEED(fd >= 0);
	t->buf = mmap(NULL, DEEP * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	NEED(t->buf != MAP_FAILED);
	iov.iov_base = t->buf;
	NEED(!(errno = -io_uring_queue_init(2 * DEEP, &t->ring, t->flags)));
	NEED(!io_uring_register_files(&t->ring, &fd, 1) && !io_uring_register_buffers(&t->ring, &iov, 1));
	NEED(io_uring_register_ring_fd(&t->ring) == 1);
	return 0;
}

/* ---- rounds ---- */

/* Who reads. */
struct reader {
	int (*open)(void *arg);
	int (*round)(void *arg, int n, struct cost *c);
	void *arg;
};

static int rounds(void *arg, void *result)
{
	static uint64_t all[ROUNDS], submit[ROUNDS], interrupts[ROUNDS], complete[ROUNDS];
	const struct reader *reader = arg;
	struct result *r = result;
	struct cost c;

	if (reader->open(reader->arg))
		return -1;
	for (int n = 1; n <= DEEP; n += DEEP - 1) {
		for (int i = -WARM; i < ROUNDS; i++) {
			NEED(!reader->round(reader->arg, n, &c));
			if (i < 0)
				continue;
			all[i] = c.submit + c.interrupts + c.complete;
			submit[i] = c.submit;
			interrupts[i] = c.interrupts;
			complete[i] = c.complete;
		}
		if (n != 1) {
			r->deep = insns_median(all, ROUNDS) / n;
			break;
		}
		r->one = insns_median(all, ROUNDS);
		r->one_submit = insns_median(submit, ROUNDS);
		r->one_interrupts = insns_median(interrupts, ROUNDS);
		r->one_complete = insns_median(complete, ROUNDS);
	}
	return 0;
}

/* The kernel's name of the second namespace. */
static bool find_disk(void)
{
	for (int waited = 0; waited < 300; waited++) {
		if (disk_path(2, disk, sizeof(disk)))
			return true;
		usleep(100000);
	}
	return false;
}

static void tell(const char *who, const struct result *r)
{
	if (!insns_are_counted())
		return;
	printf("# figure %s_insns %g\n# figure %s_submit_insns %g\n# figure %s_interrupt_insns %g\n", who, r->one, who,
	       r->one_submit, who, r->one_interrupts);
	printf("# figure %s_complete_insns %g\n# figure %s_deep_insns %g\n", who, r->one_complete, who, r->deep);
	fflush(stdout);
}

/* The kernel's driver without the IOMMU's translation, which demi's has to have; and back. */
#define PASS                                                                                                           \
	"cd /sys/bus/pci/devices/$DEMI_NVME_PCI && echo $DEMI_NVME_PCI >driver/unbind && "                             \
	"echo identity >iommu_group/type && echo $DEMI_NVME_PCI >/sys/bus/pci/drivers_probe"
#define BACK                                                                                                           \
	"cd /sys/bus/pci/devices/$DEMI_NVME_PCI && echo $DEMI_NVME_PCI >driver/unbind && "                             \
	"echo auto >iommu_group/type && echo $DEMI_NVME_PCI >/sys/bus/pci/drivers_probe"

static const struct {
	const char *name;
	unsigned int flags;
} ways[] = {
	{ "uring", 0 },
	{ "uring_coop", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER },
	{ "uring_defer", IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER },
	{ "uring_iopoll", IORING_SETUP_IOPOLL | IORING_SETUP_SINGLE_ISSUER },
};

/* The best of all ways, one at a time and DEEP at a time. */
static int theirs_best(const char *suffix, struct result *best)
{
	*best = (struct result){ .one = 1e12, .deep = 1e12 };
	NEED(find_disk());
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct theirs t = { .flags = ways[i].flags };
		struct result r;
		char name[64];

		NEED(!insns_forked(rounds, &(struct reader){ theirs_open, theirs_round, &t }, &r, sizeof(r)));
		snprintf(name, sizeof(name), "%s%s", ways[i].name, suffix);
		tell(name, &r);
		best->one = r.one < best->one ? r.one : best->one;
		best->deep = r.deep < best->deep ? r.deep : best->deep;
	}
	return 0;
}

TEST(reads)
{
	struct result ours, best, pass;
	struct ours o = { 0 };
	int failed;

	if (kmod_debug_kernel())
		SKIP(return, "a kernel that checks itself: not what is to be counted");
	ASSERT_EQ(0, insns_forked(rounds, &(struct reader){ ours_open, ours_round, &o }, &ours, sizeof(ours)));
	tell("nvme", &ours);
	ASSERT_EQ(0, system("echo 1 >/sys/module/nvme/parameters/poll_queues"));
	ASSERT_EQ(0, insns_device("unbind $DEMI_NVME_PCI"));
	failed = theirs_best("", &best);
	EXPECT_EQ(0, system(PASS));
	failed |= theirs_best("_pass", &pass);
	EXPECT_EQ(0, system("echo 0 >/sys/module/nvme/parameters/poll_queues"));
	EXPECT_EQ(0, system(BACK));
	EXPECT_TRUE(find_disk());
	EXPECT_EQ(0, insns_device("bind $DEMI_NVME_PCI --owner 65534"));
	ASSERT_EQ(0, failed);
	if (!insns_are_counted())
		return;
	printf("# figure nvme_insns_vs_uring %g\n# figure nvme_deep_vs_uring %g\n", ours.one / best.one,
	       ours.deep / best.deep);
	printf("# figure nvme_insns_vs_uring_pass %g\n# figure nvme_deep_vs_uring_pass %g\n", ours.one / pass.one,
	       ours.deep / pass.deep);
	fflush(stdout);
}

TEST_HARNESS_MAIN
