/* SPDX-License-Identifier: MIT */
/* no-asan: it has an allocator of its own */
/*
 * libdemi-malloc.so: a program that is started with it has all its memory in the heap, the functions keep to
 * their manual pages, and programs that know nothing of it print what they always print.
 */

#include <demi/heap.h>

#include "heap_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <wchar.h>

static void in_heap(void *p, size_t size, size_t align)
{
	CHECK(p && (uintptr_t)p % align == 0);
	CHECK(demi_malloc_usable_size(p) >= size && malloc_usable_size(p) == demi_malloc_usable_size(p));
	memset(p, 0x77, size);
}

/* A compiler may take an allocation that is only compared with NULL for granted. */
static void *kept(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

static void test_functions(void)
{
	volatile size_t huge = SIZE_MAX / 2, odd = 100; /* the compiler must not know */
	char *p, *q;
	void *m;
	int i;

	in_heap(p = malloc(100), 100, 16);
	free(p);
	CHECK(!malloc_usable_size(p));
	in_heap(p = malloc(0), 1, 16);
	in_heap(q = malloc(0), 1, 16);
	CHECK(p != q);
	free(p);
	free(q);
	p = calloc(1000, 7);
	for (i = 0; i < 7000; i++)
		CHECK(p[i] == 0);
	in_heap(p, 7000, 16);
	p = realloc(p, 300000);
	for (i = 0; i < 7000; i++)
		CHECK(p[i] == 0x77);
	in_heap(p, 300000, 16);
	in_heap(p = reallocarray(p, 10, 20), 200, 16);
	errno = 0;
	CHECK(!kept(reallocarray(p, huge, 3)) && errno == ENOMEM);
	errno = 0;
	CHECK(!kept(calloc(huge, 3)) && errno == ENOMEM);
	CHECK(!kept(realloc(p, 0)));
	CHECK(!malloc_usable_size(NULL));
	free(NULL);

	in_heap(p = strdup("the C library's own, too"), 10, 16);
	free(p);
	CHECK(asprintf(&p, "%d", 5) == 1);
	in_heap(p, 2, 16);
	free(p);

	m = (void *)1;
	CHECK(posix_memalign(&m, odd, 10) == EINVAL && posix_memalign(&m, 4, 10) == EINVAL);
	CHECK(posix_memalign(&m, 64, huge) == ENOMEM && m == (void *)1);
	CHECK(posix_memalign(&m, 65536, 10) == 0);
	in_heap(m, 10, 65536);
	free(m);
	in_heap(p = aligned_alloc(4096, 5000), 5000, 4096);
	free(p);
	in_heap(p = memalign(odd, 5000), 5000, 128);
	free(p);
	in_heap(p = valloc(10), 10, 4096);
	free(p);
	in_heap(p = pvalloc(10), 4096, 4096);
	free(p);
	errno = 0;
	CHECK(!kept(malloc(huge)) && errno == ENOMEM);
	errno = EXDEV;
	p = malloc(100000000);
	CHECK(p);
	memset(p, 1, 100000000);
	free(p);
	CHECK(errno == EXDEV);
}

static void *thread(void *arg)
{
	uint64_t rnd = (uintptr_t)arg;
	void *p[100] = { NULL };
	int i;

	for (i = 0; i < 50000; i++) {
		size_t k = test_random(&rnd) % 100;

		free(p[k]);
		p[k] = malloc(1 + test_random(&rnd) % 2000);
		CHECK(p[k]);
		*(char *)p[k] = 1;
	}
	for (i = 0; i < 99; i++)
		free(p[i]);
	return p[99];
}

static void test_threads(void)
{
	pthread_t t[8];
	void *p;
	uintptr_t i;

	for (i = 0; i < 8; i++)
		CHECK(!pthread_create(&t[i], NULL, thread, (void *)(i + 1)));
	for (i = 0; i < 8; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			p = malloc(5000);
			in_heap(p, 5000, 16);
			free(p);
			exit(0);
		}
		CHECK(test_wait(pid) == 0);
	}
	for (i = 0; i < 8; i++) {
		CHECK(!pthread_join(t[i], &p));
		free(p);
	}
}

static void inside(void)
{
	void *m;

	test_functions();
	test_threads();
	m = dlopen("libm.so.6", RTLD_NOW);
	CHECK(m && dlsym(m, "cos"));
	dlclose(m);
	exit(0);
}

static char lib[4096];

static int status_of(char *const argv[], int out)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		CHECK(dup2(out, 1) == 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	return test_wait(pid);
}

/* What the program prints, up to 8 MiB. */
static size_t output_of(const char *command, char *buf, size_t size)
{
	FILE *f = popen(command, "r");
	size_t n;

	CHECK(f);
	n = fread(buf, 1, size, f);
	CHECK(pclose(f) == 0);
	return n;
}

static void same_output(const char *program, const char *command)
{
	static char a[8 << 20], b[8 << 20];
	char with[8192], test[256];
	size_t n;

	snprintf(test, sizeof(test), "command -v %s >/dev/null", program);
	if (system(test)) {
		printf("not here: %s\n", program);
		return;
	}
	n = output_of(command, a, sizeof(a));
	CHECK(n > 0 && n < sizeof(a));
	snprintf(with, sizeof(with), "LD_PRELOAD='%s'; export LD_PRELOAD; %s", lib, command);
	CHECK(output_of(with, b, sizeof(b)) == n);
	CHECK(!memcmp(a, b, n));
}

static void test_programs(void)
{
	same_output("ls", "ls -lR /usr/lib/x86_64-linux-gnu /usr/include 2>/dev/null | tail -c 4000000");
	same_output("sort", "seq 300000 | sort --parallel=4 -S 1M -k1.2 | tail -100000");
	same_output("awk", "seq 200000 | awk '{ a[$1 % 1000] = a[$1 % 1000] $1 } END { print length(a[7]), a[8] }'");
	same_output("python3",
		    "python3 -c \"import json, threading; d = [{'a': i, 'b': str(i) * 3} for i in range(30000)]; "
		    "t = [threading.Thread(target=json.dumps, args=(d,)) for _ in range(4)]; "
		    "[x.start() for x in t]; [x.join() for x in t]; print(json.loads(json.dumps(d)) == d)\"");
	same_output("git", "git --version; git help -a | head -20");
	same_output("gcc", "echo 'int main(void) { return 3; }' | gcc -O2 -x c -S -o - -");
}

int main(int argc, char **argv)
{
	char *self[] = { argv[0], "inside", NULL };
	Dl_info info;
	char *slash;

	alarm(100);
	if (argc == 2 && !strcmp(argv[1], "inside"))
		inside();
	CHECK(dladdr((void *)(uintptr_t)demi_malloc, &info));
	CHECK(realpath(info.dli_fname, lib));
	slash = strrchr(lib, '/');
	CHECK(slash && slash - lib < 4000);
	strcpy(slash + 1, "libdemi-malloc.so");
	CHECK(!access(lib, R_OK));
	test_programs();
	CHECK(!setenv("LD_PRELOAD", lib, 1));
	CHECK(status_of(self, 2) == 0);
	return 0;
}
