/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, timeout: 240 */
/*
 * A peer that sends anything: segments around the window with any flags and options, cut and merged, while the
 * application pushes, pops and closes at random. Nothing may break, and what the peer makes grow stays within limits.
 */
#include "script.h"
#include "tcb.h"

static int qd;

static uint32_t near(uint32_t a)
{
	switch (rnd_below(6)) {
	case 0:
		return a;
	case 1:
		return a + rnd_below(3) - 1;
	case 2:
		return a + rnd_below(70000) - 2000;
	case 3:
		return a + rnd_below(3000);
	case 4:
		return a - rnd_below(3000);
	default:
		return (uint32_t)rnd();
	}
}

static void random_segment(void)
{
	static uint8_t p[66000];
	static const uint8_t usual[] = { 16, 16, 16, 24, 24, 17, 25, 20, 2, 18, 0, 4, 1 };
	struct demi_tcp *t = tcb_of(qd);
	uint32_t olen = 0, len, n = rnd_below(4) ? rnd_below(1500) : rnd_below(3) ? 0 : rnd_below(9000);
	struct seg g = { .flags = rnd_below(10) ? usual[rnd_below(rnd_below(8) ? 7 : 13)] : (uint8_t)rnd() };
	struct demi_pkt meta = { .flags = 0 };
	uint8_t *o = p + 40;

	if (!t)
		return;
	if (g.flags & 4 && rnd_below(20)) /* connections should live for a while */
		g.flags &= 0xfb;
	if (t->ts_ok && rnd_below(20)) {
		memcpy(o, "\1\1\10\12", 4);
		put32(o + 4, near(t->ts_recent));
		put32(o + 8, near(demi_tcp_ts_now(&sn->in) + t->ts_offset));
		olen = 12;
	}
	if (rnd_below(3) == 0) {
		uint32_t blocks = 1 + rnd_below(olen ? 3 : 4);

		memcpy(o + olen, "\1\1\5", 3);
		o[olen + 3] = (uint8_t)(2 + 8 * blocks);
		for (uint32_t i = 0; i < blocks; i++) {
			uint32_t a = near(rnd_below(2) ? t->snd_una : t->snd_nxt);

			put32(o + olen + 4 + 8 * i, a);
			put32(o + olen + 8 + 8 * i, rnd_below(2) ? near(a) : near(t->snd_nxt));
		}
		olen += 4 + 8 * blocks;
	} else if (rnd_below(10) == 0) {
		olen = 4 * rnd_below(11);
		for (uint32_t i = 0; i < olen; i++)
			o[i] = (uint8_t)rnd();
	}
	len = 40 + olen + n;
	memset(p, 0, 40);
	p[0] = 0x45;
	p[1] = (uint8_t)rnd_below(4);
	p[8] = 64;
	p[9] = 6;
	put32(p + 12, 0x0a000000U | PEER_HOST);
	put32(p + 16, sn->addr4);
	put16(p + 20, PEER_PORT);
	put16(p + 22, STACK_PORT);
	put32(p + 24, near(t->rcv_nxt));
	put32(p + 28, near(rnd_below(2) ? t->snd_una : t->snd_nxt));
	p[32] = (uint8_t)((20 + olen) << 2);
	p[33] = g.flags;
	put16(p + 34, rnd_below(3) ? 65535 : rnd_below(65536));
	set_sums(p, len);
	if (rnd_below(50) == 0)
		p[rnd_below(len)] ^= (uint8_t)rnd();
	if (rnd_below(20) == 0) {
		meta.flags = (uint16_t)(rnd() & (DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_GSO_TCP4));
		meta.gso_size = (uint16_t)rnd_below(2000);
	}
	node_receive(sn, p, len, &meta);
}

static void application(void)
{
	static char buf[5000];
	demi_qtoken_t qt;
	demi_sgarray_t sga = sga_of(buf, 1 + rnd_below(rnd_below(3) ? 200 : sizeof(buf) - 1));

	switch (rnd_below(6)) {
	case 0:
	case 1:
		demi_push(&qt, qd, &sga);
		break;
	case 2:
	case 3:
		demi_pop_n(&qt, qd, 1 + rnd_below(3000));
		break;
	case 4:
		if (rnd_below(200) == 0)
			demi_shutdown(qd, (int)rnd_below(3));
		break;
	}
	forget_results();
}

static void one(void)
{
	static const char *const opts[] = { "mss 1000", "mss 1000,sackOK", "mss 1000,sackOK,ts,ws 3", "mss 100,ts" };

	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 4096 + (int)rnd_below(60000));
	set_int(script_listener, DEMI_SOL, DEMI_SO_FRAMED, rnd_below(10) == 0);
	qd = accepted(opts[rnd_below(4)]);
	for (uint32_t i = 0, n = 20 + rnd_below(400); i < n; i++) {
		random_segment();
		tcb_check(qd);
		if (rnd_below(3) == 0)
			application();
		node_pump(sn);
		if (rnd_below(3) == 0)
			pass_us(rnd_below(4) ? rnd_below(3000) : rnd_below(2000000));
		while (sn->out_head)
			free(node_take(sn));
	}
	OK(demi_close(qd));
	for (uint32_t i = 0, n = rnd_below(50); i < n; i++) {
		if (demi_ctx_self->queues.open > 1)
			random_segment();
		pass_us(rnd_below(100000));
	}
	OK(demi_close(script_listener));
	pass_us(2000ULL * 1000000);
	while (sn->out_head)
		free(node_take(sn));
}

int main(int argc, char **argv)
{
	int runs = argc > 1 ? atoi(argv[1]) : SLOW ? 300 : 3000;
	uint64_t seed;

	alarm(230);
	seed = check_seed();
	init_memq();
	for (int i = 0; i < runs; i++) {
		check_rng = (seed + (uint64_t)i * 2) | 1;
		for (int k = 0; k < 8; k++)
			rnd();
		if (getenv("SIM_V"))
			printf("run %d: DEMI_TEST_SEED=%llu\n", i, (unsigned long long)(seed + (uint64_t)i * 2));
		fflush(stdout);
		run_case("hostile", one);
	}
	printf("%d runs\n", script_cases);
	return 0;
}
