/* SPDX-License-Identifier: MIT */
/* Socket options of TCP, with the numbers and the rules of Linux's tcp(7) and socket(7). */
#include "core/framing.h"
#include "inet/tcp_stack.h"

#include <demi/sockopt.h>

#include <linux/tcp.h>
#include <string.h>

/* Newer than the headers. */
#define OPT_RTO_MIN_US 45

#define SYN_RETRIES_MAX 127

static int get_int(const void *val, socklen_t len, int *out)
{
	if (len < sizeof(*out))
		return -EINVAL;
	memcpy(out, val, sizeof(*out));
	return 0;
}

/* Calls do not know the time: what depends on it is done by the next run. */
static void later(struct demi_tcp *t)
{
	if (t->dead || t->state < DEMI_TCP_ESTABLISHED)
		return;
	t->late_start = true;
	demi_tcp_want_output(t);
}

/* ---- SOL_SOCKET ---- */

static int set_linger(struct demi_tcp *t, const void *val, socklen_t len)
{
	struct linger l;

	if (len < sizeof(l))
		return -EINVAL;
	memcpy(&l, val, sizeof(l));
	t->linger_reset = l.l_onoff && !l.l_linger;
	t->linger_s = !l.l_onoff ? -1 : l.l_linger < 0 ? 0 : l.l_linger;
	return 0;
}

static int get_linger(const struct demi_tcp *t, void *val, socklen_t *len)
{
	struct linger l = { .l_onoff = t->linger_s >= 0, .l_linger = t->linger_s < 0 ? 0 : t->linger_s };

	if (*len < sizeof(l))
		return -EINVAL;
	memcpy(val, &l, sizeof(l));
	*len = sizeof(l);
	return 0;
}

/* ---- IPPROTO_TCP ---- */

static int set_congestion(struct demi_tcp *t, const void *val, socklen_t len)
{
	static const struct demi_cc_ops *const all[] = { &demi_cc_cubic, &demi_cc_reno, &demi_cc_dctcp };
	char name[16] = { 0 };

	memcpy(name, val, len < sizeof(name) - 1 ? len : sizeof(name) - 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(name, all[i]->name))
			continue;
		/* ECN is negotiated at the beginning */
		if (all[i]->ecn && t->state >= DEMI_TCP_SYN_SENT && !t->ecn_ok)
			return -EBUSY;
		t->cc = all[i];
		t->cc->init(t);
		return 0;
	}
	return -ENOENT;
}

static int set_keep(uint32_t *to, int v, int max)
{
	if (v < 1 || v > max)
		return -EINVAL;
	*to = (uint32_t)v;
	return 0;
}

static int set_tcp_int(struct demi_tcp *t, int name, int v)
{
	int err;

	switch (name) {
	case TCP_NODELAY:
		t->nodelay = v != 0;
		later(t); /* what waits may go */
		return 0;
	case TCP_CORK:
		t->cork = v != 0;
		later(t);
		return 0;
	case TCP_QUICKACK:
		t->quickack = v != 0;
		return 0;
	case TCP_MAXSEG:
		if (v && (v < (int)DEMI_TCP_MSS_MIN || v > 32767))
			return -EINVAL;
		t->mss_user = (uint16_t)v;
		if (t->state >= DEMI_TCP_ESTABLISHED)
			demi_tcp_mss_sync(t);
		return 0;
	case TCP_KEEPIDLE:
		err = set_keep(&t->keep_idle_s, v, 32767);
		if (!err)
			later(t);
		return err;
	case TCP_KEEPINTVL:
		return set_keep(&t->keep_intvl_s, v, 32767);
	case TCP_KEEPCNT:
		if (v < 1 || v > 127)
			return -EINVAL;
		t->keep_cnt = (uint8_t)v;
		return 0;
	case TCP_SYNCNT:
		if (v < 1 || v > SYN_RETRIES_MAX)
			return -EINVAL;
		t->syn_retries = (uint8_t)v;
		return 0;
	case TCP_USER_TIMEOUT:
		if (v < 0)
			return -EINVAL;
		t->user_timeout_ms = (uint32_t)v;
		later(t);
		return 0;
	case OPT_RTO_MIN_US:
		if (v < 1000 || v > (int)DEMI_TCP_RTO_INIT_US)
			return -EINVAL;
		t->rto_min_us = (uint32_t)v;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int get_tcp_int(const struct demi_tcp *t, int name, int *v)
{
	switch (name) {
	case TCP_NODELAY:
		*v = t->nodelay;
		return 0;
	case TCP_CORK:
		*v = t->cork;
		return 0;
	case TCP_QUICKACK:
		*v = t->quickack;
		return 0;
	case TCP_MAXSEG:
		*v = t->state >= DEMI_TCP_ESTABLISHED ? t->mss : t->mss_user ? t->mss_user : DEMI_TCP_MSS_DEFAULT;
		return 0;
	case TCP_KEEPIDLE:
		*v = (int)t->keep_idle_s;
		return 0;
	case TCP_KEEPINTVL:
		*v = (int)t->keep_intvl_s;
		return 0;
	case TCP_KEEPCNT:
		*v = t->keep_cnt;
		return 0;
	case TCP_SYNCNT:
		*v = t->syn_retries;
		return 0;
	case TCP_USER_TIMEOUT:
		*v = (int)t->user_timeout_ms;
		return 0;
	case OPT_RTO_MIN_US:
		*v = (int)t->rto_min_us;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

/* Linux's numbers of states (include/net/tcp_states.h). */
static uint8_t linux_state(const struct demi_tcp *t)
{
	static const uint8_t states[] = {
		[DEMI_TCP_CLOSED] = 7,	   [DEMI_TCP_LISTEN] = 10,     [DEMI_TCP_SYN_SENT] = 2,
		[DEMI_TCP_SYN_RCVD] = 3,   [DEMI_TCP_ESTABLISHED] = 1, [DEMI_TCP_CLOSE_WAIT] = 8,
		[DEMI_TCP_FIN_WAIT_1] = 4, [DEMI_TCP_FIN_WAIT_2] = 5,  [DEMI_TCP_CLOSING] = 11,
		[DEMI_TCP_LAST_ACK] = 9,
	};

	return states[t->state];
}

static int get_info(const struct demi_tcp *t, void *val, socklen_t *len)
{
	static const uint8_t ca[] = { 0, 2, 3, 4 }; /* TCP_CA_Open, CWR, Recovery, Loss */
	uint32_t mss = t->mss ? t->mss : 1;
	struct tcp_info i = {
		.tcpi_state = linux_state(t),
		.tcpi_ca_state = ca[t->recovery],
		.tcpi_retransmits = t->retries,
		.tcpi_probes = t->keep_sent,
		.tcpi_backoff = t->backoff,
		.tcpi_snd_wscale = (uint8_t)(t->snd_wscale & 15),
		.tcpi_rcv_wscale = (uint8_t)(t->rcv_wscale & 15),
		.tcpi_rto = t->rto_us,
		.tcpi_ato = (uint32_t)(DEMI_TCP_DELACK_NS / 1000),
		.tcpi_snd_mss = t->mss,
		.tcpi_rcv_mss = t->rcv_mss,
		.tcpi_unacked = (t->snd_nxt - t->snd_una + mss - 1) / mss,
		.tcpi_sacked = (t->sacked_out + t->reno_sacked) / mss,
		.tcpi_lost = (t->lost_out + mss - 1) / mss,
		.tcpi_retrans = (t->retrans_out + mss - 1) / mss,
		.tcpi_pmtu = t->s.peer.mtu_bytes,
		.tcpi_rtt = t->srtt_us >> 3,
		.tcpi_rttvar = t->rttvar_us >> 2,
		.tcpi_snd_ssthresh = t->ssthresh / mss,
		.tcpi_snd_cwnd = t->cwnd / mss,
		.tcpi_total_retrans = t->total_retrans,
		.tcpi_notsent_bytes = t->fin_sent ? 0 : t->snd_end - t->snd_nxt,
		.tcpi_min_rtt = t->min_rtt_us,
		.tcpi_snd_wnd = t->snd_wnd,
	};
	socklen_t n = *len < sizeof(i) ? *len : sizeof(i);

	i.tcpi_options = (uint8_t)((t->ts_ok ? TCPI_OPT_TIMESTAMPS : 0) | (t->sack_ok ? TCPI_OPT_SACK : 0) |
				   (t->ws_ok ? TCPI_OPT_WSCALE : 0) | (t->ecn_ok ? TCPI_OPT_ECN : 0));
	memcpy(val, &i, n);
	*len = n;
	return 0;
}

/* ---- DEMI_SOL ---- */

static int set_framed(struct demi_tcp *t, bool on)
{
	/* both ends must agree before the first byte */
	if (t->dead || t->ops.head || t->rx_head ||
	    (t->state >= DEMI_TCP_ESTABLISHED && (t->snd_end != t->iss + 1 || t->rcv_nxt != t->irs + 1)))
		return -EBUSY;
	if (on == (t->framed != NULL))
		return 0;
	if (!on) {
		demi_framing_free(t->framed);
		t->framed = NULL;
	} else {
		t->framed = demi_framing_new(t->s.in->ctx, t->maxmsg);
		if (!t->framed)
			return -ENOMEM;
	}
	demi_tcp_fast_update(t);
	return 0;
}

static int set_own(struct demi_tcp *t, int name, const void *val, socklen_t len)
{
	int v;

	if (len != sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	switch (name) {
	case DEMI_SO_FRAMED:
		return set_framed(t, v != 0);
	case DEMI_SO_MAXMSG:
		if (v < 1)
			return -EINVAL;
		t->maxmsg = (uint32_t)v;
		if (t->framed)
			demi_framing_set_max(t->framed, t->maxmsg);
		return 0;
	case DEMI_SO_MAXSEGS:
		if (v < 1 || v > DEMI_SGARRAY_MAXSIZE)
			return -EINVAL;
		t->maxsegs = (uint8_t)v;
		return 0;
	case DEMI_SO_READAHEAD:
		if (v < 1)
			return -EINVAL;
		t->s.rcvbuf_bytes = (uint32_t)v;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int get_own(const struct demi_tcp *t, int name, int *v)
{
	switch (name) {
	case DEMI_SO_FRAMED:
		*v = t->framed != NULL;
		return 0;
	case DEMI_SO_MAXMSG:
		*v = (int)t->maxmsg;
		return 0;
	case DEMI_SO_MAXSEGS:
		*v = t->maxsegs;
		return 0;
	case DEMI_SO_READAHEAD:
		*v = (int)t->s.rcvbuf_bytes;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

/* ---- all ---- */

int demi_tcp_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	struct demi_tcp *t = DEMI_TCP(q);
	int v, err;

	demi_tcp_forget(t);
	demi_tcp_settle(t);
	if (level == DEMI_SOL)
		return set_own(t, name, val, len);
	if (level == SOL_SOCKET && name == SO_LINGER)
		return set_linger(t, val, len);
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return set_congestion(t, val, len);
	if (level == IPPROTO_TCP) {
		err = get_int(val, len, &v);
		return err ? err : set_tcp_int(t, name, v);
	}
	if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
		err = get_int(val, len, &v);
		if (err)
			return err;
		t->keepalive = v != 0;
		later(t);
		return 0;
	}
	if (level == SOL_SOCKET && name == SO_BROADCAST)
		return -ENOPROTOOPT;
	return demi_inet_setsockopt(q, level, name, val, len);
}

static int get_socket_int(struct demi_tcp *t, int name, int *v)
{
	switch (name) {
	case SO_TYPE:
		*v = SOCK_STREAM;
		return 0;
	case SO_ACCEPTCONN:
		*v = t->state == DEMI_TCP_LISTEN;
		return 0;
	case SO_KEEPALIVE:
		*v = t->keepalive;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

int demi_tcp_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	struct demi_tcp *t = DEMI_TCP(q);
	int v = 0, err = -ENOPROTOOPT;

	if (level == SOL_SOCKET && name == SO_LINGER)
		return get_linger(t, val, len);
	if (level == IPPROTO_TCP && name == TCP_INFO)
		return get_info(t, val, len);
	if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
		char cc[16] = { 0 };

		strncpy(cc, t->cc->name, sizeof(cc) - 1);
		*len = *len < sizeof(cc) ? *len : sizeof(cc);
		memcpy(val, cc, *len);
		return 0;
	}
	if (level == IPPROTO_TCP)
		err = get_tcp_int(t, name, &v);
	else if (level == DEMI_SOL)
		err = get_own(t, name, &v);
	else if (level == SOL_SOCKET)
		err = get_socket_int(t, name, &v);
	if (err == -ENOPROTOOPT && level != IPPROTO_TCP && level != DEMI_SOL)
		return demi_inet_getsockopt(q, level, name, val, len);
	if (err)
		return err;
	if (*len < sizeof(v))
		return -EINVAL;
	memcpy(val, &v, sizeof(v));
	*len = sizeof(v);
	return 0;
}

void demi_tcp_inherit(struct demi_tcp *t, const struct demi_tcp *l)
{
	t->s.rcvbuf_bytes = l->s.rcvbuf_bytes;
	t->s.sndbuf_bytes = l->s.sndbuf_bytes;
	t->s.ttl = l->s.ttl;
	t->s.tos = l->s.tos;
	t->s.hops = l->s.hops;
	t->s.tclass = l->s.tclass;
	t->s.pmtudisc4 = l->s.pmtudisc4;
	t->s.pmtudisc6 = l->s.pmtudisc6;
	t->s.ifindex = l->s.ifindex;
	t->s.reuseaddr = l->s.reuseaddr;
	t->nodelay = l->nodelay;
	t->cork = l->cork;
	t->quickack = l->quickack;
	t->keepalive = l->keepalive;
	t->keep_idle_s = l->keep_idle_s;
	t->keep_intvl_s = l->keep_intvl_s;
	t->keep_cnt = l->keep_cnt;
	t->user_timeout_ms = l->user_timeout_ms;
	t->rto_min_us = l->rto_min_us;
	t->mss_user = l->mss_user;
	t->linger_s = l->linger_s;
	t->linger_reset = l->linger_reset;
	t->maxsegs = l->maxsegs;
	t->maxmsg = l->maxmsg;
	t->cc = l->cc;
	if (l->framed)
		t->framed = demi_framing_new(t->s.in->ctx, t->maxmsg);
}
