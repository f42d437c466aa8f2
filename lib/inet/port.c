/* SPDX-License-Identifier: MIT */
/* Ports, groups and routes: what the stack asks of the device. */
#include "inet/cksum.h"
#include "inet/sock.h"

#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 20 /* of one socket; Linux: net.ipv4.igmp_max_memberships */

static int join_device(struct demi_inet_sock *s, const struct demi_inet_group *g, bool join)
{
	struct demi_pktdev *dev = s->in->dev;
	union demi_pktdev_ip ip;
	uint8_t family = demi_ip_to_pktdev(&g->ip, &ip);

	return dev ? dev->ops->group(dev, s->handle, family, &ip, g->ifindex, join) : 0;
}

static void leave_all(struct demi_inet_sock *s)
{
	for (struct demi_inet_group *g = s->groups; g; g = g->next) {
		if (g->joined)
			join_device(s, g, false);
		g->joined = false;
	}
}

static int join_all(struct demi_inet_sock *s)
{
	int err;

	for (struct demi_inet_group *g = s->groups; g; g = g->next) {
		err = join_device(s, g, true);
		if (err) {
			leave_all(s);
			return err;
		}
		g->joined = true;
	}
	return 0;
}

/* The families of packets that a socket with this local address has to do with. */
static uint8_t families_of(const struct demi_inet_sock *s, const struct demi_ip *local)
{
	if (s->domain == AF_INET || demi_ip_is4(local))
		return DEMI_SOCK_4;
	return s->v6only || !demi_ip_is_any(local) ? DEMI_SOCK_6 : DEMI_SOCK_4 | DEMI_SOCK_6;
}

static uint32_t port_flags(const struct demi_inet_sock *s, uint8_t families)
{
	uint32_t flags = DEMI_PKTDEV_PORT_F_MULTICAST;

	if (families == (DEMI_SOCK_4 | DEMI_SOCK_6))
		flags |= DEMI_PKTDEV_PORT_F_DUAL;
	if (s->share)
		flags |= DEMI_PKTDEV_PORT_F_SHARE;
	if (s->broadcast)
		flags |= DEMI_PKTDEV_PORT_F_BROADCAST;
	return flags;
}

int demi_inet_bind(struct demi_inet_sock *s, const struct demi_inet_addr *a)
{
	struct demi_pktdev *dev = s->in->dev;
	uint8_t families = families_of(s, &a->ip), old = s->families;
	struct demi_pktdev_port p = { .proto = s->proto, .port = a->port };
	int err;

	if (!dev)
		return -ENODEV;
	p.family = demi_ip_to_pktdev(&a->ip, &p.ip);
	p.flags = port_flags(s, families);
	p.ifindex = a->scope ? a->scope : s->ifindex;
	err = dev->ops->port_reserve(dev, &p);
	if (err)
		return err;
	err = dev->ops->flow_add(dev, p.handle, NULL, &s->flow);
	if (err)
		goto err_port;
	s->handle = p.handle;
	s->local = *a;
	s->local.port = p.port;
	s->families = families;
	err = join_all(s);
	if (err)
		goto err_flow;
	err = demi_inet_sock_hash(s);
	if (err)
		goto err_groups;
	s->bound = true;
	return 0;

err_groups:
	leave_all(s);
err_flow:
	memset(&s->local, 0, sizeof(s->local));
	s->families = old;
	dev->ops->flow_del(dev, s->flow);
err_port:
	dev->ops->port_release(dev, p.handle);
	return err;
}

int demi_inet_autobind(struct demi_inet_sock *s)
{
	struct demi_inet_addr any = { .port = 0 };

	if (s->domain == AF_INET)
		any.ip = demi_ip_from4(INADDR_ANY);
	return s->bound ? 0 : demi_inet_bind(s, &any);
}

void demi_inet_unbind(struct demi_inet_sock *s)
{
	struct demi_pktdev *dev = s->in->dev;
	struct demi_inet_group *g;

	leave_all(s);
	while ((g = s->groups)) {
		s->groups = g->next;
		free(g);
	}
	if (!s->bound || !dev)
		return;
	dev->ops->flow_del(dev, s->flow);
	dev->ops->port_release(dev, s->handle);
	s->bound = false;
}

/* ---- groups ---- */

static struct demi_inet_group **group_find(struct demi_inet_sock *s, const struct demi_ip *ip, uint32_t ifindex)
{
	struct demi_inet_group **g = &s->groups;

	while (*g && !(demi_ip_equal(&(*g)->ip, ip) && (*g)->ifindex == ifindex))
		g = &(*g)->next;
	return g;
}

int demi_inet_join(struct demi_inet_sock *s, const struct demi_ip *ip, uint32_t ifindex)
{
	struct demi_inet_group *g;
	unsigned int n = 0;
	int err;

	if (!demi_ip_is_multicast(ip))
		return -EINVAL;
	if (*group_find(s, ip, ifindex))
		return -EADDRINUSE;
	for (g = s->groups; g; g = g->next)
		n++;
	if (n >= GROUPS_MAX)
		return -ENOBUFS;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->ip = *ip;
	g->ifindex = ifindex;
	if (s->bound) { /* else when it is */
		err = join_device(s, g, true);
		if (err) {
			free(g);
			return err;
		}
		g->joined = true;
	}
	g->next = s->groups;
	s->groups = g;
	return 0;
}

int demi_inet_leave(struct demi_inet_sock *s, const struct demi_ip *ip, uint32_t ifindex)
{
	struct demi_inet_group **at = group_find(s, ip, ifindex), *g = *at;

	if (!g)
		return -EADDRNOTAVAIL;
	if (g->joined)
		join_device(s, g, false);
	*at = g->next;
	free(g);
	return 0;
}

/* ---- routes ---- */

static uint32_t route_ifindex(const struct demi_inet_sock *s, const struct demi_inet_addr *dst)
{
	if (dst->scope)
		return dst->scope;
	if (demi_ip_is_multicast(&dst->ip)) {
		uint32_t mc = demi_ip_is4(&dst->ip) ? s->mc_ifindex4 : s->mc_ifindex6;

		if (mc)
			return mc;
	}
	return s->ifindex;
}

/* Sockets may be bound to what nobody sends from. */
static bool is_source(const struct demi_ip *ip)
{
	return !demi_ip_is_any(ip) && !demi_ip_is_multicast(ip) && !demi_ip_is_broadcast(ip);
}

int demi_inet_path_find(struct demi_inet_sock *s, struct demi_inet_path *path, const struct demi_inet_addr *dst)
{
	struct demi_pktdev *dev = s->in->dev;
	struct demi_pktdev_route r = { .ifindex = route_ifindex(s, dst) };
	struct demi_inet_addr to = *dst;
	bool v4 = s->domain == AF_INET || demi_ip_is4(&to.ip);
	int err;

	if (!dev)
		return -ENODEV;
	if (demi_ip_is_any(&to.ip)) /* as connect(2) on Linux: this host */
		to.ip = v4 ? demi_ip_from4(htonl(INADDR_LOOPBACK)) : (struct demi_ip){ .w = { 0, 0, 0, htonl(1) } };
	if (!(s->families & demi_ip_family(&to.ip)))
		return -ENETUNREACH;
	if (demi_ip_is_broadcast(&to.ip) && !s->broadcast)
		return -EACCES;
	r.family = demi_ip_to_pktdev(&to.ip, &r.dst);
	err = dev->ops->route(dev, &r);
	if (err) {
		*(v4 ? &s->in->count.IpOutNoRoutes : &s->in->count.Ip6OutNoRoutes) += 1;
		return err;
	}
	path->src = is_source(&s->local.ip) ? s->local.ip : demi_ip_from_pktdev(r.family, &r.src);
	path->dst = to;
	path->mtu_bytes = r.mtu_bytes;
	path->pseudo_sum = demi_cksum_pseudo(&path->src, &path->dst.ip, s->proto);
	path->gen = s->in->route_gen;
	return 0;
}
