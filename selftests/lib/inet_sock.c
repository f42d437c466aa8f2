/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/* Sockets of the stack: making, names, ports, errors of the device, closing, options. */
#include "inet_test.h"

#include <netinet/ip.h>

static int bind4(int qd, uint32_t ip, uint16_t port)
{
	struct sockaddr_in sin = sin_of(ip, port);

	return demi_bind(qd, (struct sockaddr *)&sin, sizeof(sin));
}

static void test_make(void)
{
	int qd = -1;

	CHECK_EQ(demi_socket(&qd, AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	CHECK_EQ(demi_socket(&qd, AF_INET, SOCK_RAW, 0), ESOCKTNOSUPPORT);
	CHECK_EQ(demi_socket(&qd, AF_UNIX, SOCK_DGRAM, 0), EAFNOSUPPORT);
	CHECK_EQ(demi_socket(&qd, AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
	CHECK_EQ(qd, -1);
	OK(demi_socket(&qd, AF_INET, SOCK_DGRAM, IPPROTO_UDP));
	CHECK_EQ(demi_listen(qd, 1), EOPNOTSUPP);
	CHECK_EQ(get_int(qd, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	CHECK_EQ(get_int(qd, SOL_SOCKET, SO_DOMAIN), AF_INET);
	CHECK_EQ(get_int(qd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP);
	OK(demi_close(qd));
}

static void test_bind(void)
{
	struct sockaddr_in sin = sin_of(ADDR4, 7000);
	struct sockaddr_in6 sin6 = sin6_of(addr6, 7000);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int qd = udp_socket(AF_INET), qd6;

	CHECK_EQ(demi_bind(qd, (struct sockaddr *)&sin, sizeof(sin) - 1), EINVAL);
	CHECK_EQ(demi_bind(qd, (struct sockaddr *)&sin6, sizeof(sin6)), EAFNOSUPPORT);
	dev->port_err = -EACCES;
	CHECK_EQ(bind4(qd, ADDR4, 7000), EACCES);
	dev->port_err = 0;
	dev->flow_err = -EDQUOT;
	CHECK_EQ(bind4(qd, ADDR4, 7000), EDQUOT);
	dev->flow_err = 0;
	CHECK_EQ(dev->ports, 0);
	OK(bind4(qd, ADDR4, 7000));
	CHECK(dev->port.family == AF_INET && dev->port.proto == IPPROTO_UDP && dev->port.port == htons(7000));
	CHECK(dev->port.ip.v4.s_addr == htonl(ADDR4));
	CHECK_EQ(bind4(qd, ADDR4, 7001), EINVAL);
	OK(demi_getsockname(qd, (struct sockaddr *)&ss, &len));
	CHECK(len == sizeof(sin) && !memcmp(&ss, &sin, len));
	CHECK_EQ(demi_getpeername(qd, (struct sockaddr *)&ss, &len), ENOTCONN);
	/* the kernel would not give the same again; the stack does not believe it if it does */
	qd6 = udp_socket(AF_INET);
	CHECK_EQ(bind4(qd6, ADDR4, 7000), EADDRINUSE);
	CHECK_EQ(dev->ports, 1);
	OK(demi_close(qd6));
	OK(demi_close(qd));

	qd6 = udp_socket(AF_INET6);
	OK(demi_bind(qd6, (struct sockaddr *)&sin6, sizeof(sin6)));
	CHECK(dev->port.family == AF_INET6 && !memcmp(&dev->port.ip.v6, addr6, 16));
	CHECK_EQ(dev->port.flags, DEMI_PKTDEV_PORT_F_MULTICAST);
	len = sizeof(ss);
	OK(demi_getsockname(qd6, (struct sockaddr *)&ss, &len));
	CHECK(len == sizeof(sin6) && !memcmp(&ss, &sin6, len));
	len = 4; /* cut off, and the whole length told */
	OK(demi_getsockname(qd6, (struct sockaddr *)&ss, &len));
	CHECK_EQ(len, sizeof(sin6));
	OK(demi_close(qd6));

	/* a mapped address is one of IPv4 */
	sin6 = sin6_of((const uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1 }, 7000);
	qd6 = udp_socket(AF_INET6);
	set_int(qd6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	CHECK_EQ(demi_bind(qd6, (struct sockaddr *)&sin6, sizeof(sin6)), EINVAL);
	set_int(qd6, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	OK(demi_bind(qd6, (struct sockaddr *)&sin6, sizeof(sin6)));
	CHECK(dev->port.family == AF_INET && dev->port.ip.v4.s_addr == htonl(ADDR4));
	OK(demi_close(qd6));

	/* the scope of a link-local address */
	sin6 = sin6_of((const uint8_t[16]){ 0xfe, 0x80, [15] = 1 }, 7000);
	sin6.sin6_scope_id = 3;
	qd6 = udp_socket(AF_INET6);
	OK(demi_bind(qd6, (struct sockaddr *)&sin6, sizeof(sin6)));
	CHECK_EQ(dev->port.ifindex, 3);
	OK(demi_close(qd6));
}

static void test_connect(void)
{
	int qd = udp_socket(AF_INET);
	struct sockaddr_in sin = sin_of(ADDR4, 0), peer = sin_of(PEER4, 9);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct sent *s;
	demi_qtoken_t qt;
	demi_qresult_t qr;

	CHECK_EQ(push_err(qd), EDESTADDRREQ);
	CHECK_EQ(demi_connect(&qt, qd, (struct sockaddr *)&peer, 4), EINVAL);
	dev->route_err = -ENETUNREACH;
	qr = connect4(qd, PEER4, 9);
	check_failed(&qr, ENETUNREACH);
	CHECK_EQ(counter("IpOutNoRoutes"), 1);
	CHECK_EQ(pushto4(&qt, qd, "x", 1, PEER4, 9), ENETUNREACH);
	dev->route_err = 0;
	qr = connect4(qd, PEER4, 9);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	OK(demi_getpeername(qd, (struct sockaddr *)&ss, &len));
	CHECK(len == sizeof(peer) && !memcmp(&ss, &peer, len));
	sin.sin_port = htons(port_of(qd));
	CHECK(port_of(qd) >= 40000);
	OK(demi_getsockname(qd, (struct sockaddr *)&ss, &len));
	CHECK(len == sizeof(sin) && !memcmp(&ss, &sin, len));
	CHECK_EQ(get_int(qd, IPPROTO_IP, IP_MTU), 1500);
	wait_result(push_start(qd, "x", 1));
	s = next_sent();
	CHECK(get32(s->data + 16) == PEER4 && get16(s->data + 22) == 9);
	free(s);
	/* to somebody else for once, and the peer stays */
	OK(pushto4(&qt, qd, "y", 1, PEER4 + 1, 10));
	wait_result(qt);
	s = next_sent();
	CHECK(get32(s->data + 16) == PEER4 + 1 && get16(s->data + 22) == 10);
	free(s);
	wait_result(push_start(qd, "x", 1));
	s = next_sent();
	CHECK(get32(s->data + 16) == PEER4);
	free(s);
	/* another peer */
	qr = connect4(qd, PEER4 + 5, 11);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	wait_result(push_start(qd, "x", 1));
	s = next_sent();
	CHECK(get32(s->data + 16) == PEER4 + 5 && get16(s->data + 22) == 11);
	free(s);
	/* nobody in particular is this host */
	qr = connect4(qd, INADDR_ANY, 9);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	wait_result(push_start(qd, "x", 1));
	s = next_sent();
	CHECK(get32(s->data + 16) == INADDR_LOOPBACK && get32(s->data + 12) == INADDR_LOOPBACK);
	free(s);
	CHECK_EQ(pushto4(&qt, qd, "x", 1, PEER4, 0), EINVAL);
	OK(demi_close(qd));
}

/* A route is asked for once; when the device says that routes have changed, again. */
static void test_routes(void)
{
	int qd = bound4(7000);
	uint32_t routes = dev->routes;
	demi_qtoken_t qt;
	uint8_t p[64];

	for (int i = 0; i < 10; i++) {
		OK(pushto4(&qt, qd, "x", 1, PEER4, (uint16_t)(9 + i)));
		wait_result(qt);
	}
	CHECK_EQ(dev->routes, routes + 1);
	dev->d.route_gen++;
	inject(p, udp4(p, 5, 1, "x", 1));
	turn();
	OK(pushto4(&qt, qd, "x", 1, PEER4, 9));
	wait_result(qt);
	CHECK_EQ(dev->routes, routes + 2);
	OK(demi_close(qd));
}

/* What the device says about a packet that was taken: a lent push fails, a copied one makes the next operation fail. */
static void test_tx_errors(void)
{
	int qd = connected4(9);
	demi_sgarray_t big = demi_sgaalloc(2000);
	demi_qtoken_t qt;
	demi_qresult_t qr;

	memset(big.sga_segs[0].sgaseg_buf, 0, 2000);
	dev->tx_err = EHOSTUNREACH;
	qr = wait_result(push_start(qd, "x", 1));
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	turn();
	CHECK_EQ(push_err(qd), EHOSTUNREACH);
	OK(demi_push(&qt, qd, &big));
	qr = wait_result(qt);
	check_failed(&qr, EHOSTUNREACH);
	dev->tx_err = 0;
	qr = wait_result(push_start(qd, "x", 1));
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	turn();
	CHECK_EQ(push_err(qd), 0);
	CHECK_EQ(counter("IpOutDiscards"), 2);
	OK(demi_sgafree(&big));
	OK(demi_close(qd));
}

/* A push that is not taken leaves nothing behind. */
static void test_nomem(void)
{
	int qd = connected4(9);
	demi_sgarray_t big = demi_sgaalloc(4000);
	demi_qtoken_t qt;

	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	dev->no_buf = true;
	CHECK_EQ(push_err(qd), ENOMEM);
	CHECK_EQ(demi_push(&qt, qd, &big), ENOMEM);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	dev->no_buf = false;
	dev->tx_room = 0;
	for (int err = 0, n = 0; !err; n++) { /* up to the limit of the context's pushes */
		err = demi_push(&qt, qd, &big);
		CHECK(err == 0 || err == ENOBUFS);
		CHECK(n < (64 << 20) / 4000);
		if (err)
			CHECK(n > 1000);
	}
	CHECK_EQ(counter("UdpSndbufErrors"), 1);
	OK(demi_sgafree(&big));
	OK(demi_close(qd));
	dev->hold = false;
	/* closed with all of that queued: the end of the context fails the pushes */
}

static void test_close(void)
{
	uint64_t noports = counter("UdpNoPorts");
	int qd = bound4(7000);
	demi_qtoken_t pops[3];
	demi_qresult_t qr;
	uint8_t p[64];

	for (int i = 0; i < 3; i++)
		pops[i] = pop_start(qd);
	OK(demi_cancel(pops[1]));
	qr = wait_result(pops[1]);
	check_failed(&qr, ECANCELED);
	inject(p, udp4(p, 5, 7000, "first", 5));
	turn();
	OK(demi_close(qd));
	qr = wait_result(pops[0]); /* had its result before */
	check_popped(&qr, "first", 5);
	qr = wait_result(pops[2]);
	check_failed(&qr, ECANCELED);
	CHECK_EQ(dev->ports, 0);
	/* what was not popped is freed, and nothing arrives any more */
	qd = bound4(7000);
	inject(p, udp4(p, 5, 7000, "x", 1));
	turn();
	OK(demi_close(qd));
	inject(p, udp4(p, 5, 7000, "x", 1));
	turn();
	CHECK_EQ(counter("UdpNoPorts"), noports + 1);
	CHECK_EQ(demi_cancel(pops[0]), EINVAL);
}

static void test_shutdown(void)
{
	int qd = bound4(7000);
	demi_qtoken_t qt;
	demi_qresult_t qr;

	CHECK_EQ(demi_shutdown(qd, SHUT_RDWR), ENOTCONN);
	OK(demi_close(qd));
	qd = connected4(9);
	OK(demi_shutdown(qd, SHUT_WR));
	CHECK_EQ(push_err(qd), EPIPE);
	qt = pop_start(qd);
	nothing_ready(qt);
	OK(demi_shutdown(qd, SHUT_RD));
	for (int i = 0; i < 2; i++) {
		qr = wait_result(qt);
		CHECK(qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_numsegs == 1 &&
		      qr.qr_value.sga.sga_segs[0].sgaseg_len == 0);
		qt = pop_start(qd);
	}
	wait_result(qt);
	OK(demi_close(qd));
}

static void check_set(int qd, int level, int name, int v)
{
	set_int(qd, level, name, v);
	CHECK_EQ(get_int(qd, level, name), v);
}

static int set_err(int qd, int level, int name, int v)
{
	return demi_setsockopt(qd, level, name, &v, sizeof(v));
}

static void test_options(void)
{
	int qd = udp_socket(AF_INET), qd6 = udp_socket(AF_INET6), v = 0;
	struct in_addr group = { htonl(0xe0010203) };
	socklen_t len = 2;
	demi_qtoken_t qt;
	struct sent *s;

	forget_sent();
	check_set(qd, IPPROTO_IP, IP_TTL, 33);
	check_set(qd, IPPROTO_IP, IP_TOS, 0xb8);
	check_set(qd, IPPROTO_IP, IP_MULTICAST_TTL, 5);
	check_set(qd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	check_set(qd, SOL_SOCKET, SO_REUSEADDR, 1);
	check_set(qd, DEMI_SOL, DEMI_SO_READAHEAD, 4096);
	CHECK_EQ(set_err(qd, IPPROTO_IP, IP_TTL, 0), EINVAL);
	CHECK_EQ(set_err(qd, IPPROTO_IP, IP_TTL, 256), EINVAL);
	CHECK_EQ(set_err(qd, SOL_SOCKET, SO_KEEPALIVE, 1), ENOPROTOOPT);
	CHECK_EQ(set_err(qd, IPPROTO_UDP, 103, 1), ENOPROTOOPT);
	CHECK_EQ(set_err(qd, IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT);
	CHECK_EQ(set_err(qd, DEMI_SOL, DEMI_SO_READAHEAD, 0), EINVAL);
	CHECK_EQ(set_err(qd, DEMI_SOL, DEMI_SO_FRAMED, 1), ENOPROTOOPT);
	CHECK_EQ(demi_setsockopt(qd, SOL_SOCKET, SO_RCVBUF, &v, 2), EINVAL);
	CHECK_EQ(demi_getsockopt(qd, SOL_SOCKET, SO_RCVBUF, &v, &len), EINVAL);
	CHECK_EQ(demi_setsockopt(qd, SOL_SOCKET, SO_BINDTODEVICE, "no such", 7), ENODEV);

	/* they are in the packets */
	OK(pushto4(&qt, qd, "x", 1, PEER4, 9));
	wait_result(qt);
	s = next_sent();
	CHECK(s->data[1] == 0xb8 && s->data[8] == 33 && get16(s->data + 6) == 0);
	free(s);
	OK(pushto4(&qt, qd, "x", 1, ntohl(group.s_addr), 9));
	wait_result(qt);
	s = next_sent();
	CHECK(s->data[8] == 5);
	free(s);
	/* too late */
	CHECK_EQ(set_err(qd, SOL_SOCKET, SO_REUSEPORT, 1), EBUSY);
	CHECK_EQ(set_err(qd, SOL_SOCKET, SO_BROADCAST, 1), EBUSY);
	OK(demi_close(qd));

	check_set(qd6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 44);
	check_set(qd6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 6);
	check_set(qd6, IPPROTO_IPV6, IPV6_TCLASS, 0xb8);
	check_set(qd6, IPPROTO_IPV6, IPV6_MULTICAST_IF, 2);
	OK(pushto6(&qt, qd6, "x", 1, peer6, 9));
	wait_result(qt);
	CHECK_EQ(dev->route.ifindex, 0);
	s = next_sent();
	CHECK(get32(s->data) == 0x6b800000 && s->data[7] == 44);
	free(s);
	OK(pushto6(&qt, qd6, "x", 1, (const uint8_t[16]){ 0xff, 5, [15] = 9 }, 9));
	wait_result(qt);
	CHECK_EQ(dev->route.ifindex, 2);
	s = next_sent();
	CHECK_EQ(s->data[7], 6);
	free(s);
	CHECK_EQ(set_err(qd6, IPPROTO_IPV6, IPV6_V6ONLY, 1), EINVAL);
	OK(demi_close(qd6));
}

/* IP_PMTUDISC_DO refuses what the path does not take; broadcast needs its option. */
static void test_refused(void)
{
	static char payload[2000];
	int qd = udp_socket(AF_INET), b;
	demi_qtoken_t qt;
	struct sent *s;

	set_int(qd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	CHECK_EQ(pushto4(&qt, qd, payload, 1473, PEER4, 9), EMSGSIZE);
	OK(pushto4(&qt, qd, payload, 1472, PEER4, 9));
	wait_result(qt);
	s = next_sent();
	CHECK_EQ(get16(s->data + 6), 0x4000);
	free(s);
	CHECK_EQ(pushto4(&qt, qd, "x", 1, INADDR_BROADCAST, 9), EACCES);
	OK(demi_close(qd));
	b = udp_socket(AF_INET);
	set_int(b, SOL_SOCKET, SO_BROADCAST, 1);
	OK(pushto4(&qt, b, "x", 1, INADDR_BROADCAST, 9));
	wait_result(qt);
	CHECK(dev->port.flags & DEMI_PKTDEV_PORT_F_BROADCAST);
	free(next_sent());
	OK(demi_close(b));
}

static void test_groups(void)
{
	struct ip_mreqn m = { .imr_multiaddr.s_addr = htonl(0xe0010203), .imr_ifindex = 4 };
	struct ipv6_mreq m6 = { .ipv6mr_interface = 5 };
	int qd = udp_socket(AF_INET), qd6 = bound6(7001);
	uint8_t p[64];

	OK(demi_setsockopt(qd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
	CHECK_EQ(dev->groups, 0); /* there is no port yet */
	CHECK_EQ(demi_setsockopt(qd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), EADDRINUSE);
	dev->group_err = -ENODEV;
	CHECK_EQ(bind4(qd, INADDR_ANY, 7000), ENODEV);
	CHECK_EQ(dev->ports, 1);
	dev->group_err = 0;
	OK(bind4(qd, INADDR_ANY, 7000));
	CHECK(dev->groups == 1 && dev->group_ifindex == 4 && dev->group.v4.s_addr == m.imr_multiaddr.s_addr);
	/* what comes to the group comes to the socket */
	udp4(p, 5, 7000, "group", 5);
	put32(p + 16, 0xe0010203);
	sum_udp(p, 20);
	set_ip4_sum(p);
	inject(p, 33);
	pop_bytes(qd, "group", 5);
	OK(demi_setsockopt(qd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)));
	CHECK_EQ(dev->groups, 0);
	CHECK_EQ(demi_setsockopt(qd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)), EADDRNOTAVAIL);
	m.imr_multiaddr.s_addr = htonl(PEER4);
	CHECK_EQ(demi_setsockopt(qd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), EINVAL);

	memcpy(&m6.ipv6mr_multiaddr, (const uint8_t[16]){ 0xff, 5, [15] = 9 }, 16);
	OK(demi_setsockopt(qd6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m6, sizeof(m6)));
	CHECK(dev->groups == 1 && dev->group_ifindex == 5 && !memcmp(&dev->group.v6, &m6.ipv6mr_multiaddr, 16));
	OK(demi_close(qd6)); /* leaves it */
	CHECK_EQ(dev->groups, 0);
	OK(demi_close(qd));
}

/* The device goes: everything that waits fails, everything new does, nothing hangs and nothing is lost. */
static void test_gone(void)
{
	int qd = connected4(9), other = bound4(7000), none;
	demi_sgarray_t big = demi_sgaalloc(2000);
	demi_qtoken_t pop = pop_start(qd), push, qt;
	demi_qresult_t qr;

	memset(big.sga_segs[0].sgaseg_buf, 0, 2000);
	dev->hold = true;
	OK(demi_push(&push, qd, &big));
	turn();
	nothing_ready(push);
	dev->gone = -ENODEV;
	qr = wait_result(push);
	check_failed(&qr, ENODEV);
	qr = wait_result(pop);
	check_failed(&qr, ENODEV);
	CHECK_EQ(push_err(qd), ENODEV);
	qr = wait_result(pop_start(other));
	check_failed(&qr, ENODEV);
	CHECK_EQ(demi_socket(&none, AF_INET, SOCK_DGRAM, 0), ENODEV);
	CHECK_EQ(pushto4(&qt, qd, "x", 1, PEER4, 9), ENODEV);
	OK(demi_sgafree(&big));
	OK(demi_close(qd));
	OK(demi_close(other));
}

static void all(void)
{
	test_make();
	test_bind();
	test_connect();
	test_routes();
	test_tx_errors();
	test_close();
	test_shutdown();
	test_options();
	test_refused();
	test_groups();
}

static void *nomem_thread(void *arg)
{
	inet_init(DEMI_PKTDEV_C_TX_FRAG);
	test_nomem();
	CHECK_EQ(dev->ports, 1);
	return NULL;
}

int main(void)
{
	pthread_t t;

	setenv("DEMI_EXIT_LINGER_MS", "0", 1);
	inet_run(all, DEMI_PKTDEV_C_TX_FRAG);
	OK(pthread_create(&t, NULL, nomem_thread, NULL));
	OK(pthread_join(t, NULL));
	CHECK(dev->destroyed);
	free(dev);
	inet_run(test_gone, DEMI_PKTDEV_C_TX_FRAG);
	return 0;
}
