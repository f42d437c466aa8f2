/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_HELLO_H
#define DEMI_MEMQ_PIPE_HELLO_H

/*
 * How the other end of a pipe gets what it needs: one message on a Unix socket with the memory's sizes and
 * two fds, the memfd and the other end's half of the control socket. Who opens a pipe by its name asks for it
 * first: not everything that connects to a socket wants what is there.
 *
 * The control socket does two things: a byte on it wakes a sleeper, and its hang-up tells that the
 * peer is gone. It is a socket and not an eventfd because a peer shares the file description of an eventfd
 * and can make writes to it block (it fills the counter and clears O_NONBLOCK), while a send with
 * MSG_DONTWAIT never blocks.
 */

#include "memq/pipe_shm.h"

#define DEMI_PIPE_VERSION 2U /* of the messages and of the memory's layout */

enum {
	DEMI_PIPE_FD_MEM,
	DEMI_PIPE_FD_CONTROL,
	DEMI_PIPE_FDS,
};

/* What is offered to the other end. */
struct demi_pipe_offer {
	struct demi_pipe_sizes sizes;
	int fds[DEMI_PIPE_FDS];
};

/* Ask for the offer. Never blocks. -errno. */
int demi_pipe_ask_send(int sock);

/* 0: somebody asks; -EAGAIN: not yet; -EPIPE: gone without a word; -EPROTO: something else, or another version. */
int demi_pipe_ask_recv(int sock);

/* Send @offer, or with NULL that there is none any more, on @sock. Never blocks. -errno. */
int demi_pipe_hello_send(int sock, const struct demi_pipe_offer *offer);

/*
 * Receive an offer; its fds (close-on-exec) are the caller's. Never blocks. -EAGAIN: nothing there yet; -EBUSY:
 * there was one, it is taken; -EPIPE: the other end is closed; -EPROTO: something else, or another version.
 */
int demi_pipe_hello_recv(int sock, struct demi_pipe_offer *offer);

/* Would demi_pipe_hello_recv() find a hello on @fd, whatever that is? 0, -EBUSY: not any more, -EINVAL: no. */
int demi_pipe_hello_probe(int fd);

void demi_pipe_offer_close(struct demi_pipe_offer *offer);

#endif /* DEMI_MEMQ_PIPE_HELLO_H */
