/* SPDX-License-Identifier: MIT */
#ifndef DEMI_FILE_H
#define DEMI_FILE_H

/**
 * DOC: files as queues
 *
 * A file queue has its own read cursor, which begins at 0, and appends: pushes go in order to
 * offsets that the library assigns, beginning at the end of the file when it is opened. When a push
 * failed, later ones fail with ECANCELED, so that there are no holes. pop reads up to 64 KiB,
 * demi_pop_n() up to what it is told; at the end of the file a pop gives one segment of length 0.
 *
 * "nvme:[FUNCTION][/NAMESPACE]" is no file but a namespace of an NVMe controller that the user was
 * given: a block queue. All lengths and offsets are whole blocks (EINVAL). Pushes begin at 0, or at
 * DEMI_SO_OFFSET; one beyond the end is ENOSPC. demi_truncate() deallocates what is behind. Only the
 * last pop can be cancelled.
 */

#include <demi/types.h>
#include <fcntl.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Flag of demi_open(): a push completes when its bytes are on stable storage (as fdatasync(2)). */
#define DEMI_O_DURABLE 0x40000000

/**
 * demi_open - open a file as a queue
 * @qd_out: receives the descriptor
 * @path:   a path name
 * @flags:  of open(2): O_RDONLY, O_WRONLY or O_RDWR, and O_CREAT, O_EXCL, O_TRUNC, O_NOFOLLOW,
 *          O_DIRECTORY is refused; DEMI_O_DURABLE. O_APPEND and O_CLOEXEC are implied.
 * @mode:   for O_CREAT
 *
 * Blocks as open(2) does. Returns 0, or EINVAL, EISDIR, EMFILE, ENOMEM and those of open(2).
 */
extern int demi_open(int *qd_out, const char *path, int flags, mode_t mode);

/** demi_creat - demi_open() with O_RDWR | O_CREAT | O_TRUNC */
extern int demi_creat(int *qd_out, const char *path, mode_t mode);

/**
 * demi_lseek - move the read cursor
 * @off_out: receives the new cursor, or NULL
 * @qd:      a file queue without pending pops (EBUSY)
 * @offset:  bytes
 * @whence:  SEEK_SET, SEEK_CUR, SEEK_END
 *
 * Returns 0, or EBADF, EINVAL, EBUSY, ESPIPE (not a file).
 */
extern int demi_lseek(off_t *off_out, int qd, off_t offset, int whence);

/**
 * demi_truncate - set the file's size, and the offset of the next push, to @length
 * @qd:     a file queue without pending operations (EBUSY)
 * @length: bytes
 *
 * Clears the failed state that a failed push left. Blocks as ftruncate(2) does. Returns 0, or
 * EBADF, EINVAL, EBUSY, ESPIPE and those of ftruncate(2).
 */
extern int demi_truncate(int qd, off_t length);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_FILE_H */
