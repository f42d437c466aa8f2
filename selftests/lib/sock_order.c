/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/*
 * Stream order: 10,000 pushes of random sizes, copied and in place, into a tiny send buffer, read by a
 * slow process that checks every byte. Two sends in flight at once, a short send that is not
 * continued or a push that is sent twice would all show.
 */
#include "sock_test.h"

#include <signal.h>

#define PUSHES 10000

/* The byte at each position of the stream. */
static inline unsigned char byte_at(uint64_t pos)
{
	return (unsigned char)((pos * 0x9e3779b97f4a7c15ULL) >> 56);
}

static void reader(int fd, int result)
{
	unsigned char buf[8192];
	uint64_t pos = 0, seed = 42;
	ssize_t n;

	while ((n = read(fd, buf, 1 + test_random(&seed) % sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++, pos++) {
			if (buf[i] != byte_at(pos)) {
				fprintf(stderr, "wrong byte at %llu\n", (unsigned long long)pos);
				_exit(1);
			}
		}
		if (test_random(&seed) % 64 == 0)
			usleep(200);
	}
	CHECK(n == 0);
	CHECK(write(result, &pos, sizeof(pos)) == sizeof(pos));
	_exit(0);
}

static void fill(unsigned char *p, uint32_t len, uint64_t pos)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = byte_at(pos + i);
}

static uint32_t random_len(uint64_t *seed)
{
	switch (test_random(seed) % 20) {
	case 0:
		return 16384 + (uint32_t)(test_random(seed) % 60000); /* in place */
	case 1:
	case 2:
		return 1 + (uint32_t)(test_random(seed) % 9000);
	default:
		return 1 + (uint32_t)(test_random(seed) % 300);
	}
}

static void run(int domain, uint64_t seed)
{
	int small = 4096, lfd, fd, qd, status, n, result[2];
	static demi_qtoken_t window[64];
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, domain);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	uint64_t pos = 0, got;
	pid_t pid;

	lfd = socket(domain, SOCK_STREAM, 0);
	CHECK(lfd >= 0 && !setsockopt(lfd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	CHECK(!bind(lfd, (struct sockaddr *)&ss, len) && !listen(lfd, 1));
	len = sizeof(ss);
	CHECK(!getsockname(lfd, (struct sockaddr *)&ss, &len) && !pipe(result));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		fd = accept(lfd, NULL, NULL);
		CHECK(fd >= 0);
		reader(fd, result[1]);
	}
	test_init();
	if (!has_domain(domain)) {
		kill(pid, SIGKILL);
		return;
	}
	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_setsockopt(qd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	wait_ok(qt, DEMI_OPC_CONNECT);
	for (int i = 0; i < PUSHES; i++) {
		demi_sgarray_t sga = demi_sgaalloc(random_len(&seed));
		uint32_t slot = (uint32_t)i % 64;

		CHECK(sga.sga_numsegs == 1);
		fill(sga.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_len, pos);
		pos += sga.sga_segs[0].sgaseg_len;
		if (i >= 64) {
			wait_ok(window[slot], DEMI_OPC_PUSH);
		}
		OK(demi_push(&window[slot], qd, &sga));
		OK(demi_sgafree(&sga)); /* free protection: the queue has it still */
	}
	for (int i = 0; i < 64; i++)
		wait_ok(window[i], DEMI_OPC_PUSH);
	OK(demi_close(qd)); /* what is queued drains */
	while (waitpid(pid, &status, WNOHANG) == 0) { /* waits drive the drain, though there is nothing to wait for */
		CHECK_ERR(demi_wait_next_n(&qr, 1, &n, NULL), ENOENT);
		usleep(1000);
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(read(result[0], &got, sizeof(got)) == sizeof(got));
	CHECK(got == pos);
	printf("domain %d: %llu bytes in %d pushes\n", domain, (unsigned long long)pos, PUSHES);
}

int main(void)
{
	uint64_t seed = test_seed();

	for (int i = 0; i < 2; i++) {
		pid_t pid = fork(); /* a context of its own for each */

		CHECK(pid >= 0);
		if (!pid) {
			run(i ? AF_UNIX : AF_INET, seed + (uint64_t)i);
			exit(0);
		}
		CHECK(test_wait(pid) == 0);
	}
	return 0;
}
