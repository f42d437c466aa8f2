/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, timeout: 240 */
/*
 * Two stacks on a link that drops, duplicates, reorders, delays, marks, corrupts and truncates, with applications that
 * push, pop, cancel and end at random, with messages or without. Every byte is checked, the rules of the wire on every
 * packet (watch.h), the connections' state after each step (tcb.h). A run that fails says its seed: DEMI_TEST_SEED
 * replays it, DEMI_SIM_DUMP=1 shows its packets. The first argument is the number of runs.
 */
#include "tcb.h"
#include "watch.h"

#include <demi/sockopt.h>

#define PUSHES 8
#define MESSAGES 4096

struct app {
	int qd;
	uint64_t total, sent, got; /* bytes to send; pushed; popped */
	uint64_t salt_out, salt_in;
	demi_qtoken_t pop, push[PUSHES];
	char *lent[PUSHES];
	uint32_t npush;
	bool eof, shut;
	bool gone; /* has closed in the middle of everything */
	uint32_t lazy; /* in 1/10000: a step without popping */
	uint32_t rude; /* the same: a step in which it closes */
	uint32_t lens[MESSAGES], pushed,
		popped; /* of its messages; how many there are; how many the other has popped */
};

static struct link l;
static struct app apps[2];
static struct watch wire;
static bool framed;
static bool again; /* the connection that was watched is not the last one */
static uint32_t nomem; /* in 1/10000: a step in which devices have no memory for packets */
static bool chatty; /* they say a few bytes at a time and wait for an answer */
static uint64_t solos; /* packets that were sent while a small push was all that was under way */
static bool narrow; /* what the link takes changes, and the stacks try from time to time whether it takes more */
static uint64_t run_seed;

static uint8_t byte_at(uint64_t salt, uint64_t pos)
{
	uint64_t x = (pos / 8 + salt) * 0x9e3779b97f4a7c15;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9;
	return (uint8_t)(x >> (pos % 8 * 8));
}

/* Side 0 is the listener's. */
static uint8_t wire_byte(int from, uint32_t pos)
{
	return byte_at(apps[from].salt_out, pos);
}

static void look(struct link *link, int from, const uint8_t *p, uint32_t len)
{
	if (getenv("DEMI_SIM_DUMP"))
		watch_dump(from, p, len);
	/* a SYN that was late, when all is over: another connection begins, and comes to nothing */
	if (p[ip_hdr_len(p) + 13] & 2 && wire.side[from].syn && wire.side[from].isn != get32(p + ip_hdr_len(p) + 4))
		again = true;
	if (!again)
		watch_look(&wire, from, p, len);
	for (int i = 0; i < 2; i++) {
		const struct demi_tcp *t = apps[i].gone ? NULL : tcb_of(apps[i].qd);

		if (!t)
			continue;
		tcb_check(apps[i].qd);
		solos += t->solo != NULL;
	}
}

/* Somebody has closed with data under way: from then on operations of both may fail. */
static bool may_fail(void)
{
	return apps[0].gone || apps[1].gone;
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

	if (a->sent == a->total || a->npush == PUSHES || a->pushed - a->popped == MESSAGES)
		return;
	if (chatty) {
		sga.sga_numsegs = 1;
		if (rnd_below(8) && tcb_of(a->qd)->snd_una != tcb_of(a->qd)->snd_end)
			return;
	}
	if (heap) {
		mem = demi_malloc(sizeof(buf));
		CHECK(mem);
	}
	for (uint32_t i = 0; i < sga.sga_numsegs; i++) {
		uint32_t n = 1 + rnd_below(chatty || rnd_below(4) ? 200 : 60000);

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
		CHECK(err == ENOBUFS || (err == ENOMEM && nomem) || may_fail());
		if (heap)
			demi_free(mem);
		return;
	}
	a->sent += used;
	a->lens[a->pushed++ % MESSAGES] = used;
	a->push[a->npush] = qt;
	a->lent[a->npush++] = heap ? mem : NULL;
}

static void pushes_done(struct app *a)
{
	demi_qresult_t qr;

	for (uint32_t i = 0; i < a->npush; i++) {
		if (!try_result(a->push[i], &qr))
			continue;
		if (qr.qr_opcode != DEMI_OPC_PUSH && !may_fail())
			printf("push failed: %lld\n", (long long)qr.qr_ret);
		CHECK(qr.qr_opcode == DEMI_OPC_PUSH || may_fail());
		if (a->lent[i]) {
			memset(a->lent[i], 0x55, 100); /* nobody reads it any more */
			demi_free(a->lent[i]);
		}
		a->push[i] = a->push[--a->npush];
		a->lent[i] = a->lent[a->npush];
		i--;
	}
}

/* Cancelled, it gives nothing, and no byte is lost; unless it was done before. */
static void cancel_pop(struct app *a)
{
	demi_qresult_t qr;
	int err = demi_cancel(a->pop);

	CHECK(!err || err == EALREADY);
	if (err)
		return;
	qr = result_now(a->pop);
	check_failed(&qr, ECANCELED);
	a->pop = 0;
}

static void pop_done(struct app *a, demi_qresult_t *qr)
{
	struct app *peer = &apps[a == &apps[0]];
	uint32_t len = 0;

	a->pop = 0;
	if (qr->qr_opcode != DEMI_OPC_POP && may_fail()) {
		a->eof = true;
		return;
	}
	if (qr->qr_opcode != DEMI_OPC_POP)
		printf("pop failed: %lld\n", (long long)qr->qr_ret);
	CHECK_EQ(qr->qr_opcode, DEMI_OPC_POP);
	for (uint32_t s = 0; s < qr->qr_value.sga.sga_numsegs; s++) {
		const uint8_t *p = qr->qr_value.sga.sga_segs[s].sgaseg_buf;
		uint32_t n = qr->qr_value.sga.sga_segs[s].sgaseg_len;

		if (!n)
			a->eof = true;
		for (uint32_t k = 0; k < n; k++)
			CHECK_EQ(p[k], byte_at(a->salt_in, a->got + k));
		a->got += n;
		len += n;
	}
	if (framed && !a->eof) /* whole messages, one at a time */
		CHECK_EQ(len, peer->lens[peer->popped++ % MESSAGES]);
	else if (!framed)
		peer->popped = peer->pushed;
	OK(demi_sgafree(&qr->qr_value.sga));
}

/* It closes without a word, with what it has not read and what it has not sent; at once, in time, or never mind. */
static void go_away(struct app *a)
{
	struct linger linger = { 1, (int)rnd_below(3) };

	if (rnd_below(2))
		OK(demi_setsockopt(a->qd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	a->gone = true;
	OK(demi_close(a->qd));
}

static void look_for_more(struct demi_tcp *t)
{
	if (t->dead || t->state < DEMI_TCP_ESTABLISHED)
		return;
	if (rnd_below(20) == 0)
		l.mtu = 1280 + rnd_below(t->s.peer.mtu_bytes - 1279);
	if (!t->pmtu_bytes && !t->mtu_probe && rnd_below(20) == 0)
		demi_tcp_mtu_lower(t, 1280);
	if (rnd_below(3) == 0)
		t->pmtu_ns = 0; /* long ago */
}

static void app_step(struct app *a)
{
	demi_qresult_t qr;

	pushes_done(a);
	if (a->gone) {
		if (a->pop && try_result(a->pop, &qr))
			pop_done(a, &qr);
		return;
	}
	tcb_check(a->qd);
	if (narrow)
		look_for_more(tcb_of(a->qd));
	if (chance(a->rude)) {
		go_away(a);
		return;
	}
	if (rnd_below(3) == 0)
		app_push(a);
	if (a->sent == a->total && !a->shut && rnd_below(4) == 0) {
		int err = demi_shutdown(a->qd, SHUT_WR);

		CHECK(!err || may_fail());
		a->shut = true;
	}
	if (a->eof || chance(a->lazy))
		return;
	if (a->pop && rnd_below(20) == 0)
		cancel_pop(a);
	if (!a->pop) {
		if (rnd_below(2) || framed)
			OK(demi_pop(&a->pop, a->qd));
		else
			OK(demi_pop_n(&a->pop, a->qd, 1 + rnd_below(5000)));
	}
	if (try_result(a->pop, &qr))
		pop_done(a, &qr);
}

static bool over(void)
{
	for (int i = 0; i < 2; i++) {
		const struct app *a = &apps[i];

		if (a->npush || (a->gone && a->pop))
			return false;
		if (!a->gone && (!a->eof || (!a->shut && !may_fail())))
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
	v = framed;
	OK(demi_setsockopt(qd, DEMI_SOL, DEMI_SO_FRAMED, &v, sizeof(v)));
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
	uint32_t loss;
	uint64_t limit;

	net_now = 1000000 * NET_MS;
	l = (struct link){ .delay_ns = rnd_below(4) ? 1000 * (1 + rnd_below(20000)) : 1000, .look = look };
	memset(apps, 0, sizeof(apps));
	again = false;
	framed = rnd_below(5) == 0;
	memset(&wire, 0, sizeof(wire));
	wire.byte = framed ? NULL : wire_byte;
	if (rnd_below(8)) {
		l.loss = rnd_below(3) ? rnd_below(300) : rnd_below(1500);
		l.dup = rnd_below(2) ? rnd_below(300) : 0;
		l.reorder = rnd_below(2) ? rnd_below(1000) : 0;
		l.corrupt = rnd_below(4) ? 0 : rnd_below(100);
		l.truncate = rnd_below(4) ? 0 : rnd_below(100);
	}
	if (rnd_below(3) == 0)
		l.rate_bps = 1000000ULL * (1 + rnd_below(100));
	l.mark = rnd_below(2) ? 0 : rnd_below(2000);
	nomem = rnd_below(4) ? 0 : rnd_below(3000);
	wire.nomem = nomem != 0;
	narrow = rnd_below(8) == 0;
	chatty = rnd_below(3) == 0;
	for (int i = 0; i < 2; i++) {
		apps[i].salt_out = seed * 2 + (uint64_t)i;
		apps[i].salt_in = seed * 2 + (uint64_t)!i;
	}
	l.end[0] = node_new(1, caps, mtu);
	l.end[1] = node_new(2, caps, mtu);
	listener = node_listen(l.end[0], domain, 80, 8);
	set_random(listener);
	apps[1].qd = node_socket(l.end[1], domain);
	set_random(apps[1].qd);
	accept = start_accept(listener);
	connect = node_connect(apps[1].qd, l.end[0], domain, 80);
	limit = net_now + 4000ULL * 1000 * NET_MS;
	loss = l.loss;
	if (l.loss > 300) /* a listener gives up after six answers: such a run would come to nothing */
		l.loss = 300;
	while (!try_result(accept, &qr) && net_now < limit)
		link_step(&l, net_now + 100 * NET_MS);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
	apps[0].qd = qr.qr_value.ares.qd;
	while (!try_result(connect, &qr) && net_now < limit)
		link_step(&l, net_now + 100 * NET_MS);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	l.loss = loss;
	for (int i = 0; i < 2; i++) {
		apps[i].total = !chatty && rnd_below(4) ? rnd_below(300000) : rnd_below(20000);
		apps[i].rude = rnd_below(8) ? 0 : rnd_below(200);
		if (apps[i].rude) { /* a reset may be lost: then only the other's keepalive finds out */
			static const int on = 1, idle_s = 50;

			OK(demi_setsockopt(apps[!i].qd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
			OK(demi_setsockopt(apps[!i].qd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)));
		}
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
		if (!may_fail())
			CHECK_EQ(apps[i].got, apps[!i].total);
		CHECK(apps[i].got <= apps[!i].sent);
		if (!apps[i].gone)
			OK(demi_close(apps[i].qd));
	}
	OK(demi_close(listener));
	link_run(&l, 2000ULL * 1000 * NET_MS);
	link_free(&l);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	CHECK_EQ(demi_ctx_self->live_conns, 0);
	CHECK_EQ(demi_ctx_self->queues.open, 0);
}

static void say_seed(int sig)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "the run of DEMI_TEST_SEED=%llu\n", (unsigned long long)run_seed);

	signal(sig, SIG_DFL);
	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		return;
}

int main(int argc, char **argv)
{
	int runs = argc > 1 ? atoi(argv[1]) : SLOW ? 60 : 400;
	uint64_t seed;

	alarm(runs > 1000 ? 3600 : 230);
	seed = check_seed();
	init_memq();
	signal(SIGABRT, say_seed);
	for (int i = 0; i < runs; i++) {
		run_seed = check_rng = (seed + (uint64_t)i * 2) | 1;
		for (int k = 0; k < 8; k++) /* neighbours begin alike */
			rnd();
		one(run_seed);
	}
	CHECK(runs < 100 || solos);
	printf("%d seeds\n", runs);
	return 0;
}
