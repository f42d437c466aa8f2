/* SPDX-License-Identifier: MIT */
/* timeout: 180 */
/*
 * The stack on DPDK ports whose other side is this machine's kernel, in a network namespace of the test's own: on a TAP
 * device, which computes checksums and cuts segments, and by AF_PACKET on a veth pair. The kernel pings, sends
 * datagrams, connects and is connected to, over IPv4 and IPv6. The kernel has 10.9.0.1 and fd09::1, the stack
 * 10.9.0.2 and fd09::2.
 */
#include "bulk.h"
#include "dpdk_net.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

static const struct bulk bulk = { .bytes = 4000000, .make = bulk_make, .came = bulk_came };
static const int domains[2] = { AF_INET, AF_INET6 };

/* AF_PACKET as DPDK asks for it puts IPv4 fragments together, and drops what does not fit into its own frames then. */
static bool puts_together;

/* ---- the kernel's side ---- */

static uint16_t sum(const void *p, size_t len)
{
	const uint16_t *w = p;
	uint32_t s = 0;

	for (; len > 1; len -= 2)
		s += *w++;
	s = (s & 0xffff) + (s >> 16);
	return (uint16_t) ~(s + (s >> 16));
}

/* Ten times 1,000 bytes there and back. The kernel checks the checksums of ICMPv6, this ICMP's. */
static void ping(int domain)
{
	struct sockaddr_storage to;
	socklen_t len = bulk_address(&to, domain, 2);
	int fd = socket(domain, SOCK_RAW, domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	uint8_t out[1008] = { domain == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST }, in[2048];

	CHECK(fd >= 0);
	if (domain == AF_INET6)
		((struct sockaddr_in6 *)&to)->sin6_port = 0;
	bulk_make(FROM_STACK, 0, out + 8, 1000);
	out[4] = 0x77;
	for (uint8_t seq = 1; seq <= 10; seq++) {
		size_t skip = domain == AF_INET ? 20 : 0;
		ssize_t n;

		out[7] = seq;
		out[2] = out[3] = 0;
		if (domain == AF_INET) {
			uint16_t s = sum(out, sizeof(out));

			memcpy(out + 2, &s, 2);
		}
		while (sendto(fd, out, sizeof(out), 0, (struct sockaddr *)&to, len) < 0) {
			CHECK(errno == EADDRNOTAVAIL || errno == ENETUNREACH); /* IPv6 takes a moment */
			sleep_ms(20);
		}
		do { /* others' messages come, too */
			n = recv(fd, in, sizeof(in), 0);
			CHECK(n > 0);
		} while (in[skip] != (domain == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY));
		CHECK_EQ(n, skip + sizeof(out));
		CHECK(!memcmp(in + skip + 4, out + 4, sizeof(out) - 4));
		if (domain == AF_INET)
			CHECK_EQ(sum(in + skip, sizeof(out)), 0);
	}
	close(fd);
}

/* Datagrams of one to many fragments come back; one byte ends it. */
static void datagrams(int domain)
{
	static const size_t sizes[] = { 1000, 2, 1452, 1473, 9000, 30000, 64, 1 };
	static uint8_t out[30000], in[65536];
	struct sockaddr_storage to;
	socklen_t len = bulk_address(&to, domain, 2);
	int fd = socket(domain, SOCK_DGRAM, 0);

	CHECK(fd >= 0);
	bulk_make(FROM_KERNEL, 0, out, sizeof(out));
	OK(connect(fd, (struct sockaddr *)&to, len));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (sizes[i] > 1473 && puts_together && domain == AF_INET)
			continue;
		CHECK_EQ(send(fd, out, sizes[i], 0), sizes[i]);
		CHECK_EQ(recv(fd, in, sizeof(in), 0), sizes[i]);
		CHECK(!memcmp(in, out, sizes[i]));
	}
	close(fd);
}

static void *ping_and_datagrams(void *arg)
{
	int domain = *(int *)arg;

	ping(domain);
	datagrams(domain);
	return NULL;
}

/* ---- this side ---- */

static void test_datagrams(int domain)
{
	pthread_t thread;
	struct sockaddr_storage ss;
	socklen_t len = bulk_address(&ss, domain, 2);
	uint32_t bytes;
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	bulk_start(&thread, ping_and_datagrams, &domain);
	do {
		demi_qresult_t qr = wait_result(pop_start(qd));
		demi_qtoken_t qt;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		bytes = qr.qr_value.sga.sga_segs[0].sgaseg_len;
		len = sizeof(ss);
		OK(demi_sga_addr(&qr.qr_value.sga, &ss, &len));
		OK(demi_pushto(&qt, qd, &qr.qr_value.sga, (struct sockaddr *)&ss, len));
		OK(demi_sgafree(&qr.qr_value.sga));
		CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	} while (bytes != 1);
	OK(pthread_join(thread, NULL));
	OK(demi_close(qd));
}

static void on_veth(void)
{
	veth();
	puts_together = true;
}

/* In a process of its own: EAL starts once. */
static void on(const char *name, void (*begin)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(80);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		own_network();
		begin();
		for (int i = 0; i < 2; i++) {
			test_datagrams(domains[i]);
			bulk_run(&bulk, domains[i], true, NULL);
			bulk_run(&bulk, domains[i], false, NULL);
		}
		exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		printf("on %s\n", name);
		exit(1);
	}
}

int main(void)
{
	alarm(170);
	dpdk_or_skip();
	on("tap", tap);
	on("af_packet", on_veth);
	return 0;
}
