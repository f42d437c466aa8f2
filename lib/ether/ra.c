/* SPDX-License-Identifier: MIT */
/*
 * Router advertisements, where the configuration wants them ("auto"): RFC 4861 6.3, RFC 4862 5.5, RFC 4191. What a
 * router says has limits, so that no advertisement can make this host stand still or fill its tables for good.
 */
#include "ether/dev.h"

#include <netinet/icmp6.h>
#include <string.h>

/* RFC 4861 10 */
#define SOLICITATIONS 3
#define SOLICIT_INTERVAL_NS (4 * DEMI_ETHER_S)

/* Of times that an advertisement sets; 6.2.1 has at most an hour for the first */
#define REACHABLE_MAX_MS 3600000U
#define RETRANS_MIN_MS 100U
#define RETRANS_MAX_MS 10000U

/* RFC 4862 5.5.3 (e): a lifetime is not made shorter than that by somebody who cannot prove that he may */
#define TWO_HOURS_NS (7200 * DEMI_ETHER_S)

#define ADVERTISED_MAX (DEMI_ETHER_ADDRS / 2)

#define FOREVER_S 0xffffffffU
#define MTU_MIN 1280

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static uint64_t until(uint64_t now_ns, uint32_t s)
{
	return s == FOREVER_S ? DEMI_ETHER_NEVER : now_ns + s * DEMI_ETHER_S;
}

static uint32_t advertised_count(const struct demi_ether *e)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++)
		n += e->addrs[i].state && e->addrs[i].advertised;
	return n;
}

/* RFC 2464 4: the interface identifier of the device's address is the link-local one's */
static bool own_address(const struct demi_ether *e, const struct demi_ip *prefix, struct demi_ip *ip)
{
	const struct demi_ip *ll = demi_ether_linklocal(e);

	if (!ll)
		return false;
	ip->q[0] = prefix->q[0];
	ip->q[1] = ll->q[1];
	return true;
}

/* RFC 4862 5.5.3 (d), (e) */
static void address(struct demi_ether *e, const struct demi_ip *prefix, uint32_t preferred_s, uint32_t valid_s,
		    uint64_t now_ns)
{
	struct demi_ether_addr *a;
	uint64_t valid_ns = until(now_ns, valid_s);
	struct demi_ip ip;

	if (!own_address(e, prefix, &ip))
		return;
	a = demi_ether_addr_find(e, &ip);
	if (!a) {
		if (valid_s && advertised_count(e) < ADVERTISED_MAX)
			(void)demi_ether_addr_add(e, &ip, 64, preferred_s ? until(now_ns, preferred_s) : 0, valid_ns,
						  true);
		return;
	}
	if (!a->advertised)
		return;
	a->preferred_ns = preferred_s ? until(now_ns, preferred_s) : 0;
	if (valid_ns > now_ns + TWO_HOURS_NS || valid_ns > a->valid_ns)
		a->valid_ns = valid_ns;
	else if (a->valid_ns > now_ns + TWO_HOURS_NS)
		a->valid_ns = now_ns + TWO_HOURS_NS;
	demi_ether_due(e, a->valid_ns);
	demi_ether_due(e, a->preferred_ns ? a->preferred_ns : DEMI_ETHER_NEVER);
	demi_ether_routes_changed(e);
}

/* RFC 4861 6.3.4 */
static void prefix(struct demi_ether *e, const uint8_t *o, uint32_t len, uint64_t now_ns)
{
	uint32_t valid_s, preferred_s;
	struct demi_ip ip;

	if (len != 32 || o[2] > 128)
		return;
	valid_s = get32(o + 4);
	preferred_s = get32(o + 8);
	memcpy(ip.b, o + 16, sizeof(ip.b));
	if (demi_ip_is_linklocal(&ip) || ip.b[0] == 0xff || !ip.q[0] || preferred_s > valid_s)
		return;
	if (o[3] & ND_OPT_PI_FLAG_ONLINK)
		(void)demi_ether_prefix_set(e, &ip, o[2], valid_s ? until(now_ns, valid_s) : 0, true);
	if (o[3] & ND_OPT_PI_FLAG_AUTO && o[2] == 64)
		address(e, &ip, preferred_s, valid_s, now_ns);
}

static void options(struct demi_ether *e, const struct demi_ether_in *in, const uint8_t *o, uint32_t len,
		    uint64_t now_ns)
{
	struct demi_ether_neigh *n = demi_ether_neigh_find(e, &in->src);

	for (; len; len -= o[1] * 8U, o += o[1] * 8U) {
		uint32_t olen = o[1] * 8U;

		switch (o[0]) {
		case ND_OPT_SOURCE_LINKADDR:
			if (n && olen == 8 && !(o[2] & 1))
				demi_ether_neigh_heard(e, n, o + 2, DEMI_ETHER_NEWS_OVERRIDE);
			break;
		case ND_OPT_MTU:
			if (olen == 8 && get32(o + 4) >= MTU_MIN && get32(o + 4) <= e->mtu && e->mtu6 != get32(o + 4)) {
				e->mtu6 = get32(o + 4);
				demi_ether_routes_changed(e);
			}
			break;
		case ND_OPT_PREFIX_INFORMATION:
			prefix(e, o, olen, now_ns);
			break;
		default:
			break;
		}
	}
}

static void times(struct demi_ether *e, const uint8_t *m)
{
	uint32_t reachable_ms = get32(m + 8), retrans_ms = get32(m + 12);

	if (reachable_ms && reachable_ms <= REACHABLE_MAX_MS)
		e->reachable_ns = reachable_ms * DEMI_ETHER_MS;
	if (retrans_ms) {
		retrans_ms = retrans_ms < RETRANS_MIN_MS ? RETRANS_MIN_MS : retrans_ms;
		retrans_ms = retrans_ms > RETRANS_MAX_MS ? RETRANS_MAX_MS : retrans_ms;
		e->retrans_ns = retrans_ms * DEMI_ETHER_MS;
	}
}

/* RFC 4191 2.2: the reserved value is the middle */
static int preference(uint8_t flags)
{
	static const int8_t of[4] = { 0, 1, 0, -1 };

	return of[flags >> 3 & 3];
}

void demi_ether_ra_input(struct demi_ether *e, const struct demi_ether_in *in, const uint8_t *m, uint32_t len)
{
	uint64_t now_ns = demi_ether_now(e);
	uint32_t lifetime_s = (uint32_t)m[6] << 8 | m[7];

	if (!e->with_ra || !demi_ip_is_linklocal(&in->src))
		return;
	e->solicits = SOLICITATIONS; /* 6.3.7 */
	demi_ether_router_set(e, &in->src, lifetime_s ? until(now_ns, lifetime_s) : 0, preference(m[5]));
	times(e, m);
	options(e, in, m + 16, len - 16, now_ns);
}

/* ---- asking for one ---- */

static void solicit(struct demi_ether *e)
{
	static const struct demi_ip all_routers = { .b = { 0xff, 2, [15] = 2 } }, none = { .w = { 0 } };
	const struct demi_ip *src = demi_ether_linklocal(e);
	uint32_t hlen = (uint32_t)sizeof(struct demi_ip6_hdr), len = 8;
	uint8_t *ip = demi_ether_alloc(e, hlen + 16), *m;

	if (!ip)
		return;
	m = ip + hlen;
	m[0] = ND_ROUTER_SOLICIT;
	if (src) {
		m[8] = ND_OPT_SOURCE_LINKADDR;
		m[9] = 1;
		memcpy(m + 10, e->low->mac, 6);
		len += 8;
	}
	src = src ? src : &none;
	demi_ether_put_ip6(ip, len, IPPROTO_ICMPV6, 255, src, &all_routers);
	demi_ether_sum_icmp6(m, len, src, &all_routers);
	demi_ether_send(e, ip, hlen + len, NULL);
}

void demi_ether_ra_run(struct demi_ether *e, uint64_t now_ns)
{
	if (!e->with_ra || e->solicits >= SOLICITATIONS)
		return;
	if (e->solicit_ns <= now_ns) {
		solicit(e);
		e->solicits++;
		e->solicit_ns = now_ns + SOLICIT_INTERVAL_NS;
	}
	demi_ether_due(e, e->solicits < SOLICITATIONS ? e->solicit_ns : DEMI_ETHER_NEVER);
}
