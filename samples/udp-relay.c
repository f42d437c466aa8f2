/* SPDX-License-Identifier: MIT */
/*
 * A UDP relay, as games and calls use one: the first two peers that send to it are connected, each gets what the
 * other sends. No byte is copied by the relay: what was popped is what is pushed.
 *
 *	udp-relay 127.0.0.1 7000
 */
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POPS 16 /* datagrams that may arrive while we are busy with one */

static struct sockaddr_in peers[2];
static int npeers;

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "udp-relay: %s: %s\n", what, strerror(err));
	exit(1);
}

/* Which peer @sa is; a new one if there is room, else -1. */
static int peer_of(const struct sockaddr_in *sa)
{
	int i;

	for (i = 0; i < npeers; i++)
		if (peers[i].sin_port == sa->sin_port && peers[i].sin_addr.s_addr == sa->sin_addr.s_addr)
			return i;
	if (npeers == 2)
		return -1;
	peers[npeers] = *sa;
	return npeers++;
}

static void relay(int qd, demi_sgarray_t *sga)
{
	struct sockaddr_in from;
	demi_qtoken_t qt;
	int i;

	memcpy(&from, &sga->sga_addr, sizeof(from)); /* the structure is packed */
	i = peer_of(&from);
	/* A push that cannot be started is a datagram that is lost, which UDP allows. */
	if (i >= 0 && npeers == 2)
		demi_pushto(&qt, qd, sga, (struct sockaddr *)&peers[!i], sizeof(peers[!i]));
	demi_sgafree(sga); /* the queue keeps what it still sends */
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	demi_qresult_t qrs[POPS];
	socklen_t len = sizeof(sa);
	demi_qtoken_t qt;
	int qd, i, n;

	if (argc != 3) {
		fprintf(stderr, "usage: udp-relay ADDRESS PORT\n");
		return 64;
	}
	sa.sin_port = htons((uint16_t)atoi(argv[2]));
	check(inet_pton(AF_INET, argv[1], &sa.sin_addr) == 1 ? 0 : EINVAL, argv[1]);
	check(demi_init(NULL), "init");
	check(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0), "socket");
	check(demi_bind(qd, (struct sockaddr *)&sa, sizeof(sa)), "bind");
	check(demi_getsockname(qd, (struct sockaddr *)&sa, &len), "getsockname");
	printf("bound to port %u\n", ntohs(sa.sin_port));
	fflush(stdout);

	for (i = 0; i < POPS; i++)
		check(demi_pop(&qt, qd), "pop");
	for (;;) {
		/* All that is ready at once: fewer calls under load. */
		check(demi_wait_next_n(qrs, POPS, &n, NULL), "wait");
		for (i = 0; i < n; i++) {
			if (qrs[i].qr_opcode == DEMI_OPC_PUSH)
				continue;
			if (qrs[i].qr_opcode == DEMI_OPC_POP) {
				relay(qd, &qrs[i].qr_value.sga);
				check(demi_pop(&qt, qd), "pop");
			} else if (qrs[i].qr_ret != ECONNREFUSED) {
				check((int)qrs[i].qr_ret, "relay");
			}
		}
	}
}
