// SPDX-License-Identifier: MIT
/* timeout: 240 */
/*
 * Pairs of queues of one owner: how many there are, what is mapped of them and how, what they refuse, and who else may
 * have the controller.
 */
#include "kselftest_harness.h"

#include <pthread.h>

#include "nvme_test.h"
#include "../kmod/machine.h"

/* What the machine's controller gives. */
#define PAIRS 8

FIXTURE(pairs)
{
	struct nt n;
};

FIXTURE_SETUP(pairs)
{
	ASSERT_EQ(0, nt_become_owner());
	ASSERT_EQ(0, nt_open(&self->n));
}

FIXTURE_TEARDOWN(pairs)
{
	nt_close(&self->n);
}

/* ---- several ------------------------------------------------------------------------------- */

/* One thread's: a pair, pages and blocks of its own. */
struct worker {
	struct nt *n;
	struct nt_pair pair;
	uint32_t number;
	bool ok;
	pthread_t thread;
};

static void fill(uint8_t *p, uint32_t worker, uint32_t block, uint32_t round)
{
	for (uint32_t i = 0; i < NT_PAGE; i++)
		p[i] = (uint8_t)(worker * 31 + block * 7 + round * 3 + i);
}

static void *work(void *arg)
{
	enum { BLOCKS = 8, ROUNDS = 10 };
	struct worker *w = arg;
	uint8_t want[NT_PAGE], *mem = w->n->mem + w->number * BLOCKS * NT_PAGE;
	uint32_t first = 1000 + w->number * BLOCKS;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < BLOCKS; i++) {
			fill(mem + i * NT_PAGE, w->number, i, round);
			nt_post(&w->pair, NT_WRITE, 2, first + i, 1, (uintptr_t)mem + i * NT_PAGE, 0);
		}
		nt_ring(&w->pair);
		for (uint32_t i = 0; i < BLOCKS; i++)
			if (nt_wait(&w->pair, NULL))
				return NULL;
		memset(mem, 0, BLOCKS * NT_PAGE);
		for (uint32_t i = 0; i < BLOCKS; i++) {
			fill(want, w->number, i, round);
			if (nt_run(&w->pair, NT_READ, 2, first + i, 1, (uintptr_t)mem + i * NT_PAGE, 0) ||
			    memcmp(mem + i * NT_PAGE, want, NT_PAGE))
				return NULL;
		}
	}
	w->ok = true;
	return NULL;
}

/* All that there are at once, each in a thread; one more is refused; one that ends makes room. */
TEST_F(pairs, all_at_once)
{
	struct nt *n = &self->n;
	struct worker w[PAIRS] = { { .pair = n->pair } };
	struct nt_pair more;

	for (uint32_t i = 0; i < PAIRS; i++) {
		w[i].n = n;
		w[i].number = i;
		if (i)
			ASSERT_EQ(0, nt_pair(&w[i].pair, n->fd, n->device, 64));
		for (uint32_t k = 0; k < i; k++) {
			EXPECT_NE(w[i].pair.q->queue, w[k].pair.q->queue);
			EXPECT_NE(w[i].pair.q->sq_doorbell, w[k].pair.q->sq_doorbell);
		}
	}
	EXPECT_EQ(-EDQUOT, nt_pair(&more, n->fd, n->device, 64));
	EXPECT_EQ(-EBUSY, nt_bind(n->fd, n->device, DEMI_DEVICE_BIND_F_RELEASE));
	for (uint32_t i = 0; i < PAIRS; i++)
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, work, &w[i]));
	for (uint32_t i = 0; i < PAIRS; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_TRUE(w[i].ok);
	}
	nt_pair_close(&w[3].pair);
	ASSERT_EQ(0, nt_pair(&w[3].pair, n->fd, n->device, 64));
	EXPECT_EQ(-EDQUOT, nt_pair(&more, n->fd, n->device, 64));
	w[3].ok = false;
	work(&w[3]);
	EXPECT_TRUE(w[3].ok);
	for (uint32_t i = 1; i < PAIRS; i++)
		nt_pair_close(&w[i].pair);
}

/* ---- what is refused ----------------------------------------------------------------------- */

TEST_F(pairs, requests)
{
	struct nt *n = &self->n;
	struct demi_queue_create ask = { .size = sizeof(ask),
					 .device_id = n->device,
					 .kind = DEMI_QUEUE_DEVICE,
					 .rx_fill_entries = 64,
					 .rx_entries = 64,
					 .tx_entries = 64,
					 .tx_done_entries = 64 };
	struct demi_queue_create c;
	struct nt_pair p;
	struct nt other = { .fd = open("/dev/demi", O_RDWR | O_CLOEXEC) };

#define REFUSED(_err, ...)                                                                                             \
	do {                                                                                                           \
		c = ask;                                                                                               \
		__VA_ARGS__;                                                                                           \
		EXPECT_EQ((_err), nt_ioctl(n->fd, DEMI_QUEUE_CREATE, &c));                                             \
	} while (0)
	REFUSED(-EINVAL, c.rx_fill_entries = 32);
	REFUSED(-EINVAL, c.tx_done_entries = 32);
	REFUSED(-EINVAL, c.tx_entries = c.tx_done_entries = 0);
	REFUSED(-EINVAL, c.rx_entries = c.rx_fill_entries = 0);
	REFUSED(-EINVAL, c.tx_entries = c.tx_done_entries = 1);
	REFUSED(-EINVAL, c.tx_entries = c.tx_done_entries = 65);
	REFUSED(-EINVAL, c.rx_entries = c.rx_fill_entries = UINT32_MAX);
	REFUSED(-EINVAL, c.flags = 1u << 31);
	REFUSED(-EINVAL, c.ifindex = 1);
	REFUSED(-EOPNOTSUPP, c.kind = DEMI_QUEUE_FLOW);
	REFUSED(-ENOENT, c.device_id = 1000);
#undef REFUSED
	/* wishes: as much as the controller and the kernel give, which is one value of 16 bits less */
	ASSERT_EQ(0, nt_pair_of(&p, n->fd, n->device, 32768, 2));
	EXPECT_LE(1024, p.q->sq_entries);
	EXPECT_GE(4096, p.q->sq_entries);
	EXPECT_EQ(2, p.q->cq_entries);
	nt_pair_close(&p);
	/* a context that has not bound it */
	ASSERT_LE(0, other.fd);
	c = ask;
	EXPECT_EQ(-EACCES, nt_ioctl(other.fd, DEMI_QUEUE_CREATE, &c));
	EXPECT_EQ(-EACCES, nt_bind(other.fd, n->device, DEMI_DEVICE_BIND_F_RELEASE));
	EXPECT_TRUE(nt_works(n));
}

/* Where a controller's memory may not lie. */
TEST_F(pairs, addresses)
{
	struct nt *n = &self->n;
	uint8_t *low = nt_memory(0x40000000, NT_BYTES), *high = nt_memory(NT_AREA * 512, NT_BYTES);
	uint32_t region;

	ASSERT_TRUE(low && high);
	EXPECT_EQ(-EOPNOTSUPP, nt_register(n->fd, low, NT_BYTES, &region));
	EXPECT_EQ(-EADDRINUSE, nt_register(n->fd, n->mem, NT_BYTES, &region));
	EXPECT_EQ(-EADDRINUSE, nt_register(n->fd, n->mem + 2 * NT_PAGE, NT_PAGE, &region));
	memset(n->mem, 0x42, NT_PAGE);
	ASSERT_EQ(0, nt_run(&n->pair, NT_WRITE, 2, 7, 1, (uintptr_t)n->mem, 0));
	/* of two widths one kernel's machine has 39 bits, the other's 48 */
	ASSERT_TRUE(iommu_address_bits() == 39 || iommu_address_bits() == 48);
	if (iommu_address_bits() == 39) {
		EXPECT_EQ(-EOPNOTSUPP, nt_register(n->fd, high, NT_BYTES, &region));
		return;
	}
	ASSERT_EQ(0, nt_register(n->fd, high, NT_BYTES, &region));
	ASSERT_EQ(0, nt_run(&n->pair, NT_READ, 2, 7, 1, (uintptr_t)high + NT_PAGE, 0));
	EXPECT_EQ(0, memcmp(high + NT_PAGE, n->mem, NT_PAGE));
	EXPECT_EQ(0, high[0]);
}

/* ---- mappings ------------------------------------------------------------------------------ */

static int try_map(int fd, size_t bytes, int prot, int flags, size_t offset)
{
	void *p = mmap(NULL, bytes, prot, flags, fd, (off_t)offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

TEST_F(pairs, mappings)
{
	struct nt_pair *p = &self->n.pair;
	size_t all = p->map_bytes, doors = all - 2 * NT_PAGE;
	uint32_t region;
	void *moved;

	EXPECT_EQ(doors, p->q->sq_doorbell / NT_PAGE * NT_PAGE);
	/* no page of the controller's but the doorbells' */
	EXPECT_EQ(-EINVAL, try_map(p->fd, all + NT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(p->fd, NT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, all));
	EXPECT_EQ(-EINVAL, try_map(p->fd, all, PROT_READ | PROT_WRITE, MAP_SHARED, NT_PAGE));
	EXPECT_EQ(-EINVAL, try_map(p->fd, NT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 1ul << 40));
	EXPECT_EQ(-EINVAL, try_map(p->fd, NT_PAGE, PROT_READ, MAP_PRIVATE, doors));
	EXPECT_EQ(-EPERM, try_map(p->fd, NT_PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, doors));
	EXPECT_EQ(-1, mprotect(p->map + doors, NT_PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(MAP_FAILED, mremap(p->map, all, all + NT_PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(p->map + doors, 2 * NT_PAGE, 3 * NT_PAGE, MREMAP_MAYMOVE));
	/* neither rings nor doorbells are memory to register */
	EXPECT_NE(0, nt_register(self->n.fd, p->map, NT_PAGE, &region));
	EXPECT_NE(0, nt_register(self->n.fd, p->map + doors, NT_PAGE, &region));
	/* moved, they are the same */
	moved = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, moved);
	moved = mremap(p->map, all, all, MREMAP_MAYMOVE | MREMAP_FIXED, moved);
	ASSERT_NE(MAP_FAILED, moved);
	p->map = moved;
	nt_pair_place(p);
	EXPECT_TRUE(nt_works(&self->n));
	/* the kernel believes nothing of what stands in the part that describes the queue */
	memset((void *)p->map, 0xff, offsetof(struct demi_nvme_queue, events));
	memset(p->map + NT_PAGE, 0xff, NT_PAGE);
}

/* What a child does with a mapping: how it ends. */
static int child_ends(void (*act)(const struct nt_pair *p), const struct nt_pair *p)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		act(p);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch(const struct nt_pair *p)
{
	*(volatile uint32_t *)p->sq_doorbell = 1;
}

static void write_read_only(const struct nt_pair *p)
{
	volatile uint32_t *q = mmap(NULL, p->map_bytes, PROT_READ, MAP_SHARED, p->fd, 0);

	if (q[0] != (uint32_t)DEMI_NVME_MAGIC)
		_exit(1);
	q[0] = 1;
}

/* What is mapped does not come to children by itself; what was mapped for reading is for reading. */
TEST_F(pairs, children)
{
	EXPECT_EQ(SIGSEGV, child_ends(touch, &self->n.pair));
	EXPECT_EQ(SIGSEGV, child_ends(write_read_only, &self->n.pair));
	EXPECT_TRUE(nt_works(&self->n));
}

/* After the end: doorbells and rings are a scratch page, and what is stored there hurts nobody. */
TEST_F(pairs, ended)
{
	struct demi_queue_shutdown down = { .size = sizeof(down) };
	struct nt *n = &self->n;
	struct nt_pair p, second;
	struct pollfd pfd;

	ASSERT_EQ(0, nt_pair(&p, n->fd, n->device, 64));
	memset(n->mem, 0x11, NT_PAGE);
	ASSERT_EQ(0, nt_run(&p, NT_WRITE, 2, 9, 1, (uintptr_t)n->mem, 0));
	/* posted, and rung when it has ended */
	memset(n->mem, 0x22, NT_PAGE);
	nt_post(&p, NT_WRITE, 2, 9, 1, (uintptr_t)n->mem, 0);
	ASSERT_EQ(0, nt_ioctl(p.fd, DEMI_QUEUE_SHUTDOWN, &down));
	EXPECT_NE(DEMI_NVME_MAGIC, p.q->magic);
	nt_ring(&p);
	EXPECT_EQ(p.tail, *p.sq_doorbell); /* what a doorbell never says */
	for (uint32_t i = 0; i < NT_PAGE / 4; i++)
		((volatile uint32_t *)(p.map + p.map_bytes - NT_PAGE))[i] = i;
	memset((void *)p.sq, 0xff, 64 * sizeof(*p.sq));
	pfd = (struct pollfd){ .fd = p.fd, .events = POLLIN };
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_TRUE(pfd.revents & POLLHUP);
	EXPECT_EQ(-ENODEV, try_map(p.fd, NT_PAGE, PROT_READ, MAP_SHARED, 0));
	/* its number's next holder has rings of its own */
	ASSERT_EQ(0, nt_pair(&second, n->fd, n->device, 64));
	EXPECT_NE(0xff, second.sq[0].opcode);
	ASSERT_EQ(0, nt_run(&second, NT_READ, 2, 9, 1, (uintptr_t)n->mem + NT_PAGE, 0));
	for (uint32_t i = 0; i < NT_PAGE; i++)
		ASSERT_EQ(0x11, n->mem[NT_PAGE + i]);
	nt_pair_close(&second);
	nt_pair_close(&p);
	EXPECT_TRUE(nt_works(n));
}

/* ---- whose it is --------------------------------------------------------------------------- */

/* Another process, of this user: the errno with which it does not get the controller. */
static int wants(uint32_t uid, uint32_t device)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (getuid() != uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
			_exit(255);
		_exit(-nt_bind(open("/dev/demi", O_RDWR | O_CLOEXEC), device, 0));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* As root: who can be anybody. */
TEST(two_processes_want_one)
{
	struct nt n;

	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, nt_open(&n));
	EXPECT_EQ(EBUSY, wants(NT_OWNER, n.device));
	EXPECT_EQ(EBUSY, wants(0, n.device));
	EXPECT_EQ(EACCES, wants(NT_OWNER - 1, n.device));
	/* also while it has no queue */
	nt_pair_close(&n.pair);
	EXPECT_EQ(EBUSY, wants(NT_OWNER, n.device));
	EXPECT_EQ(0, nt_bind(n.fd, n.device, DEMI_DEVICE_BIND_F_RELEASE));
	EXPECT_EQ(0, wants(NT_OWNER, n.device));
	EXPECT_EQ(EACCES, wants(NT_OWNER - 1, n.device));
	/* whoever had it is gone */
	EXPECT_EQ(0, nt_bind(n.fd, n.device, 0));
	ASSERT_EQ(0, nt_pair(&n.pair, n.fd, n.device, 64));
	EXPECT_TRUE(nt_works(&n));
	nt_close(&n);
}

TEST_HARNESS_MAIN
