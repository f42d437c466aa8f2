/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/* ICMP errors reach the socket whose datagram they quote, with the errno that Linux gives, and nobody else. */
#include "inet_test.h"

static uint8_t p[2048];

/* An error about a datagram from this host's @sport to the peer's @dport. */
static uint32_t icmp4(uint8_t type, uint8_t code, uint16_t sport, uint16_t dport)
{
	uint8_t *q = p + 28;

	memset(p, 0, 56);
	p[0] = 0x45;
	put16(p + 2, 56);
	p[8] = 64;
	p[9] = 1;
	put32(p + 12, 0x0a0000fe); /* from a router */
	put32(p + 16, ADDR4);
	set_ip4_sum(p);
	p[20] = type;
	p[21] = code;
	q[0] = 0x45;
	put16(q + 2, 100);
	q[9] = 17;
	put32(q + 12, ADDR4);
	put32(q + 16, PEER4);
	put16(q + 20, sport);
	put16(q + 22, dport);
	put16(q + 24, 80);
	put16(p + 22, (uint16_t)~fold16(sum16(p + 20, 36)));
	return 56;
}

static void sum_icmp6(uint32_t len)
{
	put16(p + 42, 0);
	put16(p + 42, (uint16_t)~fold16(pseudo_sum(p, 58, len - 40) + sum16(p + 40, len - 40)));
}

static uint32_t icmp6(uint8_t type, uint8_t code, uint16_t sport, uint16_t dport)
{
	uint8_t *q = p + 48;

	memset(p, 0, 96);
	p[0] = 0x60;
	put16(p + 4, 56);
	p[6] = 58;
	p[7] = 64;
	memcpy(p + 8, peer6, 16);
	memcpy(p + 24, addr6, 16);
	p[40] = type;
	p[41] = code;
	q[0] = 0x60;
	put16(q + 4, 50);
	q[6] = 17;
	memcpy(q + 8, addr6, 16);
	memcpy(q + 24, peer6, 16);
	put16(q + 40, sport);
	put16(q + 42, dport);
	put16(q + 44, 50);
	sum_icmp6(96);
	return 96;
}

/* The error that a pop is told that waits when the packet comes; 0: none. */
static int popped_error(int qd, uint32_t len)
{
	demi_qtoken_t qt = pop_start(qd);
	demi_qresult_t qr;

	inject(p, len);
	turn();
	if (demi_wait(&qr, qt, &check_now) == ETIMEDOUT) {
		OK(demi_cancel(qt));
		wait_result(qt);
		return 0;
	}
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_FAILED);
	return (int)qr.qr_ret;
}

static void test_codes4(void)
{
	static const struct {
		uint8_t type, code;
		int hard, soft; /* told to all connected sockets; told with IP_RECVERR */
	} t[] = {
		{ 3, 0, 0, ENETUNREACH },
		{ 3, 1, 0, EHOSTUNREACH },
		{ 3, 2, ENOPROTOOPT, ENOPROTOOPT },
		{ 3, 3, ECONNREFUSED, ECONNREFUSED },
		{ 3, 4, 0, EMSGSIZE },
		{ 3, 5, 0, EOPNOTSUPP },
		{ 3, 6, ENETUNREACH, ENETUNREACH },
		{ 3, 7, EHOSTDOWN, EHOSTDOWN },
		{ 3, 8, ENONET, ENONET },
		{ 3, 13, EHOSTUNREACH, EHOSTUNREACH },
		{ 3, 15, EHOSTUNREACH, EHOSTUNREACH },
		{ 3, 16, 0, 0 },
		{ 11, 0, 0, EHOSTUNREACH },
		{ 12, 0, EPROTO, EPROTO },
		{ 4, 0, 0, 0 },
		{ 0, 0, 0, 0 },
		{ 8, 0, 0, 0 },
	};
	int qd = connected4(9);

	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (int all = 0; all < 2; all++) {
			set_int(qd, IPPROTO_IP, IP_RECVERR, all);
			CHECK_EQ(popped_error(qd, icmp4(t[i].type, t[i].code, port_of(qd), 9)),
				 all ? t[i].soft : t[i].hard);
		}
	}
	OK(demi_close(qd));
}

static void test_codes6(void)
{
	static const struct {
		uint8_t type, code;
		int hard, soft;
	} t[] = {
		{ 1, 0, 0, ENETUNREACH },
		{ 1, 1, EACCES, EACCES },
		{ 1, 2, 0, EHOSTUNREACH },
		{ 1, 3, 0, EHOSTUNREACH },
		{ 1, 4, ECONNREFUSED, ECONNREFUSED },
		{ 1, 5, EACCES, EACCES },
		{ 1, 6, EACCES, EACCES },
		{ 1, 7, 0, 0 },
		{ 2, 0, 0, EMSGSIZE },
		{ 3, 0, 0, EHOSTUNREACH },
		{ 4, 0, EPROTO, EPROTO },
		{ 128, 0, 0, 0 },
	};
	struct sockaddr_in6 sin6 = sin6_of(peer6, 9);
	int qd = udp_socket(AF_INET6);
	demi_qtoken_t qt;

	OK(demi_connect(&qt, qd, (struct sockaddr *)&sin6, sizeof(sin6)));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_CONNECT);
	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (int all = 0; all < 2; all++) {
			set_int(qd, IPPROTO_IPV6, IPV6_RECVERR, all);
			CHECK_EQ(popped_error(qd, icmp6(t[i].type, t[i].code, port_of(qd), 9)),
				 all ? t[i].soft : t[i].hard);
		}
	}
	OK(demi_close(qd));
}

/* The next operation is told, whichever it is, and only that one. */
static void test_next(void)
{
	int qd = connected4(9);
	demi_qresult_t qr;

	inject(p, icmp4(3, 3, port_of(qd), 9));
	turn();
	CHECK_EQ(push_err(qd), ECONNREFUSED);
	wait_result(push_start(qd, "x", 1));
	inject(p, icmp4(3, 3, port_of(qd), 9));
	turn();
	qr = wait_result(pop_start(qd));
	check_failed(&qr, ECONNREFUSED);
	nothing_to_pop(qd);
	inject(p, icmp4(3, 3, port_of(qd), 9));
	turn();
	CHECK_EQ(get_int(qd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	CHECK_EQ(get_int(qd, SOL_SOCKET, SO_ERROR), 0);
	/* data that has come before goes first */
	inject(p, udp4(p, 9, port_of(qd), "data", 4));
	turn();
	inject(p, icmp4(3, 3, port_of(qd), 9));
	turn();
	pop_bytes(qd, "data", 4);
	qr = wait_result(pop_start(qd));
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

/* Errors about what others sent, or other protocols; unconnected sockets hear nothing unless they ask. */
static void test_others(void)
{
	int qd = connected4(9), open = bound4(7000);
	uint16_t port = port_of(qd);

	CHECK_EQ(popped_error(qd, icmp4(3, 3, port, 10)), 0);
	CHECK_EQ(popped_error(qd, icmp4(3, 3, (uint16_t)(port + 1), 9)), 0);
	icmp4(3, 3, port, 9);
	p[28 + 9] = 6; /* TCP */
	put16(p + 22, 0);
	put16(p + 22, (uint16_t)~fold16(sum16(p + 20, 36)));
	CHECK_EQ(popped_error(qd, 56), 0);
	icmp4(3, 3, port, 9);
	put16(p + 28 + 6, 5); /* of a later fragment, which has no ports */
	put16(p + 22, 0);
	put16(p + 22, (uint16_t)~fold16(sum16(p + 20, 36)));
	CHECK_EQ(popped_error(qd, 56), 0);
	CHECK_EQ(popped_error(qd, icmp4(3, 3, port, 9)), ECONNREFUSED);
	CHECK_EQ(popped_error(open, icmp4(3, 3, 7000, 9)), 0);
	set_int(open, IPPROTO_IP, IP_RECVERR, 1);
	CHECK_EQ(popped_error(open, icmp4(3, 3, 7000, 9)), ECONNREFUSED);
	OK(demi_close(qd));
	OK(demi_close(open));
}

static void test_malformed(void)
{
	int qd = connected4(9);
	uint16_t port = port_of(qd);
	uint32_t len;

	icmp4(3, 3, port, 9);
	p[25] ^= 1;
	CHECK_EQ(popped_error(qd, 56), 0);
	CHECK_EQ(counter("IcmpInCsumErrors"), 1);
	for (len = 20; len < 56; len++) { /* cut off anywhere */
		icmp4(3, 3, port, 9);
		put16(p + 2, len);
		set_ip4_sum(p);
		if (len >= 24) {
			put16(p + 22, 0);
			put16(p + 22, (uint16_t)~fold16(sum16(p + 20, len - 20)));
		}
		CHECK_EQ(popped_error(qd, len), 0);
	}
	CHECK_EQ(counter("IcmpInErrors"), 36);
	icmp4(3, 3, port, 9);
	p[28] = 0x4f; /* quotes a header of 60 bytes */
	put16(p + 22, 0);
	put16(p + 22, (uint16_t)~fold16(sum16(p + 20, 36)));
	CHECK_EQ(popped_error(qd, 56), 0);
	CHECK_EQ(counter("IcmpInErrors"), 37);
	for (len = 40; len < 96; len++) {
		icmp6(1, 4, port, 9);
		put16(p + 4, len - 40);
		if (len >= 44)
			sum_icmp6(len);
		CHECK_EQ(popped_error(qd, len), 0);
	}
	CHECK_EQ(counter("Icmp6InErrors"), 56);
	icmp6(1, 4, port, 9);
	p[60] ^= 1;
	CHECK_EQ(popped_error(qd, 96), 0);
	CHECK_EQ(counter("Icmp6InCsumErrors"), 1);
	OK(demi_close(qd));
}

/* What was sent longer than the path's MTU was cut by the kernel: its first part is quoted. */
static void test_fragment6(void)
{
	struct sockaddr_in6 sin6 = sin6_of(peer6, 9);
	int qd = udp_socket(AF_INET6);
	demi_qtoken_t qt;

	OK(demi_connect(&qt, qd, (struct sockaddr *)&sin6, sizeof(sin6)));
	wait_result(qt);
	icmp6(1, 4, port_of(qd), 9);
	memmove(p + 96, p + 88, 8);
	memset(p + 88, 0, 8);
	p[88] = 17;
	p[91] = 1; /* more fragments */
	p[48 + 6] = 44;
	put16(p + 4, 64);
	sum_icmp6(104);
	CHECK_EQ(popped_error(qd, 104), ECONNREFUSED);
	put16(p + 90, 8); /* of a later one */
	sum_icmp6(104);
	CHECK_EQ(popped_error(qd, 104), 0);
	OK(demi_close(qd));
}

/* After "too big" the route is asked for again, and the packets say that they may be cut. */
static void test_mtu(void)
{
	int qd = connected4(9);
	uint32_t routes = dev->routes;
	struct sent *s;

	wait_result(push_start(qd, "x", 1));
	CHECK_EQ(dev->routes, routes);
	free(next_sent());
	inject(p, icmp4(3, 4, port_of(qd), 9));
	turn();
	wait_result(push_start(qd, "x", 1));
	CHECK_EQ(dev->routes, routes + 1);
	s = next_sent();
	CHECK_EQ(s->len, 29);
	free(s);
	OK(demi_close(qd));
}

static void all(void)
{
	test_codes4();
	test_codes6();
	test_next();
	test_others();
	test_fragment6();
	test_mtu();
}

int main(void)
{
	inet_run(all, 0);
	inet_run(test_malformed, 0);
	return 0;
}
