/* SPDX-License-Identifier: MIT */
/*
 * Own addresses: RFC 5227 and RFC 4862 5.4 (is anybody else using one?), RFC 6724 5 (which one to send from).
 * Optimistic addresses (RFC 4429) are used at once: a program that starts should not wait for seconds. For IPv4, too:
 * nothing breaks that would not if others were asked in vain.
 */
#include "ether/dev.h"

#include "core/log.h"

#include <string.h>

/* RFC 5227 1.1 */
#define PROBE_NUM 3
#define PROBE_WAIT_NS DEMI_ETHER_S
#define PROBE_MIN_NS DEMI_ETHER_S
#define PROBE_MAX_NS (2 * DEMI_ETHER_S)
#define ANNOUNCE_WAIT_NS (2 * DEMI_ETHER_S)
#define ANNOUNCE_NUM 2
#define ANNOUNCE_INTERVAL_NS (2 * DEMI_ETHER_S)
#define DEFEND_INTERVAL_NS (10 * DEMI_ETHER_S)

/* RFC 4862 5.1, RFC 4861 10 */
#define DAD_TRANSMITS 1
#define SOLICIT_DELAY_NS DEMI_ETHER_S

static void log_addr(const char *what, const struct demi_ip *ip)
{
	char text[INET6_ADDRSTRLEN];
	bool v4 = demi_ip_is4(ip);

	demi_warn("inet: %s: %s",
		  inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (const void *)&ip->w[3] : ip->b, text, sizeof(text)), what);
}

bool demi_ether_addr_usable(const struct demi_ether *e, const struct demi_ether_addr *a)
{
	return a->state == DEMI_ETHER_ADDR_VALID ||
	       (a->state == DEMI_ETHER_ADDR_TENTATIVE && e->dad == DEMI_INET_DAD_OPTIMISTIC);
}

struct demi_ether_addr *demi_ether_addr_find(struct demi_ether *e, const struct demi_ip *ip)
{
	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		if (e->addrs[i].state && demi_ip_equal(&e->addrs[i].ip, ip))
			return &e->addrs[i];
	}
	return NULL;
}

bool demi_ether_is_local(struct demi_ether *e, const struct demi_ip *ip)
{
	const struct demi_ether_addr *a = demi_ether_addr_find(e, ip);

	return a && demi_ether_addr_usable(e, a);
}

static uint32_t host_mask(const struct demi_ether_addr *a)
{
	return htonl((uint32_t)(0xffffffffULL >> a->plen));
}

bool demi_ether_is_subnet_broadcast(const struct demi_ether *e, uint32_t v4)
{
	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		const struct demi_ether_addr *a = &e->addrs[i];

		/* RFC 3021: a subnet of two has none; nor has one that says "all are neighbours" */
		if (a->state && demi_ip_is4(&a->ip) && a->plen && a->plen < 31 && (a->ip.w[3] | host_mask(a)) == v4)
			return true;
	}
	return false;
}

const struct demi_ip *demi_ether_linklocal(const struct demi_ether *e)
{
	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		const struct demi_ether_addr *a = &e->addrs[i];

		if (demi_ip_is_linklocal(&a->ip) && demi_ether_addr_usable(e, a))
			return &a->ip;
	}
	return NULL;
}

/* ---- which frames are expected: ether.c ---- */

void demi_ether_expect6(struct demi_ether *e, const struct demi_ip *dst)
{
	e->rx6 = *dst;
	e->own6 = 0;
	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		const struct demi_ether_addr *a = &e->addrs[i];

		if (a->state && !demi_ip_is4(&a->ip))
			e->own6 |= 1ULL << (a->ip.b[15] & 63);
	}
}

static void changed(struct demi_ether *e)
{
	demi_ether_expect_nobody(e);
	demi_ether_routes_changed(e);
}

/* ---- life ---- */

static struct demi_ether_addr *free_slot(struct demi_ether *e)
{
	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		if (e->addrs[i].state == DEMI_ETHER_ADDR_FREE)
			return &e->addrs[i];
	}
	return NULL;
}

int demi_ether_addr_add(struct demi_ether *e, const struct demi_ip *ip, uint8_t plen, uint64_t preferred_ns,
			uint64_t valid_ns, bool advertised)
{
	struct demi_ether_addr *a = free_slot(e);
	struct demi_ip group;
	int err;

	if (!a)
		return -ENOSPC;
	if (!demi_ip_is4(ip)) {
		group = demi_ether_solicited_node(ip);
		err = demi_ether_join(e, &group);
		if (err)
			return err;
	}
	*a = (struct demi_ether_addr){ .ip = *ip,
				       .plen = plen,
				       .state = DEMI_ETHER_ADDR_TENTATIVE,
				       .advertised = advertised,
				       .preferred_ns = preferred_ns,
				       .valid_ns = valid_ns };
	a->due_ns = demi_ether_now(e);
	if (e->dad == DEMI_INET_DAD_OFF)
		a->state = DEMI_ETHER_ADDR_VALID;
	else
		a->due_ns += demi_ether_random(e, demi_ip_is4(ip) ? PROBE_WAIT_NS : SOLICIT_DELAY_NS);
	demi_ether_due(e, a->due_ns);
	demi_ether_due(e, a->valid_ns);
	demi_ether_due(e, a->preferred_ns);
	changed(e);
	return 0;
}

static void leave_node_group(struct demi_ether *e, const struct demi_ether_addr *a)
{
	struct demi_ip group = demi_ether_solicited_node(&a->ip);

	if (!demi_ip_is4(&a->ip))
		demi_ether_leave(e, &group);
}

void demi_ether_addr_expire(struct demi_ether *e, struct demi_ether_addr *a)
{
	if (a->state != DEMI_ETHER_ADDR_DUPLICATE)
		leave_node_group(e, a);
	a->state = DEMI_ETHER_ADDR_FREE;
	changed(e);
}

static void give_up(struct demi_ether *e, struct demi_ether_addr *a)
{
	log_addr("another host has this address: it is not used", &a->ip);
	leave_node_group(e, a);
	a->state = DEMI_ETHER_ADDR_DUPLICATE;
	a->due_ns = DEMI_ETHER_NEVER;
	changed(e);
}

static void announce(struct demi_ether *e, const struct demi_ether_addr *a)
{
	demi_ether_arp_request(e, &a->ip, &a->ip, NULL);
}

void demi_ether_addr_conflict(struct demi_ether *e, struct demi_ether_addr *a)
{
	uint64_t now_ns = demi_ether_now(e);

	if (a->state == DEMI_ETHER_ADDR_TENTATIVE) {
		give_up(e, a);
		return;
	}
	/* RFC 4862 5.4.4: one that is in use stays; RFC 5227 2.4 (b): it is defended once in a while */
	if (a->state != DEMI_ETHER_ADDR_VALID || !demi_ip_is4(&a->ip))
		return;
	if (a->defended_ns && now_ns - a->defended_ns < DEFEND_INTERVAL_NS) {
		give_up(e, a);
		return;
	}
	log_addr("another host uses this address", &a->ip);
	a->defended_ns = now_ns;
	announce(e, a);
}

/* ---- time ---- */

static void validate(struct demi_ether *e, struct demi_ether_addr *a, uint64_t now_ns)
{
	a->state = DEMI_ETHER_ADDR_VALID;
	a->due_ns = now_ns;
	if (e->dad == DEMI_INET_DAD_ON)
		changed(e);
}

static void step4(struct demi_ether *e, struct demi_ether_addr *a, uint64_t now_ns)
{
	static const struct demi_ip none = { .w = { 0 } };

	if (a->state == DEMI_ETHER_ADDR_TENTATIVE) {
		if (a->probes < PROBE_NUM) {
			demi_ether_arp_request(e, &none, &a->ip, NULL);
			a->due_ns = now_ns + ANNOUNCE_WAIT_NS;
			if (++a->probes < PROBE_NUM)
				a->due_ns = now_ns + PROBE_MIN_NS + demi_ether_random(e, PROBE_MAX_NS - PROBE_MIN_NS);
			return;
		}
		validate(e, a, now_ns);
	}
	announce(e, a);
	a->due_ns = ++a->announces < ANNOUNCE_NUM ? now_ns + ANNOUNCE_INTERVAL_NS : DEMI_ETHER_NEVER;
}

static void step6(struct demi_ether *e, struct demi_ether_addr *a, uint64_t now_ns)
{
	static const struct demi_ip none = { .w = { 0 } };

	if (a->state == DEMI_ETHER_ADDR_TENTATIVE && a->probes < DAD_TRANSMITS) {
		demi_ether_nd_solicit(e, &none, &a->ip, NULL);
		a->probes++;
		a->due_ns = now_ns + e->retrans_ns;
		return;
	}
	if (a->state == DEMI_ETHER_ADDR_TENTATIVE)
		validate(e, a, now_ns);
	a->due_ns = DEMI_ETHER_NEVER;
}

void demi_ether_addr_run(struct demi_ether *e, uint64_t now_ns)
{
	for (struct demi_ether_addr *a = e->addrs; a < e->addrs + DEMI_ETHER_ADDRS; a++) {
		if (a->state && a->valid_ns <= now_ns)
			demi_ether_addr_expire(e, a);
		if (!a->state)
			continue;
		if (a->preferred_ns && a->preferred_ns <= now_ns) {
			a->preferred_ns = 0; /* deprecated */
			changed(e);
		}
		if (a->due_ns <= now_ns)
			demi_ip_is4(&a->ip) ? step4(e, a, now_ns) : step6(e, a, now_ns);
		demi_ether_due(e, a->due_ns);
		demi_ether_due(e, a->valid_ns);
		demi_ether_due(e, a->preferred_ns ? a->preferred_ns : DEMI_ETHER_NEVER);
	}
}

/* ---- which one to send from ---- */

static uint32_t common_bits(const struct demi_ip *a, const struct demi_ip *b)
{
	uint32_t n = 0;

	for (int i = 0; i < 4; i++) {
		uint32_t x = ntohl(a->w[i] ^ b->w[i]);

		if (x)
			return n + (uint32_t)__builtin_clz(x);
		n += 32;
	}
	return n;
}

/* RFC 6724 3.1; larger is wider. Unique local addresses count as global. */
static int scope(const struct demi_ip *ip)
{
	if (ip->b[0] == 0xff)
		return ip->b[1] & 15;
	return demi_ip_is_linklocal(ip) ? 2 : 14;
}

/* RFC 6724 5: rules 1, 2, 3, 8; the address with the largest number is taken. */
static uint32_t rank(const struct demi_ether_addr *a, const struct demi_ip *dst)
{
	int s = scope(&a->ip), want = scope(dst);
	uint32_t r = common_bits(&a->ip, dst);

	if (demi_ip_is4(dst))
		return r + 1;
	if (r == 128)
		return 1U << 20;
	/* rule 2: the narrowest scope that is wide enough; else the widest */
	r += (uint32_t)(s >= want ? 16 - s + 16 : s) << 12;
	if (a->preferred_ns)
		r += 1U << 8;
	return r + 1;
}

const struct demi_ether_addr *demi_ether_addr_select(const struct demi_ether *e, const struct demi_ip *dst)
{
	const struct demi_ether_addr *best = NULL;
	uint32_t best_rank = 0;

	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		const struct demi_ether_addr *a = &e->addrs[i];
		uint32_t r;

		if (!a->state || demi_ip_is4(&a->ip) != demi_ip_is4(dst) || !demi_ether_addr_usable(e, a))
			continue;
		r = rank(a, dst);
		if (r > best_rank) {
			best = a;
			best_rank = r;
		}
	}
	return best;
}
