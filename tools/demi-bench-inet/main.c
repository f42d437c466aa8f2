/* SPDX-License-Identifier: MIT */
/*
 * demi-bench-inet WHAT N: the network stack on a packet device in memory, N times and nothing else, for counting
 * instructions from outside. Linked with libdemi.a: the device is no part of the library.
 *
 *	udp-echo	receive 64 bytes, pop, wait, push to where they came from, wait, free
 *	udp-in		receive 64 bytes, pop, wait, free
 */
#include "memdev.h"

#include "core/ctx.h"
#include "inet/backend.h"

#include <demi/demi.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT 7
#define PEER_PORT 1234
#define LEN 64
#define HDRS 28

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t sum16(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Pseudo header, UDP header and payload. */
static uint32_t sum_udp(const uint8_t *p)
{
	return sum16(17 + LEN + 8, p + 12, LEN + 16);
}

/* From 10.0.0.2 to 10.0.0.1. */
static void make_packet(uint8_t *p)
{
	static const uint8_t addrs[8] = { 10, 0, 0, 2, 10, 0, 0, 1 };

	p[0] = 0x45;
	put16(p + 2, HDRS + LEN);
	p[8] = 64;
	p[9] = IPPROTO_UDP;
	memcpy(p + 12, addrs, 8);
	put16(p + 10, ~sum16(0, p, 20));
	put16(p + 20, PEER_PORT);
	put16(p + 22, PORT);
	put16(p + 24, LEN + 8);
	for (uint8_t i = 0; i < LEN; i++)
		p[HDRS + i] = i;
	put16(p + 26, ~sum_udp(p));
}

/* The answer is the same bytes, addresses and ports turned round, sums right. */
static bool answer_ok(const struct memdev *m)
{
	const struct demi_pkt *e = &m->tx[(m->tx_own - 1) % MEMDEV_SLOTS];
	const uint8_t *p = e->data, *q = m->packet;

	return e->len == HDRS + LEN && !memcmp(p + 12, q + 16, 4) && !memcmp(p + 16, q + 12, 4) &&
	       !memcmp(p + 20, q + 22, 2) && !memcmp(p + 22, q + 20, 2) && !memcmp(p + HDRS, q + HDRS, LEN) &&
	       sum16(0, p, 20) == 0xffff && sum_udp(p) == 0xffff;
}

static int echo(int qd, uint64_t n)
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

static struct memdev *start(void)
{
	struct demi_ctx *ctx;
	struct memdev *m;

	setenv("LIBOS", "catmem", 1); /* no backend but the one made here */
	if (demi_init(NULL))
		return NULL;
	ctx = demi_ctx_self;
	m = memdev_new(ctx);
	if (!m || demi_inet_create(ctx, &m->d, &ctx->main_backend))
		return NULL;
	ctx->backends[ctx->nbackends++] = ctx->main_backend;
	return m;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	bool is_echo = argc == 3 && !strcmp(argv[1], "udp-echo");
	struct memdev *m;
	int qd, ret;

	if (argc != 3 || (!is_echo && strcmp(argv[1], "udp-in") != 0))
		errx(64, "usage: demi-bench-inet udp-echo|udp-in N");
	m = start();
	if (!m)
		errx(1, "cannot start the stack");
	make_packet(m->packet);
	m->packet_len = HDRS + LEN;
	m->echo = is_echo;
	m->rx_other = 1;
	ret = demi_socket(&qd, AF_INET, SOCK_DGRAM, 0);
	if (!ret)
		ret = demi_bind(qd, (struct sockaddr *)&sin, sizeof(sin));
	for (int warm = 0; !ret && warm < 2; warm++)
		ret = (is_echo ? echo : in)(qd, warm ? strtoull(argv[2], NULL, 10) : 1000);
	if (ret)
		errx(1, "%s: %s", argv[1], strerror(ret));
	if (is_echo && !answer_ok(m))
		errx(1, "the answer is wrong");
	return 0;
}
