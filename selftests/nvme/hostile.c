// SPDX-License-Identifier: MIT
/* timeout: 240 */
/*
 * An owner that means ill: admin doorbells, forged answers to admin commands, entries and doorbell values of all kinds.
 * What it owns may suffer. What others rely on does not: the namespaces are what they were, memory that it did not
 * register is untouched, and the controller works for the next owner.
 */
#include "kselftest_harness.h"

#include <pthread.h>

#include "nvme_test.h"

#define FILL 0xa5
#define SEED 20240229

/* How long a controller that was confused may be silent before it counts as stopped. */
#define SILENCE_MS 2000

/* Words of the page of doorbells: those of the admin queues. */
enum { ASQ_TAIL, ACQ_HEAD, WORDS = NT_PAGE / 4 };

FIXTURE(hostile)
{
	struct nt n;
	uint8_t *other; /* NT_BYTES that are not registered */
	struct demi_nvme_namespace namespaces[2];
};

static struct demi_nvme_namespace *namespaces_of(struct nt *n)
{
	return (void *)(n->pair.map + n->pair.q->namespaces);
}

/* Something at the begin and at the end of both namespaces, the one for nt_works() excepted. */
static bool keep(struct nt *n, uint8_t opcode)
{
	static const uint64_t first[][2] = { { 0, NT_BLOCKS * 16 - 8 }, { 0, NT_BLOCKS - 2 } };

	for (uint32_t i = 0; i < 4; i++)
		if (nt_run(&n->pair, opcode, 1 + i / 2, first[i / 2][i % 2], i < 2 ? 8 : 1,
			   (uintptr_t)n->mem + i * NT_PAGE, 0))
			return false;
	return true;
}

static void keep_fill(struct nt *n)
{
	for (uint32_t i = 0; i < 4 * NT_PAGE; i++)
		n->mem[i] = (uint8_t)(i * 7 + i / NT_PAGE);
}

static bool kept(struct nt *n)
{
	memset(n->mem, 0, 4 * NT_PAGE);
	if (!keep(n, NT_READ))
		return false;
	for (uint32_t i = 0; i < 4 * NT_PAGE; i++)
		if (n->mem[i] != (uint8_t)(i * 7 + i / NT_PAGE))
			return false;
	return true;
}

FIXTURE_SETUP(hostile)
{
	ASSERT_EQ(0, nt_become_owner());
	ASSERT_EQ(0, nt_open(&self->n));
	self->other = nt_memory(NT_AREA + (2ull << 30), NT_BYTES);
	ASSERT_NE(NULL, self->other);
	memset(self->other, FILL, NT_BYTES);
	ASSERT_EQ(2, self->n.pair.q->namespace_count);
	memcpy(self->namespaces, namespaces_of(&self->n), sizeof(self->namespaces));
	keep_fill(&self->n);
	ASSERT_TRUE(keep(&self->n, NT_WRITE));
	ASSERT_TRUE(kept(&self->n));
}

/* Whatever the test did, the next owner finds a controller that works, with the same namespaces. */
FIXTURE_TEARDOWN(hostile)
{
	struct nt *n = &self->n;

	nt_pair_close(&n->pair);
	ASSERT_EQ(0, nt_bind(n->fd, n->device, DEMI_DEVICE_BIND_F_RELEASE));
	ASSERT_EQ(0, nt_bind(n->fd, n->device, 0));
	ASSERT_EQ(0, nt_pair(&n->pair, n->fd, n->device, 64));
	EXPECT_EQ(2, n->pair.q->namespace_count);
	EXPECT_EQ(0, memcmp(self->namespaces, namespaces_of(n), sizeof(self->namespaces)));
	EXPECT_TRUE(nt_works(n));
	for (uint32_t i = 0; i < NT_BYTES; i++)
		ASSERT_EQ(FILL, self->other[i]);
	nt_close(n);
}

static volatile uint32_t *doorbells(struct nt_pair *p)
{
	return (void *)((uintptr_t)p->sq_doorbell & ~(uintptr_t)(NT_PAGE - 1));
}

/*
 * An admin command of the kernel's: another pair, and its end. -EIO: the controller was stopped, or thinks otherwise of
 * its queues; -EBUSY: some that it stopped for have not ended.
 */
static bool try_pair(struct nt *n)
{
	struct nt_pair p;
	int err = nt_pair(&p, n->fd, n->device, 16);

	if (!err)
		nt_pair_close(&p);
	return !err || err == -EIO;
}

/* It works, or its owner is told that it does not. */
static bool works_or_broken(struct nt *n)
{
	return n->pair.q->status & DEMI_NVME_BROKEN || nt_works(n);
}

TEST_F(hostile, admin_doorbells)
{
	static const uint32_t values[] = {
		0, 1, 2, 7, 15, 16, 17, 255, 0x7fff, 0xffff, 0x10000, 0x80000000, UINT32_MAX
	};
	struct nt *n = &self->n;

	for (uint32_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		volatile uint32_t *page = doorbells(&n->pair);

		page[ASQ_TAIL] = values[i];
		EXPECT_TRUE(works_or_broken(n));
		EXPECT_TRUE(try_pair(n));
		EXPECT_TRUE(nt_works(n));
	}
	/* an owner that makes the controller believe that it has no room for answers */
	for (uint32_t i = 0; i < 3; i++) {
		volatile uint32_t *page = doorbells(&n->pair);

		for (uint32_t k = 0; k < 16; k++) {
			page[ACQ_HEAD] = k * 5 % 16;
			page[ASQ_TAIL] = (k * 3 + i) % 16;
		}
		page[ACQ_HEAD] = values[10 + i];
		EXPECT_TRUE(try_pair(n));
		EXPECT_TRUE(works_or_broken(n));
		EXPECT_TRUE(nt_works(n));
	}
	EXPECT_TRUE(kept(n));
}

/* ---- while the kernel runs commands -------------------------------------------------------- */

struct tormentor {
	struct nt *n;
	struct nt_pair pair;
	_Atomic bool stop;
	void (*act)(struct tormentor *t, uint32_t i);
	pthread_t thread;
};

static void *torment(void *arg)
{
	struct tormentor *t = arg;

	for (uint32_t i = 0; !t->stop; i++)
		t->act(t, i);
	return NULL;
}

static void ring_admin(struct tormentor *t, uint32_t i)
{
	volatile uint32_t *page = doorbells(&t->pair);

	page[ASQ_TAIL] = i % 16;
	if (!(i % 7))
		page[ACQ_HEAD] = i * 3 % 16;
}

/* Does the kernel survive that pairs come and go while @act disturbs it? */
static bool survives(struct nt *n, void (*act)(struct tormentor *t, uint32_t i), int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct tormentor t = { .n = n, .act = act };
		bool ok = true;

		if (nt_pair(&t.pair, n->fd, n->device, 64))
			return false;
		if (pthread_create(&t.thread, NULL, torment, &t))
			return false;
		for (int k = 0; k < 8 && ok && !n->pair.q->status; k++)
			ok = try_pair(n);
		t.stop = true;
		pthread_join(t.thread, NULL);
		nt_pair_close(&t.pair);
		if (!ok)
			return false;
		/* a pair that was not deleted although it was said to be, or is full of answers: begin anew */
		nt_pair_close(&n->pair);
		if (nt_bind(n->fd, n->device, DEMI_DEVICE_BIND_F_RELEASE) || nt_bind(n->fd, n->device, 0) ||
		    nt_pair(&n->pair, n->fd, n->device, 64))
			return false;
	}
	return true;
}

TEST_F(hostile, admin_doorbells_meanwhile)
{
	ASSERT_TRUE(survives(&self->n, ring_admin, 3));
	EXPECT_TRUE(kept(&self->n));
}

/*
 * Answers that the controller never gave, written by its own reads to where the kernel looks for them: "success" for
 * every command that the kernel can have run by now.
 */
#define FORGED_BLOCKS 256
#define FORGED_AT 1024

static bool forge(struct nt *n)
{
	struct nt_completion *c = (void *)n->mem;

	for (uint32_t i = 0; i < FORGED_BLOCKS; i++) {
		memset(c, 0, NT_PAGE);
		for (uint32_t k = 0; k < 16; k++)
			/* phases of both kinds */
			c[k] = (struct nt_completion){ .cid = (uint16_t)(i / 2 * 16 + k), .status = !(i & 1) };
		if (nt_run(&n->pair, NT_WRITE, 2, FORGED_AT + i, 1, (uintptr_t)c, 0))
			return false;
	}
	return true;
}

static void answer_falsely(struct tormentor *t, uint32_t i)
{
	nt_post(&t->pair, NT_READ, 2, FORGED_AT + i % FORGED_BLOCKS, 1, NT_IOVA_ACQ, 0);
	nt_ring(&t->pair);
	for (uint32_t k = 0; k < 1000000 && !nt_has(&t->pair) && !t->stop; k++)
		;
	while (nt_has(&t->pair))
		nt_take(&t->pair, NULL);
}

TEST_F(hostile, forged_answers)
{
	ASSERT_TRUE(forge(&self->n));
	keep_fill(&self->n);
	ASSERT_TRUE(survives(&self->n, answer_falsely, 3));
	EXPECT_TRUE(kept(&self->n));
}

/* ---- own queues ---------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* An address: sometimes one of the owner's own, sometimes of what is near to the queues, or just anything. */
static uint64_t some_address(struct nt *n, const uint8_t *other, uint32_t *seed)
{
	uint64_t r = (uint64_t)next_random(seed) << 40 ^ (uint64_t)next_random(seed) << 20 ^ next_random(seed);

	switch (next_random(seed) % 8) {
	case 0:
	case 1:
	case 2:
		return (uintptr_t)n->mem + r % NT_BYTES / NT_PAGE * NT_PAGE;
	case 3:
		return (uintptr_t)n->mem + r % NT_BYTES;
	case 4:
		return (uintptr_t)other + r % NT_BYTES;
	case 5:
		return NT_IOVA_ASQ + r % (4u << 20);
	case 6:
		return 0xfee00000 + r % (1u << 20);
	default:
		return r;
	}
}

static struct nt_command some_command(struct nt *n, const uint8_t *other, uint8_t opcode, uint32_t *seed)
{
	static const uint32_t nsids[] = { 1, 2, 1, 2, 0, 3, UINT32_MAX };
	struct nt_command c = { .opcode = opcode, .cid = (uint16_t)next_random(seed) };

	c.flags = next_random(seed) % 4 ? 0 : (uint8_t)next_random(seed);
	c.nsid = nsids[next_random(seed) % 7];
	for (int i = 0; i < 2; i++) {
		c.prp[i] = some_address(n, other, seed);
		c.unused[i] = next_random(seed) % 2 ? some_address(n, other, seed) : 0;
	}
	for (int i = 0; i < 6; i++)
		c.dword[i] = next_random(seed);
	/* blocks that there are, often, and not many at once */
	if (next_random(seed) % 2)
		c.dword[0] %= NT_BLOCKS, c.dword[1] = 0;
	if (next_random(seed) % 4)
		c.dword[2] &= 0xffff001f;
	return c;
}

/* All that were posted are answered, or the pair is silent. */
static void drain(struct nt_pair *p, uint32_t posted)
{
	for (int waited = 0; posted && waited < SILENCE_MS; waited++) {
		while (nt_has(p)) {
			nt_take(p, NULL);
			posted -= !!posted;
			waited = 0;
		}
		usleep(1000);
	}
}

/* The owner begins anew: whatever the pair was busy with ends with it. */
static bool new_pair(struct nt *n)
{
	nt_pair_close(&n->pair);
	return !nt_pair(&n->pair, n->fd, n->device, 64) && nt_works(n);
}

/* Every opcode, with fields that mean anything. */
TEST_F(hostile, any_command)
{
	enum { VARIANTS = 6, AT_ONCE = 8 };
	struct nt *n = &self->n;
	uint32_t seed = SEED;

	for (uint32_t i = 0; i < 256 * VARIANTS; i += AT_ONCE) {
		for (uint32_t k = 0; k < AT_ONCE; k++) {
			struct nt_command c = some_command(n, self->other, (uint8_t)((i + k) % 256), &seed);

			nt_post_raw(&n->pair, &c);
		}
		nt_ring(&n->pair);
		drain(&n->pair, AT_ONCE);
		if (i % 64)
			continue;
		if (n->pair.q->status || !nt_works(n))
			ASSERT_TRUE(new_pair(n));
	}
}

/* Those most that mean something: read, write, compare, zeroes, deallocate, copy … */
TEST_F(hostile, common_commands)
{
	static const uint8_t opcodes[] = { 0, 1, 2, 4, 5, 8, 9, 0xc, 0xd, 0xe, 0x11, 0x15, 0x19 };
	enum { TIMES = 600, AT_ONCE = 12 };
	struct nt *n = &self->n;
	uint32_t seed = SEED + 1;

	for (uint32_t i = 0; i < TIMES; i += AT_ONCE) {
		for (uint32_t k = 0; k < AT_ONCE; k++) {
			struct nt_command c =
				some_command(n, self->other, opcodes[next_random(&seed) % sizeof(opcodes)], &seed);

			nt_post_raw(&n->pair, &c);
		}
		nt_ring(&n->pair);
		drain(&n->pair, AT_ONCE);
		if (n->pair.q->status || !nt_works(n))
			ASSERT_TRUE(new_pair(n));
	}
}

/* Values that are none, on its own doorbells and on those of pairs that there are not. */
TEST_F(hostile, any_doorbell)
{
	static const uint32_t values[] = { 64, 65, 0xffff, 0x10000, 0x80000000, UINT32_MAX };
	struct nt *n = &self->n;
	uint32_t seed = SEED, own = 2 * n->pair.q->queue;

	/* the controller may take them for others, and never answer: nobody else has to do with it */
	for (uint32_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		*n->pair.sq_doorbell = values[i];
		EXPECT_TRUE(new_pair(n));
		*n->pair.cq_doorbell = values[i];
		EXPECT_TRUE(new_pair(n));
	}
	for (uint32_t i = own + 2; i < WORDS; i++)
		doorbells(&n->pair)[i] = next_random(&seed) % 3 ? next_random(&seed) % 64 : next_random(&seed);
	EXPECT_TRUE(works_or_broken(n));
	/* a tail beyond what was posted: whatever lies there is fetched, answers come for nothing, or none has room */
	for (uint32_t i = 0; i < 64; i++) {
		*n->pair.sq_doorbell = next_random(&seed) % 64;
		*n->pair.cq_doorbell = next_random(&seed) % 64;
	}
	EXPECT_TRUE(new_pair(n));
	EXPECT_TRUE(kept(n));
}

/* Nobody takes the answers, for which there is no room: then the pair ends with commands under way. */
TEST_F(hostile, no_room_for_answers)
{
	struct nt *n = &self->n;

	for (uint32_t round = 0; round < 3; round++) {
		struct nt_pair p;

		ASSERT_EQ(0, nt_pair_of(&p, n->fd, n->device, 64, 4));
		EXPECT_EQ(64, p.q->sq_entries);
		EXPECT_EQ(4, p.q->cq_entries);
		for (uint32_t i = 0; i < 63; i++)
			nt_post(&p, NT_READ, 2, i, 1, (uintptr_t)n->mem + (8 + i) * NT_PAGE, 0);
		nt_ring(&p);
		while (!nt_has(&p) && !p.q->status)
			usleep(1000);
		EXPECT_TRUE(nt_works(n));
		nt_pair_close(&p);
		EXPECT_TRUE(nt_works(n));
	}
	EXPECT_TRUE(kept(n));
}

TEST_HARNESS_MAIN
