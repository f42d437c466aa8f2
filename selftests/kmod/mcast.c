// SPDX-License-Identifier: MIT
/* modules: veth */
/* Multicast and broadcast: joined, received, left, between two hosts. */
#include "kselftest_harness.h"

#include "demi_test.h"

FIXTURE(mcast)
{
	int here, there;
	struct dt_ctx c;
	struct dt_queue q;
	int sender;
	uint8_t buf[DEMI_FRAME_MAX];
};

FIXTURE_SETUP(mcast)
{
	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	ASSERT_EQ(0, dt_ip("route add 224.0.0.0/4 dev veth0"));
	ASSERT_EQ(0, dt_open(&self->c));
	ASSERT_EQ(0, dt_queue_open(&self->q, &self->c, 32));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("route add 224.0.0.0/4 dev veth0"));
	self->sender = dt_socket(SOCK_DGRAM, "10.0.0.2", 6000);
	ASSERT_LE(0, self->sender);
	ASSERT_EQ(0, dt_netns_enter(self->here));
}

FIXTURE_TEARDOWN(mcast)
{
	dt_queue_close(&self->q);
	dt_close(&self->c);
}

static bool joined(const char *group)
{
	return !dt_sh("ip maddr show dev veth0 | grep -q '%s'", group);
}

TEST_F(mcast, ipv4)
{
	int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "0.0.0.0", 5000), flow;

	ASSERT_LT(0, r);
	/* who listens on any address is no member */
	ASSERT_LT(0, dt_flow(&self->c, r, 0, self->q.id, NULL, 0, NULL, 0));
	ASSERT_EQ(0, dt_send(self->sender, "239.1.1.1", 5000, "one", 3));
	DT_EXPECT_NOTHING(&self->q);
	EXPECT_FALSE(joined("239.1.1.1"));
	flow = dt_flow(&self->c, r, DEMI_FLOW_F_MULTICAST, self->q.id, "239.1.1.1", 5000, NULL, 0);
	ASSERT_LT(0, flow);
	EXPECT_TRUE(joined("239.1.1.1"));
	ASSERT_EQ(0, dt_send(self->sender, "239.1.1.1", 5000, "two", 3));
	ASSERT_EQ(0, dt_send(self->sender, "239.1.1.2", 5000, "other", 5));
	DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "239.1.1.1", 5000, "two");
	DT_EXPECT_NOTHING(&self->q);
	ASSERT_EQ(0, dt_flow_del(&self->c, flow));
	EXPECT_FALSE(joined("239.1.1.1"));
	ASSERT_EQ(0, dt_send(self->sender, "239.1.1.1", 5000, "three", 5));
	DT_EXPECT_NOTHING(&self->q);
}

TEST_F(mcast, ipv6)
{
	int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "::", 5000), flow, sender;

	ASSERT_LT(0, r);
	flow = dt_flow(&self->c, r, DEMI_FLOW_F_MULTICAST, self->q.id, "ff05::4711%veth0", 5000, NULL, 0);
	ASSERT_LT(0, flow);
	EXPECT_TRUE(joined("ff05::4711"));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	sender = dt_socket(SOCK_DGRAM, "fd00::2", 6000);
	ASSERT_LE(0, sender);
	ASSERT_EQ(0, dt_send(sender, "ff05::4711%veth0", 5000, "one", 3));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	DT_EXPECT_DATAGRAM(&self->q, "fd00::2", "ff05::4711", 5000, "one");
	ASSERT_EQ(0, dt_flow_del(&self->c, flow));
	EXPECT_FALSE(joined("ff05::4711"));
}

/* Flows that differ in their peer are one membership. */
TEST_F(mcast, peers_share_a_membership)
{
	int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "0.0.0.0", 5000), a, b;

	ASSERT_LT(0, r);
	a = dt_flow(&self->c, r, DEMI_FLOW_F_MULTICAST, self->q.id, "239.1.1.1", 5000, "10.0.0.2", 6000);
	b = dt_flow(&self->c, r, DEMI_FLOW_F_MULTICAST, self->q.id, "239.1.1.1", 5000, "10.0.0.2", 6001);
	ASSERT_LT(0, a);
	ASSERT_LT(0, b);
	ASSERT_EQ(0, dt_flow_del(&self->c, b));
	EXPECT_TRUE(joined("239.1.1.1"));
	ASSERT_EQ(0, dt_send(self->sender, "239.1.1.1", 5000, "one", 3));
	DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "239.1.1.1", 5000, "one");
	ASSERT_EQ(0, dt_flow_del(&self->c, a));
	EXPECT_FALSE(joined("239.1.1.1"));
}

TEST_F(mcast, arguments)
{
	int any = dt_reserve(&self->c, IPPROTO_UDP, 0, "0.0.0.0", 5000);
	int one = dt_reserve(&self->c, IPPROTO_UDP, 0, "10.0.0.1", 5001);
	int tcp = dt_reserve(&self->c, IPPROTO_TCP, 0, "0.0.0.0", 5000);
	uint32_t m = DEMI_FLOW_F_MULTICAST, q = self->q.id;

	ASSERT_LT(0, any);
	ASSERT_LT(0, one);
	ASSERT_LT(0, tcp);
	EXPECT_EQ(-EINVAL, dt_flow(&self->c, any, m, q, "10.0.0.1", 5000, NULL, 0));
	EXPECT_EQ(-EINVAL, dt_flow(&self->c, any, m, q, NULL, 0, NULL, 0));
	EXPECT_EQ(-EINVAL, dt_flow(&self->c, tcp, m, q, "239.1.1.1", 5000, NULL, 0));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_flow(&self->c, any, 0, q, "239.1.1.1", 5000, NULL, 0));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_flow(&self->c, one, m, q, "239.1.1.1", 5001, NULL, 0));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_flow(&self->c, any, m, q, "239.1.1.1", 5001, NULL, 0));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_flow(&self->c, any, m, q, "ff05::1", 5000, NULL, 0));
	EXPECT_LT(0, dt_flow(&self->c, any, m, q, "239.1.1.1", 5000, NULL, 0));
	EXPECT_EQ(-EADDRINUSE, dt_flow(&self->c, any, m, q, "239.1.1.1", 5000, NULL, 0));
	ASSERT_EQ(0, dt_ip("route del 224.0.0.0/4 dev veth0"));
	EXPECT_EQ(-ENODEV, dt_flow(&self->c, any, m, q, "239.1.1.2", 5000, NULL, 0));
}

/* The interface goes: no membership is left behind, and the flow can be deleted. */
TEST_F(mcast, interface_goes)
{
	int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "0.0.0.0", 5000), flow;

	flow = dt_flow(&self->c, r, DEMI_FLOW_F_MULTICAST, self->q.id, "239.1.1.1", 5000, NULL, 0);
	ASSERT_LT(0, flow);
	ASSERT_EQ(0, dt_ip("link del veth0"));
	EXPECT_EQ(0, dt_flow_del(&self->c, flow));
	EXPECT_EQ(0, dt_release(&self->c, r));
}

TEST_F(mcast, broadcast)
{
	struct dt_queue q;
	int on = 1;

	ASSERT_EQ(0, dt_queue_open(&q, &self->c, 8));
	ASSERT_EQ(0, setsockopt(self->sender, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)));
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, DEMI_PORT_F_BROADCAST, "0.0.0.0", 5000));
	ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, "0.0.0.0", 5001));
	ASSERT_EQ(0, dt_send(self->sender, "10.0.0.255", 5000, "one", 3));
	ASSERT_EQ(0, dt_send(self->sender, "10.0.0.255", 5001, "two", 3));
	DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "10.0.0.255", 5000, "one");
	DT_EXPECT_NOTHING(&q);
}

TEST_HARNESS_MAIN
