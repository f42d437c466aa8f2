/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, timeout: 240 */
/*
 * Two stacks on a link that drops, duplicates, reorders, delays, corrupts and truncates, with applications that push
 * and pop at random. Every byte is checked, and the rules of the wire on every packet. DEMI_TEST_SEED replays; the
 * first argument is the number of runs.
 */
#include "net.h"

#include <demi/sockopt.h>

struct app {
	int qd;
	uint64_t total, sent, got; /* bytes to send; pushed; popped */
	uint64_t salt_out, salt_in;
	demi_qtoken_t pop, push[8];
	char *lent[8];
	uint32_t npush;
	bool eof, shut, closed;
	uint32_t lazy; /* in 1/10000: a step without popping */
};

/* What one end has said on the wire. */
struct wire {
	bool on, fin;
	uint32_t right; /* edge of the window that it offered */
	uint32_t fin_seq, max_end;
	uint8_t wscale;
	bool ws;
};

static struct link l;
static struct app apps[2];
static struct wire wires[2];
static uint32_t nomem; /* in 1/10000: a step in which devices have no memory for packets */
static bool dirty; /* corruption may pass the checksum's 16 bits: then nobody is to blame */

static uint8_t byte_at(uint64_t salt, uint64_t pos)
{
	uint64_t x = (pos / 8 + salt) * 0x9e3779b97f4a7c15;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9;
	return (uint8_t)(x >> (pos % 8 * 8));
}

/* For who replays a run: DEMI_SIM_DUMP=1 */
static void dump(int from, const uint8_t *p, uint32_t len)
{
	uint32_t off = ip_hdr_len(p), hdr = (p[off + 12] >> 4) * 4U;

	printf("%llu.%06llu %d: flags %02x seq %u len %u ack %u wnd %u hdr %u\n",
	       (unsigned long long)(net_now / 1000000), (unsigned long long)(net_now % 1000000), from, p[off + 13],
	       get32(p + off + 4), len - off - hdr, get32(p + off + 8), get16(p + off + 14), hdr);
}

static void look(struct link *link, int from, const uint8_t *p, uint32_t len)
{
	uint32_t off = ip_hdr_len(p), hdr = (p[off + 12] >> 4) * 4U, seq = get32(p + off + 4), ack = get32(p + off + 8);
	uint32_t data = len - off - hdr, end = seq + data, wnd = get16(p + off + 14);
	struct wire *w = &wires[from], *peer = &wires[!from];
	uint8_t flags = p[off + 13];

	if (getenv("DEMI_SIM_DUMP"))
		dump(from, p, len);
	CHECK_EQ(tcp_sum(p, len), 0xffff);
	if (flags & 4)
		return;
	if (flags & 2) {
		for (uint32_t i = 20; i < hdr; i += p[off + i] == 1 ? 1 : p[off + i + 1]) {
			if (p[off + i] == 0)
				break;
			if (p[off + i] == 3) {
				w->ws = true;
				w->wscale = p[off + i + 2];
			}
		}
		w->right = (flags & 16 ? ack : 0) + wnd;
		w->on = flags & 16;
		w->max_end = seq + 1;
		return;
	}
	wnd <<= w->ws && peer->ws ? w->wscale : 0;
	/* RFC 9293 3.8.6: the right edge never moves back */
	if (w->on && (int32_t)(ack + wnd - w->right) > 0)
		w->right = ack + wnd;
	else if (w->on && !dirty && !(peer->fin && ack == peer->fin_seq + 1)) /* then it means nothing any more */
		CHECK((int32_t)(ack + wnd - w->right) >= 0);
	if (!w->on) {
		w->right = ack + wnd;
		w->on = true;
	}
	/* nothing beyond the window, nothing behind the FIN */
	if (data && peer->on && !dirty)
		CHECK((int32_t)(end - peer->right) <= 0);
	if (w->fin && data)
		CHECK((int32_t)(end - w->fin_seq) <= 0);
	if (flags & 1) {
		CHECK(!w->fin || end == w->fin_seq);
		w->fin = true;
		w->fin_seq = end;
	}
	if ((int32_t)(end - w->max_end) > 0)
		w->max_end = end;
}

static void app_push(struct app *a)
{
	demi_sgarray_t sga = { .sga_numsegs = 1 + rnd_below(3) };
	static char buf[70000 * 4];
	demi_qtoken_t qt = 0;
	uint32_t used = 0;
	bool heap = rnd_below(2);
	char *mem = buf;
	int err;

	if (a->sent == a->total || a->npush == 8)
		return;
	if (heap) {
		mem = demi_malloc(sizeof(buf));
		CHECK(mem);
	}
	for (uint32_t i = 0; i < sga.sga_numsegs; i++) {
		uint32_t n = 1 + rnd_below(rnd_below(4) ? 200 : 60000);

		if (n > a->total - a->sent - used)
			n = (uint32_t)(a->total - a->sent - used);
		if (!n) {
			sga.sga_numsegs = i;
			break;
		}
		for (uint32_t k = 0; k < n; k++)
			mem[used + k] = (char)byte_at(a->salt_out, a->sent + used + k);
		sga.sga_segs[i].sgaseg_buf = mem + used;
		sga.sga_segs[i].sgaseg_len = n;
		used += n;
	}
	err = demi_push(&qt, a->qd, &sga);
	if (!heap)
		memset(buf, 0xaa, used); /* it was copied, or is not ours to touch: this is not heap memory */
	if (err) {
		CHECK(err == ENOBUFS || (err == ENOMEM && nomem));
		if (heap)
			demi_free(mem);
		return;
	}
	a->sent += used;
	a->push[a->npush] = qt;
	a->lent[a->npush++] = heap ? mem : NULL;
}

static void app_step(struct app *a)
{
	demi_qresult_t qr;

	for (uint32_t i = 0; i < a->npush; i++) {
		if (!try_result(a->push[i], &qr))
			continue;
		if (qr.qr_opcode != DEMI_OPC_PUSH)
			printf("push failed: %lld\n", (long long)qr.qr_ret);
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
		if (a->lent[i]) {
			memset(a->lent[i], 0x55, 100); /* nobody reads it any more */
			demi_free(a->lent[i]);
		}
		a->push[i] = a->push[--a->npush];
		a->lent[i] = a->lent[a->npush];
		i--;
	}
	if (rnd_below(3) == 0)
		app_push(a);
	if (a->sent == a->total && !a->shut && rnd_below(4) == 0) {
		OK(demi_shutdown(a->qd, SHUT_WR));
		a->shut = true;
	}
	if (a->eof || chance(a->lazy))
		return;
	if (!a->pop) {
		if (rnd_below(2))
			OK(demi_pop(&a->pop, a->qd));
		else
			OK(demi_pop_n(&a->pop, a->qd, 1 + rnd_below(5000)));
	}
	if (!try_result(a->pop, &qr))
		return;
	a->pop = 0;
	if (qr.qr_opcode != DEMI_OPC_POP)
		printf("pop failed: %lld\n", (long long)qr.qr_ret);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	for (uint32_t s = 0; s < qr.qr_value.sga.sga_numsegs; s++) {
		const uint8_t *p = qr.qr_value.sga.sga_segs[s].sgaseg_buf;
		uint32_t n = qr.qr_value.sga.sga_segs[s].sgaseg_len;

		if (!n)
			a->eof = true;
		for (uint32_t k = 0; k < n; k++)
			CHECK_EQ(p[k], byte_at(a->salt_in, a->got + k));
		a->got += n;
	}
	OK(demi_sgafree(&qr.qr_value.sga));
}

static bool over(void)
{
	for (int i = 0; i < 2; i++) {
		if (!apps[i].eof || !apps[i].shut || apps[i].npush)
			return false;
	}
	return true;
}

static void set_random(int qd)
{
	static const char *const cc[] = { "cubic", "reno", "dctcp" };
	int v = 4096 + (int)rnd_below(300000);
	const char *name = cc[rnd_below(3)];

	if (rnd_below(2))
		OK(demi_setsockopt(qd, SOL_SOCKET, SO_RCVBUF, &v, sizeof(v)));
	v = (int)rnd_below(2);
	OK(demi_setsockopt(qd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v)));
	v = 1 + (int)rnd_below(4);
	OK(demi_setsockopt(qd, DEMI_SOL, DEMI_SO_MAXSEGS, &v, sizeof(v)));
	OK(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)));
}

static void one(uint64_t seed)
{
	int domain = rnd_below(2) ? AF_INET : AF_INET6, listener;
	uint32_t caps = rnd_below(2) ? DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6 : 0;
	uint32_t mtu = rnd_below(2) ? 1500 : 1280 + rnd_below(8000);
	demi_qtoken_t accept, connect;
	demi_qresult_t qr;
	uint64_t limit;

	l = (struct link){ .delay_ns = rnd_below(4) ? 1000 * (1 + rnd_below(20000)) : 1000, .look = look };
	memset(apps, 0, sizeof(apps));
	memset(wires, 0, sizeof(wires));
	if (rnd_below(8)) {
		l.loss = rnd_below(3) ? rnd_below(300) : rnd_below(1500);
		l.dup = rnd_below(2) ? rnd_below(300) : 0;
		l.reorder = rnd_below(2) ? rnd_below(1000) : 0;
		l.corrupt = rnd_below(4) ? 0 : rnd_below(100);
		l.truncate = rnd_below(4) ? 0 : rnd_below(100);
	}
	if (rnd_below(3) == 0)
		l.rate_bps = 1000000ULL * (1 + rnd_below(100));
	dirty = l.corrupt != 0;
	nomem = rnd_below(4) ? 0 : rnd_below(3000);
	l.end[0] = node_new(1, caps, mtu);
	l.end[1] = node_new(2, caps, mtu);
	listener = node_listen(l.end[0], domain, 80, 8);
	set_random(listener);
	apps[1].qd = node_socket(l.end[1], domain);
	set_random(apps[1].qd);
	accept = start_accept(listener);
	connect = node_connect(apps[1].qd, l.end[0], domain, 80);
	limit = net_now + 4000ULL * 1000 * NET_MS;
	while (!try_result(accept, &qr) && net_now < limit)
		link_step(&l, net_now + 100 * NET_MS);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
	apps[0].qd = qr.qr_value.ares.qd;
	while (!try_result(connect, &qr) && net_now < limit)
		link_step(&l, net_now + 100 * NET_MS);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	for (int i = 0; i < 2; i++) {
		apps[i].total = rnd_below(4) ? rnd_below(300000) : rnd_below(2000);
		apps[i].salt_out = seed * 2 + (uint64_t)i;
		apps[i].salt_in = seed * 2 + (uint64_t)!i;
		apps[i].lazy = rnd_below(2) ? rnd_below(9900) : 0; /* slow, but not for ever */
	}
	while (!over()) {
		for (int i = 0; i < 2; i++) {
			l.end[i]->no_buf = chance(nomem);
			app_step(&apps[i]);
		}
		link_step(&l, net_now + 1 + rnd_below(10) * NET_MS);
		if (net_now > limit) {
			printf("lazy %u %u\n", apps[0].lazy, apps[1].lazy);
			printf("stuck: sent %llu/%llu got %llu, sent %llu/%llu got %llu\n",
			       (unsigned long long)apps[0].sent, (unsigned long long)apps[0].total,
			       (unsigned long long)apps[0].got, (unsigned long long)apps[1].sent,
			       (unsigned long long)apps[1].total, (unsigned long long)apps[1].got);
			CHECK(false);
		}
	}
	for (int i = 0; i < 2; i++) {
		l.end[i]->no_buf = false;
		CHECK_EQ(apps[i].got, apps[!i].total);
		OK(demi_close(apps[i].qd));
	}
	OK(demi_close(listener));
	link_run(&l, 2000ULL * 1000 * NET_MS);
	link_free(&l);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	CHECK_EQ(demi_ctx_self->live_conns, 0);
	CHECK_EQ(demi_ctx_self->queues.open, 0);
}

int main(int argc, char **argv)
{
	int runs = argc > 1 ? atoi(argv[1]) : SLOW ? 60 : 400;
	uint64_t seed;

	alarm(runs > 1000 ? 3600 : 230);
	seed = check_seed();
	init_memq();
	for (int i = 0; i < runs; i++) {
		check_rng = (seed + (uint64_t)i * 2) | 1;
		for (int k = 0; k < 8; k++) /* neighbours begin alike */
			rnd();
		if (getenv("SIM_V"))
			printf("run %d: DEMI_TEST_SEED=%llu\n", i, (unsigned long long)(seed + (uint64_t)i * 2));
		fflush(stdout);
		one(seed + (uint64_t)i);
	}
	printf("%d seeds\n", runs);
	return 0;
}
