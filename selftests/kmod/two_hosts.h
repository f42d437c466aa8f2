/* SPDX-License-Identifier: MIT */
/* A queue on one of two hosts, and UDP sockets of the kernel, IPv4 and IPv6, on the other. */
#ifndef TWO_HOSTS_H
#define TWO_HOSTS_H

#include "demi_test.h"

#define PORT 5000 /* the queue's */
#define PEER 7000 /* the kernel's sockets */

static const char *const us[] = { "10.0.0.1", "fd00::1" };
static const char *const them[] = { "10.0.0.2", "fd00::2" };

struct two_hosts {
	struct dt_ctx ctx;
	struct dt_queue q; /* of 64 entries, without flows */
	int here, there; /* network namespaces; the thread is here */
	int peer[2];
};

static inline int two_hosts_open(struct two_hosts *h)
{
	int err = dt_two_hosts(&h->here, &h->there);

	if (!err)
		err = dt_netns_enter(h->there);
	for (int v6 = 0; v6 < 2 && !err; v6++) {
		h->peer[v6] = dt_socket(SOCK_DGRAM, them[v6], PEER);
		err = h->peer[v6] < 0 ? h->peer[v6] : 0;
	}
	if (!err)
		err = dt_netns_enter(h->here);
	if (!err)
		err = dt_open(&h->ctx);
	return err ? err : dt_queue_open(&h->q, &h->ctx, 64);
}

static inline void two_hosts_close(struct two_hosts *h)
{
	dt_queue_close(&h->q);
	dt_close(&h->ctx);
}

#endif /* TWO_HOSTS_H */
