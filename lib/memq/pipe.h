/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_H
#define DEMI_MEMQ_PIPE_H

/* Pipes between processes (Catmem; demi_create_pipe()). */

struct demi_ctx;
struct demi_queue;

int demi_pipe_create(struct demi_ctx *ctx, const char *name, struct demi_queue **out) __attribute__((weak));
int demi_pipe_open(struct demi_ctx *ctx, const char *name, struct demi_queue **out) __attribute__((weak));

/* @fd is what export_fd of a pipe gave. -EINVAL: it is something else. */
int demi_pipe_import(struct demi_ctx *ctx, int fd, struct demi_queue **out) __attribute__((weak));

#endif /* DEMI_MEMQ_PIPE_H */
