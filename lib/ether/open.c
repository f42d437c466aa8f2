/* SPDX-License-Identifier: MIT */
/* Making a device from the configuration, and its end. */
#include "ether/dev.h"

#include "core/config.h"
#include "core/ctx.h"
#include "inet/siphash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* RFC 4861 10 */
#define REACHABLE_NS (30 * DEMI_ETHER_S)
#define RETRANS_NS DEMI_ETHER_S

#define MTU4_MIN 68 /* RFC 791 */
#define MTU6_MIN 1280 /* RFC 8200 5 */

uint64_t demi_ether_random(struct demi_ether *e, uint64_t below)
{
	uint64_t word = e->randoms++;

	return below ? demi_siphash(e->secret, &word, 1) % below : 0;
}

/* ---- reading ---- */

/* The next word of a list; NULL: there is none, or it is longer than any address. */
static const char *next_word(const char **list, char *word, size_t room)
{
	size_t n;

	*list += strspn(*list, ", \t");
	n = strcspn(*list, ", \t");
	if (!n || n >= room)
		return NULL;
	memcpy(word, *list, n);
	word[n] = '\0';
	*list += n;
	return word;
}

static bool parse_ip(const char *s, struct demi_ip *ip)
{
	uint32_t v4;

	if (inet_pton(AF_INET, s, &v4) == 1) {
		*ip = demi_ip_from4(v4);
		return true;
	}
	return inet_pton(AF_INET6, s, ip->b) == 1 && !demi_ip_is4(ip);
}

/* "address/bits"; without bits it is alone on its subnet. */
static bool parse_subnet(char *s, struct demi_ip *ip, uint8_t *plen)
{
	char *slash = strchr(s, '/'), *end;
	unsigned long n, most;

	if (slash)
		*slash = '\0';
	if (!parse_ip(s, ip))
		return false;
	most = demi_ip_is4(ip) ? 32 : 128;
	n = slash ? strtoul(slash + 1, &end, 10) : most;
	if (slash && (slash[1] < '0' || slash[1] > '9' || *end || n > most))
		return false;
	*plen = (uint8_t)n;
	return !demi_ip_is_any(ip) && !demi_ip_is_multicast(ip) && !demi_ip_is_broadcast(ip);
}

static int wrong(const char *what, const char *value)
{
	demi_warn("%s: \"%.64s\" is not right", what, value);
	return -EINVAL;
}

/* ---- addresses ---- */

/* RFC 4291 2.5.6, RFC 2464 4 */
static int add_linklocal(struct demi_ether *e)
{
	const uint8_t *m = e->low->mac;
	struct demi_ip ip = { .b = { 0xfe, 0x80, [8] = (uint8_t)(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3], m[4],
				     m[5] } };

	return demi_ether_addr_add(e, &ip, 64, DEMI_ETHER_NEVER, DEMI_ETHER_NEVER, false);
}

static int enable6(struct demi_ether *e)
{
	static const struct demi_ip all_nodes = { .b = { 0xff, 2, [15] = 1 } };
	int err;

	if (e->with6)
		return 0;
	if (e->mtu < MTU6_MIN) {
		demi_warn("inet: an MTU of %u is too small for IPv6", e->mtu);
		return -EINVAL;
	}
	e->with6 = true;
	err = demi_ether_join(e, &all_nodes);
	return err ? err : add_linklocal(e);
}

static int add_address(struct demi_ether *e, char *word)
{
	struct demi_ip ip;
	uint8_t plen;
	int err;

	if (!strcmp(word, "auto")) {
		e->with_ra = true;
		e->solicit_ns = demi_ether_now(e) + demi_ether_random(e, DEMI_ETHER_S);
		demi_ether_due(e, e->solicit_ns);
		return enable6(e);
	}
	if (!parse_subnet(word, &ip, &plen) || demi_ether_addr_find(e, &ip))
		return wrong("DEMI_INET_ADDR", word);
	if (!demi_ip_is4(&ip)) {
		err = enable6(e);
		if (err || demi_ip_is_linklocal(&ip)) /* that is the device's to choose */
			return err ? err : wrong("DEMI_INET_ADDR", word);
	}
	err = demi_ether_addr_add(e, &ip, plen, DEMI_ETHER_NEVER, DEMI_ETHER_NEVER, false);
	if (!err)
		err = demi_ether_prefix_set(e, &ip, plen, DEMI_ETHER_NEVER, false);
	return err == -ENOSPC ? wrong("DEMI_INET_ADDR", word) : err;
}

static int add_addresses(struct demi_ether *e, const char *list)
{
	static const uint32_t all_hosts = INADDR_ALLHOSTS_GROUP;
	struct demi_ip group = demi_ip_from4(htonl(all_hosts));
	char word[INET6_ADDRSTRLEN + 4];
	const char *w;
	int err;

	err = demi_ether_join(e, &group);
	while (!err && (w = next_word(&list, word, sizeof(word))))
		err = add_address(e, word);
	if (!err && *list)
		return wrong("DEMI_INET_ADDR", list);
	return err;
}

static int add_gateways(struct demi_ether *e, const char *list)
{
	char word[INET6_ADDRSTRLEN];
	const char *w;
	struct demi_ip ip, *to;

	while ((w = next_word(&list, word, sizeof(word)))) {
		if (!parse_ip(w, &ip))
			return wrong("DEMI_INET_GATEWAY", w);
		to = demi_ip_is4(&ip) ? &e->gateway4 : &e->gateway6;
		if (!demi_ip_is_any(to) || demi_ip_is_any(&ip) || demi_ip_is_multicast(&ip) ||
		    demi_ip_is_broadcast(&ip) || !demi_ether_is_onlink(e, &ip))
			return wrong("DEMI_INET_GATEWAY", w);
		*to = ip;
	}
	return *list ? wrong("DEMI_INET_GATEWAY", list) : 0;
}

/* ---- the device ---- */

static void destroy(struct demi_ether *e)
{
	demi_ether_reass_exit(e);
	demi_ether_ready_exit(e);
	demi_ether_ports_exit(e);
	if (e->neighs)
		demi_ether_neigh_exit(e);
	demi_ether_own_exit(e);
	free(e);
}

void demi_ether_destroy(struct demi_pktdev *d)
{
	struct demi_ether *e = demi_ether_of(d);

	/* first the device, then the memory that it may use */
	e->low->ops->destroy(e->low);
	destroy(e);
}

static void set_head(struct demi_ether *e, struct demi_ctx *ctx, uint32_t mtu)
{
	const struct demi_pktdev *low = e->low;

	e->d = *low;
	e->d.ops = &demi_ether_ops;
	e->d.ctx = ctx;
	e->d.caps = (low->caps | DEMI_PKTDEV_C_L3 | DEMI_PKTDEV_C_TX_FRAG) & ~(uint32_t)DEMI_PKTDEV_C_RX_IP_OK;
	e->d.mtu_bytes = UINT16_MAX;
	e->d.tx_headroom_bytes = (uint16_t)(low->tx_headroom_bytes + DEMI_ETHER_HLEN);
	e->d.route_gen = 1;
	e->d.deadline_ns = 0;
	e->mtu = e->mtu6 = mtu;
	memcpy(&e->mac, low->mac, sizeof(low->mac));
}

static int allocate(struct demi_ether *e)
{
	e->neighs = calloc(DEMI_ETHER_NEIGHS, sizeof(*e->neighs));
	return e->neighs ? 0 : -ENOMEM;
}

/* 0: the device's. */
static int choose_mtu(const struct demi_pktdev *l2, uint32_t wanted, uint32_t *mtu)
{
	*mtu = wanted ? wanted : l2->mtu_bytes;
	if (*mtu > l2->mtu_bytes || *mtu < MTU4_MIN || *mtu > UINT16_MAX) {
		demi_warn("inet: an MTU of %u is not possible: the device has %u", *mtu, l2->mtu_bytes);
		return -EINVAL;
	}
	return 0;
}

static struct demi_ether *make(const struct demi_ether_setup *s)
{
	struct demi_ether *e = aligned_alloc(64, (sizeof(*e) + 63) & ~(size_t)63);

	if (!e)
		return NULL;
	memset(e, 0, sizeof(*e));
	e->ready_end = &e->ready;
	demi_ether_expect_nobody(e);
	e->clock = s->clock;
	memcpy(e->secret, s->secret, sizeof(e->secret));
	e->dad = s->dad;
	e->reachable_ns = REACHABLE_NS;
	e->retrans_ns = RETRANS_NS;
	e->querier4 = (struct demi_ether_querier){ .version = 3, .answer_ns = DEMI_ETHER_NEVER };
	e->querier6 = (struct demi_ether_querier){ .version = 2, .answer_ns = DEMI_ETHER_NEVER };
	e->next_id = (uint32_t)demi_ether_random(e, 1ULL << 32);
	return e;
}

int demi_ether_create(struct demi_ctx *ctx, struct demi_pktdev *l2, const struct demi_ether_setup *s,
		      struct demi_pktdev **out)
{
	struct demi_ether *e;
	uint32_t mtu;
	int err;

	if (l2->caps & DEMI_PKTDEV_C_L3 || l2->mac[0] & 1)
		return -EOPNOTSUPP;
	err = choose_mtu(l2, s->mtu_bytes, &mtu);
	if (err)
		return err;
	if (!s->addrs || !s->addrs[strspn(s->addrs, ", \t")]) {
		demi_warn("inet: no address: DEMI_INET_ADDR=10.0.0.1/24,fd00::1/64 or auto");
		return -EINVAL;
	}
	e = make(s);
	if (!e)
		return -ENOMEM;
	e->low = l2;
	set_head(e, ctx, mtu);
	demi_pktdev_ops_fill(&demi_ether_ops);
	err = allocate(e);
	if (!err)
		err = add_addresses(e, s->addrs);
	if (!err && s->gateways)
		err = add_gateways(e, s->gateways);
	if (err) {
		destroy(e);
		return err;
	}
	*out = &e->d;
	return 0;
}

/* ---- for real ---- */

static bool undecided(const struct demi_ether *e)
{
	for (uint32_t i = 0; i < DEMI_ETHER_ADDRS; i++) {
		if (e->addrs[i].state == DEMI_ETHER_ADDR_TENTATIVE)
			return true;
	}
	return false;
}

/* DEMI_INET_DAD=on: nobody uses an address before everybody was asked. Other packets that come meanwhile are lost. */
static void wait_for_addresses(struct demi_ether *e)
{
	const struct timespec ms = { 0, 1000000 };
	struct demi_pkt pkts[DEMI_PKT_RX_SEGS_MAX];
	struct demi_pkt_done done[1];
	int n;

	while (undecided(e)) {
		n = e->d.ops->rx(&e->d, pkts, DEMI_PKT_RX_SEGS_MAX);
		if (n < 0)
			return;
		demi_ether_recycle(e, pkts, (uint32_t)n);
		if (e->d.ops->tx_done(&e->d, done, 1) < 0)
			return;
		e->d.ops->run(&e->d, demi_ether_now(e));
		nanosleep(&ms, NULL);
	}
}

int demi_ether_open(struct demi_ctx *ctx, struct demi_pktdev *l2, struct demi_pktdev **out)
{
	struct demi_ether_setup s = {
		.addrs = demi_config.inet_addr,
		.gateways = demi_config.inet_gateway,
		.mtu_bytes = demi_config.inet_mtu,
		.dad = demi_config.inet_dad,
		.clock = demi_now_ns,
	};
	int err;

	if (getrandom(s.secret, sizeof(s.secret), 0) != sizeof(s.secret))
		return -EIO;
	err = demi_ether_create(ctx, l2, &s, out);
	if (!err && s.dad == DEMI_INET_DAD_ON)
		wait_for_addresses(demi_ether_of(*out));
	return err;
}
