/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, no-asan: AddressSanitizer cannot live in so little memory */
/* The counters of IP, ICMP and UDP. */
#include "count.h"

#include "core/config.h"

#include <sys/resource.h>

/* ---- IP ---- */

/* A packet of @proto with @len bytes behind its header, from the peer; the header's sum is right. */
static uint32_t ip_packet(uint8_t proto, const void *payload, uint32_t len)
{
	memset(pkt, 0, 40);
	if (script_six) {
		pkt[0] = 0x60;
		put16(pkt + 4, len);
		pkt[6] = proto;
		pkt[7] = 64;
		memcpy(pkt + 8, peer6_addr, 16);
		memcpy(pkt + 24, sn->addr6, 16);
		memcpy(pkt + 40, payload, len);
		return 40 + len;
	}
	pkt[0] = 0x45;
	put16(pkt + 2, 20 + len);
	pkt[8] = 64;
	pkt[9] = proto;
	put32(pkt + 12, 0x0a000000U | PEER_HOST);
	put32(pkt + 16, sn->addr4);
	put16(pkt + 10, (uint16_t)~fold16(sum16(pkt, 20)));
	memcpy(pkt + 20, payload, len);
	return 20 + len;
}

COUNT(IpInReceives)
{
	reset_to_nobody();
}

COUNT(IpInDelivers)
{
	reset_to_nobody();
}

COUNT(IpOutRequests)
{
	answer_to_nobody();
}

COUNT(IpInHdrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	pkt[8]--;
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IpInAddrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	put32(pkt + 12, 0xe0000001);
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~fold16(sum16(pkt, 20)));
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IpInUnknownProtos)
{
	uint32_t n = ip_packet(99, "abcd", 4);

	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IpOutDiscards)
{
	sn->tx_err = ENOBUFS;
	answer_to_nobody();
	sn->tx_err = 0;
}

static void no_route(void)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	sn->route_err = -ENETUNREACH;
	mark();
	qd = script_connect(&qt);
	done();
	qr = result_now(qt);
	check_failed(&qr, ENETUNREACH);
	OK(demi_close(qd));
}

COUNT(IpOutNoRoutes)
{
	no_route();
}

COUNT(Ip6InReceives)
{
	reset_to_nobody();
}

COUNT(Ip6InDelivers)
{
	reset_to_nobody();
}

COUNT(Ip6OutRequests)
{
	answer_to_nobody();
}

COUNT(Ip6OutNoRoutes)
{
	no_route();
}

COUNT(Ip6InHdrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	put16(pkt + 4, 1); /* a byte that is not there */
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(Ip6InAddrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	pkt[8] = 0xff;
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(Ip6InUnknownProtos)
{
	count_IpInUnknownProtos();
}

/* ---- ICMP ---- */

/* A message with the quoted front of a datagram; its sum is right. */
static void icmp(uint8_t type, uint32_t len)
{
	uint8_t m[60] = { type };
	uint32_t n = script_six ? 40 : 20, sum;

	m[8] = script_six ? 0x60 : 0x45;
	m[8 + (script_six ? 6 : 9)] = 17;
	if (script_six) {
		memcpy(m + 16, sn->addr6, 16);
		memcpy(m + 32, peer6_addr, 16);
	}
	n = 8 + n + 8 < len ? 8 + n + 8 : len;
	sum = script_six ? sum16(peer6_addr, 16) + sum16(sn->addr6, 16) + 58 + n : 0;
	put16(m + 2, (uint16_t)~fold16(sum + sum16(m, n)));
	n = ip_packet(script_six ? 58 : 1, m, n);
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

static void icmp_wrong_sum(void)
{
	uint32_t n = ip_packet(script_six ? 58 : 1, "\3\0\1\2\0\0\0\0", 8);

	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IcmpInMsgs)
{
	icmp(8, 60);
}

COUNT(IcmpInErrors)
{
	icmp(3, 20); /* it quotes too little */
}

COUNT(IcmpInCsumErrors)
{
	icmp_wrong_sum();
}

COUNT(IcmpInDestUnreachs)
{
	icmp(3, 60);
}

COUNT(IcmpInTimeExcds)
{
	icmp(11, 60);
}

COUNT(IcmpInParmProbs)
{
	icmp(12, 60);
}

COUNT(Icmp6InMsgs)
{
	icmp(128, 60);
}

COUNT(Icmp6InErrors)
{
	icmp(1, 20);
}

COUNT(Icmp6InCsumErrors)
{
	icmp_wrong_sum();
}

COUNT(Icmp6InDestUnreachs)
{
	icmp(1, 60);
}

COUNT(Icmp6InPktTooBigs)
{
	icmp(2, 60);
}

COUNT(Icmp6InTimeExcds)
{
	icmp(3, 60);
}

COUNT(Icmp6InParmProblems)
{
	icmp(4, 60);
}

/* ---- UDP ---- */

static int udp_socket(void)
{
	struct sockaddr_in a = addr4(0, 7);
	struct demi_queue *q;

	CHECK_EQ(demi_inet_socket(&sn->in, AF_INET, SOCK_DGRAM, 0, &q), 0);
	OK(demi_bind(q->qd, (struct sockaddr *)&a, sizeof(a)));
	return q->qd;
}

static uint32_t datagram(uint16_t port, uint32_t len)
{
	static uint8_t u[3100];

	put16(u, PEER_PORT);
	put16(u + 2, port);
	put16(u + 4, 8 + len);
	put16(u + 6, 0);
	put16(u + 6, (uint16_t)~fold16(17 + 8 + len + 0x0a00 + PEER_HOST + 0x0a00 + 1 + sum16(u, 8 + len)));
	return ip_packet(17, u, 8 + len);
}

static void one_datagram(uint32_t n)
{
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(UdpInDatagrams)
{
	qd = udp_socket();
	one_datagram(datagram(7, 10));
	OK(demi_close(qd));
}

COUNT(UdpNoPorts)
{
	qd = udp_socket();
	one_datagram(datagram(8, 10));
	OK(demi_close(qd));
}

COUNT(UdpInErrors)
{
	uint32_t n;

	qd = udp_socket();
	n = datagram(7, 10);
	put16(pkt + 24, 100); /* longer than the packet */
	one_datagram(n);
	OK(demi_close(qd));
}

COUNT(UdpInCsumErrors)
{
	uint32_t n;

	qd = udp_socket();
	n = datagram(7, 10);
	pkt[30] ^= 1;
	one_datagram(n);
	OK(demi_close(qd));
}

COUNT(UdpRcvbufErrors)
{
	uint32_t n;

	qd = udp_socket();
	set_int(qd, SOL_SOCKET, SO_RCVBUF, 2048);
	n = datagram(7, 1000);
	for (int i = 0; i < 100 && !sn->in.count.UdpRcvbufErrors; i++)
		node_receive(sn, pkt, n, NULL);
	one_datagram(n);
	OK(demi_close(qd));
}

/* There is memory for the packet's buffers, and none for the datagram in one piece. */
COUNT(UdpMemErrors)
{
	static void *keep[100000];
	struct rlimit old, tight;
	void *bufs[4];
	uint32_t n = 0;

	qd = udp_socket();
	for (int i = 0; i < 4; i++)
		bufs[i] = demi_heap_alloc(NET_BUF);
	OK(getrlimit(RLIMIT_DATA, &old));
	tight = old;
	tight.rlim_cur = 4096; /* no more than there is (0 means something else to Linux) */
	OK(setrlimit(RLIMIT_DATA, &tight));
	for (uint32_t size = 65536; size >= 2560; size /= 2) {
		while (n < 100000 && (keep[n] = demi_heap_alloc(size)))
			n++;
	}
	while (n < 100000 && (keep[n] = demi_heap_alloc(3000 + 100)))
		n++;
	CHECK(n < 100000);
	for (int i = 0; i < 4; i++)
		demi_heap_free(bufs[i]);
	one_datagram(datagram(7, 3000));
	OK(setrlimit(RLIMIT_DATA, &old));
	while (n)
		demi_heap_free(keep[--n]);
	OK(demi_close(qd));
}

static int send_datagram(uint32_t len)
{
	struct sockaddr_in to = addr4(0x0a000000U | PEER_HOST, 9);
	static char buf[60000];
	demi_sgarray_t sga = sga_of(buf, len);
	demi_qtoken_t qt;

	return demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to));
}

COUNT(UdpOutDatagrams)
{
	qd = udp_socket();
	mark();
	OK(send_datagram(100));
	done();
	out_any();
	OK(demi_close(qd));
}

COUNT(UdpSndbufErrors)
{
	uint64_t taken = demi_config.push_limit_bytes - 50;

	qd = udp_socket();
	OK(demi_ctx_charge(demi_ctx_self, taken)); /* somebody has pushed that much */
	mark();
	CHECK_EQ(send_datagram(100), ENOBUFS);
	done();
	demi_ctx_uncharge(demi_ctx_self, taken);
	OK(demi_close(qd));
}

static bool mine(const char *name)
{
	return strncmp(name, "Tcp", 3) != 0;
}

int main(void)
{
	static const struct counted all[] = {
		COUNTED(IpInReceives) COUNTED(IpInDelivers) COUNTED(IpOutRequests) COUNTED(IpInHdrErrors) COUNTED(
			IpInAddrErrors) COUNTED(IpInUnknownProtos) COUNTED(IpOutDiscards) COUNTED(IpOutNoRoutes)
			COUNTED(Ip6InReceives) COUNTED(Ip6InDelivers) COUNTED(Ip6OutRequests) COUNTED(Ip6OutNoRoutes)
				COUNTED(Ip6InHdrErrors) COUNTED(Ip6InAddrErrors) COUNTED(Ip6InUnknownProtos)
					COUNTED(IcmpInMsgs) COUNTED(IcmpInErrors) COUNTED(IcmpInCsumErrors) COUNTED(
						IcmpInDestUnreachs) COUNTED(IcmpInTimeExcds) COUNTED(IcmpInParmProbs)
						COUNTED(Icmp6InMsgs) COUNTED(Icmp6InErrors) COUNTED(Icmp6InCsumErrors)
							COUNTED(Icmp6InDestUnreachs) COUNTED(Icmp6InPktTooBigs) COUNTED(
								Icmp6InTimeExcds) COUNTED(Icmp6InParmProblems)
								COUNTED(UdpInDatagrams) COUNTED(UdpNoPorts) COUNTED(
									UdpInErrors) COUNTED(UdpInCsumErrors)
									COUNTED(UdpRcvbufErrors) COUNTED(UdpMemErrors)
										COUNTED(UdpOutDatagrams)
											COUNTED(UdpSndbufErrors)
	};

	return count_all(all, sizeof(all) / sizeof(all[0]), mine);
}
