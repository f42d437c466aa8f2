/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/* Messages of a fixed size go there and back over one TCP connection and are checked on both sides. */
#include "pair.h"

#define DATA_SIZE 64
#define ROUNDS 1000

static int main_argc;
static char **main_argv;

/* A stream may give a message in pieces: collect one. False at the end of the stream. */
static int pop_message(int qd, unsigned char *buf)
{
	size_t got = 0;

	while (got < DATA_SIZE) {
		demi_qresult_t qr;
		size_t len = pair_pop(qd, &qr);

		HOLDS(got + len <= DATA_SIZE);
		if (len > 0)
			memcpy(buf + got, qr.qr_value.sga.sga_segs[0].sgaseg_buf, len);
		MUST(demi_sgafree(&qr.qr_value.sga));
		if (len == 0) {
			HOLDS(got == 0);
			return 0;
		}
		got += len;
	}
	return 1;
}

static void push_message(int qd, const unsigned char *buf)
{
	demi_sgarray_t sga = demi_sgaalloc(DATA_SIZE);

	HOLDS(sga.sga_segs[0].sgaseg_buf != NULL);
	memcpy(sga.sga_segs[0].sgaseg_buf, buf, DATA_SIZE);
	pair_push(qd, &sga);
	MUST(demi_sgafree(&sga));
}

static void server(int tell)
{
	unsigned char buf[DATA_SIZE];
	struct sockaddr_in addr;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int sockqd = -1, qd, rounds = 0;

	pair_init(main_argc, main_argv);
	MUST(demi_socket(&sockqd, AF_INET, SOCK_STREAM, 0));
	MUST(pair_bind(sockqd, &addr));
	MUST(demi_listen(sockqd, 16));
	pair_tell(tell, &addr, sizeof(addr));
	MUST(demi_accept(&qt, sockqd));
	MUST(demi_wait(&qr, qt, NULL));
	HOLDS(qr.qr_opcode == DEMI_OPC_ACCEPT && qr.qr_qd == sockqd);
	HOLDS(qr.qr_value.ares.addr.sin_family == AF_INET);
	HOLDS(qr.qr_value.ares.addr.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	qd = qr.qr_value.ares.qd;
	for (; pop_message(qd, buf); rounds++)
		push_message(qd, buf);
	HOLDS(rounds == ROUNDS);
	MUST(demi_close(qd));
	MUST(demi_close(sockqd));
}

static void client(int hear)
{
	unsigned char out[DATA_SIZE], in[DATA_SIZE];
	struct sockaddr_in addr;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd = -1, i;

	pair_hear(hear, &addr, sizeof(addr));
	pair_init(main_argc, main_argv);
	MUST(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	MUST(demi_connect(&qt, qd, (const struct sockaddr *)&addr, sizeof(addr)));
	MUST(demi_wait(&qr, qt, NULL));
	HOLDS(qr.qr_opcode == DEMI_OPC_CONNECT && qr.qr_qd == qd);
	for (i = 0; i < ROUNDS; i++) {
		memset(out, i % 251, sizeof(out));
		push_message(qd, out);
		HOLDS(pop_message(qd, in));
		HOLDS(memcmp(in, out, sizeof(in)) == 0);
	}
	MUST(demi_close(qd));
}

int main(int argc, char *argv[])
{
	main_argc = argc;
	main_argv = argv;
	pair_environment("catnap");
	return pair_run(server, client);
}
