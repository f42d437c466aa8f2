/* SPDX-License-Identifier: MIT */
#ifndef DEMI_TYPES_H
#define DEMI_TYPES_H

/**
 * DOC: types of the interface
 *
 * Names, field order and packing are those of Demikernel's public C API, so that a program
 * written for it compiles unchanged. The structures hold no padding: their sizes are part of
 * the contract (selftests/compat/sizes.c).
 */

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <demi/cc.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The greatest number of segments in a scatter-gather array. */
#define DEMI_SGARRAY_MAXSIZE 4

/** The greatest number of bytes that demi_sgaalloc() gives: 1 GiB. */
#define DEMI_SGA_MAXBYTES (1UL << 30)

/**
 * typedef demi_qtoken_t - names one operation of one context
 *
 * 20 bits of slot and 44 bits of generation that starts at random. 0 and ~0 are never valid.
 * A token is consumed by the wait that returns its result.
 */
typedef uint64_t demi_qtoken_t;

/** struct demi_sgaseg - one segment: @sgaseg_len bytes at @sgaseg_buf */
typedef struct DEMI_PACKED demi_sgaseg {
	void *sgaseg_buf;
	uint32_t sgaseg_len;
} demi_sgaseg_t;

/**
 * struct demi_sgarray - a scatter-gather array: what is pushed and popped
 * @sga_buf:     the library's own; NULL in an array that demi_sgaalloc() could not make.
 *               Programs that build an array by hand set it to NULL.
 * @sga_numsegs: segments in use, 1 to DEMI_SGARRAY_MAXSIZE
 * @sga_segs:    the segments
 * @sga_addr:    after a pop from a datagram socket: where the element came from. When
 *               sin_family is not AF_INET only the family (and the port of AF_INET6) are
 *               here; demi_sga_addr() gives the whole address.
 */
typedef struct DEMI_PACKED demi_sgarray {
	void *sga_buf;
	uint32_t sga_numsegs;
	demi_sgaseg_t sga_segs[DEMI_SGARRAY_MAXSIZE];
	struct sockaddr_in sga_addr;
} demi_sgarray_t;

/** enum demi_opcode - what kind of operation a result belongs to */
typedef enum demi_opcode {
	DEMI_OPC_INVALID = 0,
	DEMI_OPC_PUSH,
	DEMI_OPC_POP,
	DEMI_OPC_ACCEPT,
	DEMI_OPC_CONNECT,
	DEMI_OPC_CLOSE,
	DEMI_OPC_FAILED,
} demi_opcode_t;

/**
 * struct demi_accept_result - an accepted connection
 * @qd:   its queue descriptor, owned by the caller from now on
 * @addr: its peer, if that is an IPv4 address; else only the family is set, see
 *        demi_getpeername()
 */
typedef struct DEMI_PACKED demi_accept_result {
	int32_t qd;
	struct sockaddr_in addr;
} demi_accept_result_t;

/**
 * struct demi_qresult - the result of one operation
 * @qr_opcode: the operation's kind, or DEMI_OPC_FAILED
 * @qr_qd:     the descriptor it was issued on
 * @qr_qt:     its token, now consumed
 * @qr_ret:    0, or the positive errno of a failed operation
 * @qr_value:  POP: the sga, owned by the caller (demi_sgafree()). A stream that ended gives one
 *             segment of length 0. ACCEPT: the connection. Otherwise zeroed.
 */
typedef struct DEMI_PACKED demi_qresult {
	enum demi_opcode qr_opcode;
	int32_t qr_qd;
	demi_qtoken_t qr_qt;
	int64_t qr_ret;
	union {
		demi_sgarray_t sga;
		demi_accept_result_t ares;
	} qr_value;
} demi_qresult_t;

/**
 * typedef demi_callback_t - receives the library's counters when a context ends
 *
 * Called once per counter, in the thread whose context ends: the counter's name (see
 * demi_counter()), the name's length in bytes, the value. It must not call the library.
 *
 * exit(3) and the return from main() end the context of the thread that calls them, unless a signal
 * handler that interrupted the library calls exit(3). Handlers that were registered with atexit(3)
 * after the first demi_init() of the process have run then: the callback uses nothing that they
 * take down. Those registered before it, and destructors of the program, run later.
 */
typedef void (*demi_callback_t)(const char *name, uint32_t name_len, uint64_t value);

/**
 * struct demi_args - arguments of demi_init()
 * @argc:     number of arguments, or 0
 * @argv:     the program's arguments; those of the form --demi-NAME=VALUE are read, all others
 *            are left alone. Not modified, not kept.
 * @callback: NULL, or who is told the counters at the end
 */
struct DEMI_PACKED demi_args {
	int argc;
	char *const *argv;
	demi_callback_t callback;
};

/** typedef demi_ctx_t - a context, opaque; only demi_wakeup() takes one */
typedef struct demi_ctx demi_ctx_t;

#ifdef __cplusplus
}
#endif

#endif /* DEMI_TYPES_H */
