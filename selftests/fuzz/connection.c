// SPDX-License-Identifier: MIT
/*
 * A whole connection: the input says what the peer sends, what the application does, how time passes and when there is
 * no memory. Every packet that the stack sends is looked at (watch.h), the connection's state after each step (tcb.h),
 * and what is popped is what the peer has sent.
 */
#include "input.h"

#include "inet/script.h"
#include "inet/tcb.h"
#include "inet/watch.h"

static struct watch wire;
static int qd, listener;
static bool closed, framed;
static uint32_t pushed, got; /* bytes of the two streams */
static uint32_t irs; /* the peer's initial number, where the input has chosen it */
static demi_qtoken_t pops[16], pushes[16];
static uint32_t npops, npushes;
static uint32_t fins[32], nfins; /* where the peer's FINs were */

static uint8_t stack_byte(int from, uint32_t pos)
{
	return script_byte(pos);
}

/* ---- what the stack sends ---- */

static void forget_wire(void)
{
	memset(wire.side, 0, sizeof(wire.side));
	wire.side[1].unknown = true;
}

/* Another connection with the same addresses: time may stand still, and with it the initial numbers. */
static void note_syn(const uint8_t *p)
{
	struct watch_side *me = &wire.side[0];

	iss = get32(p + 24);
	stack_port = (uint16_t)get16(p + 20);
	if (me->syn && (me->isn != iss || (me->acked && me->ack != get32(p + 28))))
		forget_wire();
}

/* Of all the ends that the peer has claimed the one that the stack acknowledges is the one. */
static void note_end(uint32_t ack)
{
	for (uint32_t k = 0; k < nfins && k < 32; k++) {
		if (fins[k] + 1 != ack)
			continue;
		wire.side[1].fin = true;
		wire.side[1].fin_seq = fins[k];
	}
}

static void look_all(void)
{
	const struct demi_tcp *t;
	struct packet *p;

	node_pump(sn);
	while ((p = node_take(sn))) {
		if (p->data[9] == 6 && get16(p->data + 22) == PEER_PORT) {
			if (p->data[33] & 2)
				note_syn(p->data);
			if (getenv("FUZZ_V"))
				watch_dump(0, p->data, p->len);
			note_end(get32(p->data + 28));
			watch_look(&wire, 0, p->data, p->len);
		}
		free(p);
	}
	t = qd >= 0 && !closed ? tcb_of(qd) : NULL;
	if (t)
		tcb_check(qd);
	if (t && t->state >= DEMI_TCP_SYN_RCVD)
		irs = t->irs;
}

/* ---- what the peer sends ---- */

static uint32_t around(struct input *i, uint32_t base)
{
	uint8_t how = take8(i);

	switch (how & 7) {
	case 0:
	case 1:
	case 2:
		return base;
	case 3:
		return base + (uint32_t)(int8_t)take8(i);
	case 4:
		return base + take8(i) * 100U;
	case 5:
		return base + (uint32_t)(int16_t)take16(i);
	case 6:
		return base + (how >> 3) * 1000U;
	default:
		return take32(i);
	}
}

/* The edge of the window that the peer offers here, if the stack may believe it. */
static void note_window(const struct seg *g)
{
	struct watch_side *me = &wire.side[0], *peer = &wire.side[1];
	uint32_t ack = iss + g->ack, right = ack + (g->win << (g->flags & 2 ? 0 : peer->wscale));

	if (peer->unknown || !(g->flags & 16) || !me->syn || watch_lt(me->end, ack))
		return;
	if (!peer->acked || watch_lt(peer->right, right))
		peer->right = right;
	peer->acked = true;
}

static void add_options(struct input *i, struct seg *g, uint8_t how)
{
	g->ts = how & 1;
	if (g->ts && how & 2) {
		g->has_val = g->has_ecr = true;
		g->ts_val = peer_ts + (uint32_t)(net_now / NET_MS) + (uint32_t)(int8_t)take8(i);
		g->ts_ecr = (uint32_t)((net_now - ts_at) / NET_MS) + (uint32_t)(int8_t)take8(i);
	}
	if (how & 4) {
		g->nsacks = 1 + (how >> 3) % 3;
		for (uint32_t k = 0; k < g->nsacks; k++) {
			g->sacks[k][0] = around(i, wire.side[0].end - iss);
			g->sacks[k][1] = around(i, g->sacks[k][0] + 1000);
		}
	}
	if (how & 32) {
		g->mss = true;
		g->mss_val = take16(i);
	}
	if (how & 64) {
		g->ws = true;
		g->ws_val = take8(i);
	}
	g->sack_ok = how & 128;
}

static void segment(struct input *i)
{
	static const uint8_t usual[8] = { 16, 24, 16, 24, 17, 25, 2, 4 };
	static uint8_t p[70000];
	uint8_t f = take8(i), how = take8(i);
	struct seg g = { .flags = f & 8 ? f : usual[f & 7], .has_win = true };
	struct demi_pkt meta = { .flags = 0 };
	uint32_t len;

	g.ce = how & 1;
	g.seq = around(i, wire.side[0].acked ? wire.side[0].ack - PEER_ISN : 0);
	g.ack = around(i, wire.side[0].end - iss);
	g.win = how & 2 ? take16(i) : 65535;
	g.len = how & 4 ? take8(i) : how & 8 ? take16(i) % 4000 : 0;
	if (how & 16)
		add_options(i, &g, take8(i));
	else if (wire.side[0].ts && wire.side[1].ts)
		g.ts = true;
	if (!(g.flags & 2))
		note_window(&g);
	if (g.flags & 1)
		fins[nfins++ % 32] = PEER_ISN + g.seq + g.len + !!(g.flags & 2);
	len = build_seg(&g, p);
	if (how & 32) {
		meta.flags = DEMI_PKT_F_GSO_TCP4 | DEMI_PKT_F_CSUM_OK;
		meta.gso_size = (uint16_t)take16(i);
	} else if (how & 64) {
		p[take8(i) % len] ^= take8(i);
	}
	if (getenv("FUZZ_V"))
		watch_dump(1, p, len);
	node_receive(sn, p, len, &meta);
}

/* An error about what was sent. */
static void icmp_error(struct input *i)
{
	uint8_t p[56] = { 0x45 }, *q = p + 28;

	put16(p + 2, sizeof(p));
	p[8] = 64;
	p[9] = 1;
	put32(p + 12, 0x0a000000U | PEER_HOST);
	put32(p + 16, sn->addr4);
	put16(p + 10, (uint16_t)~fold16(sum16(p, 20)));
	put32(p + 20, take16(i) << 16);
	put32(p + 24, take16(i));
	q[0] = 0x45;
	put16(q + 2, 1500);
	q[9] = 6;
	put32(q + 12, sn->addr4);
	put32(q + 16, 0x0a000000U | PEER_HOST);
	put16(q + 20, stack_port);
	put16(q + 22, PEER_PORT);
	put32(q + 24, around(i, wire.side[0].end - 1));
	put16(p + 22, (uint16_t)~fold16(sum16(p + 20, 36)));
	node_receive(sn, p, sizeof(p), NULL);
}

/* ---- what the application does ---- */

static void popped_bytes(demi_qresult_t *qr)
{
	demi_sgarray_t *sga = &qr->qr_value.sga;

	if (qr->qr_opcode != DEMI_OPC_POP)
		return;
	for (uint32_t s = 0; s < sga->sga_numsegs; s++) {
		const uint8_t *b = sga->sga_segs[s].sgaseg_buf;

		for (uint32_t k = 0; k < sga->sga_segs[s].sgaseg_len && !framed; k++)
			CHECK_EQ(b[k], script_byte(irs - PEER_ISN + 1 + got + k));
		got += sga->sga_segs[s].sgaseg_len;
	}
	OK(demi_sgafree(sga));
}

static void results(void)
{
	demi_qresult_t qr;
	uint32_t n = 0;

	/* in the order in which they were asked for, which is the stream's */
	for (uint32_t k = 0; k < npops; k++) {
		if (try_result(pops[k], &qr))
			popped_bytes(&qr);
		else
			pops[n++] = pops[k];
	}
	npops = n;
	n = 0;
	for (uint32_t k = 0; k < npushes; k++) {
		if (!try_result(pushes[k], &qr))
			pushes[n++] = pushes[k];
	}
	npushes = n;
}

static void push_some(struct input *i)
{
	uint8_t how = take8(i);
	uint32_t len = how & 1 ? take16(i) : 1U + take8(i);
	uint8_t *mem = demi_malloc(len ? len : 1);
	demi_sgarray_t sga = sga_of(mem, len);

	CHECK(mem);
	for (uint32_t k = 0; k < len; k++)
		mem[k] = script_byte(pushed + k);
	if (how & 2 && len > 2) {
		sga.sga_numsegs = 2;
		sga.sga_segs[0].sgaseg_len = len / 2;
		sga.sga_segs[1].sgaseg_buf = mem + len / 2;
		sga.sga_segs[1].sgaseg_len = len - len / 2;
	}
	if (npushes < 16 && !demi_push(&pushes[npushes], qd, &sga)) {
		npushes++;
		pushed += len;
	}
	demi_free(mem);
}

static void set_option(struct input *i)
{
	static const struct {
		int level, name;
	} names[] = { { IPPROTO_TCP, TCP_NODELAY }, { IPPROTO_TCP, TCP_CORK },	   { IPPROTO_TCP, TCP_QUICKACK },
		      { IPPROTO_TCP, TCP_MAXSEG },  { IPPROTO_TCP, TCP_KEEPIDLE }, { IPPROTO_TCP, TCP_USER_TIMEOUT },
		      { SOL_SOCKET, SO_KEEPALIVE }, { SOL_SOCKET, SO_RCVBUF },	   { DEMI_SOL, DEMI_SO_READAHEAD },
		      { DEMI_SOL, DEMI_SO_MAXSEGS } };
	static const char *const cc[] = { "cubic", "reno", "dctcp", "none" };
	uint8_t which = take8(i);
	int v = (int)take16(i);

	if (which >= 128)
		demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, cc[which & 3], (socklen_t)strlen(cc[which & 3]));
	else
		demi_setsockopt(qd, names[which % 10].level, names[which % 10].name, &v, sizeof(v));
}

static void end_some(struct input *i)
{
	struct linger l = { 1, 0 };
	uint8_t how = take8(i);

	if (how & 0x80) {
		l.l_linger = how & 1 ? 1 : 0;
		demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	}
	if ((how & 7) < 3) {
		demi_shutdown(qd, how & 7);
	} else {
		demi_close(qd);
		closed = true;
	}
}

static void cancel_some(struct input *i)
{
	uint8_t which = take8(i);

	if (which & 1 && npops)
		demi_cancel(pops[(which >> 1) % npops]);
	else if (npushes)
		demi_cancel(pushes[(which >> 1) % npushes]);
}

/* ---- one step ---- */

static void step(struct input *i)
{
	static const uint32_t times_us[] = { 0, 1, 100, 500, 1000, 3000, 10000, 50000, 200000, 1000000, 60000000 };
	uint8_t what = take8(i) & 15;

	if (what < 7)
		segment(i);
	else if (what == 7)
		pass_us(times_us[take8(i) % 11]);
	else if (what == 8)
		icmp_error(i);
	else if (what == 9)
		wire.nomem |= sn->no_buf = take8(i) % 4 == 1;
	else if (what == 10)
		sn->hold = take8(i) & 1;
	else if (qd < 0 || closed)
		segment(i);
	else if (what == 11)
		push_some(i);
	else if (what == 12 && npops < 16)
		npops += !demi_pop_n(&pops[npops], qd, 1U + take16(i));
	else if (what == 13)
		end_some(i);
	else if (what == 14)
		set_option(i);
	else
		cancel_some(i);
	if (!sn->hold)
		node_done(sn);
	look_all();
	results();
}

static void begin(struct input *i)
{
	static const char *const opts[] = { "mss 1000", "mss 1000,sackOK", "mss 1000,sackOK,ts,ws 3", "mss 100,ts" };
	uint8_t how = take8(i);
	struct seg g = { .flags = 2, .has_win = true, .win = 65535 };
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	demi_qtoken_t accept, connect;
	demi_qresult_t qr;
	static uint8_t p[200];
	const char *s = opts[how & 3];

	listener = node_listen(sn, AF_INET, STACK_PORT, 1 + (how >> 6));
	if (how & 4)
		set_int(listener, DEMI_SOL, DEMI_SO_READAHEAD, 5000);
	framed = how & 8;
	if (framed)
		set_int(listener, DEMI_SOL, DEMI_SO_FRAMED, 1);
	wire.nomem = false;
	wire.byte = framed ? NULL : stack_byte;
	accept = start_accept(listener);
	if (how & 16) {
		qd = node_socket(sn, AF_INET);
		if (how & 32)
			OK(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, "dctcp", 5));
		OK(demi_connect(&connect, qd, (struct sockaddr *)&a, sizeof(a)));
		if (!(how & 64))
			look_all();
		g.flags = 18;
		g.ack = 1;
	}
	if (how & (how & 16 ? 64 : 128)) {
		forget_wire();
		look_all();
		return;
	}
	while (*s)
		parse_option(&g, &s);
	wire.side[1] = (struct watch_side){ .ts = g.ts, .ws = g.ws, .sack_ok = g.sack_ok, .mss = (uint16_t)g.mss_val };
	wire.side[1].wscale = g.ws ? (uint8_t)g.ws_val : 0;
	note_window(&g);
	node_receive(sn, p, build_seg(&g, p), NULL);
	look_all();
	if (how & 16)
		return;
	g = (struct seg){ .flags = 16, .seq = 1, .ack = 1, .has_win = true, .win = 65535, .ts = g.ts };
	note_window(&g);
	node_receive(sn, p, build_seg(&g, p), NULL);
	if (try_result(accept, &qr))
		qd = qr.qr_value.ares.qd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };

	if (!demi_ctx_self)
		init_memq();
	net_now = 1000000 * NET_MS;
	memset(&wire, 0, sizeof(wire));
	qd = -1;
	closed = false;
	irs = PEER_ISN;
	nfins = pushed = got = npops = npushes = 0;
	script_begin();
	ts_at = net_now;
	begin(&i);
	while (i.n)
		step(&i);
	sn->no_buf = sn->hold = false;
	node_done(sn);
	look_all();
	if (qd >= 0 && !closed)
		OK(demi_close(qd));
	OK(demi_close(listener));
	forget_results();
	look_all();
	pass_us(2000ULL * 1000000);
	look_all();
	forget_results();
	script_end();
	return 0;
}
