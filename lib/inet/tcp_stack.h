/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_TCP_STACK_H
#define DEMI_INET_TCP_STACK_H

/* What all TCP connections of a stack share. */

#include "inet/tcp.h"
#include "inet/tcp_timewait.h"

#define DEMI_TCP_REQ_BUCKETS 256 /* a power of two */
#define DEMI_TCP_REQS_MAX 4096 /* half-open connections of all listeners: beyond them cookies (RFC 4987) */

/* A SYN that was answered: half open. */
struct demi_tcp_req {
	struct demi_tcp_req *next; /* in its bucket */
	struct demi_tcp *l;
	struct demi_tcp_req *lnext, *lprev; /* of its listener */
	struct demi_demux_key key;
	struct demi_timer timer;
	uint32_t iss, irs, ts_recent;
	uint32_t mtu_bytes;
	uint32_t wnd; /* that the SYN+ACK advertised */
	uint64_t sent_ns;
	struct demi_tcp_opts o; /* of the SYN */
	uint8_t retries, tos;
	bool ecn;
};

struct demi_tcp_stack {
	struct demi_demux demux;
	struct demi_timers timers;
	struct demi_inet_link out, delack; /* connections */
	struct demi_inet_link all; /* by demi_inet_sock.all */
	struct demi_tcp_chunk *chunk_cache;
	struct demi_tcp_rec *rec_cache;
	struct demi_tcp_rx *rx_cache;
	uint32_t chunk_cached, rec_cached, rx_cached;
	uint64_t key[2]; /* of tcp_isn.c */

	struct demi_tcp_port **ports; /* by index; NULL: free */
	uint32_t nports;

	struct demi_tcp_req *reqs[DEMI_TCP_REQ_BUCKETS];
	uint32_t nreqs;
	struct demi_tcp_tw_table tw;

	/* RFC 5961 10: how many challenges this second still has */
	uint64_t challenge_ns;
	uint32_t challenges;
	uint64_t cookie_ns; /* when the last one was sent; 0: never */
};

/* What is kept for the next time. */
#define DEMI_TCP_CHUNK_SIZE 2048U /* of a chunk with small pushes */
#define DEMI_TCP_CHUNK_ROOM ((uint32_t)(DEMI_TCP_CHUNK_SIZE - sizeof(struct demi_tcp_chunk)))
#define DEMI_TCP_CHUNK_CACHE 64
#define DEMI_TCP_REC_CACHE 256

/* In-order data was taken. RFC 1122 4.2.3.2: every second full segment at once, all else within the delay. */
static inline void demi_tcp_ack_data(struct demi_tcp *t)
{
	if (__builtin_expect(t->rcv_nxt - t->rcv_acked >= 2 * t->rcv_mss || t->quickack, 0)) {
		t->ack_now = true;
		demi_tcp_want_output(t);
	} else if (__builtin_expect(t->delack.next != NULL, 1)) {
		t->ack_later = true;
	} else {
		demi_tcp_ack_later(t);
	}
}

int demi_tcp_init(struct demi_inet *in, const struct demi_inet_secrets *secrets);
void demi_tcp_exit(struct demi_inet *in);
void demi_tcp_device_gone(struct demi_inet *in, int err);

/* The time is in->now_ns: timers that are due, acknowledgements that are, and everything there is to send. */
void demi_tcp_run(struct demi_inet *in);
static inline bool demi_tcp_wants_run(const struct demi_inet *in)
{
	return in->tcp->out.next != &in->tcp->out;
}

void demi_tcp_chunk_cache_free(struct demi_inet *in);
void demi_tcp_rec_cache_free(struct demi_inet *in);
void demi_tcp_rx_cache_free(struct demi_inet *in);

void demi_tcp_req_free(struct demi_inet *in, struct demi_tcp_req *q);

static inline struct demi_tcp *demi_tcp_of_out(struct demi_inet_link *l)
{
	return (struct demi_tcp *)((char *)l - offsetof(struct demi_tcp, out));
}

static inline struct demi_tcp *demi_tcp_of_delack(struct demi_inet_link *l)
{
	return (struct demi_tcp *)((char *)l - offsetof(struct demi_tcp, delack));
}

/* RFC 6298 2, of a round trip of at least a microsecond and at most DEMI_TCP_RTO_MAX_US. */
static inline void demi_tcp_rtt_us(struct demi_tcp *t, uint32_t rtt_us)
{
	uint32_t var, rto_us;

	if (!t->srtt_us) { /* (2.2) */
		t->srtt_us = rtt_us << 3;
		t->rttvar_us = rtt_us << 1;
	} else { /* (2.3) */
		var = t->srtt_us >> 3 > rtt_us ? (t->srtt_us >> 3) - rtt_us : rtt_us - (t->srtt_us >> 3);
		t->rttvar_us += var - (t->rttvar_us >> 2);
		t->srtt_us += rtt_us - (t->srtt_us >> 3);
	}
	rto_us = t->rto_min_us; /* (2.4); at least 1 ms */
	if (__builtin_expect((t->srtt_us >> 3) + t->rttvar_us + 1000 > rto_us, 0)) {
		uint32_t us = (t->srtt_us >> 3) + (t->rttvar_us > 1000 ? t->rttvar_us : 1000);

		us = us > DEMI_TCP_RTO_MAX_US ? DEMI_TCP_RTO_MAX_US : us;
		rto_us = us > rto_us ? us : rto_us;
	}
	t->rto_us = rto_us;
}

/* Something is to be done at @ns. */
static inline void demi_tcp_due(struct demi_inet *in, uint64_t ns)
{
	if (ns < in->due_ns)
		in->due_ns = ns;
}

static inline int demi_tcp_timer_set(struct demi_inet *in, struct demi_timer *t, uint64_t ns)
{
	demi_tcp_due(in, ns);
	return demi_timer_set(&in->tcp->timers, t, ns);
}

/* When demi_tcp_run() must be called; UINT64_MAX: only after the next packet or call. */
static inline uint64_t demi_tcp_deadline(const struct demi_inet *in)
{
	const struct demi_tcp_stack *ts = in->tcp;
	uint64_t ns = demi_timers_next(&ts->timers);

	if (ts->delack.next != &ts->delack && demi_tcp_of_delack(ts->delack.next)->delack_ns < ns)
		ns = demi_tcp_of_delack(ts->delack.next)->delack_ns;
	return ns;
}

#endif /* DEMI_INET_TCP_STACK_H */
