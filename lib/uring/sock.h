/* SPDX-License-Identifier: MIT */
#ifndef DEMI_URING_SOCK_H
#define DEMI_URING_SOCK_H

/*
 * Sockets. Which fields belong to whom:
 *
 *	receiving	chunks that arrived wait in rx (at most about `readahead` bytes, charged at buffer size);
 *			pops that wait are in ops. Never both.
 *	sending		stream.c: one request at a time, tx holds the rest. dgram.c: a request per datagram.
 *	listening	accepted connections that nobody asked for yet are in the backlog; accepts that wait in ops.
 *
 * Lifetime: the structure lives while its queue has holds; the backend's own hold is given up by
 * demi_sock_release(), when the socket is finished and no request of it is in flight.
 */

#include "core/sga_addr.h"
#include "uring/backend.h"

#include <demi/sockopt.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* What stands before the payload in every object that a socket receives into. */
struct demi_rx {
	struct demi_addr_record addr; /* first: demi_sga_addr() finds it at the object's start */
	struct demi_rx *next;
	char *data;
	uint32_t len;
	uint32_t charge; /* bytes of memory that it keeps */
};

#define DEMI_RX_HEAD ((sizeof(struct demi_rx) + 15) & ~15UL)

/* Buffers that the kernel receives into: a stream's and a datagram's largest, with their heads. */
#define DEMI_RX_STREAM_SIZE (16384 - DEMI_RX_HEAD)
#define DEMI_RX_DGRAM_SIZE 65535

/* Accepted connections that wait for an accept: beyond this many the kernel keeps them. */
#define DEMI_ACCEPT_AHEAD 16

struct demi_backlog {
	uint32_t head, count, size;
	int fds[];
};

enum demi_sock_state {
	DEMI_SOCK_IDLE, /* streams: not connected */
	DEMI_SOCK_LISTEN,
	DEMI_SOCK_CONNECTING,
	DEMI_SOCK_OPEN, /* may push and pop; datagram sockets from the start */
};

struct demi_framing;
struct demi_sock_connect;
struct demi_sock_linger;

struct demi_sock {
	struct demi_queue q;
	int fd;
	uint8_t domain, state;
	bool stream : 1; /* bytes, not records */
	bool record : 1; /* SOCK_SEQPACKET: records with an end of stream */
	bool has_peer : 1; /* datagram socket that is connected */
	bool armed : 1; /* the engine delivers input */
	bool stopping : 1; /* recv_stop() was called, its last delivery is to come */
	bool rx_wanted : 1; /* a pop was issued: read ahead */
	bool rx_end : 1; /* end of stream, or of the connection */
	bool shut_wr : 1; /* shut down for writing when tx is empty */
	bool wr_dead : 1; /* nothing can be sent any more */
	bool tx_blocked : 1; /* epoll: until it is writable */
	bool finished : 1; /* waits only for inflight to become 0 */
	bool linger_reset : 1; /* SO_LINGER {1, 0} */
	bool live : 1; /* counted in ctx->live_conns */
	bool no_zc : 1, zc_known : 1;
	bool rd_ready : 1; /* epoll: not read until EAGAIN yet */
	bool rd_hup : 1; /* epoll: the end has been announced */
	uint8_t maxsegs;
	uint8_t window; /* the engine's: the last window of inputs that it was active in */
	uint16_t rx_err, tx_err; /* failures to be reported once, by a pop and by a push */
	uint16_t linger_s; /* SO_LINGER {1, s} */
	uint32_t inflight; /* requests that the kernel holds */
	uint32_t readahead, rx_bytes;
	uint32_t maxmsg; /* DEMI_SO_MAXMSG */
	struct demi_rx *rx_head, *rx_tail;
	struct demi_op_list ops; /* pending pops or accepts; the connect */
	struct demi_ureq recv_req;
	void *tx; /* struct demi_stream_tx or demi_dgram_tx; NULL when nothing waits to be sent */
	struct demi_framing *framed;
	uint32_t framed_bytes; /* of rx_bytes, its whole messages */
	union {
		struct demi_sock_connect *conn; /* DEMI_SOCK_CONNECTING */
		struct demi_backlog *backlog; /* DEMI_SOCK_LISTEN */
	};
	struct demi_sock_linger *linger; /* closed, and drains for a limited time */
	struct demi_link all, tx_link, todo;
};

#define DEMI_SOCK(queue) demi_container(queue, struct demi_sock, q)

struct demi_sock_connect {
	struct demi_ureq req;
	struct demi_sock *s;
	struct demi_op *op; /* NULL: cancelled */
	struct demi_timer retry; /* a Unix listener's backlog is full */
	socklen_t len;
	struct sockaddr_storage addr;
};

static inline struct demi_uring *demi_sock_uring(const struct demi_sock *s)
{
	return demi_uring_of(&s->q);
}

/* ---- what engines call ---- */

/*
 * @len bytes arrived in the heap object @rx at @rx + DEMI_RX_HEAD. Returns true when the object was
 * kept; else it is the engine's still (the bytes were copied).
 */
bool demi_stream_input(struct demi_sock *s, struct demi_rx *rx, uint32_t len, uint32_t size);

/* The same for a record at @data inside @rx, with its source. */
bool demi_dgram_input(struct demi_sock *s, struct demi_rx *rx, char *data, uint32_t len, uint32_t size,
		      const struct sockaddr *from, socklen_t fromlen);

/* The end of input: @err is 0 for an orderly one. Streams and records. */
void demi_sock_input_end(struct demi_sock *s, int err);

/* An error of a datagram socket, e.g. by ICMP; it lives on. */
void demi_dgram_error(struct demi_sock *s, int err);

/* A connection was accepted (@fd >= 0), or accepting failed (-errno). */
void demi_sock_accepted(struct demi_sock *s, int fd);

/* s->armed went off: start again if there is room. */
void demi_sock_rx_continue(struct demi_sock *s);

void demi_sock_connected(struct demi_sock *s, int err);
void demi_sock_writable(struct demi_sock *s);

/* Has the socket read ahead as far as it may? */
static inline bool demi_sock_rx_full(const struct demi_sock *s)
{
	if (s->state == DEMI_SOCK_LISTEN)
		return s->backlog && s->backlog->count >= DEMI_ACCEPT_AHEAD;
	return s->rx_bytes >= s->readahead;
}

/* A request of @s is back. May release @s. */
void demi_sock_put_request(struct demi_sock *s);

/* ---- among sock.c, stream.c, dgram.c ---- */

/* A new object with a copy of the payload; NULL without memory. */
struct demi_rx *demi_rx_copy(struct demi_sock *s, const void *data, uint32_t len, uint32_t addrlen);
void demi_rx_set(struct demi_rx *rx, char *data, uint32_t len, uint32_t charge);
void demi_sock_rx_add(struct demi_sock *s, struct demi_rx *rx);
struct demi_rx *demi_sock_rx_take(struct demi_sock *s);

/* Pending pops and accepts. */
void demi_sock_op_add(struct demi_sock *s, struct demi_op *op);
void demi_sock_op_del(struct demi_sock *s, struct demi_op *op);

/* Answer pops from what has arrived, then from the end of input; read on. */
void demi_sock_deliver(struct demi_sock *s);

/* Put @s on the list of those that the next flush sends for. */
void demi_sock_want_tx(struct demi_sock *s);

/* What was queued has been sent or dropped (s->tx is NULL): shutdown and close may go on. May release @s. */
void demi_sock_tx_empty(struct demi_sock *s);

/* Send what is queued, called by the flush. */
void demi_sock_flush(struct demi_sock *s);

/* connect.c */
int demi_sock_listen(struct demi_queue *q, int backlog);
int demi_sock_accept(struct demi_queue *q, struct demi_op *op);
int demi_sock_connect(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len);
void demi_sock_connect_cancel(struct demi_sock *s);
void demi_sock_conn_free(struct demi_sock *s);

/* A socket that owns @fd, which stays the caller's on error. */
int demi_sock_new(struct demi_uring *u, int fd, int domain, int type, struct demi_sock **out);

/* The context ends: close without draining, and then let go although requests are not back. */
void demi_sock_end(struct demi_sock *s);
void demi_sock_abandon(struct demi_sock *s);

/* Is a segment to be sent in place? Then it has been lent. */
bool demi_sock_lend(const void *buf, uint32_t len);
/* The same for each segment: a bit for those that were lent; the others' bytes are added to *copied. */
uint32_t demi_sock_lend_segs(const demi_sgarray_t *sga, size_t *copied);
uint32_t demi_sock_zc_min(void);

int demi_stream_push(struct demi_sock *s, struct demi_op *op, const demi_sgarray_t *sga);
void demi_stream_flush(struct demi_sock *s);
/* Answer one pop; @s has input. */
void demi_stream_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes);
/* Fail and forget what is queued; what is in flight follows when it is back. */
void demi_stream_drop(struct demi_sock *s, int err);
void demi_stream_cache_free(struct demi_uring *u);

int demi_dgram_push(struct demi_sock *s, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		    socklen_t tolen);
void demi_dgram_flush(struct demi_sock *s);
void demi_dgram_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes);
void demi_dgram_drop(struct demi_sock *s, int err);

/* framed.c: DEMI_SO_FRAMED */
int demi_framed_set(struct demi_sock *s, int on);
int demi_framed_set_max(struct demi_sock *s, int bytes);
void demi_framed_free(struct demi_sock *s);
/* The stream ended: in the middle of a message? */
bool demi_framed_cut_off(const struct demi_sock *s);
bool demi_framed_ready(const struct demi_sock *s);
/* @len bytes of the stream; -errno: the stream is broken. */
int demi_framed_input(struct demi_sock *s, const char *data, uint32_t len);
void demi_framed_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes);

#endif /* DEMI_URING_SOCK_H */
