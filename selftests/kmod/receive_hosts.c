// SPDX-License-Identifier: MIT
/* modules: veth dummy bridge bonding 8021q */
/*
 * What reaches a queue from another host: what would reach a socket in its place. Each case first lets the rule
 * stop a packet, then shows that the same packet without the rule arrives, or the other way round.
 */
#include "kselftest_harness.h"

#include "demi_test.h"

#include <linux/bpf.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

FIXTURE(hosts)
{
	int here, there;
	struct dt_ctx c;
	struct dt_queue q;
	int sender, sender6; /* sockets of the other host, port 6000 */
	uint8_t buf[DEMI_FRAME_MAX];
};

FIXTURE_SETUP(hosts)
{
	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	ASSERT_EQ(0, dt_open(&self->c));
	ASSERT_EQ(0, dt_queue_open(&self->q, &self->c, 64));
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, DEMI_PORT_F_DUAL, "::", 5000));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	self->sender = dt_socket(SOCK_DGRAM, "10.0.0.2", 6000);
	self->sender6 = dt_socket(SOCK_DGRAM, "fd00::2", 6000);
	ASSERT_LE(0, self->sender);
	ASSERT_LE(0, self->sender6);
	ASSERT_EQ(0, dt_netns_enter(self->here));
}

FIXTURE_TEARDOWN(hosts)
{
	dt_queue_close(&self->q);
	dt_close(&self->c);
}

/* A datagram to 10.0.0.1:5000 from the other host arrives, or does not. */
#define EXPECT_ARRIVES(text)                                                                                           \
	do {                                                                                                           \
		ASSERT_EQ(0, dt_send(self->sender, "10.0.0.1", 5000, text, strlen(text)));                             \
		DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "10.0.0.1", 5000, text);                                      \
	} while (0)

#define EXPECT_STOPPED(text)                                                                                           \
	do {                                                                                                           \
		ASSERT_EQ(0, dt_send(self->sender, "10.0.0.1", 5000, text, strlen(text)));                             \
		DT_EXPECT_NOTHING(&self->q);                                                                           \
	} while (0)

#define nft(...) dt_sh("nft -f - <<'END'\n" __VA_ARGS__ "\nEND\n")

static bool have_nft(void)
{
	return !dt_sh("nft list ruleset >/dev/null 2>&1");
}

TEST_F(hosts, plain)
{
	EXPECT_ARRIVES("four");
	ASSERT_EQ(0, dt_send(self->sender6, "fd00::1", 5000, "six", 3));
	DT_EXPECT_DATAGRAM(&self->q, "fd00::2", "fd00::1", 5000, "six");
}

TEST_F(hosts, link_local)
{
	struct dt_queue q;
	int fd;

	ASSERT_EQ(0, dt_queue_open(&q, &self->c, 8));
	ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, "fe80::1%veth0", 5001));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	fd = dt_socket(SOCK_DGRAM, "fe80::2%veth0", 6000);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, dt_send(fd, "fe80::1%veth0", 5001, "one", 3));
	ASSERT_EQ(0, dt_send(fd, "fe80::1%veth0", 5000, "two", 3));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	DT_EXPECT_DATAGRAM(&q, "fe80::2", "fe80::1", 5001, "one");
	DT_EXPECT_DATAGRAM(&self->q, "fe80::2", "fe80::1", 5000, "two");
	EXPECT_EQ(-EINVAL, dt_reserve(&self->c, IPPROTO_UDP, 0, "fe80::1", 5002));
}

TEST_F(hosts, fragments_arrive_whole)
{
	static char data[4001], got[4001];
	struct dt_packet p;
	int len;

	memset(data, 'f', sizeof(data) - 1);
	data[1500] = 'a';
	data[3999] = 'z';
	ASSERT_EQ(0, dt_send(self->sender, "10.0.0.1", 5000, data, 4000));
	DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "10.0.0.1", 5000, data);
	/* IPv6 collects fragments behind the hook */
	ASSERT_EQ(0, dt_send(self->sender6, "fd00::1", 5000, data, 4000));
	len = dt_pop(&self->q, NULL, self->buf, sizeof(self->buf));
	ASSERT_EQ(4048, len);
	ASSERT_TRUE(dt_parse(&p, self->buf, len));
	EXPECT_EQ(IPPROTO_UDP, p.protocol);
	EXPECT_EQ(0, memcmp(data, p.payload, 4000));
	DT_EXPECT_NOTHING(&self->q);

	/* those of sockets are collected as before */
	int fd = dt_socket(SOCK_DGRAM, "fd00::1", 5001);
	ASSERT_EQ(0, dt_send(self->sender6, "fd00::1", 5001, data, 4000));
	ASSERT_EQ(4000, recv(fd, got, sizeof(got), 0));
	EXPECT_EQ(0, memcmp(data, got, 4000));
}

/* A destination options header with one option of 6 bytes. */
static int send_option(int fd, uint8_t type, uint16_t port)
{
	uint8_t option[8] = { 0, 0, type, 4 };
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, "fd00::1", port);

	if (setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, option, sizeof(option)) < 0)
		return -errno;
	return sendto(fd, "opt", 3, 0, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
}

TEST_F(hosts, extension_headers)
{
	char got[4];
	int len, fd;

	/* an option to be skipped if unknown; the header is in the packet */
	ASSERT_EQ(0, send_option(self->sender6, 0x1e, 5000));
	len = dt_pop(&self->q, NULL, self->buf, sizeof(self->buf));
	ASSERT_EQ(40 + 8 + 8 + 3, len);
	EXPECT_EQ(IPPROTO_DSTOPTS, self->buf[6]);
	EXPECT_EQ(IPPROTO_UDP, self->buf[40]);
	EXPECT_EQ(0, memcmp("opt", self->buf + 56, 3));
	/* an option that says: drop me if unknown (RFC 8200, 4.2) */
	ASSERT_EQ(0, send_option(self->sender6, 0x5e, 5000));
	DT_EXPECT_NOTHING(&self->q);
	/* sockets' packets pass by unharmed */
	fd = dt_socket(SOCK_DGRAM, "fd00::1", 5001);
	ASSERT_EQ(0, send_option(self->sender6, 0x1e, 5001));
	ASSERT_EQ(3, recv(fd, got, sizeof(got), 0));
	EXPECT_EQ(0, memcmp("opt", got, 3));
}

TEST_F(hosts, forwarded)
{
	ASSERT_EQ(0, dt_ip("link add d0 type dummy\naddr add 10.1.0.1/24 dev d0\nlink set d0 up\n"
			   "neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev d0"));
	ASSERT_EQ(0, dt_sh("echo 1 >/proc/sys/net/ipv4/ip_forward"));
	ASSERT_EQ(0, dt_send(self->sender, "10.1.0.9", 5000, "through", 7));
	DT_EXPECT_NOTHING(&self->q);
	/* it did go through */
	EXPECT_EQ(0, dt_sh("test $(cat /sys/class/net/d0/statistics/tx_packets) -gt 0 || "
			   "ip -s -o link show d0 | grep -q 'TX:.* [1-9]'"));
	ASSERT_EQ(0, dt_send(self->sender, "10.1.0.1", 5000, "to me", 5));
	DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "10.1.0.1", 5000, "to me");
}

TEST_F(hosts, input_rules)
{
	struct demi_queue_counters before, after;

	if (!have_nft())
		SKIP(return, "no nft, or no nftables in this kernel");
	EXPECT_ARRIVES("before");
	ASSERT_EQ(0, dt_counters(&self->q, &before));
	ASSERT_EQ(0, nft("table inet t { chain c { type filter hook input priority 0; udp dport 5000 drop; }; }"));
	EXPECT_STOPPED("dropped");
	ASSERT_EQ(0, dt_counters(&self->q, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	ASSERT_EQ(0, nft("delete table inet t"));
	EXPECT_ARRIVES("after");
}

/* Rules of the last priority are asked, too, whoever was registered first. */
TEST_F(hosts, last_input_rules)
{
	struct dt_queue q;
	struct dt_ctx c;

	if (!have_nft())
		SKIP(return, "no nft, or no nftables in this kernel");
	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, nft("table inet t { chain c { type filter hook input priority 2147483647;"
			 " udp sport 6001 drop; }; }"));
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_EQ(0, dt_queue_open(&q, &c, 8));
	ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	for (int port = 6000; port < 6002; port++) {
		int fd = dt_socket(SOCK_DGRAM, "127.0.0.1", port);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, dt_send(fd, "127.0.0.1", 5000, "rule", 4));
	}
	DT_EXPECT_DATAGRAM(&q, "127.0.0.1", "127.0.0.1", 5000, "rule");
	DT_EXPECT_NOTHING(&q);
}

/* Redirected to the queue's port: it comes, and conntrack has confirmed the connection. */
TEST_F(hosts, redirected)
{
	if (!have_nft())
		SKIP(return, "no nft, or no nftables in this kernel");
	if (nft("table ip t { chain c { type nat hook prerouting priority -100; "
		"udp dport 4000 redirect to :5000; }; }"))
		SKIP(return, "no NAT in this kernel");
	ASSERT_EQ(0, dt_send(self->sender, "10.0.0.1", 4000, "here", 4));
	DT_EXPECT_DATAGRAM(&self->q, "10.0.0.2", "10.0.0.1", 5000, "here");
	if (!access("/proc/net/nf_conntrack", R_OK))
		EXPECT_EQ(0, dt_sh("grep -q 'sport=6000 dport=4000.*sport=5000 dport=6000' /proc/net/nf_conntrack"));
}

/* The host masquerades for another: answers to the other are not the queue's, though they name its port. */
TEST_F(hosts, masqueraded_replies)
{
	int far, sock;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char text[8];

	if (!have_nft())
		SKIP(return, "no nft, or no nftables in this kernel");
	far = dt_netns();
	ASSERT_LE(0, far);
	ASSERT_EQ(0, dt_netns_enter(self->here));
	ASSERT_EQ(0, dt_ip("link add veth1 type veth peer name veth1 netns /proc/self/fd/%d\n"
			   "addr add 10.1.0.1/24 dev veth1\nlink set veth1 up",
			   far));
	ASSERT_EQ(0, dt_sh("echo 1 >/proc/sys/net/ipv4/ip_forward"));
	if (nft("table ip t { chain c { type nat hook postrouting priority 100; oifname veth1 masquerade; }; }"))
		SKIP(return, "no NAT in this kernel");
	ASSERT_EQ(0, dt_netns_enter(far));
	ASSERT_EQ(0, dt_ip("addr add 10.1.0.2/24 dev veth1\nlink set veth1 up"));
	sock = dt_socket(SOCK_DGRAM, "10.1.0.2", 7000);
	ASSERT_LE(0, sock);
	ASSERT_EQ(0, dt_netns_enter(self->there));
	/* from port 5000 of the other host, which the masquerade keeps if it can */
	int fd = dt_socket(SOCK_DGRAM, "10.0.0.2", 5000);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, dt_send(fd, "10.1.0.2", 7000, "ask", 3));
	ASSERT_EQ(3, recvfrom(sock, text, sizeof(text), 0, (struct sockaddr *)&from, &len));
	EXPECT_EQ(htonl(0x0a010001), ((struct sockaddr_in *)&from)->sin_addr.s_addr);
	ASSERT_EQ(6, sendto(sock, "answer", 6, 0, (struct sockaddr *)&from, len));
	ASSERT_EQ(6, recv(fd, text, sizeof(text), 0));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	DT_EXPECT_NOTHING(&self->q);
	/* what comes to that port and is no answer is the queue's */
	ASSERT_EQ(0, dt_netns_enter(far));
	ASSERT_EQ(0, dt_send_to("10.1.0.2", "10.1.0.1", 5000, "mine"));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	DT_EXPECT_DATAGRAM(&self->q, "10.1.0.2", "10.1.0.1", 5000, "mine");
}

TEST_F(hosts, other_hosts_frames)
{
	ASSERT_EQ(0, dt_ip("link set veth0 promisc on"));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:99 dev veth0"));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	EXPECT_STOPPED("another's");
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("neigh del 10.0.0.1 dev veth0"));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	EXPECT_ARRIVES("mine");
}

TEST_F(hosts, vlan)
{
	int fd;

	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("link add link veth0 name v7 type vlan id 7\naddr add 10.7.0.2/24 dev v7\nlink set v7 up"));
	fd = dt_socket(SOCK_DGRAM, "10.7.0.2", 6000);
	ASSERT_LE(0, fd);
	/* a tag that nobody here has */
	ASSERT_EQ(0, dt_ip("neigh add 10.7.0.1 lladdr 02:00:00:00:00:01 dev v7"));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	ASSERT_EQ(0, dt_ip("addr add 10.7.0.1/24 dev veth0"));
	ASSERT_EQ(0, dt_send(fd, "10.7.0.1", 5000, "tagged", 6));
	DT_EXPECT_NOTHING(&self->q);
	ASSERT_EQ(0, dt_ip("addr del 10.7.0.1/24 dev veth0\nlink add link veth0 name v7 type vlan id 7\n"
			   "addr add 10.7.0.1/24 dev v7\nlink set v7 up"));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("neigh del 10.7.0.1 dev v7"));
	ASSERT_EQ(0, dt_send(fd, "10.7.0.1", 5000, "tagged", 6));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	DT_EXPECT_DATAGRAM(&self->q, "10.7.0.2", "10.7.0.1", 5000, "tagged");
}

/* ---- policy -------------------------------------------------------------------------------- */

TEST_F(hosts, xfrm_policy)
{
	struct demi_queue_counters count;

	EXPECT_ARRIVES("before");
	if (dt_sh("ip xfrm policy add src 10.0.0.2 dst 10.0.0.1 dir in action block 2>/dev/null"))
		SKIP(return, "no XFRM in this kernel");
	EXPECT_STOPPED("blocked");
	ASSERT_EQ(0, dt_counters(&self->q, &count));
	EXPECT_EQ(1, count.rx_policy);
	ASSERT_EQ(0, dt_sh("ip xfrm policy flush"));
	EXPECT_ARRIVES("after");
}

/* A program of a cgroup that lets nothing in. */
static int attach_deny(const char *cgroup)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB,
		.insns = (uintptr_t)insns,
		.insn_cnt = 2,
		.license = (uintptr_t) "GPL",
	};
	int dir = open(cgroup, O_RDONLY | O_CLOEXEC), prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	if (dir < 0 || prog < 0)
		return -errno;
	attr = (union bpf_attr){
		.target_fd = (__u32)dir,
		.attach_bpf_fd = (__u32)prog,
		.attach_type = BPF_CGROUP_INET_INGRESS,
	};
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

TEST_F(hosts, cgroup_program)
{
	struct demi_queue_counters count;
	struct dt_queue q;
	int err;

	if (mkdir("/sys/fs/cgroup/demi-test", 0755))
		SKIP(return, "no cgroup2: %s", strerror(errno));
	/* a reservation is of the cgroup in which it was made */
	ASSERT_EQ(0, dt_sh("echo $PPID >/sys/fs/cgroup/demi-test/cgroup.procs"));
	ASSERT_EQ(0, dt_queue_open(&q, &self->c, 8));
	ASSERT_LT(0, dt_listen(&q, IPPROTO_UDP, 0, "10.0.0.1", 5001));
	ASSERT_EQ(0, dt_sh("echo $PPID >/sys/fs/cgroup/cgroup.procs"));
	ASSERT_EQ(0, dt_send(self->sender, "10.0.0.1", 5001, "one", 3));
	DT_EXPECT_DATAGRAM(&q, "10.0.0.2", "10.0.0.1", 5001, "one");
	err = attach_deny("/sys/fs/cgroup/demi-test");
	if (!err) {
		ASSERT_EQ(0, dt_send(self->sender, "10.0.0.1", 5001, "two", 3));
		DT_EXPECT_NOTHING(&q);
		ASSERT_EQ(0, dt_counters(&q, &count));
		EXPECT_EQ(1, count.rx_policy);
		EXPECT_ARRIVES("other cgroup");
	}
	dt_queue_close(&q);
	rmdir("/sys/fs/cgroup/demi-test");
	if (err)
		SKIP(return, "no cgroup programs: %s", strerror(-err));
}

/* ---- errors of the network ----------------------------------------------------------------- */

static uint16_t sum6(const uint8_t *ip, int len)
{
	uint32_t sum = IPPROTO_UDP + (uint32_t)(len - 40);

	for (int i = 8; i < len; i++)
		sum += i & 1 ? ip[i] : (uint32_t)ip[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* A datagram of the queue to a port where nobody is: "port unreachable" of ICMPv6 comes to the queue. */
TEST_F(hosts, icmp6_error)
{
	uint8_t ip[52] = { 0x60, 0, 0, 0, 0, 12, IPPROTO_UDP, 64 };
	struct virtio_net_hdr_v1 hdr = { .num_buffers = 1 };
	struct demi_queue_counters count;
	int len;

	inet_pton(AF_INET6, "fd00::1", ip + 8);
	inet_pton(AF_INET6, "fd00::2", ip + 24);
	memcpy(ip + 40, (uint8_t[]){ 5000 >> 8, 5000 & 255, 0, 9, 0, 12, 0, 0, 'p', 'i', 'n', 'g' }, 12);
	uint16_t sum = sum6(ip, sizeof(ip));
	ip[46] = (uint8_t)(sum >> 8);
	ip[47] = (uint8_t)sum;
	ASSERT_EQ(0, dt_push(&self->q, &hdr, ip, sizeof(ip)));
	len = dt_pop(&self->q, NULL, self->buf, sizeof(self->buf));
	ASSERT_EQ(40 + 8 + 52, len);
	EXPECT_EQ(IPPROTO_ICMPV6, self->buf[6]);
	EXPECT_EQ(1, self->buf[40]); /* destination unreachable */
	EXPECT_EQ(4, self->buf[41]); /* port */
	EXPECT_EQ(0, memcmp(self->buf + 48 + 8, ip + 8, sizeof(ip) - 8));
	ASSERT_EQ(0, dt_counters(&self->q, &count));
	EXPECT_EQ(1, count.rx_icmp);
}

/* ---- devices come and go ------------------------------------------------------------------- */

TEST_F(hosts, bridge)
{
	EXPECT_ARRIVES("before");
	ASSERT_EQ(0, dt_ip("link add br0 type bridge\nlink set br0 up\nlink set veth0 master br0\n"
			   "addr del 10.0.0.1/24 dev veth0\naddr add 10.0.0.1/24 dev br0"));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("neigh flush dev veth0"));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	EXPECT_ARRIVES("through the bridge");
}

TEST_F(hosts, bond)
{
	EXPECT_ARRIVES("before");
	ASSERT_EQ(0, dt_ip("link add bond0 type bond mode active-backup\nlink set veth0 down\n"
			   "link set veth0 master bond0\nlink set bond0 up\naddr add 10.0.0.1/24 dev bond0"));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_ip("neigh flush dev veth0"));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	EXPECT_ARRIVES("through the bond");
}

/* Datagrams to the queue, from the other CPU, until killed. */
static pid_t flood(int fd)
{
	pid_t pid = fork();
	cpu_set_t all;

	if (pid)
		return pid;
	CPU_ZERO(&all);
	CPU_SET(0, &all);
	CPU_SET(1, &all);
	sched_setaffinity(0, sizeof(all), &all);
	alarm(60);
	for (;;)
		dt_send(fd, "10.0.0.1", 5000, "flood", 5);
}

TEST_F(hosts, link_deleted_under_traffic)
{
	pid_t pid = flood(self->sender);

	ASSERT_LT(0, pid);
	ASSERT_LT(0, dt_pop(&self->q, NULL, self->buf, sizeof(self->buf)));
	EXPECT_EQ(0, dt_ip("link del veth0"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* the queue lives on, for other devices */
	while (dt_pop_now(&self->q, NULL, self->buf, sizeof(self->buf)) >= 0)
		;
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", 5000, "lo"));
	DT_EXPECT_DATAGRAM(&self->q, "127.0.0.1", "127.0.0.1", 5000, "lo");
}

TEST_F(hosts, link_moved_under_traffic)
{
	pid_t pid = flood(self->sender);

	ASSERT_LT(0, pid);
	ASSERT_LT(0, dt_pop(&self->q, NULL, self->buf, sizeof(self->buf)));
	EXPECT_EQ(0, dt_ip("link set veth0 name gone netns /proc/self/fd/%d", self->there));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	EXPECT_NE(0, if_nametoindex("lo"));
	EXPECT_EQ(0, if_nametoindex("veth0"));
}

/* Queue, flow and context end while packets come. */
TEST_F(hosts, shut_down_under_traffic)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg) };
	pid_t pid = flood(self->sender);

	ASSERT_LT(0, pid);
	for (int i = 0; i < 10; i++) {
		struct dt_queue q;
		int r = dt_reserve(&self->c, IPPROTO_UDP, 0, "10.0.0.1", 5001), flow;

		ASSERT_LT(0, r);
		ASSERT_EQ(0, dt_queue_open(&q, &self->c, 4));
		flow = dt_flow(&self->c, r, 0, q.id, NULL, 0, NULL, 0);
		ASSERT_LT(0, flow);
		ASSERT_EQ(0, i & 1 ? dt_flow_del(&self->c, flow) : dt_ioctl(q.fd, DEMI_QUEUE_SHUTDOWN, &arg));
		ASSERT_EQ(0, dt_release(&self->c, r));
		dt_queue_close(&q);
	}
	ASSERT_EQ(0, dt_ioctl(self->q.fd, DEMI_QUEUE_SHUTDOWN, &arg));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST_HARNESS_MAIN
