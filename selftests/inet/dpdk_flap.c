/* SPDX-License-Identifier: MIT */
/* timeout: 180 */
/*
 * Much data both ways at once between the stack on a DPDK port and the kernel's TCP while the link between them goes
 * down and up and its MTU changes: all of it arrives, as it was, by the SHA-256 of what was sent and what came. The
 * kernel sends by less than the stack's MTU then, and drops what is longer than its own: the stack finds out (RFC
 * 4821). DEMI_BULK_MIB says how much, each way; 1,024 takes a minute or two.
 */
#include "bulk.h"
#include "dpdk_net.h"

#include <stdatomic.h>

#define BLOCK (1U << 20)

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

static struct sha sent[2], came[2]; /* by enum bulk_from */

static void make(enum bulk_from from, uint64_t pos, uint8_t *to, uint32_t len)
{
	uint64_t number = pos / BULK_PIECE;

	memcpy(to, block[from] + pos % BLOCK, len);
	if (len >= sizeof(number))
		memcpy(to, &number, sizeof(number));
	sha_add(&sent[from], to, len);
}

static void take(enum bulk_from from, uint64_t pos, const uint8_t *p, uint32_t len)
{
	(void)pos;
	sha_add(&came[from], p, len);
}

static struct bulk bulk = { .bytes = (SLOW ? 4ULL : 24ULL) << 20, .make = make, .came = take };

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

static void *kernel_side(void *arg)
{
	bulk_kernel(&bulk, *(int *)arg);
	return NULL;
}

static void test(int domain)
{
	static const char *const to[2] = { "to the stack", "to the kernel" };
	int listener = bulk_listen(domain), qd = bulk_connect(domain), conn = bulk_accept(listener);
	pthread_t kernel_thread, link_thread;
	char out[65], in[2][65];

	for (int i = 0; i < 2; i++) {
		sha_begin(&sent[i]);
		sha_begin(&came[i]);
	}
	over = false;
	bulk_start(&link_thread, flap, NULL);
	bulk_start(&kernel_thread, kernel_side, &conn);
	bulk_stack(&bulk, qd);
	OK(pthread_join(kernel_thread, NULL));
	over = true;
	OK(pthread_join(link_thread, NULL));
	printf("IPv%d: %u flaps, retransmitted %llu\n", domain == AF_INET ? 4 : 6, flaps,
	       (unsigned long long)counter("TcpRetransSegs"));
	for (int i = 0; i < 2; i++) {
		sha_end(&sent[i], out);
		sha_end(&came[i], in[i]);
		printf("  %s %s\n", to[i], out);
		CHECK(!strcmp(out, in[i]));
	}
	CHECK(strcmp(in[0], in[1]) && flaps > 0);
}

int main(void)
{
	const char *mib = getenv("DEMI_BULK_MIB");

	dpdk_or_skip();
	if (mib)
		bulk.bytes = strtoull(mib, NULL, 0) << 20;
	alarm(mib ? 1800 : 170);
	check_seed();
	for (uint32_t i = 0; i < 2 * BLOCK; i++)
		block[i / BLOCK][i % BLOCK] = (uint8_t)(rnd() >> 56);
	own_network();
	veth();
	write_file("/proc/sys/net/ipv6/conf/veth0/keep_addr_on_down", "1");
	ip("-6 addr replace fd09::1/64 dev %s nodad", "veth0"); /* what is kept was there after that */
	test(AF_INET);
	test(AF_INET6);
	return 0;
}
