/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, engines: both, no-asan (it brings its own malloc()) */
/*
 * The nth allocation fails, for every n: a context with memory queues, TCP and a file answers ENOMEM in a call or in a
 * result, nothing crashes, nothing is lost for ever, and afterwards everything works.
 */
#include "lib/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static __thread unsigned int fail_in; /* 0: never; counts down */
static __thread unsigned int failures;
static atomic_long live;

static bool fails(void)
{
	if (!fail_in || --fail_in)
		return false;
	failures++;
	errno = ENOMEM;
	return true;
}

static void *count(void *p)
{
	if (p)
		atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
	return p;
}

void *malloc(size_t n)
{
	return fails() ? NULL : count(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
	void *q = fails() ? NULL : __libc_realloc(p, n);

	return p ? q : count(q);
}

void *aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : count(__libc_memalign(align, n));
}

int posix_memalign(void **p, size_t align, size_t n)
{
	void *q = fails() ? NULL : count(__libc_memalign(align, n));

	if (!q)
		return ENOMEM;
	*p = q;
	return 0;
}

void free(void *p)
{
	if (p)
		atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
	__libc_free(p);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return fails() ? MAP_FAILED : (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

int mprotect(void *addr, size_t len, int prot)
{
	return fails() ? -1 : (int)syscall(SYS_mprotect, addr, len, prot);
}

static char data[200000];

/* What may be refused. Anything else than ENOMEM and what it may be turned into on its way is a bug. */
static bool refused(int err, const char *what)
{
	if (!err)
		return false;
	if (!failures || (err != ENOMEM && err != ENOBUFS)) {
		printf("%s: %s after %u failures\n", what, strerror(err), failures);
		abort();
	}
	return true;
}

#define TRY(call)                                                                                                      \
	do {                                                                                                           \
		if (refused(call, #call))                                                                              \
			return false;                                                                                  \
	} while (0)

static bool result(demi_qresult_t *qr, demi_qtoken_t qt)
{
	TRY(demi_wait(qr, qt, NULL));
	if (qr->qr_opcode != DEMI_OPC_FAILED)
		return true;
	if (qr->qr_ret != ECONNRESET && qr->qr_ret != EPIPE) /* the other end had no memory */
		refused((int)qr->qr_ret, "a result");
	return false;
}

static bool through(int in, int out, size_t len, uint32_t segs)
{
	demi_sgarray_t sga = sga_of(data, len);
	demi_qtoken_t push, pop;
	demi_qresult_t qr;
	size_t got = 0;

	sga.sga_numsegs = segs;
	for (uint32_t i = 1; i < segs; i++)
		sga.sga_segs[i] = sga.sga_segs[0];
	len *= segs;
	TRY(demi_push(&push, in, &sga));
	while (got < len) {
		TRY(demi_pop(&pop, out));
		if (!result(&qr, pop))
			return false;
		if (!qr.qr_value.sga.sga_segs[0].sgaseg_len)
			return !failures ? abort(), false : false;
		for (uint32_t i = 0; i < qr.qr_value.sga.sga_numsegs; i++)
			got += qr.qr_value.sga.sga_segs[i].sgaseg_len;
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	CHECK_EQ(got, len);
	return result(&qr, push);
}

static bool use(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int q, p, fd, listener, one, two, file;
	socklen_t len = sizeof(addr);
	demi_qtoken_t qts[100];
	demi_qresult_t qr;
	bool ok;

	TRY(demi_init(NULL));
	TRY(demi_queue(&q));
	for (int i = 0; i < 20; i++)
		TRY(demi_queue(&p));
	if (!through(q, q, 10, 1) || !through(q, q, 5000, 4) || !through(q, q, 50000, 1))
		return false;
	for (int i = 0; i < 100; i++)
		TRY(demi_pop(&qts[i], q));
	TRY(demi_wait_fd(&fd));
	TRY(demi_queue_export(&fd, p));
	ok = !refused(demi_queue_import(&one, fd), "import");
	close(fd);
	if (!ok || !through(p, one, 100, 1))
		return false;

	TRY(demi_socket(&listener, AF_INET, SOCK_STREAM, 0));
	TRY(demi_bind(listener, (struct sockaddr *)&addr, sizeof(addr)));
	TRY(demi_listen(listener, 5));
	TRY(demi_getsockname(listener, (struct sockaddr *)&addr, &len));
	TRY(demi_socket(&one, AF_INET, SOCK_STREAM, 0));
	TRY(demi_connect(&qts[0], one, (struct sockaddr *)&addr, sizeof(addr)));
	TRY(demi_accept(&qts[1], listener));
	if (!result(&qr, qts[0]) || !result(&qr, qts[1]))
		return false;
	two = qr.qr_value.ares.qd;
	if (!through(one, two, 10, 1) || !through(two, one, 20000, 3))
		return false;
	TRY(demi_open(&file, "/dev/null", O_WRONLY, 0));
	TRY(demi_push(&qts[0], file, &(demi_sgarray_t){ .sga_numsegs = 1, .sga_segs = { { data, 100 } } }));
	return result(&qr, qts[0]);
}

static void *attempt(void *arg)
{
	unsigned int n = *(unsigned int *)arg;
	bool ok;

	fail_in = n;
	ok = use();
	fail_in = 0;
	CHECK(ok || failures);
	*(unsigned int *)arg = failures;
	return NULL; /* the context ends with the thread, whatever its state */
}

static unsigned int run(unsigned int n)
{
	pthread_t t;

	OK(pthread_create(&t, NULL, attempt, &n));
	pthread_join(t, NULL);
	return n;
}

int main(void)
{
	unsigned int n;
	long before;

	alarm(100);
	setenv("DEMI_EXIT_LINGER_MS", "0", 1);
	/* the very first one, too, whose allocations are made once per process */
	for (n = 1; n < 4; n++)
		run(n);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(run(0), 0);
	before = atomic_load(&live);
	CHECK_EQ(run(0), 0);
	CHECK_EQ(atomic_load(&live), before); /* else the check below means nothing */
	for (n = 1; run(n); n++) {
		long after;

		CHECK_EQ(run(0), 0); /* works again */
		after = atomic_load(&live);
		if (after != before)
			printf("allocation %u: %ld objects are lost\n", n, after - before);
		CHECK(after <= before);
		before = after;
	}
	printf("%u allocations\n", n);
	CHECK(n > 20);
	return 0;
}
