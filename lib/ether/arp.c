/* SPDX-License-Identifier: MIT */
/*
 * ARP: RFC 826, RFC 5227, RFC 1122 2.3.2. Only neighbours that are known or were asked for are learned: nobody can fill
 * the table or say where a stranger is.
 */
#include "ether/dev.h"

#include <string.h>

struct arp {
	uint16_t hw, proto;
	uint8_t hw_len, proto_len;
	uint16_t op;
	uint8_t sha[6];
	uint32_t spa;
	uint8_t target_mac[6];
	uint32_t tpa;
} DEMI_WIRE;

_Static_assert(sizeof(struct arp) == 28, "RFC 826");

#define HW_ETHERNET 1
#define OP_REQUEST 1
#define OP_REPLY 2

static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void send_arp(struct demi_ether *e, uint16_t op, uint32_t spa, const uint8_t *target_mac, uint32_t tpa,
		     const uint8_t *to)
{
	struct arp a = {
		.hw = htons(HW_ETHERNET),
		.proto = htons(DEMI_ETHER_TYPE_IP4),
		.hw_len = 6,
		.proto_len = 4,
		.op = htons(op),
		.spa = spa,
		.tpa = tpa,
	};
	uint8_t *p = demi_ether_alloc(e, sizeof(a));

	if (!p)
		return;
	memcpy(a.sha, e->low->mac, sizeof(a.sha));
	if (target_mac)
		memcpy(a.target_mac, target_mac, sizeof(a.target_mac));
	memcpy(p, &a, sizeof(a));
	demi_ether_send_arp(e, p, sizeof(a), to);
}

void demi_ether_arp_request(struct demi_ether *e, const struct demi_ip *src, const struct demi_ip *target,
			    const uint8_t *mac)
{
	send_arp(e, OP_REQUEST, src->w[3], NULL, target->w[3], mac ? mac : everybody);
}

/* RFC 5227 1.1, 2.4: does it show that somebody else has one of our addresses, or is about to take it? */
static bool conflicts(struct demi_ether *e, const struct arp *a)
{
	struct demi_ip spa = demi_ip_from4(a->spa), tpa = demi_ip_from4(a->tpa);
	struct demi_ether_addr *own;

	own = a->spa ? demi_ether_addr_find(e, &spa) : NULL;
	/* 2.1.1: two that probe for the same one at the same time */
	if (!own && !a->spa && a->op == htons(OP_REQUEST)) {
		own = demi_ether_addr_find(e, &tpa);
		if (own && own->state != DEMI_ETHER_ADDR_TENTATIVE)
			own = NULL;
	}
	if (!own || own->state == DEMI_ETHER_ADDR_DUPLICATE)
		return false;
	demi_ether_addr_conflict(e, own);
	return true;
}

void demi_ether_arp_input(struct demi_ether *e, const struct demi_pkt *p)
{
	struct demi_ether_neigh *n;
	struct demi_ip spa, tpa;
	struct arp a;

	if (p->len < sizeof(a))
		goto bad;
	memcpy(&a, p->data, sizeof(a));
	if (a.hw != htons(HW_ETHERNET) || a.proto != htons(DEMI_ETHER_TYPE_IP4) || a.hw_len != 6 || a.proto_len != 4 ||
	    (a.op != htons(OP_REQUEST) && a.op != htons(OP_REPLY)) || a.sha[0] & 1)
		goto bad;
	if (!memcmp(a.sha, e->low->mac, sizeof(a.sha))) /* our own, come back */
		return;
	spa = demi_ip_from4(a.spa);
	tpa = demi_ip_from4(a.tpa);
	if (conflicts(e, &a))
		return;
	/* RFC 826: the sender's address is news whatever the packet is; asked for, if it answers us and us alone */
	n = a.spa ? demi_ether_neigh_find(e, &spa) : NULL;
	if (n)
		demi_ether_neigh_heard(e, n, a.sha,
				       DEMI_ETHER_NEWS_OVERRIDE |
					       (a.op == htons(OP_REPLY) && demi_ether_is_local(e, &tpa)
							? DEMI_ETHER_NEWS_SOLICITED
							: 0));
	/* announcements and replies want no answer; a probe does */
	if (a.op == htons(OP_REQUEST) && a.spa != a.tpa && demi_ether_is_local(e, &tpa))
		send_arp(e, OP_REPLY, a.tpa, a.sha, a.spa, a.sha);
	return;
bad:
	e->rx_errors++;
}
