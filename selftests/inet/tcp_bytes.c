/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, no-asan */
/* What a connection costs that has sent and received and now is idle: all that was allocated for it, and tables. */
#include "net.h"

#include <malloc.h>

#define FIRST 1024 /* until no pool grows */
#define COUNTED 8192
#define LIMIT 1024

static struct link l;
static int listener;

/* Both ends of one more connection, after 64 bytes each way. */
static void add(void)
{
	demi_qtoken_t accept = start_accept(listener), connect;
	int ends[2];

	ends[0] = node_socket(l.end[1], AF_INET);
	connect = node_connect(ends[0], l.end[0], AF_INET, 80);
	pending(connect);
	link_run(&l, 2 * NET_MS);
	CHECK_EQ(result_now(connect).qr_opcode, DEMI_OPC_CONNECT);
	ends[1] = result_now(accept).qr_value.ares.qd;
	for (int i = 0; i < 2; i++) {
		char data[64] = { 0 };
		demi_qtoken_t pop = pop_start(ends[!i]), push = push_start(ends[i], data, sizeof(data));
		demi_qresult_t qr;

		link_run(&l, 300 * NET_MS);
		CHECK_EQ(result_now(push).qr_opcode, DEMI_OPC_PUSH);
		qr = result_now(pop);
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, sizeof(data));
		OK(demi_sgafree(&qr.qr_value.sga));
	}
}

int main(void)
{
	size_t before;
	double each;

	alarm(100);
	check_seed();
	init_memq();
	l = (struct link){ .delay_ns = 50000 };
	l.end[0] = node_new(1, 0, 1500);
	l.end[1] = node_new(2, 0, 1500);
	listener = node_listen(l.end[0], AF_INET, 80, 8);
	for (int i = 0; i < FIRST; i++)
		add();
	before = mallinfo2().uordblks;
	for (int i = 0; i < COUNTED; i++)
		add();
	each = (double)(mallinfo2().uordblks - before) / (2.0 * COUNTED);
	printf("conn_bytes %.0f\n", each);
	CHECK(each <= LIMIT);
	return 0;
}
