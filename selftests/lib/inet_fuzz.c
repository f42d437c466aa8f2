/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * Packets that are wrong in random ways, between random calls: every packet is counted exactly once, every buffer
 * comes back, and what a socket is given is what a packet for it carried. The sanitizer watches for the rest.
 */
#include "inet_test.h"

#define ROUNDS (SLOW ? 30000 : 200000)
#define NSOCK 6
#define PORT0 7000

static int socks[NSOCK];
static demi_qtoken_t pops[NSOCK];
static uint64_t injected, popped;

static uint64_t ip_sum(void)
{
	return counter("IpInHdrErrors") + counter("IpInAddrErrors") + counter("IpInUnknownProtos") +
	       counter("IpInDelivers") + counter("Ip6InHdrErrors") + counter("Ip6InAddrErrors") +
	       counter("Ip6InUnknownProtos") + counter("Ip6InDelivers");
}

static uint32_t random_packet(uint8_t *p)
{
	uint8_t payload[3000];
	uint32_t len = rnd_below(3) ? rnd_below(200) : rnd_below(sizeof(payload));
	uint16_t to = (uint16_t)(PORT0 + rnd_below(NSOCK + 1));
	uint32_t n, kind = rnd_below(20);

	for (uint32_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(len + i); /* so that whoever pops it can tell */
	if (kind == 0) {
		n = rnd_below(300);
		for (uint32_t i = 0; i < n; i++)
			p[i] = (uint8_t)rnd();
		if (n && rnd_below(2))
			p[0] = rnd_below(2) ? 0x45 : 0x60;
		return n;
	}
	n = kind & 1 ? udp4(p, 9, to, payload, len) : udp6(p, 9, to, payload, len);
	if (kind < 4) { /* ICMP that quotes the like */
		uint32_t ip = p[0] == 0x45 ? 20 : 40;

		n = n < 200 ? n : 200;
		memmove(p + ip + 8, p, n);
		memset(p + ip, 0, 8);
		p[ip] = p[0] == 0x45 ? 3 : 1;
		p[ip + 1] = (uint8_t)rnd_below(6);
		p[p[0] == 0x45 ? 9 : 6] = p[0] == 0x45 ? 1 : 58;
		n += ip + 8;
		put16(p + (p[0] == 0x45 ? 2 : 4), p[0] == 0x45 ? n : n - 40);
		put16(p + ip + 2, 0);
		put16(p + ip + 2,
		      (uint16_t)~fold16(sum16(p + ip, n - ip) + (p[0] == 0x45 ? 0 : pseudo_sum(p, 58, n - ip))));
		if (p[0] == 0x45)
			set_ip4_sum(p);
	}
	if (rnd_below(2)) { /* a few bits in the headers */
		for (uint32_t i = rnd_below(4) + 1; i; i--)
			p[rnd_below(n < 80 ? n : 80)] ^= (uint8_t)(1U << rnd_below(8));
		if (rnd_below(2) && p[0] >> 4 == 4 && (p[0] & 15) * 4U <= n)
			set_ip4_sum(p);
	}
	if (rnd_below(8) == 0)
		n = rnd_below(n + 1);
	return n;
}

static void random_inject(void)
{
	static uint8_t p[4000];
	struct demi_pkt meta = { .flags = 0 };
	uint32_t n = random_packet(p), first;

	if (rnd_below(4) == 0)
		meta.flags = (uint16_t)(rnd() & (DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO));
	meta.gso_size = (uint16_t)(rnd_below(3) ? rnd_below(100) : rnd());
	first = rnd_below(4) ? 1984 : rnd_below(300) + 100;
	inject_meta(p, n, first, &meta);
	injected++;
}

/* Bytes are as they were made; only a packet whose checksum nobody looked at can have others. */
static void check_payload(const demi_sgarray_t *sga)
{
	CHECK_EQ(sga->sga_numsegs, 1);
	CHECK(sga->sga_segs[0].sgaseg_buf);
	CHECK(demi_heap_contains(sga->sga_segs[0].sgaseg_buf, sga->sga_segs[0].sgaseg_len));
	popped += sga->sga_segs[0].sgaseg_len;
}

static void random_call(void)
{
	uint32_t i = rnd_below(NSOCK);
	struct sockaddr_storage ss;
	demi_qresult_t qr;
	socklen_t len = sizeof(ss);

	switch (rnd_below(8)) {
	case 0: { /* close and open again */
		struct sockaddr_in6 sin6 = sin6_of(NULL, (uint16_t)(PORT0 + i));
		struct sockaddr_in sin = sin_of(rnd_below(2) ? ADDR4 : INADDR_ANY, (uint16_t)(PORT0 + i));

		OK(demi_close(socks[i]));
		if (pops[i]) {
			OK(demi_wait(&qr, pops[i], &check_now));
			if (qr.qr_opcode == DEMI_OPC_POP)
				OK(demi_sgafree(&qr.qr_value.sga));
			pops[i] = 0;
		}
		socks[i] = udp_socket(i % 2 ? AF_INET6 : AF_INET);
		OK(demi_bind(socks[i], i % 2 ? (struct sockaddr *)&sin6 : (struct sockaddr *)&sin,
			     i % 2 ? sizeof(sin6) : sizeof(sin)));
		if (i % 3 == 2) {
			sin = sin_of(PEER4, 9);
			sin6 = sin6_of(peer6, 9);
			demi_qtoken_t qt;

			OK(demi_connect(&qt, socks[i], i % 2 ? (struct sockaddr *)&sin6 : (struct sockaddr *)&sin,
					i % 2 ? sizeof(sin6) : sizeof(sin)));
			wait_result(qt);
		}
		break;
	}
	case 1:
		(void)push_err(socks[i]);
		break;
	default:
		if (!pops[i])
			pops[i] = pop_start(socks[i]);
		if (demi_wait(&qr, pops[i], &check_now) == ETIMEDOUT)
			break;
		pops[i] = 0;
		if (qr.qr_opcode != DEMI_OPC_POP)
			break;
		check_payload(&qr.qr_value.sga);
		OK(demi_sga_addr(&qr.qr_value.sga, &ss, &len));
		CHECK_EQ(ss.ss_family, i % 2 ? AF_INET6 : AF_INET);
		OK(demi_sgafree(&qr.qr_value.sga));
	}
}

static void fuzz(void)
{
	for (uint32_t i = 0; i < NSOCK; i++)
		socks[i] = i % 2 ? bound6((uint16_t)(PORT0 + i)) : bound4((uint16_t)(PORT0 + i));
	for (uint32_t i = 0; i < ROUNDS; i++) {
		for (uint32_t n = rnd_below(4); n; n--)
			random_inject();
		random_call();
		if (rnd_below(4) == 0)
			turn();
		forget_sent();
		if (dev->reported == dev->sent_tail)
			dev->sent_head = dev->sent_tail = dev->reported = 0;
	}
	while (dev->rx_head != dev->rx_tail)
		turn();
	CHECK_EQ(counter("IpInReceives") + counter("Ip6InReceives"), injected);
	CHECK_EQ(ip_sum(), injected);
	CHECK(counter("UdpInDatagrams") > injected / 20 && popped > 0);
	CHECK(dev->recycled > 0);
	for (uint32_t i = 0; i < NSOCK; i++)
		OK(demi_close(socks[i]));
}

int main(void)
{
	check_seed();
	inet_run(fuzz, 0);
	return 0;
}
