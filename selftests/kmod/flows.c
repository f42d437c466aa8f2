// SPDX-License-Identifier: MIT
/* Arguments of reservations and flows, one wrong field at a time, and the list of flows. */
#include "kselftest_harness.h"

#include "demi_test.h"

#include <grp.h>
#include <sys/stat.h>

FIXTURE(flows)
{
	struct dt_ctx c;
	struct dt_queue q;
	int r;
	struct demi_port_reserve reserve; /* each of these is good */
	struct demi_flow_add add;
};

FIXTURE_SETUP(flows)
{
	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&self->c));
	ASSERT_EQ(0, dt_queue_open(&self->q, &self->c, 4));
	self->r = dt_reserve(&self->c, IPPROTO_UDP, 0, "127.0.0.1", 5000);
	ASSERT_LT(0, self->r);
	self->reserve = (struct demi_port_reserve){
		.size = sizeof(self->reserve),
		.protocol = IPPROTO_UDP,
		.local = dt_addr("127.0.0.1", 5001),
	};
	self->add = (struct demi_flow_add){
		.size = sizeof(self->add),
		.reservation_id = self->r,
		.target = self->q.id,
		.local = dt_addr("127.0.0.1", 5000),
		.remote = dt_addr("127.0.0.2", 6000),
	};
}

FIXTURE_TEARDOWN(flows)
{
	dt_queue_close(&self->q);
	dt_close(&self->c);
}

/* The good argument with one statement applied. */
#define EXPECT_RESERVE(expected, statement)                                                                            \
	do {                                                                                                           \
		struct demi_port_reserve arg = self->reserve, before;                                                  \
		statement;                                                                                             \
		before = arg;                                                                                          \
		EXPECT_EQ(expected, dt_ioctl(self->c.fd, DEMI_PORT_RESERVE, &arg));                                    \
		EXPECT_EQ(0, (expected) ? memcmp(&before, &arg, sizeof(arg)) : 0);                                     \
		if (!(expected))                                                                                       \
			EXPECT_EQ(0, dt_release(&self->c, arg.reservation_id));                                        \
	} while (0)

TEST_F(flows, reserve_fields)
{
	EXPECT_RESERVE(0, );
	EXPECT_RESERVE(-EINVAL, arg.size = 0);
	EXPECT_RESERVE(-EINVAL, arg.size--);
	EXPECT_RESERVE(-EINVAL, arg.flags = 8);
	EXPECT_RESERVE(-EINVAL, arg.flags = 1U << 31);
	EXPECT_RESERVE(-EINVAL, arg.flags = DEMI_PORT_F_DUAL);
	EXPECT_RESERVE(-EINVAL, (arg.protocol = IPPROTO_TCP, arg.flags = DEMI_PORT_F_BROADCAST));
	EXPECT_RESERVE(-EINVAL, (arg.protocol = IPPROTO_TCP, arg.flags = DEMI_PORT_F_MULTICAST));
	EXPECT_RESERVE(-EOPNOTSUPP, arg.protocol = 0);
	EXPECT_RESERVE(-EOPNOTSUPP, arg.protocol = IPPROTO_ICMP);
	EXPECT_RESERVE(-EOPNOTSUPP, arg.protocol = IPPROTO_UDP + 256);
	EXPECT_RESERVE(-ENODEV, arg.ifindex = 4711);
	EXPECT_RESERVE(-ENODEV, arg.ifindex = ~0U);
	EXPECT_RESERVE(-EINVAL, arg.local.family = 0);
	EXPECT_RESERVE(-EINVAL, arg.local.family = AF_UNIX);
	EXPECT_RESERVE(-EINVAL, arg.local.scope_id = 1);
	EXPECT_RESERVE(-EINVAL, arg.local.addr[4] = 1);
	EXPECT_RESERVE(-EINVAL, arg.local.addr[15] = 1);
	EXPECT_RESERVE(-EINVAL, (arg.local = dt_addr("::1", 5001), arg.local.scope_id = 1));
	EXPECT_RESERVE(-EINVAL, arg.__reserved = 1);
	EXPECT_RESERVE(0, arg.mark = 7);
	EXPECT_RESERVE(0, arg.priority = 7);
	EXPECT_EQ(-EFAULT, dt_ioctl(self->c.fd, DEMI_PORT_RESERVE, NULL));
}

TEST_F(flows, release_fields)
{
	struct demi_port_release arg = { .size = sizeof(arg), .reservation_id = self->r, .flags = 1 };

	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_PORT_RELEASE, &arg));
	arg.flags = 0;
	arg.__reserved = 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_PORT_RELEASE, &arg));
	arg.__reserved = 0;
	arg.reservation_id = 4711;
	EXPECT_EQ(-ENOENT, dt_ioctl(self->c.fd, DEMI_PORT_RELEASE, &arg));
	arg.reservation_id = ~0U;
	EXPECT_EQ(-ENOENT, dt_ioctl(self->c.fd, DEMI_PORT_RELEASE, &arg));
	arg.reservation_id = self->r;
	EXPECT_EQ(0, dt_ioctl(self->c.fd, DEMI_PORT_RELEASE, &arg));
	EXPECT_EQ(-ENOENT, dt_ioctl(self->c.fd, DEMI_PORT_RELEASE, &arg));
}

#define EXPECT_ADD(expected, statement)                                                                                \
	do {                                                                                                           \
		struct demi_flow_add arg = self->add;                                                                  \
		statement;                                                                                             \
		EXPECT_EQ(expected, dt_ioctl(self->c.fd, DEMI_FLOW_ADD, &arg));                                        \
		if (!(expected))                                                                                       \
			EXPECT_EQ(0, dt_flow_del(&self->c, arg.flow_id));                                              \
	} while (0)

TEST_F(flows, add_fields)
{
	struct demi_addr none = { 0 };

	EXPECT_ADD(0, );
	EXPECT_ADD(0, arg.local = none; arg.remote = none);
	EXPECT_ADD(0, arg.local = none);
	EXPECT_ADD(0, arg.remote = none);
	EXPECT_ADD(-EINVAL, arg.size--);
	EXPECT_ADD(-EINVAL, arg.flags = 4);
	EXPECT_ADD(-EINVAL, arg.__reserved = 1);
	EXPECT_ADD(-ENOENT, arg.reservation_id = 4711);
	EXPECT_ADD(-ENOENT, arg.target = 4711);
	EXPECT_ADD(-ENOENT, arg.flags = DEMI_FLOW_F_GROUP; arg.target = 4711);
	EXPECT_ADD(-EINVAL, arg.local.family = AF_UNIX);
	EXPECT_ADD(-EINVAL, arg.local = none; arg.local.port = htons(5000));
	EXPECT_ADD(-EINVAL, arg.local.scope_id = 1);
	EXPECT_ADD(-EINVAL, arg.local.addr[4] = 1);
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local.port = htons(5001));
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local.port = 0);
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local = dt_addr("127.0.0.2", 5000));
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local = dt_addr("0.0.0.0", 5000));
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local = dt_addr("::1", 5000));
	EXPECT_ADD(-EINVAL, arg.remote.family = AF_UNIX);
	EXPECT_ADD(-EINVAL, arg.remote.port = 0);
	EXPECT_ADD(-EINVAL, arg.remote.scope_id = 1);
	EXPECT_ADD(-EINVAL, arg.remote.addr[15] = 1);
	EXPECT_ADD(-EINVAL, arg.remote = none; arg.remote.port = htons(6000));
	EXPECT_ADD(-EINVAL, arg.remote = dt_addr("0.0.0.0", 6000));
	EXPECT_ADD(-EINVAL, arg.remote = dt_addr("224.0.0.1", 6000));
	EXPECT_ADD(-EINVAL, arg.remote = dt_addr("255.255.255.255", 6000));
	EXPECT_ADD(-EINVAL, arg.remote = dt_addr("::1", 6000));
	EXPECT_ADD(-EINVAL, arg.flags = DEMI_FLOW_F_MULTICAST);
}

TEST_F(flows, under_any_address)
{
	struct demi_addr none = { 0 };
	int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "0.0.0.0", 5002);
	int r6 = dt_reserve(&self->c, IPPROTO_UDP, DEMI_PORT_F_DUAL, "::", 5003);

	ASSERT_LT(0, r);
	ASSERT_LT(0, r6);
	self->add.reservation_id = r;
	self->add.local.port = htons(5002);
	EXPECT_ADD(0, );
	EXPECT_ADD(0, arg.local.addr[3] = 9);
	/* not this host's; a peer needs to know which of our addresses it is a peer of */
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local = dt_addr("192.0.2.1", 5002));
	EXPECT_ADD(-EADDRNOTAVAIL, arg.local = dt_addr("::1", 5002); arg.remote = dt_addr("::1", 1));
	EXPECT_ADD(-EINVAL, arg.local = none);
	self->add.reservation_id = r6;
	self->add.local.port = htons(5003);
	EXPECT_ADD(0, );
	EXPECT_ADD(0, arg.local = dt_addr("::1", 5003); arg.remote = dt_addr("::1", 1));
	EXPECT_ADD(-EINVAL, arg.local = dt_addr("::ffff:127.0.0.1", 5003));
	EXPECT_ADD(-EINVAL, arg.remote = dt_addr("fe80::1", 1); arg.local = dt_addr("::1", 5003));
}

TEST_F(flows, duplicates)
{
	struct demi_flow_add arg = self->add;

	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_ADD, &arg));
	EXPECT_EQ(-EADDRINUSE, dt_ioctl(self->c.fd, DEMI_FLOW_ADD, &self->add));
	ASSERT_EQ(0, dt_flow_del(&self->c, arg.flow_id));
	EXPECT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_ADD, &self->add));
}

TEST_F(flows, targets)
{
	struct demi_queue_shutdown end = { .size = sizeof(end) };
	struct dt_queue q;
	struct dt_ctx other;

	ASSERT_EQ(0, dt_queue_open_kind(&q, &self->c, DEMI_QUEUE_CAPTURE, 0, 4));
	EXPECT_ADD(-EINVAL, arg.target = q.id);
	ASSERT_EQ(0, dt_open(&other));
	ASSERT_EQ(0, dt_queue_open(&q, &other, 4));
	EXPECT_ADD(-EACCES, arg.target = q.id);
	/* another context's reservation is not known here */
	EXPECT_EQ(-ENOENT, dt_flow(&other, self->r, 0, q.id, NULL, 0, NULL, 0));
	ASSERT_EQ(0, dt_ioctl(self->q.fd, DEMI_QUEUE_SHUTDOWN, &end));
	EXPECT_ADD(-ENODEV, );
}

TEST_F(flows, del_fields)
{
	struct demi_flow_del arg = { .size = sizeof(arg), .flags = 1 };
	int flow = dt_flow(&self->c, self->r, 0, self->q.id, NULL, 0, NULL, 0);

	ASSERT_LT(0, flow);
	arg.flow_id = flow;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_FLOW_DEL, &arg));
	arg.flags = 0;
	arg.__reserved = 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_FLOW_DEL, &arg));
	arg.__reserved = 0;
	EXPECT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_DEL, &arg));
	EXPECT_EQ(-ENOENT, dt_ioctl(self->c.fd, DEMI_FLOW_DEL, &arg));
}

/* ---- the list ------------------------------------------------------------------------------ */

struct wide_entry {
	struct demi_flow_entry e;
	uint32_t newer[4];
};

TEST_F(flows, list)
{
	struct wide_entry e[4];
	struct demi_flow_list arg = {
		.size = sizeof(arg), .count = 4, .entry_bytes = sizeof(e[0]), .entries = (uintptr_t)e
	};
	struct demi_flow_add one = self->add;
	struct dt_ctx other;
	struct dt_queue q;
	int r;

	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_ADD, &one));
	ASSERT_EQ(0, dt_open(&other));
	ASSERT_EQ(0, dt_queue_open(&q, &other, 4));
	r = dt_reserve(&other, IPPROTO_TCP, 0, "::", 5009);
	ASSERT_LT(0, dt_flow(&other, r, 0, q.id, NULL, 0, NULL, 0));

	memset(e, 0xff, sizeof(e));
	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_LIST, &arg));
	ASSERT_EQ(2, arg.count);
	EXPECT_EQ(one.flow_id, e[0].e.flow_id);
	EXPECT_EQ(self->r, e[0].e.reservation_id);
	EXPECT_EQ(self->q.id, e[0].e.target);
	EXPECT_EQ(0, e[0].e.flags);
	EXPECT_EQ(IPPROTO_UDP, e[0].e.protocol);
	EXPECT_EQ(0, e[0].e.uid);
	EXPECT_EQ(0, memcmp(&one.local, &e[0].e.local, sizeof(one.local)));
	EXPECT_EQ(0, memcmp(&one.remote, &e[0].e.remote, sizeof(one.remote)));
	EXPECT_EQ(0, e[0].newer[0] | e[0].newer[3]);
	EXPECT_EQ(IPPROTO_TCP, e[1].e.protocol);
	EXPECT_EQ(htons(5009), e[1].e.local.port);
	EXPECT_EQ(0, e[1].e.remote.family);
	EXPECT_EQ(0xffffffff, e[2].e.flow_id);

	/* less room than there is */
	memset(e, 0xff, sizeof(e));
	arg.count = 1;
	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_LIST, &arg));
	EXPECT_EQ(2, arg.count);
	EXPECT_EQ(0xffffffff, e[1].e.flow_id);

	arg.flags = 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_FLOW_LIST, &arg));
	arg.flags = 0;
	arg.entry_bytes = sizeof(e[0].e) - 1;
	EXPECT_EQ(-EINVAL, dt_ioctl(self->c.fd, DEMI_FLOW_LIST, &arg));
	arg.entry_bytes = sizeof(e[0]);
	arg.entries = 0;
	EXPECT_EQ(-EFAULT, dt_ioctl(self->c.fd, DEMI_FLOW_LIST, &arg));
}

TEST_F(flows, list_of_another_user)
{
	struct demi_flow_entry e[4];
	struct demi_flow_list arg = {
		.size = sizeof(arg), .count = 4, .entry_bytes = sizeof(e[0]), .entries = (uintptr_t)e
	};
	struct dt_ctx own;

	ASSERT_LT(0, dt_flow(&self->c, self->r, 0, self->q.id, NULL, 0, NULL, 0));
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, setgroups(0, NULL));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	ASSERT_EQ(0, dt_open(&own));
	ASSERT_EQ(0, dt_ioctl(own.fd, DEMI_FLOW_LIST, &arg));
	EXPECT_EQ(0, arg.count);
	/* what a context owns can be seen by who holds its file */
	arg.count = 4;
	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_FLOW_LIST, &arg));
	EXPECT_EQ(1, arg.count);
}

/* ---- ends ---------------------------------------------------------------------------------- */

/* Everything goes with the last file, and the port is free again. */
TEST_F(flows, context_ends)
{
	struct dt_ctx c;
	struct dt_queue q;

	ASSERT_EQ(0, dt_open(&c));
	ASSERT_EQ(0, dt_queue_open(&q, &c, 4));
	ASSERT_LT(0, dt_listen(&q, IPPROTO_TCP, 0, "127.0.0.1", 5005));
	dt_close(&c);
	/* the queue keeps its context */
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&self->c, IPPROTO_TCP, 0, "127.0.0.1", 5005));
	dt_queue_close(&q);
	for (int i = 0; i < 3000; i++) {
		int r = dt_reserve(&self->c, IPPROTO_TCP, 0, "127.0.0.1", 5005);

		if (r > 0)
			return;
		ASSERT_EQ(-EADDRINUSE, r);
		usleep(10000);
	}
	ASSERT_TRUE(false);
}

TEST_F(flows, limits)
{
	int n = 0, err;

	ASSERT_EQ(0, dt_sh("echo 3 >/sys/module/demi/parameters/reservations_max"));
	while ((err = dt_reserve(&self->c, IPPROTO_UDP, 0, "127.0.0.1", 0)) > 0)
		n++;
	dt_sh("echo 4096 >/sys/module/demi/parameters/reservations_max");
	EXPECT_EQ(-EDQUOT, err);
	EXPECT_EQ(2, n);
}

TEST_HARNESS_MAIN
