/* SPDX-License-Identifier: MIT */
/* As little as a peer can do and be right: it counts, too. */
#include "peer.h"

#include "inet/cksum.h"
#include "inet/tcp_opts.h"
#include "inet/wire.h"

#include <netinet/in.h>
#include <string.h>

#define PORT 7
#define PEER_PORT 1234
#define UDP_HDRS (sizeof(struct demi_ip4_hdr) + sizeof(struct demi_udp_hdr))
#define TCP_OFF sizeof(struct demi_ip4_hdr)
#define TCP_LEN (sizeof(struct demi_tcp_hdr) + DEMI_TCP_TS_LEN)
#define TCP_HDRS (TCP_OFF + TCP_LEN)
#define PEER_ISS 1000000

static struct demi_tcp_hdr *tcp_of(uint8_t *p)
{
	return (struct demi_tcp_hdr *)(p + TCP_OFF);
}

/* Of 16-bit words in network order. */
static uint32_t sum16(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* With the pseudo header; @len: of transport header and payload. */
static uint32_t sum_transport(const uint8_t *p, uint32_t len)
{
	return sum16(p[9] + len, p + 12, len + 8);
}

static void put_ip(uint8_t *p, uint8_t proto, uint32_t len)
{
	struct demi_ip4_hdr h = {
		.ver_ihl = 0x45,
		.tot_len = htons((uint16_t)(sizeof(h) + len)),
		.frag_off = htons(DEMI_IP4_DF),
		.ttl = 64,
		.proto = proto,
		.src = htonl(0x0a000002),
		.dst = htonl(0x0a000001),
	};

	h.check = htons((uint16_t)~sum16(0, (uint8_t *)&h, sizeof(h)));
	memcpy(p, &h, sizeof(h));
}

static void put_payload(uint8_t *p)
{
	for (uint8_t i = 0; i < PEER_LEN; i++)
		p[i] = i;
}

/* ---- UDP ---- */

static int udp_reached(struct memdev *m, const struct demi_pkt *e)
{
	m->rx_other++;
	return 0;
}

void peer_udp(struct memdev *m, bool always)
{
	struct demi_udp_hdr h = { htons(PEER_PORT), htons(PORT), htons(sizeof(h) + PEER_LEN), 0 };
	uint8_t *p = m->packet;

	put_ip(p, IPPROTO_UDP, sizeof(h) + PEER_LEN);
	memcpy(p + sizeof(struct demi_ip4_hdr), &h, sizeof(h));
	put_payload(p + UDP_HDRS);
	h.check = htons((uint16_t)~sum_transport(p, sizeof(h) + PEER_LEN));
	memcpy(p + sizeof(struct demi_ip4_hdr), &h, sizeof(h));
	m->packet_len = UDP_HDRS + PEER_LEN;
	m->always = always;
	m->reached = always ? NULL : udp_reached;
	m->rx_other++;
}

/* The packet goes the other way: addresses and ports turned round, sums right, @hdrs of headers. */
static bool turned_round(const struct memdev *m, uint32_t hdrs)
{
	const struct demi_pkt *e = memdev_last_sent(m);
	const uint8_t *p = e->data, *q = m->packet;

	return e->len == hdrs + PEER_LEN && !memcmp(p + 12, q + 16, 4) && !memcmp(p + 16, q + 12, 4) &&
	       !memcmp(p + 20, q + 22, 2) && !memcmp(p + 22, q + 20, 2) && !memcmp(p + hdrs, q + hdrs, PEER_LEN) &&
	       sum16(0, p, 20) == 0xffff && sum_transport(p, e->len - 20) == 0xffff;
}

bool peer_udp_answered(const struct memdev *m)
{
	return turned_round(m, UDP_HDRS);
}

/* ---- TCP ---- */

/* Numbers into the segment; what else its checksum covers never changes. */
static inline void put_numbers(struct memdev *m)
{
	struct demi_tcp_hdr *h = tcp_of(m->packet);
	uint64_t numbers = __builtin_bswap64((uint64_t)m->seq << 32 | m->ack);

	memcpy(&h->seq, &numbers, sizeof(numbers)); /* and ack */
	h->check = (uint16_t)~demi_cksum_fold_wrapped(demi_cksum_wrap(m->tcp_sum, numbers));
}

/* The same segment with the next numbers. */
static void tcp_next(struct memdev *m)
{
	m->seq += PEER_LEN;
	put_numbers(m);
}

static int tcp_reached(struct memdev *m, const struct demi_pkt *e)
{
	uint32_t len = e->len - (uint32_t)TCP_HDRS;

	/* neither an acknowledgement is answered nor what was sent again because this machine was slow */
	if (!len || ntohl(tcp_of(e->data)->seq) != m->ack)
		return 0;
	m->ack += len;
	m->seq += PEER_LEN;
	put_numbers(m);
	m->rx_other++;
	return 0;
}

/* Of the segment without its numbers and its sum, in the order of memory. */
static uint64_t sum_rest(struct memdev *m)
{
	struct demi_tcp_hdr *h = tcp_of(m->packet);

	h->seq = h->ack = 0;
	h->check = 0;
	return htons((uint16_t)sum_transport(m->packet, m->packet_len - (uint32_t)TCP_OFF));
}

static void put_segment(struct memdev *m, uint8_t flags, uint32_t olen, uint32_t len)
{
	struct demi_tcp_hdr h = {
		.sport = htons(PEER_PORT), .dport = htons(PORT), .flags = flags, .wnd = htons(65535)
	};

	h.doff = (uint8_t)((sizeof(h) + olen) << 2);
	memcpy(tcp_of(m->packet), &h, sizeof(h));
	m->packet_len = (uint32_t)(TCP_OFF + sizeof(h)) + olen + len;
	put_ip(m->packet, IPPROTO_TCP, m->packet_len - (uint32_t)TCP_OFF);
	m->tcp_sum = sum_rest(m);
	put_numbers(m);
}

/* SYN and ACK: the timestamp that is returned is the one it has. */
static int syn_reached(struct memdev *m, const struct demi_pkt *e)
{
	const struct demi_tcp_hdr *h = tcp_of(e->data);
	uint8_t *o = (uint8_t *)(tcp_of(m->packet) + 1);
	struct demi_tcp_opts opts;

	if (h->flags != (DEMI_TH_SYN | DEMI_TH_ACK))
		return 0;
	demi_tcp_opts_parse(&opts, (const uint8_t *)(h + 1), e->len - (uint32_t)(TCP_OFF + sizeof(*h)), true);
	m->seq++;
	m->ack = ntohl(h->seq) + 1;
	demi_tcp_put_ts(o, 0, 1, opts.tsval);
	put_segment(m, DEMI_TH_ACK, DEMI_TCP_TS_LEN, 0);
	m->reached = NULL;
	m->rx_other++;
	return 0;
}

/* The options of every connection of Linux's. */
void peer_tcp(struct memdev *m)
{
	uint8_t *o = (uint8_t *)(tcp_of(m->packet) + 1);
	uint8_t len = demi_tcp_put_mss(o, 0, 1460);

	len = demi_tcp_put_sack_ok(o, len);
	len = demi_tcp_put_ts(o, len, 1, 0);
	len = demi_tcp_put_wscale(o, len, 7);
	m->seq = PEER_ISS;
	m->reached = syn_reached;
	put_segment(m, DEMI_TH_SYN, len, 0);
	m->rx_other++;
}

void peer_tcp_go(struct memdev *m, bool always)
{
	put_payload(m->packet + TCP_HDRS);
	put_segment(m, DEMI_TH_ACK | DEMI_TH_PSH, DEMI_TCP_TS_LEN, PEER_LEN);
	m->always = always;
	m->reached = always ? NULL : tcp_reached;
	m->next = always ? tcp_next : NULL;
	m->rx_other++;
}

bool peer_tcp_answered(const struct memdev *m)
{
	const struct demi_tcp_hdr *h = tcp_of(memdev_last_sent(m)->data);

	/* the peer has counted the answer and has the next segment ready */
	return turned_round(m, TCP_HDRS) && ntohl(h->seq) + PEER_LEN == m->ack && ntohl(h->ack) == m->seq;
}
