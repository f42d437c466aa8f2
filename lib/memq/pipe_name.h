/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_NAME_H
#define DEMI_MEMQ_PIPE_NAME_H

/*
 * Pipes that have a name: a listening Unix socket (SOCK_SEQPACKET) in the file system. Who asks first is given
 * the offer, all others are told that it is taken. A connection that asks for nothing is given nothing, and an
 * offer that was sent to somebody who died before he received it is there for the next.
 *
 * Opening must not depend on what the maker's thread does at that moment (it may compute, or wait for the
 * very process that opens), so a thread answers. It exists while there are names, and touches
 * nothing but them.
 */

#include "memq/pipe_hello.h"

struct demi_pipe_name;

/* Takes over the fds of @offer if it succeeds. -EEXIST: a live pipe has that name. */
int demi_pipe_name_create(struct demi_pipe_name **out, const char *name, const struct demi_pipe_offer *offer);

/* Hand the offer to @sock instead of to an opener. -EBUSY: it has been given away, or is just being. */
int demi_pipe_name_give(struct demi_pipe_name *n, int sock);

/* Remove the name and free @n. True: somebody else has the offer, or is just being given it. */
bool demi_pipe_name_remove(struct demi_pipe_name *n);

/* The program ends: remove the path, no more. Async-signal-safe. */
void demi_pipe_name_abort(const struct demi_pipe_name *n);

/* The opener's side: get the offer. -ENOENT, -ECONNREFUSED, -EBUSY, -EPROTO, -ETIMEDOUT … */
int demi_pipe_name_open(const char *name, struct demi_pipe_offer *offer);

#endif /* DEMI_MEMQ_PIPE_NAME_H */
