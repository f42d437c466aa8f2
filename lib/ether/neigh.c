/* SPDX-License-Identifier: MIT */
/*
 * Neighbours of both families, by the states of RFC 4861 7.3: a neighbour is asked for before the first packet, and
 * asked again, itself, when it has not been heard for a while and is still sent to. Three questions without an answer
 * are the end.
 */
#include "ether/dev.h"

#include "inet/siphash.h"

#include <stdlib.h>
#include <string.h>

/* RFC 4861 10; for ARP, RFC 1122 2.3.2.2 leaves it open */
#define TRIES 3
#define DELAY_FIRST_PROBE_NS (5 * DEMI_ETHER_S)

static uint16_t *bucket(struct demi_ether *e, const struct demi_ip *ip)
{
	return &e->neigh_buckets[demi_siphash(e->secret, ip->q, 2) % DEMI_ETHER_NEIGH_BUCKETS];
}

struct demi_ether_neigh *demi_ether_neigh_find(struct demi_ether *e, const struct demi_ip *ip)
{
	for (uint16_t i = *bucket(e, ip); i; i = e->neighs[i - 1].next) {
		if (demi_ip_equal(&e->neighs[i - 1].ip, ip))
			return &e->neighs[i - 1];
	}
	return NULL;
}

/* ---- packets that wait ---- */

static struct demi_ether_held *held_take(struct demi_ether *e, struct demi_ether_neigh *n)
{
	struct demi_ether_held *h = n->head;

	n->head = h->next;
	n->held--;
	e->nheld--;
	return h;
}

static void held_end(struct demi_ether *e, struct demi_ether_neigh *n, int err)
{
	struct demi_ether_held *h = held_take(e, n);

	e->tx_dropped++;
	demi_ether_done(e, h->pkts[0].cookie, err, false);
	free(h);
}

static void held_end_all(struct demi_ether *e, struct demi_ether_neigh *n, int err)
{
	while (n->head)
		held_end(e, n, err);
}

static void held_send_all(struct demi_ether *e, struct demi_ether_neigh *n)
{
	while (n->head) {
		struct demi_ether_held *h = held_take(e, n);

		if (demi_ether_deliver(e, h->pkts, h->n, n->mac)) {
			e->tx_dropped++; /* the device has no room: lost, as on any link */
			demi_ether_done(e, h->pkts[0].cookie, 0, false);
		}
		free(h);
		e->kick = true;
	}
}

static void hold(struct demi_ether *e, struct demi_ether_neigh *n, const struct demi_pkt *pkts, uint32_t segs)
{
	struct demi_ether_held *h = malloc(sizeof(*h) + segs * sizeof(*pkts));

	if (!h) {
		demi_ether_done(e, pkts[0].cookie, ENOBUFS, false);
		return;
	}
	if (n->held == DEMI_ETHER_NEIGH_HELD) /* RFC 4861 7.2.2: the newer ones are kept */
		held_end(e, n, 0);
	h->next = NULL;
	h->n = segs;
	memcpy(h->pkts, pkts, segs * sizeof(*pkts));
	if (n->head)
		n->tail->next = h;
	else
		n->head = h;
	n->tail = h;
	n->held++;
	e->nheld++;
}

/* ---- the table ---- */

static void remove_neigh(struct demi_ether *e, struct demi_ether_neigh *n, int err)
{
	uint16_t *at = bucket(e, &n->ip), index = (uint16_t)(n - e->neighs + 1);

	held_end_all(e, n, err);
	while (*at != index)
		at = &e->neighs[*at - 1].next;
	*at = n->next;
	n->state = DEMI_ETHER_NEIGH_FREE;
	demi_ether_hints_forget(e);
}

/* Who can be spared most: nobody sends to it, nobody has answered for it, it was used longest ago. */
static uint64_t worth(const struct demi_ether *e, const struct demi_ether_neigh *n)
{
	uint64_t class = n->state == DEMI_ETHER_NEIGH_STALE ? 1 : n->state == DEMI_ETHER_NEIGH_INCOMPLETE ? 2 : 3;

	if (n->state == DEMI_ETHER_NEIGH_FREE)
		return 0;
	if (demi_ether_is_router(e, &n->ip))
		class = 4;
	return class << 60 | (n->used & ~0ULL >> 4);
}

static struct demi_ether_neigh *create(struct demi_ether *e, const struct demi_ip *ip)
{
	struct demi_ether_neigh *n = NULL, *spare = e->neighs;
	uint64_t least = UINT64_MAX;
	uint16_t *b;

	for (n = e->neighs; n < e->neighs + DEMI_ETHER_NEIGHS && least; n++) {
		uint64_t w = worth(e, n);

		if (w < least) {
			least = w;
			spare = n;
		}
	}
	if (spare->state)
		remove_neigh(e, spare, ENOBUFS);
	b = bucket(e, ip);
	*spare = (struct demi_ether_neigh){ .ip = *ip, .state = DEMI_ETHER_NEIGH_INCOMPLETE, .next = *b };
	*b = (uint16_t)(spare - e->neighs + 1);
	return spare;
}

/* ---- asking ---- */

static void ask(struct demi_ether *e, struct demi_ether_neigh *n, uint64_t now_ns, const uint8_t *mac)
{
	const struct demi_ether_addr *a = demi_ether_addr_select(e, &n->ip);

	n->tries++;
	n->due_ns = now_ns + (demi_ip_is4(&n->ip) ? DEMI_ETHER_S : e->retrans_ns);
	demi_ether_due(e, n->due_ns);
	if (!a)
		return;
	if (demi_ip_is4(&n->ip))
		demi_ether_arp_request(e, &a->ip, &n->ip, mac);
	else
		demi_ether_nd_solicit(e, &a->ip, &n->ip, mac);
}

const uint8_t *demi_ether_neigh_resolve(struct demi_ether *e, const struct demi_ip *ip, const struct demi_pkt *pkts,
					uint32_t segs, bool *sure, int *err)
{
	struct demi_ether_neigh *n = demi_ether_neigh_find(e, ip);

	*err = 0;
	if (!n) {
		n = create(e, ip);
		ask(e, n, demi_ether_now(e), NULL);
	}
	n->used = ++e->uses;
	if (n->state == DEMI_ETHER_NEIGH_INCOMPLETE) {
		hold(e, n, pkts, segs);
		return NULL;
	}
	if (n->state == DEMI_ETHER_NEIGH_STALE) {
		n->state = DEMI_ETHER_NEIGH_DELAY;
		n->due_ns = demi_ether_now(e) + DELAY_FIRST_PROBE_NS;
		demi_ether_due(e, n->due_ns);
	}
	*sure = true;
	return n->mac;
}

/* ---- hearing ---- */

static void set_reachable(struct demi_ether *e, struct demi_ether_neigh *n)
{
	/* RFC 4861 6.3.4: between half and one and a half of it */
	n->due_ns = demi_ether_now(e) + e->reachable_ns / 2 + demi_ether_random(e, e->reachable_ns);
	n->state = DEMI_ETHER_NEIGH_REACHABLE;
	n->tries = 0;
	demi_ether_due(e, n->due_ns);
}

static void set_stale(struct demi_ether *e, struct demi_ether_neigh *n)
{
	n->state = DEMI_ETHER_NEIGH_STALE;
	n->due_ns = DEMI_ETHER_NEVER;
	n->tries = 0;
	demi_ether_hints_forget(e); /* the next packet has to be noticed */
}

/* RFC 4861 7.2.5 and, for ARP alike, RFC 826 */
void demi_ether_neigh_heard(struct demi_ether *e, struct demi_ether_neigh *n, const uint8_t mac[6], uint32_t news)
{
	bool differs = !(news & DEMI_ETHER_NEWS_NO_MAC) && memcmp(n->mac, mac, sizeof(n->mac));

	if (n->state == DEMI_ETHER_NEIGH_INCOMPLETE) {
		if (news & DEMI_ETHER_NEWS_NO_MAC)
			return;
		memcpy(n->mac, mac, sizeof(n->mac));
		if (news & DEMI_ETHER_NEWS_SOLICITED)
			set_reachable(e, n);
		else
			set_stale(e, n);
		held_send_all(e, n);
		return;
	}
	if (differs && !(news & DEMI_ETHER_NEWS_OVERRIDE)) {
		if (n->state == DEMI_ETHER_NEIGH_REACHABLE)
			set_stale(e, n);
		return;
	}
	if (differs) {
		memcpy(n->mac, mac, sizeof(n->mac));
		set_stale(e, n);
	}
	if (news & DEMI_ETHER_NEWS_SOLICITED)
		set_reachable(e, n);
}

/* ---- time ---- */

static void give_up(struct demi_ether *e, struct demi_ether_neigh *n)
{
	struct demi_ip ip = n->ip;

	remove_neigh(e, n, EHOSTUNREACH);
	demi_ether_router_failed(e, &ip);
}

static void step(struct demi_ether *e, struct demi_ether_neigh *n, uint64_t now_ns)
{
	switch (n->state) {
	case DEMI_ETHER_NEIGH_REACHABLE:
		set_stale(e, n);
		break;
	case DEMI_ETHER_NEIGH_DELAY:
		n->state = DEMI_ETHER_NEIGH_PROBE;
		n->tries = 0;
		ask(e, n, now_ns, n->mac);
		break;
	default: /* INCOMPLETE, PROBE */
		if (n->tries >= TRIES)
			give_up(e, n);
		else
			ask(e, n, now_ns, n->state == DEMI_ETHER_NEIGH_PROBE ? n->mac : NULL);
	}
}

void demi_ether_neigh_run(struct demi_ether *e, uint64_t now_ns)
{
	for (struct demi_ether_neigh *n = e->neighs; n < e->neighs + DEMI_ETHER_NEIGHS; n++) {
		if (!n->state || n->state == DEMI_ETHER_NEIGH_STALE)
			continue;
		if (n->due_ns <= now_ns)
			step(e, n, now_ns);
		if (n->state && n->state != DEMI_ETHER_NEIGH_STALE)
			demi_ether_due(e, n->due_ns);
	}
}

/* The device is gone: nobody hears of packets any more. */
void demi_ether_neigh_exit(struct demi_ether *e)
{
	for (struct demi_ether_neigh *n = e->neighs; n < e->neighs + DEMI_ETHER_NEIGHS; n++) {
		while (n->head) {
			struct demi_ether_held *h = held_take(e, n);

			free(h);
		}
	}
	free(e->neighs);
}
