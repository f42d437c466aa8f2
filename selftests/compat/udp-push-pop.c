/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/* Datagrams in one direction. Loopback may drop some under pressure, but none may be changed, torn or repeated. */
#include "pair.h"

#define DATA_SIZE 512
#define DATAGRAMS 2000

static void server(int tell)
{
	struct timespec patience = { 1, 0 };
	struct sockaddr_in addr;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int sockqd = -1, last = -1, got = 0, rc;

	pair_init(0, NULL);
	MUST(demi_socket(&sockqd, AF_INET, SOCK_DGRAM, 0));
	MUST(pair_bind(sockqd, &addr));
	pair_tell(tell, &addr, sizeof(addr));
	while (last < DATAGRAMS - 1) {
		const unsigned char *p;
		int number, i;

		MUST(demi_pop(&qt, sockqd));
		rc = demi_wait(&qr, qt, &patience);
		if (rc == ETIMEDOUT)
			break;
		MUST(rc);
		HOLDS(qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_numsegs == 1);
		HOLDS(qr.qr_value.sga.sga_segs[0].sgaseg_len == DATA_SIZE);
		p = (const unsigned char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf;
		memcpy(&number, p, sizeof(number));
		HOLDS(number > last && number < DATAGRAMS);
		for (i = (int)sizeof(number); i < DATA_SIZE; i++)
			HOLDS(p[i] == number % 256);
		last = number;
		got++;
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	HOLDS(got > 0);
	MUST(demi_close(sockqd));
}

static void client(int hear)
{
	struct sockaddr_in to;
	demi_sgarray_t sga;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int sockqd = -1, i;

	pair_hear(hear, &to, sizeof(to));
	pair_init(0, NULL);
	MUST(demi_socket(&sockqd, AF_INET, SOCK_DGRAM, 0));
	sga = demi_sgaalloc(DATA_SIZE);
	HOLDS(sga.sga_segs[0].sgaseg_buf != NULL);
	for (i = 0; i < DATAGRAMS; i++) {
		memset(sga.sga_segs[0].sgaseg_buf, i % 256, DATA_SIZE);
		memcpy(sga.sga_segs[0].sgaseg_buf, &i, sizeof(i));
		MUST(demi_pushto(&qt, sockqd, &sga, (const struct sockaddr *)&to, sizeof(to)));
		MUST(demi_wait(&qr, qt, NULL));
		HOLDS(qr.qr_opcode == DEMI_OPC_PUSH);
	}
	MUST(demi_sgafree(&sga));
	MUST(demi_close(sockqd));
}

int main(void)
{
	pair_environment("catnap");
	return pair_run(server, client);
}
