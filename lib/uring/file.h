/* SPDX-License-Identifier: MIT */
#ifndef DEMI_URING_FILE_H
#define DEMI_URING_FILE_H

#include "uring/backend.h"

#define DEMI_FILE_IOV 64

struct demi_file_push;

struct demi_file {
	struct demi_queue q;
	int fd;
	bool readable, writable;
	bool durable; /* a write ends on stable storage */
	bool failed; /* a push failed: later ones must not leave a hole */
	bool reading, writing; /* requests in flight, one of each kind */
	off_t read_off; /* the cursor */
	off_t write_off; /* where the next byte that was pushed goes */

	struct demi_op_list pops;
	struct demi_op *read_op; /* the first of pops, while it is read for; NULL: it was cancelled */
	struct demi_ureq read_req;
	struct iovec read_iov;

	struct demi_file_push *push_head, *push_tail;
	struct demi_ureq write_req;
	struct iovec write_iov[DEMI_FILE_IOV];

	struct demi_link all, tx_link;
};

#define DEMI_FILE(queue) demi_container(queue, struct demi_file, q)

static inline struct demi_uring *demi_file_uring(const struct demi_file *f)
{
	return demi_uring_of(&f->q);
}

/* Write what is queued, called by the flush. May release @f. */
void demi_file_flush(struct demi_file *f);

/* The context ends: close, and then let go although requests are not back. */
void demi_file_end(struct demi_file *f);
void demi_file_abandon(struct demi_file *f);

#endif /* DEMI_URING_FILE_H */
