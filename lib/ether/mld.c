/* SPDX-License-Identifier: MIT */
/* MLD version 2, and version 1 for queriers that have it: RFC 3810, RFC 2710. */
#include "ether/dev.h"

#include <netinet/icmp6.h>
#include <string.h>

#define MLD2_REPORT 143
#define QUERY1_LEN 24
#define QUERY2_LEN 28
#define ROUTER_ALERT_LEN 8

/* RFC 3810 5.1.3: above 32,767 a mantissa and an exponent */
static uint64_t response_ns(uint32_t code)
{
	uint64_t ms = code < 32768 ? code : (uint64_t)((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3);

	return ms * DEMI_ETHER_MS;
}

/* The checksum has been looked at; the message is in one piece. */
void demi_ether_mld_input(struct demi_ether *e, const struct demi_ether_in *in)
{
	const uint8_t *m = in->p->data + in->off;
	uint32_t len = in->end - in->off;
	struct demi_ip group;

	/* RFC 3810 5.1.14: from a neighbour's link-local address */
	if (len < QUERY1_LEN || in->p->data[7] != 1 || !demi_ip_is_linklocal(&in->src)) {
		e->rx_errors++;
		return;
	}
	memcpy(group.b, m + 8, sizeof(group.b));
	if (m[0] == MLD_LISTENER_REPORT) {
		demi_ether_group_heard(e, &group);
		return;
	}
	if (m[0] != MLD_LISTENER_QUERY || (!demi_ip_is_any(&group) && group.b[0] != 0xff))
		return;
	if (len >= QUERY2_LEN)
		demi_ether_queried(e, &e->querier6, false, 2, &group, response_ns((uint32_t)m[4] << 8 | m[5]));
	else if (len == QUERY1_LEN) /* 8.1: what is in between is none */
		demi_ether_queried(e, &e->querier6, false, 1, &group, ((uint64_t)m[4] << 8 | m[5]) * DEMI_ETHER_MS);
}

/* RFC 3810 5.2.13, 5.2.14: hop limit 1, router alert, from a link-local address, or none while that is tried. */
static void send_mld(struct demi_ether *e, uint8_t *ip, uint32_t len, const struct demi_ip *dst)
{
	static const uint8_t router_alert[ROUTER_ALERT_LEN] = { IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0 }; /* RFC 2711 */
	static const struct demi_ip none = { .w = { 0 } };
	const struct demi_ip *src = demi_ether_linklocal(e);
	uint32_t hlen = (uint32_t)sizeof(struct demi_ip6_hdr);

	src = src ? src : &none;
	demi_ether_put_ip6(ip, ROUTER_ALERT_LEN + len, IPPROTO_HOPOPTS, 1, src, dst);
	memcpy(ip + hlen, router_alert, sizeof(router_alert));
	demi_ether_sum_icmp6(ip + hlen + ROUTER_ALERT_LEN, len, src, dst);
	demi_ether_send(e, ip, hlen + ROUTER_ALERT_LEN + len, NULL);
}

#define HEADERS (sizeof(struct demi_ip6_hdr) + ROUTER_ALERT_LEN)

void demi_ether_mld_report2(struct demi_ether *e, uint8_t type, const struct demi_ip *groups, uint32_t n)
{
	static const struct demi_ip all = { .b = { 0xff, 2, [15] = 0x16 } };
	uint32_t most = (e->mtu6 - (uint32_t)HEADERS - 8) / 20;
	uint16_t records;
	uint8_t *ip, *m;

	for (; n; groups += records, n -= records) {
		records = (uint16_t)(n < most ? n : most);
		ip = demi_ether_alloc(e, (uint32_t)HEADERS + 8 + 20U * records);
		if (!ip)
			return;
		m = ip + HEADERS;
		m[0] = MLD2_REPORT;
		m[6] = (uint8_t)(records >> 8);
		m[7] = (uint8_t)records;
		for (uint32_t i = 0; i < records; i++) {
			m[8 + 20 * i] = type;
			memcpy(m + 8 + 20 * i + 4, groups[i].b, sizeof(groups[i].b));
		}
		send_mld(e, ip, 8 + 20U * records, &all);
	}
}

void demi_ether_mld_report1(struct demi_ether *e, const struct demi_ip *group, bool leave)
{
	static const struct demi_ip routers = { .b = { 0xff, 2, [15] = 2 } };
	uint8_t *ip = demi_ether_alloc(e, (uint32_t)HEADERS + QUERY1_LEN);

	if (!ip)
		return;
	ip[HEADERS] = leave ? MLD_LISTENER_REDUCTION : MLD_LISTENER_REPORT;
	memcpy(ip + HEADERS + 8, group->b, sizeof(group->b));
	send_mld(e, ip, QUERY1_LEN, leave ? &routers : group);
}
