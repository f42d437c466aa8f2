// SPDX-License-Identifier: MIT
/* modules: veth */
/*
 * How many instructions the kernel executes for a frame of 64 bytes that is received: by a queue, and by a socket of
 * UDP with and without the recv() that fetches it. Frames are sent into a veth device, whose other end receives them
 * before the system call returns; what the same costs when the other end drops them at ingress is subtracted. The
 * time stamp counter counts instructions under `selftests/vm/run --icount`, elsewhere the numbers mean nothing. They
 * go to $DEMI_VM_OUT/rx_insns, one "name value" a line.
 */
#include "kselftest_harness.h"
#include <x86intrin.h>

#include "demi_test.h"

#include <linux/if_packet.h>

#define ROUNDS 256
#define FRAME 64

struct meter {
	int raw; /* packet socket of the other host */
	uint8_t frame[FRAME];
	uint64_t send, fetch; /* instructions of one round */
};

static uint16_t sum16(const uint8_t *p, int len, uint32_t sum)
{
	for (int i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* From 10.0.0.2 or fd00::2, port 7000, to port @port here, with a good checksum that no device has looked at. */
static void craft(struct meter *m, bool v6, uint16_t port)
{
	uint8_t *f = m->frame, *ip = f + 14, *udp = ip + (v6 ? 40 : 20);
	int ulen = (int)(f + FRAME - udp);

	memset(f, 0, FRAME);
	memcpy(f, (uint8_t[]){ 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 }, 12);
	put16(f + 12, v6 ? 0x86dd : 0x0800);
	if (v6) {
		ip[0] = 0x60;
		put16(ip + 4, (uint16_t)ulen);
		ip[6] = IPPROTO_UDP;
		ip[7] = 64;
		inet_pton(AF_INET6, "fd00::2", ip + 8);
		inet_pton(AF_INET6, "fd00::1", ip + 24);
	} else {
		ip[0] = 0x45;
		put16(ip + 2, FRAME - 14);
		ip[8] = 64;
		ip[9] = IPPROTO_UDP;
		inet_pton(AF_INET, "10.0.0.2", ip + 12);
		inet_pton(AF_INET, "10.0.0.1", ip + 16);
		put16(ip + 10, sum16(ip, 20, 0));
	}
	put16(udp, 7000);
	put16(udp + 2, port);
	put16(udp + 4, (uint16_t)ulen);
	put16(udp + 6, sum16(v6 ? ip + 8 : ip + 12, v6 ? 32 + ulen : 8 + ulen, IPPROTO_UDP + (uint32_t)ulen));
}

/* One frame on its way, and what fetches it. The first rounds fill caches. */
static int run(struct meter *m, int sock, struct dt_queue *q)
{
	uint8_t buf[FRAME];

	m->send = m->fetch = 0;
	for (int round = -ROUNDS; round < ROUNDS; round++) {
		uint64_t start = __rdtsc(), middle, end;

		if (send(m->raw, m->frame, FRAME, 0) != FRAME)
			return -errno;
		middle = __rdtsc();
		if (sock >= 0 && recv(sock, buf, sizeof(buf), 0) <= 0)
			return -errno;
		end = __rdtsc();
		if (q && dt_pop(q, NULL, buf, sizeof(buf)) != FRAME - 14)
			return -EPROTO;
		if (round >= 0) {
			m->send += middle - start;
			m->fetch += end - middle;
		}
	}
	m->send /= ROUNDS;
	m->fetch /= ROUNDS;
	return 0;
}

TEST(insns_of_a_frame)
{
	const char *const us[] = { "10.0.0.1", "fd00::1" }, *folder = getenv("DEMI_VM_OUT");
	long base, queue[2], softirq[2], whole[2], beside[2];
	struct sockaddr_ll ll = { .sll_family = AF_PACKET };
	struct meter m = { 0 };
	int here, there, sock[2];
	struct dt_ctx c;
	struct dt_queue q;
	char path[512];
	FILE *out;

	ASSERT_EQ(0, dt_two_hosts(&here, &there));
	ASSERT_EQ(0, dt_netns_enter(there));
	m.raw = socket(AF_PACKET, SOCK_RAW, 0);
	ll.sll_ifindex = (int)if_nametoindex("veth0");
	ASSERT_EQ(0, bind(m.raw, (struct sockaddr *)&ll, sizeof(ll)));
	ASSERT_EQ(0, dt_netns_enter(here));
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_EQ(0, dt_queue_open(&q, &c, 64));
	/* sockets alone, then beside queues */
	for (int v6 = 0; v6 < 2; v6++) {
		sock[v6] = dt_socket(SOCK_DGRAM, us[v6], 5001);
		ASSERT_LE(0, sock[v6]);
		craft(&m, v6, 5001);
		ASSERT_EQ(0, run(&m, sock[v6], NULL));
		softirq[v6] = (long)m.send;
		whole[v6] = (long)(m.send + m.fetch);
	}
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, us[v6], 5000));
		craft(&m, v6, 5000);
		ASSERT_EQ(0, run(&m, -1, &q));
		queue[v6] = (long)m.send;
		craft(&m, v6, 5001);
		ASSERT_EQ(0, run(&m, sock[v6], NULL));
		beside[v6] = (long)m.send - softirq[v6];
	}
	if (dt_sh("tc qdisc add dev veth0 ingress && tc filter add dev veth0 ingress matchall action drop"))
		SKIP(return, "this kernel drops nothing at ingress");
	for (int v6 = 0; v6 < 2; v6++) {
		craft(&m, v6, 5000);
		ASSERT_EQ(0, run(&m, -1, NULL));
		ASSERT_EQ(0, dt_settle());
		ASSERT_EQ(0, dt_ring_avail(&q.rx));
		base = (long)m.send;
		queue[v6] -= base;
		softirq[v6] -= base;
		whole[v6] -= base;
		TH_LOG("IPv%d: queue %ld, socket %ld, with its recv() %ld; a socket beside a queue %+ld", v6 ? 6 : 4,
		       queue[v6], softirq[v6], whole[v6], beside[v6]);
	}
	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/rx_insns", folder);
	out = fopen(path, "w");
	ASSERT_NE(NULL, out);
	for (int v6 = 0; v6 < 2; v6++) {
		const char *suffix = v6 ? "_ipv6" : "";

		fprintf(out, "rx_insns%s %ld\nrx_insns%s_socket %ld\n", suffix, queue[v6], suffix, whole[v6]);
		fprintf(out, "rx_insns%s_socket_softirq %ld\nrx_insns%s_beside %ld\n", suffix, softirq[v6], suffix,
			beside[v6]);
	}
	fclose(out);
}

TEST_HARNESS_MAIN
