/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/* Many sockets, no descriptors left, too much pushed. */
#include "sock_test.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/* No descriptors: accepts fail with EMFILE, at once and without spinning; with descriptors they work again. */
static void test_descriptors(void)
{
	struct sockaddr_storage ss;
	struct rlimit old, low;
	demi_qtoken_t qt;
	demi_qresult_t qr;
	socklen_t len;
	int l, fd, s, probe, conn;

	l = listener(AF_INET, SOCK_STREAM, &ss, &len);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !getrlimit(RLIMIT_NOFILE, &old));
	probe = dup(0);
	CHECK(probe >= 0 && !close(probe));
	low = old;
	low.rlim_cur = (rlim_t)probe;
	CHECK(!setrlimit(RLIMIT_NOFILE, &low));
	CHECK_ERR(demi_socket(&s, AF_INET, SOCK_STREAM, 0), EMFILE);
	CHECK(!connect(fd, (struct sockaddr *)&ss, len));
	OK(demi_accept(&qt, l));
	wait_failed(qt, EMFILE);
	OK(demi_accept(&qt, l));
	wait_failed(qt, EMFILE);
	CHECK(!setrlimit(RLIMIT_NOFILE, &old));
	OK(demi_accept(&qt, l));
	qr = wait_ok(qt, DEMI_OPC_ACCEPT);
	conn = qr.qr_value.ares.qd;
	push(conn, "ok", 2);
	close(fd);
	OK(demi_close(conn));
	OK(demi_close(l));
}

/* Back-pressure: what cannot be sent is taken up to the limit of the context. */
static void test_push_limit(void)
{
	static char block[1 << 20];
	demi_sgarray_t sga = sga_of(block, sizeof(block));
	demi_qtoken_t qt;
	int a, b, n = 0, err;

	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	while (!(err = demi_push(&qt, a, &sga))) {
		wait_ok(qt, DEMI_OPC_PUSH);
		CHECK(++n < 200);
	}
	CHECK_ERR(err, ENOBUFS);
	CHECK(n >= 60);
	/* room comes back when bytes are sent */
	for (int i = 0; i < 16; i++)
		pop_exact(b, block, sizeof(block));
	OK(demi_push(&qt, a, &sga));
	wait_ok(qt, DEMI_OPC_PUSH);
	OK(demi_close(b));
	OK(demi_close(a));
}

static size_t resident(void)
{
	size_t pages = 0, all;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%zu %zu", &all, &pages) == 2);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Connections that wait for input cost little memory, and each of them still works. */
static void test_many(int pairs)
{
	demi_qtoken_t *pops = calloc((size_t)pairs, sizeof(*pops)), qt, accept_qt;
	int *conns = calloc((size_t)pairs, sizeof(*conns)), *fds = calloc((size_t)pairs, sizeof(*fds));
	struct sockaddr_storage ss;
	size_t before, each;
	demi_sgarray_t sga;
	socklen_t len;
	int l;

	CHECK(pops && conns && fds);
	l = listener(AF_INET, SOCK_STREAM, &ss, &len);
	before = resident();
	for (int i = 0; i < pairs; i++) {
		OK(demi_accept(&accept_qt, l));
		fds[i] = connect_start(&ss, len);
		conns[i] = wait_ok(accept_qt, DEMI_OPC_ACCEPT).qr_value.ares.qd;
		connect_finish(fds[i]);
		pops[i] = pop_start(conns[i]);
	}
	wait_none(pops[0]);
	each = (resident() - before) / (size_t)pairs;
	printf("%d sockets, %zu bytes each\n", pairs, each);
	/* a stack of the library's own has their whole state */
	CHECK(each < (has_domain(AF_UNIX) ? 1024 : 2048) || test_under_asan());
	for (int i = 0; i < pairs; i++) {
		CHECK(write(fds[i], &i, sizeof(i)) == sizeof(i));
		sga = wait_ok(pops[i], DEMI_OPC_POP).qr_value.sga;
		CHECK(sga.sga_segs[0].sgaseg_len == sizeof(i) && !memcmp(sga.sga_segs[0].sgaseg_buf, &i, sizeof(i)));
		OK(demi_sgafree(&sga));
	}
	/* again, all of them in one burst, and answered */
	for (int i = 0; i < pairs; i++)
		pops[i] = pop_start(conns[i]);
	for (int i = 0; i < pairs; i++)
		CHECK(write(fds[i], &i, sizeof(i)) == sizeof(i));
	for (int i = 0; i < pairs; i++) {
		sga = wait_ok(pops[i], DEMI_OPC_POP).qr_value.sga;
		OK(demi_push(&qt, conns[i], &sga));
		wait_ok(qt, DEMI_OPC_PUSH);
		OK(demi_sgafree(&sga));
	}
	for (int i = 0; i < pairs; i++) {
		int v = -1;

		CHECK(recv_polling(fds[i], &v, sizeof(v)) == sizeof(v) && v == i);
		close(fds[i]);
		OK(demi_close(conns[i]));
	}
	OK(demi_close(l));
	free(pops);
	free(conns);
	free(fds);
}

int main(void)
{
	struct rlimit r;
	int pairs = 5000; /* 10,000 sockets with their peers */

	/* the kernel may make huge pages of small ones meanwhile: 1 KiB a socket */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	test_init();
	if (has_domain(AF_UNIX)) /* sockets of the kernel, with its descriptors */
		test_descriptors();
	CHECK(!getrlimit(RLIMIT_NOFILE, &r));
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur > 20100)
		pairs = 10000;
	else if (r.rlim_cur < 10100)
		pairs = (int)(r.rlim_cur / 2) - 50;
	test_many(pairs);
	test_push_limit();
	return 0;
}
