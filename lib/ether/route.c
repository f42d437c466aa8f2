/* SPDX-License-Identifier: MIT */
/* Where packets go: prefixes on the link, routers (RFC 4861 5.2, 6.3.6), path MTUs (RFC 1191, RFC 8201). */
#include "ether/dev.h"

#include <string.h>

/* RFC 1191 6.3, RFC 8201 5.3: after that the path is tried again. */
#define PMTU_NS (600 * DEMI_ETHER_S)

/* As Linux (min_pmtu): an error about less is not believed. RFC 8200 5. */
#define PMTU4_MIN 552
#define PMTU6_MIN 1280

bool demi_ether_prefix_match(const struct demi_ip *a, const struct demi_ip *b, uint32_t bits)
{
	for (int i = 0; bits && i < 4; i++) {
		uint32_t n = bits < 32 ? bits : 32;
		uint32_t mask = (uint32_t)(0xffffffff00000000ULL >> n);

		if (ntohl(a->w[i] ^ b->w[i]) & mask)
			return false;
		bits -= n;
	}
	return true;
}

int demi_ether_prefix_set(struct demi_ether *e, const struct demi_ip *ip, uint8_t plen, uint64_t until_ns,
			  bool advertised)
{
	uint8_t bits = (uint8_t)(demi_ip_is4(ip) ? 96 + plen : plen);
	struct demi_ether_prefix *free = NULL;

	for (struct demi_ether_prefix *p = e->prefixes; p < e->prefixes + DEMI_ETHER_PREFIXES; p++) {
		if (!p->until_ns) {
			free = p;
			continue;
		}
		if (p->bits != bits || !demi_ether_prefix_match(&p->ip, ip, bits))
			continue;
		if (p->advertised) { /* a configured one is not for routers to change */
			p->until_ns = until_ns;
			demi_ether_due(e, until_ns ? until_ns : DEMI_ETHER_NEVER);
			if (!until_ns)
				demi_ether_routes_changed(e);
		}
		return 0;
	}
	if (!until_ns)
		return 0;
	if (!free)
		return -ENOSPC;
	*free = (struct demi_ether_prefix){ *ip, bits, until_ns, advertised };
	demi_ether_due(e, until_ns);
	demi_ether_routes_changed(e);
	return 0;
}

bool demi_ether_is_onlink(const struct demi_ether *e, const struct demi_ip *ip)
{
	if (demi_ip_is_linklocal(ip))
		return true;
	for (uint32_t i = 0; i < DEMI_ETHER_PREFIXES; i++) {
		const struct demi_ether_prefix *p = &e->prefixes[i];

		/* the bits that say that it is mapped are among them */
		if (p->until_ns && demi_ip_is4(&p->ip) == demi_ip_is4(ip) &&
		    demi_ether_prefix_match(&p->ip, ip, p->bits))
			return true;
	}
	return false;
}

/* ---- routers ---- */

void demi_ether_router_set(struct demi_ether *e, const struct demi_ip *ip, uint64_t until_ns, int preference)
{
	struct demi_ether_router *free = NULL;

	for (struct demi_ether_router *r = e->routers; r < e->routers + DEMI_ETHER_ROUTERS; r++) {
		if (r->until_ns && demi_ip_equal(&r->ip, ip)) {
			if (!until_ns || r->preference != preference)
				demi_ether_routes_changed(e);
			r->until_ns = until_ns;
			r->preference = (int8_t)preference;
			demi_ether_due(e, until_ns ? until_ns : DEMI_ETHER_NEVER);
			return;
		}
		if (!r->until_ns)
			free = r;
	}
	if (!until_ns || !free) /* RFC 4861 6.3.4: two are enough */
		return;
	*free = (struct demi_ether_router){ .ip = *ip, .until_ns = until_ns, .preference = (int8_t)preference };
	demi_ether_due(e, until_ns);
	demi_ether_routes_changed(e);
}

static struct demi_ether_router *router_find(struct demi_ether *e, const struct demi_ip *ip)
{
	for (struct demi_ether_router *r = e->routers; r < e->routers + DEMI_ETHER_ROUTERS; r++) {
		if (r->until_ns && demi_ip_equal(&r->ip, ip))
			return r;
	}
	return NULL;
}

/* RFC 4861 6.3.6: the next one is tried, and when all have failed the first again. */
void demi_ether_router_failed(struct demi_ether *e, const struct demi_ip *ip)
{
	struct demi_ether_router *r = router_find(e, ip);

	if (!r)
		return;
	r->failed = true;
	demi_ether_routes_changed(e);
	for (uint32_t i = 0; i < DEMI_ETHER_ROUTERS; i++) {
		if (e->routers[i].until_ns && !e->routers[i].failed)
			return;
	}
	for (uint32_t i = 0; i < DEMI_ETHER_ROUTERS; i++)
		e->routers[i].failed = false;
}

bool demi_ether_is_router(const struct demi_ether *e, const struct demi_ip *ip)
{
	return (!demi_ip_is_any(&e->gateway4) && demi_ip_equal(&e->gateway4, ip)) ||
	       (!demi_ip_is_any(&e->gateway6) && demi_ip_equal(&e->gateway6, ip)) ||
	       router_find((struct demi_ether *)e, ip);
}

/* NULL: there is none. */
static const struct demi_ip *router_for(const struct demi_ether *e, bool v4)
{
	const struct demi_ip *gateway = v4 ? &e->gateway4 : &e->gateway6;
	const struct demi_ether_router *best = NULL;

	if (!demi_ip_is_any(gateway))
		return gateway;
	for (uint32_t i = 0; !v4 && i < DEMI_ETHER_ROUTERS; i++) {
		const struct demi_ether_router *r = &e->routers[i];

		if (r->until_ns && (!best || (best->failed && !r->failed) ||
				    (best->failed == r->failed && r->preference > best->preference)))
			best = r;
	}
	return best ? &best->ip : NULL;
}

/* ---- the next hop ---- */

/* RFC 1112 6.4, RFC 2464 7 */
static void group_mac(uint8_t mac[6], const struct demi_ip *ip)
{
	if (demi_ip_is4(ip)) {
		mac[0] = 1;
		mac[1] = 0;
		mac[2] = 0x5e;
		mac[3] = ip->b[13] & 0x7f;
		memcpy(mac + 4, ip->b + 14, 2);
	} else {
		mac[0] = mac[1] = 0x33;
		memcpy(mac + 2, ip->b + 12, 4);
	}
}

static bool is_loopback(const struct demi_ip *ip)
{
	return demi_ip_is4(ip) ? ip->b[12] == 127 : !ip->q[0] && !ip->w[2] && ip->w[3] == htonl(1);
}

int demi_ether_hop(struct demi_ether *e, const struct demi_ip *dst, struct demi_ether_hop *hop)
{
	const struct demi_ip *router;

	hop->kind = DEMI_ETHER_HOP_MAC;
	if (demi_ip_is_multicast(dst)) {
		group_mac(hop->mac, dst);
		return 0;
	}
	if (demi_ip_is4(dst) && (demi_ip_is_broadcast(dst) || demi_ether_is_subnet_broadcast(e, dst->w[3]))) {
		memset(hop->mac, 0xff, sizeof(hop->mac));
		return 0;
	}
	hop->kind = DEMI_ETHER_HOP_SELF;
	if (is_loopback(dst) || demi_ether_is_local(e, dst))
		return 0;
	hop->kind = DEMI_ETHER_HOP_NEIGH;
	hop->ip = *dst;
	if (demi_ip_is_any(dst) || (!demi_ip_is4(dst) && !e->with6))
		return -ENETUNREACH;
	if (demi_ether_is_onlink(e, dst))
		return 0;
	router = router_for(e, demi_ip_is4(dst));
	if (!router)
		return -ENETUNREACH;
	hop->ip = *router;
	return 0;
}

/* ---- path MTUs ---- */

static uint32_t link_mtu(const struct demi_ether *e, const struct demi_ip *dst)
{
	return demi_ip_is4(dst) ? e->mtu : e->mtu6;
}

uint32_t demi_ether_path_mtu(struct demi_ether *e, const struct demi_ip *dst)
{
	uint32_t mtu = link_mtu(e, dst);

	for (uint32_t i = 0; i < DEMI_ETHER_PMTUS; i++) {
		if (e->pmtus[i].mtu && demi_ip_equal(&e->pmtus[i].dst, dst))
			return e->pmtus[i].mtu < mtu ? e->pmtus[i].mtu : mtu;
	}
	return mtu;
}

void demi_ether_path_mtu_set(struct demi_ether *e, const struct demi_ip *dst, uint32_t mtu)
{
	uint32_t min = demi_ip_is4(dst) ? PMTU4_MIN : PMTU6_MIN;
	struct demi_ether_pmtu *at = NULL, *oldest = e->pmtus;

	if (mtu < min)
		mtu = min;
	if (mtu >= demi_ether_path_mtu(e, dst)) /* RFC 8201 4: never more */
		return;
	for (struct demi_ether_pmtu *p = e->pmtus; p < e->pmtus + DEMI_ETHER_PMTUS; p++) {
		if (p->mtu && demi_ip_equal(&p->dst, dst))
			at = p;
		if (p->until_ns < oldest->until_ns)
			oldest = p;
	}
	if (!at)
		at = oldest;
	*at = (struct demi_ether_pmtu){ *dst, mtu, demi_ether_now(e) + PMTU_NS };
	demi_ether_due(e, at->until_ns);
	demi_ether_routes_changed(e);
}

void demi_ether_route_run(struct demi_ether *e, uint64_t now_ns)
{
	for (struct demi_ether_prefix *p = e->prefixes; p < e->prefixes + DEMI_ETHER_PREFIXES; p++) {
		if (p->until_ns && p->until_ns <= now_ns) {
			p->until_ns = 0;
			demi_ether_routes_changed(e);
		}
		demi_ether_due(e, p->until_ns ? p->until_ns : DEMI_ETHER_NEVER);
	}
	for (struct demi_ether_router *r = e->routers; r < e->routers + DEMI_ETHER_ROUTERS; r++) {
		if (r->until_ns && r->until_ns <= now_ns) {
			r->until_ns = 0;
			demi_ether_routes_changed(e);
		}
		demi_ether_due(e, r->until_ns ? r->until_ns : DEMI_ETHER_NEVER);
	}
	for (struct demi_ether_pmtu *p = e->pmtus; p < e->pmtus + DEMI_ETHER_PMTUS; p++) {
		if (p->mtu && p->until_ns <= now_ns) {
			p->mtu = 0;
			p->until_ns = 0;
			demi_ether_routes_changed(e);
		}
		demi_ether_due(e, p->mtu ? p->until_ns : DEMI_ETHER_NEVER);
	}
}

/* ---- what the stack asks ---- */

int demi_ether_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_ip dst = demi_ip_from_pktdev(r->family, &r->dst), src = dst;
	const struct demi_ether_addr *a;
	struct demi_ether_hop hop;
	int err;

	err = demi_ether_hop(e, &dst, &hop);
	if (err)
		return err;
	if (hop.kind != DEMI_ETHER_HOP_SELF) {
		if (!demi_ip_is4(&dst) && !e->with6)
			return -ENETUNREACH;
		a = demi_ether_addr_select(e, &dst);
		if (!a)
			return -EADDRNOTAVAIL;
		src = a->ip;
	}
	demi_ip_to_pktdev(&src, &r->src);
	r->mtu_bytes = hop.kind == DEMI_ETHER_HOP_SELF ? DEMI_ETHER_LOOP_MTU : demi_ether_path_mtu(e, &dst);
	return 0;
}
