/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_DEMUX_H
#define DEMI_INET_DEMUX_H

/*
 * From a packet's addresses and ports to its socket: a hash table of cache lines. A socket is in it once, under
 * (local, remote) if it is connected, else under (local, nobody), local being an address or "any". The hash is
 * keyed with secrets, so that nobody outside can aim at one line.
 */

#include "inet/ip.h"

#define DEMI_DEMUX_SLOTS 4

struct demi_inet_sock;

struct demi_demux_line {
	uint32_t tags[DEMI_DEMUX_SLOTS]; /* the hash; only a hint: slots may hold NULL */
	struct demi_inet_sock *socks[DEMI_DEMUX_SLOTS];
	struct demi_demux_line *more;
	uint64_t unused;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct demi_demux_line) == 64, "one cache line");

struct demi_demux {
	struct demi_demux_line *lines;
	uint32_t mask; /* number of lines - 1 */
	uint32_t connected, specific, any; /* how many sockets of each kind there are */
	uint64_t key[6];
};

struct demi_demux_key {
	struct demi_ip local, remote; /* all 0: any, nobody */
	uint16_t lport, rport;
};

/* Keyed: for tables beside this one. */
uint32_t demi_demux_hash(const struct demi_demux *d, const struct demi_demux_key *k);

int demi_demux_init(struct demi_demux *d, const uint64_t key[6]);
void demi_demux_destroy(struct demi_demux *d);

/* Under s->key. 0, -ENOMEM, or -EADDRINUSE: one with this key that can receive the same packets is there. */
int demi_demux_add(struct demi_demux *d, struct demi_inet_sock *s);
void demi_demux_del(struct demi_demux *d, struct demi_inet_sock *s);

/* Who gets a packet with exactly these addresses; the most specific one. Or NULL. */
struct demi_inet_sock *demi_demux_find(const struct demi_demux *d, const struct demi_demux_key *k);

#endif /* DEMI_INET_DEMUX_H */
