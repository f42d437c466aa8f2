// SPDX-License-Identifier: MIT
/* timeout: 240 */
/*
 * What commands cannot reach. Each names memory that is none of the owner's: not a byte moves, the IOMMU's record of it
 * stands in the kernel's log, and the next command works. What the controller answers is its own affair: one that is
 * told nothing but zeroes, as QEMU's, answers success.
 */
#include "kselftest_harness.h"

#include "nvme_test.h"

#define FILL 0xa5
#define PATTERN 0x5a
#define SECRET "what nobody may have on a disk"

/* The kernel's log takes few faults in five seconds: whoever waits for one tries again. */
#define RECORD_MS 500
#define RECORD_TRIES (NT_PATIENCE_MS / RECORD_MS)

/* Pages of this process, somewhere in physical memory, but not where the rings are for the controller. */
#define PAGES 64
#define RINGS_END 0x4000000

FIXTURE(dma)
{
	struct nt n;
	int log, pagemap;
	uint8_t *other; /* NT_BYTES that are not registered */
	uint8_t *page; /* which lies at the physical address @physical */
	uint64_t physical;
};

static uint64_t physical_of(int pagemap, const uint8_t *p)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)p / NT_PAGE * sizeof(entry))) != sizeof(entry) ||
	    !(entry >> 63))
		return 0;
	return (entry & ((1ull << 55) - 1)) * NT_PAGE;
}

FIXTURE_SETUP(dma)
{
	uint8_t *pages = mmap(NULL, PAGES * NT_PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);

	ASSERT_NE(MAP_FAILED, pages);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->pagemap);
	self->physical = 0;
	for (int i = 0; i < PAGES && self->physical < RINGS_END; i++) {
		self->page = pages + i * NT_PAGE;
		self->physical = physical_of(self->pagemap, self->page);
	}
	ASSERT_LE(RINGS_END, self->physical);
	memset(self->page, FILL, NT_PAGE);
	self->log = nt_log_open();
	ASSERT_LE(0, self->log);
	ASSERT_EQ(0, nt_become_owner());
	ASSERT_EQ(0, nt_open(&self->n));
	self->other = nt_memory(NT_AREA + (2ull << 30), NT_BYTES);
	ASSERT_NE(NULL, self->other);
	memset(self->other, FILL, NT_BYTES);
	/* what is on the disk */
	memset(self->n.mem, PATTERN, 32 * NT_PAGE);
	for (int i = 0; i < 32; i++)
		ASSERT_EQ(0, nt_run(&self->n.pair, NT_WRITE, 2, i, 1, (uintptr_t)self->n.mem + i * NT_PAGE, 0));
}

FIXTURE_TEARDOWN(dma)
{
	nt_close(&self->n);
}

static bool is_all(const uint8_t *p, uint8_t what, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != what)
			return false;
	return true;
}

/*
 * The command is run until there is a record that the access to @address was refused; each time it is answered, or
 * the controller stops.
 */
static bool refused(struct nt *n, int log, uint8_t opcode, uint32_t blocks, uint64_t prp1, uint64_t prp2, bool is_write,
		    uint64_t address)
{
	for (int i = 0; i < RECORD_TRIES; i++) {
		if (nt_run(&n->pair, opcode, 2, 0, blocks, prp1, prp2) == NT_LOST && !n->pair.q->status)
			return false;
		if (nt_log_fault(log, is_write, address, RECORD_MS))
			return nt_works(n);
		if (!nt_works(n))
			return false;
	}
	return false;
}

/* One block is read to where the controller must not write. */
static bool read_refused(struct nt *n, int log, uint64_t at)
{
	return refused(n, log, NT_READ, 1, at, 0, true, at);
}

TEST_F(dma, read_into_unregistered)
{
	struct nt *n = &self->n;

	EXPECT_TRUE(read_refused(n, self->log, (uintptr_t)self->other));
	/* the second page of two */
	memset(n->mem, 0, NT_PAGE);
	EXPECT_TRUE(refused(n, self->log, NT_READ, 2, (uintptr_t)n->mem, (uintptr_t)self->other + NT_PAGE, true,
			    (uintptr_t)self->other + NT_PAGE));
	/* the middle of a page, to its end, and the next one, all of it behind the end of what is registered */
	EXPECT_TRUE(refused(n, self->log, NT_READ, 1, (uintptr_t)n->mem + NT_BYTES - 512, (uintptr_t)n->mem + NT_BYTES,
			    true, (uintptr_t)n->mem + NT_BYTES));
	EXPECT_TRUE(is_all(self->other, FILL, NT_BYTES));
}

TEST_F(dma, read_into_unregistered_already)
{
	struct nt *n = &self->n;
	uint32_t region;

	ASSERT_EQ(0, nt_register(n->fd, self->other, NT_BYTES, &region));
	ASSERT_EQ(0, nt_run(&n->pair, NT_READ, 2, 0, 1, (uintptr_t)self->other + 2 * NT_PAGE, 0));
	EXPECT_TRUE(is_all(self->other + 2 * NT_PAGE, PATTERN, NT_PAGE));
	memset(self->other, FILL, NT_BYTES);
	ASSERT_EQ(0, nt_unregister(n->fd, region));
	EXPECT_TRUE(read_refused(n, self->log, (uintptr_t)self->other + 2 * NT_PAGE));
	EXPECT_TRUE(is_all(self->other, FILL, NT_BYTES));
}

/* Physical memory: what an address would be if nobody translated it. */
TEST_F(dma, read_into_physical)
{
	EXPECT_TRUE(read_refused(&self->n, self->log, self->physical));
	EXPECT_TRUE(is_all(self->page, FILL, NT_PAGE));
	EXPECT_EQ(self->physical, physical_of(self->pagemap, self->page));
}

/* A list that names what nobody may write; one that lies where nobody may read. */
TEST_F(dma, lists)
{
	struct nt *n = &self->n;
	uint64_t *list = (void *)(n->mem + 65536), *theirs = (void *)self->other;

	memset(n->mem, FILL, 65536);
	list[0] = (uintptr_t)n->mem + NT_PAGE;
	list[1] = (uintptr_t)self->other + 3 * NT_PAGE;
	list[2] = (uintptr_t)n->mem + 2 * NT_PAGE;
	EXPECT_TRUE(refused(n, self->log, NT_READ, 4, (uintptr_t)n->mem, (uintptr_t)list, true, list[1]));
	EXPECT_TRUE(is_all(self->other, FILL, NT_BYTES));
	memset(n->mem, FILL, 65536);
	theirs[0] = (uintptr_t)n->mem + NT_PAGE;
	theirs[1] = (uintptr_t)n->mem + 2 * NT_PAGE;
	EXPECT_TRUE(refused(n, self->log, NT_READ, 3, (uintptr_t)n->mem, (uintptr_t)theirs, false, (uintptr_t)theirs));
	/* what it would have named is as it was */
	EXPECT_TRUE(is_all(n->mem + NT_PAGE, FILL, 2 * NT_PAGE));
}

/* Nothing of what lies there comes to the disk. */
static bool writes_nothing(struct nt *n, int log, uint8_t *at, uint64_t address)
{
	memcpy(at, SECRET, sizeof(SECRET));
	if (!refused(n, log, NT_WRITE, 1, address, 0, false, address))
		return false;
	return !nt_run(&n->pair, NT_READ, 2, 0, 2, (uintptr_t)n->mem, (uintptr_t)n->mem + NT_PAGE) &&
	       !memmem(n->mem, NT_PAGE, SECRET, sizeof(SECRET)) && !memchr(n->mem, FILL, NT_PAGE) &&
	       is_all(n->mem + NT_PAGE, PATTERN, NT_PAGE);
}

TEST_F(dma, write_from_where_it_may_not)
{
	EXPECT_TRUE(writes_nothing(&self->n, self->log, self->other, (uintptr_t)self->other));
	EXPECT_TRUE(writes_nothing(&self->n, self->log, self->page, self->physical));
}

/*
 * QEMU's IOMMU makes no record of a write to what it remembers to be for reading only. It remembers 1,024 pages and
 * then begins anew: let it.
 */
static bool forget_translations(struct nt *n)
{
	enum { PAGES_EACH = 32, TIMES = 1056 / PAGES_EACH };
	size_t bytes = PAGES_EACH * TIMES * NT_PAGE;
	uint64_t *list = (void *)(n->mem + 65536);
	uint8_t *many = nt_memory(NT_AREA + (4ull << 30), bytes);
	uint32_t region;

	if (!many || madvise(many, bytes, MADV_NOHUGEPAGE) || nt_register(n->fd, many, bytes, &region))
		return false;
	for (int i = 0; i < TIMES; i++) {
		uint8_t *to = many + i * PAGES_EACH * NT_PAGE;

		for (int k = 1; k < PAGES_EACH; k++)
			list[k - 1] = (uintptr_t)to + k * NT_PAGE;
		if (nt_run(&n->pair, NT_READ, 2, 0, PAGES_EACH, (uintptr_t)to, (uintptr_t)list))
			return false;
	}
	return is_all(many, PATTERN, bytes) && !nt_unregister(n->fd, region) && !munmap(many, bytes);
}

/* Queues of commands are the controller's to read only: its own, and the kernel's. */
TEST_F(dma, read_into_submission_queues)
{
	enum { ENTRIES = 128 }; /* two pages, of which the controller read none of the second */
	struct nt *n = &self->n;
	struct nt_command before[ENTRIES];
	uint64_t at;

	nt_pair_close(&n->pair);
	ASSERT_EQ(0, nt_pair(&n->pair, n->fd, n->device, ENTRIES));
	at = NT_IOVA_PAIR(n->pair.q->queue);
	memset((void *)n->pair.sq, FILL, sizeof(before));
	EXPECT_TRUE(read_refused(n, self->log, at + NT_PAGE));
	EXPECT_TRUE(is_all((void *)(n->pair.sq + ENTRIES / 2), FILL, NT_PAGE));
	/* the page that it does read from: all but the command itself is as before, whether there is a record or not */
	memcpy(before, (void *)n->pair.sq, sizeof(before));
	nt_run(&n->pair, NT_READ, 2, 0, 1, at, 0);
	for (uint32_t i = 0; i < ENTRIES; i++)
		EXPECT_TRUE(i + 1 == n->pair.tail || !memcmp(&before[i], (void *)&n->pair.sq[i], sizeof(before[i])));
	EXPECT_TRUE(nt_works(n));
	/* the kernel's, which go on */
	ASSERT_TRUE(forget_translations(n));
	EXPECT_TRUE(read_refused(n, self->log, NT_IOVA_ASQ));
	/* identify data was there, before it had an owner */
	EXPECT_TRUE(read_refused(n, self->log, NT_IOVA_DATA));
	nt_pair_close(&n->pair);
	ASSERT_EQ(0, nt_pair(&n->pair, n->fd, n->device, 64));
	EXPECT_TRUE(nt_works(n));
}

/* A pair that has ended: its queues are nobody's. */
TEST_F(dma, read_into_a_pair_of_before)
{
	struct nt *n = &self->n;
	struct nt_pair second;
	uint64_t at;

	ASSERT_EQ(0, nt_pair(&second, n->fd, n->device, 64));
	at = NT_IOVA_PAIR(second.q->queue);
	nt_pair_close(&second);
	EXPECT_TRUE(read_refused(n, self->log, at));
	EXPECT_TRUE(read_refused(n, self->log, at + NT_PAGE));
}

/* As the next owner, which has all that this one had but the memory: what a child ends with. */
static int own_next(struct nt *before, int log)
{
	uint64_t theirs = (uintptr_t)before->mem;
	struct nt n;
	int err = nt_open_at(&n, NT_AREA + (8ull << 30));

	if (err)
		return 1;
	if (!read_refused(&n, log, theirs + 5 * NT_PAGE))
		return 2;
	return refused(&n, log, NT_WRITE, 1, theirs, 0, false, theirs) ? 0 : 3;
}

/* What another process has registered, which had the controller before. */
TEST_F(dma, memory_of_another_owner)
{
	struct nt *n = &self->n;
	int status;
	pid_t next;

	memset(n->mem, FILL, NT_BYTES);
	ASSERT_EQ(0, nt_run(&n->pair, NT_READ, 2, 0, 1, (uintptr_t)n->mem + 5 * NT_PAGE, 0));
	ASSERT_TRUE(is_all(n->mem + 5 * NT_PAGE, PATTERN, NT_PAGE));
	memset(n->mem, FILL, NT_BYTES);
	nt_pair_close(&n->pair);
	ASSERT_EQ(0, nt_bind(n->fd, n->device, DEMI_DEVICE_BIND_F_RELEASE));
	next = fork();
	if (!next) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(own_next(n, self->log));
	}
	ASSERT_EQ(next, waitpid(next, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(is_all(n->mem, FILL, NT_BYTES));
	/* it is this one's again, and so is what it registered */
	ASSERT_EQ(0, nt_bind(n->fd, n->device, 0));
	ASSERT_EQ(0, nt_pair(&n->pair, n->fd, n->device, 64));
	ASSERT_EQ(0, nt_run(&n->pair, NT_READ, 2, 1, 1, (uintptr_t)n->mem + 5 * NT_PAGE, 0));
	EXPECT_TRUE(is_all(n->mem + 5 * NT_PAGE, PATTERN, NT_PAGE));
}

/*
 * Where interrupts are made by writing: the remapping lets through what the kernel made for this controller, and
 * nothing else. The machine lives.
 */
TEST_F(dma, read_into_interrupts)
{
	struct nt *n = &self->n;

	for (uint32_t i = 0; i < 4; i++) {
		nt_run(&n->pair, NT_READ, 2, 0, 1, 0xfee00000 + i * 16 * NT_PAGE, 0);
		EXPECT_TRUE(nt_works(n));
	}
}

/*
 * What was under way when its memory went away. An emulated controller may have translated an address, and so finish
 * what it began; when it has answered, no byte moves any more.
 */
TEST_F(dma, unregistered_in_flight)
{
	enum { DEEP = 32 };
	struct nt *n = &self->n;
	uint32_t region, moved = 0;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, nt_register(n->fd, self->other, NT_BYTES, &region));
		for (int k = 0; k < DEEP; k++)
			nt_post(&n->pair, NT_READ, 2, k, 1, (uintptr_t)self->other + k * NT_PAGE, 0);
		nt_ring(&n->pair);
		ASSERT_EQ(0, nt_unregister(n->fd, region));
		for (int k = 0; k < DEEP; k++)
			ASSERT_NE(NT_LOST, nt_wait(&n->pair, NULL));
		for (int k = 0; k < DEEP; k++) {
			bool all = is_all(self->other + k * NT_PAGE, PATTERN, NT_PAGE);

			ASSERT_TRUE(all || is_all(self->other + k * NT_PAGE, FILL, NT_PAGE));
			moved += all;
		}
		memset(self->other, FILL, NT_BYTES);
		/* the same once more, from the first on without a region */
		for (int k = 0; k < DEEP; k++)
			nt_post(&n->pair, NT_READ, 2, 1, 1, (uintptr_t)self->other + k * NT_PAGE, 0);
		nt_ring(&n->pair);
		for (int k = 0; k < DEEP; k++)
			ASSERT_NE(NT_LOST, nt_wait(&n->pair, NULL));
		ASSERT_TRUE(is_all(self->other, FILL, NT_BYTES));
	}
	TH_LOG("%u of %u reads came before their memory went", moved, 20 * DEEP);
	EXPECT_TRUE(nt_works(n));
}

TEST_HARNESS_MAIN
