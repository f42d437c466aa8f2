/* SPDX-License-Identifier: MIT */
/* Ports, flows and multicast groups: the kernel has them, this side remembers what it must say again. */
#include "pktdev/ring/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct demi_addr addr_of(uint8_t family, uint16_t port, const union demi_pktdev_ip *ip, uint32_t ifindex)
{
	struct demi_addr a = { .family = family, .port = port };

	memcpy(a.addr, ip, family == AF_INET ? sizeof(ip->v4) : sizeof(ip->v6));
	if (family == AF_INET6 && (IN6_IS_ADDR_LINKLOCAL(&ip->v6) || IN6_IS_ADDR_MC_LINKLOCAL(&ip->v6)))
		a.scope_id = ifindex;
	return a;
}

static struct demi_ring_port *port_find(struct demi_ring_dev *rd, uint32_t handle)
{
	struct demi_ring_port *p;

	for (p = rd->ports; p && p->handle != handle; p = p->next)
		;
	return p;
}

int demi_ring_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	struct demi_port_reserve arg = { .size = sizeof(arg),
					 .protocol = p->proto,
					 .local = addr_of(p->family, p->port, &p->ip, p->ifindex) };
	struct demi_ring_port *port;
	int ret;

	if (p->flags & DEMI_PKTDEV_PORT_F_SHARE)
		return -EOPNOTSUPP;
	if (p->flags & DEMI_PKTDEV_PORT_F_DUAL)
		arg.flags |= DEMI_PORT_F_DUAL;
	if (p->flags & DEMI_PKTDEV_PORT_F_MULTICAST)
		arg.flags |= DEMI_PORT_F_MULTICAST;
	if (p->flags & DEMI_PKTDEV_PORT_F_BROADCAST)
		arg.flags |= DEMI_PORT_F_BROADCAST;
	if (!arg.local.scope_id)
		arg.ifindex = p->ifindex;
	port = calloc(1, sizeof(*port));
	if (!port)
		return -ENOMEM;
	ret = demi_kdev_call(rd->mem->fd, DEMI_PORT_RESERVE, &arg);
	if (ret) {
		free(port);
		return ret;
	}
	p->port = arg.local.port;
	p->handle = arg.reservation_id;
	port->handle = arg.reservation_id;
	port->local = arg.local;
	port->next = rd->ports;
	rd->ports = port;
	return 0;
}

static void release(struct demi_ring_dev *rd, uint32_t handle)
{
	struct demi_port_release arg = { .size = sizeof(arg), .reservation_id = handle };

	(void)demi_kdev_call(rd->mem->fd, DEMI_PORT_RELEASE, &arg);
}

static int flow_add(struct demi_ring_dev *rd, struct demi_flow_add *arg, uint32_t *flow_out)
{
	int ret = demi_kdev_call(rd->mem->fd, DEMI_FLOW_ADD, arg);

	if (!ret)
		*flow_out = arg->flow_id;
	return ret;
}

void demi_ring_flow_del(struct demi_pktdev *d, uint32_t flow)
{
	struct demi_flow_del arg = { .size = sizeof(arg), .flow_id = flow };

	(void)demi_kdev_call(demi_ring_dev(d)->mem->fd, DEMI_FLOW_DEL, &arg);
}

int demi_ring_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow_out)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	const struct demi_ring_port *port = port_find(rd, handle);
	struct demi_flow_add arg = { .size = sizeof(arg), .reservation_id = handle, .target = rd->q.id };

	if (!port)
		return -EINVAL;
	if (peer) {
		arg.local = addr_of(peer->family, port->local.port, &peer->local, port->local.scope_id);
		arg.remote = addr_of(peer->family, peer->port, &peer->ip, port->local.scope_id);
	}
	return flow_add(rd, &arg, flow_out);
}

/* ---- multicast ---- */

int demi_ring_group(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
		    uint32_t ifindex, bool join)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	const struct demi_ring_port *port = port_find(rd, handle);
	struct demi_flow_add arg = {
		.size = sizeof(arg), .flags = DEMI_FLOW_F_MULTICAST, .reservation_id = handle, .target = rd->q.id
	};
	struct demi_ring_flow **at, *f;
	int ret;

	if (!port)
		return -EINVAL;
	arg.local = addr_of(family, port->local.port, group, 0);
	arg.local.scope_id = ifindex;
	for (at = &rd->groups; (f = *at); at = &f->next)
		if (f->add.reservation_id == handle && !memcmp(&f->add.local, &arg.local, sizeof(arg.local)))
			break;
	if (!join) {
		if (!f)
			return -EADDRNOTAVAIL;
		*at = f->next;
		demi_ring_flow_del(d, f->id);
		free(f);
		return 0;
	}
	if (f)
		return -EADDRINUSE;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	ret = flow_add(rd, &arg, &f->id);
	if (ret) {
		free(f);
		return ret;
	}
	f->add = arg;
	f->next = rd->groups;
	rd->groups = f;
	return 0;
}

/* ---- ends ---- */

void demi_ring_port_release(struct demi_pktdev *d, uint32_t handle)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	struct demi_ring_flow **f = &rd->groups, *flow;
	struct demi_ring_port **p, *port;

	while ((flow = *f)) {
		if (flow->add.reservation_id != handle) {
			f = &flow->next;
			continue;
		}
		*f = flow->next;
		demi_ring_flow_del(d, flow->id);
		free(flow);
	}
	for (p = &rd->ports; (port = *p); p = &port->next)
		if (port->handle == handle)
			break;
	if (!port)
		return;
	*p = port->next;
	free(port);
	release(rd, handle);
}

void demi_ring_ports_destroy(struct demi_ring_dev *rd)
{
	while (rd->ports)
		demi_ring_port_release(&rd->dev, rd->ports->handle);
}
