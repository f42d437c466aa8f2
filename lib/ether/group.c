/* SPDX-License-Identifier: MIT */
/*
 * Multicast groups of this host and what queriers are told of them: RFC 3376 and RFC 3810, whose hosts do the same, and
 * the versions before (RFC 2236, RFC 2710) while such a querier is about. Sources are never filtered.
 */
#include "ether/dev.h"

#include <string.h>

/* RFC 3376 8, RFC 3810 9 */
#define ROBUSTNESS 2
#define UNSOLICITED_NS DEMI_ETHER_S
#define OLD_QUERIER_NS (260 * DEMI_ETHER_S) /* robustness * 125 s + 10 s */

/* Record types: RFC 3376 4.2.12 */
#define MODE_IS_EXCLUDE 2
#define TO_INCLUDE 3
#define TO_EXCLUDE 4

/* Nobody is told of the groups that everybody is in: RFC 3376 5, RFC 3810 6. */
static bool reported(const struct demi_ip *g)
{
	static const struct demi_ip all_nodes = { .b = { 0xff, 2, [15] = 1 } };

	if (demi_ip_is4(g))
		return g->w[3] != htonl(INADDR_ALLHOSTS_GROUP);
	return (g->b[1] & 15) > 1 && !demi_ip_equal(g, &all_nodes);
}

static struct demi_ether_group *find(const struct demi_ether *e, const struct demi_ip *ip)
{
	for (uint32_t i = 0; i < DEMI_ETHER_GROUPS; i++) {
		if (e->groups[i].live && demi_ip_equal(&e->groups[i].ip, ip))
			return (struct demi_ether_group *)&e->groups[i];
	}
	return NULL;
}

static struct demi_ether_querier *querier(struct demi_ether *e, const struct demi_ip *g)
{
	return demi_ip_is4(g) ? &e->querier4 : &e->querier6;
}

bool demi_ether_joined(const struct demi_ether *e, const struct demi_ip *ip)
{
	const struct demi_ether_group *g = find(e, ip);

	return g && g->refs;
}

/* Tell of a change, now and once more. */
static void change(struct demi_ether *e, struct demi_ether_group *g)
{
	g->changes = reported(&g->ip) ? ROBUSTNESS : 0;
	g->due_ns = g->changes ? demi_ether_now(e) : DEMI_ETHER_NEVER;
	demi_ether_due(e, g->due_ns);
	if (!g->refs && !g->changes)
		g->live = false;
}

static struct demi_ether_group *free_slot(struct demi_ether *e)
{
	for (uint32_t i = 0; i < DEMI_ETHER_GROUPS; i++) {
		if (!e->groups[i].live)
			return &e->groups[i];
	}
	return NULL;
}

int demi_ether_join(struct demi_ether *e, const struct demi_ip *ip)
{
	struct demi_ether_group *g = find(e, ip);

	if (!g) {
		g = free_slot(e);
		if (!g)
			return -ENOBUFS;
		*g = (struct demi_ether_group){ .ip = *ip, .live = true, .answer_ns = DEMI_ETHER_NEVER };
	}
	if (!g->refs++)
		change(e, g);
	return 0;
}

void demi_ether_leave(struct demi_ether *e, const struct demi_ip *ip)
{
	struct demi_ether_group *g = find(e, ip);

	if (g && g->refs && !--g->refs) {
		g->answer_ns = DEMI_ETHER_NEVER;
		change(e, g);
	}
}

int demi_ether_group_op(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
			uint32_t ifindex, bool join)
{
	struct demi_ether *e = demi_ether_of(d);
	struct demi_ip ip = demi_ip_from_pktdev(family, group);

	if (family == AF_INET6 && !e->with6)
		return -ENODEV; /* as Linux without an interface for it */
	if (join)
		return demi_ether_join(e, &ip);
	demi_ether_leave(e, &ip);
	return 0;
}

/* ---- queries ---- */

static void answer(struct demi_ether *e, uint64_t *at_ns, uint64_t max_ns)
{
	uint64_t when_ns = demi_ether_now(e) + demi_ether_random(e, max_ns + 1);

	if (when_ns < *at_ns)
		*at_ns = when_ns;
	demi_ether_due(e, *at_ns);
}

void demi_ether_queried(struct demi_ether *e, struct demi_ether_querier *q, bool v4, uint8_t version,
			const struct demi_ip *group, uint64_t max_ns)
{
	bool general = demi_ip_is_any(group), newest = version == (v4 ? 3 : 2);

	if (!newest) { /* RFC 3376 7.2.1, RFC 3810 8.2.1 */
		q->version = version;
		q->old_until_ns = demi_ether_now(e) + OLD_QUERIER_NS;
		demi_ether_due(e, q->old_until_ns);
	}
	if (general && q->version == (v4 ? 3 : 2)) {
		answer(e, &q->answer_ns, max_ns);
		return;
	}
	for (struct demi_ether_group *g = e->groups; g < e->groups + DEMI_ETHER_GROUPS; g++) {
		if (g->refs && demi_ip_is4(&g->ip) == v4 && reported(&g->ip) &&
		    (general || demi_ip_equal(&g->ip, group)))
			answer(e, &g->answer_ns, max_ns);
	}
}

void demi_ether_group_heard(struct demi_ether *e, const struct demi_ip *group)
{
	struct demi_ether_group *g = find(e, group);
	struct demi_ether_querier *q = querier(e, group);

	/* RFC 2236 3, RFC 2710 4: one report is enough for the older ones */
	if (g && q->version != (demi_ip_is4(group) ? 3 : 2))
		g->answer_ns = DEMI_ETHER_NEVER;
}

/* ---- reports ---- */

static void report(struct demi_ether *e, const struct demi_ether_group *g, uint8_t type)
{
	bool v4 = demi_ip_is4(&g->ip), leave = type == TO_INCLUDE;
	bool newest = querier(e, &g->ip)->version == (v4 ? 3 : 2);

	if (v4 && newest)
		demi_ether_igmp_report3(e, type, &g->ip, 1);
	else if (v4)
		demi_ether_igmp_report2(e, &g->ip, leave);
	else if (newest)
		demi_ether_mld_report2(e, type, &g->ip, 1);
	else
		demi_ether_mld_report1(e, &g->ip, leave);
}

static void report_all(struct demi_ether *e, bool v4)
{
	struct demi_ip ips[DEMI_ETHER_GROUPS];
	uint32_t n = 0;

	for (uint32_t i = 0; i < DEMI_ETHER_GROUPS; i++) {
		const struct demi_ether_group *g = &e->groups[i];

		if (g->refs && demi_ip_is4(&g->ip) == v4 && reported(&g->ip))
			ips[n++] = g->ip;
	}
	if (n && v4)
		demi_ether_igmp_report3(e, MODE_IS_EXCLUDE, ips, n);
	else if (n)
		demi_ether_mld_report2(e, MODE_IS_EXCLUDE, ips, n);
}

static void querier_run(struct demi_ether *e, struct demi_ether_querier *q, bool v4, uint64_t now_ns)
{
	if (q->old_until_ns && q->old_until_ns <= now_ns) {
		q->old_until_ns = 0;
		q->version = v4 ? 3 : 2;
	}
	if (q->answer_ns <= now_ns) {
		q->answer_ns = DEMI_ETHER_NEVER;
		report_all(e, v4);
	}
	demi_ether_due(e, q->old_until_ns ? q->old_until_ns : DEMI_ETHER_NEVER);
	demi_ether_due(e, q->answer_ns);
}

static void group_run(struct demi_ether *e, struct demi_ether_group *g, uint64_t now_ns)
{
	if (g->changes && g->due_ns <= now_ns) {
		report(e, g, g->refs ? TO_EXCLUDE : TO_INCLUDE);
		g->due_ns = DEMI_ETHER_NEVER;
		if (--g->changes)
			g->due_ns = now_ns + demi_ether_random(e, UNSOLICITED_NS);
		if (!g->changes && !g->refs)
			g->live = false;
	}
	if (g->live && g->answer_ns <= now_ns) {
		g->answer_ns = DEMI_ETHER_NEVER;
		report(e, g, MODE_IS_EXCLUDE);
	}
	if (!g->live)
		return;
	demi_ether_due(e, g->changes ? g->due_ns : DEMI_ETHER_NEVER);
	demi_ether_due(e, g->answer_ns);
}

void demi_ether_group_run(struct demi_ether *e, uint64_t now_ns)
{
	querier_run(e, &e->querier4, true, now_ns);
	querier_run(e, &e->querier6, false, now_ns);
	for (struct demi_ether_group *g = e->groups; g < e->groups + DEMI_ETHER_GROUPS; g++) {
		if (g->live)
			group_run(e, g, now_ns);
	}
}
