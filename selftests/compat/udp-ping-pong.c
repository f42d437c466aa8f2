/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/* Datagrams of a fixed size; the server answers where each came from, as its sga says. */
#include "pair.h"

#define DATA_SIZE 64
#define ROUNDS 1000

static struct sockaddr_in server_addr;

static void server(int tell)
{
	int sockqd = -1, i;

	pair_init(0, NULL);
	MUST(demi_socket(&sockqd, AF_INET, SOCK_DGRAM, 0));
	MUST(pair_bind(sockqd, &server_addr));
	pair_tell(tell, &server_addr, sizeof(server_addr));
	for (i = 0; i < ROUNDS; i++) {
		demi_qresult_t qr, sent;
		demi_qtoken_t qt;
		struct sockaddr_in from;

		HOLDS(pair_pop(sockqd, &qr) == DATA_SIZE);
		from = qr.qr_value.sga.sga_addr;
		HOLDS(from.sin_family == AF_INET && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK) && from.sin_port);
		MUST(demi_pushto(&qt, sockqd, &qr.qr_value.sga, (const struct sockaddr *)&from, sizeof(from)));
		MUST(demi_wait(&sent, qt, NULL));
		HOLDS(sent.qr_opcode == DEMI_OPC_PUSH);
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	MUST(demi_close(sockqd));
}

static void client(int hear)
{
	struct sockaddr_in to, me;
	demi_sgarray_t sga;
	int sockqd = -1, i;

	pair_hear(hear, &to, sizeof(to));
	pair_init(0, NULL);
	MUST(demi_socket(&sockqd, AF_INET, SOCK_DGRAM, 0));
	MUST(pair_bind(sockqd, &me));
	sga = demi_sgaalloc(DATA_SIZE);
	HOLDS(sga.sga_segs[0].sgaseg_buf != NULL);
	for (i = 0; i < ROUNDS; i++) {
		demi_qtoken_t qt;
		demi_qresult_t qr;

		memset(sga.sga_segs[0].sgaseg_buf, i % 251, DATA_SIZE);
		MUST(demi_pushto(&qt, sockqd, &sga, (const struct sockaddr *)&to, sizeof(to)));
		MUST(demi_wait(&qr, qt, NULL));
		HOLDS(qr.qr_opcode == DEMI_OPC_PUSH);
		HOLDS(pair_pop(sockqd, &qr) == DATA_SIZE);
		HOLDS(memcmp(qr.qr_value.sga.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_buf, DATA_SIZE) == 0);
		HOLDS(qr.qr_value.sga.sga_addr.sin_port == to.sin_port);
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	MUST(demi_sgafree(&sga));
	MUST(demi_close(sockqd));
}

int main(void)
{
	pair_environment("catnap");
	return pair_run(server, client);
}
