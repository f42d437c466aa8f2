/* SPDX-License-Identifier: MIT */
/* engines: both */
/*
 * Design, statement 10: one wait_any names a TCP connection, a datagram socket, a Unix socket, a memory queue, a pipe
 * and a file at once.
 */
#include "lib/check.h"

#include <fcntl.h>

enum { TCP, UDP, UNIX, MEMQ, PIPE, FILES, KINDS };

static int in[KINDS], out[KINDS];
static char path[] = "/tmp/demi-together.XXXXXX";

static void open_all(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage name = { .ss_family = AF_UNIX };
	socklen_t len = sizeof(addr);
	demi_qtoken_t qt, qts[2];
	demi_qresult_t qr, qrs[2];
	int pair[2], listener, fd;

	tcp_pair(pair);
	in[TCP] = pair[0];
	out[TCP] = pair[1];

	OK(demi_socket(&out[UDP], AF_INET, SOCK_DGRAM, 0));
	OK(demi_bind(out[UDP], (struct sockaddr *)&addr, sizeof(addr)));
	OK(demi_getsockname(out[UDP], (struct sockaddr *)&addr, &len));
	OK(demi_socket(&in[UDP], AF_INET, SOCK_DGRAM, 0));
	OK(demi_connect(&qt, in[UDP], (struct sockaddr *)&addr, sizeof(addr)));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);

	OK(demi_socket(&listener, AF_UNIX, SOCK_STREAM, 0));
	OK(demi_bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)));
	OK(demi_listen(listener, 1));
	len = sizeof(name);
	OK(demi_getsockname(listener, (struct sockaddr *)&name, &len));
	OK(demi_socket(&in[UNIX], AF_UNIX, SOCK_STREAM, 0));
	OK(demi_accept(&qts[0], listener));
	OK(demi_connect(&qts[1], in[UNIX], (struct sockaddr *)&name, len));
	OK(demi_wait_all(qrs, qts, 2, NULL));
	CHECK_EQ(qrs[0].qr_opcode, DEMI_OPC_ACCEPT);
	out[UNIX] = qrs[0].qr_value.ares.qd;
	OK(demi_close(listener));

	in[MEMQ] = out[MEMQ] = new_queue();

	snprintf((char *)&name, sizeof(name), "together-%d", (int)getpid());
	OK(demi_create_pipe(&in[PIPE], (char *)&name));
	OK(demi_open_pipe(&out[PIPE], (char *)&name));

	fd = mkstemp(path);
	CHECK(fd >= 0);
	close(fd);
	OK(demi_open(&in[FILES], path, O_WRONLY, 0));
	OK(demi_open(&out[FILES], path, O_RDONLY, 0));
	unlink(path);
}

int main(void)
{
	uint32_t sent[KINDS] = { 0 }, got[KINDS] = { 0 }, total = 0;
	demi_qtoken_t qts[KINDS];
	demi_qresult_t qr;
	int off;

	alarm(100);
	check_seed();
	init_sockets();
	open_all();
	for (int i = 0; i < KINDS; i++) { /* a file never waits: what a pop finds there has to be pushed first */
		if (i == FILES)
			push_bytes(in[i], &sent[i], sizeof(sent[i]));
		sent[i] += i == FILES;
		qts[i] = pop_start(out[i]);
	}
	while (total < 2000) {
		int i = (int)rnd_below(KINDS);

		if (sent[i] - got[i] < 1) { /* one at a time: streams keep no boundaries */
			push_bytes(in[i], &sent[i], sizeof(sent[i]));
			sent[i]++;
			if (i == FILES)
				qts[i] = pop_start(out[i]);
		}
		/* a file that has nothing to come is named by no token: the last entry is left out */
		OK(demi_wait_any(&qr, &off, qts, sent[FILES] > got[FILES] ? KINDS : KINDS - 1, NULL));
		CHECK_EQ(qr.qr_qd, out[off]);
		check_popped(&qr, &got[off], sizeof(got[off]));
		got[off]++;
		CHECK_EQ(got[off], sent[off]);
		total++;
		if (off != FILES)
			qts[off] = pop_start(out[off]);
	}
	for (int i = 0; i < KINDS; i++)
		CHECK(got[i] > 100);
	return 0;
}
