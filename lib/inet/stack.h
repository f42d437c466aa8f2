/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_STACK_H
#define DEMI_INET_STACK_H

/*
 * The network stack of one context. It is deterministic: packets, calls, allocation failures and secrets go in,
 * packets and completions come out. Who drives it (backend.c; tests) moves the packets:
 *
 *	demi_inet_input()	a burst that a device has received; `recycle` then holds buffers to give back
 *	demi_inet_output()	packets for a device's tx(); demi_inet_taken() says how many of them it took
 *	demi_inet_done()	what a device's tx_done() gave
 *	demi_inet_run()		with the time in now_ns: after a burst or calls, and at demi_inet_deadline()
 *
 * Of the device the stack itself calls only buf_alloc and the control entries (port.c). It reads no clock, and orders
 * nothing by address: the same trace gives the same output.
 */

#include "core/clock.h"
#include "inet/counters.h"
#include "inet/demux.h"
#include "inet/ip.h"
#include "pktdev/pktdev.h"

struct demi_ctx;
struct demi_inet_tx;
struct demi_tcp_stack;

/* Entries of one burst, in and out. */
#define DEMI_INET_BURST 64

struct demi_inet_secrets {
	uint64_t demux[6];
	uint64_t tcp[2];
	uint64_t id_key[2];
	uint16_t ids[256];
};

/* A list through sockets; an element that is on none has next == NULL. */
struct demi_inet_link {
	struct demi_inet_link *next, *prev;
};

/* Packets to send, oldest first. */
struct demi_inet_txlist {
	struct demi_inet_tx *head, *tail;
};

/*
 * Where the last packets between two ports went, IPv4 only: exact addresses and ports, so that no more specific socket
 * is passed over; all of it is forgotten whenever a socket comes, goes or changes what it takes.
 */
#define DEMI_INET_HINTS 64
struct demi_inet_hint {
	uint64_t addrs; /* source and destination, as in the header */
	uint64_t first; /* the header's first 8 bytes, and then 4, of a packet that came the short way; or 0 */
	uint32_t second;
	uint32_t ports;
	struct demi_inet_sock *s; /* NULL: nothing */
};

_Static_assert(sizeof(struct demi_inet_hint) == 32, "a power of two is found faster");

struct demi_inet {
	struct demi_ctx *ctx;
	struct demi_pktdev *dev; /* NULL once it is destroyed */
	uint32_t caps; /* the device's */
	uint32_t zc_min_bytes; /* UINT32_MAX: never */
	int dead; /* the device is gone: the errno of everything from now on */

	struct demi_inet_txlist txq; /* not taken by the device yet */
	uint32_t flying; /* packets that are taken, not done; */
	uint32_t awaited; /* of them, those that somebody waits for */
	struct demi_inet_tx *tx_cache; /* of the usual size */
	struct demi_inet_tx *tx_all; /* every one that exists */
	uint32_t tx_cached;
	uint64_t versions; /* that were given out: demi_inet_tx.version */

	uint64_t now_ns; /* the time: set before each burst, and before demi_inet_run() */
	uint64_t due_ns; /* nothing wants demi_inet_run() before, unless demi_inet_wants_run() says so */
	struct demi_clock *clock; /* of the context that polls it; or NULL: now_ns is always right */
	bool timed; /* now_ns is this burst's; cleared before it by who sets clock */
	/* The device's tx(), for a packet that nothing waits in front of; or one that takes none: to the queue then. */
	int (*tx)(struct demi_pktdev *dev, const struct demi_pkt *pkts, uint32_t n);
	bool tcp_last; /* resets have been sent by demi_tcp_last() */
	bool kick; /* it has taken something since the last kick() */
	struct demi_demux udp;
	struct demi_inet_hint hints[DEMI_INET_HINTS];
	struct demi_inet_hint *last_hint; /* the last one that was good */
	struct demi_tcp_stack *tcp;
	uint32_t nrecycle;
	void *recycle[DEMI_INET_BURST]; /* received buffers that nobody needs */

	uint32_t route_gen; /* what is kept about routes is of this generation or stale */
	uint64_t id_key[2];
	uint16_t ids[256]; /* next IPv4 identification, by a keyed hash of the destination (RFC 6864, RFC 7739) */

	struct demi_inet_link socks; /* all, by demi_inet_sock.all */
	uint32_t draining; /* closed ones with packets that are not done */
	struct demi_inet_counters count;
};

int demi_inet_init(struct demi_inet *in, struct demi_ctx *ctx, struct demi_pktdev *dev,
		   const struct demi_inet_secrets *secrets);

/* The device has been destroyed (in->dev is NULL). All queues end. */
void demi_inet_exit(struct demi_inet *in);

/* @n entries, whole packets. Every buffer is then somebody's or in in->recycle. At most DEMI_INET_BURST. */
void demi_inet_input(struct demi_inet *in, struct demi_pkt *pkts, uint32_t n);

/* Whole packets from the front of the queue; @max >= DEMI_INET_TX_SEGS. How many entries. They stay in the queue. */
uint32_t demi_inet_output(const struct demi_inet *in, struct demi_pkt *pkts, uint32_t max);
void demi_inet_taken(struct demi_inet *in, uint32_t entries);
void demi_inet_done(struct demi_inet *in, const struct demi_pkt_done *done, uint32_t n);

/* Does anything wait for demi_inet_run(), whatever the time? */
bool demi_inet_wants_run(const struct demi_inet *in);
void demi_inet_run(struct demi_inet *in);
uint64_t demi_inet_deadline(const struct demi_inet *in);

/* The device is gone for good: pops fail and everything after this does with @err (positive). */
void demi_inet_device_gone(struct demi_inet *in, int err);

/* Every route that is kept must be asked for again. */
static inline void demi_inet_routes_changed(struct demi_inet *in)
{
	in->route_gen++;
}

/* ---- among the stack's files ---- */

/* A received packet behind its IP header. */
struct demi_inet_rxpkt {
	struct demi_pkt *p;
	uint32_t segs; /* entries at p */
	uint32_t off; /* of the transport header; it is in the first segment, as far as it goes */
	uint32_t len; /* of transport header and payload */
	uint8_t proto;
	struct demi_demux_key
		key; /* local: the destination, remote: the source; the ports are the transport's to fill in */
};

static inline struct demi_inet_hint *demi_inet_hint(struct demi_inet *in, uint64_t addrs, uint32_t ports)
{
	return &in->hints[(addrs ^ ports) * 0x9e3779b97f4a7c15 >> 58];
}

_Static_assert(DEMI_INET_HINTS == 1 << (64 - 58), "as many as the shift leaves");

void demi_inet_hints_forget(struct demi_inet *in);

/* Each takes the segments over. @len is the packet's, all segments together. */
void demi_ip4_input(struct demi_inet *in, struct demi_pkt *p, uint32_t segs, uint32_t len);
void demi_ip6_input(struct demi_inet *in, struct demi_pkt *p, uint32_t segs, uint32_t len);
void demi_udp_input(struct demi_inet *in, struct demi_inet_rxpkt *r);
void demi_tcp_input(struct demi_inet *in, struct demi_inet_rxpkt *r);
/* An ICMP error (a positive errno) about a segment that was sent with @seq; @mtu with EMSGSIZE, 0: not said. */
void demi_tcp_icmp(struct demi_inet *in, const struct demi_demux_key *k, uint32_t seq, int err, uint32_t mtu);
void demi_icmp4_input(struct demi_inet *in, const struct demi_inet_rxpkt *r);
void demi_icmp6_input(struct demi_inet *in, const struct demi_inet_rxpkt *r);

/* The identification of an IPv4 packet that may be cut (RFC 6864): different for as long as possible. */
uint16_t demi_inet_next_id(struct demi_inet *in, const struct demi_ip *src, const struct demi_ip *dst);

/* Where the next packet like this one goes, IPv4 without options. */
static inline void demi_inet_hint_set(struct demi_inet *in, const struct demi_inet_rxpkt *r, struct demi_inet_sock *s)
{
	const struct demi_demux_key *k = &r->key;
	uint64_t addrs = k->remote.w[3] | (uint64_t)k->local.w[3] << 32;
	uint32_t ports = k->rport | (uint32_t)k->lport << 16;

	if (demi_ip_is4(&k->local))
		*demi_inet_hint(in, addrs, ports) = (struct demi_inet_hint){ .addrs = addrs, .ports = ports, .s = s };
}

/* The time of this burst is needed. */
static inline void demi_inet_read_clock(struct demi_inet *in)
{
	if (in->timed)
		return;
	in->timed = true;
	in->now_ns = demi_clock_ns(in->clock);
}

/* Give back received segments. */
void demi_inet_drop(struct demi_inet *in, const struct demi_pkt *p, uint32_t segs);

/* Does the sum of r's transport part have to be looked at? */
static inline bool demi_inet_csum_known(const struct demi_inet_rxpkt *r)
{
	return r->p->flags & (DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_CSUM_PARTIAL);
}

static inline void demi_inet_link_init(struct demi_inet_link *head)
{
	head->next = head->prev = head;
}

static inline void demi_inet_link_add(struct demi_inet_link *head, struct demi_inet_link *l)
{
	l->next = head;
	l->prev = head->prev;
	head->prev->next = l;
	head->prev = l;
}

static inline void demi_inet_link_del(struct demi_inet_link *l)
{
	l->next->prev = l->prev;
	l->prev->next = l->next;
	l->next = l->prev = NULL;
}

#endif /* DEMI_INET_STACK_H */
