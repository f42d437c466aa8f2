// SPDX-License-Identifier: MIT
/* modules: veth bridge bonding 8021q tun; timeout: 600 */
/* Raw queues: copies of a device's frames, frames of one's own, devices that go. In a network namespace of its own. */
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include "frames.h"
#include "link.h"

#define ENTRIES 64
#define ETHERTYPE 0x88b5 /* for experiments: nobody else's */
#define WAIT 2000

/* In veth's "v0" is the queue, "v1" is the other end. */
FIXTURE(raw)
{
	int fd;
	int peer; /* a packet socket on v1 */
	struct fq q;
	uint8_t frame[FQ_BUF]; /* virtio_net_hdr_v1 and an Ethernet frame, from v0 to v1 */
};

static int packet_socket(const char *dev)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex(dev),
	};
	struct timeval wait = { .tv_sec = 2 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)))
		return -errno;
	return fd;
}

static void make_frame(uint8_t *frame, const char *to, const char *from)
{
	unsigned int i;

	memset(frame, 0, FQ_HDR);
	memcpy(frame + FQ_HDR, to, ETH_ALEN);
	memcpy(frame + FQ_HDR + ETH_ALEN, from, ETH_ALEN);
	frame[FQ_HDR + 12] = ETHERTYPE >> 8;
	frame[FQ_HDR + 13] = ETHERTYPE & 0xff;
	for (i = ETH_HLEN; i < FQ_BUF - FQ_HDR; i++)
		frame[FQ_HDR + i] = i * 5 + (i >> 8);
}

#define MAC0 "\x02\0\0\0\0\x10"
#define MAC1 "\x02\0\0\0\0\x11"

FIXTURE_SETUP(raw)
{
	unsigned int i;

	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	kmod_write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	ASSERT_EQ(0, system("ip link add v0 address 02:00:00:00:00:10 type veth "
			    "peer name v1 address 02:00:00:00:00:11 &&"
			    "ip link set v0 up && ip link set v1 up && ip link set lo up"));
	ASSERT_EQ(0, link_wait("v0"));
	ASSERT_EQ(0, link_wait("v1"));
	self->fd = kmod_open();
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, fq_host(&self->q, self->fd, DEMI_QUEUE_RAW, if_nametoindex("v0"), ENTRIES));
	for (i = 0; i < ENTRIES / 2; i++)
		fq_post(&self->q, i);
	self->peer = packet_socket("v1");
	ASSERT_GE(self->peer, 0);
	make_frame(self->frame, MAC1, MAC0);
}

FIXTURE_TEARDOWN(raw)
{
	close(self->peer);
	fq_close(&self->q);
	close(self->fd);
}

/* The next frame of ours, whatever else is on the wire; -ENOENT. With its virtio_net_hdr_v1. */
static int recv_ours(struct fq *q, uint8_t *to, int ms)
{
	int n;

	while ((n = fq_recv(q, to, FQ_BUF, ms)) > 0) {
		if (to[FQ_HDR + 12] == ETHERTYPE >> 8 && to[FQ_HDR + 13] == (ETHERTYPE & 0xff))
			break;
		if (to[FQ_HDR + 12] == 0x81)
			break;
	}
	return n;
}

static int peer_recv_ours(int fd, uint8_t *to)
{
	int n;

	while ((n = recv(fd, to, FQ_BUF, 0)) > 0) {
		if (to[12] == ETHERTYPE >> 8 && to[13] == (ETHERTYPE & 0xff))
			break;
	}
	return n;
}

static struct demi_queue_info queue_info(struct fq *q)
{
	struct demi_queue_info info;

	if (kmod_queue_info(q->q.fd, 0, &info))
		memset(&info, 0xff, sizeof(info));
	return info;
}

TEST_F(raw, receives)
{
	uint8_t sent[FQ_BUF], got[FQ_BUF];
	static const unsigned int lens[] = { ETH_ZLEN, 15, 512, 1514 };
	unsigned int i;

	make_frame(sent, MAC0, MAC1);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(lens[i], send(self->peer, sent + FQ_HDR, lens[i], 0));
		ASSERT_EQ(FQ_HDR + lens[i], recv_ours(&self->q, got, WAIT));
		EXPECT_EQ(0, memcmp(got + FQ_HDR, sent + FQ_HDR, lens[i]));
	}
	EXPECT_EQ(DEMI_QUEUE_RAW, queue_info(&self->q).kind);
	EXPECT_EQ(if_nametoindex("v0"), queue_info(&self->q).ifindex);
}

TEST_F(raw, receives_what_is_for_others)
{
	uint8_t sent[FQ_BUF], got[FQ_BUF];

	make_frame(sent, "\x02\0\0\0\0\x99", MAC1);
	ASSERT_EQ(100, send(self->peer, sent + FQ_HDR, 100, 0));
	ASSERT_EQ(FQ_HDR + 100, recv_ours(&self->q, got, WAIT));
	EXPECT_EQ(0, memcmp(got + FQ_HDR, sent + FQ_HDR, 100));
}

/* A copy: the stack and other taps get theirs. */
TEST_F(raw, takes_nothing_away)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7777) };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tap = packet_socket("v0");
	struct timeval wait = { .tv_sec = 2 };
	uint8_t got[FQ_BUF], sent[FQ_BUF];
	char ping[64];

	ASSERT_GE(tap, 0);
	make_frame(sent, MAC0, MAC1);
	ASSERT_EQ(100, send(self->peer, sent + FQ_HDR, 100, 0));
	EXPECT_EQ(100, peer_recv_ours(tap, got));
	EXPECT_EQ(FQ_HDR + 100, recv_ours(&self->q, got, WAIT));
	/* UDP to an address of v0 */
	ASSERT_EQ(0, system("ip addr add 10.9.0.1/24 dev v0"));
	ASSERT_EQ(0, bind(sock, (struct sockaddr *)&at, sizeof(at)));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	make_frame(sent, MAC0, MAC1);
	memcpy(sent + FQ_HDR + 12,
	       "\x08\0\x45\0\0\x20\0\0\0\0\x40\x11\x66\xb9\x0a\x09\0\x02\x0a\x09\0\x01\x12\x34\x1e\x61\0\x0c\0\0ping",
	       2 + 32);
	ASSERT_EQ(46, send(self->peer, sent + FQ_HDR, 46, 0));
	EXPECT_EQ(4, recv(sock, ping, sizeof(ping), 0));
	EXPECT_EQ(0, memcmp(ping, "ping", 4));
	close(sock);
	close(tap);
}

TEST_F(raw, sends)
{
	uint8_t got[FQ_BUF];
	struct demi_desc d;

	ASSERT_EQ(0, fq_send(&self->q, 100, self->frame, FQ_HDR + 333));
	ASSERT_EQ(333, peer_recv_ours(self->peer, got));
	EXPECT_EQ(0, memcmp(got, self->frame + FQ_HDR, 333));
	/* not shown to itself, as a packet socket is not */
	EXPECT_EQ(-ENOENT, recv_ours(&self->q, got, 0));
	/* in pieces; COPIED is said of each */
	memcpy(fq_buf(&self->q, 100), self->frame, FQ_HDR + 333);
	kmod_put(&self->q.q.tx, (struct demi_desc){ 100 * FQ_BUF, FQ_HDR + 20, self->q.region, DEMI_DESC_F_MORE });
	kmod_put(&self->q.q.tx, (struct demi_desc){ 100 * FQ_BUF + FQ_HDR + 20, 313, self->q.region, 0 });
	ASSERT_EQ(0, kmod_kick(self->q.q.fd, NULL));
	ASSERT_EQ(333, peer_recv_ours(self->peer, got));
	EXPECT_EQ(0, memcmp(got, self->frame + FQ_HDR, 333));
	ASSERT_TRUE(kmod_take(&self->q.q.tx_done, &d));
	EXPECT_EQ(DEMI_DESC_F_COPIED, d.flags);
	ASSERT_TRUE(kmod_take(&self->q.q.tx_done, &d));
	EXPECT_EQ(DEMI_DESC_F_COPIED, d.flags);
	EXPECT_EQ(2, queue_info(&self->q).counters.tx_frames);
	EXPECT_EQ(666, queue_info(&self->q).counters.tx_bytes);
}

/* What others send is shown. */
TEST_F(raw, sees_outgoing)
{
	int other = packet_socket("v0");
	uint8_t got[FQ_BUF];

	ASSERT_GE(other, 0);
	ASSERT_EQ(100, send(other, self->frame + FQ_HDR, 100, 0));
	ASSERT_EQ(FQ_HDR + 100, recv_ours(&self->q, got, WAIT));
	EXPECT_EQ(0, memcmp(got + FQ_HDR, self->frame + FQ_HDR, 100));
	close(other);
}

TEST_F(raw, refuses)
{
	struct virtio_net_hdr_v1 *vh = (void *)self->frame;
	uint8_t got[FQ_BUF];
	struct demi_desc d;

	EXPECT_EQ(-EINVAL, fq_send(&self->q, 100, self->frame, FQ_HDR));
	EXPECT_EQ(-EINVAL, fq_send(&self->q, 100, self->frame, FQ_HDR + ETH_HLEN - 1));
	EXPECT_EQ(-EMSGSIZE, fq_send(&self->q, 100, self->frame, FQ_HDR + 1515));
	vh->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vh->csum_start = 1000;
	EXPECT_EQ(-EINVAL, fq_send(&self->q, 100, self->frame, FQ_HDR + 100));
	vh->flags = 0;
	vh->csum_start = 0;
	vh->gso_type = 77;
	EXPECT_EQ(-EINVAL, fq_send(&self->q, 100, self->frame, FQ_HDR + 100));
	vh->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	vh->gso_size = 0;
	EXPECT_EQ(-EINVAL, fq_send(&self->q, 100, self->frame, FQ_HDR + 100));
	vh->gso_type = 0;
	EXPECT_EQ(6, queue_info(&self->q).counters.tx_refused);
	kmod_put(&self->q.q.tx, (struct demi_desc){ 0, 100, 0, 0 });
	ASSERT_EQ(0, kmod_kick(self->q.q.fd, NULL));
	ASSERT_TRUE(kmod_take(&self->q.q.tx_done, &d));
	EXPECT_EQ(DEMI_DESC_F_ERROR, d.flags);
	EXPECT_EQ(EFAULT, d.len);
	EXPECT_EQ(1, queue_info(&self->q).counters.tx_bad_desc);
	ASSERT_EQ(0, system("ip link set v0 down"));
	EXPECT_EQ(-ENETDOWN, fq_send(&self->q, 100, self->frame, FQ_HDR + 100));
	EXPECT_EQ(1, queue_info(&self->q).counters.tx_dropped);
	ASSERT_EQ(0, system("ip link set v0 up"));
	EXPECT_EQ(0, fq_send(&self->q, 100, self->frame, FQ_HDR + 77));
	/* and it is the first that left */
	EXPECT_EQ(77, peer_recv_ours(self->peer, got));
}

/* A UDP packet with a checksum to be filled in, as seen by a raw queue at the other end. */
TEST_F(raw, checksum_offload)
{
	struct virtio_net_hdr_v1 *vh = (void *)self->frame;
	uint8_t got[FQ_BUF];
	struct fq other;

	ASSERT_EQ(0, fq_host(&other, self->fd, DEMI_QUEUE_RAW, if_nametoindex("v1"), ENTRIES));
	fq_post(&other, 0);
	vh->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vh->csum_start = ETH_HLEN + 20;
	vh->csum_offset = 6;
	ASSERT_EQ(0, fq_send(&self->q, 100, self->frame, FQ_HDR + 200));
	ASSERT_EQ(FQ_HDR + 200, recv_ours(&other, got, WAIT));
	vh = (void *)got;
	EXPECT_EQ(VIRTIO_NET_HDR_F_NEEDS_CSUM, vh->flags);
	EXPECT_EQ(ETH_HLEN + 20, vh->csum_start);
	EXPECT_EQ(6, vh->csum_offset);
	EXPECT_EQ(0, memcmp(got + FQ_HDR, self->frame + FQ_HDR, 200));
	fq_close(&other);
}

/* A TCP segment of several packets crosses whole. */
TEST_F(raw, segmentation_offload)
{
	static const uint8_t headers[] = {
		0x08, 0x00, 0x45, 0, 0x03, 0xf8 /* 1016 */,
		0,    0,    0,	  0, 64,   6,
		0,    0,    10,	  9, 0,	   1,
		10,   9,    0,	  2, 1,	   2,
		3,    4,    0,	  0, 0,	   1,
		0,    0,    0,	  0, 0x50, 0x10,
		1,    0,    0,	  0, 0,	   0,
	};
	struct virtio_net_hdr_v1 *vh = (void *)self->frame;
	uint8_t got[FQ_BUF];
	struct fq other;
	int n;

	ASSERT_EQ(0, fq_host(&other, self->fd, DEMI_QUEUE_RAW, if_nametoindex("v1"), ENTRIES));
	fq_post(&other, 0);
	memcpy(self->frame + FQ_HDR + 12, headers, sizeof(headers));
	vh->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vh->csum_start = ETH_HLEN + 20;
	vh->csum_offset = 16;
	vh->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	vh->gso_size = 400;
	vh->hdr_len = ETH_HLEN + 40;
	ASSERT_EQ(0, fq_send(&self->q, 100, self->frame, FQ_HDR + ETH_HLEN + 1016));
	n = fq_recv(&other, got, sizeof(got), WAIT);
	ASSERT_EQ(FQ_HDR + ETH_HLEN + 1016, n);
	vh = (void *)got;
	EXPECT_EQ(VIRTIO_NET_HDR_GSO_TCPV4, vh->gso_type);
	EXPECT_EQ(400, vh->gso_size);
	EXPECT_EQ(VIRTIO_NET_HDR_F_NEEDS_CSUM, vh->flags);
	EXPECT_EQ(ETH_HLEN + 20, vh->csum_start);
	EXPECT_EQ(0, memcmp(got + FQ_HDR + ETH_HLEN + 40, self->frame + FQ_HDR + ETH_HLEN + 40, 976));
	fq_close(&other);
}

/* The tag, which the kernel keeps beside the frame, is where it was on the wire. */
TEST_F(raw, vlan_tag)
{
	uint8_t sent[FQ_BUF], got[FQ_BUF];
	int vlan;

	ASSERT_EQ(0, system("ip link add link v1 name v1.5 type vlan id 5 && ip link set v1.5 up"));
	vlan = packet_socket("v1.5");
	ASSERT_GE(vlan, 0);
	make_frame(sent, MAC0, MAC1);
	ASSERT_EQ(100, send(vlan, sent + FQ_HDR, 100, 0));
	do {
		ASSERT_EQ(FQ_HDR + 104, recv_ours(&self->q, got, WAIT));
	} while (got[FQ_HDR + 16] != ETHERTYPE >> 8);
	EXPECT_EQ(0, memcmp(got + FQ_HDR, sent + FQ_HDR, 12));
	EXPECT_EQ(0, memcmp(got + FQ_HDR + 12, "\x81\0\0\5", 4));
	EXPECT_EQ(0, memcmp(got + FQ_HDR + 16, sent + FQ_HDR + 12, 88));
	close(vlan);
}

TEST_F(raw, filter_sees_ethernet)
{
	const struct sock_filter insns[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE, 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 14), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 1),		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct demi_filter_attach arg = {
		.size = sizeof(arg),
		.kind = DEMI_FILTER_CBPF,
		.insn_count = 6,
		.insns = (uintptr_t)insns,
	};
	uint8_t sent[FQ_BUF], got[FQ_BUF];

	ASSERT_EQ(0, kmod_ioctl(self->q.q.fd, DEMI_FILTER_ATTACH, &arg));
	make_frame(sent, MAC0, MAC1);
	sent[FQ_HDR + 14] = 'n';
	ASSERT_EQ(100, send(self->peer, sent + FQ_HDR, 100, 0));
	sent[FQ_HDR + 14] = 'y';
	ASSERT_EQ(99, send(self->peer, sent + FQ_HDR, 99, 0));
	ASSERT_EQ(FQ_HDR + 99, recv_ours(&self->q, got, WAIT));
	EXPECT_EQ(1, queue_info(&self->q).counters.rx_frames);
	EXPECT_LE(1, queue_info(&self->q).counters.rx_filtered);
}

TEST_F(raw, captured)
{
	struct demi_capture arg = {
		.size = sizeof(arg),
		.flags = DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_TX,
		.queue_id = self->q.q.id,
	};
	uint8_t sent[FQ_BUF], got[FQ_BUF];
	struct demi_capture_hdr *hdr = (void *)got;
	struct fq to;

	ASSERT_EQ(0, fq_host(&to, self->fd, DEMI_QUEUE_CAPTURE, 0, ENTRIES));
	fq_post(&to, 0);
	arg.target_id = to.q.id;
	ASSERT_EQ(0, kmod_ioctl(self->fd, DEMI_CAPTURE, &arg));
	ASSERT_EQ(0, fq_send(&self->q, 100, self->frame, FQ_HDR + 200));
	ASSERT_EQ(sizeof(*hdr) + 200, fq_recv(&to, got, sizeof(got), WAIT));
	EXPECT_EQ(DEMI_CAPTURE_F_TX, hdr->direction);
	EXPECT_EQ(0, memcmp(got + sizeof(*hdr), self->frame + FQ_HDR, 200));
	make_frame(sent, MAC0, MAC1);
	ASSERT_EQ(100, send(self->peer, sent + FQ_HDR, 100, 0));
	ASSERT_EQ(sizeof(*hdr) + 100, fq_recv(&to, got, sizeof(got), WAIT));
	EXPECT_EQ(DEMI_CAPTURE_F_RX, hdr->direction);
	EXPECT_EQ(0, memcmp(got + sizeof(*hdr), sent + FQ_HDR, 100));
	fq_close(&to);
}

/* ---- who may ------------------------------------------------------------------------------- */

TEST_F(raw, privilege)
{
	unsigned int ifindex = if_nametoindex("v0");
	struct fq q;
	int fd;

	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	/* the opener without it */
	ASSERT_EQ(0, seteuid(12345));
	fd = kmod_open();
	EXPECT_EQ(-EPERM, fq_host(&q, fd, DEMI_QUEUE_RAW, ifindex, 16));
	/* the caller without it */
	EXPECT_EQ(-EPERM, fq_host(&q, self->fd, DEMI_QUEUE_RAW, ifindex, 16));
	ASSERT_EQ(0, seteuid(0));
	EXPECT_EQ(-EPERM, fq_host(&q, fd, DEMI_QUEUE_RAW, ifindex, 16));
	EXPECT_EQ(0, fq_host(&q, self->fd, DEMI_QUEUE_RAW, ifindex, 16));
	fq_close(&q);
	close(fd);
}

TEST_F(raw, devices)
{
	struct fq q;

	EXPECT_EQ(-ENODEV, fq_host(&q, self->fd, DEMI_QUEUE_RAW, 9999, 16));
	EXPECT_EQ(-EINVAL, fq_host(&q, self->fd, DEMI_QUEUE_RAW, 0, 16));
	EXPECT_EQ(0, fq_host(&q, self->fd, DEMI_QUEUE_RAW, if_nametoindex("lo"), 16));
	fq_close(&q);
	/* no Ethernet */
	ASSERT_EQ(0, system("ip tuntap add t0 mode tun"));
	EXPECT_EQ(-EOPNOTSUPP, fq_host(&q, self->fd, DEMI_QUEUE_RAW, if_nametoindex("t0"), 16));
}

/* The device can be put into a bridge or a bond meanwhile. */
TEST_F(raw, device_stays_free_for_others)
{
	uint8_t sent[FQ_BUF], got[FQ_BUF];

	make_frame(sent, MAC0, MAC1);
	ASSERT_EQ(0, system("ip link add b0 type bridge && ip link set b0 up && ip link set v0 master b0"));
	ASSERT_EQ(100, send(self->peer, sent + FQ_HDR, 100, 0));
	EXPECT_EQ(FQ_HDR + 100, recv_ours(&self->q, got, WAIT));
	ASSERT_EQ(0, system("ip link set v0 nomaster && ip link del b0"));
	ASSERT_EQ(0, system("ip link add bond7 type bond && ip link set v0 down && ip link set v0 master bond7 &&"
			    "ip link set bond7 up"));
	ASSERT_EQ(101, send(self->peer, sent + FQ_HDR, 101, 0));
	EXPECT_EQ(FQ_HDR + 101, recv_ours(&self->q, got, WAIT));
}

/* ---- devices that go ----------------------------------------------------------------------- */

struct traffic {
	struct fq *q;
	int peer;
	uint8_t frame[128];
	bool stop;
};

static void *flood_in(void *arg)
{
	struct traffic *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED))
		send(t->peer, t->frame + FQ_HDR, 100, MSG_DONTWAIT);
	return NULL;
}

static void *flood_out(void *arg)
{
	struct traffic *t = arg;
	struct kmod_ring *tx = &t->q->q.tx, *done = &t->q->q.tx_done;
	struct demi_desc d;

	memcpy(fq_buf(t->q, 110), t->frame, FQ_HDR + 100);
	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		while (kmod_filled(tx) < ENTRIES / 2)
			kmod_put(tx, (struct demi_desc){ 110 * FQ_BUF, FQ_HDR + 100, t->q->region, 0 });
		if (kmod_kick(t->q->q.fd, NULL) == -ENODEV)
			break;
		while (kmod_take(done, &d))
			;
	}
	return NULL;
}

/* The queue's end, under traffic both ways, when @command takes the device away. */
static void goes_by(struct __test_metadata *_metadata, struct fq *q, int peer, uint8_t *frame, const char *command)
{
	struct pollfd p = { .fd = q->q.fd, .events = POLLIN };
	struct traffic t = { .q = q, .peer = peer };
	pthread_t in, out;
	unsigned int i;

	memcpy(t.frame, frame, sizeof(t.frame));
	ASSERT_EQ(0, pthread_create(&in, NULL, flood_in, &t));
	ASSERT_EQ(0, pthread_create(&out, NULL, flood_out, &t));
	for (i = 0; i < 100000 && (!queue_info(q).counters.rx_frames || !queue_info(q).counters.tx_frames); i++)
		sched_yield();
	EXPECT_NE(0, queue_info(q).counters.tx_frames);
	/* it returns although the queue is open, mapped and in use */
	ASSERT_EQ(0, system(command));
	for (i = 0; i < 200 && (poll(&p, 1, 50) <= 0 || !(p.revents & POLLHUP)); i++)
		;
	EXPECT_TRUE(p.revents & POLLHUP);
	EXPECT_EQ(-ENODEV, kmod_kick(q->q.fd, NULL));
	EXPECT_TRUE(queue_info(q).state & DEMI_QUEUE_STATE_SHUTDOWN);
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	pthread_join(in, NULL);
	pthread_join(out, NULL);
}

TEST_F(raw, device_removed)
{
	goes_by(_metadata, &self->q, self->peer, self->frame, "ip link del v0");
}

TEST_F(raw, device_moved)
{
	struct fq again;

	ASSERT_EQ(0, system("ip netns add demi-raw"));
	goes_by(_metadata, &self->q, self->peer, self->frame, "ip link set v0 netns demi-raw");
	EXPECT_EQ(0, if_nametoindex("v0"));
	ASSERT_EQ(0, system("ip netns exec demi-raw ip link set v0 netns $PPID"));
	/* back again: the old queue stays ended, a new one works */
	EXPECT_EQ(-ENODEV, kmod_kick(self->q.q.fd, NULL));
	EXPECT_EQ(0, fq_host(&again, self->fd, DEMI_QUEUE_RAW, if_nametoindex("v0"), 16));
	fq_close(&again);
	EXPECT_EQ(0, system("ip netns del demi-raw"));
}

TEST_HARNESS_MAIN
