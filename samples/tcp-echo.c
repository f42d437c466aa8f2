/* SPDX-License-Identifier: MIT */
/*
 * A TCP echo server for any number of connections, and a client for it.
 *
 *	tcp-echo server 127.0.0.1 7000
 *	tcp-echo client 127.0.0.1 7000 some words
 */
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Calls return 0 or a positive errno, as pthreads do. */
static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "tcp-echo: %s: %s\n", what, strerror(err));
	exit(1);
}

static void address(struct sockaddr_in *sa, const char *host, const char *port)
{
	memset(sa, 0, sizeof(*sa));
	sa->sin_family = AF_INET;
	sa->sin_port = htons((uint16_t)atoi(port));
	check(inet_pton(AF_INET, host, &sa->sin_addr) == 1 ? 0 : EINVAL, host);
}

/* What came in goes back. The memory is freed at once: the queue keeps it as long as it needs it. */
static void echo(int qd, demi_sgarray_t *sga)
{
	demi_qtoken_t qt;

	/* An error here is a peer that has gone; its pop tells us, too. */
	demi_push(&qt, qd, sga);
	demi_sgafree(sga);
	check(demi_pop(&qt, qd), "pop");
}

static void server(const struct sockaddr_in *sa)
{
	struct sockaddr_in me;
	socklen_t len = sizeof(me);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int listener, n;

	check(demi_socket(&listener, AF_INET, SOCK_STREAM, 0), "socket");
	check(demi_bind(listener, (const struct sockaddr *)sa, sizeof(*sa)), "bind");
	check(demi_listen(listener, 128), "listen");
	check(demi_getsockname(listener, (struct sockaddr *)&me, &len), "getsockname");
	printf("listening on port %u\n", ntohs(me.sin_port));
	fflush(stdout);

	check(demi_accept(&qt, listener), "accept");
	for (;;) {
		/* Whatever completes next, of all that was started. */
		check(demi_wait_next_n(&qr, 1, &n, NULL), "wait");
		switch (qr.qr_opcode) {
		case DEMI_OPC_ACCEPT:
			check(demi_pop(&qt, qr.qr_value.ares.qd), "pop");
			check(demi_accept(&qt, listener), "accept");
			break;
		case DEMI_OPC_POP:
			if (qr.qr_value.sga.sga_segs[0].sgaseg_len) {
				echo(qr.qr_qd, &qr.qr_value.sga);
			} else { /* the end of the stream */
				demi_sgafree(&qr.qr_value.sga);
				demi_close(qr.qr_qd);
			}
			break;
		case DEMI_OPC_FAILED:
			if (qr.qr_qd != listener)
				demi_close(qr.qr_qd); /* EBADF when a push and the pop failed both: no harm */
			else
				check(demi_accept(&qt, listener), "accept");
			break;
		default: /* a push is done */
			break;
		}
	}
}

static void client(const struct sockaddr_in *sa, const char *text)
{
	size_t len = strlen(text), got = 0;
	demi_sgarray_t sga = demi_sgaalloc(len), reply;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd;

	check(sga.sga_numsegs ? 0 : ENOMEM, "sgaalloc");
	memcpy(sga.sga_segs[0].sgaseg_buf, text, len);
	check(demi_socket(&qd, AF_INET, SOCK_STREAM, 0), "socket");
	check(demi_connect(&qt, qd, (const struct sockaddr *)sa, sizeof(*sa)), "connect");
	check(demi_wait(&qr, qt, NULL), "wait");
	check((int)qr.qr_ret, "connect");

	check(demi_blocking_push(qd, &sga), "push");
	demi_sgafree(&sga);
	while (got < len) { /* a stream gives the bytes as they arrive */
		check(demi_blocking_pop(&reply, qd), "pop");
		check(reply.sga_segs[0].sgaseg_len ? 0 : ECONNRESET, "pop");
		fwrite(reply.sga_segs[0].sgaseg_buf, 1, reply.sga_segs[0].sgaseg_len, stdout);
		got += reply.sga_segs[0].sgaseg_len;
		demi_sgafree(&reply);
	}
	putchar('\n');
	demi_close(qd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa;

	if (argc == 4 && !strcmp(argv[1], "server")) {
		address(&sa, argv[2], argv[3]);
		check(demi_init(NULL), "init");
		server(&sa);
	} else if (argc == 5 && !strcmp(argv[1], "client") && argv[4][0]) {
		address(&sa, argv[2], argv[3]);
		check(demi_init(NULL), "init");
		client(&sa, argv[4]);
	} else {
		fprintf(stderr, "usage: tcp-echo server ADDRESS PORT\n       tcp-echo client ADDRESS PORT TEXT\n");
		return 64;
	}
	return 0;
}
