/* SPDX-License-Identifier: MIT */
/* modules: veth nf_tables, timeout: 400 */
/*
 * What the host's administrator decides about packets by other means than filters means for a queue what it means for a
 * socket: marks and priorities, IPsec, virtual routing domains, verdicts of a program (NFQUEUE).
 */
#include "kselftest_harness.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stddef.h>

#include "two_hosts.h"
#include "tx_test.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>

static struct tx_packet p;

FIXTURE(policy)
{
	struct two_hosts h;
	uint8_t buf[DEMI_FRAME_MAX];
};

FIXTURE_SETUP(policy)
{
	ASSERT_EQ(0, two_hosts_open(&self->h));
}

FIXTURE_TEARDOWN(policy)
{
	two_hosts_close(&self->h);
}

/* As dt_listen(), with more of what a reservation can be. */
static int listen_as(struct dt_queue *q, const char *local, uint16_t port, struct demi_port_reserve arg)
{
	int err;

	arg.size = sizeof(arg);
	arg.protocol = IPPROTO_UDP;
	arg.local = dt_addr(local, port);
	err = dt_ioctl(q->ctx->fd, DEMI_PORT_RESERVE, &arg);
	return err ? err : dt_flow(q->ctx, (int)arg.reservation_id, 0, q->id, NULL, 0, NULL, 0);
}

static int push(struct dt_queue *q, int v6, uint16_t port, const char *text)
{
	tx_udp(&p, us[v6], port, them[v6], PEER, text, strlen(text));
	return tx_send(q, &p);
}

/* The queue sends this, and it is the next that arrives; and the same back. */
#define EXPECT_REACHES(v6, port, text)                                                                                 \
	do {                                                                                                           \
		EXPECT_EQ(0, push(&self->h.q, v6, port, text));                                                        \
		ASSERT_EQ((int)strlen(text), tx_recv(self->h.peer[v6], self->buf, sizeof(self->buf)));                 \
		EXPECT_EQ(0, memcmp(self->buf, text, strlen(text)));                                                   \
	} while (0)

#define EXPECT_REACHED(v6, port, text)                                                                                 \
	do {                                                                                                           \
		ASSERT_EQ(0, dt_send(self->h.peer[v6], us[v6], port, text, strlen(text)));                             \
		DT_EXPECT_DATAGRAM(&self->h.q, them[v6], us[v6], port, text);                                          \
	} while (0)

/* ---- what the reservation says of its packets ---------------------------------------------- */

TEST_F(policy, mark_and_priority)
{
	for (int v6 = 0; v6 < 2; v6++) {
		for (uint32_t i = 0; i < 2; i++) {
			ASSERT_LT(0,
				  listen_as(&self->h.q, us[v6], 5010 + i, (struct demi_port_reserve){ .mark = 7 + i }));
			ASSERT_LT(0, listen_as(&self->h.q, us[v6], 5020 + i,
					       (struct demi_port_reserve){ .priority = 5 + i }));
		}
	}
	if (dt_sh("nft -f - <<'END'\ntable inet t {\nchain out {\ntype filter hook output priority 0;\n"
		  "meta mark 7 drop\nmeta priority 0:5 drop\n}\n}\nEND"))
		SKIP(return, "no nft, or no nftables in this kernel");
	for (int v6 = 0; v6 < 2; v6++) {
		EXPECT_EQ(-EPERM, push(&self->h.q, v6, 5010, "mark 7"));
		EXPECT_REACHES(v6, 5011, "mark 8");
		EXPECT_EQ(-EPERM, push(&self->h.q, v6, 5020, "priority 5"));
		EXPECT_REACHES(v6, 5021, "priority 6");
	}
	ASSERT_EQ(0, dt_sh("nft delete table inet t"));
	for (int v6 = 0; v6 < 2; v6++) {
		EXPECT_REACHES(v6, 5010, "mark 7 again");
		EXPECT_REACHES(v6, 5020, "priority 5 again");
	}
}

TEST_F(policy, routed_by_mark)
{
	for (int v6 = 0; v6 < 2; v6++) {
		for (uint32_t i = 0; i < 2; i++)
			ASSERT_LT(0,
				  listen_as(&self->h.q, us[v6], 5010 + i, (struct demi_port_reserve){ .mark = 7 + i }));
		EXPECT_REACHES(v6, 5010, "mark 7");
		ASSERT_EQ(0, dt_sh("ip -%d rule add fwmark 7 unreachable", v6 ? 6 : 4));
		EXPECT_EQ(-ENETUNREACH, push(&self->h.q, v6, 5010, "mark 7"));
		EXPECT_REACHES(v6, 5011, "mark 8");
	}
}

/* ---- IPsec --------------------------------------------------------------------------------- */

#define KEY "0x000102030405060708090a0b0c0d0e0f10111213"

/* Of this host: one direction's keys. */
static int xfrm_state(const char *src, const char *dst)
{
	return dt_sh("ip xfrm state add src %s dst %s proto esp spi 0x100 reqid 1 mode transport"
		     " aead 'rfc4106(gcm(aes))' " KEY " 128 2>&1",
		     src, dst);
}

/* Both directions need ESP. */
static int xfrm_policy(const char *local, const char *remote)
{
	return dt_sh("ip xfrm policy add src %s dst %s proto udp dir out tmpl proto esp mode transport reqid 1 &&"
		     "ip xfrm policy add src %s dst %s proto udp dir in tmpl proto esp mode transport reqid 1",
		     local, remote, remote, local);
}

/* The protocols of what came from the other host since the last time, as bits: UDP 1, ESP 2. */
static int protocols(int wire)
{
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);
	uint8_t head[40];
	int seen = 0;

	while (recvfrom(wire, head, sizeof(head), MSG_DONTWAIT, (struct sockaddr *)&from, &len) >= 20) {
		uint8_t protocol = head[0] >> 4 == 4 ? head[9] : head[6];

		len = sizeof(from);
		if (from.sll_pkttype == PACKET_HOST)
			seen |= protocol == IPPROTO_UDP ? 1 : protocol == IPPROTO_ESP ? 2 : 0;
	}
	return seen;
}

static int sniff(void)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int wire = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));

	ll.sll_ifindex = (int)if_nametoindex("veth0");
	return bind(wire, (struct sockaddr *)&ll, sizeof(ll)) ? -errno : wire;
}

static void ipsec(struct __test_metadata *_metadata, FIXTURE_DATA(policy) * self, int v6)
{
	struct demi_queue_counters before, after;
	int wire;

	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
	EXPECT_REACHES(v6, PORT, "open");
	EXPECT_REACHED(v6, PORT, "open back");
	for (int host = 0; host < 2; host++) {
		ASSERT_EQ(0, dt_netns_enter(host ? self->h.there : self->h.here));
		if (xfrm_state(us[v6], them[v6]) || xfrm_state(them[v6], us[v6]))
			SKIP(return, "no ESP in this kernel");
		ASSERT_EQ(0, host ? xfrm_policy(them[v6], us[v6]) : xfrm_policy(us[v6], them[v6]));
	}
	wire = sniff();
	ASSERT_LE(0, wire);
	ASSERT_EQ(0, dt_netns_enter(self->h.here));

	EXPECT_REACHES(v6, PORT, "secret");
	EXPECT_EQ(2, protocols(wire));
	EXPECT_REACHED(v6, PORT, "secret back");
	/* a socket cannot have these cut behind the encryption, either */
	tx_udp(&p, us[v6], PORT, them[v6], PEER, self->buf, 1000);
	tx_ask_csum(&p);
	p.vh.gso_type = TX_GSO_UDP_L4;
	p.vh.gso_size = 500;
	EXPECT_EQ(-EIO, tx_send(&self->h.q, &p));

	/* what comes open, and should not */
	ASSERT_EQ(0, dt_netns_enter(self->h.there));
	ASSERT_EQ(0, dt_sh("ip xfrm policy flush"));
	ASSERT_EQ(0, dt_netns_enter(self->h.here));
	ASSERT_EQ(0, dt_counters(&self->h.q, &before));
	ASSERT_EQ(0, dt_send(self->h.peer[v6], us[v6], PORT, "open", 4));
	DT_EXPECT_NOTHING(&self->h.q);
	ASSERT_EQ(0, dt_counters(&self->h.q, &after));
	EXPECT_EQ(before.rx_policy + 1, after.rx_policy);

	/* what may not go at all */
	ASSERT_EQ(0, dt_sh("ip xfrm policy flush && ip xfrm policy add src %s dst %s dir out action block", us[v6],
			   them[v6]));
	EXPECT_EQ(-EPERM, push(&self->h.q, v6, PORT, "blocked"));
	ASSERT_EQ(0, dt_sh("ip xfrm policy flush"));
	EXPECT_REACHES(v6, PORT, "open again");
	EXPECT_EQ(1, protocols(wire));
	EXPECT_REACHED(v6, PORT, "open back again");
	close(wire);
}

TEST_F(policy, ipsec4)
{
	ipsec(_metadata, self, 0);
}

TEST_F(policy, ipsec6)
{
	ipsec(_metadata, self, 1);
}

/* ---- virtual routing domains --------------------------------------------------------------- */

/* The same port twice: in the domain of its interface, and outside of it, where nothing of it is to be seen. */
TEST_F(policy, vrf)
{
	struct dt_queue outside;
	uint32_t vrf;

	if (dt_ip("link add vrf1 type vrf table 10"))
		SKIP(return, "no VRF in this kernel");
	ASSERT_EQ(0, dt_ip("link set vrf1 up\nlink set veth0 master vrf1\n"
			   "addr replace fd00::1/64 dev veth0 nodad"));
	vrf = if_nametoindex("vrf1");
	ASSERT_EQ(0, dt_queue_open(&outside, &self->h.ctx, 16));
	for (int v6 = 0; v6 < 2; v6++) {
		const char *any = v6 ? "::" : "0.0.0.0";

		ASSERT_LT(0, listen_as(&self->h.q, any, PORT, (struct demi_port_reserve){ .ifindex = vrf }));
		ASSERT_LT(0, listen_as(&self->h.q, any, PORT + 1,
				       (struct demi_port_reserve){ .ifindex = if_nametoindex("veth0") }));
		ASSERT_LT(0, listen_as(&outside, any, PORT + 2, (struct demi_port_reserve){ 0 }));
		EXPECT_REACHES(v6, PORT, "in the domain");
		EXPECT_REACHED(v6, PORT, "in the domain, back");
		EXPECT_REACHES(v6, PORT + 1, "by the interface");
		EXPECT_REACHED(v6, PORT + 1, "by the interface, back");

		EXPECT_EQ(-EACCES, push(&outside, v6, PORT + 2, "outside"));
		ASSERT_EQ(0, dt_send(self->h.peer[v6], us[v6], PORT + 2, "outside", 7));
		DT_EXPECT_NOTHING(&outside);
	}
	/* who listens everywhere may be asked to do so for the domains, too */
	ASSERT_EQ(0, dt_sh("echo 1 >/proc/sys/net/ipv4/udp_l3mdev_accept"));
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_EQ(0, dt_send(self->h.peer[v6], us[v6], PORT + 2, "everywhere", 10));
		DT_EXPECT_DATAGRAM(&outside, them[v6], us[v6], PORT + 2, "everywhere");
	}
	dt_queue_close(&outside);
}

/* ---- verdicts of a program ----------------------------------------------------------------- */

struct nfq_message {
	struct nlmsghdr nl;
	struct nfgenmsg nf;
	struct nlattr attr;
	union {
		struct nfqnl_msg_config_cmd cmd;
		struct nfqnl_msg_config_params params;
		struct nfqnl_msg_verdict_hdr verdict;
		uint8_t bytes[12];
	};
};

static int nfq_send(int fd, uint16_t type, uint16_t attr, const void *data, size_t len)
{
	struct nfq_message m = {
		.nl = { .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type, .nlmsg_flags = NLM_F_REQUEST },
		.attr = { .nla_type = attr, .nla_len = (uint16_t)(NLA_HDRLEN + len) },
	};

	memcpy(m.bytes, data, len);
	m.nl.nlmsg_len = (uint32_t)(offsetof(struct nfq_message, bytes) + NLMSG_ALIGN(len));
	return send(fd, &m, m.nl.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* Queue number 0 of this namespace. */
static int nfq_open(void)
{
	struct nfqnl_msg_config_cmd bind_cmd = { .command = NFQNL_CFG_CMD_BIND };
	struct nfqnl_msg_config_params params = { .copy_mode = NFQNL_COPY_META };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	int err;

	if (fd < 0)
		return -errno;
	err = nfq_send(fd, NFQNL_MSG_CONFIG, NFQA_CFG_CMD, &bind_cmd, sizeof(bind_cmd));
	if (!err)
		err = nfq_send(fd, NFQNL_MSG_CONFIG, NFQA_CFG_PARAMS, &params, sizeof(params));
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Wait for the next packet and say what becomes of it. */
static int nfq_judge(int fd, uint32_t verdict)
{
	struct nfqnl_msg_verdict_hdr answer = { .verdict = htonl(verdict) };
	const struct nfqnl_msg_packet_hdr *packet;
	union {
		struct nfq_message m;
		uint8_t bytes[4096];
	} got;
	int n = tx_recv(fd, &got, sizeof(got));

	if (n < (int)(offsetof(struct nfq_message, bytes) + sizeof(*packet)))
		return n < 0 ? n : -EPROTO;
	/* the packet's header comes first */
	if (got.m.nl.nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    got.m.attr.nla_type != NFQA_PACKET_HDR)
		return -EPROTO;
	packet = (const void *)got.m.bytes;
	answer.id = packet->packet_id;
	return nfq_send(fd, NFQNL_MSG_VERDICT, NFQA_VERDICT_HDR, &answer, sizeof(answer));
}

TEST_F(policy, verdicts)
{
	int fd;

	for (int v6 = 0; v6 < 2; v6++)
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
	if (dt_sh("nft -f - <<'END'\ntable inet t {\nchain in {\ntype filter hook input priority 0;\n"
		  "udp dport %d queue num 0\n}\n}\nEND",
		  PORT))
		SKIP(return, "no nft, or no NFQUEUE in this kernel");
	fd = nfq_open();
	ASSERT_LE(0, fd);
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_EQ(0, dt_send(self->h.peer[v6], us[v6], PORT, "good", 4));
		DT_EXPECT_NOTHING(&self->h.q);
		ASSERT_EQ(0, nfq_judge(fd, NF_ACCEPT));
		DT_EXPECT_DATAGRAM(&self->h.q, them[v6], us[v6], PORT, "good");
		ASSERT_EQ(0, dt_send(self->h.peer[v6], us[v6], PORT, "bad", 3));
		ASSERT_EQ(0, nfq_judge(fd, NF_DROP));
		DT_EXPECT_NOTHING(&self->h.q);
	}
	close(fd);
}

TEST_HARNESS_MAIN
