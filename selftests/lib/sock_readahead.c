/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/*
 * Read-ahead: a peer that sends without end, to a queue that nobody pops, costs a bounded amount of
 * memory; after that everything it sent is there.
 */
#include "sock_test.h"

#define TRIES 20000

static long resident_kib(void)
{
	long pages = 0, all;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%ld %ld", &all, &pages) == 2);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void spin_a_while(int rounds)
{
	static const struct timespec none;
	demi_qresult_t qr;
	int n;

	while (rounds--) {
		int err = demi_wait_next_n(&qr, 1, &n, &none);

		CHECK(err == ETIMEDOUT || err == ENOENT);
	}
}

static void test_flood(void)
{
	static char block[65536], in[65536];
	struct sockaddr_storage ss;
	socklen_t len;
	demi_qtoken_t qt, idle;
	demi_qresult_t qr;
	uint64_t sent = 0, got = 0;
	int l, fd, qd, stuck = 0;
	long before;

	l = listener(AF_INET, SOCK_STREAM, &ss, &len);
	OK(demi_accept(&qt, l));
	fd = connect_start(&ss, len);
	qd = wait_ok(qt, DEMI_OPC_ACCEPT).qr_value.ares.qd;
	OK(demi_accept(&idle, l)); /* something to wait for */
	/* the first pop makes the queue read ahead */
	CHECK(write(fd, "x", 1) == 1);
	pop_is(qd, "x", 1);
	before = resident_kib();
	for (int i = 0; i < TRIES && stuck < 200; i++) {
		ssize_t n = write(fd, block, sizeof(block));

		if (n > 0) {
			for (ssize_t k = 0; k < n; k++)
				block[k] = 0;
			sent += (uint64_t)n;
			stuck = 0;
		} else {
			CHECK(errno == EAGAIN);
			stuck++;
			usleep(1000);
		}
		spin_a_while(3);
	}
	printf("peer sent %llu bytes, then was held back; resident +%ld KiB\n", (unsigned long long)sent,
	       resident_kib() - before);
	CHECK(stuck == 200); /* held back by the kernel's windows: otherwise we had read it all */
	CHECK(resident_kib() - before < 16384);
	/* nothing was lost, and it flows again */
	for (int i = 0; i < 200; i++) {
		size_t part = sent - got < sizeof(in) ? sent - got : sizeof(in);

		if (!part)
			break;
		pop_exact(qd, in, part);
		got += part;
	}
	CHECK(!fcntl(fd, F_SETFL, 0));
	CHECK(write(fd, "end", 3) == 3);
	while (got < sent) {
		size_t part = sent - got < sizeof(in) ? sent - got : sizeof(in);

		pop_exact(qd, in, part);
		got += part;
	}
	pop_exact(qd, in, 3);
	CHECK(!memcmp(in, "end", 3));
	close(fd);
	OK(demi_close(qd));
	OK(demi_close(l));
	OK(demi_wait(&qr, idle, NULL));
}

/* A payload of one byte must not keep a receive buffer: 2,000 of them would be 32 MiB. */
static void test_small_payloads(void)
{
	static demi_sgarray_t kept[2000];
	long before;
	int a, b;

	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	for (int i = 0; i < 200; i++) {
		push(a, "y", 1);
		kept[0] = pop(b);
		OK(demi_sgafree(&kept[0]));
	}
	before = resident_kib();
	for (int i = 0; i < 2000; i++) {
		push(a, &"0123456789"[i % 10], 1);
		kept[i] = pop(b);
	}
	printf("2000 small payloads: +%ld KiB\n", resident_kib() - before);
	CHECK(resident_kib() - before < 8192);
	for (int i = 0; i < 2000; i++) {
		CHECK(kept[i].sga_segs[0].sgaseg_len == 1);
		CHECK(*(char *)kept[i].sga_segs[0].sgaseg_buf == "0123456789"[i % 10]);
		OK(demi_sgafree(&kept[i]));
	}
	OK(demi_close(a));
	OK(demi_close(b));
}

/* The option bounds what is read ahead of pops. */
static void test_option(void)
{
	int v = 0, a, b;
	socklen_t len = sizeof(v);

	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	OK(demi_getsockopt(b, DEMI_SOL, DEMI_SO_READAHEAD, &v, &len));
	CHECK(v == (has_domain(AF_UNIX) ? 65536 : 1 << 20) && len == sizeof(v));
	v = 0;
	CHECK_ERR(demi_setsockopt(b, DEMI_SOL, DEMI_SO_READAHEAD, &v, sizeof(v)), EINVAL);
	v = 1;
	OK(demi_setsockopt(b, DEMI_SOL, DEMI_SO_READAHEAD, &v, sizeof(v)));
	for (int i = 0; i < 100; i++)
		push(a, "abc", 3);
	for (int i = 0; i < 100; i++) {
		char in[3];

		pop_exact(b, in, 3);
		CHECK(!memcmp(in, "abc", 3));
	}
	OK(demi_close(a));
	OK(demi_close(b));
}

int main(void)
{
	test_init();
	test_flood();
	test_small_payloads();
	test_option();
	return 0;
}
