/* SPDX-License-Identifier: MIT */
/*
 * libdemi in somebody else's event loop: a TCP echo server whose loop is libevent's, beside a timer and standard
 * input that libevent watches as always. demi_wait_fd() is one more descriptor in the loop.
 *
 *	libevent-loop PORT      echoes until a line "quit" comes on standard input
 */
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct event_base *base;
static unsigned long echoes;
static int listener;

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "libevent-loop: %s: %s\n", what, strerror(err));
	exit(1);
}

static void handle(demi_qresult_t *qr)
{
	demi_qtoken_t qt;

	if (qr->qr_opcode == DEMI_OPC_ACCEPT) {
		check(demi_pop(&qt, qr->qr_value.ares.qd), "pop");
		check(demi_accept(&qt, listener), "accept");
	} else if (qr->qr_opcode == DEMI_OPC_POP) {
		if (!qr->qr_value.sga.sga_segs[0].sgaseg_len) {
			demi_sgafree(&qr->qr_value.sga);
			demi_close(qr->qr_qd);
			return;
		}
		demi_push(&qt, qr->qr_qd, &qr->qr_value.sga);
		demi_sgafree(&qr->qr_value.sga);
		echoes++;
		check(demi_pop(&qt, qr->qr_qd), "pop");
	} else if (qr->qr_opcode == DEMI_OPC_FAILED && qr->qr_qd != listener) {
		demi_close(qr->qr_qd);
	}
}

/*
 * Take all that is ready, then ask to be told of more. demi_wait_arm() says EAGAIN when something became ready in
 * between; so when it returns 0 nothing is left, and the descriptor will tell.
 */
static void on_demi(evutil_socket_t fd, short events, void *arg)
{
	static const struct timespec now = { 0, 0 };
	demi_qresult_t qr;
	int err, n;

	do {
		while (!(err = demi_wait_next_n(&qr, 1, &n, &now)))
			handle(&qr);
		check(err == ETIMEDOUT ? 0 : err, "wait");
		err = demi_wait_arm();
	} while (err == EAGAIN);
	check(err, "arm");
}

static void on_input(evutil_socket_t fd, short events, void *arg)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin) || !strcmp(line, "quit\n"))
		event_base_loopbreak(base);
}

static void on_second(evutil_socket_t fd, short events, void *arg)
{
	static unsigned long last;

	if (echoes != last)
		fprintf(stderr, "%lu echoes\n", echoes);
	last = echoes;
}

static void listen_on(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
	socklen_t len = sizeof(sa);
	demi_qtoken_t qt;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(demi_socket(&listener, AF_INET, SOCK_STREAM, 0), "socket");
	check(demi_bind(listener, (struct sockaddr *)&sa, len), "bind");
	check(demi_listen(listener, 128), "listen");
	check(demi_getsockname(listener, (struct sockaddr *)&sa, &len), "getsockname");
	check(demi_accept(&qt, listener), "accept");
	printf("listening on port %u\n", ntohs(sa.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct timeval second = { 1, 0 };
	struct event *ev[3];
	int fd, i;

	if (argc != 2) {
		fprintf(stderr, "usage: libevent-loop PORT\n");
		return 64;
	}
	check(demi_init(NULL), "init");
	check(demi_wait_fd(&fd), "wait_fd");
	listen_on((uint16_t)atoi(argv[1]));
	base = event_base_new();
	check(base ? 0 : ENOMEM, "event_base_new");
	ev[0] = event_new(base, fd, EV_READ | EV_PERSIST, on_demi, NULL);
	ev[1] = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
	ev[2] = event_new(base, -1, EV_PERSIST, on_second, NULL);
	for (i = 0; i < 3; i++)
		check(ev[i] && !event_add(ev[i], i == 2 ? &second : NULL) ? 0 : ENOMEM, "event");
	on_demi(fd, EV_READ, NULL); /* arm for the first time */
	event_base_dispatch(base);
	for (i = 0; i < 3; i++)
		event_free(ev[i]);
	event_base_free(base);
	return 0;
}
