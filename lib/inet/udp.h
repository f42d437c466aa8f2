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

struct demi_udp {
	struct demi_inet_sock s;
	/* Never both: datagrams that wait for pops, pops that wait for datagrams. */
	struct demi_udp_rx *rx_head, *rx_tail;
	struct demi_op_list ops;
	uint32_t rx_bytes; /* charged, at most s.rcvbuf_bytes */
	struct demi_inet_path last; /* of the last push that named its destination */
};

#define DEMI_UDP(sock) ((struct demi_udp *)(sock)) /* s is the first member */

/* Pops and arrivals meet. */
void demi_udp_deliver(struct demi_udp *u);

#endif /* DEMI_INET_UDP_H */
