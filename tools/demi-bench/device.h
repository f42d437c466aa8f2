/* SPDX-License-Identifier: MIT */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

/*
 * --device: what the sides demi and l2 run on. Over DPDK server and client are joined by memif, unless the user's own
 * DEMI_DPDK_ARGS say something else; over virtio each takes a virtio-net function of this user's, and the two are one
 * link. The peers dpdk and kernel may have functions of their own (function.h).
 */

#include "side.h"

/* Of the table below; NULL: none of that name. */
struct device {
	const char *name;
	const char *libos; /* NULL: it has blocks, and no network */
	bool own_hosts; /* server and client have an address each that the kernel does not know */
};

const struct device *device_find(const char *name);
bool device_has_blocks(const struct device *d);

/* Is everything there that the sides run on? 0, or -1 after it was said what is missing. */
int device_check(const struct opts *o);

/* For libdemi, before demi_init(): where it is told what it runs on. 0 or -errno. */
int device_environment(const struct side *s, bool server);

/* For kernel sockets, before any is made: the network that they are of. 0 or -errno, after it was said why. */
int device_network(const struct side *s, bool server);

/* The server's address there, instead of the loopback's; false: the loopback's. */
bool device_address(const struct side *s, struct sockaddr_storage *ss, socklen_t *len);

/* The arguments of DPDK's EAL, with blanks between them. */
void device_dpdk_args(const struct side *s, bool server, char *args, size_t room);

#endif /* BENCH_DEVICE_H */
