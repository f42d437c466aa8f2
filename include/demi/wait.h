/* SPDX-License-Identifier: MIT */
#ifndef DEMI_WAIT_H
#define DEMI_WAIT_H

/**
 * DOC: waiting
 *
 * An operation (push, pop, accept, connect) is started by a call that returns a token and is
 * finished by a wait that returns its result (HotOS '19, section 4.2; SOSP '21, section 4.2).
 * A wait drives all backends of the thread's context while nothing it looks for is ready: it
 * spins for a short adaptive time, then sleeps.
 *
 * Rules that all waits share:
 *  - @timeout NULL waits for ever; {0, 0} polls once; a negative or unnormalised timespec is
 *    EINVAL. What is ready is returned whatever the timeout.
 *  - Results come in the order of completion. If one is ready the other tokens are not looked
 *    at; before a wait sleeps each of them has been validated once, and one that is stale,
 *    foreign or unknown is EINVAL.
 *  - A returned token is consumed. A token whose wait failed (ETIMEDOUT, EINTR, EINVAL) is not.
 *  - Interrupted system calls are restarted; only demi_wakeup() ends a wait early, with EINTR.
 *  - They may be called only in the thread that owns the context, and not from a signal handler
 *    that interrupted the library, or from a callback (EDEADLK).
 *  - Common errors: ENOSYS (the thread has not called demi_init()), EPERM (after fork in the
 *    child), EDEADLK.
 */

#include <demi/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* With -std=c99 and no feature macro <time.h> does not declare it; NULL can still be passed. */
struct timespec;

/**
 * demi_wait - wait for one operation
 * @qr_out:  receives the result; unchanged on error
 * @qt:      the operation's token
 * @timeout: see above
 *
 * Returns 0, or ETIMEDOUT, EINTR, EINVAL (NULL @qr_out, bad token, bad timespec).
 */
extern int demi_wait(demi_qresult_t *qr_out, demi_qtoken_t qt, const struct timespec *timeout);

/**
 * demi_wait_any - wait for the first of several operations
 * @qr_out:       receives the result; unchanged on error
 * @ready_offset: receives the index of its token in @qts
 * @qts:          tokens; none may appear twice
 * @num_qts:      how many, at least 1
 * @timeout:      see above
 *
 * The cost does not grow with @num_qts as long as the array stays the same but for the entry
 * that was returned last. The token of an operation that is complete already and that is written to
 * another entry of the same array may be passed over for up to @num_qts results, but never missed.
 *
 * Returns 0, or ETIMEDOUT, EINTR, EINVAL.
 */
extern int demi_wait_any(demi_qresult_t *qr_out, int *ready_offset, const demi_qtoken_t qts[], int num_qts,
			 const struct timespec *timeout);

/**
 * demi_wait_all - wait until all of several operations are complete
 * @qrs_out: receives @num_qts results, in the order of @qts
 * @qts:     tokens; none may appear twice
 * @num_qts: how many, at least 1
 * @timeout: see above; for the whole
 *
 * Returns 0 (all tokens consumed), or ETIMEDOUT, EINTR, EINVAL (none consumed).
 */
extern int demi_wait_all(demi_qresult_t qrs_out[], const demi_qtoken_t qts[], int num_qts,
			 const struct timespec *timeout);

/**
 * demi_wait_some - wait for at least one of several operations and take all that are ready
 * @qrs_out:     receives up to @max_qrs results, in the order of completion
 * @offsets_out: receives the index in @qts of each
 * @max_qrs:     room in @qrs_out and @offsets_out, at least 1
 * @num_out:     receives how many there are
 * @qts:         tokens; none may appear twice
 * @num_qts:     how many, at least 1
 * @timeout:     see above
 *
 * Returns 0 with at least one result, or ETIMEDOUT, EINTR, EINVAL.
 */
extern int demi_wait_some(demi_qresult_t qrs_out[], int offsets_out[], int max_qrs, int *num_out,
			  const demi_qtoken_t qts[], int num_qts, const struct timespec *timeout);

/**
 * demi_wait_next_n - wait for whatever operations complete next
 * @qr_out:      receives up to @num_qrs results, in the order of completion
 * @num_qrs:     room in @qr_out, at least 1
 * @num_qrs_out: receives how many there are
 * @timeout:     see above
 *
 * Returns 0 with at least one result, or ENOENT (no operation is outstanding), ETIMEDOUT, EINTR,
 * EINVAL.
 */
extern int demi_wait_next_n(demi_qresult_t *qr_out, int num_qrs, int *num_qrs_out, const struct timespec *timeout);

/**
 * demi_cancel - give up an operation
 * @qt: its token; it stays valid and must still be waited for
 *
 * Returns 0: the operation will complete as DEMI_OPC_FAILED with ECANCELED and has had no effect.
 * EALREADY: its result is there, or a byte of it is on its way; wait for it as usual. Data is
 * never lost. EINVAL: no such token.
 */
extern int demi_cancel(demi_qtoken_t qt);

/**
 * demi_wait_fd - a file descriptor for foreign event loops
 * @fd_out: receives it; the library's own, do not read, close or modify it
 *
 * After demi_wait_arm() returned 0, it is readable (poll(2), epoll(7), level-triggered) as soon as
 * one of the context's operations may have completed; then call a wait with a zero timeout until
 * it gives ETIMEDOUT, and arm again.
 *
 * Returns 0, or EINVAL, EMFILE, ENFILE, ENOMEM.
 */
extern int demi_wait_fd(int *fd_out);

/**
 * demi_wait_arm - make the wait fd tell of the next completion
 *
 * Returns 0 (armed), or EAGAIN: something is ready already, wait for it first.
 */
extern int demi_wait_arm(void);

/**
 * demi_wakeup - make a context's wait return EINTR
 * @ctx: from demi_self() in its thread, which must not have ended
 *
 * If no wait is under way the next one that would have to wait returns EINTR (it is sticky, once).
 * The only call that any thread may make on another's context; async-signal-safe.
 *
 * Returns 0, or EINVAL (NULL), EPERM (after fork in the child).
 */
extern int demi_wakeup(demi_ctx_t *ctx);

/**
 * demi_self - this thread's context
 * @ctx_out: receives it, for demi_wakeup()
 *
 * Returns 0, or EINVAL, ENOSYS, EPERM.
 */
extern int demi_self(demi_ctx_t **ctx_out);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_WAIT_H */
