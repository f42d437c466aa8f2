/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_TCP_H
#define DEMI_INET_TCP_H

/*
 * TCP: RFC 9293 with the extensions that Documentation/inet.rst lists. Who owns what:
 *
 *	to send		chunks hold the bytes that were pushed, copied or lent, from snd_una to snd_end. Records (struct
 *			demi_tcp_rec) cover what has been sent, snd_una to snd_nxt; loss recovery works on them. A
 *			frame refers to chunks, which stay until they are acknowledged and no frame refers to them;
 *			then their push completes.
 *	received	nodes hold payload in order (rx) for pops to come and out of order (ooo), each with one heap
 *			object that becomes the popper's.
 *	time		deadlines of a connection are numbers; its one timer is set to the earliest of them or earlier,
 *			and moved only when it is late. Delayed acknowledgements wait in a list of their own, in order.
 *	output		nothing is sent while packets come in or the application calls: a connection with something to
 *			say is put on the list `out`, and demi_tcp_run() sends, once for each of them.
 *
 * Sequence numbers are host order. snd_nxt is never set back: what is to be sent again is marked so in its records.
 */

#include "core/ctx.h"
#include "inet/sock.h"
#include "inet/tcp_opts.h"
#include "inet/wire.h"

#define DEMI_TCP_MS 1000000ULL /* in ns */
#define DEMI_TCP_S (1000 * DEMI_TCP_MS)

/* RFC 6298 (2.4): a second would be too long; Linux has the same. Settable. */
#define DEMI_TCP_RTO_MIN_US 200000U
#define DEMI_TCP_RTO_INIT_US 1000000U
#define DEMI_TCP_RTO_MAX_US 120000000U
#define DEMI_TCP_DELACK_NS DEMI_TCP_MS /* RFC 1122 4.2.3.2: below 0.5 s */
#define DEMI_TCP_MSL_NS (30 * DEMI_TCP_S)
#define DEMI_TCP_SYN_RETRIES 6
#define DEMI_TCP_SYNACK_RETRIES 5
#define DEMI_TCP_DATA_RETRIES 15
#define DEMI_TCP_ORPHAN_RETRIES 8
#define DEMI_TCP_RCVBUF (1U << 20) /* what a connection that nobody reads may take of memory */
#define DEMI_TCP_MSS_DEFAULT 536 /* RFC 9293 3.7.1, IPv4 */
#define DEMI_TCP_MSS_MIN 88 /* less is not taken from a SYN: every segment costs more than it carries */
#define DEMI_TCP_SACKS 4
/* Payload of at most so many bytes is copied behind the headers: one piece costs the device less than two. */
#define DEMI_TCP_COPY_MAX 256U

enum demi_tcp_state {
	DEMI_TCP_CLOSED,
	DEMI_TCP_LISTEN,
	DEMI_TCP_SYN_SENT,
	DEMI_TCP_SYN_RCVD, /* simultaneous open only: passive ones are struct demi_tcp_req */
	DEMI_TCP_ESTABLISHED,
	DEMI_TCP_CLOSE_WAIT,
	DEMI_TCP_FIN_WAIT_1,
	DEMI_TCP_FIN_WAIT_2,
	DEMI_TCP_CLOSING,
	DEMI_TCP_LAST_ACK,
};

/* What congestion control and loss recovery are at (RFC 5681, 6675, 6937). */
enum demi_tcp_recovery {
	DEMI_TCP_OPEN,
	DEMI_TCP_CWR, /* the window was reduced without a loss: ECN, or a loss that a probe repaired */
	DEMI_TCP_RECOVERY, /* fast recovery until `recover` is acknowledged */
	DEMI_TCP_LOSS, /* after a retransmission timeout, until `recover` is acknowledged */
};

/* What the transmission timer is for: one thing at a time. */
enum demi_tcp_xmit {
	DEMI_TCP_XMIT_NONE,
	DEMI_TCP_XMIT_RTO,
	DEMI_TCP_XMIT_TLP, /* RFC 8985 7 */
	DEMI_TCP_XMIT_REO, /* RFC 8985 6.3 */
	DEMI_TCP_XMIT_PERSIST, /* RFC 9293 3.8.6.1 */
};

/* Bytes to send. */
struct demi_tcp_chunk {
	struct demi_tcp_chunk *next;
	const uint8_t *base;
	struct demi_op *op; /* lent for this push; NULL: copied */
	uint32_t seq, len; /* of base[0]; bytes that are there */
	uint32_t cap; /* room at base; lent: 0 */
	uint16_t refs; /* frames that are queued or in the device */
	bool gone; /* acknowledged or given up: freed with the last frame */
	bool pooled;
	bool small; /* that of a struct demi_tcp_small */
	uint8_t room[];
};

enum demi_tcp_rec_flags {
	DEMI_TCP_REC_SACKED = 1 << 0,
	DEMI_TCP_REC_LOST = 1 << 1,
	DEMI_TCP_REC_RETRANS = 1 << 2, /* sent again and not known to be lost again */
	DEMI_TCP_REC_EVER = 1 << 3, /* was ever sent again: Karn's rule, RACK, F-RTO */
	DEMI_TCP_REC_FIN = 1 << 4, /* the last number is the FIN's */
	DEMI_TCP_REC_SMALL = 1 << 5, /* it is that of a struct demi_tcp_small */
};

/* What was sent at once: [seq, end). Two lists: in order of numbers, in order of the last transmission. */
struct demi_tcp_rec {
	struct demi_tcp_rec *next, *prev;
	struct demi_tcp_rec *tnext, *tprev;
	uint64_t sent_ns;
	uint32_t seq, end;
	uint32_t flags;
};

/*
 * A small push that was sent at once, by tcp_fast.c: the frame's object holds its bytes, and here, at its end, what
 * the lists say of them. It is free when the frame has left and neither list has its part any more.
 */
struct demi_tcp_small {
	uint64_t sum; /* as demi_tcp_push.sum, with the length */
	struct demi_tcp_rec rec;
	struct demi_tcp_chunk chunk;
};

enum demi_tcp_small_parts {
	DEMI_TCP_SMALL_REC = 1 << 0,
	DEMI_TCP_SMALL_CHUNK = 1 << 1,
};

/* What small pushes of a connection have in common; made anew when anything changes that it depends on. */
struct demi_tcp_push {
	uint32_t route_gen; /* 0: nothing is known */
	uint32_t len_max; /* of what can be sent in this way */
	uint64_t version; /* of the headers: no other has this number, or one up to len_max more */
	uint64_t sum; /* of all that its checksum covers but numbers, times, window, length and payload */
	uint64_t until_ns; /* the timer is set to this or earlier, and there has been no pause */
	uint32_t wnd_low, wnd_span; /* the window's right edge stays while [low, + span) bytes are promised */
};

/* Received payload. */
struct demi_tcp_rx {
	struct demi_tcp_rx *next;
	uint8_t *data;
	uint32_t len, charge, seq;
	uint32_t room; /* behind data + len, for small segments to come */
};

struct demi_tcp_range {
	uint32_t start, end;
};

/* A reserved port of the device, shared by a listener and its connections. */
struct demi_tcp_port {
	uint32_t refs, index;
	uint32_t handle, flow;
	bool has_flow; /* everything to the port comes here */
	bool bound; /* a socket is bound to it; not only its connections are left */
	bool share; /* SO_REUSEPORT: connections need flows of their own */
	uint8_t families;
	struct demi_inet_addr local;
};

struct demi_tcp;
struct demi_tcp_req;
struct demi_framing;
struct demi_inet_tx;

/* A congestion control algorithm. Windows are in bytes. */
struct demi_cc_ops {
	const char *name;
	bool ecn; /* wants ECN to be negotiated and every mark to be reported */
	void (*init)(struct demi_tcp *t);
	/* @bytes more are acknowledged, the window was used up, and no recovery is on. @rtt_us: 0 unknown. */
	void (*acked)(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us);
	/* A loss or a mark: the new ssthresh. */
	uint32_t (*ssthresh)(struct demi_tcp *t);
	/* Every acknowledgement with ECN in use; @marked of its @bytes. NULL: nothing to do. */
	void (*ecn_acked)(struct demi_tcp *t, uint32_t bytes, bool marked);
	/* The reduction was not called for. */
	void (*undo)(struct demi_tcp *t);
};

struct demi_tcp {
	struct demi_inet_sock s;

	/* What each segment touches. */
	uint8_t state; /* enum demi_tcp_state */
	bool fast; /* nothing unusual is going on: see demi_tcp_input() */
	uint8_t snd_wscale, rcv_wscale;
	uint16_t mss; /* payload of a segment; the usual options are taken off */
	bool ts_ok : 1, sack_ok : 1, ecn_ok : 1; /* negotiated */
	bool ws_ok : 1;
	bool nodelay : 1, cork : 1, quickack : 1, keepalive : 1; /* options */
	bool ack_now : 1, ack_later : 1; /* an acknowledgement is due; ack_later: when delack_ns has come */
	bool fin_sent : 1; /* snd_nxt is behind it */
	bool fin_rcvd : 1; /* rcv_nxt is behind it */
	bool installed : 1; /* has a descriptor */
	bool cwnd_limited : 1; /* the window was used up since it last grew */
	bool ece_due : 1, cwr_due : 1; /* RFC 3168 6.1.3, 6.1.2 */
	bool dctcp_ce : 1; /* RFC 8257 3.2 */
	bool frto : 1, frto_new : 1; /* RFC 5682: may be spurious; new data was sent to find out */
	bool tlp_new : 1; /* the probe was new data */
	bool reo_seen : 1; /* RFC 8985 6.2: reordering has been seen */
	bool undo_ok : 1;
	bool rd_end : 1; /* no more bytes come */
	bool linger_reset : 1, reset_rcvd : 1;
	bool live : 1; /* counted in ctx->live_conns */
	bool dead : 1; /* over; only frames in the device or a descriptor hold it */
	bool draining : 1; /* closed with data to send */
	bool sent_all : 1; /* our FIN is acknowledged */
	bool was_open : 1; /* it has been established */
	bool rx_failed : 1; /* the stream is broken: no memory, or not a message */
	bool fin_seen : 1; /* at fin_seq, behind a hole */
	bool df_off : 1;
	bool owns_port : 1; /* bound to it, not only sharing it */
	bool late_start : 1; /* deadlines to be set when the time is known */
	bool rack_on : 1, sack_orig : 1, undo_sent : 1;
	bool mtu_probe : 1; /* [probe_seq, probe_end) is out */
	uint32_t snd_nxt, rcv_nxt; /* in this order: with the header's two numbers they are read and compared at once */
	uint32_t rcv_adv; /* right edge of the window that was advertised */
	uint32_t snd_una, snd_wnd, snd_wl1;
	uint32_t rcv_acked; /* last acknowledgement sent */
	uint32_t wnd_word; /* flags and window of the segment that snd_wnd is of, if it was expected; else 0 */
	uint32_t snd_end; /* behind the last byte that was pushed */
	uint32_t ts_recent, ts_offset;
	uint32_t cwnd, ssthresh;
	uint32_t srtt_us, rttvar_us; /* RFC 6298, times 8 and 4 */
	uint32_t rto_us;
	uint8_t recovery; /* enum demi_tcp_recovery */
	uint8_t xmit; /* enum demi_tcp_xmit */
	uint8_t backoff, retries;
	struct demi_op_list ops; /* pops, or accepts, that wait; the connect */
	struct demi_tcp_chunk *snd_head, *snd_tail, *snd_cur; /* snd_cur: where snd_nxt is, or before */
	struct demi_tcp_rec *rec_head, *rec_tail, *sent_head, *sent_tail;
	/*
	 * All that is under way: the frame (with a struct demi_tcp_small) of one small push, [snd_una, snd_nxt), sent
	 * once, at last_send_ns. It is on no list and xmit_ns is not set until demi_tcp_settle(). Else NULL.
	 */
	struct demi_inet_tx *solo;
	struct demi_inet_link out; /* has something to send */
	struct demi_inet_link
		delack; /* in order of delack_ns; stays until then, also if no acknowledgement is due any more */
	uint64_t delack_ns, xmit_ns;
	struct demi_timer timer;
	struct demi_tcp_rx *rx_head, *rx_tail;
	uint32_t rx_bytes; /* charged: in order and out of it */
	uint32_t rcv_mss; /* what the peer's segments carry */
	struct demi_tcp_push push;

	/* Loss recovery. */
	uint32_t sacked_out, lost_out, retrans_out; /* bytes; their records say which */
	uint32_t recover; /* snd_nxt when recovery began */
	uint32_t prr_delivered, prr_out, prr_flight;
	uint32_t prior_cwnd, prior_ssthresh, undo_marker, undo_bytes;
	uint32_t undo_ts; /* of the first that was sent again, as a timestamp */
	uint64_t rack_ns; /* RACK.xmit_ts */
	uint32_t rack_end, rack_rtt_us, rack_fack; /* RACK.end_seq, RACK.rtt, RACK.fack */
	uint32_t min_rtt_us;
	uint32_t tlp_high; /* 0 with tlp_out */
	uint32_t dsack_round;
	uint8_t reo_mult, reo_persist;
	uint8_t dupacks;
	bool tlp_out, dsack_round_on;
	uint32_t reno_sacked; /* without SACK: duplicate acknowledgements, in bytes */

	/* Congestion control. */
	const struct demi_cc_ops *cc;
	uint64_t cc_state[9];
	uint32_t cwr_end; /* one reduction until this is acknowledged (RFC 3168 6.1.2) */
	uint64_t last_send_ns; /* of data: restart after idle */

	/* Out of order. */
	struct demi_tcp_rx *ooo;
	uint8_t nsacks;
	bool dsack;
	struct demi_tcp_range sacks[DEMI_TCP_SACKS], dsack_range;
	uint32_t ts_recent_ms;
	uint32_t fin_seq;

	/* Seldom. */
	struct demi_tcp_port *port; /* NULL: none, or TIME-WAIT's now */
	uint32_t flow; /* of its own; valid with has_flow */
	bool has_flow;
	uint8_t maxsegs;
	uint16_t mss_peer; /* as its SYN says */
	uint16_t mss_user; /* TCP_MAXSEG */
	uint16_t pmtu_bytes; /* what the path was found to take; 0: what the route says */
	uint16_t pmtu_high; /* no more than this is tried; 0: what the route says */
	uint16_t syn_mtu; /* a listener's last peer's */
	uint32_t iss, irs;
	uint32_t snd_wnd_max;
	uint32_t rto_min_us, user_timeout_ms;
	uint32_t keep_idle_s, keep_intvl_s;
	uint8_t keep_cnt, keep_sent;
	uint8_t syn_retries;
	uint64_t rcv_ns; /* when the peer was last heard: keepalive */
	uint64_t stuck_ns; /* since when something is unacknowledged; 0: nothing is */
	uint32_t probe_seq, probe_end;
	uint64_t pmtu_ns; /* with pmtu_bytes: from when on more is looked for */
	uint64_t keep_ns, end_ns; /* deadlines: keepalive; the connection is given up (linger, FIN-WAIT-2) */
	int32_t linger_s; /* -1: none */
	uint32_t soft_err; /* why it may not get through, for ETIMEDOUT's place */
	struct demi_framing *framed;
	uint32_t framed_bytes;
	uint32_t maxmsg;
	/* a listener and its children */
	struct demi_tcp *parent; /* not accepted yet */
	struct demi_tcp *child_head, *child_tail, *child_next; /* established, not accepted */
	struct demi_tcp_req *reqs;
	uint32_t backlog, nchildren, nreqs;
	/* for TCP_INFO */
	uint32_t total_retrans;
};

#define DEMI_TCP(sock) ((struct demi_tcp *)(sock)) /* s is the first member */

_Static_assert(sizeof(struct demi_tcp) <= 1024, "the state of an idle established connection");
_Static_assert(offsetof(struct demi_tcp, rcv_nxt) == offsetof(struct demi_tcp, snd_nxt) + 4, "read at once");

static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool seq_leq(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

/* A segment that has arrived. */
struct demi_tcp_in {
	const struct demi_inet_rxpkt *r;
	uint32_t seq, ack, wnd; /* wnd as it stands in the header */
	uint32_t off, len; /* payload in the packet */
	uint8_t flags;
	bool ce; /* marked: congestion experienced */
	struct demi_tcp_opts o;
};

/* How large a segment the peer sends: of a packet that was put together, what the device says they were. */
static inline void demi_tcp_rcv_mss(struct demi_tcp *t, const struct demi_inet_rxpkt *r, uint32_t len)
{
	uint32_t mss = r->p->flags & DEMI_PKT_F_GSO && r->p->gso_size < len ? r->p->gso_size : len;

	if (__builtin_expect(mss > t->rcv_mss, 0))
		t->rcv_mss = mss;
}

/* A segment to be sent: all that its headers say. */
struct demi_tcp_out {
	const struct demi_ip *src, *dst;
	uint64_t pseudo_sum; /* of addresses and protocol */
	uint32_t seq, ack;
	uint16_t sport, dport, wnd;
	uint8_t flags, tos, ttl;
	uint8_t olen;
	uint16_t gso_size; /* 0: one segment */
	bool df;
	uint8_t opts[DEMI_TCP_OPTS_MAX];
};

/* ---- tcp_fast.c ---- */

int demi_tcp_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga);
int demi_tcp_pop_now(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes);

/* Put t->solo where everything is that is under way: before anything but tcp_fast.c looks at that or changes it. */
void demi_tcp_solo_settle(struct demi_tcp *t);
static inline void demi_tcp_settle(struct demi_tcp *t)
{
	if (__builtin_expect(t->solo != NULL, 0))
		demi_tcp_solo_settle(t);
}

/* Options, the path or the state of the connection have changed. */
static inline void demi_tcp_forget(struct demi_tcp *t)
{
	t->push.route_gen = 0;
}

/* The list has no use for its part of a small push any more: a bit of enum demi_tcp_small_parts. */
void demi_tcp_small_put(struct demi_inet *in, struct demi_tcp_small *s, uint8_t part);

/* ---- tcp_frame.c: one packet ---- */

/* The device could not send one (a positive errno). */
void demi_tcp_frame_failed(struct demi_tcp *t, int err);

/* Queue a segment without payload of nobody's, or of @t's. Without memory it is lost, as on any network. */
void demi_tcp_send_bare(struct demi_inet *in, struct demi_tcp *t, const struct demi_tcp_out *o);
/* Queue @len bytes of @t from sequence number o->seq on. False: no memory. */
bool demi_tcp_send_data(struct demi_tcp *t, const struct demi_tcp_out *o, uint32_t len);
/* The frame has left. */
void demi_tcp_frame_done(struct demi_inet *in, struct demi_inet_tx *tx, int err);
/* How much of [seq, + len) one frame can refer to; at least one byte. */
uint32_t demi_tcp_chunks_fit(struct demi_tcp *t, uint32_t seq, uint32_t len);
/* Answer a segment that fits nothing with a reset: RFC 9293 3.10.7.1. */
void demi_tcp_send_reset_to(struct demi_inet *in, const struct demi_tcp_in *i);

/* ---- tcp_chunk.c: the bytes to send ---- */

/* Queue the segments, behind @head_len bytes at @head. */
int demi_tcp_chunks_push(struct demi_tcp *t, struct demi_op *op, const void *head, uint32_t head_len,
			 const demi_sgarray_t *sga);
/* The chunk with @seq, which is queued. */
struct demi_tcp_chunk *demi_tcp_chunk_at(struct demi_tcp *t, uint32_t seq);
/* Everything before @una is acknowledged. */
void demi_tcp_chunks_acked(struct demi_tcp *t, uint32_t una);
/* Give up all of them; lent pushes fail with @err. */
void demi_tcp_chunks_drop(struct demi_tcp *t, int err);
void demi_tcp_chunk_put(struct demi_inet *in, struct demi_tcp_chunk *c);

/* ---- tcp_rec.c: what is under way ---- */

struct demi_tcp_rec *demi_tcp_rec_add(struct demi_tcp *t, uint32_t seq, uint32_t end, uint32_t flags);
void demi_tcp_rec_del(struct demi_tcp *t, struct demi_tcp_rec *rec);
/* Make [seq, at) and [at, end) of it. The second one, or NULL without memory. */
struct demi_tcp_rec *demi_tcp_rec_split(struct demi_tcp *t, struct demi_tcp_rec *rec, uint32_t at);
void demi_tcp_rec_lost(struct demi_tcp *t, struct demi_tcp_rec *rec);
void demi_tcp_rec_sacked(struct demi_tcp *t, struct demi_tcp_rec *rec);
/* It is being sent again, now. */
void demi_tcp_rec_resent(struct demi_tcp *t, struct demi_tcp_rec *rec);
void demi_tcp_recs_drop(struct demi_tcp *t);

static inline uint32_t demi_tcp_rec_len(const struct demi_tcp_rec *rec)
{
	return rec->end - rec->seq;
}

/* RFC 6675 "pipe": bytes that are believed to be on the network. */
static inline uint32_t demi_tcp_pipe(const struct demi_tcp *t)
{
	uint32_t left = t->sacked_out + t->lost_out + t->reno_sacked, out = t->snd_nxt - t->snd_una + t->retrans_out;

	return out > left ? out - left : 0;
}

/* ---- tcp_output.c ---- */

/* All that may be sent now, acknowledgements too. */
void demi_tcp_output(struct demi_tcp *t);
/* Have demi_tcp_output() called. */
void demi_tcp_want_output(struct demi_tcp *t);
void demi_tcp_send_ack(struct demi_tcp *t);
void demi_tcp_send_syn(struct demi_tcp *t);
void demi_tcp_send_reset(struct demi_tcp *t);
/* An empty segment that has to be answered: seq is acknowledged already. */
void demi_tcp_send_probe(struct demi_tcp *t);
bool demi_tcp_resend(struct demi_tcp *t, struct demi_tcp_rec *rec);
/* RFC 8985 7.3: a probe; false: there was nothing to send. */
bool demi_tcp_send_tail(struct demi_tcp *t);
void demi_tcp_send_small(struct demi_tcp *t);
/* The window to advertise, in bytes; keeps what has been promised. */
uint32_t demi_tcp_rcv_window(struct demi_tcp *t);

/* ---- tcp_mtu.c ---- */

/* Make the mss what route, peer, user and path allow. */
void demi_tcp_mss_sync(struct demi_tcp *t);
/* The path does not take packets of more than @mtu bytes; after some time larger ones are tried. */
void demi_tcp_mtu_lower(struct demi_tcp *t, uint32_t mtu);
/* Nothing is known of the path that is used from now on. */
void demi_tcp_mtu_new_path(struct demi_tcp *t);
/* What is out in segments that are larger than the mss is lost, without congestion. */
void demi_tcp_sent_too_large(struct demi_tcp *t);
/* With pmtu_bytes: payload of a segment to try a larger size with; 0: not now. @unsent bytes wait. */
uint32_t demi_tcp_mtu_probe_bytes(struct demi_tcp *t, uint32_t unsent);
void demi_tcp_mtu_probe_sent(struct demi_tcp *t, uint32_t n); /* they are the last ones before snd_nxt */
/* With mtu_probe: what an acknowledgement, or a timeout, tells of it. */
void demi_tcp_mtu_probe_input(struct demi_tcp *t);
void demi_tcp_mtu_probe_failed(struct demi_tcp *t);

/* ---- tcp_input.c, tcp_state.c ---- */

/* The segment is not what the fast path expects: RFC 9293 3.10.7.4. True: the payload's buffers were taken. */
bool demi_tcp_state_input(struct demi_tcp *t, struct demi_tcp_in *i);
bool demi_tcp_syn_sent_input(struct demi_tcp *t, struct demi_tcp_in *i);
/* Whether the fast path may be used from now on. */
void demi_tcp_fast_update(struct demi_tcp *t);
/* A challenge, if the limit allows another one (RFC 5961 10). */
void demi_tcp_challenge(struct demi_tcp *t);
/* An acknowledgement is due, soon: within DEMI_TCP_DELACK_NS. */
void demi_tcp_ack_later(struct demi_tcp *t);

/* ---- tcp_ack.c ---- */

/* @ack > snd_una, and nothing unusual is going on. */
void demi_tcp_acked_fast(struct demi_tcp *t, uint32_t ack);
/* All else; the segment is acceptable, ack is not beyond snd_nxt. May end the connection. */
void demi_tcp_acked(struct demi_tcp *t, const struct demi_tcp_in *i);

/* ---- tcp_sack.c ---- */

/* Mark what the peer has; returns bytes that are new. *dsack: RFC 2883 reports a duplicate. */
uint32_t demi_tcp_sack_input(struct demi_tcp *t, const struct demi_tcp_in *i, bool *dsack);

/* ---- tcp_rack.c ---- */

/* @rec was delivered by what has just arrived. */
void demi_tcp_rack_delivered(struct demi_tcp *t, const struct demi_tcp_rec *rec);
/* Mark what must be lost by now. True: something was. */
bool demi_tcp_rack_detect(struct demi_tcp *t);
void demi_tcp_rack_dsack(struct demi_tcp *t);
uint64_t demi_tcp_pto_ns(const struct demi_tcp *t);

/* ---- tcp_recover.c ---- */

/* What an acknowledgement did, for recovery. */
struct demi_tcp_delivery {
	uint32_t acked; /* bytes cumulatively */
	uint32_t sacked; /* bytes newly */
	uint32_t sacked_before; /* of acked: bytes that were selectively acknowledged */
	uint32_t rtt_us; /* 0: none was measured */
	bool orig; /* some of it had not been sent again (RFC 5682) */
	bool dsack;
	bool dup; /* a duplicate acknowledgement, RFC 5681 2 */
	bool ece;
	bool late; /* what arrived had left before anything was sent again (RFC 3522) */
};
void demi_tcp_recover(struct demi_tcp *t, const struct demi_tcp_delivery *d);
void demi_tcp_enter_loss(struct demi_tcp *t);
void demi_tcp_enter_cwr(struct demi_tcp *t);
void demi_tcp_cwnd_grow(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us);
uint32_t demi_tcp_initial_window(const struct demi_tcp *t);

/* ---- tcp_timer.c ---- */

void demi_tcp_timer_init(struct demi_tcp *t);
/* A deadline may be earlier than the timer. */
void demi_tcp_timer_sync(struct demi_tcp *t);
/* Start the right transmission timer for what is under way. */
void demi_tcp_xmit_arm_at(struct demi_tcp *t, uint64_t now_ns);
static inline void demi_tcp_xmit_arm(struct demi_tcp *t)
{
	demi_tcp_xmit_arm_at(t, t->s.in->now_ns);
}
void demi_tcp_xmit_at(struct demi_tcp *t, uint8_t what, uint64_t deadline_ns);
void demi_tcp_rtt_sample(struct demi_tcp *t, uint64_t rtt_ns);
void demi_tcp_keepalive_start(struct demi_tcp *t);

/* ---- tcp_rx.c: towards pops ---- */

/* Take payload at rcv_nxt out of a packet's segments: [off, off + len). All its buffers become somebody's. */
void demi_tcp_rx_take(struct demi_tcp *t, const struct demi_inet_rxpkt *r, uint32_t off, uint32_t len);
void demi_tcp_rx_deliver(struct demi_tcp *t);
void demi_tcp_rx_drop(struct demi_tcp *t);
struct demi_tcp_rx *demi_tcp_rx_node(struct demi_inet *in);
void demi_tcp_rx_free(struct demi_inet *in, struct demi_tcp_rx *rx); /* the node only */
/* To the end of what is in order. */
void demi_tcp_rx_add(struct demi_tcp *t, struct demi_tcp_rx *rx);
/* A node with @len bytes at @off of the packet copied; or NULL. */
struct demi_tcp_rx *demi_tcp_rx_copy(struct demi_tcp *t, const uint8_t *data, uint32_t len);
int demi_tcp_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes);
void demi_tcp_rx_framed(struct demi_tcp *t, const uint8_t *data, uint32_t len);

/* ---- tcp_reass.c ---- */

/* Payload beyond rcv_nxt. Takes the buffers. */
void demi_tcp_ooo_add(struct demi_tcp *t, const struct demi_inet_rxpkt *r, uint32_t off, uint32_t len, uint32_t seq);
/* rcv_nxt has moved: what has become in order goes to rx. */
void demi_tcp_ooo_merge(struct demi_tcp *t);
void demi_tcp_ooo_drop(struct demi_tcp *t);
/* [start, end) came a second time (RFC 2883). */
void demi_tcp_dsack(struct demi_tcp *t, uint32_t start, uint32_t end);

/* ---- tcp_listen.c, tcp_connect.c, tcp_close.c, tcp_port.c, tcp_timewait.c ---- */

int demi_tcp_listen(struct demi_queue *q, int backlog);
int demi_tcp_accept(struct demi_queue *q, struct demi_op *op);
/* A segment for a listener and no connection. */
bool demi_tcp_listen_input(struct demi_tcp *l, struct demi_tcp_in *i);
void demi_tcp_listen_close(struct demi_tcp *l);
/* A connection that was not accepted yet is over. */
void demi_tcp_child_gone(struct demi_tcp *t);

int demi_tcp_connect(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len);
void demi_tcp_connect_failed(struct demi_tcp *t, int err);
uint16_t demi_tcp_syn_mss(const struct demi_tcp *t);
void demi_tcp_established(struct demi_tcp *t);
/* Numbers, windows and options of a connection whose SYNs are known. */
void demi_tcp_start(struct demi_tcp *t, uint32_t irs, uint32_t wnd, const struct demi_tcp_opts *o);

int demi_tcp_shutdown(struct demi_queue *q, int how);
void demi_tcp_close(struct demi_queue *q);
/* The connection ends now. @err: what operations fail with; 0: they end as at the end of the stream. */
void demi_tcp_end(struct demi_tcp *t, int err);
/* A reset goes to the peer first. */
void demi_tcp_abort(struct demi_tcp *t, int err);
void demi_tcp_give_up(struct demi_tcp *t);
void demi_tcp_late_start(struct demi_tcp *t);
/* Both sides have closed, and this one first. */
void demi_tcp_time_wait(struct demi_tcp *t);
/* The peer's FIN has its place in the stream. */
void demi_tcp_fin_received(struct demi_tcp *t);
/* Our FIN is acknowledged. May end the connection. */
void demi_tcp_fin_acked(struct demi_tcp *t);
/* It is closed: if all is acknowledged and no frame is under way, nobody waits for it any more. */
void demi_tcp_drained(struct demi_tcp *t);
/* Frames have left, or the descriptor is closed: free what nobody holds any more. */
void demi_tcp_put(struct demi_tcp *t);
void demi_tcp_free(struct demi_tcp *t);

/* TIME-WAIT: 0, and port and flow of @t are the table's; or -ENOMEM. */
int demi_tcp_tw_add(struct demi_tcp *t);
/* A segment for a connection that waits there: true, and it was answered. */
bool demi_tcp_tw_input(struct demi_inet *in, struct demi_tcp_in *i);
/* The addresses are used again; *next: the first number that the old connection cannot have used. */
bool demi_tcp_tw_take(struct demi_inet *in, const struct demi_demux_key *k, uint32_t *next);
void demi_tcp_tw_init(struct demi_inet *in);
void demi_tcp_tw_exit(struct demi_inet *in);

int demi_tcp_bind(struct demi_queue *q, const struct sockaddr *addr, socklen_t len);
int demi_tcp_port_reserve(struct demi_tcp *t, const struct demi_inet_addr *a);
int demi_tcp_port_flow(struct demi_tcp *t); /* everything to the port */
int demi_tcp_peer_flow(struct demi_tcp *t); /* one connection */
void demi_tcp_port_put(struct demi_inet *in, struct demi_tcp_port *p);
static inline struct demi_tcp_port *demi_tcp_port_get(struct demi_tcp_port *p)
{
	p->refs++;
	return p;
}

/* tcp_isn.c: keyed functions of a connection's addresses */
uint32_t demi_tcp_isn(const struct demi_inet *in, const struct demi_demux_key *k);
uint32_t demi_tcp_ts_offset(const struct demi_inet *in, const struct demi_demux_key *k);
/* A sequence number for a SYN+ACK that nothing is remembered of; @data below 8. */
uint32_t demi_tcp_cookie(const struct demi_inet *in, const struct demi_demux_key *k, uint32_t irs, uint8_t data);
/* Its data, or -1. */
int demi_tcp_cookie_check(const struct demi_inet *in, const struct demi_demux_key *k, uint32_t irs, uint32_t cookie);

static inline uint32_t demi_tcp_ts_now(const struct demi_inet *in)
{
	return (uint32_t)(in->now_ns / DEMI_TCP_MS);
}

/* tcp_last.c: ops->abort, a reset from wherever the process ends */
void demi_tcp_last(struct demi_queue *q);
/* What peers ask after that. */
void demi_tcp_last_answers(struct demi_inet *in);

/* tcp_sock.c */
struct demi_tcp *demi_tcp_alloc(struct demi_inet *in, int domain);
int demi_tcp_install(struct demi_tcp *t); /* give it a descriptor */
void demi_tcp_discard(struct demi_tcp *t); /* nothing knows it yet */
int demi_tcp_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len);
int demi_tcp_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len);
/* What a connection has from its listener. */
void demi_tcp_inherit(struct demi_tcp *t, const struct demi_tcp *from);
extern const struct demi_cc_ops demi_cc_cubic, demi_cc_reno, demi_cc_dctcp;

#endif /* DEMI_INET_TCP_H */
