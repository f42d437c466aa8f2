// SPDX-License-Identifier: MIT
/* devices: virtio-tap, timeout: 200 */
/*
 * Several pairs of rings of one function, in the hands of one owner: each sends, receives, sleeps, comes and goes
 * by itself; what arrives is spread over those that are there. The control queue and what an owner can do to it.
 */
#include "kselftest_harness.h"

#include <linux/if_packet.h>
#include <net/if.h>

#include "virtio_test.h"

#define PAIRS 4
#define BUFFERS 32
#define PAGE 4096
#define PORT 7

/* Where the control queue's memory lies for the function: kmod/virtio/net.h */
#define CTL_READ (1ull << 24)
#define CTL_WRITTEN (CTL_READ + PAGE)

/* ---- pairs ---- */

static uint8_t peer_mac[ETH_ALEN];

static int find_peer_mac(void)
{
	unsigned int m[ETH_ALEN];
	char path[128];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/sys/class/net/%s/address", getenv("DEMI_VIRTIO_PEER"));
	f = fopen(path, "r");
	if (!f)
		return -errno;
	n = fscanf(f, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]);
	fclose(f);
	for (int i = 0; i < ETH_ALEN; i++)
		peer_mac[i] = (uint8_t)m[i];
	return n == ETH_ALEN ? 0 : -EIO;
}

/* Its buffers are there: what arrives may come to it. */
static int pair_receives(struct vt *v)
{
	struct demi_queue_kick kick = { .size = sizeof(kick) };
	int err;

	vt_post_buffers(v, BUFFERS);
	err = vt_ioctl(v->queue_fd, DEMI_QUEUE_KICK, &kick);
	if (err)
		vt_queue_close(v);
	return err;
}

/* Pair @i of @v[0]'s owner, with buffers of its own and a place to send from behind them. */
static int pair_open(struct vt *v, int i)
{
	int err;

	v[i] = v[0];
	v[i].mem = v[0].mem + i * (BUFFERS + 1) * VT_BUFFER;
	v[i].iova = v[0].iova + (uint64_t)(v[i].mem - v[0].mem);
	err = vt_queue(&v[i], 64);
	return err ? err : pair_receives(&v[i]);
}

/* An owner with @n pairs. */
static int pairs_open(struct vt *v, int n)
{
	int err = vt_open(&v[0]);

	if (!err)
		err = pair_receives(&v[0]);
	for (int i = 1; i < n && !err; i++)
		err = pair_open(v, i);
	return err;
}

static void pairs_close(struct vt *v, int n)
{
	while (--n)
		vt_queue_close(&v[n]);
	vt_close(&v[0]);
}

/* A socket of the kernel's, connected to the function's @port; its own goes to @own. */
static int peer_socket(uint16_t port, uint16_t *own)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(VT_THERE) };
	struct sockaddr_in there = { .sin_family = AF_INET,
				     .sin_addr.s_addr = inet_addr(VT_HERE),
				     .sin_port = htons(port) };
	struct timeval patience = { .tv_sec = VT_PATIENCE_MS / 1000 };
	socklen_t len = sizeof(here);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&here, sizeof(here)) || connect(fd, (void *)&there, sizeof(there)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    getsockname(fd, (void *)&here, &len))
		return -errno;
	*own = here.sin_port;
	return fd;
}

/* What has come to the pair: how many hold @text. Buffers are posted again. */
static int pair_drain(struct vt *v, const char *text)
{
	int n = 0;

	while (vt_used(&v->rx)) {
		struct vring_used_elem e = vt_take(&v->rx);
		uint16_t i = e.id % BUFFERS;

		n += memmem(v->mem + i * VT_BUFFER, e.len, text, strlen(text)) != NULL;
		vt_post(&v->rx, i, v->iova + i * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
	}
	vt_kick(&v->rx);
	return n;
}

/* Sleep on all pairs until @want datagrams with @text have come; how many came to each. */
static bool pairs_receive(struct vt *v, int n, const char *text, int want, int *each)
{
	struct pollfd p[PAIRS];
	int got = 0;

	for (;;) {
		for (int i = 0; i < n; i++) {
			int some;

			v[i].q->seen = v[i].q->events;
			*v[i].rx.used_event = v[i].rx.seen;
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			some = pair_drain(&v[i], text);
			each[i] += some;
			got += some;
			*v[i].rx.used_event = v[i].rx.seen;
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			p[i] = (struct pollfd){ .fd = v[i].queue_fd, .events = vt_used(&v[i].rx) ? POLLOUT : POLLIN };
		}
		if (got >= want)
			return got == want;
		for (int i = 0; i < n; i++)
			if (p[i].events == POLLOUT)
				goto again;
		if (poll(p, (nfds_t)n, VT_PATIENCE_MS) <= 0)
			return false;
	again:;
	}
}

/* A datagram from the pair's own port to the kernel's socket. */
static bool pair_send(struct vt *v, uint16_t from, uint16_t port, const char *text)
{
	uint8_t *slot = v->mem + BUFFERS * VT_BUFFER;
	uint32_t len = vt_datagram(v, slot, peer_mac, port, text, (uint32_t)strlen(text));
	struct udphdr *udp =
		(void *)(slot + sizeof(struct virtio_net_hdr_v1) + sizeof(struct ethhdr) + sizeof(struct iphdr));

	udp->source = htons(from);
	vt_post(&v->tx, 0, v->iova + BUFFERS * VT_BUFFER, len, 0);
	vt_kick(&v->tx);
	if (!vt_sleep(v, &v->tx, VT_PATIENCE_MS))
		return false;
	return vt_take(&v->tx).id == 0;
}

/* Each of the pairs sends; and of many flows that nobody knows each receives some, and nothing is lost. */
static int pairs_work(struct vt *v, int n, const char *text)
{
	int each[PAIRS] = { 0 };
	char back[64];

	for (int i = 0; i < n; i++) {
		uint16_t port;
		int fd = peer_socket((uint16_t)(PORT + i), &port);
		ssize_t got;

		if (fd < 0 || !pair_send(&v[i], (uint16_t)(PORT + i), port, text))
			return __LINE__;
		got = recv(fd, back, sizeof(back), 0);
		close(fd);
		if (got != (ssize_t)strlen(text) || memcmp(back, text, strlen(text)))
			return __LINE__;
	}
	for (int round = 0; round < 16; round++) {
		for (int k = 0; k < 8; k++) {
			uint16_t port;
			int fd = peer_socket((uint16_t)(100 + round * 8 + k), &port);

			if (fd < 0 || send(fd, text, strlen(text), 0) != (ssize_t)strlen(text))
				return __LINE__;
			close(fd);
		}
		if (!pairs_receive(v, n, text, 8, each))
			return __LINE__;
	}
	for (int i = 0; i < n; i++)
		if (!each[i])
			return __LINE__;
	return 0;
}

FIXTURE(pairs)
{
	struct vt v[PAIRS];
};

FIXTURE_SETUP(pairs)
{
	ASSERT_EQ(0, find_peer_mac());
	ASSERT_EQ(0, vt_become_owner());
}

FIXTURE_TEARDOWN(pairs)
{
}

TEST_F(pairs, two)
{
	ASSERT_EQ(0, pairs_open(self->v, 2));
	EXPECT_EQ(0, pairs_work(self->v, 2, "one of two"));
	pairs_close(self->v, 2);
}

TEST_F(pairs, four)
{
	struct vt more, *v = self->v;

	ASSERT_EQ(0, pairs_open(v, 4));
	EXPECT_EQ(0, pairs_work(v, 4, "one of four"));
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(2 * i, v[i].q->rx.index);
		EXPECT_EQ(2 * i + 1, v[i].q->tx.index);
		for (int k = 0; k < i; k++)
			EXPECT_NE(v[k].queue_fd, v[i].queue_fd);
	}
	more = v[0];
	EXPECT_EQ(-EDQUOT, vt_queue(&more, 64));
	EXPECT_EQ(-EBUSY, vt_bind(v[0].fd, v[0].device, DEMI_DEVICE_BIND_F_RELEASE));
	pairs_close(v, 4);
}

/* An interrupt of one pair makes no other one's file readable. */
TEST_F(pairs, interrupts)
{
	struct vt *v = self->v;
	struct pollfd p = { .events = POLLIN };
	uint16_t port;
	int fd;

	ASSERT_EQ(0, pairs_open(v, 3));
	fd = peer_socket(PORT, &port);
	ASSERT_LE(0, fd);
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 3; k++)
			v[k].q->seen = v[k].q->events;
		ASSERT_TRUE(pair_send(&v[i], PORT, port, "wakes"));
		for (int k = 0; k < 3; k++) {
			p.fd = v[k].queue_fd;
			v[i].q->seen = v[i].q->events - 1;
			EXPECT_EQ(k == i, poll(&p, 1, 0));
		}
	}
	pairs_close(v, 3);
}

/* The one in the middle goes, the others go on; and it comes again. */
TEST_F(pairs, one_goes)
{
	struct vt *v = self->v;
	uint16_t port;
	int fd;

	ASSERT_EQ(0, pairs_open(v, 3));
	fd = peer_socket(PORT, &port);
	ASSERT_LE(0, fd);
	for (int round = 0; round < 2; round++) {
		vt_queue_close(&v[1]);
		EXPECT_TRUE(pair_send(&v[0], PORT, port, "still there"));
		EXPECT_TRUE(pair_send(&v[2], PORT + 2, port, "still there"));
		ASSERT_EQ(0, pair_open(v, 1));
		EXPECT_EQ(2, v[1].q->rx.index);
		EXPECT_EQ(0, pairs_work(v, 3, "three again"));
	}
	/* the last one goes: what arrives is the others' */
	vt_queue_close(&v[2]);
	EXPECT_EQ(0, pairs_work(v, 2, "two are left"));
	/* and the first */
	vt_queue_close(&v[0]);
	EXPECT_TRUE(pair_send(&v[1], PORT + 1, port, "alone"));
	ASSERT_EQ(0, vt_queue(&v[0], 64));
	EXPECT_EQ(0, v[0].q->rx.index);
	ASSERT_EQ(0, pair_receives(&v[0]));
	EXPECT_EQ(0, pairs_work(v, 2, "two again"));
	pairs_close(v, 2);
}

/* What the first queue negotiated is all others', too. */
TEST_F(pairs, features)
{
	struct vt *v = self->v;

	ASSERT_EQ(0, vt_open(&v[0]));
	v[0].features = 1ull << VIRTIO_NET_F_CSUM;
	EXPECT_EQ(-EOPNOTSUPP, pair_open(v, 1));
	EXPECT_EQ(0, v[0].q->features & (1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_CTRL_VQ));
	v[0].features = 0;
	EXPECT_EQ(0, pair_open(v, 1));
	pairs_close(v, 2);
	if (!strstr(getenv("DEMI_VM_DEVICES"), "packed"))
		return;
	/* packed rings: one pair */
	ASSERT_EQ(0, vt_open(&v[0]));
	vt_queue_close(&v[0]);
	v[0].features = 1ull << VIRTIO_F_RING_PACKED;
	ASSERT_EQ(0, vt_queue(&v[0], 64));
	EXPECT_TRUE(v[0].q->features & 1ull << VIRTIO_F_RING_PACKED);
	EXPECT_EQ(-EDQUOT, pair_open(v, 1));
}

static int own_four(int tell)
{
	struct vt v[PAIRS];

	if (pairs_open(v, PAIRS) || pairs_work(v, PAIRS, "to be killed") || write(tell, "r", 1) != 1)
		return 1;
	/* frames without end, until the end */
	for (uint16_t i = 0;; i++) {
		for (int k = 0; k < PAIRS; k++)
			pair_send(&v[k], PORT, htons(9), "noise");
		pair_drain(&v[i % PAIRS], "");
	}
}

TEST_F(pairs, owner_is_killed)
{
	int ends[2];

	for (int round = 0; round < 2; round++) {
		pid_t pid;
		char c = 0;

		ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(own_four(ends[1]));
		}
		close(ends[1]);
		ASSERT_EQ(1, read(ends[0], &c, 1));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(ends[0]);
		ASSERT_EQ(0, pairs_open(self->v, PAIRS));
		EXPECT_EQ(0, pairs_work(self->v, PAIRS, "after it"));
		pairs_close(self->v, PAIRS);
	}
}

/* ---- what arrives at all ---- */

/* Frames of a type of nobody's, from the kernel's end, to @to. */
static bool frame_send(int fd, const uint8_t *to, const char *text)
{
	struct {
		struct ethhdr eth;
		char text[64];
	} frame = { .eth.h_proto = htons(0x88b5) };

	memcpy(frame.eth.h_dest, to, ETH_ALEN);
	memcpy(frame.eth.h_source, peer_mac, ETH_ALEN);
	strncpy(frame.text, text, sizeof(frame.text) - 1);
	return send(fd, &frame, sizeof(frame), 0) == sizeof(frame);
}

/* Opened with privileges. */
static int packet_socket(void)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(0x88b5),
				  .sll_ifindex = (int)if_nametoindex(getenv("DEMI_VIRTIO_PEER")) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));

	return fd < 0 || bind(fd, (void *)&at, sizeof(at)) ? -errno : fd;
}

/* What is another's does not arrive; what is this function's, a group's and everybody's does. */
TEST(filter)
{
	static const uint8_t other[] = { 0x52, 0x54, 0, 0x99, 0x99, 0x99 }, group[] = { 0x33, 0x33, 0, 0, 1, 2 },
			     everybody[] = { 255, 255, 255, 255, 255, 255 };
	struct vt v[1];
	int fd = packet_socket(), each[1] = { 0 };
	uint8_t own[ETH_ALEN];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, find_peer_mac());
	ASSERT_EQ(0, vt_become_owner());
	ASSERT_EQ(0, pairs_open(v, 1));
	memcpy(own, (const uint8_t *)v[0].q->mac, ETH_ALEN);
	for (int round = 0; round < 8; round++) {
		ASSERT_TRUE(frame_send(fd, other, "for somebody else"));
		ASSERT_TRUE(frame_send(fd, own, "for this one"));
		ASSERT_TRUE(frame_send(fd, group, "for this one"));
		ASSERT_TRUE(frame_send(fd, everybody, "for this one"));
	}
	EXPECT_TRUE(pairs_receive(v, 1, "for this one", 24, each));
	/* they are in order: the others' would have been there, too, and nothing has been taken that is not counted */
	EXPECT_EQ(NULL, memmem(v[0].mem, BUFFERS * VT_BUFFER, "for somebody else", 17));
	pairs_close(v, 1);
}

/* ---- the control queue in the owner's descriptors ---- */

/* Have a frame written to @iova. */
static void receive_to(struct vt *v, uint64_t iova)
{
	uint16_t port;
	int fd = peer_socket(PORT, &port);
	char text[256];

	memset(text, 1, sizeof(text));
	vt_post(&v->rx, 63, iova, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&v->rx);
	send(fd, text, sizeof(text), 0);
	vt_sleep(v, &v->rx, VT_QUIET_MS);
	close(fd);
}

/* Its used ring and its answers are the owner's to forge: pairs come, or do not, and nobody is harmed. */
TEST_F(pairs, forged_answers)
{
	struct vt *v = self->v;

	for (uint64_t at = 0; at <= 1024; at += 128) {
		ASSERT_EQ(0, vt_open(&v[0]));
		receive_to(&v[0], CTL_WRITTEN + at);
		if (!pair_open(v, 1)) {
			receive_to(&v[1], CTL_WRITTEN + at);
			vt_queue_close(&v[1]);
		}
		vt_close(&v[0]);
	}
	ASSERT_EQ(0, pairs_open(v, PAIRS));
	EXPECT_EQ(0, pairs_work(v, PAIRS, "unharmed"));
	pairs_close(v, PAIRS);
}

/* Its descriptors and commands cannot be written to, and commands work after the attempt. */
TEST_F(pairs, forged_commands)
{
	struct vt *v = self->v;

	for (uint64_t at = 0; at <= 1024; at += 512) {
		ASSERT_EQ(0, vt_open(&v[0]));
		receive_to(&v[0], CTL_READ + at);
		if (!(v[0].q->status & DEMI_VIRTIO_BROKEN)) {
			EXPECT_EQ(0, pair_open(v, 1));
			vt_queue_close(&v[1]);
		}
		vt_close(&v[0]);
	}
	ASSERT_EQ(0, pairs_open(v, 2));
	EXPECT_EQ(0, pairs_work(v, 2, "unharmed"));
	pairs_close(v, 2);
}

TEST_HARNESS_MAIN
