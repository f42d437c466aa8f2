/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SOCK_H
#define BENCH_SOCK_H

/* Kernel sockets for the hand-written peers. All return 0 or -errno. */

#include "side.h"

/* A bound (stream: listening) socket at an address of its own choice, which goes to side->addr. */
int sock_serve(struct side *s, int *fd_out);

/*
 * Bind, tell the client, accept all connections. A datagram socket stands for all connections at once.
 * *@n receives how many descriptors there are.
 */
int sock_accept_all(struct side *s, int **fds_out, unsigned int *n);

/* The client's connections, o->connections of them. */
int sock_connect_all(struct side *s, int **fds_out);

void sock_close_all(int *fds, unsigned int n);

/* Set O_NONBLOCK on all. */
int sock_nonblock(const int *fds, unsigned int n);

/* Send all of it; a socket that is full is waited for. Counts the calls. */
int sock_send(int fd, const void *buf, size_t len, uint64_t *calls);

/* Where libdemi finds the address that a kernel socket would have: fills in an address to bind to. */
void sock_local(struct side *s, struct sockaddr_storage *ss, socklen_t *len);

#endif /* BENCH_SOCK_H */
