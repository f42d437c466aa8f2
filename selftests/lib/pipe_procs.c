// SPDX-License-Identifier: MIT
// timeout: 120
/* Two processes: random elements both ways, a pipe passed by its fd, sleeping and waking, no system calls. */
#include "pipe_test.h"

#include <fcntl.h>
#include <sys/socket.h>

static uint64_t seed;

/* Mostly small ones, some beyond a page, a few beyond the arena. */
static size_t random_len(uint64_t *state)
{
	uint64_t r = pipe_test_random(state);

	switch (r % 64) {
	case 0:
		return (r >> 8) % (6U << 20);
	case 1 ... 4:
		return (r >> 8) % 100000;
	case 5 ... 10:
		return 4090 + (r >> 8) % 12;
	default:
		return (r >> 8) % 300;
	}
}

#if defined(__SANITIZE_ADDRESS__) || defined(DEMI_COVERAGE)
enum { ELEMENTS = 1500, PINGS = 10000 };
#else
enum { ELEMENTS = 10000, PINGS = 100000 };
#endif
enum { WINDOW = 16, HELD = 64 };

/*
 * Both sides push ELEMENTS with up to WINDOW of them under way and pop as many, which they hold for a
 * random while, all in one wait_any.
 */
static void traffic(int qd, uint64_t out_seed, uint64_t in_seed)
{
	uint64_t out = out_seed, in = in_seed, mine = out_seed ^ in_seed << 1;
	uint32_t pushed = 0, done = 0, popped = 0, n;
	demi_qtoken_t qts[WINDOW + 1], pop = 0;
	demi_sgarray_t held[HELD] = { 0 };
	size_t held_len[HELD] = { 0 };
	uint32_t held_nr[HELD] = { 0 };
	demi_qresult_t qr;
	int at, err;

	for (n = 0; done < ELEMENTS || popped < ELEMENTS;) {
		while (n < WINDOW && pushed < ELEMENTS) {
			uint64_t before = out;
			size_t len = random_len(&out);
			demi_sgarray_t sga = len ? demi_sgaalloc(len) : pipe_test_sga(NULL, 0);

			CHECK_EQ(sga.sga_numsegs, 1);
			pipe_test_fill(sga.sga_segs[0].sgaseg_buf, len, pushed);
			err = demi_push(&qts[n], qd, &sga);
			if (len)
				CHECK_EQ(demi_sgafree(&sga), 0);
			if (err) {
				CHECK_EQ(err, ENOBUFS);
				out = before;
				break;
			}
			n++;
			pushed++;
		}
		if (!pop && popped < ELEMENTS)
			CHECK_EQ(demi_pop(&pop, qd), 0);
		qts[n] = pop;
		CHECK_EQ(demi_wait_any(&qr, &at, qts, (int)n + (pop != 0), NULL), 0);
		if (qr.qr_opcode == DEMI_OPC_PUSH) {
			qts[at] = qts[--n];
			done++;
			continue;
		}
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		at = (int)(pipe_test_random(&mine) % HELD);
		if (held[at].sga_numsegs)
			pipe_test_element(&held[at], held_len[at], held_nr[at]);
		held[at] = qr.qr_value.sga;
		held_len[at] = random_len(&in);
		held_nr[at] = popped++;
		pop = 0;
	}
	for (at = 0; at < HELD; at++) {
		if (held[at].sga_numsegs)
			pipe_test_element(&held[at], held_len[at], held_nr[at]);
	}
}

static void traffic_maker(void *arg)
{
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&qd, "traffic"), 0);
	traffic(qd, seed, ~seed);
	CHECK_EQ(demi_close(qd), 0);
}

static void traffic_opener(void *arg)
{
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	qd = pipe_test_open("traffic");
	traffic(qd, ~seed, seed);
	CHECK_EQ(demi_close(qd), 0);
}

static void test_traffic(void)
{
	pid_t a = pipe_test_fork(traffic_maker, NULL), b = pipe_test_fork(traffic_opener, NULL);

	pipe_test_join(a);
	pipe_test_join(b);
}

/* ---- ping-pong ---- */

struct ping {
	uint32_t rounds;
	size_t len;
	bool sleeping; /* never spin */
};

static void ping_setup(const struct ping *ping)
{
	CHECK(!setenv("DEMI_SPIN_US", ping->sleeping ? "0" : "1000000", 1));
	CHECK_EQ(demi_init(NULL), 0);
}

static void pinger(void *arg)
{
	const struct ping *ping = arg;
	int qd;

	ping_setup(ping);
	CHECK_EQ(demi_create_pipe(&qd, "ping"), 0);
	for (uint32_t i = 0; i < ping->rounds; i++) {
		pipe_test_push(qd, ping->len, i);
		pipe_test_pop(qd, ping->len, i);
	}
	if (ping->sleeping)
		CHECK(pipe_test_counter("sleeps") > 0);
	CHECK_EQ(demi_close(qd), 0);
}

static void ponger(void *arg)
{
	const struct ping *ping = arg;
	int qd;

	ping_setup(ping);
	qd = pipe_test_open("ping");
	for (uint32_t i = 0; i < ping->rounds; i++) {
		pipe_test_pop(qd, ping->len, i);
		pipe_test_push(qd, ping->len, i);
	}
	pipe_test_pop_ends(qd, 0);
	CHECK_EQ(demi_close(qd), 0);
}

static void test_ping(uint32_t rounds, size_t len, bool sleeping)
{
	struct ping ping = { .rounds = rounds, .len = len, .sleeping = sleeping };
	pid_t a = pipe_test_fork(pinger, &ping), b = pipe_test_fork(ponger, &ping);

	pipe_test_join(a);
	pipe_test_join(b);
}

/* ---- sleepers for space: a slow popper and a pusher that never spins ---- */

static void flood(void *arg)
{
	struct ping *ping = arg;
	int qd;

	ping_setup(ping);
	CHECK_EQ(demi_create_pipe(&qd, "flood"), 0);
	for (uint32_t i = 0; i < ping->rounds; i++)
		pipe_test_push(qd, ping->len, i);
	CHECK(pipe_test_counter("sleeps") > 0);
	CHECK_EQ(demi_close(qd), 0);
}

static void sip(void *arg)
{
	struct ping *ping = arg;
	int qd;

	ping_setup(ping);
	qd = pipe_test_open("flood");
	for (uint32_t i = 0; i < ping->rounds; i++) {
		if (i % 5000 == 0)
			usleep(20000);
		pipe_test_pop(qd, ping->len, i);
	}
	pipe_test_pop_ends(qd, 0);
	CHECK_EQ(demi_close(qd), 0);
}

static void test_space(void)
{
	struct ping ping = { .rounds = 30000, .len = 1000, .sleeping = true };
	pid_t a = pipe_test_fork(flood, &ping), b = pipe_test_fork(sip, &ping);

	pipe_test_join(a);
	pipe_test_join(b);
}

/* ---- no system calls: both ends in one context, so that nobody is ever kept waiting ---- */

static void spin_only(void *arg)
{
	uint64_t before;
	int a, b;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&a, "spin"), 0);
	CHECK_EQ(demi_open_pipe(&b, "spin"), 0);
	before = pipe_test_counter("syscalls");
	for (unsigned int i = 0; i < PINGS / 4; i++) {
		pipe_test_push(a, 64, i);
		pipe_test_pop(b, 64, i);
		pipe_test_push(b, 10000, i);
		pipe_test_pop(a, 10000, i);
	}
	CHECK_EQ(pipe_test_counter("syscalls"), before);
	CHECK_EQ(pipe_test_counter("sleeps"), 0);
	CHECK_EQ(demi_close(a), 0);
	CHECK_EQ(demi_close(b), 0);
}

/* ---- a pipe by its fd ---- */

static void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(sock, &m, 0), 1);
}

static int recv_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	int fd;

	CHECK_EQ(recvmsg(sock, &m, 0), 1);
	CHECK(CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static int socks[2];

static void fd_sender(void *arg)
{
	int qd, fd;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&qd, "by-fd"), 0);
	pipe_test_push(qd, 5000, 1);
	CHECK_EQ(demi_queue_export(&fd, qd), 0);
	send_fd(socks[0], fd);
	pipe_test_pop(qd, 200, 2);
	pipe_test_pop_ends(qd, 0); /* the exporter's own copy of fd does not hide the end */
	close(fd);
	CHECK_EQ(demi_close(qd), 0);
}

static void importer(int fd)
{
	int qd, memq;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_queue_import(&qd, fd), 0);
	CHECK_EQ(demi_queue_import(&memq, fd), EBUSY);
	pipe_test_pop(qd, 5000, 1);
	pipe_test_push(qd, 200, 2);
	CHECK_EQ(demi_close(qd), 0);
}

static void fd_receiver(void *arg)
{
	importer(recv_fd(socks[1]));
}

/* The same through exec: the fd is inherited by a program that knows its number. */
static void fd_execer(void *arg)
{
	char number[16];
	int fd = recv_fd(socks[1]);

	snprintf(number, sizeof(number), "%d", fd);
	execl("/proc/self/exe", "pipe_procs", number, NULL);
	CHECK(false);
}

static void test_by_fd(void (*receiver)(void *))
{
	pid_t a, b;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	a = pipe_test_fork(fd_sender, NULL);
	b = pipe_test_fork(receiver, NULL);
	pipe_test_join(a);
	pipe_test_join(b);
	close(socks[0]);
	close(socks[1]);
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		importer(atoi(argv[1]));
		return 0;
	}
	seed = (uint64_t)getpid() << 20 | 1;
	if (getenv("SEED"))
		seed = strtoull(getenv("SEED"), NULL, 0);
	fprintf(stderr, "SEED=%#llx\n", (unsigned long long)seed);
	pipe_test_setup(115);
	test_by_fd(fd_receiver);
	test_by_fd(fd_execer);
	test_traffic();
	CHECK(!setenv("DEMI_PIPE_BYTES", "64K", 1)); /* now most large elements are streamed */
	test_traffic();
	CHECK(!unsetenv("DEMI_PIPE_BYTES"));
	pipe_test_join(pipe_test_fork(spin_only, NULL));
	test_space();
	test_ping(PINGS, 64, true);
	test_ping(2000, 20000, true);
	test_ping(20000, 64, false);
	pipe_test_cleanup();
	return 0;
}
