/* SPDX-License-Identifier: MIT */
/* also: 32 bit */
/* A queue of the mock device, whose frames come back: the whole turn of the four rings. */
#include "kmod.h"

#include <linux/virtio_net.h>

#define BUFFER 2048

FIXTURE(queue)
{
	int ctx;
	unsigned int device, region;
	char *mem;
	struct kmod_queue q;
};

FIXTURE_SETUP(queue)
{
	struct demi_queue_create request;

	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
	self->device = kmod_device(self->ctx, "mock0");
	ASSERT_NE(0, self->device);
	ASSERT_EQ(0, kmod_bind(self->ctx, self->device, 0));
	self->mem = mmap(NULL, 64 * BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_EQ(0, kmod_region(self->ctx, self->mem, 64 * BUFFER, &self->region));
	request = kmod_queue_request(self->device);
	ASSERT_EQ(0, kmod_queue_make(&self->q, self->ctx, &request));
}

FIXTURE_TEARDOWN(queue)
{
	kmod_queue_close(&self->q);
	close(self->ctx);
	munmap(self->mem, 64 * BUFFER);
}

static struct demi_desc desc(unsigned int region, unsigned int buffer, unsigned int len, unsigned int flags)
{
	return (struct demi_desc){ .offset = (uint64_t)buffer * BUFFER, .len = len, .region = region, .flags = flags };
}

static short events(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST_F(queue, a_frame_comes_back)
{
	struct demi_desc d;
	struct demi_queue_info info;
	unsigned int sent;
	int i;

	ASSERT_EQ(POLLOUT, events(self->q.fd));
	for (i = 0; i < 100; i++) {
		kmod_put(&self->q.rx_fill, desc(self->region, 1, BUFFER, 0));
		memset(self->mem, 0, BUFFER);
		sprintf(self->mem + sizeof(struct virtio_net_hdr_v1), "frame %d", i);
		kmod_put(&self->q.tx, desc(self->region, 0, 100 + i, 0));
		ASSERT_EQ(DEMI_RING_NEED_WAKEUP, *self->q.tx.flags);
		ASSERT_EQ(0, kmod_kick(self->q.fd, &sent));
		ASSERT_EQ(1, sent);
		ASSERT_EQ(POLLIN | POLLOUT, events(self->q.fd));

		ASSERT_TRUE(kmod_take(&self->q.tx_done, &d));
		ASSERT_EQ(DEMI_DESC_F_COPIED, d.flags);
		ASSERT_EQ(0, d.offset);
		ASSERT_EQ(self->region, d.region);
		ASSERT_TRUE(kmod_take(&self->q.rx, &d));
		ASSERT_EQ(BUFFER, d.offset);
		ASSERT_EQ(100 + i, d.len);
		ASSERT_EQ(0, d.flags);
		ASSERT_EQ(0, memcmp(self->mem, self->mem + BUFFER, d.len));
		ASSERT_FALSE(kmod_take(&self->q.rx, &d));
		ASSERT_EQ(POLLOUT, events(self->q.fd));
	}
	ASSERT_EQ(0, kmod_queue_info(self->ctx, self->q.id, &info));
	ASSERT_EQ(100, info.counters.rx_frames);
	ASSERT_EQ(100, info.counters.tx_frames);
	ASSERT_EQ(0, info.rx_used);
	ASSERT_EQ(0, info.rx_fill_used);
	ASSERT_EQ(self->q.map_bytes, info.ring_bytes);
	ASSERT_LT(info.kernel_bytes, 8192);
	ASSERT_LT(1024, info.kernel_bytes);
}

TEST_F(queue, a_long_frame_takes_several_buffers)
{
	struct demi_desc d;
	unsigned int sent, i;

	for (i = 0; i < 3 * BUFFER; i++)
		self->mem[i] = i < sizeof(struct virtio_net_hdr_v1) ? 0 : i * 7;
	kmod_put(&self->q.tx, desc(self->region, 0, BUFFER, DEMI_DESC_F_MORE));
	kmod_put(&self->q.tx, desc(self->region, 1, BUFFER, DEMI_DESC_F_MORE));
	kmod_put(&self->q.tx, desc(self->region, 2, 500, 0));
	for (i = 3; i < 10; i++)
		kmod_put(&self->q.rx_fill, desc(self->region, i, 1000, 0));
	ASSERT_EQ(0, kmod_kick(self->q.fd, &sent));
	ASSERT_EQ(3, sent);
	for (i = 0; i < 5; i++) {
		unsigned int len = i < 4 ? 1000 : 2 * BUFFER + 500 - 4000;

		ASSERT_TRUE(kmod_take(&self->q.rx, &d));
		ASSERT_EQ(len, d.len);
		ASSERT_EQ(i < 4 ? DEMI_DESC_F_MORE : 0, d.flags);
		ASSERT_EQ(0, memcmp(self->mem + d.offset, self->mem + i * 1000, len));
	}
	ASSERT_FALSE(kmod_take(&self->q.rx, &d));
}

TEST_F(queue, a_frame_without_buffers_is_counted)
{
	struct demi_queue_info info;
	struct demi_desc d;

	kmod_put(&self->q.tx, desc(self->region, 0, 100, 0));
	ASSERT_EQ(0, kmod_kick(self->q.fd, NULL));
	ASSERT_TRUE(kmod_take(&self->q.tx_done, &d));
	ASSERT_FALSE(kmod_take(&self->q.rx, &d));
	ASSERT_EQ(0, kmod_queue_info(self->q.fd, 0, &info));
	ASSERT_EQ(1, info.counters.rx_no_buffer);
	ASSERT_EQ(0, info.counters.rx_frames);
}

/* Every index and descriptor that is wrong loses its own frames, and the queue goes on. */
TEST_F(queue, rings_that_lie)
{
	unsigned int seed = 1, i, n;
	struct kmod_ring *rings[] = { &self->q.rx_fill, &self->q.rx, &self->q.tx, &self->q.tx_done };

	for (i = 0; i < 2000; i++) {
		struct kmod_ring *r = rings[rand_r(&seed) % 4];

		for (n = 0; n < 4; n++) {
			r->desc[rand_r(&seed) & r->mask] = (struct demi_desc){
				.offset = (uint64_t)rand_r(&seed) << (rand_r(&seed) % 34),
				.len = rand_r(&seed) >> (rand_r(&seed) % 31),
				.region = rand_r(&seed) % 3 ? self->region : rand_r(&seed),
				.flags = rand_r(&seed) % 4 ? 0 : rand_r(&seed),
			};
		}
		if (rand_r(&seed) % 2)
			*r->producer += rand_r(&seed) % 20;
		else if (rand_r(&seed) % 4 == 0)
			*r->producer = rand_r(&seed);
		if (rand_r(&seed) % 8 == 0)
			*r->consumer = rand_r(&seed);
		n = kmod_kick(self->q.fd, NULL);
		ASSERT_TRUE(n == 0 || n == -EAGAIN);
	}
}

TEST_F(queue, shutdown)
{
	struct demi_queue_info info;

	*self->q.tx.producer = 0;
	ASSERT_EQ(0, kmod_shutdown(self->ctx, self->q.id));
	ASSERT_EQ(POLLHUP | POLLERR, events(self->q.fd));
	ASSERT_EQ(-ENODEV, kmod_kick(self->q.fd, NULL));
	/* the mapping is another page now, and takes what is written */
	*self->q.tx.producer = 77;
	ASSERT_EQ(77, *self->q.tx.producer);
	ASSERT_EQ(0, *self->q.tx.flags);
	ASSERT_EQ(0, kmod_shutdown(self->q.fd, 0));
	ASSERT_EQ(0, kmod_queue_info(self->ctx, self->q.id, &info));
	ASSERT_EQ(DEMI_QUEUE_STATE_SHUTDOWN, info.state);
}

TEST_HARNESS_MAIN
