/* SPDX-License-Identifier: MIT */
#ifndef DEMI_LIBOS_H
#define DEMI_LIBOS_H

/**
 * DOC: queues
 *
 * PDPIX (SOSP '21, section 4) with the names, argument order and return convention of
 * Demikernel's public C API: every call returns 0 or a positive errno, values go out through
 * pointers, and NULL where a pointer is wanted is EINVAL.
 *
 * A context belongs to the thread that called demi_init(); its descriptors and tokens mean nothing
 * elsewhere. Calls that start an operation (those with @qt_out) never block; see demi/wait.h for how
 * they end. Errors that every call here may give and that are not repeated below: ENOSYS (the
 * thread has not called demi_init()), EPERM (in the child after fork(2)), EBADF (no such
 * descriptor), EOPNOTSUPP (this kind of queue cannot do that), EDEADLK (called from a signal
 * handler that interrupted the library, or from a callback), ENOMEM.
 */

#include <demi/types.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * demi_init - make this thread's context
 * @args: NULL, or arguments (--demi-NAME=VALUE) and a callback
 *
 * The configuration is read once per process, from (later wins) built-in values, the YAML file
 * that CONFIG_PATH names, the environment (DEMI_NAME; LIBOS), @args. See libdemi(7) for the names.
 *
 * Returns 0, or EEXIST (the thread has a context), EINVAL (configuration; DEMI_LOG=warn says what),
 * ENODEV (the backend is not available here), EPERM, ENOMEM, EMFILE.
 */
extern int demi_init(const struct demi_args *args);

/**
 * demi_socket - make a socket queue
 * @sockqd_out: receives the descriptor
 * @domain:     AF_INET, AF_INET6, AF_UNIX
 * @type:       SOCK_STREAM, SOCK_DGRAM; SOCK_SEQPACKET for AF_UNIX
 * @protocol:   0, IPPROTO_TCP or IPPROTO_UDP
 *
 * Returns 0, or EINVAL, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EMFILE, ENFILE, ENOBUFS.
 */
extern int demi_socket(int *sockqd_out, int domain, int type, int protocol);

/**
 * demi_bind - give a socket its local address, as bind(2)
 * @sockqd: the socket
 * @addr:   an address of its domain, @size bytes
 * @size:   bytes at @addr
 *
 * Returns 0, or EINVAL, EADDRINUSE, EADDRNOTAVAIL, EACCES, EAFNOSUPPORT.
 */
extern int demi_bind(int sockqd, const struct sockaddr *addr, socklen_t size);

/**
 * demi_listen - accept connections on a bound socket, as listen(2)
 * @sockqd:  a socket of type SOCK_STREAM or SOCK_SEQPACKET
 * @backlog: how many may wait to be accepted, at least 1
 *
 * Returns 0, or EINVAL, EADDRINUSE, EOPNOTSUPP.
 */
extern int demi_listen(int sockqd, int backlog);

/**
 * demi_accept - start to accept one connection
 * @qt_out: receives the token; unchanged on error
 * @sockqd: a listening socket
 *
 * Completes as DEMI_OPC_ACCEPT with the connection's new descriptor. Accepts on one socket complete
 * in the order in which they were issued.
 *
 * Returns 0, or EINVAL (not listening).
 */
extern int demi_accept(demi_qtoken_t *qt_out, int sockqd);

/**
 * demi_connect - start to connect
 * @qt_out: receives the token; unchanged on error
 * @sockqd: a socket; on a datagram socket it sets the peer
 * @addr:   the peer, @size bytes
 * @size:   bytes at @addr
 *
 * Completes as DEMI_OPC_CONNECT, or DEMI_OPC_FAILED with those of connect(2): ECONNREFUSED,
 * ETIMEDOUT, ENETUNREACH, EHOSTUNREACH …
 *
 * Returns 0, or EINVAL, EISCONN, EALREADY (a connect is pending), EAFNOSUPPORT.
 */
extern int demi_connect(demi_qtoken_t *qt_out, int sockqd, const struct sockaddr *addr, socklen_t size);

/**
 * demi_close - close a queue
 * @qd: it is no longer usable for new calls
 *
 * Pending pops, accepts and connects complete as DEMI_OPC_FAILED with ECANCELED and stay waitable.
 * Queued pushes drain, subject to SO_LINGER. The number is not given out again while it has tokens
 * that were not consumed. Never blocks.
 *
 * Returns 0, or EBADF.
 */
extern int demi_close(int qd);

/**
 * demi_shutdown - end one direction, as shutdown(2)
 * @qd:  a connected socket, or a pipe or memory queue
 * @how: SHUT_RD, SHUT_WR (after what was pushed has gone), SHUT_RDWR
 *
 * Returns 0, or EINVAL, ENOTCONN.
 */
extern int demi_shutdown(int qd, int how);

/**
 * demi_push - lend an sga to a queue
 * @qt_out: receives the token; unchanged on error
 * @qd:     an open queue
 * @sga:    1 to DEMI_SGARRAY_MAXSIZE segments; the array itself is copied
 *
 * The bytes of the segments belong to the queue until the token completes: do not write to them.
 * Freeing them earlier is safe (free protection). Segments of the DMA heap of at least the backend's
 * zc_min bytes are sent in place; all others are copied before the call returns.
 *
 * Completes as DEMI_OPC_PUSH: a copied push when the queue has taken the bytes, a zero-copy one when
 * nobody can need them again.
 *
 * Returns 0, or EINVAL (no segment, too many, an empty one on a stream, a NULL buffer with a length),
 * ENOTCONN, EDESTADDRREQ, EMSGSIZE, EPIPE (shut down for writing), ENOBUFS (back-pressure: wait for
 * a completion), or the error that ended the connection, once. SOSP '21, section 4.2.
 */
extern int demi_push(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga);

/**
 * demi_pushto - as demi_push(), to an address
 * @qt_out:    receives the token; unchanged on error
 * @sockqd:    a datagram socket; on a connected stream the address is not used, as sendto(2)
 * @sga:       as for demi_push()
 * @dest_addr: the destination, @size bytes
 * @size:      bytes at @dest_addr
 *
 * Returns what demi_push() returns, or EAFNOSUPPORT.
 */
extern int demi_pushto(demi_qtoken_t *qt_out, int sockqd, const demi_sgarray_t *sga, const struct sockaddr *dest_addr,
		       socklen_t size);

/**
 * demi_pop - ask for the next element
 * @qt_out: receives the token; unchanged on error
 * @qd:     an open queue
 *
 * Completes as DEMI_OPC_POP with an sga that belongs to the caller. On message queues one pop gives
 * one pushed element; a byte stream gives the bytes that have arrived. At the end of a stream:
 * one segment of length 0. Pops on one queue complete in the order in which they were issued.
 *
 * Returns 0, or ENOTCONN. SOSP '21, section 4.2.
 */
extern int demi_pop(demi_qtoken_t *qt_out, int qd);

/**
 * demi_pop_n - as demi_pop(), with a limit
 * @qt_out: receives the token; unchanged on error
 * @qd:     an open queue
 * @size:   the greatest number of bytes wanted, at least 1; what a stream has beyond it stays for
 *          the next pop. Message queues give whole elements and fail the pop with EMSGSIZE, leaving the
 *          element where it is, when it is larger.
 */
extern int demi_pop_n(demi_qtoken_t *qt_out, int qd, size_t size);

/**
 * demi_blocking_push - push and wait for its completion
 * @qd:  an open queue
 * @sga: as for demi_push()
 *
 * Returns 0, or what demi_push() or demi_wait() return, or the errno the operation failed with.
 * Results of other operations stay where they are.
 */
extern int demi_blocking_push(int qd, const demi_sgarray_t *sga);

/**
 * demi_blocking_pop - pop and wait for its completion
 * @sga_out: receives the element, owned by the caller
 * @qd:      an open queue
 *
 * Returns as demi_blocking_push(). After EINTR the pop has been cancelled; no data is lost.
 */
extern int demi_blocking_pop(demi_sgarray_t *sga_out, int qd);

/**
 * demi_setsockopt - set an option, as setsockopt(2)
 * @qd:      a socket queue (level DEMI_SOL: any queue that knows the option, see demi/sockopt.h)
 * @level:   SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, DEMI_SOL
 * @optname: the option
 * @optval:  its value, @optlen bytes
 * @optlen:  bytes at @optval
 *
 * Returns 0, or EINVAL, ENOPROTOOPT, EBUSY (too late for this option).
 */
extern int demi_setsockopt(int qd, int level, int optname, const void *optval, socklen_t optlen);

/**
 * demi_getsockopt - get an option, as getsockopt(2)
 * @qd:      a socket queue
 * @level:   as for demi_setsockopt()
 * @optname: the option
 * @optval:  receives the value
 * @optlen:  in: the room at @optval in bytes; out: the value's length
 *
 * Returns 0, or EINVAL, ENOPROTOOPT.
 */
extern int demi_getsockopt(int qd, int level, int optname, void *optval, socklen_t *optlen);

/**
 * demi_getpeername - the peer's address, as getpeername(2)
 * @qd:      a connected socket queue
 * @addr:    receives the address
 * @addrlen: in: the room at @addr in bytes; out: the address's length
 *
 * Returns 0, or EINVAL, ENOTCONN.
 */
extern int demi_getpeername(int qd, struct sockaddr *addr, socklen_t *addrlen);

/**
 * demi_getsockname - the local address, as getsockname(2)
 * @qd:      a socket queue
 * @addr:    receives the address
 * @addrlen: in: the room at @addr in bytes; out: the address's length
 *
 * Returns 0, or EINVAL.
 */
extern int demi_getsockname(int qd, struct sockaddr *addr, socklen_t *addrlen);

/**
 * demi_create_pipe - make a pipe between processes and give it a name
 * @memqd_out: receives the descriptor of this end
 * @name:      1 to 64 bytes without '/' and not beginning with '.', or an absolute path; a plain
 *             name lies in DEMI_PIPE_DIR (default $XDG_RUNTIME_DIR, else /tmp/demi-UID). Who may open
 *             the pipe is what the file system says of that path (umask(2), the folder).
 *
 * A pipe carries elements both ways. One copy is made per element. What is pushed before the other
 * end is opened waits in the pipe. When the other process ends, what it had pushed can still be
 * popped; then pops give the end of stream (closed) or fail with ECONNRESET (killed), pushes fail
 * with EPIPE.
 *
 * Returns 0, or EINVAL, EEXIST (the name is in use by a live pipe), EACCES, ENAMETOOLONG, EMFILE,
 * ENFILE, ENOMEM.
 */
extern int demi_create_pipe(int *memqd_out, const char *name);

/**
 * demi_open_pipe - open the other end of a pipe
 * @memqd_out: receives the descriptor of this end
 * @name:      as for demi_create_pipe()
 *
 * Returns 0, or EINVAL, ENOENT (no such pipe), ECONNREFUSED (its maker is gone), EACCES, EBUSY (it is
 * open already), EPROTO (another version), ETIMEDOUT (it does not answer), EMFILE, ENFILE, ENOMEM.
 */
extern int demi_open_pipe(int *memqd_out, const char *name);

/**
 * demi_counter - read one of the context's counters
 * @value_out: receives the value
 * @name:      see libdemi(7), for example "late_entries", "sleeps", "polls"
 *
 * Returns 0, or EINVAL, ENOENT (no counter of that name).
 */
extern int demi_counter(uint64_t *value_out, const char *name);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_LIBOS_H */
