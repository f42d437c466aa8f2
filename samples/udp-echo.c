/* SPDX-License-Identifier: MIT */
/*
 * A UDP echo server, and a client for it.
 *
 *	udp-echo server 127.0.0.1 7000
 *	udp-echo client 127.0.0.1 7000 some words
 */
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "udp-echo: %s: %s\n", what, strerror(err));
	exit(1);
}

static void server(const struct sockaddr_in *sa)
{
	struct sockaddr_in me;
	socklen_t len = sizeof(me);
	demi_sgarray_t sga;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd;

	check(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0), "socket");
	check(demi_bind(qd, (const struct sockaddr *)sa, sizeof(*sa)), "bind");
	check(demi_getsockname(qd, (struct sockaddr *)&me, &len), "getsockname");
	printf("bound to port %u\n", ntohs(me.sin_port));
	fflush(stdout);
	for (;;) {
		/* One pop is one datagram; sga_addr says where it came from. */
		if (demi_blocking_pop(&sga, qd))
			continue;
		if (!demi_pushto(&qt, qd, &sga, (struct sockaddr *)&sga.sga_addr, sizeof(sga.sga_addr)))
			check(demi_wait(&qr, qt, NULL), "wait");
		demi_sgafree(&sga);
	}
}

static void client(const struct sockaddr_in *sa, const char *text)
{
	static const struct timespec second = { 1, 0 };
	demi_sgarray_t sga = demi_sgaalloc(strlen(text));
	demi_qtoken_t push, pop;
	demi_qresult_t qr;
	int qd, tries, err = ETIMEDOUT;

	check(sga.sga_numsegs ? 0 : ENOMEM, "sgaalloc");
	memcpy(sga.sga_segs[0].sgaseg_buf, text, strlen(text));
	check(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0), "socket");
	check(demi_pop(&pop, qd), "pop");
	/* Datagrams get lost: ask up to three times. The pop stays the same. */
	for (tries = 0; tries < 3 && err == ETIMEDOUT; tries++) {
		check(demi_pushto(&push, qd, &sga, (const struct sockaddr *)sa, sizeof(*sa)), "push");
		check(demi_wait(&qr, push, NULL), "wait");
		err = demi_wait(&qr, pop, &second);
	}
	check(err, "no answer");
	check((int)qr.qr_ret, "pop");
	demi_sgafree(&sga);
	sga = qr.qr_value.sga;
	printf("%.*s\n", (int)sga.sga_segs[0].sgaseg_len, (char *)sga.sga_segs[0].sgaseg_buf);
	demi_sgafree(&sga);
	demi_close(qd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int serve = argc == 4 && !strcmp(argv[1], "server");

	if (!serve && !(argc == 5 && !strcmp(argv[1], "client") && argv[4][0])) {
		fprintf(stderr, "usage: udp-echo server ADDRESS PORT\n       udp-echo client ADDRESS PORT TEXT\n");
		return 64;
	}
	sa.sin_port = htons((uint16_t)atoi(argv[3]));
	check(inet_pton(AF_INET, argv[2], &sa.sin_addr) == 1 ? 0 : EINVAL, argv[2]);
	check(demi_init(NULL), "init");
	if (serve)
		server(&sa);
	else
		client(&sa, argv[4]);
	return 0;
}
