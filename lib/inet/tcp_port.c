/* SPDX-License-Identifier: MIT */
/*
 * Local ports of TCP. The device gives them (RFC 6056 is its business); a listener shares its port with its
 * connections, which outlive it.
 */
#include "inet/tcp_stack.h"

#include <stdlib.h>
#include <string.h>

static int table_add(struct demi_tcp_stack *ts, struct demi_tcp_port *p)
{
	struct demi_tcp_port **ports;
	uint32_t i, n;

	for (i = 0; i < ts->nports && ts->ports[i]; i++)
		;
	if (i == ts->nports) {
		n = ts->nports ? 2 * ts->nports : 16;
		ports = realloc(ts->ports, n * sizeof(struct demi_tcp_port *));
		if (!ports)
			return -ENOMEM;
		memset(ports + ts->nports, 0, (n - ts->nports) * sizeof(struct demi_tcp_port *));
		ts->ports = ports;
		ts->nports = n;
	}
	p->index = i;
	ts->ports[i] = p;
	return 0;
}

static uint8_t families_of(const struct demi_tcp *t, const struct demi_ip *local)
{
	if (t->s.domain == AF_INET || demi_ip_is4(local))
		return DEMI_SOCK_4;
	return t->s.v6only || !demi_ip_is_any(local) ? DEMI_SOCK_6 : DEMI_SOCK_4 | DEMI_SOCK_6;
}

/*
 * A listener that was closed leaves its port to its connections; with SO_REUSEADDR the next listener takes it over, as
 * bind(2) has it. NULL: there is none.
 */
static struct demi_tcp_port *port_left(struct demi_tcp *t, const struct demi_inet_addr *a, int *err)
{
	struct demi_tcp_stack *ts = t->s.in->tcp;

	*err = 0;
	for (uint32_t i = 0; a->port && i < ts->nports; i++) {
		struct demi_tcp_port *p = ts->ports[i];

		if (!p || p->local.port != a->port || !demi_ip_equal(&p->local.ip, &a->ip))
			continue;
		if (p->bound || !t->s.reuseaddr)
			*err = -EADDRINUSE;
		return p;
	}
	return NULL;
}

int demi_tcp_port_reserve(struct demi_tcp *t, const struct demi_inet_addr *a)
{
	struct demi_pktdev *dev = t->s.in->dev;
	uint8_t families = families_of(t, &a->ip);
	struct demi_pktdev_port r = { .proto = IPPROTO_TCP, .port = a->port };
	struct demi_tcp_port *p;
	int err;

	p = port_left(t, a, &err);
	if (err)
		return err;
	if (p) {
		demi_tcp_port_get(p);
		goto taken;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	r.family = demi_ip_to_pktdev(&a->ip, &r.ip);
	if (t->s.domain == AF_INET6 && families == DEMI_SOCK_4 && demi_ip_is_any(&a->ip))
		r.family = AF_INET;
	if (families == (DEMI_SOCK_4 | DEMI_SOCK_6))
		r.flags |= DEMI_PKTDEV_PORT_F_DUAL;
	if (t->s.share)
		r.flags |= DEMI_PKTDEV_PORT_F_SHARE;
	r.ifindex = a->scope ? a->scope : t->s.ifindex;
	err = dev->ops->port_reserve(dev, &r);
	if (err)
		goto err_free;
	p->refs = 1;
	p->handle = r.handle;
	p->share = t->s.share;
	p->families = families;
	p->local = *a;
	p->local.port = r.port;
	err = table_add(t->s.in->tcp, p);
	if (err)
		goto err_port;
taken:
	p->bound = true;
	t->port = p;
	t->owns_port = true;
	t->s.local = p->local;
	t->s.families = p->families;
	t->s.bound = true;
	return 0;

err_port:
	dev->ops->port_release(dev, r.handle);
err_free:
	free(p);
	return err;
}

int demi_tcp_port_flow(struct demi_tcp *t)
{
	struct demi_tcp_port *p = t->port;
	int err;

	if (p->has_flow)
		return 0;
	err = t->s.in->dev->ops->flow_add(t->s.in->dev, p->handle, NULL, &p->flow);
	p->has_flow = !err;
	return err;
}

int demi_tcp_peer_flow(struct demi_tcp *t)
{
	struct demi_pktdev_peer peer = { .port = t->s.peer.dst.port };
	struct demi_pktdev *dev = t->s.in->dev;
	int err;

	peer.family = demi_ip_to_pktdev(&t->s.peer.dst.ip, &peer.ip);
	demi_ip_to_pktdev(&t->s.peer.src, &peer.local);
	err = dev->ops->flow_add(dev, t->port->handle, &peer, &t->flow);
	t->has_flow = !err;
	return err;
}

void demi_tcp_port_put(struct demi_inet *in, struct demi_tcp_port *p)
{
	if (--p->refs)
		return;
	in->tcp->ports[p->index] = NULL;
	if (in->dev) {
		if (p->has_flow)
			in->dev->ops->flow_del(in->dev, p->flow);
		in->dev->ops->port_release(in->dev, p->handle);
	}
	free(p);
}

int demi_tcp_bind(struct demi_queue *q, const struct sockaddr *addr, socklen_t len)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_inet_addr a;
	int err;

	if (t->s.in->dead)
		return -t->s.in->dead;
	if (t->s.bound || t->state != DEMI_TCP_CLOSED || t->dead)
		return -EINVAL;
	err = demi_inet_addr_from(&a, t->s.domain, addr, len);
	if (err)
		return err;
	if ((t->s.v6only && demi_ip_is4(&a.ip)) || demi_ip_is_multicast(&a.ip) || demi_ip_is_broadcast(&a.ip))
		return -EINVAL;
	return demi_tcp_port_reserve(t, &a);
}
