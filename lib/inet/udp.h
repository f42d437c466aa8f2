/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_UDP_H
#define DEMI_INET_UDP_H

#include "core/sga_addr.h"
#include "inet/sock.h"

/*
 * A datagram that has arrived. It stands in the received buffer right in front of the payload, over the headers that
 * have been read, or at the start of an object that the payload was copied to.
 */
struct demi_udp_rx {
	struct demi_addr_record rec; /* demi_sga_addr() reads it when the socket is of AF_INET6 */
	struct demi_udp_rx *next;
	uint8_t *data; /* inside the object, even of no bytes */
	uint32_t len;
	uint32_t charge; /* bytes of memory that it keeps */
	struct sockaddr_in6 from; /* or sockaddr_in; last */
};

/*
 * The headers of the last datagram that was pushed, for the next one of the same length to the same place: all but the
 * checksum. Forgotten when anything changes that they depend on.
 */
struct demi_udp_last {
	uint32_t total_bytes; /* with the headers; 0: nothing is known */
	uint32_t route_gen;
	uint64_t to; /* the first 8 bytes of a sockaddr_in; 0: the connected peer */
	uint64_t version; /* no other has this number */
	uint64_t sum; /* of pseudo and UDP header */
	uint8_t hdr[28];
	uint16_t flags, csum_start, csum_offset; /* of the packet */
};

struct demi_udp {
	struct demi_inet_sock s;
	struct demi_udp_last sent;
	/* Never both: datagrams that wait for pops, pops that wait for datagrams. */
	struct demi_udp_rx *rx_head, *rx_tail;
	struct demi_op_list ops;
	uint32_t rx_bytes; /* charged, at most s.rcvbuf_bytes */
	struct demi_inet_path last; /* of the last push that named its destination */
};

#define DEMI_UDP(sock) ((struct demi_udp *)(sock)) /* s is the first member */

/* fast.c */
int demi_udp_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga);
int demi_udp_pushto_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga,
			const struct sockaddr *to, socklen_t tolen);
int demi_udp_pop_now(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes);

/* Options, names or the state of the socket have changed. */
static inline void demi_udp_forget(struct demi_udp *u)
{
	u->sent.total_bytes = 0;
}

static inline void demi_udp_set_err(struct demi_udp *u, int err)
{
	u->s.err = (uint16_t)err;
	demi_udp_forget(u);
}

/* Pops and arrivals meet. */
void demi_udp_deliver(struct demi_udp *u);

#endif /* DEMI_INET_UDP_H */
