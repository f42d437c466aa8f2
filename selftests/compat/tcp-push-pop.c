/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/* A stream in one direction, with demi_push() and, as some programs do on a connection, demi_pushto(). */
#include "pair.h"

#define DATA_SIZE 1500
#define MAX_BYTES (DATA_SIZE * 2048)

static void server(int tell)
{
	struct sockaddr_in addr;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	size_t bytes = 0;
	int sockqd = -1, qd;

	pair_init(0, NULL);
	MUST(demi_socket(&sockqd, AF_INET, SOCK_STREAM, 0));
	MUST(pair_bind(sockqd, &addr));
	MUST(demi_listen(sockqd, 16));
	pair_tell(tell, &addr, sizeof(addr));
	MUST(demi_accept(&qt, sockqd));
	MUST(demi_wait(&qr, qt, NULL));
	HOLDS(qr.qr_opcode == DEMI_OPC_ACCEPT);
	qd = qr.qr_value.ares.qd;
	while (bytes < MAX_BYTES) {
		size_t len = pair_pop(qd, &qr), i;
		const unsigned char *p = (const unsigned char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf;

		HOLDS(len > 0 && bytes + len <= MAX_BYTES);
		for (i = 0; i < len; i++)
			HOLDS(p[i] == (bytes + i) / DATA_SIZE % 256);
		bytes += len;
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	HOLDS(pair_pop(qd, &qr) == 0); /* the end of the stream */
	MUST(demi_sgafree(&qr.qr_value.sga));
	MUST(demi_close(qd));
	MUST(demi_close(sockqd));
}

static void client(int hear)
{
	struct sockaddr_in addr;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	demi_sgarray_t sga;
	size_t bytes;
	int qd = -1;

	pair_hear(hear, &addr, sizeof(addr));
	pair_init(0, NULL);
	MUST(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	MUST(demi_connect(&qt, qd, (const struct sockaddr *)&addr, sizeof(addr)));
	MUST(demi_wait(&qr, qt, NULL));
	HOLDS(qr.qr_opcode == DEMI_OPC_CONNECT);
	sga = demi_sgaalloc(DATA_SIZE);
	HOLDS(sga.sga_segs[0].sgaseg_buf != NULL);
	for (bytes = 0; bytes < MAX_BYTES; bytes += DATA_SIZE) {
		memset(sga.sga_segs[0].sgaseg_buf, (int)(bytes / DATA_SIZE % 256), DATA_SIZE);
		if (bytes / DATA_SIZE % 2)
			MUST(demi_pushto(&qt, qd, &sga, (const struct sockaddr *)&addr, sizeof(addr)));
		else
			MUST(demi_push(&qt, qd, &sga));
		MUST(demi_wait(&qr, qt, NULL));
		HOLDS(qr.qr_opcode == DEMI_OPC_PUSH && qr.qr_qt == qt);
	}
	MUST(demi_sgafree(&sga));
	MUST(demi_close(qd));
}

int main(void)
{
	pair_environment("catnap");
	/* the end of a program waits for what is queued, but not once that is gone: else this would never end */
	HOLDS(setenv("DEMI_EXIT_LINGER_MS", "3600000", 1) == 0);
	return pair_run(server, client);
}
