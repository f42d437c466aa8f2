/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, threads */
/*
 * Waits that do not spin sleep, and everything that can complete wakes them: input, room to send, an
 * accept, a connect, a file. With DEMI_SPIN_US=0 each wait sleeps at once: a wake-up that is lost hangs.
 */
#include "sock_test.h"

#include <poll.h>
#include <pthread.h>

static void *peer(void *arg)
{
	int fd = *(int *)arg;
	char c;

	while (read(fd, &c, 1) == 1) {
		if (c % 16 == 0)
			usleep(500); /* so that the other side is asleep for certain */
		if (write(fd, &c, 1) != 1)
			break;
	}
	close(fd);
	return NULL;
}

static void *slow_reader(void *arg)
{
	int fd = *(int *)arg;
	static char buf[1 << 16];
	size_t *got = calloc(1, sizeof(*got));
	ssize_t n;

	CHECK(got);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		*got += (size_t)n;
		usleep(100);
	}
	close(fd);
	return got;
}

static int connected(int *qd, pthread_t *t, void *(*fn)(void *), int *fd)
{
	struct sockaddr_storage ss;
	demi_qtoken_t qt;
	socklen_t len;
	int l = listener(AF_INET, SOCK_STREAM, &ss, &len);

	OK(demi_accept(&qt, l));
	*fd = connect_start(&ss, len);
	*qd = wait_ok(qt, DEMI_OPC_ACCEPT).qr_value.ares.qd;
	connect_finish(*fd);
	OK(demi_close(l));
	CHECK(!pthread_create(t, NULL, fn, fd));
	return 0;
}

static void test_echo(void)
{
	uint64_t sleeps;
	pthread_t t;
	int qd, fd;

	connected(&qd, &t, peer, &fd);
	sleeps = counter("sleeps");
	for (int i = 0; i < 3000; i++) {
		char c = (char)i;

		push(qd, &c, 1);
		pop_is(qd, &c, 1);
	}
	CHECK(counter("sleeps") - sleeps >= 100);
	OK(demi_close(qd));
	while (pthread_tryjoin_np(t, NULL)) {
		static const struct timespec none;
		demi_qresult_t qr;
		int n;

		CHECK_ERR(demi_wait_next_n(&qr, 1, &n, &none), ENOENT);
		usleep(1000);
	}
}

/* Room in the send buffer wakes the sender. */
static void test_room(void)
{
	demi_sgarray_t sga = demi_sgaalloc(8 << 20);
	demi_qtoken_t qt;
	pthread_t t;
	size_t *got;
	int qd, fd;

	connected(&qd, &t, slow_reader, &fd);
	memset(sga.sga_segs[0].sgaseg_buf, 1, 8 << 20);
	OK(demi_push(&qt, qd, &sga));
	wait_ok(qt, DEMI_OPC_PUSH);
	OK(demi_shutdown(qd, SHUT_WR));
	pop_eof(qd);
	OK(demi_close(qd));
	CHECK(!pthread_join(t, (void **)&got) && *got == 8 << 20);
	free(got);
	OK(demi_sgafree(&sga));
}

/* A foreign loop sees the wait fd, for sockets and files. */
static void test_wait_fd(void)
{
	struct pollfd p = { .events = POLLIN };
	demi_qresult_t qr;
	demi_qtoken_t qt;
	pthread_t t;
	int qd, fd, err;

	OK(demi_wait_fd(&p.fd));
	connected(&qd, &t, peer, &fd);
	for (int i = 0; i < 200; i++) {
		static const struct timespec none;
		char c = (char)i;

		push(qd, &c, 1);
		qt = pop_start(qd);
		while ((err = demi_wait(&qr, qt, &none)) == ETIMEDOUT) {
			err = demi_wait_arm();
			if (err == EAGAIN)
				continue;
			OK(err);
			CHECK(poll(&p, 1, 10000) == 1);
		}
		OK(err);
		CHECK(qr.qr_opcode == DEMI_OPC_POP && *(char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf == c);
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	OK(demi_shutdown(qd, SHUT_WR));
	pop_eof(qd);
	OK(demi_close(qd));
	CHECK(!pthread_join(t, NULL));
}

static void test_file(void)
{
	char path[64];
	int qd;

	snprintf(path, sizeof(path), "/tmp/demi-sleep-%d", (int)getpid());
	OK(demi_open(&qd, path, O_RDWR | O_CREAT | O_TRUNC | DEMI_O_DURABLE, 0600));
	unlink(path);
	for (int i = 0; i < 20; i++) {
		push(qd, "abc", 3);
		pop_is(qd, "abc", 3);
	}
	OK(demi_close(qd));
}

int main(void)
{
	setenv("DEMI_SPIN_US", "0", 1);
	test_init();
	test_echo();
	test_room();
	test_wait_fd();
	if (has_domain(AF_UNIX)) /* the kernel's sockets, and files with them */
		test_file();
	return 0;
}
