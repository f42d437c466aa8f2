// SPDX-License-Identifier: MIT
/* uses: libdemi.a, modules: sch_tbf */
/*
 * UDP through libdemi's ring backend and the module: to and from kernel sockets and other demi queues on this host,
 * every size, IPv4 and IPv6, sleeping, from several threads, and as an ordinary user with little memory to lock.
 */
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kdev/kdev.h"

#include "kselftest_harness.h"

#include "need.h"

union address {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t loopback(union address *a, int family, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = family;
	if (family == AF_INET) {
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a->v4.sin_port = port;
		return sizeof(a->v4);
	}
	a->v6.sin6_addr = in6addr_loopback;
	a->v6.sin6_port = port;
	return sizeof(a->v6);
}

static void pattern(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 2654435761u + seed) >> 11);
}

static bool is_pattern(const uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != (uint8_t)((i * 2654435761u + seed) >> 11))
			return false;
	return true;
}

static const size_t sizes[] = { 0, 1, 64, 1000, 1472, 1473, 1944, 2048, 8000, 30000, 65487 };

#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

static int kernel_socket(int family, union address *me)
{
	struct timeval limit = { .tv_sec = 60 };
	socklen_t len = loopback(me, family, 0);
	int fd = socket(family, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, &me->sa, len) || getsockname(fd, &me->sa, &len) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return -1;
	return fd;
}

static int demi_bound(int family, union address *me)
{
	socklen_t len = loopback(me, family, 0);
	int qd;

	errno = demi_socket(&qd, family, SOCK_DGRAM, 0);
	if (!errno)
		errno = demi_bind(qd, &me->sa, len);
	if (!errno)
		errno = demi_getsockname(qd, &me->sa, &len);
	return errno ? -1 : qd;
}

static int pop_one(int qd, size_t len, unsigned int seed, const union address *from)
{
	static const struct timespec limit = { 60, 0 };
	struct sockaddr_storage ss;
	socklen_t ss_len = sizeof(ss);
	demi_qtoken_t qt;
	demi_qresult_t r;
	size_t at = 0;

	NEED(!(errno = demi_pop(&qt, qd)));
	NEED(!(errno = demi_wait(&r, qt, &limit)));
	NEED(r.qr_opcode == DEMI_OPC_POP && !r.qr_ret);
	for (uint32_t i = 0; i < r.qr_value.sga.sga_numsegs; i++)
		at += r.qr_value.sga.sga_segs[i].sgaseg_len;
	NEED(at == len && r.qr_value.sga.sga_numsegs == 1);
	NEED(is_pattern(r.qr_value.sga.sga_segs[0].sgaseg_buf, len, seed));
	NEED(!(errno = demi_sga_addr(&r.qr_value.sga, &ss, &ss_len)));
	NEED(ss.ss_family == from->sa.sa_family);
	if (ss.ss_family == AF_INET)
		NEED(((struct sockaddr_in *)&ss)->sin_port == from->v4.sin_port);
	else
		NEED(((struct sockaddr_in6 *)&ss)->sin6_port == from->v6.sin6_port);
	demi_sgafree(&r.qr_value.sga);
	return 0;
}

static int push_one(int qd, size_t len, unsigned int seed, const union address *to)
{
	demi_sgarray_t sga = demi_sgaalloc(len ? len : 1);
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(sga.sga_numsegs == 1);
	sga.sga_segs[0].sgaseg_len = (uint32_t)len;
	pattern(sga.sga_segs[0].sgaseg_buf, len, seed);
	NEED(!(errno = demi_pushto(&qt, qd, &sga, &to->sa,
				   to->sa.sa_family == AF_INET ? sizeof(to->v4) : sizeof(to->v6))));
	demi_sgafree(&sga);
	NEED(!(errno = demi_wait(&r, qt, NULL)));
	errno = (int)r.qr_ret;
	NEED(r.qr_opcode == DEMI_OPC_PUSH && !r.qr_ret);
	return 0;
}

/* A kernel socket and a demi queue, both ways. */
static int with_kernel(int family, int rounds)
{
	static __thread uint8_t buf[65536];
	union address k, d;
	int fd = kernel_socket(family, &k), qd = demi_bound(family, &d), err;
	socklen_t len = family == AF_INET ? sizeof(d.v4) : sizeof(d.v6);

	NEED(fd >= 0 && qd > 0);
	for (int i = 0; i < rounds; i++) {
		size_t n = sizes[i % NSIZES];

		pattern(buf, n, i);
		NEED(sendto(fd, buf, n, 0, &d.sa, len) == (ssize_t)n);
		err = pop_one(qd, n, i, &k);
		if (err)
			return err;
		err = push_one(qd, n, i + 7, &k);
		if (err)
			return err;
		NEED(recv(fd, buf, sizeof(buf), 0) == (ssize_t)n);
		NEED(is_pattern(buf, n, i + 7));
	}
	NEED(!demi_close(qd) && !close(fd));
	return 0;
}

/* Two demi queues. */
static int with_demi(int family, int rounds)
{
	union address a, b;
	int qa = demi_bound(family, &a), qb = demi_bound(family, &b);
	int err = 0;

	NEED(qa > 0 && qb > 0);
	for (int i = 0; i < rounds && !err; i++) {
		size_t n = sizes[i % NSIZES];

		err = push_one(qa, n, i, &b);
		if (!err)
			err = pop_one(qb, n, i, &a);
		if (!err)
			err = push_one(qb, n, i + 1, &a);
		if (!err)
			err = pop_one(qa, n, i + 1, &b);
	}
	NEED(!demi_close(qa) && !demi_close(qb));
	return err;
}

FIXTURE(ring)
{
	int unused;
};

FIXTURE_SETUP(ring)
{
	setenv("DEMI_LIBOS", "ring", 1);
	setenv("DEMI_LOG", "warn", 1);
}

FIXTURE_TEARDOWN(ring)
{
}

TEST_F(ring, ipv4_kernel)
{
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, with_kernel(AF_INET, 3 * NSIZES));
}

TEST_F(ring, ipv6_kernel)
{
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, with_kernel(AF_INET6, 3 * NSIZES));
}

TEST_F(ring, ipv4_demi)
{
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, with_demi(AF_INET, 2 * NSIZES));
}

TEST_F(ring, ipv6_demi)
{
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, with_demi(AF_INET6, 2 * NSIZES));
}

/* Without spinning every wait sleeps: what wakes it is the queue's file. */
TEST_F(ring, sleep)
{
	uint64_t sleeps = 0;

	setenv("DEMI_SPIN_US", "0", 1);
	ASSERT_EQ(0, demi_init(NULL));
	{
		static const struct timespec limit = { 60, 0 };
		union address k, d;
		int fd = kernel_socket(AF_INET, &k), qd = demi_bound(AF_INET, &d), i;
		demi_qtoken_t qt;
		demi_qresult_t r;
		pid_t echo;

		ASSERT_GE(fd, 0);
		ASSERT_GT(qd, 0);
		echo = fork();
		if (!echo) { /* answers each datagram, late */
			union address from;
			socklen_t len = sizeof(from);
			char c;

			while (recvfrom(fd, &c, 1, 0, &from.sa, &len) == 1) {
				usleep(20000);
				sendto(fd, &c, 1, 0, &from.sa, len);
			}
			_exit(0);
		}
		for (i = 0; i < 20; i++) {
			ASSERT_EQ(0, demi_pop(&qt, qd));
			ASSERT_EQ(0, push_one(qd, 1, i, &k));
			ASSERT_EQ(0, demi_wait(&r, qt, &limit));
			ASSERT_EQ(DEMI_OPC_POP, r.qr_opcode);
			ASSERT_TRUE(is_pattern(r.qr_value.sga.sga_segs[0].sgaseg_buf, 1, i));
			demi_sgafree(&r.qr_value.sga);
		}
		kill(echo, SIGKILL);
		waitpid(echo, NULL, 0);
	}
	ASSERT_EQ(0, demi_counter(&sleeps, "sleeps"));
	ASSERT_GE(sleeps, 20);
}

/* Bursts longer than the rings: the library waits for room, nothing is lost on the way out. */
TEST_F(ring, burst)
{
	enum { N = 3000 };
	static demi_qtoken_t qts[N];
	int size = 32 << 20, i, got = 0;
	union address k, d;
	demi_qresult_t r;
	char buf[100];
	int fd, qd;

	ASSERT_EQ(0, demi_init(NULL));
	fd = kernel_socket(AF_INET, &k);
	qd = demi_bound(AF_INET, &d);
	ASSERT_GE(fd, 0);
	ASSERT_GT(qd, 0);
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)));
	for (i = 0; i < N; i++) {
		demi_sgarray_t sga = demi_sgaalloc(100);

		ASSERT_EQ(1, sga.sga_numsegs);
		pattern(sga.sga_segs[0].sgaseg_buf, 100, i);
		ASSERT_EQ(0, demi_pushto(&qts[i], qd, &sga, &k.sa, sizeof(k.v4)));
		demi_sgafree(&sga);
	}
	for (i = 0; i < N; i++) {
		ASSERT_EQ(0, demi_wait(&r, qts[i], NULL));
		ASSERT_EQ(0, r.qr_ret);
	}
	while (got < N && recv(fd, buf, sizeof(buf), 0) == 100) {
		ASSERT_TRUE(is_pattern((uint8_t *)buf, 100, got));
		got++;
	}
	ASSERT_EQ(N, got);
}

/* The only queue there is. */
static int counters_of_queue(struct demi_queue_counters *count)
{
	struct demi_queue_info info;
	uint32_t *ids, n;
	int fd = demi_kdev_open(NULL);

	NEED(fd >= 0 && !demi_kdev_ids(fd, DEMI_QUEUE_LIST, &ids, &n));
	NEED(n == 1 && !demi_kdev_queue_info(fd, ids[0], &info));
	*count = info.counters;
	free(ids);
	return close(fd);
}

/* In another process: take @n datagrams of @len in order, then answer the last with one of one byte. */
static pid_t answer_after(int fd, int n, size_t len)
{
	static uint8_t buf[2048];
	pid_t pid = fork();
	union address from;
	socklen_t from_len;

	if (pid)
		return pid;
	for (int i = 0; i < n; i++) {
		from_len = sizeof(from);
		if (recvfrom(fd, buf, sizeof(buf), 0, &from.sa, &from_len) != (ssize_t)len || !is_pattern(buf, len, i))
			_exit(1);
	}
	pattern(buf, 1, n);
	_exit(sendto(fd, buf, 1, 0, &from.sa, from_len) != 1);
}

#define SHAPED(how, rate) "tc qdisc " how " dev lo root tbf rate " rate " burst 32kb limit 4mb"

/* A process of its own: once the kernel has stopped at a full send buffer, the network becomes faster. */
static pid_t faster_when_full(void)
{
	struct demi_queue_counters count = { .tx_again = 0 };
	pid_t pid = fork();

	if (pid)
		return pid;
	while (!count.tx_again) {
		if (counters_of_queue(&count))
			_exit(1);
		usleep(10000);
	}
	_exit(system(SHAPED("change", "1mbit")) != 0);
}

/*
 * A network slower than the sender. The kernel stops at a full send buffer with frames still in the ring; the library,
 * which does not spin, sleeps. Nothing arrives that could wake it but the kernel's word that there is room: the answer
 * is sent only after the last datagram has come.
 */
TEST_F(ring, send_buffer)
{
	enum { N = 250, LEN = 1000 };
	static const struct timespec limit = { 60, 0 };
	static demi_qtoken_t qts[N];
	struct demi_queue_counters count;
	int fd, qd, i, status, size = 4 << 20;
	demi_qtoken_t answer;
	uint64_t sleeps = 0;
	union address k, d;
	demi_qresult_t r;
	pid_t pid, faster;

	setenv("DEMI_SPIN_US", "0", 1);
	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	if (system("ip link set lo up && " SHAPED("add", "8kbit")))
		SKIP(return, "no tbf");
	fd = kernel_socket(AF_INET, &k);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)));
	pid = answer_after(fd, N, LEN);
	ASSERT_LT(0, pid);

	ASSERT_EQ(0, demi_init(NULL));
	qd = demi_bound(AF_INET, &d);
	ASSERT_GT(qd, 0);
	faster = faster_when_full();
	ASSERT_LT(0, faster);
	ASSERT_EQ(0, demi_pop(&answer, qd));
	for (i = 0; i < N; i++) {
		demi_sgarray_t sga = demi_sgaalloc(LEN);

		ASSERT_EQ(1, sga.sga_numsegs);
		pattern(sga.sga_segs[0].sgaseg_buf, LEN, i);
		ASSERT_EQ(0, demi_pushto(&qts[i], qd, &sga, &k.sa, sizeof(k.v4)));
		demi_sgafree(&sga);
	}
	for (i = 0; i < N; i++) {
		ASSERT_EQ(0, demi_wait(&r, qts[i], &limit));
		ASSERT_EQ(0, r.qr_ret);
	}
	ASSERT_EQ(0, demi_wait(&r, answer, &limit));
	ASSERT_EQ(DEMI_OPC_POP, r.qr_opcode);
	EXPECT_TRUE(is_pattern(r.qr_value.sga.sga_segs[0].sgaseg_buf, 1, N));
	demi_sgafree(&r.qr_value.sga);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(faster, waitpid(faster, &status, 0));
	EXPECT_EQ(0, status);

	ASSERT_EQ(0, demi_counter(&sleeps, "sleeps"));
	EXPECT_LT(0, sleeps);
	ASSERT_EQ(0, counters_of_queue(&count));
	EXPECT_LT(0, count.tx_again);
	EXPECT_EQ(N, count.tx_frames);
	EXPECT_EQ(0, count.tx_dropped);
}

static void *thread(void *arg)
{
	int err = demi_init(NULL);

	if (!err)
		err = with_kernel(AF_INET, NSIZES);
	return (void *)(intptr_t)err;
}

/* Contexts of one process share its context of the module. */
TEST_F(ring, threads)
{
	pthread_t threads[4];
	void *err;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, thread, NULL));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &err));
		ASSERT_EQ(NULL, err);
	}
}

/* An ordinary user, with what a distribution lets him lock, and with less. */
static int as_nobody(rlim_t memlock, int rounds)
{
	struct rlimit limit = { memlock, memlock };

	NEED(!setrlimit(RLIMIT_MEMLOCK, &limit));
	NEED(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	NEED(!(errno = demi_init(NULL)));
	return with_kernel(AF_INET, rounds);
}

TEST_F(ring, nobody_8_mib)
{
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, as_nobody(8 << 20, 3 * NSIZES));
}

TEST_F(ring, nobody_1_mib)
{
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, as_nobody(1 << 20, 3 * NSIZES));
}

/* No memory at all: an error, and no more. */
TEST_F(ring, nobody_nothing)
{
	struct rlimit limit = { 4096, 4096 };

	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, setgroups(0, NULL));
	ASSERT_EQ(0, setresgid(65534, 65534, 65534));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	ASSERT_EQ(ENOMEM, demi_init(NULL));
}

/* Errors of the way out arrive at the push. */
TEST_F(ring, unreachable)
{
	union address d, to = { .v4 = { .sin_family = AF_INET, .sin_port = htons(9) } };
	demi_sgarray_t sga;
	demi_qtoken_t qt;
	demi_qresult_t r;
	int qd, err;

	ASSERT_EQ(0, demi_init(NULL));
	qd = demi_bound(AF_INET, &d);
	ASSERT_GT(qd, 0);
	to.v4.sin_addr.s_addr = inet_addr("240.0.0.1");
	sga = demi_sgaalloc(10);
	err = demi_pushto(&qt, qd, &sga, &to.sa, sizeof(to.v4));
	if (!err) {
		ASSERT_EQ(0, demi_wait(&r, qt, NULL));
		ASSERT_EQ(DEMI_OPC_FAILED, r.qr_opcode);
		err = (int)r.qr_ret;
	}
	ASSERT_TRUE(err == ENETUNREACH || err == EINVAL || err == EHOSTUNREACH || err == EACCES);
}

TEST_HARNESS_MAIN
