/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/*
 * Every call with NULL and with arguments that name nothing: each answers with an errno, none crashes, none
 * waits. A compiler that was told "nonnull" would remove checks, which shows at -O3.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;

static void fails(int line, const char *what, int ret)
{
	if (ret > 0)
		return;
	printf("line %d: %s returned %d\n", line, what, ret);
	failures++;
}

static void fails_with(int line, const char *what, int ret, int wanted)
{
	if (ret == wanted)
		return;
	printf("line %d: %s returned %d, not %d\n", line, what, ret, wanted);
	failures++;
}

#define FAILS(x) fails(__LINE__, #x, x)
#define FAILS_WITH(x, wanted) fails_with(__LINE__, #x, x, wanted)

static const struct timespec zero = { 0, 0 };
static struct sockaddr_in addr;
static demi_qtoken_t qt = 12345;
static demi_qresult_t qr;

/* Nothing has a descriptor or a token; with a context (EBADF, EINVAL) and without (ENOSYS) alike. */
static void nothing_there(int qd)
{
	demi_sgarray_t sga = demi_sgaalloc(64);
	const struct sockaddr *to = (const struct sockaddr *)&addr;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int n = 0;

	FAILS(demi_bind(qd, to, sizeof(addr)));
	FAILS(demi_listen(qd, 16));
	FAILS(demi_accept(&qt, qd));
	FAILS(demi_connect(&qt, qd, to, sizeof(addr)));
	FAILS(demi_close(qd));
	FAILS(demi_shutdown(qd, SHUT_RDWR));
	FAILS(demi_push(&qt, qd, &sga));
	FAILS(demi_pushto(&qt, qd, &sga, to, sizeof(addr)));
	FAILS(demi_pop(&qt, qd));
	FAILS(demi_pop_n(&qt, qd, 1));
	FAILS(demi_blocking_push(qd, &sga));
	FAILS(demi_blocking_pop(&sga, qd));
	FAILS(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &n, sizeof(n)));
	FAILS(demi_getsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &n, &len));
	len = sizeof(ss);
	FAILS(demi_getpeername(qd, (struct sockaddr *)&ss, &len));
	FAILS(demi_getsockname(qd, (struct sockaddr *)&ss, &len));
	FAILS(demi_queue_export(&n, qd));
	FAILS(demi_lseek(NULL, qd, 0, SEEK_SET));
	FAILS(demi_truncate(qd, 0));
	if (qt != 12345) {
		printf("a token went out with an error\n");
		failures++;
	}
	FAILS_WITH(demi_sgafree(&sga), 0);
	FAILS_WITH(demi_sgafree(&sga), EINVAL); /* its fields were cleared */
}

/* NULL in the place of each pointer. @qd names a queue, so that nothing else is wrong. */
static void null_arguments(int qd)
{
	static const demi_qtoken_t tokens[2] = { 1, 2 };
	demi_qresult_t results[2];
	demi_sgarray_t sga = demi_sgaalloc(64), bad;
	socklen_t len = sizeof(addr);
	int offsets[2], n = 1;

	FAILS_WITH(demi_socket(NULL, AF_INET, SOCK_STREAM, 0), EINVAL);
	FAILS(demi_bind(qd, NULL, sizeof(addr)));
	FAILS(demi_accept(NULL, qd));
	FAILS(demi_connect(NULL, qd, (const struct sockaddr *)&addr, sizeof(addr)));
	FAILS(demi_connect(&qt, qd, NULL, sizeof(addr)));
	FAILS_WITH(demi_push(NULL, qd, &sga), EINVAL);
	FAILS_WITH(demi_push(&qt, qd, NULL), EINVAL);
	FAILS(demi_pushto(NULL, qd, &sga, (const struct sockaddr *)&addr, sizeof(addr)));
	FAILS(demi_pushto(&qt, qd, NULL, (const struct sockaddr *)&addr, sizeof(addr)));
	FAILS_WITH(demi_pushto(&qt, qd, &sga, NULL, sizeof(addr)), EINVAL);
	FAILS_WITH(demi_pop(NULL, qd), EINVAL);
	FAILS_WITH(demi_pop_n(NULL, qd, 1), EINVAL);
	FAILS_WITH(demi_pop_n(&qt, qd, 0), EINVAL);
	FAILS_WITH(demi_blocking_push(qd, NULL), EINVAL);
	FAILS_WITH(demi_blocking_pop(NULL, qd), EINVAL);
	FAILS(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, NULL, 8));
	FAILS(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, NULL, &len));
	FAILS(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &n, NULL));
	FAILS(demi_getpeername(qd, NULL, &len));
	FAILS(demi_getpeername(qd, (struct sockaddr *)&addr, NULL));
	FAILS(demi_getsockname(qd, NULL, &len));
	FAILS(demi_getsockname(qd, (struct sockaddr *)&addr, NULL));
	FAILS_WITH(demi_create_pipe(NULL, "x"), EINVAL);
	FAILS_WITH(demi_create_pipe(&n, NULL), EINVAL);
	FAILS_WITH(demi_open_pipe(NULL, "x"), EINVAL);
	FAILS_WITH(demi_open_pipe(&n, NULL), EINVAL);
	FAILS_WITH(demi_queue(NULL), EINVAL);
	FAILS_WITH(demi_queue_export(NULL, qd), EINVAL);
	FAILS_WITH(demi_queue_import(NULL, 0), EINVAL);
	FAILS(demi_open(NULL, "/dev/null", O_RDONLY, 0));
	FAILS(demi_open(&n, NULL, O_RDONLY, 0));
	FAILS(demi_creat(NULL, "/dev/null", 0));
	FAILS(demi_creat(&n, NULL, 0));
	FAILS_WITH(demi_counter(NULL, "polls"), EINVAL);
	FAILS_WITH(demi_wait(NULL, tokens[0], &zero), EINVAL);
	FAILS_WITH(demi_wait_any(NULL, offsets, tokens, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_any(&qr, NULL, tokens, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_any(&qr, offsets, NULL, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_all(NULL, tokens, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_all(results, NULL, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_some(NULL, offsets, 2, &n, tokens, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_some(results, NULL, 2, &n, tokens, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_some(results, offsets, 2, NULL, tokens, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_some(results, offsets, 2, &n, NULL, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_next_n(NULL, 2, &n, &zero), EINVAL);
	FAILS_WITH(demi_wait_next_n(results, 2, NULL, &zero), EINVAL);
	FAILS_WITH(demi_wait_fd(NULL), EINVAL);
	FAILS_WITH(demi_wakeup(NULL), EINVAL);
	FAILS_WITH(demi_self(NULL), EINVAL);
	FAILS_WITH(demi_sgafree(NULL), EINVAL);
	FAILS_WITH(demi_sga_addr(NULL, NULL, NULL), EINVAL);
	FAILS_WITH(demi_sga_addr(&sga, NULL, &len), EINVAL);

	/* Arrays that hold nonsense. */
	bad = sga;
	bad.sga_numsegs = 0;
	FAILS_WITH(demi_push(&qt, qd, &bad), EINVAL);
	bad.sga_numsegs = DEMI_SGARRAY_MAXSIZE + 1;
	FAILS_WITH(demi_push(&qt, qd, &bad), EINVAL);
	bad.sga_numsegs = UINT32_MAX;
	FAILS_WITH(demi_push(&qt, qd, &bad), EINVAL);
	FAILS_WITH(demi_sgafree(&bad), EINVAL);
	bad.sga_numsegs = 1;
	bad.sga_segs[0].sgaseg_buf = NULL;
	FAILS_WITH(demi_push(&qt, qd, &bad), EINVAL);
	bad.sga_segs[0].sgaseg_buf = &bad;
	FAILS_WITH(demi_sgafree(&bad), EINVAL);
	FAILS_WITH(demi_sgafree(&sga), 0);
}

static void odd_sizes(void)
{
	demi_sgarray_t sga = demi_sgaalloc(0);

	if (sga.sga_numsegs != 0 || sga.sga_buf != NULL)
		FAILS(-1);
	sga = demi_sgaalloc(DEMI_SGA_MAXBYTES + 1);
	if (sga.sga_numsegs != 0 || sga.sga_buf != NULL)
		FAILS(-1);
	sga = demi_sgaalloc((size_t)-1);
	if (sga.sga_numsegs != 0)
		FAILS(-1);
}

static void odd_numbers(int qd)
{
	static const struct timespec crooked[] = { { -1, 0 }, { 0, -1 }, { 0, 1000000000L } };
	demi_qtoken_t some[2] = { 0, ~(demi_qtoken_t)0 };
	demi_qresult_t results[2];
	int offsets[2], n = 0;
	uint64_t value;
	size_t i;

	FAILS(demi_socket(&n, 12345, SOCK_STREAM, 0));
	FAILS(demi_socket(&n, AF_INET, 12345, 0));
	FAILS(demi_socket(&n, AF_INET, SOCK_STREAM, 12345));
	FAILS(demi_listen(qd, 0));
	FAILS(demi_shutdown(qd, 12345));
	FAILS(demi_bind(qd, (const struct sockaddr *)&addr, 0));
	FAILS(demi_bind(qd, (const struct sockaddr *)&addr, UINT32_MAX));
	FAILS(demi_connect(&qt, qd, (const struct sockaddr *)&addr, 1));
	FAILS(demi_setsockopt(qd, 12345, 12345, &n, sizeof(n)));
	FAILS(demi_create_pipe(&n, ""));
	FAILS(demi_create_pipe(&n, "a/b"));
	FAILS(demi_create_pipe(&n, ".a"));
	FAILS(demi_open_pipe(&n, "compat-nobody-made-this"));
	FAILS(demi_queue_import(&n, -1));
	FAILS(demi_queue_import(&n, 0));
	FAILS(demi_open(&n, "/nowhere/at/all", O_RDONLY, 0));
	FAILS_WITH(demi_counter(&value, "unheard_of"), ENOENT);
	FAILS_WITH(demi_cancel(0), EINVAL);
	FAILS_WITH(demi_cancel(~(demi_qtoken_t)0), EINVAL);
	FAILS_WITH(demi_wait_any(&qr, offsets, some, 0, &zero), EINVAL);
	FAILS_WITH(demi_wait_any(&qr, offsets, some, -1, &zero), EINVAL);
	FAILS_WITH(demi_wait_any(&qr, offsets, some, INT_MIN, &zero), EINVAL);
	FAILS_WITH(demi_wait_all(results, some, 0, &zero), EINVAL);
	FAILS_WITH(demi_wait_some(results, offsets, 0, &n, some, 2, &zero), EINVAL);
	FAILS_WITH(demi_wait_some(results, offsets, 2, &n, some, -1, &zero), EINVAL);
	FAILS_WITH(demi_wait_next_n(results, 0, &n, &zero), EINVAL);
	FAILS_WITH(demi_wait_next_n(results, 2, &n, NULL), ENOENT);
	for (i = 0; i < sizeof(crooked) / sizeof(crooked[0]); i++) {
		FAILS_WITH(demi_wait(&qr, some[0], &crooked[i]), EINVAL);
		FAILS_WITH(demi_wait_any(&qr, offsets, some, 2, &crooked[i]), EINVAL);
		FAILS_WITH(demi_wait_next_n(results, 2, &n, &crooked[i]), EINVAL);
	}
}

/* For ever is not how long a token that names nothing is waited for. */
static void a_million_tokens(void)
{
	demi_qtoken_t tokens[4], x = 88172645463325252ULL;
	int offset = -1, i, k;

	for (i = 0; i < 1000000; i++) {
		for (k = 0; k < 4; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			tokens[k] = i % 3 ? x : (demi_qtoken_t)i;
		}
		if (demi_wait_any(&qr, &offset, tokens, 1 + i % 4, i % 2 ? NULL : &zero) != EINVAL) {
			FAILS(-i);
			return;
		}
	}
	if (offset != -1)
		FAILS(-1);
}

int main(void)
{
	int qd = -1, i, rc;

	alarm(100);
	addr.sin_family = AF_INET;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

	odd_sizes();
	for (i = -1; i < 5; i++)
		nothing_there(i);
	FAILS_WITH(demi_wait(&qr, 1, NULL), ENOSYS);
	FAILS_WITH(demi_wait_arm(), ENOSYS);
	FAILS_WITH(demi_queue(&qd), ENOSYS);

	rc = demi_init(NULL);
	if (rc == ENODEV) {
		printf("the backend is not available here\n");
		return 77;
	}
	FAILS_WITH(rc, 0);
	FAILS_WITH(demi_init(NULL), EEXIST);
	odd_sizes();
	nothing_there(-1);
	nothing_there(0);
	nothing_there(7);
	nothing_there(INT_MAX);
	nothing_there(INT_MIN);
	/* once with a memory queue, once with a socket */
	FAILS_WITH(demi_queue(&qd), 0);
	null_arguments(qd);
	odd_numbers(qd);
	FAILS_WITH(demi_close(qd), 0);
	FAILS_WITH(demi_socket(&qd, AF_INET, SOCK_STREAM, 0), 0);
	null_arguments(qd);
	odd_numbers(qd);
	FAILS_WITH(demi_close(qd), 0);
	FAILS_WITH(demi_close(qd), EBADF);
	a_million_tokens();
	return failures != 0;
}
