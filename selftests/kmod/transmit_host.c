/* SPDX-License-Identifier: MIT */
/* modules: veth nf_tables sch_netem sch_tbf, timeout: 400 */
/* What the host does with what a queue sends: firewall, cgroups, queueing disciplines; and what it never sees. */
#include "kselftest_harness.h"
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "machine.h"
#include "two_hosts.h"
#include "tx_test.h"

static struct tx_packet p;
static uint8_t buf[DEMI_FRAME_MAX];

FIXTURE(host)
{
	struct two_hosts h;
};

FIXTURE_SETUP(host)
{
	ASSERT_EQ(0, two_hosts_open(&self->h));
}

FIXTURE_TEARDOWN(host)
{
	two_hosts_close(&self->h);
}

/* ---- firewall, cgroup ---------------------------------------------------------------------- */

TEST_F(host, firewall)
{
	struct demi_queue_counters count;

	for (int v6 = 0; v6 < 2; v6++)
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
	if (dt_sh("nft -f - <<'END'\ntable inet t {\nchain out {\ntype filter hook output priority 0;\n"
		  "udp dport %d drop\n}\n}\nEND",
		  PEER))
		SKIP(return, "no nft");
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT, them[v6], PEER, "lost", 4);
		EXPECT_EQ(-EPERM, tx_send(&self->h.q, &p));
	}
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(2, count.tx_unreachable);
	EXPECT_EQ(0, count.tx_frames);
	ASSERT_EQ(0, dt_sh("nft delete table inet t"));
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT, them[v6], PEER, "sent", 4);
		EXPECT_EQ(0, tx_send(&self->h.q, &p));
		EXPECT_EQ(4, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, "sent", 4));
	}
}

/* What is sent is the opener's, whoever reserved: the firewall finds the owner as it does a socket's. */
TEST_F(host, firewall_owner)
{
	struct dt_ctx theirs;
	struct dt_queue other;

	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, seteuid(65534));
	ASSERT_EQ(0, dt_open(&theirs));
	ASSERT_EQ(0, seteuid(0));
	ASSERT_EQ(0, dt_queue_open(&other, &theirs, 16));
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
		ASSERT_LT(0, dt_listen(&other, IPPROTO_UDP, 0, us[v6], PORT + 1));
		ASSERT_LT(0, dt_listen(&other, IPPROTO_TCP, 0, us[v6], PORT + 1));
	}
	if (dt_sh("nft -f - <<'END'\ntable inet t {\nchain out {\ntype filter hook output priority 0;\n"
		  "meta skuid 65534 drop\n}\n}\nEND"))
		SKIP(return, "no nft");
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT + 1, them[v6], PEER, "lost", 4);
		EXPECT_EQ(-EPERM, tx_send(&other, &p));
		tx_tcp(&p, us[v6], PORT + 1, them[v6], PEER, "lost", 4);
		EXPECT_EQ(-EPERM, tx_send(&other, &p));
		tx_udp(&p, us[v6], PORT, them[v6], PEER, "sent", 4);
		EXPECT_EQ(0, tx_send(&self->h.q, &p));
	}
	ASSERT_EQ(0, dt_sh("nft delete table inet t"));
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT + 1, them[v6], PEER, "then", 4);
		EXPECT_EQ(0, tx_send(&other, &p));
		EXPECT_EQ(4, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, "sent", 4));
		EXPECT_EQ(4, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, "then", 4));
	}
	dt_queue_close(&other);
	dt_close(&theirs);
	chmod("/dev/demi", 0660);
}

static int bpf(int cmd, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

#define CGROUP "/sys/fs/cgroup/demi-tx"

/* The reservation is of the cgroup that its maker was in. */
TEST_F(host, cgroup_egress)
{
	struct bpf_insn drop[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_SKB,
				.insns = (uintptr_t)drop,
				.insn_cnt = 2,
				.license = (uintptr_t) "GPL",
				.expected_attach_type = BPF_CGROUP_INET_EGRESS };
	union bpf_attr attach = { .attach_type = BPF_CGROUP_INET_EGRESS };
	int prog, group;

	rmdir(CGROUP);
	if (mkdir(CGROUP, 0755))
		SKIP(return, "no cgroup v2");
	group = open(CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	prog = bpf(BPF_PROG_LOAD, &load);
	ASSERT_LE(0, prog);
	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[0], PORT));
	ASSERT_EQ(0, write_file(CGROUP "/cgroup.procs", "0"));
	for (int v6 = 0; v6 < 2; v6++)
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT + 1));
	ASSERT_EQ(0, write_file("/sys/fs/cgroup/cgroup.procs", "0"));

	attach.target_fd = (uint32_t)group;
	attach.attach_bpf_fd = (uint32_t)prog;
	ASSERT_EQ(0, bpf(BPF_PROG_ATTACH, &attach));
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT + 1, them[v6], PEER, "lost", 4);
		EXPECT_EQ(-EPERM, tx_send(&self->h.q, &p));
	}
	tx_udp(&p, us[0], PORT, them[0], PEER, "else", 4);
	EXPECT_EQ(0, tx_send(&self->h.q, &p));
	EXPECT_EQ(0, bpf(BPF_PROG_DETACH, &attach));
	tx_udp(&p, us[0], PORT + 1, them[0], PEER, "sent", 4);
	EXPECT_EQ(0, tx_send(&self->h.q, &p));
	EXPECT_EQ(4, tx_recv(self->h.peer[0], buf, sizeof(buf)));
	EXPECT_EQ(0, memcmp(buf, "else", 4));
	EXPECT_EQ(4, tx_recv(self->h.peer[0], buf, sizeof(buf)));
	EXPECT_EQ(0, memcmp(buf, "sent", 4));
	close(group);
	rmdir(CGROUP);
}

/* And its cgroup, for those that look there. */
TEST_F(host, firewall_cgroup)
{
	rmdir(CGROUP);
	if (mkdir(CGROUP, 0755))
		SKIP(return, "no cgroup v2");
	ASSERT_EQ(0, write_file(CGROUP "/cgroup.procs", "0"));
	for (int v6 = 0; v6 < 2; v6++)
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT + 1));
	ASSERT_EQ(0, write_file("/sys/fs/cgroup/cgroup.procs", "0"));
	for (int v6 = 0; v6 < 2; v6++)
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
	if (dt_sh("nft -f - <<'END'\ntable inet t {\nchain out {\ntype filter hook output priority 0;\n"
		  "socket cgroupv2 level 1 \"demi-tx\" drop\n}\n}\nEND")) {
		rmdir(CGROUP);
		SKIP(return, "nft knows no cgroups");
	}
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT + 1, them[v6], PEER, "lost", 4);
		EXPECT_EQ(-EPERM, tx_send(&self->h.q, &p));
		tx_udp(&p, us[v6], PORT, them[v6], PEER, "sent", 4);
		EXPECT_EQ(0, tx_send(&self->h.q, &p));
		EXPECT_EQ(4, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, "sent", 4));
	}
	EXPECT_EQ(0, dt_sh("nft delete table inet t"));
	rmdir(CGROUP);
}

/* ---- back-pressure ------------------------------------------------------------------------- */

/* Send until no more is taken. How many frames were, or an error. The last descriptor stays in the ring. */
static int fill(struct dt_queue *q)
{
	int frames = 0;

	for (;;) {
		uint32_t sent = 0;
		int err;

		tx_put(q, &p);
		err = tx_kick(q, &sent);
		if (err == -EAGAIN)
			return frames;
		if (err || sent != 1)
			return err ? err : -ENODATA;
		err = tx_done(q, 1);
		if (err)
			return err;
		frames++;
	}
}

static bool writable(struct dt_queue *q, int timeout_ms)
{
	struct pollfd fd = { .fd = q->fd, .events = POLLOUT };

	return poll(&fd, 1, timeout_ms) > 0 && fd.revents == POLLOUT;
}

static void *sleeper(void *arg)
{
	return writable(arg, DT_PATIENCE_MS) ? arg : NULL;
}

#define HOLD "tc qdisc add dev veth0 root tbf rate 8kbit burst 2000 limit 100000000"

/* Packets wait in the device's queue, charged to the reservation; they go, and who sleeps is woken. */
static void hold_and_go(struct __test_metadata *_metadata, FIXTURE_DATA(host) * self, int frames_min)
{
	struct demi_queue_counters before, count;
	void *woken = NULL;
	pthread_t thread;
	uint32_t sent;
	int frames;

	ASSERT_EQ(0, dt_sh(HOLD));
	ASSERT_EQ(true, writable(&self->h.q, 0));
	ASSERT_EQ(0, dt_counters(&self->h.q, &before));
	frames = fill(&self->h.q);
	EXPECT_LT(frames_min, frames);
	EXPECT_GT(1000, frames);
	EXPECT_EQ(false, writable(&self->h.q, 0));
	EXPECT_EQ(-EAGAIN, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(false, writable(&self->h.q, 0));
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(frames, count.tx_frames - before.tx_frames);
	EXPECT_EQ(2, count.tx_again - before.tx_again);

	ASSERT_EQ(0, pthread_create(&thread, NULL, sleeper, &self->h.q));
	ASSERT_EQ(0, dt_sh("tc qdisc del dev veth0 root"));
	ASSERT_EQ(0, pthread_join(thread, &woken));
	EXPECT_EQ(&self->h.q, woken);
	EXPECT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(1, sent);
	EXPECT_EQ(0, tx_done(&self->h.q, 1));
	EXPECT_EQ(true, writable(&self->h.q, 0));
}

TEST_F(host, send_buffer_of_udp)
{
	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[0], PORT));
	tx_udp(&p, us[0], PORT, them[0], PEER, buf, 1400);
	hold_and_go(_metadata, self, 20);
	/* and once more */
	tx_udp(&p, us[0], PORT, them[0], PEER, buf, 1300);
	hold_and_go(_metadata, self, 20);
}

TEST_F(host, send_buffer_of_tcp)
{
	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 100000"));
	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_TCP, 0, us[0], PORT));
	tx_tcp(&p, us[0], PORT, them[0], PEER, buf, 1400);
	hold_and_go(_metadata, self, 20);
}

/* Each reservation has its own buffer; the queue waits for the one that its next frame needs. */
TEST_F(host, released_while_full)
{
	int rsv, flow;
	uint32_t sent;

	rsv = dt_reserve(&self->h.ctx, IPPROTO_UDP, 0, us[0], PORT);
	ASSERT_LT(0, rsv);
	flow = dt_flow(&self->h.ctx, rsv, 0, self->h.q.id, NULL, 0, NULL, 0);
	ASSERT_LT(0, flow);
	tx_udp(&p, us[0], PORT, them[0], PEER, buf, 1400);
	ASSERT_EQ(0, dt_sh(HOLD));
	EXPECT_LT(20, fill(&self->h.q));
	EXPECT_EQ(false, writable(&self->h.q, 0));
	ASSERT_EQ(0, dt_flow_del(&self->h.ctx, flow));
	ASSERT_EQ(0, dt_release(&self->h.ctx, rsv));
	EXPECT_EQ(true, writable(&self->h.q, 0));
	/* the frame belongs to nobody now */
	EXPECT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(-EACCES, tx_done(&self->h.q, 1));
	/* the port is free although its packets are still there */
	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[0], PORT));
	EXPECT_LT(20, fill(&self->h.q));
	EXPECT_EQ(false, writable(&self->h.q, 0));
	/* the queue ends while it waits */
}

/* ---- in flight ----------------------------------------------------------------------------- */

/* The module goes while a packet of its is on the way. */
TEST_F(host, unload_in_flight)
{
	const char *ko = getenv("DEMI_KO");
	int fd, err;

	if (!ko)
		SKIP(return, "DEMI_KO is not set");
	fd = open(ko, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (int v6 = 0; v6 < 2; v6++)
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
	ASSERT_EQ(0, dt_sh("tc qdisc add dev veth0 root netem delay 3s"));
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT, them[v6], PEER, "late", 4);
		EXPECT_EQ(0, tx_send(&self->h.q, &p));
	}
	EXPECT_EQ(-1, syscall(SYS_delete_module, "demi", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	dt_queue_close(&self->h.q);
	dt_close(&self->h.ctx);
	EXPECT_EQ(0, syscall(SYS_delete_module, "demi", O_NONBLOCK));
	for (int v6 = 0; v6 < 2; v6++) {
		EXPECT_EQ(4, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, "late", 4));
	}
	err = (int)syscall(SYS_finit_module, fd, "", 0);
	EXPECT_EQ(0, err);
	close(fd);
	/* for the teardown */
	ASSERT_EQ(0, dt_open(&self->h.ctx));
	ASSERT_EQ(0, dt_queue_open(&self->h.q, &self->h.ctx, 64));
}

/* ---- what never leaves --------------------------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

/* A packet that the flow may send, but for some bytes. */
static void mutant(void)
{
	uint32_t kind = rnd(), n = rnd() % 4;
	int v6 = kind >> 1 & 1;

	if (kind & 1)
		tx_tcp(&p, us[v6], PORT, them[v6], PEER, "0123456789abcdef", 16);
	else
		tx_udp(&p, us[v6], PORT, them[v6], PEER, "0123456789abcdef", 16);
	if (rnd() % 4 == 0)
		tx_ask_csum(&p);
	while (n--)
		tx_ip(&p)[rnd() % p.payload] = (uint8_t)rnd();
	if (rnd() % 16 == 0) {
		for (size_t i = 0; i < TX_HDR; i++)
			p.data[i] = (uint8_t)rnd();
	}
	if (rnd() % 32 == 0) {
		for (size_t i = 0; i < p.len; i++)
			p.data[i] = (uint8_t)rnd();
	}
	if (rnd() % 32 == 0)
		p.len -= rnd() % (p.len - 1);
}

static bool is(const char *text, const uint8_t *addr)
{
	uint8_t want[16];
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	inet_pton(family, text, want);
	return !memcmp(want, addr, family == AF_INET ? 4 : 16);
}

static bool ports_are_ours(const uint8_t *l4)
{
	return l4[0] << 8 == (PORT & 0xff00) && l4[1] == (PORT & 0xff) && (l4[2] << 8 | l4[3]) == PEER;
}

/* 1: of the flows; 0: the host's own housekeeping; -1: neither. */
static int whose(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETH_HLEN;
	uint16_t type = (uint16_t)(frame[12] << 8 | frame[13]);

	if (type == ETH_P_ARP)
		return 0;
	if (type == ETH_P_IP && len >= ETH_HLEN + 28) {
		if (ip[0] != 0x45 || (ip[6] & 0xbf) || ip[7] || !ip[8] ||
		    (ip[9] != IPPROTO_UDP && ip[9] != IPPROTO_TCP))
			return -1;
		return is(us[0], ip + 12) && is(them[0], ip + 16) && ports_are_ours(ip + 20) ? 1 : -1;
	}
	if (type != ETH_P_IPV6 || len < ETH_HLEN + 48)
		return -1;
	/* MLD and neighbours: from link-local addresses, or solicitations */
	if (ip[6] == IPPROTO_HOPOPTS && (is("fe80::1", ip + 8) || is("::", ip + 8)))
		return 0;
	if (ip[6] == IPPROTO_ICMPV6 && ip[7] == 255 && ip[40] >= 133 && ip[40] <= 137)
		return 0;
	if ((ip[6] != IPPROTO_UDP && ip[6] != IPPROTO_TCP) || !ip[7])
		return -1;
	return is(us[1], ip + 8) && is(them[1], ip + 24) && ports_are_ours(ip + 40) ? 1 : -1;
}

/* Everything that came over the wire since the last time. How many of ours, or -1. A packet in segments is one here. */
static int look(int wire)
{
	struct sockaddr_ll from;
	int ours = 0, n;

	for (;;) {
		socklen_t len = sizeof(from);

		n = (int)recvfrom(wire, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
		if (n < 0)
			return ours;
		if (from.sll_pkttype == PACKET_OUTGOING)
			continue;
		n = whose(buf, (size_t)n);
		if (n < 0)
			return -1;
		ours += n;
	}
}

/* On an emulated processor, on a kernel that checks itself, some minutes. */
TEST_F_TIMEOUT(host, random_headers, 1000)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct demi_queue_counters count;
	uint32_t frames = 0, total = kmod_amount("DEMI_RANDOM_HEADERS", 100000, 10000), expected = 0, ours = 0;
	int wire;

	TH_LOG("seed %llx", (unsigned long long)seed);
	for (int v6 = 0; v6 < 2; v6++) {
		for (int tcp = 0; tcp < 2; tcp++) {
			int rsv = dt_reserve(&self->h.ctx, tcp ? IPPROTO_TCP : IPPROTO_UDP, 0, us[v6], PORT);

			ASSERT_LT(0, rsv);
			ASSERT_LT(0, dt_flow(&self->h.ctx, rsv, 0, self->h.q.id, NULL, 0, them[v6], PEER));
		}
	}
	ASSERT_EQ(0, dt_netns_enter(self->h.there));
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	ll.sll_ifindex = (int)if_nametoindex("veth0");
	ASSERT_EQ(0, bind(wire, (struct sockaddr *)&ll, sizeof(ll)));
	ASSERT_EQ(0, dt_netns_enter(self->h.here));

	while (frames < total) {
		struct pollfd more = { .fd = wire, .events = POLLIN };
		uint32_t n, sent, done;

		for (n = 0; n < 50; n++) {
			mutant();
			tx_put(&self->h.q, &p);
		}
		ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
		ASSERT_EQ(n, sent);
		for (done = 0; done < n; done++) {
			int err = tx_done(&self->h.q, 1);

			ASSERT_NE(-EPROTO, err);
			expected += !err;
		}
		frames += n;
		/*
		 * What is sent, and nothing else, arrives. The next ones wait for it: until the neighbour's address
		 * is known, for a second if a solicitation is lost, the kernel keeps some packets and drops the others.
		 */
		for (;;) {
			int seen = look(wire);

			ASSERT_LE(0, seen);
			ours += (uint32_t)seen;
			if (ours >= expected)
				break;
			ASSERT_EQ(1, poll(&more, 1, DT_PATIENCE_MS))
			{
				TH_LOG("%u of %u arrived, after %u frames", ours, expected, frames);
			}
		}
		ASSERT_EQ(expected, ours);
	}
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(expected, count.tx_frames);
	EXPECT_EQ(total, count.tx_frames + count.tx_refused + count.tx_unreachable + count.tx_dropped);
	EXPECT_LT(total / 20, count.tx_frames);
	EXPECT_LT(total / 20, count.tx_refused);
	TH_LOG("%llu sent, %llu refused", count.tx_frames, count.tx_refused);
	close(wire);
}

TEST_HARNESS_MAIN
