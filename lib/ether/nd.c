/* SPDX-License-Identifier: MIT */
/*
 * Neighbour discovery: RFC 4861 7.1, 7.2; RFC 4862 5.4. As with ARP only neighbours that are known or were asked for
 * are learned. Redirects (8) are not followed: anybody on the link could send them.
 */
#include "ether/dev.h"

#include <netinet/icmp6.h>
#include <string.h>

/* A message with one link-layer address. */
#define NS_LEN 24
#define OPTION_LEN 8

/* The last 24 bits: RFC 4291 2.7.1. */
struct demi_ip demi_ether_solicited_node(const struct demi_ip *ip)
{
	struct demi_ip g = { .b = { 0xff, 2, [11] = 1, [12] = 0xff } };

	memcpy(g.b + 13, ip->b + 13, 3);
	return g;
}

/* RFC 4861 4.6: all have a length that is not 0 and are whole. */
bool demi_ether_nd_options_ok(const uint8_t *o, uint32_t len)
{
	while (len) {
		if (len < 2 || !o[1] || o[1] * 8U > len)
			return false;
		len -= o[1] * 8U;
		o += o[1] * 8U;
	}
	return true;
}

const uint8_t *demi_ether_nd_option(const uint8_t *o, uint32_t len, uint8_t type, uint32_t *olen)
{
	for (; len >= 2 && o[1] && o[1] * 8U <= len; len -= *olen, o += *olen) {
		*olen = o[1] * 8U;
		if (o[0] == type)
			return o;
	}
	return NULL;
}

/* The address in an option; NULL: none, or one that is a group's. */
static const uint8_t *lladdr(const uint8_t *o, uint32_t len, uint8_t type)
{
	uint32_t olen;
	const uint8_t *opt = demi_ether_nd_option(o, len, type, &olen);

	return opt && olen == OPTION_LEN && !(opt[2] & 1) ? opt + 2 : NULL;
}

/* ---- sending ---- */

static void put_option(uint8_t *o, uint8_t type, const uint8_t *mac)
{
	o[0] = type;
	o[1] = 1;
	memcpy(o + 2, mac, 6);
}

void demi_ether_nd_solicit(struct demi_ether *e, const struct demi_ip *src, const struct demi_ip *target,
			   const uint8_t *mac)
{
	struct demi_ip dst = mac ? *target : demi_ether_solicited_node(target);
	uint32_t hlen = (uint32_t)sizeof(struct demi_ip6_hdr), len = NS_LEN;
	uint8_t *ip = demi_ether_alloc(e, hlen + NS_LEN + OPTION_LEN), *m;

	if (!ip)
		return;
	m = ip + hlen;
	m[0] = ND_NEIGHBOR_SOLICIT;
	memcpy(m + 8, target->b, sizeof(target->b));
	if (!demi_ip_is_any(src)) { /* 4.3 */
		put_option(m + NS_LEN, ND_OPT_SOURCE_LINKADDR, e->low->mac);
		len += OPTION_LEN;
	}
	demi_ether_put_ip6(ip, len, IPPROTO_ICMPV6, 255, src, &dst);
	demi_ether_sum_icmp6(m, len, src, &dst);
	demi_ether_send(e, ip, hlen + len, mac);
}

static void advertise(struct demi_ether *e, const struct demi_ip *target, const struct demi_ip *dst, uint32_t flags,
		      const uint8_t *mac)
{
	uint32_t hlen = (uint32_t)sizeof(struct demi_ip6_hdr), len = NS_LEN + OPTION_LEN;
	uint8_t *ip = demi_ether_alloc(e, hlen + len), *m;

	if (!ip)
		return;
	m = ip + hlen;
	m[0] = ND_NEIGHBOR_ADVERT;
	memcpy(m + 4, &flags, sizeof(flags));
	memcpy(m + 8, target->b, sizeof(target->b));
	put_option(m + NS_LEN, ND_OPT_TARGET_LINKADDR, e->low->mac);
	demi_ether_put_ip6(ip, len, IPPROTO_ICMPV6, 255, target, dst);
	demi_ether_sum_icmp6(m, len, target, dst);
	demi_ether_send(e, ip, hlen + len, mac);
}

/* ---- receiving ---- */

static void solicited(struct demi_ether *e, const struct demi_ether_in *in, const uint8_t *m, uint32_t len)
{
	static const struct demi_ip all_nodes = { .b = { 0xff, 2, [15] = 1 } };
	const uint8_t *mac = lladdr(m + NS_LEN, len - NS_LEN, ND_OPT_SOURCE_LINKADDR);
	bool dad = demi_ip_is_any(&in->src);
	struct demi_ether_neigh *n;
	struct demi_ether_addr *a;
	struct demi_ip target;
	uint32_t flags;

	memcpy(target.b, m + 8, sizeof(target.b));
	if (target.b[0] == 0xff || (dad && (mac || !demi_ip_is_multicast(&in->dst)))) { /* 7.1.1 */
		e->rx_errors++;
		return;
	}
	a = demi_ip_is4(&target) ? NULL : demi_ether_addr_find(e, &target);
	n = dad || !mac ? NULL : demi_ether_neigh_find(e, &in->src);
	if (n)
		demi_ether_neigh_heard(e, n, mac, DEMI_ETHER_NEWS_OVERRIDE);
	if (!a)
		return;
	if (a->state == DEMI_ETHER_ADDR_TENTATIVE && dad) {
		/* RFC 4862 5.4.3: somebody else tries it, too, unless it is what we have sent */
		if (memcmp(in->from, e->low->mac, sizeof(in->from)))
			demi_ether_addr_conflict(e, a);
		return;
	}
	if (!demi_ether_addr_usable(e, a))
		return;
	/* RFC 4429 3.3: an optimistic address does not replace somebody else's */
	flags = a->state == DEMI_ETHER_ADDR_VALID ? ND_NA_FLAG_OVERRIDE : 0;
	if (dad)
		advertise(e, &target, &all_nodes, flags, NULL);
	else
		advertise(e, &target, &in->src, flags | ND_NA_FLAG_SOLICITED, mac ? mac : in->from);
}

/* 7.2.5 */
static void advertised(struct demi_ether *e, const struct demi_ether_in *in, const uint8_t *m, uint32_t len)
{
	const uint8_t *mac = lladdr(m + NS_LEN, len - NS_LEN, ND_OPT_TARGET_LINKADDR);
	struct demi_ether_addr *a;
	struct demi_ether_neigh *n;
	struct demi_ip target;
	uint32_t flags, news = 0;

	memcpy(&flags, m + 4, sizeof(flags));
	memcpy(target.b, m + 8, sizeof(target.b));
	if (target.b[0] == 0xff || (in->mcast && flags & ND_NA_FLAG_SOLICITED)) { /* 7.1.2 */
		e->rx_errors++;
		return;
	}
	if (demi_ip_is4(&target))
		return;
	a = demi_ether_addr_find(e, &target);
	if (a && a->state != DEMI_ETHER_ADDR_DUPLICATE) {
		if (memcmp(in->from, e->low->mac, sizeof(in->from)))
			demi_ether_addr_conflict(e, a);
		return;
	}
	n = demi_ether_neigh_find(e, &target);
	if (!n)
		return;
	if (!mac)
		news |= DEMI_ETHER_NEWS_NO_MAC;
	if (flags & ND_NA_FLAG_SOLICITED)
		news |= DEMI_ETHER_NEWS_SOLICITED;
	if (flags & ND_NA_FLAG_OVERRIDE)
		news |= DEMI_ETHER_NEWS_OVERRIDE;
	if (n->router && !(flags & ND_NA_FLAG_ROUTER))
		demi_ether_router_set(e, &target, 0, 0); /* it routes no more */
	n->router = flags & ND_NA_FLAG_ROUTER;
	demi_ether_neigh_heard(e, n, mac, news);
}

void demi_ether_nd_input(struct demi_ether *e, const struct demi_ether_in *in)
{
	const uint8_t *m = in->p->data + in->off;
	uint32_t len = in->end - in->off, min = m[0] == ND_ROUTER_ADVERT ? 16 : NS_LEN;

	/* 6.1, 7.1: a hop limit of 255 shows that no router has passed it on */
	if (in->p->data[7] != 255 || m[1] || len < min || !demi_ether_nd_options_ok(m + min, len - min)) {
		e->rx_errors++;
		return;
	}
	switch (m[0]) {
	case ND_NEIGHBOR_SOLICIT:
		solicited(e, in, m, len);
		return;
	case ND_NEIGHBOR_ADVERT:
		advertised(e, in, m, len);
		return;
	case ND_ROUTER_ADVERT:
		demi_ether_ra_input(e, in, m, len);
		return;
	default: /* router solicitations are not for hosts, redirects not believed */
		return;
	}
}
