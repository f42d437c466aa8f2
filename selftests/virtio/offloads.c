// SPDX-License-Identifier: MIT
/* uses: libdemi.a, devices: virtio-tap, timeout: 300 */
/*
 * Checksums and segmentation left to the device, and merged buffers: on a link that can do all that (a tap), with the
 * kernel's driver at the other end, which does so, too. What crosses the device is looked up in what DEMI_PCAP writes.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "kselftest_harness.h"

#include "library_test.h"

#define BIT(n) (1ull << (n))
#define HOST_TSO (BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN))
#define GUEST_TSO (BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN))
#define CSUM (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM))
#define PACKED BIT(VIRTIO_F_RING_PACKED)
#define ALL (CSUM | HOST_TSO | GUEST_TSO | BIT(VIRTIO_NET_F_MRG_RXBUF))

/* ---- negotiation ---- */

/* What is in force of ALL for a user who names @asked. */
static uint64_t negotiated(uint64_t asked)
{
	struct vt v = { .fd = open("/dev/demi", O_RDWR | O_CLOEXEC) };
	int device = vt_device(v.fd);
	uint64_t got = ~0ull;

	v.device = (uint32_t)device;
	v.features = asked;
	if (device < 0 || vt_bind(v.fd, v.device, 0))
		return got;
	if (!vt_queue(&v, 64)) {
		got = v.q->features & (ALL | PACKED);
		vt_queue_close(&v);
	}
	close(v.fd);
	return got;
}

TEST(negotiation)
{
	uint64_t packed = strstr(getenv("DEMI_VM_DEVICES"), "packed") ? PACKED : 0;

	ASSERT_EQ(0, vt_become_owner());
	EXPECT_EQ(0, negotiated(0));
	EXPECT_EQ(ALL, negotiated(ALL));
	/* what nobody knows, or is not the user's to ask for, is not there */
	EXPECT_EQ(0, negotiated(~(uint64_t)(ALL | PACKED)));
	EXPECT_EQ(ALL | packed, negotiated(~0ull));
	EXPECT_EQ(packed, negotiated(PACKED));
	EXPECT_EQ(CSUM, negotiated(CSUM));
	/* what wants another one */
	EXPECT_EQ(0, negotiated(HOST_TSO));
	EXPECT_EQ(0, negotiated(BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_GUEST_ECN)));
	EXPECT_EQ(CSUM, negotiated(CSUM | GUEST_TSO));
	EXPECT_EQ(BIT(VIRTIO_NET_F_MRG_RXBUF), negotiated(GUEST_TSO | BIT(VIRTIO_NET_F_MRG_RXBUF)));
}

/* ---- what crossed the device ---- */

enum { IN, OUT };

struct seen {
	uint32_t packets, partial, segmented, longest;
};

static char pcap[64];

static void count(struct seen *s, const uint32_t *packet, uint32_t len)
{
	uint32_t captured = packet[5], at = 28 + (captured + 3) / 4 * 4;
	uint32_t direction = packet[(at + 4) / 4];
	const char *comment = (const char *)packet + at;

	s = &s[direction == 1 ? IN : OUT];
	s->packets++;
	s->partial += memmem(comment, len - at, "checksum not filled in", 22) != NULL;
	s->segmented += memmem(comment, len - at, "bytes a segment", 15) != NULL;
	if (packet[6] > s->longest)
		s->longest = packet[6];
}

/* pcapng: blocks of type, length, contents, length. Each packet has its direction as its first option. */
static int look(struct seen *s)
{
	static uint32_t block[65536];
	int fd = open(pcap, O_RDONLY | O_CLOEXEC);

	memset(s, 0, 2 * sizeof(*s));
	NEED(fd >= 0);
	while (read(fd, block, 8) == 8) {
		NEED(block[1] >= 12 && block[1] <= sizeof(block));
		NEED(read(fd, block + 2, block[1] - 8) == (ssize_t)block[1] - 8);
		if (block[0] == 6)
			count(s, block, block[1]);
	}
	close(fd);
	unlink(pcap);
	return 0;
}

/* ---- traffic ---- */

FIXTURE(offloads)
{
	int unused;
};

FIXTURE_VARIANT(offloads)
{
	const char *mine, *there;
};

FIXTURE_VARIANT_ADD(offloads, ip4){
	.mine = MINE,
	.there = VT_THERE,
};

FIXTURE_VARIANT_ADD(offloads, ip6){
	.mine = "fd09::3",
	.there = "fd09::2",
};

FIXTURE_SETUP(offloads)
{
	/* a short one: many buffers have to be copied */
	struct rlimit memlock = { 8 << 20, 8 << 20 };

	ASSERT_EQ(0, system("sysctl -qw net.ipv6.conf.$DEMI_VIRTIO_PEER.disable_ipv6=0 && "
			    "ip address replace fd09::2/64 dev $DEMI_VIRTIO_PEER nodad"));
	setenv("DEMI_LIBOS", "virtio", 1);
	setenv("DEMI_LOG", "warn", 1);
	setenv("DEMI_INET_ADDR", MINE "/24,fd09::3/64", 1);
	snprintf(pcap, sizeof(pcap), "/tmp/offloads.%d", getpid());
	setenv("DEMI_PCAP", pcap, 1);
	/* several pairs would have split rings */
	setenv("DEMI_VIRTIO_PAIRS", "1", 1);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &memlock));
	ASSERT_EQ(0, vt_become_owner());
}

FIXTURE_TEARDOWN(offloads)
{
	unlink(pcap);
}

/* Both variants: the same, of IPv4. */
TEST_F(offloads, udp)
{
	struct seen s[2];

	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, udp_echo(4 * NSIZES));
	ASSERT_EQ(0, look(s));
	/* fragments have their sums, all others are left to the device */
	EXPECT_LT(4 * 6 - 1, s[OUT].partial);
	EXPECT_LT(4 * 6 - 1, s[IN].partial);
	EXPECT_GE(1514, s[OUT].longest);
}

#define PIECE 65000

struct flow {
	const char *ip;
	uint64_t bytes;
	bool sends; /* the kernel's end */
	int line;
};

static socklen_t any_address(struct sockaddr_storage *to, const char *ip, uint16_t port)
{
	struct sockaddr_in6 *to6 = (void *)to;
	struct sockaddr_in *to4 = (void *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, ip, &to4->sin_addr) == 1) {
		to4->sin_family = AF_INET;
		to4->sin_port = htons(port);
		return sizeof(*to4);
	}
	inet_pton(AF_INET6, ip, &to6->sin6_addr);
	to6->sin6_family = AF_INET6;
	to6->sin6_port = htons(port);
	return sizeof(*to6);
}

static int kernel_flow(const struct flow *f)
{
	static uint8_t buf[PIECE];
	struct sockaddr_storage to;
	socklen_t len = any_address(&to, f->ip, 7000);
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = 60 };

	NEED(fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	NEED(!connect(fd, (void *)&to, len));
	for (uint64_t at = 0; at < f->bytes; at += PIECE) {
		if (f->sends) {
			pattern(buf, PIECE, (unsigned int)at);
			NEED(send(fd, buf, PIECE, 0) == PIECE);
		} else {
			NEED(recv(fd, buf, PIECE, MSG_WAITALL) == PIECE);
			NEED(is_pattern(buf, PIECE, (unsigned int)at));
		}
	}
	close(fd);
	return 0;
}

static void *kernel_run(void *arg)
{
	struct flow *f = arg;

	f->line = kernel_flow(f);
	return NULL;
}

static int demi_sends(int qd, uint64_t bytes)
{
	static uint8_t buf[PIECE];

	for (uint64_t at = 0; at < bytes; at += PIECE) {
		pattern(buf, PIECE, (unsigned int)at);
		NEED(!push(qd, buf, PIECE, NULL));
	}
	return 0;
}

static int demi_receives(int qd, uint64_t bytes)
{
	static uint8_t buf[PIECE];
	uint64_t got = 0;
	demi_qtoken_t qt;
	demi_qresult_t r;

	for (;;) {
		NEED(!(errno = demi_pop(&qt, qd)));
		NEED(!(errno = demi_wait(&r, qt, &limit)));
		NEED(r.qr_opcode == DEMI_OPC_POP && !r.qr_ret);
		for (uint32_t i = 0; i < r.qr_value.sga.sga_numsegs; i++) {
			const demi_sgaseg_t *seg = &r.qr_value.sga.sga_segs[i];
			const uint8_t *p = seg->sgaseg_buf;

			for (uint32_t k = 0; k < seg->sgaseg_len; k++) {
				if (got % PIECE == 0)
					pattern(buf, PIECE, (unsigned int)got);
				NEED(p[k] == buf[got++ % PIECE]);
			}
		}
		if (!r.qr_value.sga.sga_segs[0].sgaseg_len)
			break;
		demi_sgafree(&r.qr_value.sga);
	}
	demi_sgafree(&r.qr_value.sga);
	NEED(got == bytes);
	return 0;
}

static int tcp(const char *mine, struct flow *f)
{
	struct sockaddr_storage me;
	socklen_t len = any_address(&me, mine, 7000);
	int ld, qd;
	pthread_t thread;
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(!(errno = demi_socket(&ld, me.ss_family, SOCK_STREAM, 0)));
	NEED(!(errno = demi_bind(ld, (void *)&me, len)));
	NEED(!(errno = demi_listen(ld, 4)));
	NEED(!(errno = demi_accept(&qt, ld)));
	f->ip = mine;
	NEED(!pthread_create(&thread, NULL, kernel_run, f));
	NEED(!(errno = demi_wait(&r, qt, &limit)));
	NEED(r.qr_opcode == DEMI_OPC_ACCEPT);
	qd = (int)r.qr_value.ares.qd;
	/* the kernel's end closes when it has all */
	if (!f->sends)
		NEED(!demi_sends(qd, f->bytes));
	NEED(!demi_receives(qd, f->sends ? f->bytes : 0));
	NEED(!demi_close(qd));
	pthread_join(thread, NULL);
	NEED(!f->line);
	NEED(!demi_close(ld));
	return 0;
}

/* DEMI_VIRTIO_MIB: about how much each way. */
static uint64_t bulk(void)
{
	const char *mib = getenv("DEMI_VIRTIO_MIB");

	return (mib ? strtoul(mib, NULL, 10) * 16 : 8) * PIECE;
}

TEST_F(offloads, tcp_sends)
{
	struct flow f = { .bytes = bulk() };
	struct seen s[2];

	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, tcp(variant->mine, &f));
	ASSERT_EQ(0, look(s));
	printf("# %u packets, %u segmented, the longest of %u bytes\n", s[OUT].packets, s[OUT].segmented,
	       s[OUT].longest);
	EXPECT_LT(10, s[OUT].segmented);
	EXPECT_LT(3000, s[OUT].longest);
	EXPECT_GT(f.bytes / 1400, s[OUT].packets);
}

TEST_F(offloads, tcp_receives)
{
	struct flow f = { .bytes = bulk(), .sends = true };
	struct seen s[2];

	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, tcp(variant->mine, &f));
	ASSERT_EQ(0, look(s));
	printf("# %u packets, %u merged, the longest of %u bytes\n", s[IN].packets, s[IN].segmented, s[IN].longest);
	EXPECT_LT(10, s[IN].segmented);
	EXPECT_LT(3000, s[IN].longest);
	EXPECT_GT(f.bytes / 1400, s[IN].packets);
}

TEST_HARNESS_MAIN
