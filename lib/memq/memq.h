/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_MEMQ_H
#define DEMI_MEMQ_MEMQ_H

/* Memory queues between the contexts of one process (Catmem; demi_queue()). */

struct demi_ctx;
struct demi_queue;

int demi_memq_create(struct demi_ctx *ctx, struct demi_queue **out);

/* @fd is a memfd from export_fd. -EXDEV: not of this process; -EINVAL: not an exported memory queue, or gone. */
int demi_memq_import(struct demi_ctx *ctx, int fd, struct demi_queue **out);

#endif /* DEMI_MEMQ_MEMQ_H */
