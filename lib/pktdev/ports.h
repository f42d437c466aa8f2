/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_PORTS_H
#define DEMI_PKTDEV_PORTS_H

/*
 * Ports of an L2 device that several contexts of the process share: each with queues of its own and the same
 * addresses. What comes to one context and is another's goes by this table. lib/ether writes it, as ports are reserved
 * and released; the device reads it. A port is one context's whatever the address: the others get EADDRINUSE.
 */

#include "pktdev/pktdev.h"

#include <stdatomic.h>

struct demi_pktdev_ports {
	_Atomic(uint8_t) who[2][65536]; /* of UDP, of TCP; 0: nobody's */
};

static inline _Atomic(uint8_t) *demi_pktdev_port_at(const struct demi_pktdev *d, uint8_t proto, uint16_t port)
{
	return &d->ports->who[proto == IPPROTO_TCP][ntohs(port)];
}

/* Has another context of the process @port, which is as in a header? */
static inline bool demi_pktdev_port_elsewhere(const struct demi_pktdev *d, uint8_t proto, uint16_t port)
{
	uint8_t who = d->ports ? atomic_load_explicit(demi_pktdev_port_at(d, proto, port), memory_order_relaxed) : 0;

	return who && who != d->ports_me;
}

/* Have it, perhaps once more: 0 or -EADDRINUSE. */
static inline int demi_pktdev_port_take(struct demi_pktdev *d, uint8_t proto, uint16_t port)
{
	uint8_t who = 0;

	if (!d->ports || atomic_compare_exchange_strong(demi_pktdev_port_at(d, proto, port), &who, d->ports_me))
		return 0;
	return who == d->ports_me ? 0 : -EADDRINUSE;
}

static inline void demi_pktdev_port_leave(struct demi_pktdev *d, uint8_t proto, uint16_t port)
{
	if (d->ports)
		atomic_store(demi_pktdev_port_at(d, proto, port), 0);
}

#endif /* DEMI_PKTDEV_PORTS_H */
