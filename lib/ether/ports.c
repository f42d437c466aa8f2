/* SPDX-License-Identifier: MIT */
/* Local ports: who has which, as bind(2) has it; ephemeral ones by RFC 6056. All are this context's own. */
#include "ether/dev.h"

#include "pktdev/ports.h"

#include <stdlib.h>
#include <string.h>

/* As Linux: ip_local_port_range */
#define EPHEMERAL_MIN 32768
#define EPHEMERAL_MAX 60999

/* Flows to anybody have the port's handle; flows of one peer need nothing here. */
#define FLOW_PEER 0x80000000U

/* A handle: a number, and the bucket. */
#define HANDLE_SHIFT 8
#define HANDLE_NUMBERS 0x7fffffU

_Static_assert(DEMI_ETHER_PORT_BUCKETS == 1 << HANDLE_SHIFT, "the bucket's bits");

static struct demi_ether_port **bucket(const struct demi_ether *e, uint16_t port)
{
	return (struct demi_ether_port **)&e->ports[ntohs(port) % DEMI_ETHER_PORT_BUCKETS];
}

static struct demi_ether_port **find(struct demi_ether *e, uint32_t handle)
{
	struct demi_ether_port **at = &e->ports[handle % DEMI_ETHER_PORT_BUCKETS];

	while (*at && (*at)->p.handle != handle)
		at = &(*at)->next;
	return *at ? at : NULL;
}

static bool is_any(const struct demi_ether_port *p)
{
	return demi_ip_is_any(&p->ip);
}

/* Does it get IPv4 packets, IPv6 packets? */
static bool takes4(const struct demi_ether_port *p)
{
	return p->p.family == AF_INET || (p->p.flags & DEMI_PKTDEV_PORT_F_DUAL && is_any(p));
}

static bool takes6(const struct demi_ether_port *p)
{
	return p->p.family == AF_INET6;
}

/* Could a packet be for either? */
static bool overlap(const struct demi_ether_port *a, const struct demi_ether_port *b)
{
	if (a->p.proto != b->p.proto || a->p.port != b->p.port)
		return false;
	if (!((takes4(a) && takes4(b)) || (takes6(a) && takes6(b))))
		return false;
	return is_any(a) || is_any(b) || demi_ip_equal(&a->ip, &b->ip);
}

static bool taken(const struct demi_ether *e, const struct demi_ether_port *p)
{
	for (const struct demi_ether_port *o = *bucket(e, p->p.port); o; o = o->next) {
		if (overlap(o, p))
			return true;
	}
	return demi_pktdev_port_elsewhere(e->low, p->p.proto, p->p.port);
}

static void set_bit(uint64_t *map, uint32_t i, bool on)
{
	map[i >> 6] = (map[i >> 6] & ~(1ULL << (i & 63))) | (uint64_t)on << (i & 63);
}

static bool bit(const uint64_t *map, uint32_t i)
{
	return map[i >> 6] >> (i & 63) & 1;
}

/* Does anybody have this number, for any address? */
static uint64_t *numbers(struct demi_ether *e, const struct demi_ether_port *p)
{
	return e->numbers[p->p.proto == IPPROTO_TCP];
}

/*
 * RFC 6056 3.3.1: from a random one on. First those that nobody has in any way; then what is free for this family and
 * address.
 */
static int choose(struct demi_ether *e, struct demi_ether_port *p)
{
	uint32_t n = EPHEMERAL_MAX - EPHEMERAL_MIN + 1, first = (uint32_t)demi_ether_random(e, n);

	for (uint32_t i = 0; i < 2 * n; i++) {
		uint32_t port = EPHEMERAL_MIN + (first + i) % n;

		if (i < n && bit(numbers(e, p), port))
			continue;
		p->p.port = htons((uint16_t)port);
		if (!taken(e, p))
			return 0;
	}
	return -EADDRINUSE;
}

/* bind(2): an address of this host's; of datagrams also a group or everybody */
static int check_address(struct demi_ether *e, const struct demi_ether_port *p)
{
	bool many = demi_ip_is_multicast(&p->ip) ||
		    (demi_ip_is4(&p->ip) &&
		     (demi_ip_is_broadcast(&p->ip) || demi_ether_is_subnet_broadcast(e, p->ip.w[3])));
	struct demi_ether_hop hop;

	if (is_any(p) || (many && p->p.proto == IPPROTO_UDP))
		return 0;
	if (demi_ether_hop(e, &p->ip, &hop) || hop.kind != DEMI_ETHER_HOP_SELF)
		return -EADDRNOTAVAIL;
	return 0;
}

int demi_ether_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *arg)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_ether_port *p, **b;
	int err;

	if (arg->flags & DEMI_PKTDEV_PORT_F_SHARE)
		return -EOPNOTSUPP;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->p = *arg;
	p->ip = demi_ip_from_pktdev(arg->family, &arg->ip);
	err = check_address(e, p);
	if (!err && !p->p.port)
		err = choose(e, p);
	else if (!err && taken(e, p))
		err = -EADDRINUSE;
	/* another context may just have taken the one that was chosen */
	while (!err && demi_pktdev_port_take(e->low, p->p.proto, p->p.port))
		err = arg->port ? -EADDRINUSE : choose(e, p);
	if (err) {
		free(p);
		return err;
	}
	b = bucket(e, p->p.port);
	do {
		e->next_handle = e->next_handle % HANDLE_NUMBERS + 1;
		p->p.handle = e->next_handle << HANDLE_SHIFT | (uint32_t)(b - e->ports);
	} while (find(e, p->p.handle));
	p->next = *b;
	*b = p;
	set_bit(numbers(e, p), ntohs(p->p.port), true);
	arg->port = p->p.port;
	arg->handle = p->p.handle;
	return 0;
}

/* ---- which packets are expected: ether.c ---- */

static void open_bits(struct demi_ether *e, const struct demi_ether_port *p)
{
	if (p->p.proto != IPPROTO_UDP || !is_any(p))
		return;
	if (takes4(p))
		set_bit(e->open4, p->p.port, p->flows);
	if (takes6(p))
		set_bit(e->open6, p->p.port, p->flows);
}

bool demi_ether_port_open(const struct demi_ether *e, uint8_t proto, const struct demi_ip *dst, uint16_t port)
{
	bool v4 = demi_ip_is4(dst);

	for (const struct demi_ether_port *p = *bucket(e, port); p; p = p->next) {
		if (p->p.proto == proto && p->p.port == port && p->flows && (v4 ? takes4(p) : takes6(p)) &&
		    (is_any(p) || demi_ip_equal(&p->ip, dst)))
			return true;
	}
	return false;
}

int demi_ether_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_ether_port **at = find(e, handle);

	if (!at)
		return -EINVAL;
	*flow = handle | (peer ? FLOW_PEER : 0);
	if (peer)
		return 0;
	(*at)->flows++;
	open_bits(e, *at);
	return 0;
}

void demi_ether_flow_del(struct demi_pktdev *d, uint32_t flow)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_ether_port **at = flow & FLOW_PEER ? NULL : find(e, flow);

	if (!at || !(*at)->flows)
		return;
	(*at)->flows--;
	open_bits(e, *at);
}

static bool have_number(const struct demi_ether *e, const struct demi_ether_port *p)
{
	for (const struct demi_ether_port *o = *bucket(e, p->p.port); o; o = o->next) {
		if (o->p.port == p->p.port && o->p.proto == p->p.proto)
			return true;
	}
	return false;
}

void demi_ether_port_release(struct demi_pktdev *d, uint32_t handle)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_ether_port **at = find(e, handle), *p;

	if (!at)
		return;
	p = *at;
	*at = p->next;
	p->flows = 0;
	open_bits(e, p);
	set_bit(numbers(e, p), ntohs(p->p.port), have_number(e, p));
	if (!have_number(e, p))
		demi_pktdev_port_leave(e->low, p->p.proto, p->p.port);
	free(p);
}

void demi_ether_ports_exit(struct demi_ether *e)
{
	for (uint32_t i = 0; i < DEMI_ETHER_PORT_BUCKETS; i++) {
		struct demi_ether_port *p;

		while ((p = e->ports[i])) {
			e->ports[i] = p->next;
			free(p);
		}
	}
}
