/* SPDX-License-Identifier: MIT */
/* Packets built by hand and sent through a queue of demi_test.h. */
#ifndef TX_TEST_H
#define TX_TEST_H

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "demi_test.h"

#define TX_NEEDS_CSUM 1
#define TX_GSO_TCPV4 1
#define TX_GSO_TCPV6 4
#define TX_GSO_UDP_L4 5

/* A frame as it lies in the buffers. */
struct tx_packet {
	size_t len; /* of data: virtio_net_hdr_v1 included */
	size_t l4; /* offset of the TCP or UDP header in the packet */
	size_t payload; /* offset in the packet */
	union {
		struct virtio_net_hdr_v1 vh;
		uint8_t data[DEMI_FRAME_MAX + 1024];
	};
};

#define TX_HDR sizeof(struct virtio_net_hdr_v1)

static inline uint8_t *tx_ip(struct tx_packet *p)
{
	return p->data + TX_HDR;
}

static inline bool tx_is_v6(struct tx_packet *p)
{
	return tx_ip(p)[0] >> 4 == 6;
}

static inline uint32_t tx_sum(uint32_t sum, const uint8_t *p, size_t n)
{
	for (; n > 1; n -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	if (n)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of the transport, as a sender without offload computes it. */
static inline void tx_csum(struct tx_packet *p)
{
	uint8_t *ip = tx_ip(p), *l4 = ip + p->l4;
	bool v6 = tx_is_v6(p);
	uint8_t protocol = v6 ? ip[6] : ip[9];
	uint8_t *field = l4 + (protocol == IPPROTO_UDP ? 6 : 16);
	size_t n = p->len - TX_HDR - p->l4;
	uint32_t sum = tx_sum(0, v6 ? ip + 8 : ip + 12, v6 ? 32 : 8) + protocol + (uint32_t)n;

	field[0] = field[1] = 0;
	sum = tx_sum(sum, l4, n);
	sum = ~sum & 0xffff;
	if (!sum && protocol == IPPROTO_UDP)
		sum = 0xffff;
	field[0] = (uint8_t)(sum >> 8);
	field[1] = (uint8_t)sum;
}

/* Leave it to the kernel. */
static inline void tx_ask_csum(struct tx_packet *p)
{
	bool udp = (tx_is_v6(p) ? tx_ip(p)[6] : tx_ip(p)[9]) == IPPROTO_UDP;

	p->vh.flags = TX_NEEDS_CSUM;
	p->vh.csum_start = (uint16_t)p->l4;
	p->vh.csum_offset = udp ? 6 : 16;
	tx_ip(p)[p->l4 + p->vh.csum_offset] = 0xba;
	tx_ip(p)[p->l4 + p->vh.csum_offset + 1] = 0xad;
}

static inline void tx_network(struct tx_packet *p, uint8_t protocol, const char *src, const char *dst, size_t l4_bytes)
{
	uint8_t *ip = tx_ip(p);
	size_t len;

	if (strchr(src, ':')) {
		p->l4 = 40;
		ip[0] = 0x60;
		ip[4] = (uint8_t)(l4_bytes >> 8);
		ip[5] = (uint8_t)l4_bytes;
		ip[6] = protocol;
		ip[7] = 64;
		inet_pton(AF_INET6, src, ip + 8);
		inet_pton(AF_INET6, dst, ip + 24);
	} else {
		p->l4 = 20;
		len = l4_bytes + 20;
		ip[0] = 0x45;
		ip[2] = (uint8_t)(len >> 8);
		ip[3] = (uint8_t)len;
		ip[8] = 64;
		ip[9] = protocol;
		inet_pton(AF_INET, src, ip + 12);
		inet_pton(AF_INET, dst, ip + 16);
	}
	p->len = TX_HDR + p->l4 + l4_bytes;
}

/* A valid UDP packet with a checksum. */
static inline void tx_udp(struct tx_packet *p, const char *src, uint16_t sport, const char *dst, uint16_t dport,
			  const void *payload, size_t n)
{
	struct udphdr uh = { .source = htons(sport), .dest = htons(dport), .len = htons((uint16_t)(n + 8)) };

	memset(p->data, 0, TX_HDR + 64);
	tx_network(p, IPPROTO_UDP, src, dst, n + 8);
	p->payload = p->l4 + 8;
	memcpy(tx_ip(p) + p->l4, &uh, sizeof(uh));
	memcpy(tx_ip(p) + p->payload, payload, n);
	tx_csum(p);
}

/* A valid TCP segment, ACK set, with 12 bytes of options (NOPs). */
static inline void tx_tcp(struct tx_packet *p, const char *src, uint16_t sport, const char *dst, uint16_t dport,
			  const void *payload, size_t n)
{
	struct tcphdr th = { .source = htons(sport), .dest = htons(dport), .doff = 8, .ack = 1, .window = 0xffff };

	memset(p->data, 0, TX_HDR + 64);
	tx_network(p, IPPROTO_TCP, src, dst, n + 32);
	p->payload = p->l4 + 32;
	memcpy(tx_ip(p) + p->l4, &th, sizeof(th));
	memset(tx_ip(p) + p->l4 + 20, 1, 12);
	memcpy(tx_ip(p) + p->payload, payload, n);
	tx_csum(p);
}

static inline int tx_kick(struct dt_queue *q, uint32_t *sent)
{
	struct demi_queue_kick kick = { .size = sizeof(kick) };
	int err = dt_ioctl(q->fd, DEMI_QUEUE_KICK, &kick);

	if (sent)
		*sent = kick.sent;
	return err;
}

/* Into the next free buffers of the queue, not kicked. How many descriptors; @first: bytes in the first. */
static inline uint32_t tx_put_split(struct dt_queue *q, const struct tx_packet *p, size_t first)
{
	uint32_t n = 0;
	size_t at = 0;

	while (at < p->len) {
		uint64_t offset = q->base + (q->entries + (q->tx.own & (q->entries - 1))) * DT_BUFFER_BYTES;
		size_t some = p->len - at < DT_BUFFER_BYTES ? p->len - at : DT_BUFFER_BYTES;

		if (!at && some > first)
			some = first;
		memcpy(q->ctx->mem + offset, p->data + at, some);
		at += some;
		dt_ring_put(&q->tx, (struct demi_desc){ .offset = offset,
							.len = (uint32_t)some,
							.region = (uint16_t)q->ctx->region,
							.flags = at < p->len ? DEMI_DESC_F_MORE : 0 });
		n++;
	}
	return n;
}

static inline uint32_t tx_put(struct dt_queue *q, const struct tx_packet *p)
{
	return tx_put_split(q, p, DT_BUFFER_BYTES);
}

/* @n descriptors that came back: 0, the error that all of them tell, -EPROTO if they are not what was sent. */
static inline int tx_done(struct dt_queue *q, uint32_t n)
{
	int err = 1;

	if (dt_ring_avail(&q->tx_done) < n)
		return -ENODATA;
	while (n--) {
		const struct demi_desc *sent = &q->tx.desc[q->tx_done.own & (q->entries - 1)];
		struct demi_desc d = dt_ring_take(&q->tx_done);
		int this = d.flags & DEMI_DESC_F_ERROR ? -(int)d.len : 0;

		if (d.offset != sent->offset || d.region != sent->region || (err <= 0 && err != this))
			return -EPROTO;
		if (!this && (d.flags != DEMI_DESC_F_COPIED || d.len != sent->len))
			return -EPROTO;
		err = this;
	}
	return err;
}

/* One frame, and how it went. Rings are empty before and after. */
static inline int tx_send(struct dt_queue *q, const struct tx_packet *p)
{
	uint32_t n = tx_put(q, p), sent;
	int err = tx_kick(q, &sent);

	if (err)
		return err;
	return sent == n ? tx_done(q, n) : -ENODATA;
}

/* The next datagram of a socket of the kernel: its length, -ETIMEDOUT. */
static inline int tx_recv(int fd, void *buf, size_t room)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, DT_PATIENCE_MS) <= 0)
		return -ETIMEDOUT;
	n = recv(fd, buf, room, MSG_DONTWAIT);
	return n < 0 ? -errno : (int)n;
}

#endif
