/* SPDX-License-Identifier: MIT */
#ifndef DEMI_QUEUE_H
#define DEMI_QUEUE_H

#include <demi/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * demi_queue - make a memory queue
 * @qd_out: receives its descriptor
 *
 * What is pushed is popped, in order, by this context or by the contexts that imported the queue
 * (demi_queue_export()). Elements are atomic and are not copied (below 1 KiB they are): after the
 * push completed, pusher and popper share the bytes read-only.
 *
 * Returns 0, or EINVAL, EMFILE (descriptors), ENOMEM. HotOS '19, section 4.2.
 */
extern int demi_queue(int *qd_out);

/**
 * demi_queue_export - make a queue reachable for others
 * @fd_out: receives a file descriptor (close-on-exec) that the caller closes when it is no longer
 *          needed to import the queue
 * @qd:     a memory queue, or a pipe that has no other end yet
 *
 * A memory queue: the contexts of this process may import the fd, any number of times. A pipe:
 * whoever holds the fd, in this or another process (SCM_RIGHTS, inheritance), may import it once
 * and has the other end.
 *
 * Returns 0, or EBADF, EINVAL, EOPNOTSUPP (other kinds of queue), EBUSY (the pipe has its other
 * end), EMFILE, ENFILE, ENOMEM.
 */
extern int demi_queue_export(int *fd_out, int qd);

/**
 * demi_queue_import - take an exported queue into this context
 * @qd_out: receives the new descriptor
 * @fd:     from demi_queue_export(); stays the caller's
 *
 * Several contexts may pop one memory queue: each element completes exactly one pop and wakes one
 * thread.
 *
 * Returns 0, or EINVAL (NULL; not an exported queue, or closed by all), EXDEV (a memory queue of another process),
 * EPROTO (the other side does not speak this version), EBUSY, EMFILE, ENOMEM.
 */
extern int demi_queue_import(int *qd_out, int fd);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_QUEUE_H */
