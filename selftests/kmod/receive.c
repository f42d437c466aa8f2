// SPDX-License-Identifier: MIT
/* What reaches a queue, on one host: lo. */
#include "kselftest_harness.h"

#include "demi_test.h"

#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

FIXTURE(receive)
{
	struct dt_ctx c;
	struct dt_queue q;
	uint8_t buf[DEMI_FRAME_MAX];
};

FIXTURE_SETUP(receive)
{
	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&self->c));
	ASSERT_EQ(0, dt_queue_open(&self->q, &self->c, 64));
}

FIXTURE_TEARDOWN(receive)
{
	dt_queue_close(&self->q);
	dt_close(&self->c);
}

TEST_F(receive, udp4)
{
	struct demi_queue_counters count;

	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.1", 5000, "one"));
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.2", "127.0.0.1", 5000, "one");
	/* another address, another port */
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.3", 5000, "two"));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.1", 5001, "three"));
	DT_EXPECT_NOTHING(&self->q);
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, dt_counters(&self->q, &count));
	EXPECT_EQ(1, count.rx_frames);
	EXPECT_EQ(31, count.rx_bytes);
}

TEST_F(receive, udp4_any_address)
{
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "0.0.0.0", 5000));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.1", 5000, "one"));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.9.9.9", 5000, "two"));
	ASSERT_EQ(0, dt_send_to("::1", "::1", 5000, "three"));
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.2", "127.0.0.1", 5000, "one");
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.2", "127.9.9.9", 5000, "two");
	DT_EXPECT_NOTHING(&self->q);
}

TEST_F(receive, udp6)
{
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "::1", 5000));
	ASSERT_EQ(0, dt_send_to("::1", "::1", 5000, "one"));
	DT_EXPECT_DATAGRAM(&self->q, "::1", "::1", 5000, "one");
	ASSERT_EQ(0, dt_send_to("::1", "::1", 5001, "two"));
	DT_EXPECT_NOTHING(&self->q);
}

TEST_F(receive, udp6_any_address)
{
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "::", 5000));
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", 5000, "one"));
	ASSERT_EQ(0, dt_send_to("::1", "::1", 5000, "two"));
	DT_EXPECT_DATAGRAM(&self->q, "::1", "::1", 5000, "two");
	DT_EXPECT_NOTHING(&self->q);
}

TEST_F(receive, both_families)
{
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, DEMI_PORT_F_DUAL, "::", 5000));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.1", 5000, "one"));
	ASSERT_EQ(0, dt_send_to("::1", "::1", 5000, "two"));
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.2", "127.0.0.1", 5000, "one");
	DT_EXPECT_DATAGRAM(&self->q, "::1", "::1", 5000, "two");
}

/* One port, two families, two owners. */
TEST_F(receive, families_apart)
{
	struct dt_ctx other;
	struct dt_queue q6;

	ASSERT_EQ(0, dt_open(&other));
	ASSERT_EQ(0, dt_queue_open(&q6, &other, 8));
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "0.0.0.0", 5000));
	ASSERT_LT(0, dt_listen(&q6, IPPROTO_UDP, 0, "::", 5000));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.1", 5000, "four"));
	ASSERT_EQ(0, dt_send_to("::1", "::1", 5000, "six"));
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.2", "127.0.0.1", 5000, "four");
	DT_EXPECT_DATAGRAM(&q6, "::1", "::1", 5000, "six");
	DT_EXPECT_NOTHING(&self->q);
	DT_EXPECT_NOTHING(&q6);
}

TEST_F(receive, most_specific_flow)
{
	struct dt_queue local, peer;
	int r;

	ASSERT_EQ(0, dt_queue_open(&local, &self->c, 8));
	ASSERT_EQ(0, dt_queue_open(&peer, &self->c, 8));
	r = dt_reserve(&self->c, IPPROTO_UDP, 0, "0.0.0.0", 5000);
	ASSERT_LT(0, r);
	ASSERT_LT(0, dt_flow(&self->c, r, 0, self->q.id, NULL, 0, NULL, 0));
	ASSERT_LT(0, dt_flow(&self->c, r, 0, local.id, "127.0.0.1", 5000, NULL, 0));
	ASSERT_LT(0, dt_flow(&self->c, r, 0, peer.id, "127.0.0.1", 5000, "127.0.0.2", 6000));

	int fd = dt_socket(SOCK_DGRAM, "127.0.0.2", 6000);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, dt_send(fd, "127.0.0.1", 5000, "peer", 4));
	ASSERT_EQ(0, dt_send(fd, "127.0.0.9", 5000, "any", 3));
	ASSERT_EQ(0, dt_send_to("127.0.0.2", "127.0.0.1", 5000, "local"));
	DT_EXPECT_DATAGRAM(&peer, "127.0.0.2", "127.0.0.1", 5000, "peer");
	DT_EXPECT_DATAGRAM(&local, "127.0.0.2", "127.0.0.1", 5000, "local");
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.2", "127.0.0.9", 5000, "any");
	DT_EXPECT_NOTHING(&peer);
	DT_EXPECT_NOTHING(&local);
	DT_EXPECT_NOTHING(&self->q);
}

/* What no flow claims, the stack gets. */
TEST_F(receive, sockets_go_on)
{
	int fd = dt_socket(SOCK_DGRAM, "127.0.0.1", 5001);
	char text[8];

	ASSERT_LE(0, fd);
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", 5001, "sock"));
	ASSERT_EQ(4, recv(fd, text, sizeof(text), 0));
	DT_EXPECT_NOTHING(&self->q);
}

TEST_F(receive, several_buffers)
{
	static uint8_t data[9000], *payload;
	struct virtio_net_hdr_v1 hdr;
	struct dt_packet p;
	int fd = dt_socket(SOCK_DGRAM, "127.0.0.1", 0), len;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	ASSERT_EQ(0, dt_send(fd, "127.0.0.1", 5000, data, sizeof(data)));
	ASSERT_EQ(0, dt_settle());
	EXPECT_EQ(5, dt_ring_avail(&self->q.rx));
	len = dt_pop(&self->q, &hdr, self->buf, sizeof(self->buf));
	ASSERT_EQ(28 + sizeof(data), len);
	ASSERT_TRUE(dt_parse(&p, self->buf, len));
	payload = self->buf + 28;
	EXPECT_EQ(0, memcmp(payload, data, sizeof(data)));
	EXPECT_EQ(VIRTIO_NET_HDR_GSO_NONE, hdr.gso_type);
}

/* The queue is full: dropped and counted, and never the stack's, which would say "port unreachable". */
TEST_F(receive, full_queue_drops)
{
	struct demi_queue_counters count;
	struct dt_queue q;
	char text[4];
	int fd;

	ASSERT_EQ(0, dt_queue_open_kind(&q, &self->c, DEMI_QUEUE_FLOW, 0, 4));
	dt_post(&q, q.base, DT_BUFFER_BYTES);
	ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	fd = dt_socket(SOCK_DGRAM, "127.0.0.1", 6000);
	struct sockaddr_storage ss;
	socklen_t sslen = dt_sockaddr(&ss, "127.0.0.1", 5000);
	ASSERT_EQ(0, connect(fd, (struct sockaddr *)&ss, sslen));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(3, send(fd, "abc", 3, 0));
	ASSERT_EQ(0, dt_settle());
	EXPECT_EQ(-1, recv(fd, text, sizeof(text), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, dt_counters(&q, &count));
	EXPECT_EQ(1, count.rx_frames);
	EXPECT_EQ(2, count.rx_no_buffer);
	DT_EXPECT_DATAGRAM(&q, "127.0.0.1", "127.0.0.1", 5000, "abc");
}

TEST_F(receive, deleted_flow)
{
	int flow = dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000);

	ASSERT_LT(0, flow);
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", 5000, "one"));
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.1", "127.0.0.1", 5000, "one");
	ASSERT_EQ(0, dt_flow_del(&self->c, flow));
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", 5000, "two"));
	DT_EXPECT_NOTHING(&self->q);
	EXPECT_EQ(-ENOENT, dt_flow_del(&self->c, flow));
}

TEST_F(receive, shut_down_queue)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg) };
	int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "127.0.0.1", 5000);

	ASSERT_LT(0, r);
	ASSERT_LT(0, dt_flow(&self->c, r, 0, self->q.id, NULL, 0, NULL, 0));
	EXPECT_EQ(-EBUSY, dt_release(&self->c, r));
	ASSERT_EQ(0, dt_ioctl(self->q.fd, DEMI_QUEUE_SHUTDOWN, &arg));
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", 5000, "gone"));
	EXPECT_EQ(-ENODEV, dt_flow(&self->c, r, 0, self->q.id, NULL, 0, NULL, 0));
	/* its flows went with it */
	EXPECT_EQ(0, dt_release(&self->c, r));
}

/* ---- TCP ----------------------------------------------------------------------------------- */

TEST_F(receive, tcp)
{
	int fd = dt_socket(SOCK_STREAM | SOCK_NONBLOCK, "127.0.0.2", 6000), r, len, err;
	struct sockaddr_storage ss;
	socklen_t sslen = dt_sockaddr(&ss, "127.0.0.1", 5000), errlen = sizeof(err);
	struct dt_packet p;

	ASSERT_LE(0, fd);
	r = dt_reserve(&self->c, IPPROTO_TCP, 0, "127.0.0.1", 5000);
	ASSERT_LT(0, r);
	ASSERT_LT(0, dt_flow(&self->c, r, 0, self->q.id, NULL, 0, NULL, 0));
	EXPECT_EQ(-1, connect(fd, (struct sockaddr *)&ss, sslen));
	EXPECT_EQ(EINPROGRESS, errno);
	len = dt_pop(&self->q, NULL, self->buf, sizeof(self->buf));
	ASSERT_LT(0, len);
	ASSERT_TRUE(dt_parse(&p, self->buf, len));
	EXPECT_EQ(IPPROTO_TCP, p.protocol);
	EXPECT_EQ(6000, p.sport);
	EXPECT_EQ(5000, p.dport);
	EXPECT_EQ(2, p.payload[13]); /* SYN */
	/* nobody has answered with a reset */
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &errlen));
	EXPECT_EQ(0, err);
}

TEST_F(receive, tcp_without_flow_is_refused)
{
	int fd = dt_socket(SOCK_STREAM, "127.0.0.2", 0);
	struct sockaddr_storage ss;
	socklen_t sslen = dt_sockaddr(&ss, "127.0.0.1", 5000);

	ASSERT_LT(0, dt_reserve(&self->c, IPPROTO_TCP, 0, "127.0.0.1", 5000));
	EXPECT_EQ(-1, connect(fd, (struct sockaddr *)&ss, sslen));
	EXPECT_EQ(ECONNREFUSED, errno);
	DT_EXPECT_NOTHING(&self->q);
}

/* ---- crafted packets ----------------------------------------------------------------------- */

static uint32_t sum_of(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

struct datagram {
	struct ip ip;
	struct udphdr udp;
	char data[16];
};

/* 127.0.0.2:6000 to 127.0.0.1:5000, with a good checksum over what the UDP header says. */
static void craft(struct datagram *d, uint16_t ulen)
{
	uint8_t pseudo[4] = { 0, IPPROTO_UDP, (uint8_t)(ulen >> 8), (uint8_t)ulen };

	*d = (struct datagram){
		.ip = { .ip_v = 4,
			.ip_hl = 5,
			.ip_len = htons(sizeof(*d)),
			.ip_ttl = 9,
			.ip_p = IPPROTO_UDP,
			.ip_src.s_addr = htonl(0x7f000002),
			.ip_dst.s_addr = htonl(0x7f000001) },
		.udp = { .uh_sport = htons(6000), .uh_dport = htons(5000), .uh_ulen = htons(ulen) },
		.data = "crafted",
	};
	d->udp.uh_sum = fold(sum_of(pseudo, 4, sum_of(&d->ip.ip_src, 8, sum_of(&d->udp, ulen, 0))));
}

static int send_crafted(const void *data, size_t len)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), err;

	err = fd < 0 ? -errno : dt_send(fd, "127.0.0.1", 0, data, len);
	close(fd);
	return err;
}

TEST_F(receive, checksum)
{
	struct demi_queue_counters count;
	struct virtio_net_hdr_v1 hdr;
	struct datagram d;

	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	craft(&d, 24);
	d.udp.uh_sum ^= 1;
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	DT_EXPECT_NOTHING(&self->q);
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, dt_counters(&self->q, &count));
	EXPECT_EQ(1, count.rx_error);
	craft(&d, 24);
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	ASSERT_EQ(sizeof(d), dt_pop(&self->q, &hdr, self->buf, sizeof(self->buf)));
	EXPECT_TRUE(hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID);
	EXPECT_EQ(0, memcmp(&d.udp, self->buf + 20, sizeof(d) - 20));
	/* none */
	d.udp.uh_sum = 0;
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	ASSERT_EQ(sizeof(d), dt_pop(&self->q, NULL, self->buf, sizeof(self->buf)));
}

TEST_F(receive, udp_length)
{
	struct demi_queue_counters count;
	struct datagram d;

	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	/* less than the header, more than there is */
	craft(&d, 24);
	d.udp.uh_ulen = htons(7);
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	d.udp.uh_ulen = htons(25);
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, dt_counters(&self->q, &count));
	EXPECT_EQ(2, count.rx_error);
	DT_EXPECT_NOTHING(&self->q);
	/* shorter than the packet is allowed, and the sum is of the datagram */
	craft(&d, 16);
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	ASSERT_EQ(sizeof(d), dt_pop(&self->q, NULL, self->buf, sizeof(self->buf)));
	d.udp.uh_sum ^= 1;
	ASSERT_EQ(0, send_crafted(&d, sizeof(d)));
	DT_EXPECT_NOTHING(&self->q);
}

/* ---- ICMP ---------------------------------------------------------------------------------- */

struct unreachable {
	struct ip ip;
	struct icmp icmp; /* the first 8 bytes; icmp_ip and what follows is the quoted packet */
	struct udphdr quoted;
} __attribute__((packed));

/* "Port unreachable" from 127.0.0.9, quoting a datagram from 127.0.0.1:@port to 127.0.0.9:7. */
static void craft_unreachable(struct unreachable *u, uint16_t port)
{
	*u = (struct unreachable){
		.ip = { .ip_v = 4,
			.ip_hl = 5,
			.ip_len = htons(sizeof(*u)),
			.ip_ttl = 9,
			.ip_p = IPPROTO_ICMP,
			.ip_src.s_addr = htonl(0x7f000009),
			.ip_dst.s_addr = htonl(0x7f000001) },
		.icmp = { .icmp_type = ICMP_DEST_UNREACH, .icmp_code = ICMP_PORT_UNREACH },
		.quoted = { .uh_sport = htons(port), .uh_dport = htons(7), .uh_ulen = htons(8) },
	};
	u->icmp.icmp_ip = (struct ip){ .ip_v = 4,
				       .ip_hl = 5,
				       .ip_len = htons(28),
				       .ip_ttl = 9,
				       .ip_p = IPPROTO_UDP,
				       .ip_src.s_addr = htonl(0x7f000001),
				       .ip_dst.s_addr = htonl(0x7f000009) };
	u->icmp.icmp_cksum = fold(sum_of(&u->icmp, sizeof(*u) - 20, 0));
}

TEST_F(receive, icmp_error)
{
	struct demi_queue_counters count;
	struct unreachable u;

	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	/* about another's packet; broken; not an error */
	craft_unreachable(&u, 5001);
	ASSERT_EQ(0, send_crafted(&u, sizeof(u)));
	craft_unreachable(&u, 5000);
	u.icmp.icmp_cksum ^= 1;
	ASSERT_EQ(0, send_crafted(&u, sizeof(u)));
	craft_unreachable(&u, 5000);
	u.icmp.icmp_type = ICMP_ECHO;
	u.icmp.icmp_cksum = 0;
	u.icmp.icmp_cksum = fold(sum_of(&u.icmp, sizeof(u) - 20, 0));
	ASSERT_EQ(0, send_crafted(&u, sizeof(u)));
	DT_EXPECT_NOTHING(&self->q);
	craft_unreachable(&u, 5000);
	ASSERT_EQ(0, send_crafted(&u, sizeof(u)));
	ASSERT_EQ(sizeof(u), dt_pop(&self->q, NULL, self->buf, sizeof(self->buf)));
	EXPECT_EQ(0, memcmp(&u.icmp, self->buf + 20, sizeof(u) - 20));
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, dt_counters(&self->q, &count));
	EXPECT_EQ(1, count.rx_icmp);
	EXPECT_EQ(1, count.rx_frames);
}

/* The kernel's own: a datagram of a socket at a port where nobody is comes back to the socket alone. */
TEST_F(receive, icmp_error_for_a_socket)
{
	struct sockaddr_storage ss;
	socklen_t sslen = dt_sockaddr(&ss, "127.0.0.1", 5999);
	int fd = dt_socket(SOCK_DGRAM, "127.0.0.1", 6000);

	ASSERT_LE(0, fd);
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	ASSERT_EQ(0, connect(fd, (struct sockaddr *)&ss, sslen));
	ASSERT_EQ(1, send(fd, "x", 1, 0));
	EXPECT_EQ(-1, recv(fd, self->buf, 1, 0));
	EXPECT_EQ(ECONNREFUSED, errno);
	DT_EXPECT_NOTHING(&self->q);
}

TEST_HARNESS_MAIN
