/* SPDX-License-Identifier: GPL-2.0 */
/* The file of a queue: what holds it while somebody can use it. */
#ifndef _DEMI_QUEUE_FILE_H
#define _DEMI_QUEUE_FILE_H

struct demi_queue;
struct file;

/*
 * A file for @q, with an id reserved in the namespace; both go, and the caller's reference of @q
 * with them, when it is released. On an error (-ENOMEM, -ENFILE) the caller keeps the reference.
 */
struct file *demi_queue_file_create(struct demi_queue *q);

/* Kernel memory of one. */
unsigned int demi_queue_file_bytes(void);

#endif
