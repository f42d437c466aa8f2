// SPDX-License-Identifier: MIT
/* Groups: queues that share a listener. */
#include "kselftest_harness.h"

#include "demi_test.h"

#define QUEUES 3

FIXTURE(groups)
{
	struct dt_ctx c;
	struct dt_queue q[QUEUES];
	uint32_t group;
	int flow;
	uint8_t buf[DEMI_FRAME_MAX];
};

static int group_create(const struct dt_ctx *c)
{
	struct demi_group_create arg = { .size = sizeof(arg) };
	int err = dt_ioctl(c->fd, DEMI_GROUP_CREATE, &arg);

	return err ? err : (int)arg.group_id;
}

static int group_set(const struct dt_ctx *c, uint32_t group, const uint32_t *queues)
{
	struct demi_group_set arg = {
		.size = sizeof(arg),
		.group_id = group,
		.count = DEMI_GROUP_ENTRIES,
		.queues = (uintptr_t)queues,
	};

	return dt_ioctl(c->fd, DEMI_GROUP_SET, &arg);
}

static int group_destroy(const struct dt_ctx *c, uint32_t group)
{
	struct demi_group_destroy arg = { .size = sizeof(arg), .group_id = group };

	return dt_ioctl(c->fd, DEMI_GROUP_DESTROY, &arg);
}

/* Entry i to queue i % n. */
static int group_spread(const struct dt_ctx *c, uint32_t group, const struct dt_queue *q, int n)
{
	uint32_t ids[DEMI_GROUP_ENTRIES];

	for (int i = 0; i < DEMI_GROUP_ENTRIES; i++)
		ids[i] = n ? q[i % n].id : 0;
	return group_set(c, group, ids);
}

FIXTURE_SETUP(groups)
{
	int r;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&self->c));
	for (int i = 0; i < QUEUES; i++)
		ASSERT_EQ(0, dt_queue_open(&self->q[i], &self->c, 64));
	r = group_create(&self->c);
	ASSERT_LT(0, r);
	self->group = r;
	r = dt_reserve(&self->c, IPPROTO_UDP, 0, "127.0.0.1", 5000);
	ASSERT_LT(0, r);
	self->flow = dt_flow(&self->c, r, DEMI_FLOW_F_GROUP, self->group, NULL, 0, NULL, 0);
	ASSERT_LT(0, self->flow);
}

FIXTURE_TEARDOWN(groups)
{
	for (int i = 0; i < QUEUES; i++)
		dt_queue_close(&self->q[i]);
	dt_close(&self->c);
}

/* One datagram of each of @n ports from @first on; all have arrived. */
static int send_from(uint16_t first, int n)
{
	for (uint16_t port = first; port < first + n; port++) {
		int fd = dt_socket(SOCK_DGRAM, "127.0.0.2", port), err;

		err = fd < 0 ? fd : dt_send(fd, "127.0.0.1", 5000, &port, sizeof(port));
		if (err)
			return err;
		close(fd);
	}
	return dt_settle();
}

TEST_F(groups, empty_group_drops)
{
	int fd = dt_socket(SOCK_DGRAM, "127.0.0.2", 6000);
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, "127.0.0.1", 5000);

	/* dropped: the stack does not see it, and says nothing */
	ASSERT_EQ(0, connect(fd, (struct sockaddr *)&ss, len));
	ASSERT_EQ(1, send(fd, "x", 1, 0));
	for (int i = 0; i < QUEUES; i++)
		DT_EXPECT_NOTHING(&self->q[i]);
	EXPECT_EQ(-1, recv(fd, self->buf, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* Each flow has its queue, the same every time; all queues get some. */
TEST_F(groups, spread)
{
	int8_t at[60];

	ASSERT_EQ(0, group_spread(&self->c, self->group, self->q, QUEUES));
	memset(at, -1, sizeof(at));
	for (int round = 0; round < 2; round++) {
		int seen = 0, by[QUEUES] = { 0 };

		ASSERT_EQ(0, send_from(6000, 60));
		for (int i = 0; i < QUEUES; i++) {
			struct dt_packet p;
			int len;

			while ((len = dt_pop_now(&self->q[i], NULL, self->buf, sizeof(self->buf))) > 0) {
				ASSERT_TRUE(dt_parse(&p, self->buf, len));
				ASSERT_LE(6000, p.sport);
				ASSERT_GT(6060, p.sport);
				ASSERT_TRUE(at[p.sport - 6000] == (round ? i : -1));
				at[p.sport - 6000] = i;
				by[i]++;
				seen++;
			}
			/* 60 coins that all avoid a third: 1 in 10^10 */
			EXPECT_LT(0, by[i]);
		}
		EXPECT_EQ(60, seen);
	}
}

/* The table is replaced as a whole. */
TEST_F(groups, replaced)
{
	struct demi_queue_counters count;

	ASSERT_EQ(0, group_spread(&self->c, self->group, &self->q[0], 1));
	ASSERT_EQ(0, send_from(6000, 20));
	ASSERT_EQ(0, group_spread(&self->c, self->group, &self->q[1], 1));
	ASSERT_EQ(0, send_from(6000, 20));
	for (int i = 0; i < QUEUES; i++) {
		ASSERT_EQ(0, dt_counters(&self->q[i], &count));
		EXPECT_EQ(i < 2 ? 20 : 0, count.rx_frames);
	}
}

/* The table loses a queue that ends, and keeps the others. */
TEST_F(groups, queue_ends)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg) };
	struct demi_queue_counters before, after;

	ASSERT_EQ(0, group_spread(&self->c, self->group, self->q, 2));
	ASSERT_EQ(0, send_from(6000, 40));
	ASSERT_EQ(0, dt_counters(&self->q[1], &before));
	ASSERT_EQ(0, dt_ioctl(self->q[0].fd, DEMI_QUEUE_SHUTDOWN, &arg));
	ASSERT_EQ(0, send_from(6000, 40));
	ASSERT_EQ(0, dt_counters(&self->q[1], &after));
	EXPECT_EQ(2 * before.rx_frames, after.rx_frames);
	/* and it cannot come back */
	EXPECT_EQ(-ENODEV, group_spread(&self->c, self->group, self->q, 2));
	ASSERT_EQ(0, dt_counters(&self->q[1], &after));
	ASSERT_EQ(0, send_from(6000, 40));
	ASSERT_EQ(0, dt_counters(&self->q[1], &before));
	EXPECT_LT(after.rx_frames, before.rx_frames);
}

TEST_F(groups, busy)
{
	EXPECT_EQ(-EBUSY, group_destroy(&self->c, self->group));
	ASSERT_EQ(0, dt_flow_del(&self->c, self->flow));
	EXPECT_EQ(0, group_destroy(&self->c, self->group));
	EXPECT_EQ(-ENOENT, group_destroy(&self->c, self->group));
}

TEST_F(groups, arguments)
{
	uint32_t ids[DEMI_GROUP_ENTRIES] = { 0 };
	struct demi_group_create create = { .size = sizeof(create), .flags = 1 };
	struct demi_group_destroy destroy = { .size = sizeof(destroy), .group_id = self->group };
	struct demi_group_set set = {
		.size = sizeof(set),
		.group_id = self->group,
		.count = DEMI_GROUP_ENTRIES,
		.queues = (uintptr_t)ids,
	};
	struct dt_ctx other;
	struct dt_queue q;

	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_GROUP_CREATE, &create));
	create = (struct demi_group_create){ .size = sizeof(create), .__reserved = 1 };
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_GROUP_CREATE, &create));

	set.flags = 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_GROUP_SET, &set));
	set.flags = 0;
	set.count = DEMI_GROUP_ENTRIES - 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_GROUP_SET, &set));
	set.count = DEMI_GROUP_ENTRIES;
	set.group_id = 4711;
	EXPECT_EQ(-ENOENT, dt_ioctl(self->c.fd, DEMI_GROUP_SET, &set));
	set.group_id = self->group;
	set.queues = 0;
	EXPECT_EQ(-EFAULT, dt_ioctl(self->c.fd, DEMI_GROUP_SET, &set));
	ids[127] = 4711;
	EXPECT_EQ(-ENOENT, group_set(&self->c, self->group, ids));
	ASSERT_EQ(0, dt_queue_open_kind(&q, &self->c, DEMI_QUEUE_CAPTURE, 0, 4));
	ids[127] = q.id;
	EXPECT_EQ(-EINVAL, group_set(&self->c, self->group, ids));
	ASSERT_EQ(0, dt_open(&other));
	ASSERT_EQ(0, dt_queue_open(&q, &other, 4));
	ids[127] = q.id;
	EXPECT_EQ(-EACCES, group_set(&self->c, self->group, ids));
	EXPECT_EQ(-ENOENT, group_set(&other, self->group, ids));

	destroy.flags = 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_GROUP_DESTROY, &destroy));
	destroy = (struct demi_group_destroy){ .size = sizeof(destroy), .group_id = self->group, .__reserved = 1 };
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_GROUP_DESTROY, &destroy));
}

TEST_HARNESS_MAIN
