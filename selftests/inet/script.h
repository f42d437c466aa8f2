/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_SCRIPT_H
#define DEMI_SELFTESTS_INET_SCRIPT_H

/*
 * Scripts of packets for one stack, whose peer the test is. A segment is written as
 *
 *	FLAGS SEQ[+LEN] [ack N] [win N] [ce] [<OPTION,...>]
 *
 * FLAGS of S F R P . (ACK) U E (ECE) W (CWR). Numbers are relative to each side's initial one. Options: mss N, ws N,
 * sackOK, ts [VAL [ECR]], ecr ECR, sack A-B [A-B ...]; in what is expected also nots, nosack, noopts. What is not
 * mentioned is not looked at, but flags, number, length and acknowledgement.
 *
 *	in("S 0 win 8000 <mss 1000>");	the peer sends
 *	out("S. 0 ack 1 <mss 1460>");	the stack has sent, next
 *	none();				nothing else
 *	quiet(199);			time passes, and nothing is sent
 *	pass(1);			time passes
 */

#include "net.h"

#include <demi/sockopt.h>

#include <stdarg.h>

#define PEER_ISN 1000000U
#define STACK_PORT 80
#define PEER_PORT 5000
#define PEER_HOST 9

struct seg {
	uint8_t flags;
	uint32_t seq, len, ack, win;
	bool has_ack, has_win, ce;
	bool mss, ws, sack_ok, ts, no_ts, no_sack, no_opts;
	uint32_t mss_val, ws_val, ts_val, ts_ecr;
	bool has_val, has_ecr;
	uint32_t nsacks, sacks[4][2];
};

static struct node *sn; /* the stack's */
static uint32_t iss; /* its initial number; known after its first SYN */
static uint16_t stack_port; /* of the connection */
static uint32_t ts_base; /* its first timestamp, at ts_at */
static uint64_t ts_at;
static bool ts_known;
static uint32_t peer_ts; /* what the peer's segments carry if the connection has timestamps: ms of the script's time */
static bool peer_ts_on;
static struct seg last; /* what out() has seen */
static uint8_t last_packet[66000];
static const char *script_line;
static int script_cases;
static uint32_t script_win = 65535; /* that the peer offers when it has connected */
static bool script_six; /* the whole program's cases are over IPv6 */
static uint8_t peer6_addr[16] = { 0xfd, [15] = PEER_HOST };

#define SCRIPT_FAIL(...)                                                                                               \
	do {                                                                                                           \
		printf("%s: ", script_line);                                                                           \
		printf(__VA_ARGS__);                                                                                   \
		printf("\n");                                                                                          \
		fflush(stdout);                                                                                        \
		abort();                                                                                               \
	} while (0)

static inline uint32_t number(const char **s)
{
	char *end;
	uint32_t v = (uint32_t)strtoul(*s, &end, 10);

	if (end == *s)
		SCRIPT_FAIL("a number is missing at \"%s\"", *s);
	*s = end;
	return v;
}

static inline bool word(const char **s, const char *w)
{
	size_t n = strlen(w);

	while (**s == ' ' || **s == ',')
		++*s;
	if (strncmp(*s, w, n))
		return false;
	*s += n;
	while (**s == ' ')
		++*s;
	return true;
}

static inline bool digit(const char *s)
{
	return *s >= '0' && *s <= '9';
}

static inline void parse_option(struct seg *g, const char **s)
{
	if (word(s, "ecr")) {
		g->ts = g->has_ecr = true;
		g->ts_ecr = number(s);
		return;
	}
	if (word(s, "mss")) {
		g->mss = true;
		g->mss_val = number(s);
	} else if (word(s, "ws")) {
		g->ws = true;
		g->ws_val = number(s);
	} else if (word(s, "sackOK")) {
		g->sack_ok = true;
	} else if (word(s, "sack")) {
		while (digit(*s)) {
			g->sacks[g->nsacks][0] = number(s);
			CHECK(**s == '-');
			++*s;
			g->sacks[g->nsacks++][1] = number(s);
			while (**s == ' ')
				++*s;
		}
	} else if (word(s, "ts")) {
		g->ts = true;
		if (digit(*s)) {
			g->has_val = true;
			g->ts_val = number(s);
			while (**s == ' ')
				++*s;
			if (digit(*s)) {
				g->has_ecr = true;
				g->ts_ecr = number(s);
			}
		}
	} else if (word(s, "nots")) {
		g->no_ts = true;
	} else if (word(s, "nosack")) {
		g->no_sack = true;
	} else if (word(s, "noopts")) {
		g->no_opts = true;
	} else {
		SCRIPT_FAIL("what is \"%s\"?", *s);
	}
}

static inline struct seg parse_seg(const char *s)
{
	static const char letters[] = "FSRP.UEW";
	struct seg g = { .flags = 0 };

	for (; *s && *s != ' '; s++) {
		const char *at = strchr(letters, *s);

		if (!at)
			SCRIPT_FAIL("what is \"%s\"?", s);
		g.flags |= (uint8_t)(1 << (at - letters));
	}
	word(&s, "");
	g.seq = number(&s);
	if (*s == '+') {
		s++;
		g.len = number(&s);
	}
	while (word(&s, ""), *s) {
		if (word(&s, "ack")) {
			g.has_ack = true;
			g.ack = number(&s);
		} else if (word(&s, "win")) {
			g.has_win = true;
			g.win = number(&s);
		} else if (word(&s, "ce")) {
			g.ce = true;
		} else if (word(&s, "<")) {
			while (!word(&s, ">"))
				parse_option(&g, &s);
		} else {
			SCRIPT_FAIL("what is \"%s\"?", s);
		}
	}
	return g;
}

static inline uint8_t script_byte(uint32_t seq)
{
	return (uint8_t)(seq * 31 + (seq >> 8));
}

/* ---- what the peer sends ---- */

static inline uint32_t build_opts(const struct seg *g, uint8_t *o)
{
	uint32_t n = 0;

	if (g->mss) {
		o[n] = 2;
		o[n + 1] = 4;
		put16(o + n + 2, g->mss_val);
		n += 4;
	}
	if (g->sack_ok) {
		memcpy(o + n, "\1\1\4\2", 4);
		n += 4;
	}
	if (g->ts || (peer_ts_on && !g->no_ts)) {
		memcpy(o + n, "\1\1\10\12", 4);
		put32(o + n + 4, g->has_val ? g->ts_val : peer_ts + (uint32_t)(net_now / NET_MS));
		put32(o + n + 8, g->has_ecr ? ts_base + g->ts_ecr : ts_base + (uint32_t)((net_now - ts_at) / NET_MS));
		if (!ts_known)
			put32(o + n + 8, 0);
		n += 12;
	}
	if (g->ws) {
		memcpy(o + n, "\1\3\3", 3);
		o[n + 3] = (uint8_t)g->ws_val;
		n += 4;
	}
	if (g->nsacks) {
		memcpy(o + n, "\1\1\5", 3);
		o[n + 3] = (uint8_t)(2 + 8 * g->nsacks);
		for (uint32_t i = 0; i < g->nsacks; i++) {
			put32(o + n + 4 + 8 * i, iss + g->sacks[i][0]);
			put32(o + n + 8 + 8 * i, iss + g->sacks[i][1]);
		}
		n += 4 + 8 * g->nsacks;
	}
	return n;
}

/* The IP header; its length. */
static inline uint32_t build_ip(const struct seg *g, uint8_t *p)
{
	if (script_six) {
		p[0] = 0x60;
		p[1] = g->ce ? 0x30 : 0;
		p[6] = 6;
		p[7] = 64;
		memcpy(p + 8, peer6_addr, 16);
		memcpy(p + 24, sn->addr6, 16);
		return 40;
	}
	p[0] = 0x45;
	p[1] = g->ce ? 3 : 0;
	p[6] = 0x40;
	p[8] = 64;
	p[9] = 6;
	put32(p + 12, 0x0a000000U | PEER_HOST);
	put32(p + 16, sn->addr4);
	return 20;
}

static inline uint32_t build_seg(const struct seg *g, uint8_t *p)
{
	uint32_t olen, len;
	uint8_t *h;

	memset(p, 0, 120);
	h = p + build_ip(g, p);
	olen = build_opts(g, h + 20);
	len = (uint32_t)(h - p) + 20 + olen + g->len;
	put16(h, PEER_PORT);
	put16(h + 2, stack_port);
	put32(h + 4, PEER_ISN + g->seq);
	put32(h + 8, g->flags & 16 ? iss + g->ack : 0);
	h[12] = (uint8_t)((20 + olen) << 2);
	h[13] = g->flags;
	put16(h + 14, g->has_win ? g->win : 65535);
	for (uint32_t i = 0; i < g->len; i++)
		h[20 + olen + i] = script_byte(g->seq + !!(g->flags & 2) + i);
	set_sums(p, len);
	return len;
}

static inline void in_line(const char *line, const char *s)
{
	static uint8_t p[66000];
	struct seg g;

	script_line = line;
	g = parse_seg(s);
	node_receive(sn, p, build_seg(&g, p), NULL);
	node_pump(sn);
}

/* ---- what the stack sends ---- */

static inline void read_opts(struct seg *g, const uint8_t *o, uint32_t len)
{
	for (uint32_t i = 0; i < len && o[i];) {
		if (o[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 >= len || o[i + 1] < 2 || i + o[i + 1] > len)
			SCRIPT_FAIL("malformed options");
		switch (o[i]) {
		case 2:
			g->mss = true;
			g->mss_val = get16(o + i + 2);
			break;
		case 3:
			g->ws = true;
			g->ws_val = o[i + 2];
			break;
		case 4:
			g->sack_ok = true;
			break;
		case 5:
			for (uint32_t k = 2; k < o[i + 1]; k += 8, g->nsacks++) {
				g->sacks[g->nsacks][0] = get32(o + i + k) - PEER_ISN;
				g->sacks[g->nsacks][1] = get32(o + i + k + 4) - PEER_ISN;
			}
			break;
		case 8:
			g->ts = true;
			g->ts_val = get32(o + i + 2);
			g->ts_ecr = get32(o + i + 6);
			break;
		default:
			SCRIPT_FAIL("option %u", o[i]);
		}
		i += o[i + 1];
	}
}

static inline void read_seg(struct seg *g, const struct packet *p)
{
	uint32_t off = ip_hdr_len(p->data), hdr = (p->data[off + 12] >> 4) * 4U;
	const uint8_t *h = p->data + off;

	memset(g, 0, sizeof(*g));
	CHECK_EQ(tcp_sum(p->data, p->len), 0xffff);
	CHECK_EQ(get16(h + 2), PEER_PORT);
	g->flags = h[13];
	if (g->flags & 2) {
		iss = get32(h + 4);
		stack_port = (uint16_t)get16(h);
	}
	g->seq = get32(h + 4) - iss;
	g->ack = get32(h + 8) - PEER_ISN;
	g->len = p->len - off - hdr;
	g->win = get16(h + 14);
	g->ce = off == 20 ? p->data[1] & 3 : p->data[1] & 0x30; /* out: ECN-capable */
	read_opts(g, h + 20, hdr - 20);
	if (g->ts && !ts_known) {
		ts_known = true;
		ts_base = g->ts_val;
		ts_at = p->at_ns;
	}
	memcpy(last_packet, p->data, p->len);
}

static inline void describe(const struct seg *g)
{
	printf("  got: flags %02x %u+%u ack %u win %u", g->flags, g->seq, g->len, g->ack, g->win);
	if (g->mss)
		printf(" mss %u", g->mss_val);
	if (g->ws)
		printf(" ws %u", g->ws_val);
	if (g->sack_ok)
		printf(" sackOK");
	if (g->ts)
		printf(" ts %u %u", g->ts_val, g->ts_ecr);
	for (uint32_t i = 0; i < g->nsacks; i++)
		printf(" sack %u-%u", g->sacks[i][0], g->sacks[i][1]);
	printf("%s\n", g->ce ? " ecn" : "");
}

static inline bool opts_match(const struct seg *w, const struct seg *g)
{
	if ((w->mss && (!g->mss || g->mss_val != w->mss_val)) || (w->ws && (!g->ws || g->ws_val != w->ws_val)))
		return false;
	if ((w->sack_ok && !g->sack_ok) || (w->ts && !g->ts) || (w->no_ts && g->ts) || (w->no_sack && g->nsacks))
		return false;
	if (w->no_opts && (g->mss || g->ws || g->sack_ok || g->ts || g->nsacks))
		return false;
	if ((w->has_val && g->ts_val != w->ts_val + ts_base) || (w->has_ecr && g->ts_ecr != w->ts_ecr))
		return false;
	if (w->nsacks && w->nsacks != g->nsacks)
		return false;
	for (uint32_t i = 0; i < w->nsacks; i++) {
		if (w->sacks[i][0] != g->sacks[i][0] || w->sacks[i][1] != g->sacks[i][1])
			return false;
	}
	return true;
}

static inline void out_line(const char *line, const char *s)
{
	struct packet *p;
	struct seg w;

	script_line = line;
	w = parse_seg(s);
	node_pump(sn);
	p = node_take(sn);
	if (!p)
		SCRIPT_FAIL("expected \"%s\", and nothing was sent", s);
	read_seg(&last, p);
	free(p);
	if ((w.flags & ~8) != (last.flags & ~8) || (w.flags & 8 && !(last.flags & 8)) || w.len != last.len ||
	    (w.seq != last.seq && !(w.flags & 2)) || (w.has_ack && w.ack != last.ack) ||
	    (w.has_win && w.win != last.win) || (w.ce && !last.ce) || !opts_match(&w, &last)) {
		describe(&last);
		SCRIPT_FAIL("expected \"%s\"", s);
	}
}

static inline void none_line(const char *line)
{
	struct packet *p;

	script_line = line;
	node_pump(sn);
	p = node_take(sn);
	if (p) {
		read_seg(&last, p);
		describe(&last);
		SCRIPT_FAIL("expected nothing");
	}
}

/* ---- time ---- */

static inline void pass_us(uint64_t us)
{
	uint64_t until = net_now + us * 1000, ns;

	for (;;) {
		node_pump(sn);
		ns = demi_inet_deadline(&sn->in);
		if (ns > until)
			break;
		net_now = ns > net_now ? ns : net_now;
		node_pump(sn);
	}
	net_now = until;
	node_pump(sn);
}

static inline void quiet_line(const char *line, uint64_t us)
{
	none_line(line);
	pass_us(us);
	none_line(line);
}

/* The same with numbers that are worked out. */
static inline __attribute__((format(printf, 3, 4))) void formatted(void (*fn)(const char *, const char *),
								   const char *line, const char *fmt, ...)
{
	char s[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	fn(line, s);
}

/* @n segments of 1000 bytes, the first with number @seq; PSH says that nothing waits behind. */
static inline void out_full_line(const char *line, uint32_t seq, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		formatted(out_line, line, ". %u+1000 ack 1", seq + 1000 * i);
}

/* What has been sent is not of interest. */
static inline void out_any(void)
{
	struct packet *p;

	node_pump(sn);
	while ((p = node_take(sn)))
		free(p);
}

#define LINE2(n) #n
#define LINE1(n) LINE2(n)
#define LINE __FILE__ ":" LINE1(__LINE__)
#define in(s) in_line(LINE, s)
#define out(s) out_line(LINE, s)
#define inf(...) formatted(in_line, LINE, __VA_ARGS__)
#define outf(...) formatted(out_line, LINE, __VA_ARGS__)
#define out_full(seq, n) out_full_line(LINE, seq, n)
#define none() none_line(LINE)
#define pass(ms) pass_us((ms)*1000ULL)
#define quiet(ms) quiet_line(LINE, (ms)*1000ULL)

/* ---- a case: a stack of its own ---- */

static inline void script_begin(void)
{
	sn = node_new(1, 0, 1500);
	stack_port = STACK_PORT;
	ts_known = peer_ts_on = false;
	iss = 0;
	peer_ts = 0;
	script_win = 65535;
}

static inline void script_end(void)
{
	node_free(sn);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	CHECK_EQ(demi_ctx_self->queues.open, 0);
	CHECK_EQ(demi_ctx_self->live_conns, 0);
	script_cases++;
}

/* Results that the case does not want to look at. */
static inline void forget_results(void)
{
	demi_qresult_t qr;
	int n;

	while (demi_ctx_self->ops.live && !demi_wait_next_n(&qr, 1, &n, &check_now)) {
		if (qr.qr_opcode == DEMI_OPC_POP)
			demi_sgafree(&qr.qr_value.sga);
	}
}

static inline void run_case(const char *name, void (*fn)(void))
{
	if (getenv("SCRIPT_V"))
		printf("%s\n", name);
	fflush(stdout);
	script_begin();
	fn();
	forget_results();
	script_end();
}

#define RUN(fn) run_case(#fn, fn)

static inline int script_done(void)
{
	printf("%d cases\n", script_cases);
	return 0;
}

/* ---- the usual beginnings ---- */

static int script_listener;

/* A listener on port 80; options may be set before the peer calls. */
static inline int listening(void)
{
	script_listener = node_listen(sn, script_six ? AF_INET6 : AF_INET, STACK_PORT, 8);
	return script_listener;
}

/* The peer connects with these options, after 10 ms of round trip; the accepted connection. The listener stays. */
static inline int accepted(const char *opts)
{
	demi_qtoken_t qt = start_accept(script_listener);
	char s[120];

	peer_ts_on = strstr(opts, "ts") != NULL;
	snprintf(s, sizeof(s), "S 0 win 65535 <%s>", opts);
	in_line("SYN", s);
	out_line("SYN+ACK", "S. 0 ack 1");
	pass(10);
	snprintf(s, sizeof(s), ". 1 ack 1 win %u", script_win);
	in_line("ACK", s);
	none_line("handshake");
	return result_now(qt).qr_value.ares.qd;
}

/* All of it: a connection that the peer has opened, with an MSS of 1000. */
static inline int established(const char *opts)
{
	int qd;

	listening();
	qd = accepted(opts);
	OK(demi_close(script_listener));
	return qd;
}

static inline demi_qtoken_t script_push(int qd, uint32_t len)
{
	static char buf[1 << 20];
	demi_qtoken_t qt;

	CHECK(len <= sizeof(buf));
	qt = push_start(qd, buf, len);
	node_pump(sn);
	return qt;
}

/* The next pop gives exactly the peer's bytes [seq, seq + len). */
static inline void popped_line(const char *line, int qd, uint32_t seq, uint32_t len)
{
	demi_qresult_t qr = result_now(pop_start(qd));
	const uint8_t *p = qr.qr_value.sga.sga_segs[0].sgaseg_buf;

	script_line = line;
	if (qr.qr_opcode != DEMI_OPC_POP)
		SCRIPT_FAIL("pop: %s", strerror((int)qr.qr_ret));
	if (qr.qr_value.sga.sga_segs[0].sgaseg_len != len)
		SCRIPT_FAIL("%u bytes, not %u", qr.qr_value.sga.sga_segs[0].sgaseg_len, len);
	for (uint32_t i = 0; i < len; i++) {
		if (p[i] != script_byte(seq + i))
			SCRIPT_FAIL("byte %u is wrong", i);
	}
	OK(demi_sgafree(&qr.qr_value.sga));
	node_pump(sn);
}

#define popped(qd, seq, len) popped_line(LINE, qd, seq, len)

static inline void pop_fails(int qd, int err)
{
	demi_qresult_t qr = result_now(pop_start(qd));

	check_failed(&qr, err);
}

static inline void set_int(int qd, int level, int name, int v)
{
	OK(demi_setsockopt(qd, level, name, &v, sizeof(v)));
}

static inline struct tcp_info info_of(int qd)
{
	socklen_t len = sizeof(struct tcp_info);
	struct tcp_info i;

	memset(&i, 0, sizeof(i));
	OK(demi_getsockopt(qd, IPPROTO_TCP, TCP_INFO, &i, &len));
	CHECK_EQ(len, sizeof(i));
	return i;
}

/* The peer as an address to connect to. */
static inline int script_connect(demi_qtoken_t *qt)
{
	struct sockaddr_in a4 = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	struct sockaddr_in6 a6 = addr6(peer6_addr, PEER_PORT);
	int qd = node_socket(sn, script_six ? AF_INET6 : AF_INET);

	if (script_six)
		OK(demi_connect(qt, qd, (struct sockaddr *)&a6, sizeof(a6)));
	else
		OK(demi_connect(qt, qd, (struct sockaddr *)&a4, sizeof(a4)));
	return qd;
}

/* Closed with a reset, whatever its state: the end of cases that are about something else. */
static inline void reset_close(int qd)
{
	struct linger l = { 1, 0 };

	OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	OK(demi_close(qd));
	out_any();
}

#endif /* DEMI_SELFTESTS_INET_SCRIPT_H */
