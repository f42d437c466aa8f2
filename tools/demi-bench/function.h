/* SPDX-License-Identifier: MIT */
#ifndef BENCH_FUNCTION_H
#define BENCH_FUNCTION_H

/*
 * The two PCI functions of a peer, "0000:03:00.0,0000:04:00.0", which are one link: the server's and the client's.
 * They have the driver that the peer wants already: nothing is taken from anybody here.
 */

#include "side.h"

#include <net/if.h>

#define FUNCTION_NAME 32

/* False: those are not two names. */
bool function_named(const char *pair, bool server, char name[FUNCTION_NAME]);

/* Can a side of @kind run on both? 0, or -1 after it was said what is to be done. */
int function_check(const char *kind, const char *pair);

/* How many functions demi_virtio.ko has. */
unsigned int function_count_ours(void);

/* The interface that the kernel has of it; false: none in this network. */
bool function_interface(const char *name, char interface[IFNAMSIZ]);

/*
 * For a process of a peer on kernel sockets: from now on it has a network of its own, with the function's interface and
 * @ip, whose prefix has 24 bits. The interface goes back when the process ends. 0 or -errno, after it
 * was said what went wrong.
 */
int function_enter(const char *name, const char *ip);

#endif /* BENCH_FUNCTION_H */
