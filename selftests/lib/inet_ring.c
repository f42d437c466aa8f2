/* SPDX-License-Identifier: MIT */
/* devices: ring */
/*
 * UDP over a flow queue of demi.ko, with the kernel's own sockets and other demi sockets on the other side: what is
 * sent is what arrives, errors are those of sockets. Skipped where there is no module.
 */
#include "check.h"

#include <pthread.h>
#include <sys/socket.h>

union addr {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage ss;
};

static const struct timespec limit = { 20, 0 };
static uint8_t out[65536];

static socklen_t loopback(union addr *a, int domain, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = (sa_family_t)domain;
	a->v4.sin_port = htons(port);
	if (domain == AF_INET) {
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(a->v4);
	}
	a->v6.sin6_addr = in6addr_loopback;
	return sizeof(a->v6);
}

static int kernel_socket(int domain, union addr *a, socklen_t *len)
{
	struct timeval tv = { 20, 0 };
	int fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	*len = loopback(a, domain, 0);
	OK(bind(fd, &a->sa, *len));
	OK(getsockname(fd, &a->sa, len));
	OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	return fd;
}

static int demi_bound(int domain, union addr *a, socklen_t *len)
{
	int qd;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	*len = loopback(a, domain, 0);
	OK(demi_bind(qd, &a->sa, *len));
	OK(demi_getsockname(qd, &a->sa, len));
	return qd;
}

static demi_qresult_t finish(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	OK(demi_wait(&qr, qt, &limit));
	return qr;
}

static void send_all(int qd, const void *p, size_t n, const union addr *to, socklen_t len)
{
	demi_sgarray_t sga = sga_of(p, n);
	demi_qtoken_t qt;
	demi_qresult_t qr;

	OK(demi_pushto(&qt, qd, &sga, &to->sa, len));
	qr = finish(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
}

static void pop_from(int qd, size_t n, const union addr *from, socklen_t fromlen)
{
	demi_qresult_t qr = finish(pop_start(qd));
	union addr a;
	socklen_t len = sizeof(a);

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	OK(demi_sga_addr(&qr.qr_value.sga, &a.ss, &len));
	CHECK(len == fromlen && !memcmp(&a, from, len));
	check_popped(&qr, out, n);
}

static void test_kernel(int domain, uint32_t max)
{
	static const uint32_t sizes[] = { 0, 1, 64, 1400, 1472, 1900, 9000, 40000, 65507 };
	static uint8_t in[65536];
	union addr k, d, from;
	socklen_t klen, dlen, flen;
	int fd = kernel_socket(domain, &k, &klen), qd = demi_bound(domain, &d, &dlen);

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t n = sizes[i] < max ? sizes[i] : max;

		CHECK_EQ(sendto(fd, out, n, 0, &d.sa, dlen), n);
		pop_from(qd, n, &k, klen);
		send_all(qd, out, n, &k, klen);
		flen = sizeof(from);
		CHECK_EQ(recvfrom(fd, in, sizeof(in), 0, &from.sa, &flen), n);
		CHECK(flen == dlen && !memcmp(&from, &d, flen) && !memcmp(in, out, n));
	}
	OK(demi_close(qd));
	close(fd);
}

static void test_demi(int domain)
{
	union addr a, b;
	socklen_t alen, blen;
	int qa = demi_bound(domain, &a, &alen), qb = demi_bound(domain, &b, &blen);

	for (int i = 0; i < 20; i++) {
		send_all(qa, out, (size_t)i * 100, &b, blen);
		pop_from(qb, (size_t)i * 100, &a, alen);
		send_all(qb, out, 5, &a, alen);
		pop_from(qa, 5, &b, blen);
	}
	OK(demi_close(qa));
	OK(demi_close(qb));
}

/* Heap memory leaves in place, and the push ends when nobody needs it. */
static void test_zerocopy(void)
{
	uint64_t copied = counter("copied_bytes");
	demi_sgarray_t sga = demi_sgaalloc(20000);
	union addr k, d;
	socklen_t klen, dlen;
	int fd = kernel_socket(AF_INET, &k, &klen), qd = demi_bound(AF_INET, &d, &dlen);
	static uint8_t in[65536];
	demi_qtoken_t qt;

	memcpy(sga.sga_segs[0].sgaseg_buf, out, 20000);
	OK(demi_pushto(&qt, qd, &sga, &k.sa, klen));
	OK(demi_sgafree(&sga));
	CHECK_EQ(finish(qt).qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(counter("copied_bytes"), copied);
	CHECK_EQ(recv(fd, in, sizeof(in), 0), 20000);
	CHECK(!memcmp(in, out, 20000));
	OK(demi_close(qd));
	close(fd);
}

static void test_errors(void)
{
	union addr k, d, closed;
	socklen_t klen, dlen, len;
	int fd = kernel_socket(AF_INET, &k, &klen), other = kernel_socket(AF_INET, &closed, &len), qd, q2;
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;
	demi_qresult_t qr;

	/* a port is one's own, whoever has it */
	OK(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0));
	CHECK_EQ(demi_bind(qd, &k.sa, klen), EADDRINUSE);
	OK(demi_close(qd));
	qd = demi_bound(AF_INET, &d, &dlen);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(bind(fd, &d.sa, dlen) < 0 && errno == EADDRINUSE);
	OK(demi_socket(&q2, AF_INET, SOCK_DGRAM, 0));
	CHECK_EQ(demi_bind(q2, &d.sa, dlen), EADDRINUSE);
	OK(demi_close(qd));
	OK(demi_bind(q2, &d.sa, dlen)); /* free as soon as it is closed */
	OK(demi_close(q2));
	OK(bind(fd, &d.sa, dlen));
	close(fd);

	/* nobody is there */
	close(other);
	OK(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0));
	OK(demi_connect(&qt, qd, &closed.sa, len));
	qr = finish(qt);
	CHECK_EQ(qr.qr_ret, 0);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	OK(demi_push(&qt, qd, &sga));
	finish(qt);
	qr = finish(pop_start(qd));
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

static void *send_later(void *arg)
{
	const union addr *to = arg;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	sleep_ms(300);
	CHECK_EQ(sendto(fd, out, 10, 0, &to->sa, sizeof(to->v4)), 10);
	close(fd);
	return NULL;
}

static void test_sleep(void)
{
	uint64_t sleeps = counter("sleeps");
	union addr d;
	socklen_t len;
	int qd = demi_bound(AF_INET, &d, &len);
	demi_qresult_t qr;
	pthread_t t;

	OK(pthread_create(&t, NULL, send_later, &d));
	qr = finish(pop_start(qd));
	check_popped(&qr, out, 10);
	OK(pthread_join(t, NULL));
	CHECK(counter("sleeps") > sleeps);
	OK(demi_close(qd));
}

/* Each of a round's numbers once: a thread that moves to another CPU may overtake what it has sent. */
static void mark(uint64_t *seen, uint32_t round, uint32_t v)
{
	uint32_t i = v - round * 50;

	CHECK(i < 50 && !(*seen & 1ULL << i));
	*seen |= 1ULL << i;
}

/* Far more than any ring holds; nothing is lost, nothing comes twice. */
static void test_burst(void)
{
	union addr k, d;
	socklen_t klen, dlen;
	int fd = kernel_socket(AF_INET, &k, &klen), qd = demi_bound(AF_INET, &d, &dlen);
	uint32_t in;

	for (uint32_t round = 0; round < 40; round++) {
		uint64_t there = 0, back = 0;

		for (uint32_t i = 0; i < 50; i++) {
			demi_sgarray_t sga = sga_of(&(uint32_t){ round * 50 + i }, 4);
			demi_qtoken_t qt;

			OK(demi_pushto(&qt, qd, &sga, &k.sa, klen));
			finish(qt);
		}
		for (uint32_t i = 0; i < 50; i++) {
			CHECK_EQ(recv(fd, &in, sizeof(in), 0), 4);
			mark(&there, round, in);
			CHECK_EQ(sendto(fd, &in, 4, 0, &d.sa, dlen), 4);
		}
		for (uint32_t i = 0; i < 50; i++) {
			demi_qresult_t qr = finish(pop_start(qd));

			CHECK(qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_segs[0].sgaseg_len == 4);
			memcpy(&in, qr.qr_value.sga.sga_segs[0].sgaseg_buf, 4);
			mark(&back, round, in);
			OK(demi_sgafree(&qr.qr_value.sga));
		}
	}
	OK(demi_close(qd));
	close(fd);
}

/* One socket for both families. */
static void test_dual(void)
{
	union addr d, k, to;
	socklen_t len = sizeof(d), klen;
	int qd, fd = kernel_socket(AF_INET, &k, &klen), fd6 = kernel_socket(AF_INET6, &k, &klen);
	demi_qresult_t qr;

	OK(demi_socket(&qd, AF_INET6, SOCK_DGRAM, 0));
	memset(&d, 0, sizeof(d));
	d.sa.sa_family = AF_INET6;
	OK(demi_bind(qd, &d.sa, sizeof(d.v6)));
	OK(demi_getsockname(qd, &d.sa, &len));
	loopback(&to, AF_INET, ntohs(d.v6.sin6_port));
	CHECK_EQ(sendto(fd, out, 4, 0, &to.sa, sizeof(to.v4)), 4);
	qr = finish(pop_start(qd));
	check_popped(&qr, out, 4);
	loopback(&to, AF_INET6, ntohs(d.v6.sin6_port));
	CHECK_EQ(sendto(fd6, out, 6, 0, &to.sa, sizeof(to.v6)), 6);
	qr = finish(pop_start(qd));
	check_popped(&qr, out, 6);
	OK(demi_close(qd));
	close(fd);
	close(fd6);
}

static void step(const char *name)
{
	printf("%s\n", name);
	fflush(stdout);
}

int main(void)
{
	int err;

	alarm(100);
	setenv("DEMI_LIBOS", "ring", 1);
	err = demi_init(NULL);
	if (err) {
		printf("demi_init with DEMI_LIBOS=ring: %s\n", strerror(err));
		return 77;
	}
	for (uint32_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 37 + i / 256);
	step("kernel");
	test_kernel(AF_INET, 65507);
	step("kernel, IPv6");
	test_kernel(AF_INET6, 65487);
	step("demi");
	test_demi(AF_INET);
	test_demi(AF_INET6);
	step("burst");
	test_burst();
	step("sleep");
	test_sleep();
	step("dual");
	test_dual();
	step("zero copy");
	test_zerocopy();
	step("errors");
	test_errors();
	return 0;
}
