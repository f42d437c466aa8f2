/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_NET_H
#define DEMI_SELFTESTS_INET_NET_H

/*
 * Stacks on devices in memory, in a time of their own. A node is one stack on one L3 device; what it sends comes out as
 * packets of at most its MTU: the device here does what hardware does (checksums, segmentation), with code that is not
 * the library's.
 */

#include "../lib/bytes.h"
#include "../lib/check.h"

#include "core/ctx.h"
#include "heap/heap.h"
#include "inet/stack.h"
#include "inet/sock.h"

#include <netinet/in.h>
#include <linux/tcp.h>

#define NET_BUF 2048
#define NET_MS 1000000ULL

struct packet {
	struct packet *next;
	uint64_t at_ns; /* when it was sent; on a link: when it arrives */
	uint32_t len;
	uint8_t data[];
};

struct node {
	struct demi_pktdev d;
	struct demi_inet in;
	uint32_t addr4;
	uint8_t addr6[16];
	struct packet *out_head, *out_tail; /* sent, not looked at yet */
	bool hold; /* frames are not reported as done until it is false again */
	uint64_t held[4096];
	uint32_t nheld;
	int tx_err, route_err;
	uint32_t mtu;
	uint32_t ports, flows;
	uint16_t next_port;
	bool no_buf;
	uint64_t tx_packets, tx_gso;
};

static uint64_t net_now = 1000000 * NET_MS;

/* ---- bytes ---- */

static inline uint32_t ip_hdr_len(const uint8_t *p)
{
	return p[0] >> 4 == 4 ? 20 : 40;
}

static inline uint16_t tcp_sum(const uint8_t *p, uint32_t len)
{
	uint32_t off = ip_hdr_len(p);

	return fold16(pseudo_sum(p, 6, len - off) + sum16(p + off, len - off));
}

static inline void set_sums(uint8_t *p, uint32_t len)
{
	uint32_t off = ip_hdr_len(p);

	if (off == 20) {
		put16(p + 2, len);
		set_ip4_sum(p);
	} else {
		put16(p + 4, len - 40);
	}
	put16(p + off + 16, 0);
	put16(p + off + 16, (uint16_t)~tcp_sum(p, len));
}

/* ---- the device ---- */

static inline void node_emit(struct node *n, const uint8_t *data, uint32_t len)
{
	struct packet *p = malloc(sizeof(*p) + len);

	CHECK(p);
	CHECK(len <= n->mtu);
	p->next = NULL;
	p->at_ns = net_now;
	p->len = len;
	memcpy(p->data, data, len);
	if (n->out_head)
		n->out_tail->next = p;
	else
		n->out_head = p;
	n->out_tail = p;
	n->tx_packets++;
}

/* Cut a packet as a card would. */
static inline void node_segment(struct node *n, uint8_t *p, uint32_t len, uint32_t hdr, uint32_t mss, bool partial)
{
	static uint8_t seg[65536];
	uint32_t off = ip_hdr_len(p), seq = get32(p + off + 4), done = hdr, n_bytes;
	uint8_t flags = p[off + 13];

	while (done < len || done == hdr) {
		n_bytes = len - done < mss ? len - done : mss;
		memcpy(seg, p, hdr);
		memcpy(seg + hdr, p + done, n_bytes);
		put32(seg + off + 4, seq + (done - hdr));
		seg[off + 13] = flags;
		if (done + n_bytes < len)
			seg[off + 13] &= (uint8_t)~9; /* FIN, PSH: the last one */
		if (done > hdr)
			seg[off + 13] &= 0x7f; /* CWR: the first one */
		if (partial)
			set_sums(seg, hdr + n_bytes);
		else
			CHECK_EQ(tcp_sum(seg, hdr + n_bytes), 0xffff);
		node_emit(n, seg, hdr + n_bytes);
		done += n_bytes;
		if (done >= len)
			break;
	}
}

static inline void node_send(struct node *n, const struct demi_pkt *p)
{
	static uint8_t buf[70000];
	const struct demi_pkt *first = p;
	uint32_t len = 0, off, hdr;

	for (;; p++) {
		CHECK(len + p->len <= sizeof(buf));
		CHECK(p->len || (p == first && !(p->flags & DEMI_PKT_F_MORE)));
		memcpy(buf + len, p->data, p->len);
		len += p->len;
		if (!(p->flags & DEMI_PKT_F_MORE))
			break;
	}
	off = ip_hdr_len(buf);
	if (buf[off == 20 ? 9 : 6] != 6) { /* UDP is looked at elsewhere */
		node_emit(n, buf, len);
		return;
	}
	hdr = off + (buf[off + 12] >> 4) * 4U;
	CHECK_EQ(off == 20 ? get16(buf + 2) : get16(buf + 4) + 40, len);
	CHECK(first->len >= hdr);
	if (off == 20)
		CHECK_EQ(fold16(sum16(buf, 20)), 0xffff);
	if (first->flags & DEMI_PKT_F_GSO) {
		CHECK(first->flags & DEMI_PKT_F_CSUM_PARTIAL);
		CHECK_EQ(first->hdr_len, hdr);
		CHECK(len - hdr <= n->d.gso_max_bytes);
		CHECK(first->gso_size && (len - hdr + first->gso_size - 1) / first->gso_size <= n->d.gso_max_segs);
		n->tx_gso++;
	}
	if (first->flags & DEMI_PKT_F_CSUM_PARTIAL) {
		CHECK(n->d.caps & DEMI_PKTDEV_C_TX_CSUM);
		CHECK_EQ(first->csum_start, off);
		CHECK_EQ(first->csum_offset, 16);
		CHECK_EQ(get16(buf + off + 16), fold16(pseudo_sum(buf, 6, len - off)));
	}
	node_segment(n, buf, len, hdr, first->gso_size ? first->gso_size : 65536,
		     first->flags & DEMI_PKT_F_CSUM_PARTIAL);
}

static void *node_buf_alloc(struct demi_pktdev *d, uint32_t size)
{
	struct node *n = (struct node *)d;

	return n->no_buf ? NULL : demi_heap_alloc(size);
}

static int node_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	struct node *n = (struct node *)d;

	if (!p->port)
		p->port = htons(n->next_port++);
	p->handle = 1000 + n->ports++;
	return 0;
}

static void node_port_release(struct demi_pktdev *d, uint32_t handle)
{
	struct node *n = (struct node *)d;

	CHECK(n->ports > 0);
	n->ports--;
}

static int node_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow)
{
	*flow = 2000 + ((struct node *)d)->flows++;
	return 0;
}

static void node_flow_del(struct demi_pktdev *d, uint32_t flow)
{
	struct node *n = (struct node *)d;

	CHECK(n->flows > 0);
	n->flows--;
}

static int node_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	struct node *n = (struct node *)d;

	if (n->route_err)
		return n->route_err;
	r->mtu_bytes = n->mtu;
	memset(&r->src, 0, sizeof(r->src));
	if (r->family == AF_INET)
		r->src.v4.s_addr = htonl(n->addr4);
	else
		memcpy(&r->src.v6, n->addr6, 16);
	return 0;
}

static struct demi_pktdev_ops node_ops = {
	.name = "memory",
	.abi = DEMI_PKTDEV_ABI,
	.buf_alloc = node_buf_alloc,
	.port_reserve = node_port_reserve,
	.port_release = node_port_release,
	.flow_add = node_flow_add,
	.flow_del = node_flow_del,
	.route = node_route,
};

/* 10.0.0.@host and fd00::@host; @caps beside L3. */
static inline struct node *node_new(uint8_t host, uint32_t caps, uint32_t mtu)
{
	struct demi_inet_secrets secrets;
	struct node *n = calloc(1, sizeof(*n));

	CHECK(n);
	demi_pktdev_ops_fill(&node_ops);
	n->d.ops = &node_ops;
	n->d.ctx = demi_ctx_self;
	n->d.caps = DEMI_PKTDEV_C_L3 | caps;
	n->d.mtu_bytes = 65535;
	n->d.gso_max_bytes = 65000;
	n->d.gso_max_segs = 64;
	n->d.tx_segs_max = 16;
	n->d.zc_min_bytes = 1024;
	n->d.tx_headroom_bytes = 12;
	n->d.rx_buf_bytes = NET_BUF;
	n->d.wake_fd = -1;
	n->mtu = mtu;
	n->next_port = (uint16_t)(40000 + 1000 * host);
	n->addr4 = 0x0a000000U | host;
	n->addr6[0] = 0xfd;
	n->addr6[15] = host;
	memset(&secrets, 0, sizeof(secrets));
	for (size_t i = 0; i < sizeof(secrets); i++)
		((uint8_t *)&secrets)[i] = (uint8_t)(i * 167 + host * 13 + 1);
	OK(demi_inet_init(&n->in, demi_ctx_self, &n->d, &secrets));
	n->in.now_ns = net_now;
	return n;
}

static inline void node_done(struct node *n)
{
	struct demi_pkt_done done[64];
	uint32_t k = 0;

	for (uint32_t i = 0; i < n->nheld; i += k) {
		for (k = 0; k < 64 && i + k < n->nheld; k++)
			done[k] = (struct demi_pkt_done){ .cookie = n->held[i + k], .err = n->tx_err };
		demi_inet_done(&n->in, done, k);
	}
	n->nheld = 0;
}

/* Everything that is to be sent now is sent. */
static inline void node_pump(struct node *n)
{
	struct demi_pkt pkts[DEMI_INET_BURST];
	uint32_t k;

	for (;;) {
		n->in.now_ns = net_now;
		demi_inet_run(&n->in);
		k = demi_inet_output(&n->in, pkts, DEMI_INET_BURST);
		if (!k)
			break;
		for (uint32_t i = 0, end; i < k; i = end) {
			for (end = i + 1; pkts[end - 1].flags & DEMI_PKT_F_MORE; end++)
				;
			node_send(n, &pkts[i]);
			CHECK(n->nheld < 4096);
			n->held[n->nheld++] = pkts[i].cookie;
		}
		demi_inet_taken(&n->in, k);
		if (!n->hold)
			node_done(n);
	}
	demi_ctx_self->poll_in &= ~DEMI_FLUSH_WANTED;
}

static inline struct packet *node_take(struct node *n)
{
	struct packet *p = n->out_head;

	if (p)
		n->out_head = p->next;
	return p;
}

/* @len bytes arrive in one packet, in as many buffers as they need; @meta: its metadata or NULL. */
static inline void node_receive(struct node *n, const uint8_t *data, uint32_t len, const struct demi_pkt *meta)
{
	struct demi_pkt pkts[DEMI_INET_BURST];
	uint32_t k = 0, off = 0;

	do {
		uint32_t room = k ? NET_BUF : NET_BUF - DEMI_PKT_HEADROOM, m = len - off < room ? len - off : room;
		uint8_t *obj = demi_heap_alloc(NET_BUF);

		CHECK(obj && k < DEMI_INET_BURST);
		memset(obj, 0xdd, NET_BUF);
		pkts[k] = meta && !k ? *meta : (struct demi_pkt){ .flags = 0 };
		pkts[k].data = obj + (k ? 0 : DEMI_PKT_HEADROOM);
		pkts[k].len = m;
		if (m)
			memcpy(pkts[k].data, data + off, m);
		off += m;
		if (off < len)
			pkts[k].flags |= DEMI_PKT_F_MORE;
		k++;
	} while (off < len);
	n->in.now_ns = net_now;
	demi_inet_input(&n->in, pkts, k);
	for (uint32_t i = 0; i < n->in.nrecycle; i++)
		OK(demi_heap_free(n->in.recycle[i]));
}

/* All of its memory, ports and flows must have been given back. */
static inline void node_free(struct node *n)
{
	struct packet *p;

	node_pump(n);
	n->hold = false;
	node_done(n);
	node_pump(n);
	demi_inet_exit(&n->in);
	CHECK(!n->in.tx_all);
	CHECK_EQ(n->flows, 0);
	CHECK_EQ(n->ports, 0);
	while ((p = node_take(n)))
		free(p);
	free(n);
}

/* ---- calls ---- */

static inline int node_socket(struct node *n, int domain)
{
	struct demi_queue *q;

	CHECK_EQ(demi_inet_socket(&n->in, domain, SOCK_STREAM, 0, &q), 0);
	return q->qd;
}

static inline struct sockaddr_in addr4(uint32_t host, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host) };
}

static inline struct sockaddr_in6 addr6(const uint8_t ip[16], uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memcpy(&a.sin6_addr, ip, 16);
	return a;
}

static inline int node_listen(struct node *n, int domain, uint16_t port, int backlog)
{
	static const uint8_t any[16];
	struct sockaddr_in a4 = addr4(0, port);
	struct sockaddr_in6 a6 = addr6(any, port);
	int qd = node_socket(n, domain);

	if (domain == AF_INET)
		OK(demi_bind(qd, (struct sockaddr *)&a4, sizeof(a4)));
	else
		OK(demi_bind(qd, (struct sockaddr *)&a6, sizeof(a6)));
	OK(demi_listen(qd, backlog));
	return qd;
}

static inline demi_qtoken_t node_connect(int qd, struct node *to, int domain, uint16_t port)
{
	struct sockaddr_in a4 = addr4(to->addr4, port);
	struct sockaddr_in6 a6 = addr6(to->addr6, port);
	demi_qtoken_t qt = 0;

	if (domain == AF_INET)
		OK(demi_connect(&qt, qd, (struct sockaddr *)&a4, sizeof(a4)));
	else
		OK(demi_connect(&qt, qd, (struct sockaddr *)&a6, sizeof(a6)));
	return qt;
}

static inline demi_qtoken_t start_accept(int qd)
{
	demi_qtoken_t qt = 0;

	OK(demi_accept(&qt, qd));
	return qt;
}

/* Is it done? Then its result. */
static inline bool try_result(demi_qtoken_t qt, demi_qresult_t *qr)
{
	int err = demi_wait(qr, qt, &check_now);

	CHECK(!err || err == ETIMEDOUT);
	return !err;
}

static inline demi_qresult_t result_now(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	CHECK(try_result(qt, &qr));
	return qr;
}

static inline void pending(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	CHECK(!try_result(qt, &qr));
}

/* ---- two nodes and a link ---- */

struct link {
	struct node *end[2];
	uint64_t delay_ns;
	struct packet *queue[2]; /* towards end[i], by time of arrival */
	/* in 1/10000 */
	uint32_t loss, dup, reorder, corrupt, truncate;
	uint32_t mark; /* of what is ECN-capable: congestion experienced */
	uint64_t rate_bps, busy_ns[2]; /* 0: any rate */
	uint32_t mtu; /* larger packets are lost; 0: none is too large */
	uint64_t packets, lost;
	void (*look)(struct link *l, int from, const uint8_t *p, uint32_t len);
};

static inline void link_put(struct link *l, int to, struct packet *p, uint64_t at_ns)
{
	struct packet **at = &l->queue[to];

	p->at_ns = at_ns;
	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

static inline bool chance(uint32_t per_10000)
{
	return per_10000 && rnd_below(10000) < per_10000;
}

/* As a router does that is about to drop packets: RFC 3168 5. */
static inline void packet_mark(uint8_t *p)
{
	if (p[0] >> 4 == 6) {
		if (p[1] & 0x30)
			p[1] |= 0x30;
	} else if (p[1] & 3) {
		p[1] |= 3;
		set_ip4_sum(p);
	}
}

static inline void link_carry(struct link *l, int from, struct packet *p)
{
	uint64_t at_ns = net_now + l->delay_ns;

	l->packets++;
	if (l->look)
		l->look(l, from, p->data, p->len);
	if (l->rate_bps) {
		if (l->busy_ns[from] < net_now)
			l->busy_ns[from] = net_now;
		l->busy_ns[from] += (uint64_t)p->len * 8 * 1000000000 / l->rate_bps;
		at_ns = l->busy_ns[from] + l->delay_ns;
	}
	if (chance(l->loss) || (l->mtu && p->len > l->mtu)) {
		l->lost++;
		free(p);
		return;
	}
	if (chance(l->mark))
		packet_mark(p->data);
	if (chance(l->corrupt))
		p->data[rnd_below(p->len)] ^= (uint8_t)(1 + rnd_below(255));
	if (chance(l->truncate))
		p->len = rnd_below(p->len + 1);
	if (chance(l->dup)) {
		struct packet *copy = malloc(sizeof(*p) + p->len);

		CHECK(copy);
		memcpy(copy, p, sizeof(*p) + p->len);
		link_put(l, !from, copy, at_ns + rnd_below(5000) * 1000ULL);
	}
	if (chance(l->reorder))
		at_ns += (1 + rnd_below(20)) * (l->delay_ns ? l->delay_ns : 100000) / 8;
	link_put(l, !from, p, at_ns);
}

/* Whatever is due now, and what follows from it at once. */
static inline void link_settle(struct link *l)
{
	bool again = true;

	while (again) {
		again = false;
		for (int i = 0; i < 2; i++) {
			struct packet *p;

			node_pump(l->end[i]);
			while ((p = node_take(l->end[i]))) {
				link_carry(l, i, p);
				again = true;
			}
		}
		for (int i = 0; i < 2; i++) {
			while (l->queue[i] && l->queue[i]->at_ns <= net_now) {
				struct packet *p = l->queue[i];

				l->queue[i] = p->next;
				node_receive(l->end[i], p->data, p->len, NULL);
				free(p);
				again = true;
			}
		}
	}
}

/* When something happens next; UINT64_MAX: nothing will. */
static inline uint64_t link_next(const struct link *l)
{
	uint64_t ns = UINT64_MAX;

	for (int i = 0; i < 2; i++) {
		uint64_t d = demi_inet_deadline(&l->end[i]->in);

		if (d < ns)
			ns = d;
		if (l->queue[i] && l->queue[i]->at_ns < ns)
			ns = l->queue[i]->at_ns;
	}
	return ns;
}

/* Let time pass, at most to @until. False: nothing happens before that. */
static inline bool link_step(struct link *l, uint64_t until_ns)
{
	uint64_t ns;

	link_settle(l);
	ns = link_next(l);
	if (ns > until_ns) {
		net_now = until_ns > net_now ? until_ns : net_now;
		link_settle(l);
		return false;
	}
	if (ns > net_now)
		net_now = ns;
	link_settle(l);
	return true;
}

static inline void link_run(struct link *l, uint64_t ns)
{
	uint64_t until = net_now + ns;

	while (link_step(l, until))
		;
}

static inline void link_free(struct link *l)
{
	for (int i = 0; i < 2; i++) {
		struct packet *p;

		while ((p = l->queue[i])) {
			l->queue[i] = p->next;
			free(p);
		}
		node_free(l->end[i]);
	}
}

#endif /* DEMI_SELFTESTS_INET_NET_H */
