/* SPDX-License-Identifier: MIT */
/* UDP sockets: pushes and pops, connecting, closing. */
#include "heap/heap.h"
#include "inet/cksum.h"
#include "inet/tx.h"
#include "inet/udp.h"
#include "inet/wire.h"

#include <netinet/ip.h>
#include <stdlib.h>
#include <string.h>

#define IP4_UDP (sizeof(struct demi_ip4_hdr) + sizeof(struct demi_udp_hdr))
#define IP6_UDP (sizeof(struct demi_ip6_hdr) + sizeof(struct demi_udp_hdr))
#define PACKET_MAX 65535

/* ---- headers ---- */

static void put_ip4(struct demi_inet *in, const struct demi_inet_sock *s, const struct demi_inet_path *path,
		    uint8_t *to, uint32_t total)
{
	struct demi_ip4_hdr h = { .ver_ihl = 0x45, .tos = s->tos, .tot_len = htons((uint16_t)total) };
	bool df = s->pmtudisc4 == IP_PMTUDISC_DO || (s->pmtudisc4 != IP_PMTUDISC_DONT && total <= path->mtu_bytes);

	if (!df) /* RFC 6864 4.1: it means something only where the packet may be cut */
		h.id = demi_inet_next_id(in, &path->src, &path->dst.ip);
	h.frag_off = df ? htons(DEMI_IP4_DF) : 0;
	h.ttl = demi_ip_is_multicast(&path->dst.ip) ? s->mc_ttl : s->ttl;
	h.proto = s->proto;
	h.src = path->src.w[3];
	h.dst = path->dst.ip.w[3];
	if (!(in->caps & DEMI_PKTDEV_C_TX_IP_CSUM))
		h.check = (uint16_t)~demi_cksum_fold(demi_cksum_ip4(&h));
	memcpy(to, &h, sizeof(h));
	in->count.IpOutRequests++;
}

static void put_ip6(struct demi_inet *in, const struct demi_inet_sock *s, const struct demi_inet_path *path,
		    uint8_t *to, uint32_t total)
{
	struct demi_ip6_hdr h = { .ver_tc_flow = htonl(6U << 28 | (uint32_t)s->tclass << 20) };

	h.payload_len = htons((uint16_t)(total - sizeof(h)));
	h.next = s->proto;
	h.hops = demi_ip_is_multicast(&path->dst.ip) ? s->mc_hops : s->hops;
	memcpy(h.src, path->src.b, sizeof(h.src));
	memcpy(h.dst, path->dst.ip.b, sizeof(h.dst));
	memcpy(to, &h, sizeof(h));
	in->count.Ip6OutRequests++;
}

/* The payload is in place: its checksum may be made here. @off: of the UDP header; @len: of it and the payload. */
static void put_udp(struct demi_inet *in, const struct demi_inet_sock *s, const struct demi_inet_path *path,
		    struct demi_inet_tx *tx, uint32_t off, uint32_t len)
{
	struct demi_udp_hdr h = { .sport = s->local.port, .dport = path->dst.port, .len = htons((uint16_t)len) };
	uint64_t sum = path->pseudo_sum + demi_cksum_len(len);
	struct demi_pkt *p = &tx->pkt[0];

	if (in->caps & DEMI_PKTDEV_C_TX_CSUM) {
		h.check = demi_cksum_fold(sum);
		p->flags |= DEMI_PKT_F_CSUM_PARTIAL;
		p->csum_start = (uint16_t)off;
		p->csum_offset = offsetof(struct demi_udp_hdr, check);
		memcpy(p->data + off, &h, sizeof(h));
		return;
	}
	memcpy(p->data + off, &h, sizeof(h));
	h.check = (uint16_t)~demi_cksum_fold(demi_cksum_pkt(sum, p, off, len));
	if (!h.check) /* RFC 768: 0 says that there is none */
		h.check = 0xffff;
	memcpy(p->data + off, &h, sizeof(h));
}

/* ---- pushing ---- */

/* The path of a push that names its destination. */
static int path_to(struct demi_udp *u, const struct sockaddr *to, socklen_t tolen, const struct demi_inet_path **out)
{
	struct demi_inet_path *p = &u->last;
	struct demi_inet_addr a;
	int err;

	err = demi_inet_addr_from(&a, u->s.domain, to, tolen);
	if (err)
		return err;
	if (!a.port)
		return -EINVAL;
	*out = p;
	if (demi_inet_path_ok(u->s.in, p) && demi_ip_equal(&a.ip, &p->dst.ip) && a.scope == p->dst.scope) {
		p->dst.port = a.port;
		return 0;
	}
	p->gen = 0; /* it fails and leaves half a path */
	return demi_inet_path_find(&u->s, p, &a);
}

/* The source stays what it was when the socket was connected. */
static int path_of_peer(struct demi_udp *u, const struct demi_inet_path **out)
{
	struct demi_inet_path *p = &u->s.peer, again;
	int err = 0;

	if (!u->s.connected)
		return -EDESTADDRREQ;
	*out = p;
	if (__builtin_expect(!demi_inet_path_ok(u->s.in, p), 0)) {
		err = demi_inet_path_find(&u->s, &again, &p->dst);
		if (!err) {
			p->mtu_bytes = again.mtu_bytes;
			p->gen = again.gen;
		}
	}
	return err;
}

static int check_size(const struct demi_udp *u, const struct demi_inet_path *path, bool v4, size_t total)
{
	const struct demi_pktdev *dev = u->s.in->dev;
	uint8_t pmtudisc = v4 ? u->s.pmtudisc4 : u->s.pmtudisc6;

	if (total > PACKET_MAX || total > dev->mtu_bytes)
		return -EMSGSIZE;
	if (total > path->mtu_bytes && (!(u->s.in->caps & DEMI_PKTDEV_C_TX_FRAG) || pmtudisc == IP_PMTUDISC_DO))
		return -EMSGSIZE;
	return 0;
}

static int push_path(struct demi_udp *u, const struct sockaddr *to, socklen_t tolen, const struct demi_inet_path **path)
{
	int err = demi_inet_sock_take_err(&u->s);

	if (__builtin_expect(err, 0))
		return -err;
	if (u->s.shut_wr)
		return -EPIPE;
	err = to ? path_to(u, to, tolen, path) : path_of_peer(u, path);
	if (err)
		return err;
	return demi_inet_autobind(&u->s);
}

/* @tx is what fast.c should do from now on as long as nothing changes. */
static void remember(struct demi_udp *u, const struct demi_inet_path *path, const struct demi_inet_tx *tx,
		     const struct sockaddr *to, uint32_t total)
{
	struct demi_inet *in = u->s.in;
	struct demi_udp_last *l = &u->sent;
	struct demi_udp_hdr h;

	if (!in->clock || tx->segs != 1 || tx->lent || !tx->usual || u->s.domain != AF_INET ||
	    !(tx->pkt[0].data[6] & DEMI_IP4_DF >> 8) || total <= IP4_UDP || total - IP4_UDP >= in->zc_min_bytes)
		return;
	memcpy(l->hdr, tx->pkt[0].data, IP4_UDP);
	l->total_bytes = total;
	l->version = in->versions += DEMI_INET_VERSIONS;
	l->route_gen = in->route_gen;
	l->to = 0;
	if (to)
		memcpy(&l->to, to, sizeof(l->to));
	l->flags = tx->pkt[0].flags;
	l->csum_start = tx->pkt[0].csum_start;
	l->csum_offset = tx->pkt[0].csum_offset;
	memcpy(&h, l->hdr + sizeof(struct demi_ip4_hdr), sizeof(h));
	if (!(l->flags & DEMI_PKT_F_CSUM_PARTIAL))
		h.check = 0;
	memcpy(l->hdr + sizeof(struct demi_ip4_hdr), &h, sizeof(h));
	l->sum = demi_cksum_add(path->pseudo_sum + h.len, &h, sizeof(h));
}

static int udp_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		    socklen_t tolen)
{
	struct demi_udp *u = DEMI_UDP(q);
	struct demi_inet *in = u->s.in;
	const struct demi_inet_path *path = NULL;
	struct demi_inet_tx *tx;
	uint32_t hdr, lent, copied, charge;
	size_t total = 0;
	bool v4;
	int err;

	err = push_path(u, to, tolen, &path);
	if (__builtin_expect(err, 0))
		return err;
	v4 = demi_ip_is4(&path->dst.ip);
	hdr = v4 ? IP4_UDP : IP6_UDP;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++)
		total += sga->sga_segs[i].sgaseg_len;
	err = check_size(u, path, v4, hdr + total);
	if (err)
		return err;
	charge = (uint32_t)(sizeof(*tx) + hdr + total);
	err = demi_ctx_charge(in->ctx, charge);
	if (err) {
		in->count.UdpSndbufErrors++;
		return err;
	}
	lent = demi_inet_tx_lend(in, sga, &copied);
	tx = demi_inet_tx_alloc(in, hdr, copied);
	if (!tx) {
		demi_inet_tx_unlend(sga, lent);
		demi_ctx_uncharge(in->ctx, charge);
		return -ENOMEM;
	}
	tx->s = &u->s;
	tx->charge = charge;
	in->ctx->count.copied_bytes += demi_inet_tx_fill(in, tx, hdr, sga, lent);
	if (v4)
		put_ip4(in, &u->s, path, tx->pkt[0].data, (uint32_t)(hdr + total));
	else
		put_ip6(in, &u->s, path, tx->pkt[0].data, (uint32_t)(hdr + total));
	put_udp(in, &u->s, path, tx, hdr - (uint32_t)sizeof(struct demi_udp_hdr),
		(uint32_t)(sizeof(struct demi_udp_hdr) + total));
	if (v4)
		remember(u, path, tx, to, (uint32_t)(hdr + total));
	in->count.UdpOutDatagrams++;
	u->s.inflight++;
	demi_inet_tx_queue(in, tx);
	if (lent)
		tx->op = op;
	else
		demi_op_complete(op);
	return 0;
}

/* ---- popping ---- */

static int udp_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct demi_udp *u = DEMI_UDP(q);

	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&u->ops, op);
	if (u->rx_head || u->s.err || u->s.shut_rd || u->s.in->dead)
		demi_udp_deliver(u);
	return 0;
}

static int udp_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct demi_udp *u = DEMI_UDP(q);

	if (op->opcode != DEMI_OPC_POP)
		return -EALREADY;
	demi_op_list_del(&u->ops, op);
	demi_op_fail(op, ECANCELED);
	return 0;
}

/* ---- connecting ---- */

static int disconnect(struct demi_inet_sock *s)
{
	bool was = s->connected;

	if (!was)
		return 0;
	demi_inet_sock_unhash(s);
	s->connected = false;
	return demi_inet_sock_hash(s);
}

static int connect_to(struct demi_inet_sock *s, const struct sockaddr *addr, socklen_t len)
{
	struct demi_inet_path path, old = s->peer;
	bool was = s->connected;
	struct demi_inet_addr a;
	int err;

	err = demi_inet_addr_from(&a, s->domain, addr, len);
	if (!err)
		err = demi_inet_path_find(s, &path, &a);
	if (!err)
		err = demi_inet_autobind(s);
	if (err)
		return err;
	demi_inet_sock_unhash(s);
	s->peer = path;
	s->connected = true;
	err = demi_inet_sock_hash(s);
	if (!err)
		return 0;
	s->connected = was; /* as it was; this was in the table before */
	s->peer = old;
	return demi_inet_sock_hash(s) ? -ENOMEM : err;
}

/* connect(2): a peer of family AF_UNSPEC dissolves the association. */
static int udp_connect(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len)
{
	struct demi_inet_sock *s = DEMI_INET_SOCK(q);
	int err;

	if (s->in->dead)
		return -s->in->dead;
	demi_udp_forget(DEMI_UDP(q));
	err = addr->sa_family == AF_UNSPEC ? disconnect(s) : connect_to(s, addr, len);
	if (err == -EINVAL || err == -EAFNOSUPPORT)
		return err;
	if (err)
		demi_op_fail(op, -err);
	else
		demi_op_complete(op);
	return 0;
}

static int udp_shutdown(struct demi_queue *q, int how)
{
	struct demi_udp *u = DEMI_UDP(q);

	if (!u->s.connected)
		return -ENOTCONN;
	demi_udp_forget(u);
	demi_inet_hints_forget(u->s.in);
	if (how != SHUT_RD)
		u->s.shut_wr = true;
	if (how != SHUT_WR) {
		u->s.shut_rd = true;
		demi_udp_deliver(u);
	}
	return 0;
}

/* ---- the end ---- */

static void udp_close(struct demi_queue *q)
{
	struct demi_udp *u = DEMI_UDP(q);
	struct demi_udp_rx *rx;

	demi_udp_fail_ops(&u->s, ECANCELED);
	while ((rx = u->rx_head)) {
		u->rx_head = rx->next;
		demi_heap_free(rx);
	}
	demi_inet_sock_close(&u->s);
}

static void udp_destroy(struct demi_queue *q)
{
	free(q);
}

static int udp_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	demi_udp_forget(DEMI_UDP(q));
	return demi_inet_setsockopt(q, level, name, val, len);
}

static struct demi_queue_ops udp_ops = {
	.name = "udp",
	.push = udp_push,
	.pop = udp_pop,
	.push_now = demi_udp_push_now,
	.pushto_now = demi_udp_pushto_now,
	.pop_now = demi_udp_pop_now,
	.connect = udp_connect,
	.cancel = udp_cancel,
	.bind = demi_inet_sock_bind,
	.shutdown = udp_shutdown,
	.setsockopt = udp_setsockopt,
	.getsockopt = demi_inet_getsockopt,
	.getsockname = demi_inet_getsockname,
	.getpeername = demi_inet_getpeername,
	.close = udp_close,
	.destroy = udp_destroy,
};

__attribute__((constructor)) static void udp_ops_init(void)
{
	demi_queue_ops_fill(&udp_ops);
}

int demi_udp_create(struct demi_inet *in, int domain, struct demi_queue **q_out)
{
	struct demi_udp *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	err = demi_inet_sock_init(&u->s, in, domain, IPPROTO_UDP, &udp_ops);
	if (err) {
		free(u);
		return err;
	}
	*q_out = &u->s.q;
	return 0;
}
