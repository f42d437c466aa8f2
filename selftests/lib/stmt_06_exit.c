/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring */
/*
 * Design, statement 6: a normal exit drains what was pushed; exit() in a signal handler that interrupted the library
 * does not hang, and a peer that has not got everything sees a reset, not an orderly end.
 */
#include "lib/check.h"

#include <netinet/tcp.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#define CHUNK 100000
#define TOTAL (100 * CHUNK)

static char data[CHUNK];
static _Atomic(size_t) *pushed; /* by the child */
static int server; /* a plain listening socket of the parent */
static struct sockaddr_storage addr;
static socklen_t addrlen;

static void listen_on(int domain)
{
	memset(&addr, 0, sizeof(addr));
	addrlen = sizeof(addr);
	server = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(server >= 0);
	addr.ss_family = (sa_family_t)domain;
	if (domain == AF_UNIX) {
		OK(bind(server, (struct sockaddr *)&addr, sizeof(sa_family_t))); /* autobind: an abstract name */
	} else {
		((struct sockaddr_in *)&addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		OK(bind(server, (struct sockaddr *)&addr, sizeof(struct sockaddr_in)));
	}
	OK(listen(server, 8));
	OK(getsockname(server, (struct sockaddr *)&addr, &addrlen));
}

static int connected(void)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd;

	OK(demi_socket(&qd, addr.ss_family, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&addr, addrlen));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	return qd;
}

/* The library's own network stack has no Unix sockets. A child looks: a context would not outlive a fork. */
static bool has_unix(void)
{
	int qd, status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		init_sockets();
		_exit(demi_socket(&qd, AF_UNIX, SOCK_STREAM, 0) != 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return !status;
}

/* Read to the end; how many bytes, and how it ended. They are the right ones. */
static size_t read_all(int fd, bool slow, int *err)
{
	static char buf[1 << 16];
	size_t got = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i += 61)
			CHECK(buf[i] == data[(got + (size_t)i) % CHUNK]);
		got += (size_t)n;
		if (slow && got % 16 == 0)
			sleep_ms(1);
	}
	*err = n < 0 ? errno : 0;
	return got;
}

/* A child that does not outlive this program, whatever happens to either. */
static pid_t start_child(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static int finish(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

/* ---- a normal end: of main, of exit(), of the thread's context ---- */

static void push_and_end(int how)
{
	int qd;

	init_sockets();
	qd = connected();
	for (int i = 0; i < TOTAL / CHUNK; i++)
		push_start(qd, data, CHUNK);
	if (how == 1)
		pop_start(qd); /* something is pending, and a result is unconsumed */
	if (how == 2) {
		pop_start(new_queue());
		demi_close(qd);
	}
	exit(0);
}

static void test_normal(int domain)
{
	for (int how = 0; how < 3; how++) {
		size_t got;
		pid_t pid;
		int fd, err;

		listen_on(domain);
		pid = start_child();
		if (!pid) {
			alarm(60);
			push_and_end(how);
		}
		fd = accept(server, NULL, NULL);
		CHECK(fd >= 0);
		sleep_ms(20);
		got = read_all(fd, true, &err);
		CHECK_EQ(err, 0);
		CHECK_EQ(got, TOTAL);
		CHECK_EQ(finish(pid), 0);
		close(fd);
		close(server);
	}
}

/* Nobody reads: the end is put off by DEMI_EXIT_LINGER_MS, no longer, and the peer learns that data was lost. */
static void test_linger(void)
{
	size_t got;
	pid_t pid;
	int fd, err;

	listen_on(AF_INET);
	pid = start_child();
	if (!pid) {
		alarm(60);
		setenv("DEMI_EXIT_LINGER_MS", "50", 1);
		push_and_end(0);
	}
	fd = accept(server, NULL, NULL);
	CHECK(fd >= 0);
	CHECK_EQ(finish(pid), 0); /* without having read anything */
	got = read_all(fd, false, &err);
	CHECK(got < TOTAL);
	CHECK_EQ(err, ECONNRESET);
	close(fd);
	close(server);
}

/* ---- exit() in a handler that interrupted a call of the library ---- */

static void on_alarm(int sig)
{
	demi_qresult_t qr;
	int n;

	if (demi_wait_next_n(&qr, 1, &n, &check_now) == EDEADLK)
		exit(3);
}

static void push_for_ever(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval it = { { 0, 700 }, { 0, 700 + (long)rnd_below(20000) } };
	demi_sgarray_t sga = sga_of(data, CHUNK);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd, mq, n;

	init_sockets();
	qd = connected();
	mq = new_queue();
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(setitimer(ITIMER_REAL, &it, NULL));
	for (;;) {
		int err = demi_push(&qt, qd, &sga);

		CHECK(err == 0 || err == ENOBUFS);
		if (!err)
			atomic_fetch_add(pushed, CHUNK);
		demi_push(&qt, mq, &sga);
		demi_pop(&qt, mq);
		demi_close(new_queue());
		while (!demi_wait_next_n(&qr, 1, &n, &check_now)) {
			if (qr.qr_opcode == DEMI_OPC_POP)
				demi_sgafree(&qr.qr_value.sga);
		}
	}
}

static void test_handler(int rounds)
{
	int resets = 0;

	for (int i = 0; i < rounds; i++) {
		size_t got;
		pid_t pid;
		int fd, err;

		listen_on(AF_INET);
		atomic_store(pushed, 0);
		rnd();
		pid = start_child();
		if (!pid)
			push_for_ever();
		fd = accept(server, NULL, NULL);
		CHECK(fd >= 0);
		if (i % 2) { /* nobody reads until the end */
			CHECK_EQ(finish(pid), 3 << 8);
			got = read_all(fd, false, &err);
		} else {
			got = read_all(fd, false, &err);
			CHECK_EQ(finish(pid), 3 << 8);
		}
		CHECK(err == 0 || err == ECONNRESET);
		resets += err != 0;
		if (got < atomic_load(pushed))
			CHECK_EQ(err, ECONNRESET);
		close(fd);
		close(server);
	}
	printf("%d of %d connections were reset\n", resets, rounds);
	CHECK(resets > 0);
}

int main(void)
{
	alarm(100);
	check_seed();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 131 + i / 257);
	pushed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(pushed != MAP_FAILED);
	setenv("DEMI_EXIT_LINGER_MS", "20000", 1);
	test_normal(AF_INET);
	if (has_unix())
		test_normal(AF_UNIX);
	test_linger();
	if (!SLOW) /* a sanitizer's own exit handlers take the locks of its allocator, in which the signal may hit */
		test_handler(40);
	return 0;
}
