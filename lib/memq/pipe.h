/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_H
#define DEMI_MEMQ_PIPE_H

/*
 * Pipes between processes (Catmem; demi_create_pipe()).
 *
 *	pipe_ring.h	how elements lie in the shared memory: the contract between the two sides
 *	pipe_shm.h	the shared memory itself
 *	pipe_hello.h	how it gets from the maker to the other end
 *	pipe_name.h	pipes that have a name in the file system
 *	pipe_fork.h	what a forked child must not keep
 *	pipe_queue.h	the queue
 */

struct demi_ctx;
struct demi_queue;

int demi_pipe_create(struct demi_ctx *ctx, const char *name, struct demi_queue **out);
int demi_pipe_open(struct demi_ctx *ctx, const char *name, struct demi_queue **out);

/* @fd is what export_fd of a pipe gave. -EINVAL: it is something else. */
int demi_pipe_import(struct demi_ctx *ctx, int fd, struct demi_queue **out);

#endif /* DEMI_MEMQ_PIPE_H */
