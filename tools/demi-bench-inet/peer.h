/* SPDX-License-Identifier: MIT */
#ifndef BENCH_INET_PEER_H
#define BENCH_INET_PEER_H

/* The other end of the wire: 10.0.0.2 port 1234, which sends 64 bytes at a time to 10.0.0.1 port 7. */

#include "memdev.h"

#define PEER_LEN 64

/* A datagram, over and over: the next one when it is answered, or @always. */
void peer_udp(struct memdev *m, bool always);
/* A connection: its SYN is what the device receives first; the rest follows by itself. */
void peer_tcp(struct memdev *m);
/* The connection is established: from now on the peer sends, when it is answered or @always. */
void peer_tcp_go(struct memdev *m, bool always);

/* The last packet that reached the peer is what it had sent, turned round: addresses, ports, numbers, sums. */
bool peer_udp_answered(const struct memdev *m);
bool peer_tcp_answered(const struct memdev *m);

#endif /* BENCH_INET_PEER_H */
