/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_CHECK_H
#define DEMI_SELFTESTS_CHECK_H

/*
 * What most test programs need: checks that say what they saw, random numbers that can be replayed
 * (DEMI_TEST_SEED), pushes and pops of a few bytes.
 */

#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(c)                                                                                                       \
	do {                                                                                                           \
		if (!(c)) {                                                                                            \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #c);                                                 \
			fflush(stdout);                                                                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#define CHECK_EQ(a, b)                                                                                                 \
	do {                                                                                                           \
		long long check_a = (long long)(a), check_b = (long long)(b);                                          \
		if (check_a != check_b) {                                                                              \
			printf("%s:%d: %s is %lld, not %s = %lld\n", __FILE__, __LINE__, #a, check_a, #b, check_b);    \
			fflush(stdout);                                                                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#define OK(call) CHECK_EQ(call, 0)

/* Under a sanitizer or valgrind programs are so much slower that they do less. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(DEMI_COVERAGE)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

static const struct timespec check_now = { 0, 0 };
static const struct timespec check_second = { 1, 0 };

/* ---- random numbers (xorshift64*), one state per thread ---- */

static __thread uint64_t check_rng = 1;

/* From DEMI_TEST_SEED or the clock; printed, so that a failure can be replayed. */
static inline uint64_t check_seed(void)
{
	const char *s = getenv("DEMI_TEST_SEED");
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	check_rng = s ? strtoull(s, NULL, 0) : (uint64_t)ts.tv_nsec * 2654435761 + (uint64_t)ts.tv_sec;
	check_rng |= 1;
	printf("DEMI_TEST_SEED=%llu\n", (unsigned long long)check_rng);
	fflush(stdout);
	return check_rng;
}

static inline uint64_t rnd(void)
{
	check_rng ^= check_rng >> 12;
	check_rng ^= check_rng << 25;
	check_rng ^= check_rng >> 27;
	return check_rng * 2685821657736338717ULL;
}

/* 0 to n - 1 */
static inline uint32_t rnd_below(uint32_t n)
{
	return (uint32_t)((rnd() >> 32) * n >> 32);
}

/* ---- time ---- */

static inline uint64_t check_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts))
		;
}

/* ---- queues ---- */

static inline uint64_t counter(const char *name)
{
	uint64_t v = 0;

	OK(demi_counter(&v, name));
	return v;
}

/* Of memory that is not the heap's. */
static inline demi_sgarray_t sga_of(const void *p, size_t len)
{
	demi_sgarray_t sga;

	memset(&sga, 0, sizeof(sga));
	sga.sga_numsegs = 1;
	sga.sga_segs[0].sgaseg_buf = (void *)(uintptr_t)p;
	sga.sga_segs[0].sgaseg_len = (uint32_t)len;
	return sga;
}

static inline demi_qtoken_t push_start(int qd, const void *p, size_t len)
{
	demi_sgarray_t sga = sga_of(p, len);
	demi_qtoken_t qt = 0;

	OK(demi_push(&qt, qd, &sga));
	CHECK(qt != 0 && qt != ~0ULL);
	return qt;
}

static inline demi_qtoken_t pop_start(int qd)
{
	demi_qtoken_t qt = 0;

	OK(demi_pop(&qt, qd));
	CHECK(qt != 0 && qt != ~0ULL);
	return qt;
}

static inline demi_qresult_t wait_result(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	memset(&qr, 0xa5, sizeof(qr));
	OK(demi_wait(&qr, qt, NULL));
	CHECK(qr.qr_qt == qt);
	return qr;
}

static inline void push_bytes(int qd, const void *p, size_t len)
{
	demi_qresult_t qr = wait_result(push_start(qd, p, len));
	demi_qresult_t none;

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(qr.qr_qd, qd);
	CHECK_EQ(qr.qr_ret, 0);
	memset(&none, 0, sizeof(none));
	CHECK(!memcmp(&qr.qr_value, &none.qr_value, sizeof(qr.qr_value)));
}

/* Is @qr the pop of exactly these bytes? Frees them. */
static inline void check_popped(demi_qresult_t *qr, const void *p, size_t len)
{
	demi_sgarray_t *sga = &qr->qr_value.sga;
	const char *want = p;

	CHECK_EQ(qr->qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr->qr_ret, 0);
	CHECK(sga->sga_numsegs >= 1 && sga->sga_numsegs <= DEMI_SGARRAY_MAXSIZE);
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		CHECK(sga->sga_segs[i].sgaseg_len <= len);
		if (sga->sga_segs[i].sgaseg_len)
			CHECK(!memcmp(sga->sga_segs[i].sgaseg_buf, want, sga->sga_segs[i].sgaseg_len));
		want += sga->sga_segs[i].sgaseg_len;
		len -= sga->sga_segs[i].sgaseg_len;
	}
	CHECK_EQ(len, 0);
	OK(demi_sgafree(sga));
}

static inline void pop_bytes(int qd, const void *p, size_t len)
{
	demi_qresult_t qr = wait_result(pop_start(qd));

	CHECK_EQ(qr.qr_qd, qd);
	check_popped(&qr, p, len);
}

static inline void check_failed(const demi_qresult_t *qr, int err)
{
	CHECK_EQ(qr->qr_opcode, DEMI_OPC_FAILED);
	CHECK_EQ(qr->qr_ret, err);
}

static inline int new_queue(void)
{
	int qd = -1;

	OK(demi_queue(&qd));
	CHECK(qd > 0);
	return qd;
}

/* This thread's context without kernel sockets and files: nothing that these tests need. */
static inline void init_memq(void)
{
	setenv("LIBOS", "catmem", 1);
	OK(demi_init(NULL));
}

/* With the backend that the environment names (DEMI_ENGINE); skips where that is not to be had. */
static inline void init_sockets(void)
{
	int err = demi_init(NULL);

	if (err == ENODEV || err == EPERM) {
		printf("demi_init: %s\n", strerror(err));
		exit(77);
	}
	OK(err);
}

/* A listening TCP socket on the loopback. */
static inline int tcp_listen(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int qd = -1;

	memset(addr, 0, sizeof(*addr));
	addr->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	OK(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	OK(demi_bind(qd, (struct sockaddr *)addr, sizeof(*addr)));
	OK(demi_listen(qd, 16));
	OK(demi_getsockname(qd, (struct sockaddr *)addr, &len));
	return qd;
}

/* Both ends of a TCP connection, in this context. */
static inline void tcp_pair(int qds[2])
{
	demi_qtoken_t qts[2];
	demi_qresult_t qrs[2];
	struct sockaddr_in addr;
	int listener = tcp_listen(&addr);

	OK(demi_accept(&qts[0], listener));
	OK(demi_socket(&qds[1], AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qts[1], qds[1], (struct sockaddr *)&addr, sizeof(addr)));
	OK(demi_wait_all(qrs, qts, 2, NULL));
	CHECK_EQ(qrs[0].qr_opcode, DEMI_OPC_ACCEPT);
	CHECK_EQ(qrs[1].qr_opcode, DEMI_OPC_CONNECT);
	qds[0] = qrs[0].qr_value.ares.qd;
	OK(demi_close(listener));
}

#endif /* DEMI_SELFTESTS_CHECK_H */
