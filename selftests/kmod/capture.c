// SPDX-License-Identifier: MIT
/* timeout: 600 */
/* DEMI_CAPTURE: copies of what crosses a queue. */
#include <linux/filter.h>
#include <time.h>

#include "frames.h"

#define ENTRIES 64

struct captured {
	struct demi_capture_hdr hdr;
	uint8_t bytes[FQ_BUF];
};

static int capture(int fd, unsigned int queue, unsigned int target, unsigned int flags, unsigned int snap)
{
	struct demi_capture arg = {
		.size = sizeof(arg),
		.flags = flags,
		.queue_id = queue,
		.target_id = target,
		.snap_bytes = snap,
	};

	return kmod_ioctl(fd, DEMI_CAPTURE, &arg);
}

static struct demi_queue_info queue_info(struct fq *q)
{
	struct demi_queue_info info;

	if (kmod_queue_info(q->q.fd, 0, &info))
		memset(&info, 0xff, sizeof(info));
	return info;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

FIXTURE(capture)
{
	int fd, sock;
	unsigned int port;
	struct fq q, to;
};

FIXTURE_SETUP(capture)
{
	unsigned int i;

	self->fd = kmod_open();
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, fq_udp(&self->q, self->fd, ENTRIES, &self->port));
	ASSERT_EQ(0, fq_host(&self->to, self->fd, DEMI_QUEUE_CAPTURE, 0, ENTRIES));
	for (i = 0; i < ENTRIES / 2; i++) {
		fq_post(&self->q, i);
		fq_post(&self->to, i);
	}
	self->sock = udp_socket(self->port);
	ASSERT_GE(self->sock, 0);
}

FIXTURE_TEARDOWN(capture)
{
	close(self->sock);
	fq_close(&self->q);
	fq_close(&self->to);
	close(self->fd);
}

#define RECV(c) fq_recv(&self->to, &(c), sizeof(c), 500)

TEST_F(capture, received)
{
	uint64_t before, after;
	struct captured c;

	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	EXPECT_TRUE(queue_info(&self->q).state & DEMI_QUEUE_STATE_CAPTURED);
	before = now_ns();
	ASSERT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	after = now_ns();
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 5, RECV(c));
	EXPECT_EQ(UDP_HDRS + 5, c.hdr.wire_bytes);
	EXPECT_EQ(self->q.q.id, c.hdr.queue_id);
	EXPECT_EQ(DEMI_CAPTURE_F_RX, c.hdr.direction);
	EXPECT_EQ(0, c.hdr.__reserved);
	EXPECT_GE(c.hdr.time_ns, before);
	EXPECT_LE(c.hdr.time_ns, after);
	EXPECT_EQ(0x45, c.bytes[0]);
	EXPECT_EQ(0, memcmp(c.bytes + UDP_HDRS, "hello", 5));
	EXPECT_EQ(1, queue_info(&self->q).counters.captured);
	EXPECT_EQ(0, queue_info(&self->q).counters.capture_lost);
	EXPECT_EQ(1, queue_info(&self->to).counters.rx_frames);
}

/* What the filter drops is seen. */
TEST_F(capture, before_the_filter)
{
	const struct sock_filter drop[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct demi_filter_attach arg = {
		.size = sizeof(arg),
		.queue_id = self->q.q.id,
		.kind = DEMI_FILTER_CBPF,
		.insn_count = 1,
		.insns = (uintptr_t)drop,
	};
	struct captured c;

	ASSERT_EQ(0, kmod_ioctl(self->fd, DEMI_FILTER_ATTACH, &arg));
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	ASSERT_FALSE(fq_passes(&self->q, self->sock, "hello"));
	EXPECT_EQ(sizeof(c.hdr) + UDP_HDRS + 5, RECV(c));
	EXPECT_EQ(1, queue_info(&self->q).counters.rx_filtered);
}

/* To the socket's port, with the checksum left out. */
static unsigned int udp_frame(uint8_t *to, unsigned int from_port, unsigned int to_port, const char *text)
{
	unsigned int len = UDP_HDRS + strlen(text);
	uint8_t *ip = to + FQ_HDR, *udp = ip + 20;

	memset(to, 0, FQ_HDR + UDP_HDRS);
	ip[0] = 0x45;
	ip[2] = len >> 8;
	ip[3] = len;
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, "\x7f\0\0\1\x7f\0\0\1", 8);
	udp[0] = from_port >> 8;
	udp[1] = from_port;
	udp[2] = to_port >> 8;
	udp[3] = to_port;
	udp[4] = (len - 20) >> 8;
	udp[5] = len - 20;
	memcpy(ip + UDP_HDRS, text, strlen(text));
	return FQ_HDR + len;
}

static unsigned int local_port(int sock)
{
	struct sockaddr_in at = {};
	socklen_t len = sizeof(at);

	getsockname(sock, (struct sockaddr *)&at, &len);
	return ntohs(at.sin_port);
}

TEST_F(capture, sent)
{
	uint8_t frame[256];
	struct captured c;
	unsigned int len = udp_frame(frame, self->port, local_port(self->sock), "answer");
	char text[16] = "";

	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_TX, 0));
	ASSERT_EQ(0, fq_send(&self->q, 100, frame, len));
	EXPECT_EQ(6, recv(self->sock, text, sizeof(text), MSG_DONTWAIT));
	EXPECT_EQ(0, strcmp(text, "answer"));
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 6, RECV(c));
	EXPECT_EQ(DEMI_CAPTURE_F_TX, c.hdr.direction);
	EXPECT_EQ(UDP_HDRS + 6, c.hdr.wire_bytes);
	EXPECT_EQ(0, memcmp(c.bytes + UDP_HDRS, "answer", 6));
	/* what arrives was not asked for; what is refused does not leave */
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	frame[FQ_HDR + 20]++;
	EXPECT_EQ(-EACCES, fq_send(&self->q, 100, frame, len));
	EXPECT_EQ(1, queue_info(&self->q).counters.captured);
	EXPECT_EQ(1, queue_info(&self->to).counters.rx_frames);
}

TEST_F(capture, both_and_several_into_one)
{
	uint8_t frame[256];
	unsigned int port, len = udp_frame(frame, self->port, local_port(self->sock), "x");
	struct captured c;
	struct fq other;
	int sock;

	ASSERT_EQ(0, fq_udp(&other, self->fd, ENTRIES, &port));
	fq_post(&other, 0);
	sock = udp_socket(port);
	ASSERT_GE(sock, 0);
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_TX, 0));
	ASSERT_EQ(0, capture(self->fd, other.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	ASSERT_TRUE(fq_passes(&self->q, self->sock, "one"));
	ASSERT_TRUE(fq_passes(&other, sock, "three"));
	ASSERT_EQ(0, fq_send(&self->q, 100, frame, len));
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 3, RECV(c));
	EXPECT_EQ(self->q.q.id, c.hdr.queue_id);
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 5, RECV(c));
	EXPECT_EQ(other.q.id, c.hdr.queue_id);
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 1, RECV(c));
	EXPECT_EQ(DEMI_CAPTURE_F_TX, c.hdr.direction);
	close(sock);
	fq_close(&other);
}

TEST_F(capture, snap)
{
	struct captured c;

	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, UDP_HDRS + 2));
	ASSERT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 2, RECV(c));
	EXPECT_EQ(UDP_HDRS + 5, c.hdr.wire_bytes);
	EXPECT_EQ(0, memcmp(c.bytes + UDP_HDRS, "he", 2));
	ASSERT_TRUE(fq_passes(&self->q, self->sock, "h"));
	ASSERT_EQ(sizeof(c.hdr) + UDP_HDRS + 1, RECV(c));
}

/* No room there holds up nothing here. */
TEST_F(capture, lost)
{
	int i;

	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	for (i = 0; i < ENTRIES / 2 + 7; i++)
		ASSERT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	EXPECT_EQ(ENTRIES / 2, queue_info(&self->q).counters.captured);
	EXPECT_EQ(7, queue_info(&self->q).counters.capture_lost);
	EXPECT_EQ(ENTRIES / 2 + 7, queue_info(&self->q).counters.rx_frames);
	EXPECT_EQ(7, queue_info(&self->to).counters.rx_no_buffer);
}

TEST_F(capture, one_capturer_until_stopped)
{
	struct captured c;
	struct fq second;

	ASSERT_EQ(0, fq_host(&second, self->fd, DEMI_QUEUE_CAPTURE, 0, ENTRIES));
	EXPECT_EQ(-ENODATA, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_STOP, 0));
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	EXPECT_EQ(-EBUSY, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	EXPECT_EQ(-EBUSY, capture(self->fd, self->q.q.id, second.q.id, DEMI_CAPTURE_F_TX, 0));
	EXPECT_EQ(-ENODATA, capture(self->fd, self->q.q.id, second.q.id, DEMI_CAPTURE_F_STOP, 0));
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_STOP, 0));
	EXPECT_FALSE(queue_info(&self->q).state & DEMI_QUEUE_STATE_CAPTURED);
	ASSERT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	EXPECT_EQ(-ENOENT, fq_recv(&self->to, &c, sizeof(c), 0));
	fq_post(&second, 0);
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, second.q.id, DEMI_CAPTURE_F_RX, 0));
	ASSERT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	EXPECT_EQ(sizeof(c.hdr) + UDP_HDRS + 5, fq_recv(&second, &c, sizeof(c), 500));
	fq_close(&second);
}

TEST_F(capture, ends_with_either_queue)
{
	struct captured c;
	struct fq other;
	unsigned int port;
	int sock;

	/* the capturing one */
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	ASSERT_EQ(0, kmod_shutdown(self->to.q.fd, 0));
	EXPECT_FALSE(queue_info(&self->q).state & DEMI_QUEUE_STATE_CAPTURED);
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "hello"));
	EXPECT_EQ(-ENODEV, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	fq_close(&self->to);

	/* the captured one; the other goes on */
	ASSERT_EQ(0, fq_host(&self->to, self->fd, DEMI_QUEUE_CAPTURE, 0, ENTRIES));
	fq_post(&self->to, 0);
	ASSERT_EQ(0, fq_udp(&other, self->fd, ENTRIES, &port));
	fq_post(&other, 0);
	sock = udp_socket(port);
	ASSERT_GE(sock, 0);
	ASSERT_EQ(0, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	ASSERT_EQ(0, capture(self->fd, other.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	ASSERT_EQ(0, kmod_shutdown(self->q.q.fd, 0));
	ASSERT_TRUE(fq_passes(&other, sock, "hello"));
	EXPECT_EQ(sizeof(c.hdr) + UDP_HDRS + 5, RECV(c));
	EXPECT_EQ(-ENODEV, capture(self->fd, self->q.q.id, self->to.q.id, DEMI_CAPTURE_F_RX, 0));
	close(sock);
	fq_close(&other);
}

TEST_F(capture, fields)
{
	struct demi_capture good = {
		.size = sizeof(good),
		.flags = DEMI_CAPTURE_F_RX,
		.queue_id = self->q.q.id,
		.target_id = self->to.q.id,
	}, bad;
	struct fq mock;

#define REJECTED(err, field, value)                                                                                    \
	do {                                                                                                           \
		bad = good;                                                                                            \
		bad.field = (value);                                                                                   \
		EXPECT_EQ(-(err), kmod_ioctl(self->fd, DEMI_CAPTURE, &bad));                                           \
	} while (0)
	REJECTED(EINVAL, flags, 0);
	REJECTED(EINVAL, flags, 8);
	REJECTED(EINVAL, flags, DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_STOP);
	REJECTED(EINVAL, flags, DEMI_CAPTURE_F_RX | 1U << 31);
	REJECTED(EINVAL, __reserved, 1);
	REJECTED(ENOENT, queue_id, 0);
	REJECTED(ENOENT, queue_id, self->q.q.id + 1000);
	REJECTED(ENOENT, target_id, 0);
	REJECTED(ENOENT, target_id, self->q.q.id + 1000);
	REJECTED(EINVAL, target_id, self->q.q.id); /* not a capture queue */
	REJECTED(EINVAL, queue_id, self->to.q.id); /* one */
	ASSERT_EQ(0, fq_mock(&mock, self->fd, 16));
	REJECTED(EINVAL, queue_id, mock.q.id);
	REJECTED(EINVAL, target_id, mock.q.id);
	fq_close(&mock);
	good.snap_bytes = 1;
	REJECTED(EINVAL, flags, DEMI_CAPTURE_F_STOP);
#undef REJECTED
	EXPECT_EQ(-ENOTTY, kmod_ioctl(self->q.q.fd, DEMI_CAPTURE, &good));
}

TEST_F(capture, queue_only_receives)
{
	struct demi_queue_create request = kmod_queue_request(kmod_device(self->fd, "host"));
	struct kmod_queue q;

	EXPECT_EQ(-EOPNOTSUPP, kmod_kick(self->to.q.fd, NULL));
	request.kind = DEMI_QUEUE_CAPTURE;
	EXPECT_EQ(-EINVAL, kmod_queue_make(&q, self->fd, &request));
}

/* ---- whose ---------------------------------------------------------------------------------- */

TEST(whose)
{
	int owner = kmod_open_as(KMOD_USER), same = kmod_open_as(KMOD_USER), other = kmod_open_as(KMOD_OTHER),
	    root = kmod_open();
	struct fq q, own_to, same_to, other_to, root_to;
	unsigned int port;

	ASSERT_EQ(0, KMOD_AS(KMOD_USER, fq_udp(&q, owner, 16, &port)));
	ASSERT_EQ(0, KMOD_AS(KMOD_USER, fq_host(&own_to, owner, DEMI_QUEUE_CAPTURE, 0, 16)));
	ASSERT_EQ(0, KMOD_AS(KMOD_USER, fq_host(&same_to, same, DEMI_QUEUE_CAPTURE, 0, 16)));
	ASSERT_EQ(0, KMOD_AS(KMOD_OTHER, fq_host(&other_to, other, DEMI_QUEUE_CAPTURE, 0, 16)));
	ASSERT_EQ(0, fq_host(&root_to, root, DEMI_QUEUE_CAPTURE, 0, 16));

	EXPECT_EQ(0, KMOD_AS(KMOD_USER, capture(owner, q.q.id, own_to.q.id, DEMI_CAPTURE_F_RX, 0)));
	EXPECT_EQ(0, KMOD_AS(KMOD_USER, capture(owner, q.q.id, own_to.q.id, DEMI_CAPTURE_F_STOP, 0)));
	EXPECT_EQ(-EACCES, KMOD_AS(KMOD_USER, capture(same, q.q.id, same_to.q.id, DEMI_CAPTURE_F_RX, 0)));
	EXPECT_EQ(-EACCES, KMOD_AS(KMOD_USER, capture(owner, q.q.id, same_to.q.id, DEMI_CAPTURE_F_RX, 0)));
	EXPECT_EQ(-ENOENT, KMOD_AS(KMOD_OTHER, capture(other, q.q.id, other_to.q.id, DEMI_CAPTURE_F_RX, 0)));
	EXPECT_EQ(-ENOENT, capture(other, q.q.id, other_to.q.id, DEMI_CAPTURE_F_RX, 0));
	EXPECT_EQ(0, capture(root, q.q.id, root_to.q.id, DEMI_CAPTURE_F_RX, 0));
	/* the owner neither stops it nor takes its place */
	EXPECT_EQ(-EBUSY, KMOD_AS(KMOD_USER, capture(owner, q.q.id, own_to.q.id, DEMI_CAPTURE_F_RX, 0)));
	EXPECT_EQ(-ENODATA, KMOD_AS(KMOD_USER, capture(owner, q.q.id, own_to.q.id, DEMI_CAPTURE_F_STOP, 0)));
	EXPECT_EQ(-ENOENT, KMOD_AS(KMOD_USER, capture(owner, q.q.id, root_to.q.id, DEMI_CAPTURE_F_STOP, 0)));
	EXPECT_EQ(0, capture(root, q.q.id, root_to.q.id, DEMI_CAPTURE_F_STOP, 0));
	fq_close(&q);
	fq_close(&own_to);
	fq_close(&same_to);
	fq_close(&other_to);
	fq_close(&root_to);
}

TEST_HARNESS_MAIN
