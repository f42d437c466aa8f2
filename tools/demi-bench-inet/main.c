/* SPDX-License-Identifier: MIT */
/*
 * demi-bench-inet WHAT N: the network stack on a packet device in memory, N times and nothing else, for counting
 * instructions from outside. Linked with libdemi.a: the device is no part of the library.
 *
 *	udp-echo	receive 64 bytes, pop, wait, push to where they came from, wait, free
 *	udp-in		receive 64 bytes, pop, wait, free
 *	udp-burst	the same as udp-echo with BURST requests under way all the time, all taken by one wait
 *	tcp-echo	the same on an established connection
 *	tcp-in
 */
#include "peer.h"

#include "core/ctx.h"
#include "inet/backend.h"

#include <demi/demi.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT 7
#define BURST 32

static int udp_echo(int qd, uint64_t n)
{
	demi_qresult_t qr;
	demi_sgarray_t *sga = &qr.qr_value.sga;
	demi_qtoken_t qt;
	int ret = 0;

	while (n-- && !ret) {
		demi_qresult_t pushed;

		ret = demi_pop(&qt, qd);
		if (!ret)
			ret = demi_wait(&qr, qt, NULL);
		if (!ret)
			ret = demi_pushto(&qt, qd, sga, (struct sockaddr *)&sga->sga_addr, sizeof(sga->sga_addr));
		if (!ret)
			ret = demi_wait(&pushed, qt, NULL);
		if (!ret)
			ret = demi_sgafree(sga);
	}
	return ret;
}

static int tcp_echo(int qd, uint64_t n)
{
	demi_qresult_t qr;
	demi_sgarray_t *sga = &qr.qr_value.sga;
	demi_qtoken_t qt;
	int ret = 0;

	while (n-- && !ret) {
		demi_qresult_t pushed;

		ret = demi_pop(&qt, qd);
		if (!ret)
			ret = demi_wait(&qr, qt, NULL);
		if (!ret)
			ret = demi_push(&qt, qd, sga);
		if (!ret)
			ret = demi_wait(&pushed, qt, NULL);
		if (!ret)
			ret = demi_sgafree(sga);
	}
	return ret;
}

static int in(int qd, uint64_t n)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret = 0;

	while (n-- && !ret) {
		ret = demi_pop(&qt, qd);
		if (!ret)
			ret = demi_wait(&qr, qt, NULL);
		if (!ret)
			ret = demi_sgafree(&qr.qr_value.sga);
	}
	return ret;
}

static int udp_burst(int qd, uint64_t n)
{
	static bool popping;
	demi_qresult_t qrs[2 * BURST];
	demi_qtoken_t qt;
	int got, ret = 0;

	for (int i = 0; i < BURST && !popping && !ret; i++)
		ret = demi_pop(&qt, qd);
	popping = true;
	for (uint64_t left = n * BURST; left && !ret;) {
		ret = demi_wait_next_n(qrs, 2 * BURST, &got, NULL);
		for (int i = 0; i < got && !ret; i++) {
			demi_sgarray_t *sga = &qrs[i].qr_value.sga;

			if (qrs[i].qr_opcode != DEMI_OPC_POP)
				continue;
			left--;
			ret = demi_pushto(&qt, qd, sga, (struct sockaddr *)&sga->sga_addr, sizeof(sga->sga_addr));
			if (!ret)
				ret = demi_sgafree(sga);
			if (!ret)
				ret = demi_pop(&qt, qd);
		}
	}
	return ret;
}

static struct memdev *start(uint32_t burst)
{
	struct demi_ctx *ctx;
	struct memdev *m;

	setenv("LIBOS", "catmem", 1); /* no backend but the one made here */
	if (demi_init(NULL))
		return NULL;
	ctx = demi_ctx_self;
	m = memdev_new(ctx, burst);
	if (!m || demi_inet_create(ctx, &m->d, &ctx->main_backend))
		return NULL;
	ctx->backends[ctx->nbackends++] = ctx->main_backend;
	return m;
}

static int open_port(int *qd, int type)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int ret = demi_socket(qd, AF_INET, type, 0);

	return ret ? ret : demi_bind(*qd, (struct sockaddr *)&sin, sizeof(sin));
}

/* Both ends have what they need to begin. */
static int open_udp(struct memdev *m, int *qd, bool always)
{
	int ret = open_port(qd, SOCK_DGRAM);

	for (uint32_t i = 0; i < m->burst; i++)
		peer_udp(m, always);
	return ret;
}

static int open_tcp(struct memdev *m, int *qd, bool always)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int lqd, ret;

	ret = open_port(&lqd, SOCK_STREAM);
	if (!ret)
		ret = demi_listen(lqd, 1);
	if (!ret)
		ret = demi_accept(&qt, lqd);
	if (ret)
		return ret;
	peer_tcp(m);
	ret = demi_wait(&qr, qt, NULL);
	if (ret || qr.qr_opcode != DEMI_OPC_ACCEPT)
		return ret ? ret : ECONNABORTED;
	*qd = qr.qr_value.ares.qd;
	peer_tcp_go(m, always);
	return 0;
}

static const struct bench {
	const char *name;
	int (*open)(struct memdev *m, int *qd, bool always);
	int (*round)(int qd, uint64_t n);
	bool (*answered)(const struct memdev *m); /* NULL: the peer sends all the time */
	uint32_t burst; /* requests under way */
} benches[] = {
	{ "udp-echo", open_udp, udp_echo, peer_udp_answered, 1 },
	{ "udp-in", open_udp, in, NULL, 1 },
	{ "udp-burst", open_udp, udp_burst, peer_udp_answered, BURST },
	{ "tcp-echo", open_tcp, tcp_echo, peer_tcp_answered, 1 },
	{ "tcp-in", open_tcp, in, NULL, 1 },
};

static const struct bench *bench_of(const char *name)
{
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (!strcmp(name, benches[i].name))
			return &benches[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct bench *b = argc == 3 ? bench_of(argv[1]) : NULL;
	struct memdev *m;
	int qd, ret;

	if (!b)
		errx(64, "usage: demi-bench-inet udp-echo|udp-in|udp-burst|tcp-echo|tcp-in N");
	m = start(b->burst);
	if (!m)
		errx(1, "cannot start the stack");
	ret = b->open(m, &qd, !b->answered);
	for (int warm = 0; !ret && warm < 2; warm++)
		ret = b->round(qd, warm ? strtoull(argv[2], NULL, 10) : 1000);
	if (ret)
		errx(1, "%s: %s", argv[1], strerror(ret));
	if (b->answered && !b->answered(m))
		errx(1, "the answer is wrong");
	return 0;
}
