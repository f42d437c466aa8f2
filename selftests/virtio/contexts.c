// SPDX-License-Identifier: MIT
/* uses: libdemi.a, devices: virtio-tap, timeout: 200 */
/*
 * Two threads of one process, each with a context and so with a pair of one function's rings: the kernel's stack at the
 * other end has many flows with each, of which many arrive at the wrong pair; all are answered.
 */
#include <linux/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "kselftest_harness.h"

#include "library_test.h"

#define THREADS 2
#define FLOWS 24
#define CONNECTIONS 8
#define BYTES 4000

#define FLOOD 1000

static pthread_barrier_t barrier, away;

/* ---- the library's end ---- */

struct server {
	int number;
	int line; /* where it failed; 0 */
	atomic_bool stays_away; /* for two turns of the barrier */
	atomic_bool ends;
	int flood[FLOWS]; /* open for what it answers */
};

/* Everything that comes is sent back, until the other end is content. */
static int serve(struct server *s)
{
	static const struct timespec slice = { 0, 20000000 };
	demi_qtoken_t qts[2 + 4 * CONNECTIONS];
	int udp = demi_bound(SOCK_DGRAM, (uint16_t)(5001 + s->number));
	int listener = demi_bound(SOCK_STREAM, (uint16_t)(7001 + s->number));
	int other = demi_bound(SOCK_DGRAM, 0), n = 2, i;
	struct sockaddr_in from;
	demi_qresult_t r;

	NEED(udp > 0 && listener > 0 && other > 0);
	NEED(!(errno = demi_listen(listener, CONNECTIONS)));
	NEED(!(errno = demi_pop(&qts[0], udp)));
	NEED(!(errno = demi_accept(&qts[1], listener)));
	pthread_barrier_wait(&barrier);
	/* what the other thread has is taken */
	NEED(demi_bound(SOCK_DGRAM, (uint16_t)(5001 + !s->number)) < 0 && errno == EADDRINUSE);
	while (!atomic_load(&s->ends)) {
		int err = demi_wait_any(&r, &i, qts, n, &slice), qd;

		if (atomic_exchange(&s->stays_away, false)) {
			pthread_barrier_wait(&away);
			pthread_barrier_wait(&away);
		}
		if (err == ETIMEDOUT)
			continue;
		errno = err;
		NEED(!err);
		if (r.qr_opcode == DEMI_OPC_ACCEPT) {
			NEED(n < 2 + 4 * CONNECTIONS);
			NEED(!(errno = demi_accept(&qts[1], listener)));
			NEED(!(errno = demi_pop(&qts[n++], (int)r.qr_value.ares.qd)));
			continue;
		}
		NEED(r.qr_opcode == DEMI_OPC_POP);
		errno = (int)r.qr_ret;
		NEED(!r.qr_ret);
		qd = r.qr_qd;
		if (qd != udp && !r.qr_value.sga.sga_segs[0].sgaseg_len) {
			demi_sgafree(&r.qr_value.sga);
			NEED(!demi_close(qd));
			qts[i] = qts[--n];
			continue;
		}
		from = r.qr_value.sga.sga_addr;
		err = push(qd, r.qr_value.sga.sga_segs[0].sgaseg_buf, r.qr_value.sga.sga_segs[0].sgaseg_len,
			   qd == udp ? &from : NULL);
		demi_sgafree(&r.qr_value.sga);
		if (err)
			return err;
		NEED(!(errno = demi_pop(&qts[i], qd)));
	}
	return 0;
}

static void *server_run(void *arg)
{
	struct server *s = arg;
	int err = demi_init(NULL);

	s->line = err ? -err : serve(s);
	return NULL;
}

/* ---- the kernel's ---- */

static int client_socket(int type, uint16_t port)
{
	struct sockaddr_in there = address(MINE, port);
	int fd = kernel_socket(type, 0);

	if (fd >= 0 && connect(fd, (void *)&there, sizeof(there))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int datagrams(uint16_t port, size_t bytes)
{
	static uint8_t out[BYTES], back[BYTES];

	for (unsigned int i = 0; i < FLOWS; i++) {
		int fd = client_socket(SOCK_DGRAM, port);

		NEED(fd >= 0);
		pattern(out, bytes, i);
		NEED(send(fd, out, bytes, 0) == (ssize_t)bytes);
		NEED(recv(fd, back, sizeof(back), 0) == (ssize_t)bytes);
		NEED(!memcmp(out, back, bytes));
		close(fd);
	}
	return 0;
}

static int connections(uint16_t port)
{
	static uint8_t out[BYTES], back[BYTES];

	for (unsigned int i = 0; i < CONNECTIONS; i++) {
		int fd = client_socket(SOCK_STREAM, port);
		size_t got = 0;

		NEED(fd >= 0);
		pattern(out, sizeof(out), i);
		NEED(send(fd, out, sizeof(out), 0) == sizeof(out));
		while (got < sizeof(back)) {
			ssize_t n = recv(fd, back + got, sizeof(back) - got, 0);

			NEED(n > 0);
			got += (size_t)n;
		}
		NEED(!memcmp(out, back, sizeof(out)));
		close(fd);
	}
	return 0;
}

/* More datagrams to one who stays away than its ring has buffers. Of these its socket keeps some. */
static int flood(struct server *s)
{
	pthread_barrier_init(&away, NULL, 2);
	atomic_store(&s->stays_away, true);
	pthread_barrier_wait(&away);
	for (unsigned int i = 0; i < FLOWS; i++) {
		s->flood[i] = client_socket(SOCK_DGRAM, (uint16_t)(5001 + s->number));
		NEED(s->flood[i] >= 0);
		for (unsigned int k = 0; k < FLOOD / FLOWS; k++)
			NEED(send(s->flood[i], &k, sizeof(k), 0) == sizeof(k));
	}
	pthread_barrier_wait(&away);
	return 0;
}

/* ---- a segment in fragments ---- */

#define SEGMENT_FROM 9001

static uint16_t sum(const void *p, size_t len, uint32_t s)
{
	for (const uint8_t *b = p; len > 1; b += 2, len -= 2)
		s += (uint32_t)(b[0] << 8 | b[1]);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

/* Of a connection that there is not: the first eight bytes behind the header come for themselves. */
static int send_segment(int raw, uint16_t port)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
		uint8_t data[12];
	} whole = { .tcp = { .source = htons(SEGMENT_FROM),
			     .dest = htons(port),
			     .seq = htonl(1),
			     .ack_seq = htonl(2),
			     .doff = 5,
			     .ack = 1 } };
	const size_t len = sizeof(whole) - sizeof(whole.ip), cut = 24;
	struct sockaddr_in to = address(MINE, 0);
	uint8_t part[sizeof(whole)];
	struct iphdr *ip = (void *)part;
	uint32_t from = ntohl(inet_addr(VT_THERE)), dst = ntohl(inet_addr(MINE));

	whole.tcp.check =
		htons(sum(&whole.tcp, len,
			  (from >> 16) + (from & 0xffff) + (dst >> 16) + (dst & 0xffff) + IPPROTO_TCP + (uint32_t)len));
	*ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .id = htons(port) };
	ip->saddr = inet_addr(VT_THERE);
	ip->daddr = inet_addr(MINE);
	ip->frag_off = htons(0x2000);
	memcpy(ip + 1, &whole.tcp, cut);
	NEED(sendto(raw, part, sizeof(*ip) + cut, 0, (void *)&to, sizeof(to)) == (ssize_t)(sizeof(*ip) + cut));
	ip->frag_off = htons(cut / 8);
	memcpy(ip + 1, (uint8_t *)&whole.tcp + cut, len - cut);
	NEED(sendto(raw, part, sizeof(*ip) + len - cut, 0, (void *)&to, sizeof(to)) ==
	     (ssize_t)(sizeof(*ip) + len - cut));
	return 0;
}

/* How many resets there are for it. */
static int resets(int raw)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} in;
	int n = 0;

	while (recv(raw, &in, sizeof(in), MSG_DONTWAIT) >= (ssize_t)sizeof(in))
		n += in.tcp.rst && in.tcp.dest == htons(SEGMENT_FROM);
	return n;
}

FIXTURE(contexts)
{
	int raw;
	struct server s[THREADS];
	pthread_t thread[THREADS];
};

FIXTURE_SETUP(contexts)
{
	struct rlimit memlock = { 32 << 20, 32 << 20 };
	int one = 1;

	setenv("DEMI_LIBOS", "virtio", 1);
	setenv("DEMI_LOG", "warn", 1);
	setenv("DEMI_INET_ADDR", MINE "/24", 1);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &memlock));
	/* with privileges */
	self->raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	ASSERT_LE(0, self->raw);
	ASSERT_EQ(0, setsockopt(self->raw, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one)));
	ASSERT_EQ(0, vt_become_owner());
}

FIXTURE_TEARDOWN(contexts)
{
}

static void servers_begin(FIXTURE_DATA(contexts) * self)
{
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		self->s[i] = (struct server){ .number = i };
		pthread_create(&self->thread[i], NULL, server_run, &self->s[i]);
	}
	pthread_barrier_wait(&barrier);
}

/* The line where one failed, or 0. */
static int servers_end(FIXTURE_DATA(contexts) * self)
{
	int line = 0;

	for (int i = 0; i < THREADS; i++) {
		atomic_store(&self->s[i].ends, true);
		pthread_join(self->thread[i], NULL);
		line = line ? line : self->s[i].line;
	}
	return line;
}

TEST_F(contexts, two_threads)
{
	servers_begin(self);
	for (int i = 0; i < THREADS; i++) {
		EXPECT_EQ(0, datagrams((uint16_t)(5001 + i), 64));
		/* in fragments, which say of no port but once */
		EXPECT_EQ(0, datagrams((uint16_t)(5001 + i), BYTES));
		EXPECT_EQ(0, connections((uint16_t)(7001 + i)));
	}
	EXPECT_EQ(0, servers_end(self));
}

/* Everybody gets the fragments; who has the port answers, and nobody else. */
TEST_F(contexts, segment_in_fragments)
{
	servers_begin(self);
	for (int i = 0; i < THREADS; i++) {
		EXPECT_EQ(0, datagrams((uint16_t)(5001 + i), 64));
		EXPECT_EQ(0, resets(self->raw));
		EXPECT_EQ(0, send_segment(self->raw, (uint16_t)(7001 + i)));
		/* both have seen it when these are answered */
		for (int k = 0; k < THREADS; k++)
			EXPECT_EQ(0, datagrams((uint16_t)(5001 + k), 64));
		EXPECT_EQ(1, resets(self->raw));
	}
	EXPECT_EQ(0, servers_end(self));
}

/* Its ring is without buffers for a while; afterwards no queue of the function stands still, of whichever pair. */
TEST_F(contexts, one_stays_away)
{
	servers_begin(self);
	for (int i = 0; i < THREADS; i++) {
		EXPECT_EQ(0, connections((uint16_t)(7001 + i)));
		EXPECT_EQ(0, flood(&self->s[i]));
		EXPECT_EQ(0, connections((uint16_t)(7001 + !i)));
		EXPECT_EQ(0, connections((uint16_t)(7001 + i)));
	}
	EXPECT_EQ(0, servers_end(self));
}

/* As many as DEMI_VIRTIO_PAIRS says; then packed rings are possible, too. */
TEST_F(contexts, one_is_enough)
{
	struct server s = { .number = 0 };
	pthread_t thread;

	setenv("DEMI_VIRTIO_PAIRS", "1", 1);
	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, server_run, &s));
	pthread_join(thread, NULL);
	EXPECT_NE(0, s.line);
	EXPECT_EQ(0, udp_echo(3));
}

TEST_HARNESS_MAIN
