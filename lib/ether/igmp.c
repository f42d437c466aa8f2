/* SPDX-License-Identifier: MIT */
/* IGMP version 3, and version 2 for queriers that have it: RFC 3376, RFC 2236. */
#include "ether/dev.h"

#include "inet/cksum.h"

#include <string.h>

enum {
	IGMP_QUERY = 0x11,
	IGMP_REPORT1 = 0x12,
	IGMP_REPORT2 = 0x16,
	IGMP_LEAVE = 0x17,
	IGMP_REPORT3 = 0x22,
};

#define QUERY3_LEN 12
#define TENTH_NS (100 * DEMI_ETHER_MS)

static const uint8_t router_alert[4] = { 0x94, 4, 0, 0 }; /* RFC 2113 */

/* RFC 3376 4.1.1: above 127 a mantissa and an exponent */
static uint64_t response_ns(uint8_t code)
{
	uint32_t tenths = code < 128 ? code : (uint32_t)((code & 15) | 16) << ((code >> 4 & 7) + 3);

	return tenths * TENTH_NS;
}

void demi_ether_igmp_input(struct demi_ether *e, const struct demi_ether_in *in)
{
	const uint8_t *m = in->p->data + in->off;
	uint32_t len = in->end - in->off, group4;
	struct demi_ip group;

	/* RFC 3376 9.1: from a neighbour, which sends it with a time to live of 1 */
	if (in->end > in->p->len || len < 8 || in->p->data[8] != 1 ||
	    demi_cksum_fold(demi_cksum_add(0, m, len)) != 0xffff) {
		e->rx_errors++;
		return;
	}
	memcpy(&group4, m + 4, sizeof(group4));
	group = demi_ip_from4(group4);
	if (m[0] == IGMP_REPORT1 || m[0] == IGMP_REPORT2) {
		demi_ether_group_heard(e, &group);
		return;
	}
	if (m[0] != IGMP_QUERY || (group4 && !demi_ip4_is_multicast(group4)))
		return;
	/* 7.1: version 1 has no time in its queries; it is answered as version 2, which it can read */
	if (len >= QUERY3_LEN)
		demi_ether_queried(e, &e->querier4, true, 3, &group, response_ns(m[1]));
	else
		demi_ether_queried(e, &e->querier4, true, 2, &group, m[1] ? m[1] * TENTH_NS : 100 * TENTH_NS);
}

static void send_igmp(struct demi_ether *e, uint8_t *ip, uint32_t len, const struct demi_ip *dst)
{
	static const struct demi_ip none = { .w = { 0, 0, 0xffff0000, 0 } };
	const struct demi_ether_addr *a = demi_ether_addr_select(e, dst);
	uint32_t hlen = (uint32_t)(sizeof(struct demi_ip4_hdr) + sizeof(router_alert));
	uint16_t sum;

	sum = (uint16_t)~demi_cksum_fold(demi_cksum_add(0, ip + hlen, len));
	memcpy(ip + hlen + 2, &sum, sizeof(sum));
	/* RFC 3376 4.2.13: without an address it comes from 0.0.0.0 */
	demi_ether_put_ip4(ip, hlen + len, IPPROTO_IGMP, 1, a ? &a->ip : &none, dst, router_alert,
			   sizeof(router_alert));
	demi_ether_send(e, ip, hlen + len, NULL);
}

void demi_ether_igmp_report3(struct demi_ether *e, uint8_t type, const struct demi_ip *groups, uint32_t n)
{
	struct demi_ip all = demi_ip_from4(htonl(0xe0000016));
	uint8_t *ip = demi_ether_alloc(e, 24 + 8 + 8 * n), *m;
	uint16_t records = htons((uint16_t)n);

	if (!ip)
		return;
	m = ip + 24;
	m[0] = IGMP_REPORT3;
	memcpy(m + 6, &records, sizeof(records));
	for (uint32_t i = 0; i < n; i++) {
		m[8 + 8 * i] = type;
		memcpy(m + 8 + 8 * i + 4, &groups[i].w[3], sizeof(groups[i].w[3]));
	}
	send_igmp(e, ip, 8 + 8 * n, &all);
}

void demi_ether_igmp_report2(struct demi_ether *e, const struct demi_ip *group, bool leave)
{
	struct demi_ip routers = demi_ip_from4(htonl(INADDR_ALLRTRS_GROUP));
	uint8_t *ip = demi_ether_alloc(e, 24 + 8);

	if (!ip)
		return;
	ip[24] = leave ? IGMP_LEAVE : IGMP_REPORT2;
	memcpy(ip + 28, &group->w[3], sizeof(group->w[3]));
	send_igmp(e, ip, 8, leave ? &routers : group);
}
