/* SPDX-License-Identifier: MIT */
/*
 * Two processes that talk UDP and TCP over DPDK's memif, each with the library's own stack: datagrams of every size,
 * echoes, a long stream of which no byte is copied on its way to the port.
 */
#include "dpdk.h"

#define PORT 7
#define DATAGRAMS 500
#define ECHOES 300
#define BLOCK 65536
#define STREAM (64ULL << 20)

static struct sockaddr_in server_addr(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	inet_pton(AF_INET, "10.9.0.1", &a.sin_addr);
	return a;
}

/* What both ends can compute: block @i of the stream. */
static void block_fill(uint64_t *p, uint64_t i)
{
	for (size_t k = 0; k < BLOCK / 8; k++)
		p[k] = (i * (BLOCK / 8) + k + 1) * 0x9e3779b97f4a7c15U;
}

static uint64_t hash(uint64_t h, const uint8_t *p, size_t len)
{
	while (len--)
		h = (h ^ *p++) * 0x100000001b3U;
	return h;
}

/* ---- the server ---- */

static int bound(int type)
{
	struct sockaddr_in a = server_addr();
	int qd = -1;

	OK(demi_socket(&qd, AF_INET, type, 0));
	OK(demi_bind(qd, (struct sockaddr *)&a, sizeof(a)));
	return qd;
}

/* One of one byte ends it. */
static void serve_udp(int qd)
{
	uint32_t len;

	do {
		demi_qresult_t qr = wait_result(pop_start(qd));
		struct sockaddr_storage from;
		socklen_t fromlen = sizeof(from);
		demi_qtoken_t qt;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		len = qr.qr_value.sga.sga_segs[0].sgaseg_len;
		OK(demi_sga_addr(&qr.qr_value.sga, &from, &fromlen));
		OK(demi_pushto(&qt, qd, &qr.qr_value.sga, (struct sockaddr *)&from, fromlen));
		OK(demi_sgafree(&qr.qr_value.sga));
		CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	} while (len != 1);
	OK(demi_close(qd));
}

static int accepted(int listener)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	OK(demi_accept(&qt, listener));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
	return qr.qr_value.ares.qd;
}

/* To the end of the stream; @back: every piece goes back. Returns the hash of all. */
static uint64_t serve_tcp(int qd, bool back)
{
	uint64_t h = 0xcbf29ce484222325U;

	for (;;) {
		demi_qresult_t qr = wait_result(pop_start(qd));
		demi_sgarray_t *sga = &qr.qr_value.sga;
		demi_qtoken_t qt = 0;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		if (!sga->sga_segs[0].sgaseg_len) {
			OK(demi_sgafree(sga));
			return h;
		}
		if (back)
			OK(demi_push(&qt, qd, sga));
		else
			h = hash(h, sga->sga_segs[0].sgaseg_buf, sga->sga_segs[0].sgaseg_len);
		OK(demi_sgafree(sga));
		if (back)
			CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	}
}

static void server(int ready_fd)
{
	int udp, listener, qd;
	uint64_t h;

	OK(setenv("DEMI_INET_ADDR", "10.9.0.1/24", 1));
	OK(demi_init(NULL));
	udp = bound(SOCK_DGRAM);
	listener = bound(SOCK_STREAM);
	OK(demi_listen(listener, 8));
	dpdk_ready(ready_fd);
	serve_udp(udp);
	qd = accepted(listener);
	serve_tcp(qd, true);
	OK(demi_close(qd));
	qd = accepted(listener);
	h = serve_tcp(qd, false);
	push_bytes(qd, &h, sizeof(h));
	OK(demi_close(qd));
	OK(demi_close(listener));
}

/* ---- the client ---- */

static void udp_echo(int qd, const void *p, size_t len)
{
	struct sockaddr_in to = server_addr();
	demi_sgarray_t sga = sga_of(p, len);
	demi_qtoken_t qt;

	OK(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to)));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	pop_bytes(qd, p, len);
}

/* One under way at a time: nothing has a reason to be lost. Some are longer than a frame and go in fragments. */
static void test_udp(uint8_t *block)
{
	int qd = -1;

	OK(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0));
	for (int i = 0; i < DATAGRAMS; i++)
		udp_echo(qd, block + rnd_below(1000), 2 + rnd_below(i % 10 ? 1471 : 20000));
	udp_echo(qd, block, 1472);
	udp_echo(qd, block, 1473);
	udp_echo(qd, block, 1);
	OK(demi_close(qd));
}

static int connected(void)
{
	struct sockaddr_in to = server_addr();
	demi_qtoken_t qt;
	int qd = -1;

	OK(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&to, sizeof(to)));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_CONNECT);
	return qd;
}

static void pop_all(int qd, const uint8_t *want, size_t len)
{
	while (len) {
		demi_qresult_t qr = wait_result(pop_start(qd));
		demi_sgarray_t *sga = &qr.qr_value.sga;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK(sga->sga_segs[0].sgaseg_len && sga->sga_segs[0].sgaseg_len <= len);
		CHECK(!memcmp(sga->sga_segs[0].sgaseg_buf, want, sga->sga_segs[0].sgaseg_len));
		want += sga->sga_segs[0].sgaseg_len;
		len -= sga->sga_segs[0].sgaseg_len;
		OK(demi_sgafree(sga));
	}
}

static void test_tcp_echo(uint8_t *block)
{
	int qd = connected();

	for (int i = 0; i < ECHOES; i++) {
		size_t len = 1 + rnd_below(i % 10 ? 2000 : 50000);
		const uint8_t *p = block + rnd_below((uint32_t)(BLOCK - len));
		demi_qtoken_t qt = push_start(qd, p, len);

		pop_all(qd, p, len);
		CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	}
	OK(demi_close(qd));
}

/* Pushes of 64 KiB out of the heap: not a byte is copied before the port has it. */
static void test_tcp_stream(void)
{
	uint64_t h = 0xcbf29ce484222325U, copied, i;
	uint8_t *blocks[4];
	demi_qtoken_t qts[4];
	int qd = connected();

	copied = counter("copied_bytes");
	for (i = 0; i < STREAM / BLOCK; i++) {
		if (i >= 4)
			CHECK_EQ(wait_result(qts[i % 4]).qr_opcode, DEMI_OPC_PUSH);
		else
			blocks[i] = demi_malloc(BLOCK);
		CHECK(blocks[i % 4]);
		block_fill((uint64_t *)blocks[i % 4], i);
		h = hash(h, blocks[i % 4], BLOCK);
		qts[i % 4] = push_start(qd, blocks[i % 4], BLOCK);
	}
	for (; i < STREAM / BLOCK + 4; i++) {
		CHECK_EQ(wait_result(qts[i % 4]).qr_opcode, DEMI_OPC_PUSH);
		demi_free(blocks[i % 4]);
	}
	CHECK_EQ(counter("copied_bytes") - copied, 0);
	OK(demi_shutdown(qd, SHUT_WR));
	pop_all(qd, (uint8_t *)&h, sizeof(h));
	OK(demi_close(qd));
}

int main(void)
{
	static uint8_t block[BLOCK];
	pid_t pid;

	alarm(100);
	dpdk_or_skip();
	check_seed();
	block_fill((uint64_t *)block, rnd_below(1000));
	pid = dpdk_server(&dpdk_memif, server);
	OK(setenv("DEMI_INET_ADDR", "10.9.0.2/24", 1));
	OK(demi_init(NULL));
	test_udp(block);
	test_tcp_echo(block);
	test_tcp_stream();
	dpdk_server_ended(&dpdk_memif, pid);
	return 0;
}
