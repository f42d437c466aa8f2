/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_TX_H
#define DEMI_INET_TX_H

/*
 * A packet on its way out, in one heap object that the device can reach: its entries, and the room for headers and
 * copied payload. It is in the stack's queue, then flying, then done; the device's cookie is its address. All that
 * exist are on one list, so that flying and landing touch nothing but the packet.
 */

#include "core/ctx.h"
#include "inet/stack.h"

#include <demi/types.h>

#define DEMI_INET_TX_SEGS (1 + 2 * DEMI_SGARRAY_MAXSIZE)

struct demi_inet_sock;

/* Versions that are given out are so far apart: what lies between is the owner's. */
#define DEMI_INET_VERSIONS 1024

struct demi_inet_tx {
	struct demi_inet_tx *next; /* in the queue or in the cache */
	struct demi_inet_tx *all_next, *all_prev;
	struct demi_inet_sock *s;
	struct demi_op *op; /* pending because memory is lent; else NULL */
	uint32_t charge;
	uint16_t lent; /* a bit for each entry whose memory is */
	uint8_t segs;
	bool usual; /* of the usual size */
	bool tcp; /* demi_tcp_frame_done() ends it; lent says which entries are of chunks, their cookies which */
	bool flying;
	bool out; /* tcp_fast.c has made it, and it is queued or flying */
	bool plain; /* fast.c or tcp_fast.c has made it: nobody waits for its end */
	uint8_t kept; /* enum demi_tcp_small_parts: it stays when it has landed */
	uint64_t version; /* of the headers that are in it; 0: none in particular */
	struct demi_pkt pkt[DEMI_INET_TX_SEGS];
	uint8_t room[]; /* the device's headroom, headers, copied payload */
};

/* One object for any datagram of an Ethernet frame. */
#define DEMI_INET_TX_SIZE 2048
#define DEMI_INET_TX_ROOM (DEMI_INET_TX_SIZE - sizeof(struct demi_inet_tx))

/* With room for @hdr bytes of headers and @copied bytes of payload; or NULL. pkt[0] is at the headers. */
struct demi_inet_tx *demi_inet_tx_alloc(struct demi_inet *in, uint32_t hdr, uint32_t copied);
void demi_inet_tx_free(struct demi_inet *in, struct demi_inet_tx *tx);
/* The stack ends: those, too, that sockets have left in the queue when they were closed, and that nobody sends. */
void demi_inet_tx_free_all(struct demi_inet *in);

/* Behind the headers of @hdr bytes: lend or copy. Returns the bytes that were copied. */
uint32_t demi_inet_tx_fill(struct demi_inet *in, struct demi_inet_tx *tx, uint32_t hdr, const demi_sgarray_t *sga,
			   uint32_t lend);

/* Which segments can be sent in place: lent, a bit for each; *copied gets the bytes of all others. */
uint32_t demi_inet_tx_lend(const struct demi_inet *in, const demi_sgarray_t *sga, uint32_t *copied);
void demi_inet_tx_unlend(const demi_sgarray_t *sga, uint32_t lent);

/* To the end of the stack's queue. */
void demi_inet_tx_queue(struct demi_inet *in, struct demi_inet_tx *tx);

/* It left or it will not: operation, lends, charge, socket. May free the socket. @err is positive or 0. */
void demi_inet_tx_end(struct demi_inet *in, struct demi_inet_tx *tx, int err);

/* All that are queued or flying end. */
void demi_inet_tx_end_all(struct demi_inet *in, int err);

/* Somebody waits for the end of it: for the push, or for the chunks that it refers to. */
static inline bool demi_inet_tx_awaited(const struct demi_inet_tx *tx)
{
	return tx->op || (tx->tcp && tx->lent);
}

#endif /* DEMI_INET_TX_H */
