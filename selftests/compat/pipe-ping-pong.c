/* SPDX-License-Identifier: MIT */
/* Elements go there and back over a pipe between two processes, by the name Catmem programs use. */
#include "pair.h"

#define DATA_SIZE 64
#define ROUNDS 1000

static void server(int tell)
{
	char name[64];
	int rx = -1, tx = -1, i;

	pair_init(0, NULL);
	snprintf(name, sizeof(name), "compat-%d:rx", (int)getpid());
	MUST(demi_create_pipe(&rx, name));
	snprintf(name, sizeof(name), "compat-%d:tx", (int)getpid());
	MUST(demi_create_pipe(&tx, name));
	pair_tell(tell, name, sizeof(name));
	for (i = 0; i < ROUNDS; i++) {
		demi_qresult_t qr;

		HOLDS(pair_pop(rx, &qr) == DATA_SIZE);
		pair_push(tx, &qr.qr_value.sga);
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	MUST(demi_close(rx));
	MUST(demi_close(tx));
}

static void client(int hear)
{
	char name[64];
	demi_sgarray_t sga;
	int rx = -1, tx = -1, i;

	pair_hear(hear, name, sizeof(name));
	pair_init(0, NULL);
	MUST(demi_open_pipe(&rx, name));
	memcpy(strchr(name, ':'), ":rx", 4);
	MUST(demi_open_pipe(&tx, name));
	sga = demi_sgaalloc(DATA_SIZE);
	HOLDS(sga.sga_segs[0].sgaseg_buf != NULL);
	for (i = 0; i < ROUNDS; i++) {
		demi_qresult_t qr;

		memset(sga.sga_segs[0].sgaseg_buf, i % 251, DATA_SIZE);
		pair_push(tx, &sga);
		HOLDS(pair_pop(rx, &qr) == DATA_SIZE);
		HOLDS(memcmp(qr.qr_value.sga.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_buf, DATA_SIZE) == 0);
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	MUST(demi_sgafree(&sga));
	MUST(demi_close(rx));
	MUST(demi_close(tx));
}

int main(void)
{
	pair_environment("catmem");
	return pair_run(server, client);
}
