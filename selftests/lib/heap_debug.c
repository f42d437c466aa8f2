/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a no-asan: the children abort on purpose, in their own way */
/*
 * DEMI_HEAP=debug names the culprit: each kind of misuse ends a child process with a message that has the
 * object's address and size, what happened, and the functions that allocated and freed it. Correct
 * programs run as before.
 */

#include <demi/heap.h>
#include <demi/sga.h>

#include "heap/heap.h"
#include "heap_check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

static char *volatile obj; /* the compiler must not know what is done to it */
static size_t size;
static int report_fd;

#define NOINLINE __attribute__((noinline))

/* Not static and not inlined: the message is searched for their addresses. */
void *culprit_alloc(size_t n);
void culprit_free(void *p);

NOINLINE void *culprit_alloc(size_t n)
{
	void *volatile p = demi_malloc(n);

	return p;
}

NOINLINE void culprit_free(void *p)
{
	demi_free(p);
	report_fd += 0 * (obj != NULL); /* no tail call */
}

static void overrun(void)
{
	obj[size] = 1;
	culprit_free(obj);
}

static void far_overrun(void)
{
	obj[size + 50] = 1;
	culprit_free(obj);
}

static void underrun(void)
{
	obj[-1] = 1;
	culprit_free(obj);
}

static void overrun_never_freed(void)
{
	obj[size] = 1;
}

static void double_free(void)
{
	culprit_free(obj);
	culprit_free(obj);
}

static void double_sgafree(void)
{
	demi_sgarray_t sga = { .sga_numsegs = 1 }, copy;

	sga.sga_segs[0].sgaseg_buf = obj;
	sga.sga_segs[0].sgaseg_len = 1;
	copy = sga;
	culprit_free(obj);
	demi_sgafree(&copy);
}

static void use_at_exit(void)
{
	culprit_free(obj);
	obj[0] = 1;
}

static void use_in_quarantine(void)
{
	int i;

	culprit_free(obj);
	obj[size - 1] = 1;
	for (i = 0; i < 200; i++)
		demi_free(demi_malloc(1 << 20));
	_exit(0); /* nothing is checked at the end of the process */
}

static void lend_after_free(void)
{
	culprit_free(obj);
	demi_heap_lend(obj, 1);
}

static void realloc_after_free(void)
{
	culprit_free(obj);
	obj = demi_realloc(obj, 10);
}

static void inner_free(void)
{
	/* an aligned pointer into the object; for the small one, before it */
	culprit_free(size > 8 ? obj + 8 : obj - 8);
}

static void no_misuse(void)
{
	memset(obj, 1, size);
	CHECK(demi_heap_lend(obj, size) == 0 && demi_heap_lend(obj, size + 1) == -EFAULT);
	culprit_free(obj);
	memset(obj, 2, size); /* it is lent: not free yet */
	demi_heap_unlend(obj + size - 1);
	CHECK(!demi_heap_contains(obj, 1));
}

static const struct {
	const char *name;
	void (*f)(void);
	const char *says; /* NULL: the program is correct */
	bool freed; /* the message tells who freed it */
} cases[] = {
	{ "overrun", overrun, "overrun", false },
	{ "far overrun", far_overrun, "overrun", false },
	{ "underrun", underrun, "underrun", false },
	{ "overrun, never freed", overrun_never_freed, "overrun", false },
	{ "double free", double_free, "double free", true },
	{ "double sgafree", double_sgafree, "double free", true },
	{ "use after free, at exit", use_at_exit, "use after free", true },
	{ "use after free, in quarantine", use_in_quarantine, "use after free", true },
	{ "lend after free", lend_after_free, "use after free", true },
	{ "realloc after free", realloc_after_free, "use after free", true },
	{ "inner free", inner_free, "not the object's start", false },
	{ "nothing wrong", no_misuse, NULL, false },
};

/* Does a [0x...] of the section that begins with @title lie in the first bytes of @f? */
static bool names(const char *text, const char *title, void *f)
{
	const char *at = strstr(text, title);

	for (at = at ? strstr(at, "[0x") : NULL; at; at = strstr(at + 1, "[0x")) {
		uintptr_t pc = strtoull(at + 1, NULL, 16);

		if (pc > (uintptr_t)f && pc < (uintptr_t)f + 128)
			return true;
	}
	return false;
}

static void run_case(unsigned int n, size_t bytes)
{
	char text[16384], want[64];
	int fds[2], status;
	size_t len = 0;
	ssize_t got;
	pid_t pid;

	CHECK(!pipe(fds));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		const struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		alarm(30);
		dup2(fds[1], 2);
		close(fds[0]);
		size = bytes;
		obj = culprit_alloc(size);
		dprintf(fds[1], "object %p\n", (void *)obj);
		cases[n].f();
		exit(0);
	}
	close(fds[1]);
	while (len < sizeof(text) - 1 && (got = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = 0;
	close(fds[0]);
	status = test_wait(pid);
	printf("%s, %zu bytes: status %d\n", cases[n].name, bytes, status);
	if (!cases[n].says) {
		CHECK(status == 0 && !strstr(text, "demi heap"));
		return;
	}
	printf("%s", text);
	CHECK(status == 128 + SIGABRT);
	CHECK(strstr(text, cases[n].says));
	snprintf(want, sizeof(want), "the object at 0x%lx of %zu bytes", strtoul(strchr(text, ' '), NULL, 16), bytes);
	CHECK(strstr(text, want));
	CHECK(names(text, "allocated by", (void *)(uintptr_t)culprit_alloc));
	if (cases[n].freed)
		CHECK(names(text, "freed by", (void *)(uintptr_t)culprit_free));
}

/* A program without mistakes: sizes, alignment, contents, threads. */
static void *churn(void *arg)
{
	uint64_t rnd = (uintptr_t)arg;
	unsigned char *p[50] = { NULL };
	size_t len[50] = { 0 };
	int i;

	for (i = 0; i < 4000; i++) {
		size_t k = test_random(&rnd) % 50;

		if (p[k])
			CHECK(p[k][0] == k && p[k][len[k] - 1] == k);
		demi_free(p[k]);
		len[k] = 1 + test_random(&rnd) % (i % 16 ? 3000 : 100000);
		p[k] = i % 3 ? demi_malloc(len[k]) : demi_aligned_alloc((size_t)1 << (i % 22), len[k]);
		CHECK(p[k] && (uintptr_t)p[k] % (i % 3 ? 16 : (size_t)1 << (i % 22)) == 0);
		CHECK(demi_malloc_usable_size(p[k]) == len[k]);
		memset(p[k], (int)k, len[k]);
		if (i % 7 == 0) {
			p[k] = demi_realloc(p[k], len[k] + 100);
			len[k] += 100;
			CHECK(p[k] && p[k][0] == k && p[k][len[k] - 101] == k);
			p[k][len[k] - 1] = (unsigned char)k;
		}
	}
	for (i = 0; i < 50; i++)
		demi_free(p[i]);
	return NULL;
}

static void correct_program(void)
{
	pthread_t t[3];
	uintptr_t i;
	char *p;

	for (i = 0; i < 3; i++)
		CHECK(!pthread_create(&t[i], NULL, churn, (void *)(i + 1)));
	for (i = 0; i < 3; i++)
		CHECK(!pthread_join(t[i], NULL));
	p = demi_calloc(100, 100);
	for (i = 0; i < 10000; i++)
		CHECK(p[i] == 0);
	CHECK(demi_heap_usable(p + 9999) == 1 && demi_heap_usable(p + 10000) == 0);
	demi_free(p);
}

int main(void)
{
	unsigned int i;

	alarm(100);
	CHECK(!setenv("DEMI_HEAP", "debug", 1));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_case(i, 100);
		run_case(i, 1);
		run_case(i, 200000);
	}
	correct_program();
	return 0;
}
