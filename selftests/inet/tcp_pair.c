/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* Two stacks joined by a link that loses nothing: connect, data both ways, half close, close; IPv4 and IPv6. */
#include "net.h"

static struct link l;
static int server, client;
static uint32_t pops;

static void open_pair(int domain)
{
	int listener = node_listen(l.end[0], domain, 80, 8);
	demi_qtoken_t accept = start_accept(listener), connect;
	demi_qresult_t qr;

	client = node_socket(l.end[1], domain);
	connect = node_connect(client, l.end[0], domain, 80);
	pending(connect);
	link_run(&l, 10 * NET_MS);
	CHECK_EQ(result_now(connect).qr_opcode, DEMI_OPC_CONNECT);
	qr = result_now(accept);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
	server = qr.qr_value.ares.qd;
	OK(demi_close(listener));
}

static void send_and_check(int from, int to, size_t len)
{
	char *data = malloc(len);
	demi_qtoken_t push;
	demi_qresult_t qr;
	size_t got = 0;

	CHECK(data);
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(rnd() >> 56);
	push = push_start(from, data, len);
	while (got < len) {
		demi_qtoken_t pop = pop_start(to);

		for (int i = 0; i < 1000 && !try_result(pop, &qr); i++)
			link_run(&l, NET_MS);
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK(qr.qr_value.sga.sga_segs[0].sgaseg_len <= len - got);
		CHECK(!memcmp(qr.qr_value.sga.sga_segs[0].sgaseg_buf, data + got,
			      qr.qr_value.sga.sga_segs[0].sgaseg_len));
		pops++;
		got += qr.qr_value.sga.sga_segs[0].sgaseg_len;
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	link_run(&l, 300 * NET_MS);
	CHECK_EQ(result_now(push).qr_opcode, DEMI_OPC_PUSH);
	free(data);
}

static void check_eof(int qd)
{
	demi_qresult_t qr = result_now(pop_start(qd));

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
}

static void test(int domain, uint32_t caps)
{
	demi_qresult_t qr;
	demi_qtoken_t pop;

	l = (struct link){ .delay_ns = 50000 };
	l.end[0] = node_new(1, caps, 1500);
	l.end[1] = node_new(2, caps, 1500);
	open_pair(domain);
	send_and_check(client, server, 1);
	send_and_check(server, client, 64);
	send_and_check(client, server, 100000);
	send_and_check(server, client, 3000000);
	if (caps & DEMI_PKTDEV_C_TX_TSO4 && domain == AF_INET)
		CHECK(l.end[0]->tx_gso > 0);

	/* half close: the other direction stays open */
	pop = pop_start(server);
	OK(demi_shutdown(client, SHUT_WR));
	link_run(&l, 10 * NET_MS);
	qr = result_now(pop);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
	send_and_check(server, client, 5000);
	OK(demi_close(server));
	link_run(&l, 10 * NET_MS);
	check_eof(client);
	OK(demi_close(client));
	link_run(&l, 100000 * NET_MS);
	link_free(&l);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	CHECK_EQ(demi_ctx_self->live_conns, 0);
	CHECK_EQ(demi_ctx_self->queues.open, 0);
}

/* A message is popped whole, also one that is longer than all that the receiver lets wait. */
static void test_framed(uint32_t len)
{
	int one = 1;

	l = (struct link){ .delay_ns = 50000 };
	l.end[0] = node_new(1, 0, 1500);
	l.end[1] = node_new(2, 0, 1500);
	open_pair(AF_INET);
	OK(demi_setsockopt(client, DEMI_SOL, DEMI_SO_FRAMED, &one, sizeof(one)));
	OK(demi_setsockopt(server, DEMI_SOL, DEMI_SO_FRAMED, &one, sizeof(one)));
	pops = 0;
	send_and_check(client, server, len);
	send_and_check(server, client, len);
	CHECK_EQ(pops, 2);
	OK(demi_close(server));
	OK(demi_close(client));
	link_run(&l, 100000 * NET_MS);
	link_free(&l);
}

int main(void)
{
	uint32_t all = DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6;

	alarm(60);
	check_seed();
	init_memq();
	test(AF_INET, 0);
	test(AF_INET, DEMI_PKTDEV_C_TX_CSUM);
	test(AF_INET, all);
	test(AF_INET6, 0);
	test(AF_INET6, all);
	test_framed(1);
	test_framed(70000);
	test_framed(3000000);
	return 0;
}
