/* SPDX-License-Identifier: MIT */
/* modules: dummy */
/*
 * How many instructions the kernel executes for a packet of 64 bytes that is sent: by a queue and by a socket, into a
 * device that drops everything. Between the last user instruction before the system call and the first after it. The
 * time stamp counter counts instructions under `selftests/vm/run --icount`, elsewhere the numbers mean
 * nothing. They go to $DEMI_VM_OUT/tx_insns, one "name value" a line. A test of the counters it relies on.
 */
#include "kselftest_harness.h"
#include <x86intrin.h>

#include "tx_test.h"

static struct tx_packet p;
static const char payload[36]; /* 64 bytes from the IP header on */

#define ROUNDS 64
#define BATCH 32

static const char *const us[] = { "10.0.0.1", "fd00::1" };
static const char *const them[] = { "10.0.0.2", "fd00::2" };

/* As /proc/net/dev tells: eight numbers of what was received, then packets behind bytes. */
static uint64_t sent_by_device(void)
{
	unsigned long long packets = 0;
	char line[256];
	FILE *f = fopen("/proc/self/net/dev", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " dummy7: %*u %*u %*u %*u %*u %*u %*u %*u %*u %llu", &packets) == 1)
			break;
	}
	if (f)
		fclose(f);
	return packets;
}

/* Of one packet, when @batch are sent by one system call. The first rounds fill caches. */
static uint64_t queue_insns(struct dt_queue *q, uint32_t batch)
{
	struct demi_queue_kick kick = { .size = sizeof(kick) };
	uint64_t insns = 0;

	for (int round = -ROUNDS; round < ROUNDS; round++) {
		uint64_t start;

		for (uint32_t i = 0; i < batch; i++)
			tx_put(q, &p);
		start = __rdtsc();
		if (ioctl(q->fd, DEMI_QUEUE_KICK, &kick))
			return 0;
		if (round >= 0)
			insns += __rdtsc() - start;
		if (kick.sent != batch || tx_done(q, batch))
			return 0;
	}
	return insns / ROUNDS / batch;
}

static uint64_t socket_insns(int fd, const char *to)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, to, 7000);
	uint64_t insns = 0;

	for (int round = -ROUNDS; round < ROUNDS; round++) {
		uint64_t start = __rdtsc();

		if (sendto(fd, payload, sizeof(payload), 0, (struct sockaddr *)&ss, len) != sizeof(payload))
			return 0;
		if (round >= 0)
			insns += __rdtsc() - start;
	}
	return insns / ROUNDS;
}

TEST(insns_of_a_packet)
{
	const char *folder = getenv("DEMI_VM_OUT");
	uint64_t insns[2][3];
	uint64_t before;
	struct dt_ctx c;
	struct dt_queue q;
	char path[512];
	FILE *out;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_ip("link add dummy7 type dummy\nlink set dummy7 addrgenmode none\n"
			   "addr add 10.0.0.1/24 dev dummy7\naddr add fd00::1/64 dev dummy7 nodad\n"
			   "link set dummy7 up"));
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_EQ(0, dt_queue_open(&q, &c, 64));
	for (int v6 = 0; v6 < 2; v6++) {
		int fd = dt_socket(SOCK_DGRAM, us[v6], 5001);

		ASSERT_LE(0, fd);
		ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, us[v6], 5000));
		before = sent_by_device();
		tx_udp(&p, us[v6], 5000, them[v6], 7000, payload, sizeof(payload));
		tx_ask_csum(&p);
		insns[v6][0] = queue_insns(&q, BATCH);
		insns[v6][1] = queue_insns(&q, 1);
		insns[v6][2] = socket_insns(fd, them[v6]);
		/* all of them came as far as the device */
		ASSERT_LE(2 * ROUNDS * (BATCH + 2), sent_by_device() - before);
		for (int i = 0; i < 3; i++)
			ASSERT_NE(0, insns[v6][i]);
		close(fd);
		TH_LOG("IPv%d: queue %llu, one a kick %llu, socket %llu", v6 ? 6 : 4, (unsigned long long)insns[v6][0],
		       (unsigned long long)insns[v6][1], (unsigned long long)insns[v6][2]);
	}
	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/tx_insns", folder);
	out = fopen(path, "w");
	ASSERT_NE(NULL, out);
	fprintf(out, "tx_insns %llu\ntx_insns_single %llu\ntx_insns_socket %llu\n", (unsigned long long)insns[0][0],
		(unsigned long long)insns[0][1], (unsigned long long)insns[0][2]);
	fprintf(out, "tx_insns_ipv6 %llu\ntx_insns_ipv6_single %llu\ntx_insns_ipv6_socket %llu\n",
		(unsigned long long)insns[1][0], (unsigned long long)insns[1][1], (unsigned long long)insns[1][2]);
	fclose(out);
}

TEST_HARNESS_MAIN
