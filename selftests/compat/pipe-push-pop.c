/* SPDX-License-Identifier: MIT */
/* Elements in one direction through a pipe between two processes, then its end. */
#include "pair.h"

#define DATA_SIZE 4096
#define ELEMENTS 4096

static void server(int tell)
{
	char name[64];
	demi_qresult_t qr;
	int qd = -1, i, k;

	pair_init(0, NULL);
	snprintf(name, sizeof(name), "compat-%d", (int)getpid());
	MUST(demi_create_pipe(&qd, name));
	pair_tell(tell, name, sizeof(name));
	for (i = 0; i < ELEMENTS; i++) {
		const unsigned char *p;

		HOLDS(pair_pop(qd, &qr) == DATA_SIZE);
		p = (const unsigned char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf;
		for (k = 0; k < DATA_SIZE; k++)
			HOLDS(p[k] == i % 251);
		MUST(demi_sgafree(&qr.qr_value.sga));
	}
	HOLDS(pair_pop(qd, &qr) == 0);
	MUST(demi_sgafree(&qr.qr_value.sga));
	MUST(demi_close(qd));
}

static void client(int hear)
{
	char name[64];
	demi_sgarray_t sga;
	int qd = -1, i;

	pair_hear(hear, name, sizeof(name));
	pair_init(0, NULL);
	MUST(demi_open_pipe(&qd, name));
	for (i = 0; i < ELEMENTS; i++) {
		sga = demi_sgaalloc(DATA_SIZE);
		HOLDS(sga.sga_segs[0].sgaseg_buf != NULL);
		memset(sga.sga_segs[0].sgaseg_buf, i % 251, DATA_SIZE);
		pair_push(qd, &sga);
		MUST(demi_sgafree(&sga));
	}
	MUST(demi_close(qd));
}

int main(void)
{
	pair_environment("catmem");
	return pair_run(server, client);
}
