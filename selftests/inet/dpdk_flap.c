/* SPDX-License-Identifier: MIT */
/* timeout: 180 */
/*
 * Much data both ways at once between the stack on a DPDK port and the kernel's TCP while the link between them goes
 * down and up and its MTU changes: all of it arrives, as it was, by the SHA-256 of what was sent and what came. The
 * kernel sends by less than the stack's MTU then, and drops what is longer than its own: the stack finds out (RFC
 * 4821). DEMI_BULK_MIB says how much, each way; 1,024 takes a minute or two.
 */
#include "dpdk_net.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define PORT 7000
#define PIECE 65536U
#define BLOCK (1U << 20)

static uint64_t bulk = (SLOW ? 4ULL : 24ULL) << 20;
static uint8_t block[2][BLOCK]; /* of the kernel, of the stack: random, repeated, each piece with its number */
static _Atomic(bool) over;
static _Atomic(unsigned int) flaps;

/* ---- SHA-256 by coreutils, of a stream ---- */

struct sha {
	FILE *pipe;
	char file[64];
};

static void sha_begin(struct sha *s)
{
	const char *tmp = getenv("TMPDIR");
	char cmd[120];
	int fd;

	CHECK(snprintf(s->file, sizeof(s->file), "%s/sha-XXXXXX", tmp ? tmp : "/tmp") < (int)sizeof(s->file));
	fd = mkstemp(s->file);
	CHECK(fd >= 0);
	close(fd);
	snprintf(cmd, sizeof(cmd), "exec sha256sum >%s", s->file);
	s->pipe = popen(cmd, "we");
	CHECK(s->pipe);
}

static void sha_add(struct sha *s, const void *p, size_t len)
{
	CHECK_EQ(fwrite(p, 1, len, s->pipe), len);
}

static void sha_end(struct sha *s, char hex[65])
{
	FILE *f;

	CHECK_EQ(pclose(s->pipe), 0);
	f = fopen(s->file, "r");
	CHECK(f && fread(hex, 1, 64, f) == 64);
	hex[64] = '\0';
	fclose(f);
	OK(unlink(s->file));
}

static char kernel_sent[65], kernel_got[65], own_sent[65], own_got[65];

/* The bytes at @pos of a side's stream, at most to the end of their piece. */
static uint32_t piece(int side, uint64_t pos, uint8_t *to)
{
	uint64_t n = bulk - pos < PIECE - pos % PIECE ? bulk - pos : PIECE - pos % PIECE;
	uint64_t number = pos / PIECE;

	memcpy(to, block[side] + pos % BLOCK, n);
	if (pos % PIECE == 0 && n >= sizeof(number))
		memcpy(to, &number, sizeof(number));
	return (uint32_t)n;
}

/* ---- the link ---- */

static void set_mtu(int fd, int mtu)
{
	struct ifreq r = { .ifr_name = "veth0", .ifr_mtu = mtu };

	OK(ioctl(fd, SIOCSIFMTU, &r));
}

static void set_up(int fd, bool up)
{
	struct ifreq r = { .ifr_name = "veth0" };

	OK(ioctl(fd, SIOCGIFFLAGS, &r));
	r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	OK(ioctl(fd, SIOCSIFFLAGS, &r));
}

/* Of IPv6 there is nothing on a link of less than 1,280 bytes. */
static void *flap(void *arg)
{
	static const int mtus[] = { 1400, 9000, 1500, 1280, 1500 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	for (unsigned int i = 0; !over; i++) {
		set_mtu(fd, mtus[i % (sizeof(mtus) / sizeof(mtus[0]))]);
		set_up(fd, false);
		sleep_ms(10);
		set_up(fd, true);
		flaps++;
		sleep_ms(300);
	}
	set_mtu(fd, 1500);
	close(fd);
	return NULL;
}

/* ---- the two sides: both send, and end, and read the other's end ---- */

static void *kernel_side(void *arg)
{
	static uint8_t out[PIECE], in[PIECE];
	int fd = *(int *)arg;
	uint64_t sent = 0, got = 0;
	uint32_t have = 0, at = 0;
	struct sha so, si;
	bool end = false;

	sha_begin(&so);
	sha_begin(&si);
	while (sent < bulk || !end) {
		struct pollfd p = { fd, (short)((end ? 0 : POLLIN) | (sent < bulk ? POLLOUT : 0)), 0 };
		ssize_t n;

		CHECK(poll(&p, 1, 100000) > 0);
		if (at == have && sent < bulk) {
			have = piece(0, sent, out);
			at = 0;
			sha_add(&so, out, have);
		}
		if (p.revents & POLLOUT && at < have) {
			n = send(fd, out + at, have - at, MSG_DONTWAIT | MSG_NOSIGNAL);
			CHECK(n >= 0 || errno == EAGAIN);
			at += n > 0 ? (uint32_t)n : 0;
			sent += n > 0 ? (uint64_t)n : 0;
			if (sent == bulk)
				OK(shutdown(fd, SHUT_WR));
		}
		if (p.revents & (POLLIN | POLLHUP)) {
			n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			CHECK(n >= 0 || errno == EAGAIN);
			if (n > 0)
				sha_add(&si, in, (size_t)n);
			got += n > 0 ? (uint64_t)n : 0;
			end = n == 0;
		}
	}
	CHECK_EQ(got, bulk);
	close(fd);
	sha_end(&so, kernel_sent);
	sha_end(&si, kernel_got);
	return NULL;
}

static void own_side(int qd)
{
	uint8_t *out = demi_malloc(PIECE);
	demi_qtoken_t qts[2] = { pop_start(qd), 0 };
	uint64_t sent = 0, got = 0;
	bool end = false, pushing = false;
	struct sha so, si;
	demi_qresult_t qr;
	uint32_t n;
	int at;

	CHECK(out);
	sha_begin(&so);
	sha_begin(&si);
	while (!end || sent < bulk || pushing) {
		if (!pushing && sent < bulk) {
			n = piece(1, sent, out);
			sha_add(&so, out, n);
			qts[1] = push_start(qd, out, n);
			sent += n;
			pushing = true;
			if (sent == bulk)
				OK(demi_shutdown(qd, SHUT_WR));
		}
		at = end;
		if (!end && pushing)
			OK(demi_wait_any(&qr, &at, qts, 2, NULL));
		else
			OK(demi_wait(&qr, qts[at], NULL));
		CHECK_EQ(qr.qr_opcode, at ? DEMI_OPC_PUSH : DEMI_OPC_POP);
		if (at) {
			pushing = false;
			continue;
		}
		n = qr.qr_value.sga.sga_segs[0].sgaseg_len;
		if (n)
			sha_add(&si, qr.qr_value.sga.sga_segs[0].sgaseg_buf, n);
		got += n;
		end = n == 0;
		OK(demi_sgafree(&qr.qr_value.sga));
		if (!end)
			qts[0] = pop_start(qd);
	}
	CHECK_EQ(got, bulk);
	demi_free(out);
	OK(demi_close(qd));
	sha_end(&so, own_sent);
	sha_end(&si, own_got);
}

/* The stack connects to the kernel, whose SYN is answered by the kernel without a thread of ours. */
static void test(int domain, const char *kernel)
{
	struct sockaddr_storage ss = { .ss_family = (sa_family_t)domain };
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0), conn, qd = -1;
	void *ip = domain == AF_INET ? (void *)&((struct sockaddr_in *)&ss)->sin_addr
				     : (void *)&((struct sockaddr_in6 *)&ss)->sin6_addr;
	socklen_t len = domain == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	pthread_t kernel_thread, link_thread;
	demi_qresult_t qr;
	demi_qtoken_t qt;

	((struct sockaddr_in *)&ss)->sin_port = htons(PORT);
	CHECK_EQ(inet_pton(domain, kernel, ip), 1);
	CHECK(fd >= 0);
	while (bind(fd, (struct sockaddr *)&ss, len)) { /* IPv6 addresses take a moment */
		CHECK_EQ(errno, EADDRNOTAVAIL);
		sleep_ms(20);
	}
	OK(listen(fd, 1));
	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	conn = accept(fd, NULL, NULL);
	CHECK(conn >= 0);
	close(fd);
	over = false;
	OK(pthread_create(&link_thread, NULL, flap, NULL));
	OK(pthread_create(&kernel_thread, NULL, kernel_side, &conn));
	own_side(qd);
	OK(pthread_join(kernel_thread, NULL));
	over = true;
	OK(pthread_join(link_thread, NULL));
	printf("IPv%d: %u flaps, retransmitted %llu\n", domain == AF_INET ? 4 : 6, flaps,
	       (unsigned long long)counter("TcpRetransSegs"));
	printf("  to the stack %s, to the kernel %s\n", kernel_sent, own_sent);
	CHECK(!strcmp(kernel_sent, own_got));
	CHECK(!strcmp(own_sent, kernel_got));
	CHECK(strcmp(own_sent, kernel_sent) && flaps > 0);
}

int main(void)
{
	const char *mib = getenv("DEMI_BULK_MIB");

	dpdk_or_skip();
	if (mib)
		bulk = strtoull(mib, NULL, 0) << 20;
	alarm(mib ? 1800 : 170);
	check_seed();
	for (uint32_t i = 0; i < 2 * BLOCK; i++)
		block[i / BLOCK][i % BLOCK] = (uint8_t)(rnd() >> 56);
	own_network();
	veth();
	write_file("/proc/sys/net/ipv6/conf/veth0/keep_addr_on_down", "1");
	ip("-6 addr replace fd09::1/64 dev %s nodad", "veth0"); /* what is kept was there after that */
	test(AF_INET, "10.9.0.1");
	test(AF_INET6, "fd09::1");
	return 0;
}
