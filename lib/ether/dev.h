/* SPDX-License-Identifier: MIT */
#ifndef DEMI_ETHER_DEV_H
#define DEMI_ETHER_DEV_H

/*
 * The inside of lib/ether. Addresses are the stack's struct demi_ip, IPv4 mapped.
 *
 *	ether.c		the device's table; the expected frame in, the expected packet out
 *	input.c		every other frame		output.c	every other packet, and this layer's own
 *	addr.c		own addresses, DAD (5227, 4862)	route.c		prefixes, routers, path MTUs
 *	neigh.c		neighbours (4861 7.3)		arp.c nd.c	how they are asked and answered
 *	ra.c		router advertisements		group.c		multicast groups
 *	igmp.c mld.c	their reports			ports.c		ports, flows
 *	frag.c reass.c	fragments out and in		icmp.c		echoes, errors
 *	loop.c		packets to this host		open.c		configuration, making, ending
 *
 * Time: `clock` is read by what is rare; the expected frame and packet need none. Each part that waits for a time
 * tells demi_ether_due(), and its _run() is called when any time that was told has come.
 *
 * Whoever is on the link can make grow: neighbours (evicted), packets being put together (evicted), routers, prefixes
 * and addresses of advertisements, path MTUs (tables of fixed size). Nothing else.
 */

#include "core/config.h"
#include "ether/ether.h"
#include "inet/ip.h"
#include "inet/wire.h"

#define DEMI_ETHER_MS 1000000ULL
#define DEMI_ETHER_S (1000 * DEMI_ETHER_MS)
#define DEMI_ETHER_NEVER UINT64_MAX

#define DEMI_ETHER_TYPE_IP4 0x0800
#define DEMI_ETHER_TYPE_ARP 0x0806
#define DEMI_ETHER_TYPE_IP6 0x86dd

struct demi_ether_hdr {
	uint8_t dst[6], src[6];
	uint16_t type;
} DEMI_WIRE;

/* ---- addresses ---- */

#define DEMI_ETHER_ADDRS 16

enum demi_ether_addr_state {
	DEMI_ETHER_ADDR_FREE,
	DEMI_ETHER_ADDR_TENTATIVE,
	DEMI_ETHER_ADDR_VALID,
	DEMI_ETHER_ADDR_DUPLICATE,
};

struct demi_ether_addr {
	struct demi_ip ip;
	uint8_t plen; /* of the IPv4 subnet, for its broadcast address */
	uint8_t state;
	uint8_t probes, announces; /* sent */
	bool advertised; /* of a router advertisement */
	uint64_t due_ns; /* the next probe or announcement */
	uint64_t preferred_ns, valid_ns; /* until */
	uint64_t defended_ns; /* RFC 5227 2.4: when last, 0: never */
};

/* ---- routes ---- */

#define DEMI_ETHER_PREFIXES 16
#define DEMI_ETHER_ROUTERS 4
#define DEMI_ETHER_PMTUS 32

struct demi_ether_prefix {
	struct demi_ip ip;
	uint8_t bits; /* of the mapped form: IPv4's 96 more */
	uint64_t until_ns; /* 0: free */
	bool advertised;
};

struct demi_ether_router {
	struct demi_ip ip;
	uint64_t until_ns; /* 0: free */
	int8_t preference; /* RFC 4191: -1, 0, 1 */
	bool failed; /* it did not answer; others are taken first */
};

struct demi_ether_pmtu {
	struct demi_ip dst;
	uint32_t mtu; /* 0: free */
	uint64_t until_ns;
};

enum demi_ether_hop_kind {
	DEMI_ETHER_HOP_NEIGH, /* `ip` has the address that must be resolved */
	DEMI_ETHER_HOP_MAC, /* `mac`: multicast, broadcast */
	DEMI_ETHER_HOP_SELF,
};

struct demi_ether_hop {
	enum demi_ether_hop_kind kind;
	struct demi_ip ip;
	uint8_t mac[6];
};

/* ---- neighbours ---- */

#define DEMI_ETHER_NEIGHS 512
#define DEMI_ETHER_NEIGH_BUCKETS 256
#define DEMI_ETHER_NEIGH_HELD 16 /* packets that wait for one neighbour */

/* RFC 4861 7.3.2 */
enum demi_ether_neigh_state {
	DEMI_ETHER_NEIGH_FREE,
	DEMI_ETHER_NEIGH_INCOMPLETE,
	DEMI_ETHER_NEIGH_REACHABLE,
	DEMI_ETHER_NEIGH_STALE,
	DEMI_ETHER_NEIGH_DELAY,
	DEMI_ETHER_NEIGH_PROBE,
};

/* A packet that waits for its neighbour. Its bytes are the sender's. */
struct demi_ether_held {
	struct demi_ether_held *next;
	uint32_t n;
	struct demi_pkt pkts[];
};

struct demi_ether_neigh {
	struct demi_ip ip;
	uint8_t mac[6];
	uint8_t state, tries;
	bool router; /* RFC 4861 7.2.5: its last IsRouter */
	uint16_t next; /* in its bucket; index + 1 */
	uint16_t held;
	uint64_t due_ns;
	uint64_t used; /* e->uses when it was asked for last: who has to go */
	struct demi_ether_held *head, *tail;
};

/* ---- packets being put together ---- */

struct demi_ether_own;
struct demi_ether_reass;

/* ---- groups ---- */

#define DEMI_ETHER_GROUPS 64

struct demi_ether_group {
	struct demi_ip ip;
	uint32_t refs; /* 0: free, or left with reports to be sent */
	uint8_t changes; /* reports of the last join or leave that are still to be sent */
	uint64_t due_ns; /* the next of them */
	uint64_t answer_ns; /* a query is answered then; NEVER */
	bool live; /* in use at all */
};

/* How the querier of one family wants to be answered (RFC 3376 7.2, RFC 3810 8.2). */
struct demi_ether_querier {
	uint8_t version; /* IGMP 2, 3; MLD 1, 2 */
	uint64_t old_until_ns; /* an older querier was there; then back to the newest version */
	uint64_t answer_ns; /* of a general query to the newest version; NEVER */
};

/* ---- ports ---- */

#define DEMI_ETHER_PORT_BUCKETS 256

struct demi_ether_port {
	struct demi_ether_port *next; /* in its bucket, by port */
	struct demi_pktdev_port p;
	struct demi_ip ip;
	uint32_t flows; /* to anybody: without one nothing is received */
};

/* ---- the device ---- */

/* What was found out for one destination: the frame's header. */
struct demi_ether_hint4 {
	uint64_t key; /* DEMI_ETHER_HINT4 | the destination; 0: nothing */
	uint8_t hdr[DEMI_ETHER_HLEN];
	uint8_t unused[10];
};

struct demi_ether_hint6 {
	struct demi_ip dst;
	uint8_t hdr[DEMI_ETHER_HLEN];
	bool valid;
	uint8_t unused[17];
};

#define DEMI_ETHER_PAIRS4 256
#define DEMI_ETHER_HINT4 (1ULL << 32)
#define DEMI_ETHER_HINTS4 64
#define DEMI_ETHER_HINTS6 16

/* Packets that are done, or will be by this layer's doing: each that is taken without being passed on has a place. */
#define DEMI_ETHER_DONES 512

/* A packet that is cut: how much of it has left. */
struct demi_ether_job {
	struct demi_pkt pkts[DEMI_PKT_RX_SEGS_MAX];
	uint32_t n; /* entries; 0: there is none */
	uint8_t mac[6];
	uint32_t hlen; /* of its IP header */
	uint32_t len; /* behind that */
	uint32_t at; /* sent of `len` */
	uint32_t step; /* of `len` in a fragment */
	uint32_t id;
	uint16_t sum; /* the transport's checksum, for csum_at */
	uint32_t csum_at; /* behind the IP header; 0: it is right already */
};

/* A packet for the stack that does not come straight from the device. */
struct demi_ether_ready {
	struct demi_ether_ready *next;
	uint32_t n;
	struct demi_pkt pkts[];
};

#define DEMI_ETHER_READY_MAX 256 /* packets */
#define DEMI_ETHER_LOOP_MTU 65535

struct demi_ether {
	struct demi_pktdev d; /* first: what the stack sees */
	struct demi_pktdev *low;

	/* receiving the expected frame */
	uint64_t mac; /* of the device, in memory order */
	bool slow; /* there is something in `ready` or `job` */
	bool kick; /* something was given to the device outside of tx() */
	struct demi_ip rx6; /* a local address: the last that a packet came to */
	uint64_t own6; /* own addresses, by their last 6 bits: packets from such are looked at closely */
	uint64_t pairs4[DEMI_ETHER_PAIRS4]; /* source and destination of packets that were looked at closely */
	/* UDP ports that are open for every address, a bit each, by the port as in the header */
	uint64_t open4[65536 / 64], open6[65536 / 64];

	/* sending the expected packet */
	uint32_t mtu; /* the link's */
	uint32_t own_flying; /* frames with a cookie of bit 0 that the device has */
	uint32_t ndone, nheld; /* places taken in `done`: what is in it, and what will be */
	struct demi_ether_hint4 hint4[DEMI_ETHER_HINTS4] __attribute__((aligned(32)));
	struct demi_ether_hint6 hint6[DEMI_ETHER_HINTS6];

	struct demi_pkt_done done[DEMI_ETHER_DONES];
	struct demi_ether_job job;
	struct demi_ether_ready *ready, **ready_end;
	uint32_t nready;

	uint64_t (*clock)(void);
	uint64_t secret[2], randoms;
	enum demi_inet_dad dad;
	bool with6; /* IPv6 at all */
	bool with_ra; /* router advertisements are believed */
	uint64_t reachable_ns, retrans_ns; /* RFC 4861 6.3.2, for IPv6 */
	uint32_t mtu6; /* of an advertisement; at most mtu */

	struct demi_ether_addr addrs[DEMI_ETHER_ADDRS];
	struct demi_ether_prefix prefixes[DEMI_ETHER_PREFIXES];
	struct demi_ether_router routers[DEMI_ETHER_ROUTERS];
	struct demi_ip gateway4, gateway6; /* configured; any: none */
	struct demi_ether_pmtu pmtus[DEMI_ETHER_PMTUS];
	uint8_t solicits; /* RFC 4861 6.3.7: router solicitations sent */
	uint64_t solicit_ns;

	struct demi_ether_neigh *neighs;
	uint16_t neigh_buckets[DEMI_ETHER_NEIGH_BUCKETS];
	uint64_t uses;

	struct demi_ether_group groups[DEMI_ETHER_GROUPS];
	struct demi_ether_querier querier4, querier6;

	struct demi_ether_reass *reass; /* oldest first */
	uint32_t reass_bytes;

	struct demi_ether_own *own; /* this layer's own packets */

	struct demi_ether_port *ports[DEMI_ETHER_PORT_BUCKETS];
	uint64_t numbers[2][65536 / 64]; /* ports of UDP, of TCP that somebody has, a bit each */
	uint32_t next_handle;
	uint32_t next_id; /* RFC 7739: of IPv6 fragments, from a random start */

	uint64_t err_tokens, err_ns; /* ICMP errors that may be sent; since when */
	uint64_t rx_dropped, rx_errors, tx_dropped;
};

static inline struct demi_ether *demi_ether_of(struct demi_pktdev *d)
{
	return (struct demi_ether *)d; /* d is the first member */
}

/* ---- open.c ---- */

struct demi_ether_setup {
	const char *addrs; /* "10.0.0.1/24,fd00::1/64,auto" */
	const char *gateways; /* "10.0.0.254,fe80::1" or NULL */
	uint32_t mtu_bytes; /* 0: the device's */
	enum demi_inet_dad dad;
	uint64_t secret[2];
	uint64_t (*clock)(void);
};

int demi_ether_create(struct demi_ctx *ctx, struct demi_pktdev *l2, const struct demi_ether_setup *setup,
		      struct demi_pktdev **out);

void demi_ether_destroy(struct demi_pktdev *d);

/* ---- time ---- */

static inline uint64_t demi_ether_now(struct demi_ether *e)
{
	return e->clock();
}

/* Something waits for @at_ns. */
static inline void demi_ether_due(struct demi_ether *e, uint64_t at_ns)
{
	if (at_ns != DEMI_ETHER_NEVER && (!e->d.deadline_ns || at_ns < e->d.deadline_ns))
		e->d.deadline_ns = at_ns;
}

/* From the secret: 0 to @below - 1. */
uint64_t demi_ether_random(struct demi_ether *e, uint64_t below);

/* ---- ether.c ---- */

extern struct demi_pktdev_ops demi_ether_ops;

/* Packets from @src to this host's @dst, both looked at closely, are to be expected; until addresses change. */
void demi_ether_expect(struct demi_ether *e, const struct demi_ip *src, const struct demi_ip *dst);
void demi_ether_expect_nobody(struct demi_ether *e);

/* Headers that were found out hold no more: an address, a route or a neighbour has changed. */
void demi_ether_hints_forget(struct demi_ether *e);

/* The stack must ask for its routes again. */
static inline void demi_ether_routes_changed(struct demi_ether *e)
{
	demi_ether_hints_forget(e);
	e->d.route_gen++;
}

/* Give received segments back. */
void demi_ether_recycle(struct demi_ether *e, const struct demi_pkt *p, uint32_t segs);

/* ---- input.c ---- */

/* What is known of a received packet while it is looked at. */
struct demi_ether_in {
	struct demi_pkt *p; /* at the IP header */
	uint32_t segs, len; /* of all segments */
	uint8_t from[6]; /* the frame's sender */
	bool mcast; /* the frame was to a group or to all */
	bool joined; /* it has been put together: no fragment any more */
	struct demi_ip src, dst;
	uint32_t off; /* of what is behind the IP header(s) */
	uint32_t end; /* where the packet ends, by its header */
	uint8_t proto;
};

/* True: the packet at @p, now from its IP header on, is the stack's. False: it is nobody's any more. */
bool demi_ether_frame(struct demi_ether *e, struct demi_pkt *p, uint32_t segs);
/* The same without the frame, for a packet that was put together. */
bool demi_ether_packet(struct demi_ether *e, struct demi_ether_in *in);

/* ---- output.c ---- */

/* A packet of the stack's that nothing is known about. 0: taken; -EAGAIN: no room; -ENODEV. */
int demi_ether_output(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, uint32_t len);

/* To a known place, cut if it has to be: 0, -EAGAIN, -ENODEV. */
int demi_ether_deliver(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, const uint8_t mac[6]);
/* The same for a packet that is a frame's. */
int demi_ether_transmit(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, const uint8_t mac[6]);

/* A packet that was taken will go no further. */
void demi_ether_done(struct demi_ether *e, uint64_t cookie, int err, bool copied);

static inline bool demi_ether_done_room(const struct demi_ether *e)
{
	return e->ndone + e->nheld < DEMI_ETHER_DONES;
}

/* This layer's own packets: memory with room for the frame's header in front of what is returned. NULL: none. */
uint8_t *demi_ether_alloc(struct demi_ether *e, uint32_t len);
/* Send it, or lose it. @mac NULL: by route. Both take it over. */
void demi_ether_send(struct demi_ether *e, uint8_t *ip, uint32_t len, const uint8_t *mac);
void demi_ether_send_arp(struct demi_ether *e, uint8_t *arp, uint32_t len, const uint8_t mac[6]);
uint64_t demi_ether_own_cookie(const struct demi_ether *e, const uint8_t *ip);
/* It was given up, or is back from the device. */
void demi_ether_own_free(struct demi_ether *e, uint64_t cookie);
void demi_ether_own_exit(struct demi_ether *e);

/* Headers for those. */
void demi_ether_put_ip4(uint8_t *to, uint32_t total, uint8_t proto, uint8_t ttl, const struct demi_ip *src,
			const struct demi_ip *dst, const uint8_t *options, uint32_t olen);
void demi_ether_put_ip6(uint8_t *to, uint32_t payload, uint8_t next, uint8_t hops, const struct demi_ip *src,
			const struct demi_ip *dst);
/* The checksum of an ICMPv6 message of @len bytes at @icmp, in place. */
void demi_ether_sum_icmp6(uint8_t *icmp, uint32_t len, const struct demi_ip *src, const struct demi_ip *dst);

/* ---- addr.c ---- */

int demi_ether_addr_add(struct demi_ether *e, const struct demi_ip *ip, uint8_t plen, uint64_t preferred_ns,
			uint64_t valid_ns, bool advertised);
/* demi_ether_expect() for IPv6 */
void demi_ether_expect6(struct demi_ether *e, const struct demi_ip *dst);
struct demi_ether_addr *demi_ether_addr_find(struct demi_ether *e, const struct demi_ip *ip);
/* Is this one of the addresses that this host has and uses? */
bool demi_ether_is_local(struct demi_ether *e, const struct demi_ip *ip);
bool demi_ether_is_subnet_broadcast(const struct demi_ether *e, uint32_t v4);
/* The source for packets to @dst; NULL: none. RFC 6724 5. */
const struct demi_ether_addr *demi_ether_addr_select(const struct demi_ether *e, const struct demi_ip *dst);
const struct demi_ip *demi_ether_linklocal(const struct demi_ether *e);
/* Somebody else shows that it has @ip. */
void demi_ether_addr_conflict(struct demi_ether *e, struct demi_ether_addr *a);
void demi_ether_addr_run(struct demi_ether *e, uint64_t now_ns);
bool demi_ether_addr_usable(const struct demi_ether *e, const struct demi_ether_addr *a);
void demi_ether_addr_expire(struct demi_ether *e, struct demi_ether_addr *a);

/* ---- route.c ---- */

/* @ip gives the first @plen bits, IPv4's counted as 32. */
int demi_ether_prefix_set(struct demi_ether *e, const struct demi_ip *ip, uint8_t plen, uint64_t until_ns,
			  bool advertised);
void demi_ether_router_set(struct demi_ether *e, const struct demi_ip *ip, uint64_t until_ns, int preference);
void demi_ether_router_failed(struct demi_ether *e, const struct demi_ip *ip);
bool demi_ether_is_router(const struct demi_ether *e, const struct demi_ip *ip);
/* How to reach @dst: 0 or -ENETUNREACH. */
int demi_ether_hop(struct demi_ether *e, const struct demi_ip *dst, struct demi_ether_hop *hop);
bool demi_ether_is_onlink(const struct demi_ether *e, const struct demi_ip *ip);
uint32_t demi_ether_path_mtu(struct demi_ether *e, const struct demi_ip *dst);
void demi_ether_path_mtu_set(struct demi_ether *e, const struct demi_ip *dst, uint32_t mtu);
int demi_ether_route(struct demi_pktdev *d, struct demi_pktdev_route *r);
void demi_ether_route_run(struct demi_ether *e, uint64_t now_ns);
bool demi_ether_prefix_match(const struct demi_ip *a, const struct demi_ip *b, uint32_t bits);

/* ---- neigh.c ---- */

/*
 * Where frames to the neighbour go, or NULL: the packet is held then (0), or there is no room (*err -EAGAIN). *sure:
 * the answer holds until demi_ether_hints_forget().
 */
const uint8_t *demi_ether_neigh_resolve(struct demi_ether *e, const struct demi_ip *ip, const struct demi_pkt *pkts,
					uint32_t segs, bool *sure, int *err);
struct demi_ether_neigh *demi_ether_neigh_find(struct demi_ether *e, const struct demi_ip *ip);

enum demi_ether_neigh_news {
	DEMI_ETHER_NEWS_SOLICITED = 1 << 0, /* it answers what was asked */
	DEMI_ETHER_NEWS_OVERRIDE = 1 << 1, /* a new address replaces the old one */
	DEMI_ETHER_NEWS_NO_MAC = 1 << 2, /* says nothing about the address */
};
/* A neighbour that is known, or asked for, says something of itself. */
void demi_ether_neigh_heard(struct demi_ether *e, struct demi_ether_neigh *n, const uint8_t mac[6], uint32_t news);
void demi_ether_neigh_run(struct demi_ether *e, uint64_t now_ns);
void demi_ether_neigh_exit(struct demi_ether *e);

/* ---- arp.c, nd.c ---- */

void demi_ether_arp_input(struct demi_ether *e, const struct demi_pkt *p);
/* @src any: a probe (RFC 5227 1.1). @mac NULL: to all. */
void demi_ether_arp_request(struct demi_ether *e, const struct demi_ip *src, const struct demi_ip *target,
			    const uint8_t *mac);

void demi_ether_nd_input(struct demi_ether *e, const struct demi_ether_in *in);
void demi_ether_nd_solicit(struct demi_ether *e, const struct demi_ip *src, const struct demi_ip *target,
			   const uint8_t *mac);
struct demi_ip demi_ether_solicited_node(const struct demi_ip *ip);
/* The first option of @type among @len bytes of them; *olen its length in bytes. NULL: none, or they are malformed. */
const uint8_t *demi_ether_nd_option(const uint8_t *o, uint32_t len, uint8_t type, uint32_t *olen);
bool demi_ether_nd_options_ok(const uint8_t *o, uint32_t len);

/* ---- ra.c ---- */

void demi_ether_ra_input(struct demi_ether *e, const struct demi_ether_in *in, const uint8_t *m, uint32_t len);
void demi_ether_ra_run(struct demi_ether *e, uint64_t now_ns);

/* ---- group.c, igmp.c, mld.c ---- */

int demi_ether_join(struct demi_ether *e, const struct demi_ip *group);
void demi_ether_leave(struct demi_ether *e, const struct demi_ip *group);
bool demi_ether_joined(const struct demi_ether *e, const struct demi_ip *group);
int demi_ether_group_op(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
			uint32_t ifindex, bool join);
/* A query: of @group (any: all), to be answered within @max_ns. */
void demi_ether_queried(struct demi_ether *e, struct demi_ether_querier *q, bool v4, uint8_t version,
			const struct demi_ip *group, uint64_t max_ns);
/* Another host has reported @group to an old querier. */
void demi_ether_group_heard(struct demi_ether *e, const struct demi_ip *group);
void demi_ether_group_run(struct demi_ether *e, uint64_t now_ns);

void demi_ether_igmp_input(struct demi_ether *e, const struct demi_ether_in *in);
void demi_ether_mld_input(struct demi_ether *e, const struct demi_ether_in *in);
/* Reports. @groups: @n of them; @type: the record type of IGMPv3 and MLDv2. */
void demi_ether_igmp_report3(struct demi_ether *e, uint8_t type, const struct demi_ip *groups, uint32_t n);
void demi_ether_igmp_report2(struct demi_ether *e, const struct demi_ip *group, bool leave);
void demi_ether_mld_report2(struct demi_ether *e, uint8_t type, const struct demi_ip *groups, uint32_t n);
void demi_ether_mld_report1(struct demi_ether *e, const struct demi_ip *group, bool leave);

/* ---- frag.c, reass.c ---- */

/* Cut a packet; as far as there is room now, the rest when there is. 0: taken; -EAGAIN. */
int demi_ether_cut(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, uint32_t len, uint32_t mtu,
		   const uint8_t mac[6]);
/* Go on with it. False: there is still some left. */
bool demi_ether_cut_more(struct demi_ether *e);

/* A fragment: copied. If that makes a packet whole it goes to the stack by loop.c. Segments remain the caller's. */
void demi_ether_reass4(struct demi_ether *e, const struct demi_ether_in *in);
/* @at: where the number of the fragment header stands. */
void demi_ether_reass6(struct demi_ether *e, const struct demi_ether_in *in, uint32_t at);
void demi_ether_reass_run(struct demi_ether *e, uint64_t now_ns);
void demi_ether_reass_exit(struct demi_ether *e);

/* ---- icmp.c ---- */

/* True: an error, which the stack wants to see. */
bool demi_ether_icmp4_input(struct demi_ether *e, struct demi_ether_in *in);
bool demi_ether_icmp6_input(struct demi_ether *e, struct demi_ether_in *in);
/* RFC 1122 3.2.2, RFC 4443 2.4: about a received packet. @info: the pointer of a parameter problem. */
void demi_ether_icmp_error(struct demi_ether *e, const struct demi_ether_in *in, uint8_t type, uint8_t code,
			   uint32_t info);

/* ---- loop.c ---- */

/* A copy of a packet for this host's own stack. -ENOMEM, -ENOBUFS. */
int demi_ether_loop(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs);
struct demi_ether_ready *demi_ether_ready_alloc(uint32_t n);
void demi_ether_ready_add(struct demi_ether *e, struct demi_ether_ready *r);
/* Entries written. */
uint32_t demi_ether_ready_take(struct demi_ether *e, struct demi_pkt *pkts, uint32_t max);
void demi_ether_ready_exit(struct demi_ether *e);

/* ---- ports.c ---- */

int demi_ether_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p);
void demi_ether_port_release(struct demi_pktdev *d, uint32_t handle);
int demi_ether_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow);
void demi_ether_flow_del(struct demi_pktdev *d, uint32_t flow);
/* Does anybody receive on it? @port as in the header. */
bool demi_ether_port_open(const struct demi_ether *e, uint8_t proto, const struct demi_ip *dst, uint16_t port);
void demi_ether_ports_exit(struct demi_ether *e);

#endif /* DEMI_ETHER_DEV_H */
