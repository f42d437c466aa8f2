// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 1600 */
/*
 * A process that polls makes no system call and gets no interrupt, however many packets it sends back: counted by the
 * kernel, from outside. And one that sleeps, its address announced, takes no processor time until an interrupt comes.
 *
 * DEMI_VIRTIO_PACKETS says how many are echoed, DEMI_VIRTIO_IDLE_S how long is slept.
 */
#include <demi/demi.h>

#include <linux/perf_event.h>
#include <netinet/if_ether.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "kselftest_harness.h"

#include "virtio_test.h"

#include "../kmod/machine.h"

#define MINE "10.9.0.3"
#define PORT 5001
#define PAYLOAD 64
#define WINDOW 128
#define WARM 4096
#define PACKETS 20000
#define PACKETS_DEBUG 512 /* on the debug kernel, each takes milliseconds */
#define ANNOUNCEMENTS 2 /* RFC 5227 1.1 */

/* ---- the library's process ---- */

struct server {
	pid_t pid;
	_Atomic uint64_t echoed;
	atomic_int err; /* -1: serves */
};

static int serve(struct server *s, int qd)
{
	static const struct timespec once;
	demi_qresult_t r, pushed;
	struct sockaddr_in from;
	demi_qtoken_t qt;
	int err = demi_pop(&qt, qd);

	while (!err) {
		while ((err = demi_wait(&r, qt, &once)) == ETIMEDOUT)
			;
		if (!err && r.qr_opcode != DEMI_OPC_POP)
			err = (int)r.qr_ret;
		memcpy(&from, &r.qr_value.sga.sga_addr, sizeof(from));
		if (!err)
			err = demi_pushto(&qt, qd, &r.qr_value.sga, (void *)&from, sizeof(from));
		while (!err && (err = demi_wait(&pushed, qt, &once)) == ETIMEDOUT)
			err = 0;
		if (!err)
			err = demi_sgafree(&r.qr_value.sga);
		if (!err)
			err = demi_pop(&qt, qd);
		atomic_fetch_add_explicit(&s->echoed, 1, memory_order_relaxed);
	}
	return err;
}

/* Asleep in a wait without end; and again after each datagram. */
static int sleep_on(struct server *s, int qd)
{
	demi_qresult_t r;
	demi_qtoken_t qt;
	int err = demi_pop(&qt, qd);

	while (!err && !(err = demi_wait(&r, qt, NULL))) {
		err = demi_sgafree(&r.qr_value.sga);
		if (!err)
			err = demi_pop(&qt, qd);
		atomic_fetch_add(&s->echoed, 1);
	}
	return err;
}

static int work(struct server *s, const char *libos, const char *ip, int (*how)(struct server *s, int qd))
{
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip), .sin_port = htons(PORT) };
	struct rlimit memlock = { 8 << 20, 8 << 20 };
	int qd, err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("DEMI_LIBOS", libos, 1);
	setenv("DEMI_LOG", "warn", 1);
	setenv("DEMI_INET_ADDR", MINE "/24", 1);
	setenv("DEMI_INET_DAD", "off", 1); /* announced within two seconds */
	if (setrlimit(RLIMIT_MEMLOCK, &memlock) || vt_become_owner())
		return errno;
	err = demi_init(NULL);
	if (!err)
		err = demi_socket(&qd, AF_INET, SOCK_DGRAM, 0);
	if (!err)
		err = demi_bind(qd, (void *)&me, sizeof(me));
	if (err)
		return err;
	atomic_store(&s->err, -1);
	return how(s, qd);
}

static struct server *start(const char *libos, const char *ip, int (*how)(struct server *s, int qd))
{
	struct server *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pid_t pid;

	if (s == MAP_FAILED)
		return NULL;
	pid = fork();
	if (!pid) {
		s->err = work(s, libos, ip, how);
		_exit(1);
	}
	s->pid = pid;
	for (int waited = 0; pid > 0 && !s->err && waited < VT_PATIENCE_MS; waited += 10)
		usleep(10000);
	if (s->err >= 0)
		fprintf(stderr, "# the library's process: %s\n", strerror(s->err));
	return s->err < 0 ? s : NULL;
}

static void stop(struct server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	munmap(s, sizeof(*s));
}

/* ---- the kernel's end ---- */

static int client(const char *ip)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(VT_THERE) };
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip), .sin_port = htons(PORT) };
	struct timeval patience = { .tv_sec = 30 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&here, sizeof(here)) || connect(fd, (void *)&there, sizeof(there)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		return -1;
	return fd;
}

/* @n datagrams there and back, WINDOW of them under way, and each comes back as it was. */
static int echo(int fd, uint64_t n)
{
	static uint64_t out[WINDOW][PAYLOAD / 8], back[WINDOW][PAYLOAD / 8];
	struct mmsghdr send[WINDOW] = { 0 }, recv[WINDOW] = { 0 };
	struct iovec from[WINDOW], to[WINDOW];

	for (int i = 0; i < WINDOW; i++) {
		from[i] = (struct iovec){ out[i], PAYLOAD };
		to[i] = (struct iovec){ back[i], PAYLOAD };
		send[i].msg_hdr = (struct msghdr){ .msg_iov = &from[i], .msg_iovlen = 1 };
		recv[i].msg_hdr = (struct msghdr){ .msg_iov = &to[i], .msg_iovlen = 1 };
	}
	for (uint64_t at = 0; at < n; at += WINDOW) {
		int m = n - at < WINDOW ? (int)(n - at) : WINDOW;

		for (int i = 0; i < m; i++)
			for (int k = 0; k < PAYLOAD / 8; k++)
				out[i][k] = (at + (uint64_t)i) * 0x9e3779b97f4a7c15ull + (uint64_t)k;
		if (sendmmsg(fd, send, (unsigned int)m, 0) != m)
			return __LINE__;
		for (int i = 0; i < m;) {
			int got = recvmmsg(fd, recv + i, (unsigned int)(m - i), MSG_WAITFORONE, NULL);

			if (got <= 0)
				return __LINE__;
			for (int k = i; k < i + got; k++)
				if (recv[k].msg_len != PAYLOAD || memcmp(out[k], back[k], PAYLOAD))
					return __LINE__;
			i += got;
		}
	}
	return 0;
}

/* The first of all, which has to wait until each end has found the other's address. */
static int meet(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char back[8];

	for (int waited = 0; waited < VT_PATIENCE_MS; waited += 1000)
		if (send(fd, "meet", 4, 0) == 4 && poll(&p, 1, 1000) == 1) {
			usleep(VT_QUIET_MS * 1000);
			while (recv(fd, back, sizeof(back), MSG_DONTWAIT) == 4)
				;
			return 0;
		}
	return __LINE__;
}

/* What arrives there of ARP. */
static int listen_to_arp(void)
{
	struct timeval patience = { .tv_sec = 30 };
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));

	return fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ? -1 : fd;
}

/* Until @ip has been announced as often as it will be: requests whose sender asks for its own address. */
static int announced(int fd, const char *ip)
{
	in_addr_t want = inet_addr(ip);
	struct ether_arp arp;
	int n = 0;

	while (n < ANNOUNCEMENTS) {
		if (recv(fd, &arp, sizeof(arp), 0) < (ssize_t)sizeof(arp))
			return __LINE__;
		n += !memcmp(arp.arp_spa, &want, sizeof(want)) && !memcmp(arp.arp_tpa, &want, sizeof(want));
	}
	return 0;
}

/* ---- what the kernel counts ---- */

/* The system calls of @pid from now on: a counter to be read. */
static int count_syscalls(pid_t pid)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .inherit = 1 };
	FILE *f = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "re");
	int ok = f ? fscanf(f, "%llu", &attr.config) : 0;

	if (f)
		fclose(f);
	return ok == 1 ? (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC) : -1;
}

static uint64_t counted(int fd)
{
	uint64_t n = UINT64_MAX;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : UINT64_MAX;
}

/* Interrupts of the function, on all processors. */
static uint64_t count_irqs(void)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char line[1024], *p, *end;
	uint64_t n = f ? 0 : UINT64_MAX;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, getenv("DEMI_VIRTIO_PCI")))
			continue;
		for (p = strchr(line, ':') + 1;; p = end) {
			uint64_t v = strtoull(p, &end, 10);

			if (end == p)
				break;
			n += v;
		}
	}
	if (f)
		fclose(f);
	return n;
}

/* ---- tests ---- */

FIXTURE(polling)
{
	struct server *s;
};

FIXTURE_SETUP(polling)
{
	self->s = NULL;
}

FIXTURE_TEARDOWN(polling)
{
	if (self->s)
		stop(self->s);
}

TEST_F_TIMEOUT(polling, no_system_call_no_interrupt, 1500)
{
	uint64_t n = kmod_amount("DEMI_VIRTIO_PACKETS", PACKETS, PACKETS_DEBUG), calls, irqs, echoed;
	struct server *s = self->s = start("virtio", MINE, serve);
	int fd = client(MINE), counter;

	ASSERT_NE(NULL, s);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, meet(fd));
	ASSERT_EQ(0, echo(fd, n < WARM ? n : WARM));
	counter = count_syscalls(s->pid);
	ASSERT_LE(0, counter);
	echoed = s->echoed;
	irqs = count_irqs();
	calls = counted(counter);
	ASSERT_EQ(0, echo(fd, n));
	calls = counted(counter) - calls;
	irqs = count_irqs() - irqs;
	EXPECT_LE(n, s->echoed - echoed);
	printf("# figure virtio_packets %llu\n# figure virtio_syscalls %llu\n# figure virtio_irqs %llu\n",
	       (unsigned long long)n, (unsigned long long)calls, (unsigned long long)irqs);
	fflush(stdout);
	EXPECT_EQ(0, calls);
	EXPECT_EQ(0, irqs);
}

/* The counters do count: who sleeps makes calls and is woken by interrupts. */
TEST_F(polling, asleep_it_is_counted)
{
	struct server *s = self->s = start("virtio", MINE, sleep_on);
	int fd = client(MINE), counter;
	uint64_t calls, irqs;

	ASSERT_NE(NULL, s);
	counter = count_syscalls(s->pid);
	ASSERT_LE(0, counter);
	calls = counted(counter);
	irqs = count_irqs();
	ASSERT_EQ(5, send(fd, "hello", 5, 0));
	for (int waited = 0; !s->echoed && waited < VT_PATIENCE_MS; waited += 10)
		usleep(10000);
	EXPECT_EQ(1, atomic_load(&s->echoed));
	EXPECT_LT(0, counted(counter) - calls);
	EXPECT_LT(0, count_irqs() - irqs);
}

/* Nanoseconds that the process has run. */
static uint64_t ran_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return UINT64_MAX;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* How much of a processor a process takes that waits, in percent; then it is woken. @own: the address is its own. */
static double idle_pct(const char *libos, const char *ip, bool own)
{
	unsigned int seconds = kmod_amount("DEMI_VIRTIO_IDLE_S", 2, 2);
	int fd = client(ip), arp = listen_to_arp();
	struct server *s = start(libos, ip, sleep_on);
	uint64_t ran;

	if (!s || fd < 0 || arp < 0 || (own && announced(arp, ip)))
		return 100;
	sleep(1); /* it has gone to sleep */
	ran = ran_ns(s->pid);
	sleep(seconds);
	ran = ran_ns(s->pid) - ran;
	if (s->echoed || send(fd, "hello", 5, 0) != 5)
		return 100;
	for (int waited = 0; !s->echoed && waited < VT_PATIENCE_MS; waited += 10)
		usleep(10000);
	if (s->echoed != 1)
		return 100;
	close(arp);
	close(fd);
	stop(s);
	return (double)ran / 1e7 / seconds;
}

/* 50: a process that polls takes all there is. What little a sleeping one takes is a figure, and no test's business. */
TEST_F(polling, asleep_it_takes_no_processor)
{
	double ring = idle_pct("ring", VT_THERE, false), virtio = idle_pct("virtio", MINE, true);

	printf("# figure ring_idle_cpu_pct_flow %g\n# figure ring_idle_cpu_pct_virtio %g\n", ring, virtio);
	fflush(stdout);
	EXPECT_GT(50, ring);
	EXPECT_GT(50, virtio);
}

TEST_HARNESS_MAIN
