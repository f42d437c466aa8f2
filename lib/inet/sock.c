/* SPDX-License-Identifier: MIT */
/* The life of a socket, and its names. */
#include "inet/sock.h"

#include "core/config.h"
#include "inet/tcp_stack.h"

#include <netinet/ip.h>
#include <string.h>

/* What Linux gives a socket at first (net.core.rmem_default, wmem_default): it is charged at buffer size there, too. */
#define BUF_DEFAULT 212992U

int demi_inet_socket(struct demi_inet *in, int domain, int type, int protocol, struct demi_queue **q_out)
{
	if (in->dead)
		return -in->dead;
	if (domain != AF_INET && domain != AF_INET6)
		return -EAFNOSUPPORT;
	if (type == SOCK_STREAM)
		return protocol && protocol != IPPROTO_TCP ? -EPROTONOSUPPORT : demi_tcp_create(in, domain, q_out);
	if (type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol && protocol != IPPROTO_UDP)
		return -EPROTONOSUPPORT;
	return demi_udp_create(in, domain, q_out);
}

void demi_inet_sock_setup(struct demi_inet_sock *s, struct demi_inet *in, int domain, uint8_t proto)
{
	s->in = in;
	s->domain = (uint8_t)domain;
	s->proto = proto;
	s->families = domain == AF_INET ? DEMI_SOCK_4 : DEMI_SOCK_4 | DEMI_SOCK_6;
	s->rcvbuf_bytes = demi_config.readahead_bytes > BUF_DEFAULT ? demi_config.readahead_bytes : BUF_DEFAULT;
	s->sndbuf_bytes = BUF_DEFAULT;
	s->ttl = s->hops = IPDEFTTL;
	s->mc_ttl = s->mc_hops = 1;
	s->pmtudisc4 = s->pmtudisc6 = IP_PMTUDISC_WANT;
}

int demi_inet_sock_init(struct demi_inet_sock *s, struct demi_inet *in, int domain, uint8_t proto,
			const struct demi_queue_ops *ops)
{
	int err;

	demi_inet_sock_setup(s, in, domain, proto);
	err = demi_queue_install(in->ctx, &s->q, ops);
	if (!err)
		demi_inet_link_add(&in->socks, &s->all);
	return err;
}

static struct demi_demux *demux_of(struct demi_inet_sock *s)
{
	return s->proto == IPPROTO_TCP ? &s->in->tcp->demux : &s->in->udp;
}

int demi_inet_sock_hash(struct demi_inet_sock *s)
{
	struct demi_demux_key *k = &s->key;
	int err;

	memset(k, 0, sizeof(*k));
	k->lport = s->local.port;
	if (s->connected) {
		k->local = s->peer.src;
		k->remote = s->peer.dst.ip;
		k->rport = s->peer.dst.port;
	} else if (!demi_ip_is_any(&s->local.ip)) {
		k->local = s->local.ip;
	}
	demi_inet_hints_forget(s->in);
	err = demi_demux_add(demux_of(s), s);
	s->hashed = !err;
	return err;
}

void demi_inet_sock_unhash(struct demi_inet_sock *s)
{
	if (s->hashed) {
		demi_inet_hints_forget(s->in);
		demi_demux_del(demux_of(s), s);
	}
	s->hashed = false;
}

static void finish(struct demi_inet_sock *s)
{
	demi_inet_unbind(s);
	demi_inet_link_del(&s->all);
	demi_queue_put(&s->q);
}

void demi_inet_sock_close(struct demi_inet_sock *s)
{
	demi_inet_sock_unhash(s);
	if (s->inflight)
		s->in->draining++;
	else
		finish(s);
}

void demi_inet_sock_put_tx(struct demi_inet_sock *s)
{
	if (--s->inflight || !s->q.closed)
		return;
	s->in->draining--;
	finish(s);
}

/* ---- names ---- */

int demi_inet_sock_bind(struct demi_queue *q, const struct sockaddr *addr, socklen_t len)
{
	struct demi_inet_sock *s = DEMI_INET_SOCK(q);
	struct demi_inet_addr a;
	int err;

	if (s->in->dead)
		return -s->in->dead;
	if (s->bound)
		return -EINVAL;
	err = demi_inet_addr_from(&a, s->domain, addr, len);
	if (err)
		return err;
	if (s->v6only && demi_ip_is4(&a.ip))
		return -EINVAL;
	return demi_inet_bind(s, &a);
}

int demi_inet_getsockname(struct demi_queue *q, struct sockaddr *addr, socklen_t *len)
{
	struct demi_inet_sock *s = DEMI_INET_SOCK(q);
	struct demi_inet_addr a = s->local;

	if (s->connected)
		a.ip = s->peer.src;
	demi_inet_addr_to(addr, len, s->domain, &a);
	return 0;
}

int demi_inet_getpeername(struct demi_queue *q, struct sockaddr *addr, socklen_t *len)
{
	struct demi_inet_sock *s = DEMI_INET_SOCK(q);

	if (!s->connected)
		return -ENOTCONN;
	demi_inet_addr_to(addr, len, s->domain, &s->peer.dst);
	return 0;
}
