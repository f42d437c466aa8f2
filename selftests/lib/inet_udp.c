/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/* UDP through the stack on a device in memory: what goes out is right to the bit, what comes in finds its socket. */
#include "inet_test.h"

/* Every field of the headers of one datagram. */
static void test_push4(bool offload)
{
	int qd = bound4(7000);
	demi_qtoken_t qt;
	struct sent *s;

	OK(pushto4(&qt, qd, "hello", 5, PEER4, 9));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	s = next_sent();
	CHECK(s && s->len == 33 && s->segs == 1);
	CHECK_EQ(s->data[0], 0x45);
	CHECK_EQ(s->data[1], 0);
	CHECK_EQ(get16(s->data + 2), 33);
	CHECK_EQ(get16(s->data + 6), 0x4000); /* fits the path: do not fragment */
	CHECK_EQ(s->data[8], 64);
	CHECK_EQ(s->data[9], 17);
	CHECK_EQ(get32(s->data + 12), ADDR4);
	CHECK_EQ(get32(s->data + 16), PEER4);
	CHECK_EQ(fold16(sum16(s->data, 20)), 0xffff);
	CHECK_EQ(get16(s->data + 20), 7000);
	CHECK_EQ(get16(s->data + 22), 9);
	CHECK_EQ(get16(s->data + 24), 13);
	CHECK(!memcmp(s->data + 28, "hello", 5));
	if (offload) {
		CHECK_EQ(s->meta.flags, DEMI_PKT_F_CSUM_PARTIAL);
		CHECK_EQ(s->meta.csum_start, 20);
		CHECK_EQ(s->meta.csum_offset, 6);
		CHECK_EQ(get16(s->data + 26), fold16(pseudo_sum(s->data, 17, 13)));
	} else {
		CHECK_EQ(s->meta.flags, 0);
		CHECK_EQ(fold16(pseudo_sum(s->data, 17, 13) + sum16(s->data + 20, 13)), 0xffff);
	}
	free(s);
	OK(demi_close(qd));
}

static void test_push6(bool offload)
{
	int qd = bound6(7000);
	demi_qtoken_t qt;
	struct sent *s;

	OK(pushto6(&qt, qd, "hello", 5, peer6, 9));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	s = next_sent();
	CHECK(s && s->len == 53);
	CHECK_EQ(get32(s->data), 0x60000000);
	CHECK_EQ(get16(s->data + 4), 13);
	CHECK_EQ(s->data[6], 17);
	CHECK_EQ(s->data[7], 64);
	CHECK(!memcmp(s->data + 8, addr6, 16) && !memcmp(s->data + 24, peer6, 16));
	CHECK_EQ(get16(s->data + 40), 7000);
	CHECK_EQ(get16(s->data + 42), 9);
	CHECK_EQ(get16(s->data + 44), 13);
	CHECK(!memcmp(s->data + 48, "hello", 5));
	if (offload) {
		CHECK_EQ(s->meta.csum_start, 40);
		CHECK_EQ(s->meta.csum_offset, 6);
		CHECK_EQ(get16(s->data + 46), fold16(pseudo_sum(s->data, 17, 13)));
	} else {
		CHECK_EQ(fold16(pseudo_sum(s->data, 17, 13) + sum16(s->data + 40, 13)), 0xffff);
	}
	free(s);
	OK(demi_close(qd));
}

/* RFC 768: a checksum that comes out as 0 is sent as all ones. */
static void test_zero_checksum(void)
{
	int qd = bound4(7000);
	uint8_t payload[2] = { 0, 0 };
	demi_qtoken_t qt;
	struct sent *s;
	uint32_t sum;

	OK(pushto4(&qt, qd, payload, 2, PEER4, 9));
	wait_result(qt);
	s = next_sent();
	sum = get16(s->data + 26); /* with this payload the sum of all else is ~0 */
	free(s);
	put16(payload, sum);
	OK(pushto4(&qt, qd, payload, 2, PEER4, 9));
	wait_result(qt);
	s = next_sent();
	CHECK_EQ(get16(s->data + 26), 0xffff);
	free(s);
	OK(demi_close(qd));
}

static void check_from4(const demi_sgarray_t *sga, uint32_t ip, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct sockaddr_in want = sin_of(ip, port);

	CHECK(!memcmp(&sga->sga_addr, &want, sizeof(want)));
	OK(demi_sga_addr(sga, &ss, &len));
	CHECK(len == sizeof(want) && !memcmp(&ss, &want, len));
}

static void check_from6(const demi_sgarray_t *sga, const uint8_t *ip, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct sockaddr_in6 want = sin6_of(ip, port);

	CHECK_EQ(sga->sga_addr.sin_family, AF_INET6);
	CHECK_EQ(sga->sga_addr.sin_port, htons(port));
	OK(demi_sga_addr(sga, &ss, &len));
	CHECK(len == sizeof(want) && !memcmp(&ss, &want, len));
}

/* A pop that waits gets the received buffer itself; one that comes later gets the same bytes. */
static void test_pop(bool first)
{
	static uint8_t payload[1400], p[1500];
	uint32_t sizes[] = { 0, 1, 64, 600, 1400 };
	int qd = bound4(7000);

	for (uint32_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t copied = counter("copied_bytes");
		demi_qtoken_t qt = 0;
		demi_qresult_t qr;

		if (first)
			qt = pop_start(qd);
		inject(p, udp4(p, 5, 7000, payload, sizes[i]));
		if (!first) {
			turn();
			qt = pop_start(qd);
		}
		qr = wait_result(qt);
		CHECK_EQ(qr.qr_value.sga.sga_numsegs, 1);
		check_from4(&qr.qr_value.sga, PEER4, 5);
		check_popped(&qr, payload, sizes[i]);
		if (first || sizes[i] >= DEV_BUF / 4)
			CHECK_EQ(counter("copied_bytes"), copied);
		else
			CHECK_EQ(counter("copied_bytes"), copied + sizes[i]);
	}
	OK(demi_close(qd));
}

static void test_pop6(void)
{
	uint8_t p[200];
	int qd = bound6(7000);
	uint8_t mapped[16] = { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 2 };

	for (int first = 0; first < 2; first++) {
		demi_qtoken_t qt = first ? pop_start(qd) : 0;
		demi_qresult_t qr;

		inject(p, udp6(p, 5, 7000, "six", 3));
		turn();
		qr = wait_result(first ? qt : pop_start(qd));
		check_from6(&qr.qr_value.sga, peer6, 5);
		check_popped(&qr, "six", 3);

		/* the socket is dual: IPv4 in, as a mapped address, and out again */
		qt = first ? pop_start(qd) : 0;
		inject(p, udp4(p, 6, 7000, "four", 4));
		turn();
		qr = wait_result(first ? qt : pop_start(qd));
		check_from6(&qr.qr_value.sga, mapped, 6);
		check_popped(&qr, "four", 4);
	}
	demi_qtoken_t qt;
	struct sent *s;

	OK(pushto6(&qt, qd, "back", 4, mapped, 6));
	wait_result(qt);
	s = next_sent();
	CHECK(s->len == 32 && s->data[0] == 0x45 && get32(s->data + 16) == PEER4);
	free(s);
	OK(demi_close(qd));
}

/* What is longer than one buffer comes in one piece all the same. */
static void test_long(void)
{
	static uint8_t payload[65507], p[65535];
	struct demi_pkt meta = { .flags = 0 };
	int qd = bound4(7000);
	uint32_t sizes[] = { 1957, 1958, 9000, 30001, 65507 };

	for (uint32_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 31 + i / 256);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		inject_meta(p, udp4(p, 5, 7000, payload, sizes[i]), 1983, &meta); /* of an odd number of bytes */
		pop_bytes(qd, payload, sizes[i]);
		p[28 + sizes[i] / 2] ^= 1; /* the checksum goes over all of them */
		inject_meta(p, 28 + sizes[i], 1983, &meta);
		turn();
		nothing_to_pop(qd);
	}
	CHECK_EQ(counter("UdpInCsumErrors"), 5);
	OK(demi_close(qd));
}

/* Large pushes, in several segments; heap memory of zc_min bytes and more stays where it is and is lent. */
static void test_zerocopy(void)
{
	static char small[100];
	demi_sgarray_t big = demi_sgaalloc(3000), sga = { 0 };
	uint64_t copied = counter("copied_bytes");
	struct sockaddr_in to = sin_of(PEER4, 9);
	int qd = bound4(7000);
	demi_qtoken_t qt;
	struct sent *s;

	memset(small, 's', sizeof(small));
	memset(big.sga_segs[0].sgaseg_buf, 'b', 3000);
	sga.sga_numsegs = 4;
	sga.sga_segs[0] = (demi_sgaseg_t){ small, 100 };
	sga.sga_segs[1] = (demi_sgaseg_t){ big.sga_segs[0].sgaseg_buf, 3000 };
	sga.sga_segs[2] = (demi_sgaseg_t){ small, 50 };
	sga.sga_segs[3] = (demi_sgaseg_t){ small, 25 };
	dev->hold = true;
	OK(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to)));
	s = next_sent();
	CHECK(s && s->len == 28 + 3175 && s->segs == 3 && s->zerocopy);
	CHECK_EQ(get16(s->data + 6), 0); /* larger than the path's MTU: may be cut into fragments */
	CHECK(!memcmp(s->data + 28, small, 100) && !memcmp(s->data + 28 + 3100, small, 75));
	for (int i = 0; i < 3000; i++)
		CHECK_EQ(s->data[128 + i], 'b');
	CHECK_EQ(fold16(pseudo_sum(s->data, 17, 3183) + sum16(s->data + 20, 3183)), 0xffff);
	free(s);
	CHECK_EQ(counter("copied_bytes"), copied + 175);
	nothing_ready(qt);
	OK(demi_sgafree(&big)); /* lent: it lives on */
	nothing_ready(qt);
	dev->hold = false;
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	OK(demi_close(qd));
}

/* What the last datagram has taught is forgotten when it no longer holds. */
static void test_forget(void)
{
	int qd = bound4(7000), tos[] = { 0, 0, 0x20, 0x20 };
	demi_qtoken_t qt;
	uint8_t p[100];
	struct sent *s;

	for (int i = 0; i < 4; i++) {
		char text[] = { 'a', 'b', 'c', (char)('0' + i) };

		if (i == 2)
			set_int(qd, IPPROTO_IP, IP_TOS, tos[i]);
		OK(pushto4(&qt, qd, text, 4, PEER4, 9));
		CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
		s = next_sent();
		CHECK(s && s->len == 32 && s->data[1] == tos[i] && !memcmp(s->data + 28, text, 4));
		CHECK_EQ(fold16(sum16(s->data, 20)), 0xffff);
		free(s);
	}
	for (int i = 0; i < 3; i++) {
		demi_qresult_t qr;

		qt = pop_start(qd);
		inject(p, udp4(p, 5, 7000, &(char){ (char)i }, 1));
		qr = wait_result(qt);
		check_popped(&qr, &(char){ (char)i }, 1);
		p[28] ^= 1; /* like the last one, but for a bit */
		qt = pop_start(qd);
		inject(p, 29);
		nothing_ready(qt);
		OK(demi_cancel(qt));
		qr = wait_result(qt);
		check_failed(&qr, ECANCELED);
	}
	CHECK_EQ(connect4(qd, PEER4, 6).qr_opcode, DEMI_OPC_CONNECT); /* no longer from everybody */
	qt = pop_start(qd);
	inject(p, udp4(p, 5, 7000, "x", 1));
	nothing_ready(qt);
	OK(demi_close(qd));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_FAILED);
}

/* A device without room takes packets later, in their order. */
static void test_backlog(void)
{
	int qd = bound4(7000);
	demi_qtoken_t qt;
	struct sent *s;

	dev->tx_room = 3;
	for (int i = 0; i < 10; i++) {
		OK(pushto4(&qt, qd, &(char){ (char)i }, 1, PEER4, 9));
		CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	}
	for (int i = 0; i < 10; i++) {
		if (i == 3) {
			none_sent();
			OK(demi_close(qd)); /* what was pushed goes all the same */
			CHECK_EQ(dev->ports, 1);
			dev->tx_room = 7;
		}
		s = next_sent();
		CHECK(s && s->data[28] == i);
		free(s);
	}
	turn();
	CHECK_EQ(dev->ports, 0);
	dev->tx_room = UINT32_MAX;
}

/* What waits for room is charged; what was refused for that leaves nothing behind, and the next one is whole. */
static void test_backlog_limit(void)
{
	uint64_t refused = counter("UdpSndbufErrors");
	int qd = bound4(7000);
	size_t charged;
	demi_qtoken_t qt;
	struct sent *s;

	for (char c = 'a'; c <= 'd'; c++) {
		dev->tx_room = c == 'a' || c == 'd';
		charged = demi_ctx_self->push_bytes;
		if (c == 'b')
			demi_ctx_self->push_bytes = demi_config.push_limit_bytes;
		CHECK_EQ(pushto4(&qt, qd, &c, 1, PEER4, 9), c == 'b' ? ENOBUFS : 0);
		if (c == 'b')
			demi_ctx_self->push_bytes = charged;
		else
			CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
		if (c == 'c')
			CHECK(demi_ctx_self->push_bytes > charged + 29);
	}
	dev->tx_room = UINT32_MAX;
	for (const char *c = "acd"; *c; c++) {
		s = next_sent();
		CHECK(s && s->len == 29 && s->data[28] == *c);
		CHECK_EQ(fold16(pseudo_sum(s->data, 17, 9) + sum16(s->data + 20, 9)), 0xffff);
		free(s);
	}
	none_sent();
	CHECK_EQ(counter("UdpSndbufErrors") - refused, 1);
	OK(demi_close(qd));
	turn();
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
}

static void test_sizes(void)
{
	static uint8_t payload[65536];
	struct sockaddr_in to = sin_of(PEER4, 9);
	struct sockaddr_in6 to6 = sin6_of(peer6, 9);
	demi_sgarray_t sga;
	int qd = bound4(7000), qd6 = bound6(7001);
	demi_qtoken_t qt;
	struct sent *s;

	sga = sga_of(payload, 65507);
	OK(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to)));
	wait_result(qt);
	s = next_sent();
	CHECK(s && s->len == 65535 && get16(s->data + 2) == 65535 && get16(s->data + 24) == 65515);
	free(s);
	sga = sga_of(payload, 65508);
	CHECK_EQ(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to)), EMSGSIZE);
	CHECK_EQ(demi_pushto(&qt, qd6, &sga, (struct sockaddr *)&to6, sizeof(to6)), EMSGSIZE);
	sga = sga_of(NULL, 0);
	OK(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to)));
	wait_result(qt);
	s = next_sent();
	CHECK(s && s->len == 28);
	free(s);
	/* a datagram that is larger than wanted stays for the next pop */
	uint8_t p[100];

	inject(p, udp4(p, 5, 7000, "abcdef", 6));
	OK(demi_pop_n(&qt, qd, 5));
	demi_qresult_t qr = wait_result(qt);

	check_failed(&qr, EMSGSIZE);
	OK(demi_pop_n(&qt, qd, 6));
	qr = wait_result(qt);
	check_popped(&qr, "abcdef", 6);
	OK(demi_close(qd));
	OK(demi_close(qd6));
}

/* Beyond SO_RCVBUF datagrams are dropped, charged at the size of their memory. */
static void test_rcvbuf(void)
{
	static uint8_t payload[1000], p[1100];
	int qd = bound4(7000), n = 0;
	uint64_t errors = counter("UdpRcvbufErrors");
	demi_qtoken_t qt;
	demi_qresult_t qr;

	set_int(qd, SOL_SOCKET, SO_RCVBUF, 5000);
	CHECK_EQ(get_int(qd, SOL_SOCKET, SO_RCVBUF), 10000);
	for (int i = 0; i < 100; i++) {
		payload[0] = (uint8_t)i;
		inject(p, udp4(p, 5, 7000, payload, sizeof(payload)));
	}
	turn();
	turn();
	CHECK_EQ(counter("UdpRcvbufErrors"), errors + 96); /* 4 × 2,048 */
	for (;; n++) {
		qt = pop_start(qd);
		if (demi_wait(&qr, qt, &check_now) == ETIMEDOUT)
			break;
		CHECK_EQ(((uint8_t *)qr.qr_value.sga.sga_segs[0].sgaseg_buf)[0], n);
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	CHECK_EQ(n, 4);
	OK(demi_cancel(qt));
	wait_result(qt);
	OK(demi_close(qd));
}

/* A connected socket hears its peer only; an unconnected one everybody; the specific address goes first. */
static void test_demux(void)
{
	struct sockaddr_in sin = sin_of(ADDR4, 7000);
	int any = bound4(7000), specific = udp_socket(AF_INET), peer;
	uint64_t noports = counter("UdpNoPorts");
	uint8_t p[100];

	OK(demi_bind(specific, (struct sockaddr *)&sin, sizeof(sin)));
	inject(p, udp4(p, 5, 7000, "s", 1));
	pop_bytes(specific, "s", 1);
	udp4(p, 5, 7000, "a", 1);
	put32(p + 16, ADDR4 + 77);
	sum_udp(p, 20);
	set_ip4_sum(p);
	inject(p, 29);
	pop_bytes(any, "a", 1);
	nothing_to_pop(specific);

	peer = connected4(9);
	inject(p, udp4(p, 9, port_of(peer), "p", 1));
	pop_bytes(peer, "p", 1);
	inject(p, udp4(p, 10, port_of(peer), "q", 1));
	inject(p, udp4(p, 9, 7001, "q", 1));
	turn();
	nothing_to_pop(peer);
	CHECK_EQ(counter("UdpNoPorts"), noports + 2);

	/* and again to everybody, when it is not connected any more */
	sin.sin_family = AF_UNSPEC;
	demi_qtoken_t qt;

	OK(demi_connect(&qt, peer, (struct sockaddr *)&sin, sizeof(sin)));
	CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_CONNECT);
	inject(p, udp4(p, 10, port_of(peer), "q", 1));
	pop_bytes(peer, "q", 1);
	CHECK_EQ(push_err(peer), EDESTADDRREQ);
	OK(demi_close(any));
	OK(demi_close(specific));
	OK(demi_close(peer));
}

static void test_v6only(void)
{
	struct sockaddr_in6 sin6 = sin6_of(NULL, 7000);
	uint8_t mapped[16] = { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 2 };
	int six = udp_socket(AF_INET6), four;
	demi_qtoken_t qt;
	uint8_t p[100];

	set_int(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	OK(demi_bind(six, (struct sockaddr *)&sin6, sizeof(sin6)));
	CHECK(!(dev->port.flags & DEMI_PKTDEV_PORT_F_DUAL));
	four = bound4(7000); /* the same port of the other family */
	inject(p, udp4(p, 5, 7000, "4", 1));
	inject(p, udp6(p, 5, 7000, "6", 1));
	pop_bytes(four, "4", 1);
	pop_bytes(six, "6", 1);
	CHECK_EQ(pushto6(&qt, six, "x", 1, mapped, 9), ENETUNREACH);
	OK(demi_close(six));
	OK(demi_close(four));
	six = bound6(7000);
	CHECK(dev->port.flags & DEMI_PKTDEV_PORT_F_DUAL);
	OK(demi_close(six));
}

/* A packet that the device or the sender's kernel has put together is the datagrams that it was made of. */
static void test_gro(void)
{
	static uint8_t payload[5000], p[5100];
	struct demi_pkt meta = { .flags = DEMI_PKT_F_GSO_UDP | DEMI_PKT_F_CSUM_PARTIAL, .gso_size = 1200 };
	int qd = bound4(7000);
	uint64_t errors;

	for (uint32_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 11);
	inject_meta(p, udp4(p, 5, 7000, payload, 5000), 1984, &meta);
	for (int i = 0; i < 4; i++)
		pop_bytes(qd, payload + (size_t)i * 1200, 1200);
	pop_bytes(qd, payload + 4800, 200);
	nothing_to_pop(qd);
	/* sizes that nobody sends */
	errors = counter("UdpInErrors");
	meta.gso_size = 0;
	inject_meta(p, 5028, 1984, &meta);
	meta.gso_size = 1;
	inject_meta(p, 5028, 1984, &meta);
	turn();
	CHECK_EQ(counter("UdpInErrors"), errors + 2);
	nothing_to_pop(qd);
	OK(demi_close(qd));
}

/* Whoever vouches for the checksum, nobody looks at it; who does not is not believed. */
static void test_csum_known(void)
{
	static const uint16_t known[] = { DEMI_PKT_F_CSUM_OK, DEMI_PKT_F_CSUM_PARTIAL };
	int qd = bound4(7000);
	uint8_t p[100];

	for (int i = 0; i < 2; i++) {
		struct demi_pkt meta = { .flags = known[i] };

		udp4(p, 5, 7000, "ok", 2);
		put16(p + 26, 0x1234);
		inject_meta(p, 30, 1000, &meta);
		pop_bytes(qd, "ok", 2);
	}
	inject(p, 30);
	turn();
	nothing_to_pop(qd);
	OK(demi_close(qd));
}

static void plain(void)
{
	test_push4(false);
	test_push6(false);
	test_zero_checksum();
	for (int first = 0; first < 2; first++)
		test_pop(first);
	test_pop6();
	test_long();
	test_rcvbuf();
	test_demux();
	test_v6only();
	test_gro();
	test_csum_known();
	test_forget();
	test_backlog();
	test_backlog_limit();
}

static void fragmenting(void)
{
	test_sizes();
	test_zerocopy();
}

static void offloading(void)
{
	test_push4(true);
	test_push6(true);
}

int main(void)
{
	inet_run(plain, 0);
	inet_run(fragmenting, DEMI_PKTDEV_C_TX_FRAG);
	inet_run(offloading, DEMI_PKTDEV_C_TX_CSUM);
	return 0;
}
