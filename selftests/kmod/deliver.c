// SPDX-License-Identifier: MIT
/* timeout: 600 */
/* Delivery into posted buffers, by the mock device, whose frames come back: what fits, what does not, broken rings. */
#include <pthread.h>
#include <sys/random.h>

#include "frames.h"
#include "machine.h"

#define ENTRIES 16

FIXTURE(deliver)
{
	int fd;
	struct fq q;
	uint8_t frame[FQ_BUF];
};

FIXTURE_SETUP(deliver)
{
	self->fd = kmod_open();
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, fq_mock(&self->q, self->fd, ENTRIES));
	memset(self->frame, 0, FQ_HDR);
	for (unsigned int i = FQ_HDR; i < sizeof(self->frame); i++)
		self->frame[i] = i * 7 + (i >> 8);
}

FIXTURE_TEARDOWN(deliver)
{
	fq_close(&self->q);
	close(self->fd);
}

static struct demi_queue_counters counters(struct fq *q)
{
	struct demi_queue_info info;

	if (kmod_queue_info(q->q.fd, 0, &info))
		memset(&info.counters, 0xff, sizeof(info.counters));
	return info.counters;
}

/* A free buffer anywhere. */
static void post(struct fq *q, uint64_t offset, uint32_t len, uint16_t region, uint16_t flags)
{
	kmod_put(&q->q.rx_fill, (struct demi_desc){ offset, len, region, flags });
}

TEST_F(deliver, one_buffer)
{
	struct fq *q = &self->q;
	struct demi_desc d;

	fq_post(q, 3);
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
	ASSERT_TRUE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(3 * FQ_BUF, d.offset);
	EXPECT_EQ(100, d.len);
	EXPECT_EQ(q->region, d.region);
	EXPECT_EQ(0, d.flags);
	EXPECT_EQ(0, memcmp(fq_buf(q, 3), self->frame, 100));
	EXPECT_FALSE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(1, *q->q.rx_fill.consumer);
	EXPECT_EQ(1, counters(q).rx_frames);
	EXPECT_EQ(100 - FQ_HDR, counters(q).rx_bytes);
	EXPECT_EQ(1, counters(q).tx_frames);
}

/* Also where the virtio_net_hdr_v1 itself does not fit into one, and across the pages of a buffer. */
TEST_F(deliver, several_buffers)
{
	static const uint32_t lens[] = { 5, 1, 94, 300, 600 };
	struct fq *q = &self->q;
	uint32_t at = 0, i;
	struct demi_desc d;

	for (i = 0; i < 5; i++)
		post(q, 3 * FQ_BUF - 50 + i * 2 * FQ_BUF, lens[i], q->region, 0);
	fq_post(q, 20);
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 777));
	for (i = 0; i < 5; i++) {
		ASSERT_TRUE(kmod_take(&q->q.rx, &d));
		EXPECT_EQ(i < 4 ? lens[i] : 777 - 400, d.len);
		EXPECT_EQ(i < 4 ? DEMI_DESC_F_MORE : 0, d.flags);
		EXPECT_EQ(3 * FQ_BUF - 50 + i * 2 * FQ_BUF, d.offset);
		EXPECT_EQ(0, memcmp(q->mem + d.offset, self->frame + at, d.len));
		at += d.len;
	}
	EXPECT_EQ(777, at);
	EXPECT_FALSE(kmod_take(&q->q.rx, &d));
	/* the sixth is still the kernel's */
	EXPECT_EQ(5, *q->q.rx_fill.consumer);
	EXPECT_EQ(1, counters(q).rx_frames);
}

TEST_F(deliver, writes_nothing_beyond)
{
	struct fq *q = &self->q;
	unsigned int i;

	memset(fq_buf(q, 2), 0xee, 3 * FQ_BUF);
	post(q, 3 * FQ_BUF + 100, 50, q->region, 0);
	post(q, 3 * FQ_BUF + 200, 500, q->region, 0);
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 120));
	for (i = 0; i < 3 * FQ_BUF; i++) {
		unsigned int in = i - FQ_BUF;
		uint8_t expected = 0xee;

		if (in >= 100 && in < 150)
			expected = self->frame[in - 100];
		else if (in >= 200 && in < 270)
			expected = self->frame[in - 200 + 50];
		ASSERT_EQ(expected, fq_buf(q, 2)[i]);
	}
}

TEST_F(deliver, all_or_nothing)
{
	struct fq *q = &self->q;
	struct demi_desc d;

	post(q, 0, 100, q->region, 0);
	post(q, 4096, 100, q->region, 0);
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 201));
	EXPECT_FALSE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(0, *q->q.rx_fill.consumer);
	EXPECT_EQ(1, counters(q).rx_no_buffer);
	EXPECT_EQ(0, counters(q).rx_frames);
	/* a shorter one takes what stayed */
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 200));
	ASSERT_TRUE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(0, d.offset);
	ASSERT_TRUE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(4096, d.offset);
	EXPECT_EQ(1, counters(q).rx_frames);
}

TEST_F(deliver, no_buffer_at_all)
{
	ASSERT_EQ(0, fq_send(&self->q, 1, self->frame, 100));
	EXPECT_EQ(1, counters(&self->q).rx_no_buffer);
	EXPECT_EQ(0, counters(&self->q).rx_frames);
}

TEST_F(deliver, full_rx)
{
	struct fq *q = &self->q;
	struct demi_desc d;
	int i;

	for (i = 0; i < ENTRIES + 4; i++) {
		fq_post(q, 40 + i);
		ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
	}
	EXPECT_EQ(ENTRIES, counters(q).rx_frames);
	EXPECT_EQ(4, counters(q).rx_no_buffer);
	for (i = 0; i < ENTRIES; i++) {
		ASSERT_TRUE(kmod_take(&q->q.rx, &d));
		EXPECT_EQ((40 + i) * FQ_BUF, d.offset);
	}
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
	EXPECT_EQ(ENTRIES + 1, counters(q).rx_frames);
}

/* Buffers of one byte: a frame of 64 is the longest. */
TEST_F(deliver, bounded_number_of_buffers)
{
	struct fq q;
	unsigned int i;

	ASSERT_EQ(0, fq_mock(&q, self->fd, 256));
	for (i = 0; i < 128; i++)
		post(&q, 8192 + i, 1, q.region, 0);
	ASSERT_EQ(0, fq_send(&q, 1, self->frame, DEMI_FRAME_DESCS_MAX + 1));
	EXPECT_EQ(1, counters(&q).rx_no_buffer);
	ASSERT_EQ(0, fq_send(&q, 1, self->frame, DEMI_FRAME_DESCS_MAX));
	EXPECT_EQ(1, counters(&q).rx_frames);
	EXPECT_EQ(DEMI_FRAME_DESCS_MAX, kmod_filled(&q.q.rx));
	EXPECT_EQ(0, memcmp(q.mem + 8192, self->frame, DEMI_FRAME_DESCS_MAX));
	fq_close(&q);
}

/* ---- broken rings -------------------------------------------------------------------------- */

#define BYTES ((uint64_t)FQ_BUFS * FQ_BUF)

TEST_F(deliver, bad_descriptors)
{
	struct fq *q = &self->q;
	const struct demi_desc bad[] = {
		{ 0, 100, 0, 0 },
		{ 0, 100, q->region + 1, 0 },
		{ 0, 100, 65535, 0 },
		{ 0, 0, q->region, 0 },
		{ BYTES, 1, q->region, 0 },
		{ BYTES - 1, 2, q->region, 0 },
		{ 0, BYTES + 1, q->region, 0 },
		{ ~0ULL, 1, q->region, 0 },
		{ ~0ULL, 2, q->region, 0 },
		{ ~0ULL - 99, 200, q->region, 0 },
		{ 4096, ~0U, q->region, 0 },
		{ 0, 100, q->region, DEMI_DESC_F_MORE },
		{ 0, 100, q->region, 0x8000 },
	};
	const unsigned int n = sizeof(bad) / sizeof(bad[0]);
	struct demi_desc d;
	unsigned int i;

	for (i = 0; i < n; i++) {
		kmod_put(&q->q.rx_fill, bad[i]);
		fq_post(q, 9);
		ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
		ASSERT_TRUE(kmod_take(&q->q.rx, &d));
		EXPECT_EQ(9 * FQ_BUF, d.offset);
		EXPECT_EQ(i + 1, counters(q).rx_bad_desc);
		EXPECT_EQ(2 * (i + 1), *q->q.rx_fill.consumer);
	}
	EXPECT_EQ(n, counters(q).rx_frames);
	EXPECT_EQ(0, counters(q).rx_no_buffer);
}

/* The last byte of a region is good. */
TEST_F(deliver, end_of_region)
{
	struct fq *q = &self->q;

	post(q, BYTES - 100, 100, q->region, 0);
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
	EXPECT_EQ(1, counters(q).rx_frames);
	EXPECT_EQ(0, memcmp(q->mem + BYTES - 100, self->frame, 100));
}

TEST_F(deliver, bad_between_good)
{
	struct fq *q = &self->q;
	struct demi_desc d;

	post(q, 0, 60, q->region, 0);
	post(q, 0, 60, 0, 0);
	post(q, 4096, 60, q->region, 0);
	/* not enough: nothing is taken, the bad one neither, as good ones are ahead of it */
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 130));
	EXPECT_EQ(1, counters(q).rx_no_buffer);
	EXPECT_EQ(0, counters(q).rx_bad_desc);
	EXPECT_EQ(0, *q->q.rx_fill.consumer);
	ASSERT_EQ(0, fq_send(q, 1, self->frame, 120));
	EXPECT_EQ(1, counters(q).rx_bad_desc);
	EXPECT_EQ(3, *q->q.rx_fill.consumer);
	ASSERT_TRUE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(DEMI_DESC_F_MORE, d.flags);
	ASSERT_TRUE(kmod_take(&q->q.rx, &d));
	EXPECT_EQ(4096, d.offset);
	EXPECT_EQ(60, d.len);
}

/* Nothing but nonsense is taken away, piece by piece, and then good buffers work. */
TEST_F(deliver, ring_of_bad_descriptors)
{
	struct fq q;
	int i;

	ASSERT_EQ(0, fq_mock(&q, self->fd, 1024));
	for (i = 0; i < 1000; i++)
		post(&q, 0, 100, 0, 0);
	fq_post(&q, 9);
	for (i = 0; i < 20 && !counters(&q).rx_frames; i++)
		ASSERT_EQ(0, fq_send(&q, 1, self->frame, 100));
	EXPECT_EQ(1, counters(&q).rx_frames);
	EXPECT_EQ(1000, counters(&q).rx_bad_desc);
	EXPECT_EQ(i - 1, counters(&q).rx_no_buffer);
	/* a frame looks at so many: nobody can keep a receiver busy with nonsense */
	EXPECT_EQ(1000 / DEMI_FRAME_DESCS_MAX + 1, i);
	fq_close(&q);
}

TEST_F(deliver, garbage_indices)
{
	static const uint32_t lies[] = { ENTRIES + 1, 1000, 0x7fffffff, 0x80000000, ~0U - ENTRIES };
	struct fq *q = &self->q;
	unsigned int lost = 0, i;
	struct demi_desc d;

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		uint32_t produced = *q->q.rx_fill.producer, consumed = *q->q.rx.consumer;

		*q->q.rx_fill.producer = produced + lies[i];
		ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
		*q->q.rx_fill.producer = produced;
		ASSERT_EQ(++lost, counters(q).rx_no_buffer);

		fq_post(q, 5);
		*q->q.rx.consumer = consumed + lies[i];
		ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
		*q->q.rx.consumer = consumed;
		ASSERT_EQ(++lost, counters(q).rx_no_buffer);

		/* what the kernel owns may be overwritten: it has its own */
		*q->q.rx.producer += lies[i];
		*q->q.rx_fill.consumer += lies[i];
		ASSERT_EQ(0, fq_send(q, 1, self->frame, 100));
		ASSERT_TRUE(kmod_take(&q->q.rx, &d));
		ASSERT_EQ(5 * FQ_BUF, d.offset);
		ASSERT_EQ(i + 1, counters(q).rx_frames);
	}
}

/* tx_done: each descriptor comes back once, with what it named. */
TEST_F(deliver, garbage_in_tx)
{
	struct fq *q = &self->q;
	const struct demi_desc bad[] = {
		{ 0, 100, 0, 0 },
		{ BYTES - 1, 100, q->region, 0 },
		{ ~0ULL - 10, 100, q->region, 0 },
		{ 7, 0, 9, 0 },
	};
	struct demi_desc d;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		kmod_put(&q->q.tx, bad[i]);
		ASSERT_EQ(0, kmod_kick(q->q.fd, NULL));
		ASSERT_TRUE(kmod_take(&q->q.tx_done, &d));
		EXPECT_EQ(bad[i].offset, d.offset);
		EXPECT_EQ(bad[i].region, d.region);
		EXPECT_TRUE(d.flags & DEMI_DESC_F_ERROR);
		EXPECT_NE(0, d.len);
		EXPECT_FALSE(kmod_take(&q->q.tx_done, &d));
	}
	EXPECT_EQ(0, counters(q).tx_frames);
	/* no room for what comes back: it is not taken, and then it is */
	*q->q.tx_done.consumer -= ENTRIES;
	kmod_put(&q->q.tx, (struct demi_desc){ 0, 100, q->region, 0 });
	EXPECT_EQ(-EAGAIN, kmod_kick(q->q.fd, NULL));
	*q->q.tx_done.consumer += ENTRIES;
	EXPECT_EQ(0, kmod_kick(q->q.fd, NULL));
	EXPECT_TRUE(kmod_take(&q->q.tx_done, &d));
}

struct scribbler {
	struct fq *q;
	bool stop;
	uint64_t seed;
};

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* For a moment only: an index that stays wrong stops the ring, and nothing more would be tried. */
static void lie(volatile uint32_t *index, uint32_t value)
{
	uint32_t truth = *index;

	*index = value;
	*index = value * 3;
	*index = truth;
}

/* Everything that the user can write, at any time. */
static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	struct kmod_queue *k = &s->q->q;
	struct kmod_ring *rings[] = { &k->rx_fill, &k->rx, &k->tx, &k->tx_done };

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		uint64_t r = next_random(&s->seed);
		struct kmod_ring *ring = rings[r & 3];
		struct demi_desc *d = &ring->desc[r >> 8 & ring->mask];

		switch (r >> 2 & 63) {
		case 0:
			lie(ring->producer, next_random(&s->seed));
			break;
		case 1:
			lie(ring->consumer, next_random(&s->seed));
			break;
		case 2:
			*ring->flags = next_random(&s->seed);
			break;
		case 3:
			d->offset = next_random(&s->seed);
			break;
		case 4:
			d->len = next_random(&s->seed);
			break;
		case 5 ... 20:
			/* what makes sense now and then, so that frames get far */
			if (ring == &k->rx_fill || ring == &k->tx)
				*ring->producer = *ring->consumer + (r >> 40 & ring->mask);
			else
				*ring->consumer = *ring->producer;
			break;
		default:
			*d = (struct demi_desc){ r >> 20 & (BYTES - 1), r >> 52, s->q->region + (r >> 61 == 0),
						 (r >> 48 & 7) == 0 };
		}
	}
	return NULL;
}

/* A queue whose user writes nonsense everywhere while frames pass; another of the same context loses nothing. */
TEST_F(deliver, scribbling)
{
	struct scribbler s[2] = {};
	uint8_t got[FQ_BUF];
	pthread_t threads[2];
	struct fq victim;
	/* each one waits for its turn beside two threads that never sleep */
	unsigned int frames = kmod_amount("DEMI_SCRIBBLED_FRAMES", 3000, 300), i;

	ASSERT_EQ(0, fq_mock(&victim, self->fd, ENTRIES));
	for (i = 0; i < 2; i++) {
		s[i].q = &self->q;
		ASSERT_EQ(sizeof(s[i].seed), getrandom(&s[i].seed, sizeof(s[i].seed), 0));
		s[i].seed |= 1;
		TH_LOG("seed %llx", (unsigned long long)s[i].seed);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, scribble, &s[i]));
	}
	for (i = 0; i < ENTRIES; i++)
		fq_post(&victim, 2 + i);
	for (i = 0; i < frames; i++) {
		kmod_kick(self->q.q.fd, NULL);
		memcpy(self->frame + FQ_HDR, &i, sizeof(i));
		ASSERT_EQ(0, fq_send(&victim, 1, self->frame, 1000));
		ASSERT_EQ(1000, fq_recv(&victim, got, sizeof(got), 10000));
		ASSERT_EQ(0, memcmp(got, self->frame, 1000));
	}
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&s[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
	}
	EXPECT_EQ(frames, counters(&victim).rx_frames);
	EXPECT_EQ(0, counters(&victim).rx_no_buffer);
	EXPECT_EQ(0, counters(&victim).rx_bad_desc);
	/* the scribblers' queue did get frames, and lost some */
	TH_LOG("%llu sent, %llu bad; %llu received, %llu without buffer, %llu bad buffers",
	       (unsigned long long)counters(&self->q).tx_frames, (unsigned long long)counters(&self->q).tx_bad_desc,
	       (unsigned long long)counters(&self->q).rx_frames, (unsigned long long)counters(&self->q).rx_no_buffer,
	       (unsigned long long)counters(&self->q).rx_bad_desc);
	EXPECT_NE(0, counters(&self->q).tx_frames + counters(&self->q).tx_bad_desc);
	fq_close(&victim);
}

/* Who sleeps is woken, and is woken only if it asked. */
TEST_F(deliver, wakeups)
{
	struct fq *q = &self->q;
	struct pollfd p = { .fd = q->q.fd, .events = POLLIN };
	struct demi_desc d;

	fq_post(q, 4);
	fq_post(q, 5);
	memcpy(fq_buf(q, 1), self->frame, 100);
	kmod_put(&q->q.tx, (struct demi_desc){ FQ_BUF, 100, q->region, 0 });
	ASSERT_EQ(0, kmod_kick(q->q.fd, NULL));
	EXPECT_EQ(0, counters(q).rx_wakeups);
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_TRUE(p.revents & POLLIN);
	ASSERT_TRUE(kmod_take(&q->q.rx, &d));
	ASSERT_TRUE(kmod_take(&q->q.tx_done, &d));
	EXPECT_EQ(0, poll(&p, 1, 0));
	*q->q.rx.flags = DEMI_RING_NEED_WAKEUP;
	kmod_put(&q->q.tx, (struct demi_desc){ FQ_BUF, 100, q->region, 0 });
	ASSERT_EQ(0, kmod_kick(q->q.fd, NULL));
	EXPECT_EQ(1, counters(q).rx_wakeups);
}

TEST_HARNESS_MAIN
