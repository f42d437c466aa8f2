/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_IPERF3_H
#define DEMI_SELFTESTS_INET_IPERF3_H

/*
 * A client of iperf3's server on queues, as far as its protocol needs to be known (iperf 3.12, src/iperf_api.h): a
 * control connection with states of one byte and JSON texts after their length, and connections for the data, each of
 * which begins with the same cookie as the control connection.
 */

#include "http.h"

#define IPERF3_COOKIE 37 /* its zero byte included */
#define IPERF3_STREAMS 3
#define IPERF3_PIECE 65536U
#define IPERF3_BYTES 10027008U /* of each stream: more than a socket holds */

_Static_assert(IPERF3_BYTES % IPERF3_PIECE == 0, "whole pieces are sent");

enum iperf3_state {
	IPERF3_TEST_START = 1,
	IPERF3_TEST_RUNNING = 2,
	IPERF3_TEST_END = 4,
	IPERF3_PARAM_EXCHANGE = 9,
	IPERF3_CREATE_STREAMS = 10,
	IPERF3_EXCHANGE_RESULTS = 13,
	IPERF3_DISPLAY_RESULTS = 14,
	IPERF3_IPERF_DONE = 16,
};

/* A connection to it, which may not listen yet. */
static inline int iperf3_connect(const struct http_hosts *h, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = http_sockaddr(&ss, h->domain, h->kernel, port);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd = -1;

	for (;;) {
		OK(demi_socket(&qd, h->domain, SOCK_STREAM, 0));
		OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
		qr = wait_result(qt);
		if (qr.qr_opcode == DEMI_OPC_CONNECT)
			return qd;
		check_failed(&qr, ECONNREFUSED);
		OK(demi_close(qd));
		sleep_ms(20);
	}
}

static inline uint8_t iperf3_byte(struct http_stream *s)
{
	const uint8_t *p;

	CHECK_EQ(http_some(s, &p, 1), 1);
	return *p;
}

static inline void iperf3_await(struct http_stream *control, enum iperf3_state state)
{
	CHECK_EQ(iperf3_byte(control), state);
}

static inline void iperf3_say(struct http_stream *control, enum iperf3_state state)
{
	uint8_t byte = (uint8_t)state;

	push_bytes(control->qd, &byte, 1);
}

static inline void iperf3_put_text(struct http_stream *control, const char *text)
{
	uint32_t len = htonl((uint32_t)strlen(text));

	push_bytes(control->qd, &len, sizeof(len));
	push_bytes(control->qd, text, strlen(text));
}

static inline void iperf3_get_text(struct http_stream *control, char *text, uint32_t room)
{
	uint32_t len = 0;

	for (int i = 0; i < 4; i++)
		len = len << 8 | iperf3_byte(control);
	CHECK(len < room);
	for (uint32_t i = 0; i < len; i++)
		text[i] = (char)iperf3_byte(control);
	text[len] = '\0';
}

/* One stream of data to the server. */
static inline void iperf3_send(int qd)
{
	demi_qtoken_t qts[2] = { 0, 0 };
	uint8_t *piece = demi_malloc(IPERF3_PIECE);

	CHECK(piece);
	memset(piece, 0x5a, IPERF3_PIECE);
	for (uint32_t sent = 0, i = 0; sent < IPERF3_BYTES; sent += IPERF3_PIECE, i++) {
		if (qts[i % 2])
			CHECK_EQ(wait_result(qts[i % 2]).qr_opcode, DEMI_OPC_PUSH);
		qts[i % 2] = push_start(qd, piece, IPERF3_PIECE);
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(wait_result(qts[i]).qr_opcode, DEMI_OPC_PUSH);
	demi_free(piece);
}

static inline uint64_t iperf3_receive(struct http_stream *s, uint64_t bytes)
{
	uint64_t got = 0;
	const uint8_t *p;
	uint32_t n;

	while (got < bytes && (n = http_some(s, &p, UINT32_MAX)))
		got += n;
	return got;
}

/* What the server says of the stream @i, counted from 0. */
static inline uint64_t iperf3_result(const char *results, int i)
{
	const char *at = strstr(results, "\"streams\"");

	for (int n = 0; n <= i; n++) {
		CHECK(at);
		at = strstr(at + 1, "\"bytes\":");
	}
	CHECK(at);
	return strtoull(at + strlen("\"bytes\":"), NULL, 10);
}

static inline void iperf3_results(struct http_stream *control, const uint64_t *bytes, char *theirs, uint32_t room)
{
	char text[1000];
	int n;

	n = snprintf(text, sizeof(text),
		     "{\"cpu_util_total\":0,\"cpu_util_user\":0,\"cpu_util_system\":0,\"sender_has_retransmits\":0,"
		     "\"streams\":[");
	for (int i = 0; i < IPERF3_STREAMS; i++) /* their numbers are 1, 3, 4 … */
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "%s{\"id\":%d,\"bytes\":%llu,\"retransmits\":0,\"jitter\":0,\"errors\":0,\"packets\":0,"
			      "\"start_time\":0,\"end_time\":1}",
			      i ? "," : "", i ? i + 2 : 1, (unsigned long long)bytes[i]);
	snprintf(text + n, sizeof(text) - (size_t)n, "]}");
	iperf3_put_text(control, text);
	iperf3_get_text(control, theirs, room);
}

/* One run, @reverse: the server sends. What it says it sent is what has come; what it got is no more than was sent. */
static inline void iperf3_run(const struct http_hosts *h, uint16_t port, bool reverse)
{
	static const char cookie[IPERF3_COOKIE] = "abcdefghijklmnopqrstuvwxyz0123456789";
	struct http_stream control = { .qd = iperf3_connect(h, port) }, data[IPERF3_STREAMS] = { 0 };
	uint64_t bytes[IPERF3_STREAMS], theirs, sum = 0;
	static char text[65536];

	push_bytes(control.qd, cookie, sizeof(cookie));
	iperf3_await(&control, IPERF3_PARAM_EXCHANGE);
	snprintf(text, sizeof(text),
		 "{\"tcp\":true,\"omit\":0,\"time\":100,\"num\":0,\"blockcount\":0,\"parallel\":%d,\"len\":%u%s,"
		 "\"pacing_timer\":1000,\"client_version\":\"3.12\"}",
		 IPERF3_STREAMS, IPERF3_PIECE, reverse ? ",\"reverse\":true" : "");
	iperf3_put_text(&control, text);
	iperf3_await(&control, IPERF3_CREATE_STREAMS);
	for (int i = 0; i < IPERF3_STREAMS; i++) {
		data[i].qd = iperf3_connect(h, port);
		push_bytes(data[i].qd, cookie, sizeof(cookie));
	}
	iperf3_await(&control, IPERF3_TEST_START);
	iperf3_await(&control, IPERF3_TEST_RUNNING);
	for (int i = 0; i < IPERF3_STREAMS; i++) {
		bytes[i] = IPERF3_BYTES;
		if (reverse)
			bytes[i] = iperf3_receive(&data[i], IPERF3_BYTES);
		else
			iperf3_send(data[i].qd);
		CHECK(bytes[i] >= IPERF3_BYTES);
	}
	iperf3_say(&control, IPERF3_TEST_END);
	for (int i = 0; reverse && i < IPERF3_STREAMS; i++) /* what was under way, to the end */
		bytes[i] += iperf3_receive(&data[i], UINT64_MAX);
	iperf3_await(&control, IPERF3_EXCHANGE_RESULTS);
	iperf3_results(&control, bytes, text, sizeof(text));
	iperf3_await(&control, IPERF3_DISPLAY_RESULTS);
	for (int i = 0; i < IPERF3_STREAMS; i++) {
		theirs = iperf3_result(text, i);
		if (reverse)
			CHECK_EQ(theirs, bytes[i]);
		CHECK(theirs <= bytes[i]); /* it ends without looking at what is still in its sockets */
		sum += theirs;
		OK(demi_close(data[i].qd));
	}
	CHECK(sum > 0);
	iperf3_say(&control, IPERF3_IPERF_DONE);
	OK(demi_close(control.qd));
}

/* The server ends after one run. */
static inline void iperf3(const char *program, const struct http_hosts *h)
{
	char cmd[2 * HTTP_PATH];
	int status;

	for (int reverse = 0; reverse < 2; reverse++) {
		uint16_t port = http_free_port(h);
		pid_t pid;

		snprintf(cmd, sizeof(cmd), "exec %s -s -1 -B %s -p %u >/dev/null", program, h->kernel, port);
		pid = http_shell(cmd);
		iperf3_run(h, port, reverse);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	}
}

#endif /* DEMI_SELFTESTS_INET_IPERF3_H */
