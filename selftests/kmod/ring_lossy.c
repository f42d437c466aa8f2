// SPDX-License-Identifier: MIT
/* uses: libdemi.a, modules: veth sch_netem, timeout: 900 */
/*
 * TCP over a bad network: 100 Mbit/s, 10 ms there and back, one packet in a hundred lost, one in a hundred overtaken.
 * libdemi over flow queues sends to the kernel and receives from it, and beside it, in turn, the kernel does so with
 * itself. Every byte is looked at. What is counted goes to $DEMI_VM_OUT/ring_lossy: bytes by time, of all rounds
 * together, of libdemi over the kernel's. Without that folder there is one short round, and no figure.
 *
 *	near 10.1.0.1 -- 10.1.0.2 router 10.2.0.2 -- 10.2.0.1 far
 *
 * The router delays and drops, each packet for itself: the ends' own devices have cut what they send.
 */
#include "kmod.h"
#include "tcp_test.h"

#include <time.h>

#define NEAR "10.1.0.1"
#define FAR "10.2.0.1"
#define NETEM "netem limit 2000 rate 100mbit delay 5ms loss 1% reorder 1%"

static uint64_t bytes = 1 << 20;

struct run {
	bool demi; /* the near end is libdemi's */
	bool tx; /* the near end sends */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- one end ---- */

static int kernel_send(int fd)
{
	uint64_t sent = 0;

	while (sent < bytes) {
		size_t n = bytes - sent < CHUNK ? bytes - sent : CHUNK;
		ssize_t m = send(fd, pattern + sent % PERIOD, n, MSG_NOSIGNAL);

		NEED(m > 0);
		sent += (uint64_t)m;
	}
	return 0;
}

static int kernel_receive(int fd)
{
	static uint8_t in[CHUNK];
	uint64_t got = 0;
	ssize_t n;

	while (got < bytes) {
		n = recv(fd, in, sizeof(in), 0);
		NEED(n > 0 && is_pattern(in, (size_t)n, got));
		got += (uint64_t)n;
	}
	return 0;
}

/* The far end: the kernel's, for @count connections. Who receives says with one byte that it has all. */
static int far_end(int ns, int out, const struct run *runs, int count)
{
	int fd, conn, i, err;
	uint16_t port;
	char c = 1;

	NEED(!dt_netns_enter(ns));
	fd = dt_socket(SOCK_STREAM, FAR, 0);
	NEED(fd >= 0 && !listen(fd, 8));
	port = port_of(fd);
	NEED(write(out, &port, sizeof(port)) == sizeof(port));
	for (i = 0; i < count; i++) {
		conn = accept(fd, NULL, NULL);
		NEED(conn >= 0);
		err = runs[i].tx ? kernel_receive(conn) : kernel_send(conn);
		NEED(!err);
		if (runs[i].tx)
			NEED(send(conn, &c, 1, 0) == 1);
		close(conn);
	}
	return 0;
}

static int kernel_near(uint16_t port, bool tx)
{
	int fd = kernel_connect(FAR, port), err;
	char c;

	NEED(fd >= 0);
	err = tx ? kernel_send(fd) : kernel_receive(fd);
	NEED(!err && (!tx || recv(fd, &c, 1, 0) == 1));
	return close(fd);
}

/* Several pushes are under way, as the kernel has a send buffer. */
static int demi_send_window(int qd)
{
	enum { WINDOW = 8 };
	uint8_t *chunks[WINDOW];
	demi_qtoken_t qts[WINDOW];
	uint64_t at = 0, done = 0;
	demi_qresult_t r;
	int err = 0;

	for (int i = 0; i < WINDOW; i++)
		NEED((chunks[i] = demi_malloc(CHUNK)));
	while (!err && done < bytes) {
		while (!err && at < bytes && at < done + WINDOW * CHUNK) {
			int i = (int)(at / CHUNK % WINDOW);

			err = push_at(qd, chunks[i], at, bytes, &qts[i]);
			at += CHUNK;
		}
		if (!err)
			err = finish(qts[done / CHUNK % WINDOW], DEMI_OPC_PUSH, &r);
		done += CHUNK;
	}
	for (int i = 0; i < WINDOW; i++)
		demi_free(chunks[i]);
	return err;
}

static int demi_near(uint16_t port, bool tx)
{
	demi_qresult_t r;
	demi_qtoken_t qt;
	int qd, err;

	err = demi_connected(FAR, port, &qd);
	if (!err)
		err = tx ? demi_send_window(qd) : one_way(qd, false, bytes);
	if (!err && tx) {
		NEED(!(errno = demi_pop(&qt, qd)));
		err = finish(qt, DEMI_OPC_POP, &r);
		demi_sgafree(&r.qr_value.sga);
	}
	NEED(err || !(errno = demi_close(qd)));
	return err;
}

/* ---- the network ---- */

static int no_offloads(const char *name)
{
	int err = ethtool_set(name, ETHTOOL_STSO, 0);

	if (!err)
		err = ethtool_set(name, ETHTOOL_SGSO, 0);
	return err ? err : ethtool_set(name, ETHTOOL_SGRO, 0);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* What one connection found out is not the next one's. */
static int end_host(const char *device, const char *address, const char *router)
{
	NEED(!dt_ip("addr add %s/24 dev %s\nlink set %s up\nroute add default via %s", address, device, device,
		    router));
	NEED(!no_offloads(device));
	return write_file("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
}

/* Namespaces of both ends; the current one is the near end's. */
static int network(int *near, int *far)
{
	int router;

	*far = dt_netns();
	router = dt_netns();
	*near = dt_netns();
	NEED(*far >= 0 && router >= 0 && *near >= 0);
	NEED(!dt_ip("link add near0 type veth peer name near1 netns /proc/self/fd/%d", router));
	NEED(!dt_netns_enter(router));
	NEED(!dt_ip(
		"link add far1 type veth peer name far0 netns /proc/self/fd/%d\n"
		"addr add 10.1.0.2/24 dev near1\naddr add 10.2.0.2/24 dev far1\nlink set near1 up\nlink set far1 up",
		*far));
	NEED(!write_file("/proc/sys/net/ipv4/ip_forward", "1"));
	NEED(!no_offloads("near1") && !no_offloads("far1"));
	if (dt_sh("tc qdisc add dev near1 root " NETEM " && tc qdisc add dev far1 root " NETEM))
		return KSFT_SKIP;
	NEED(!dt_netns_enter(*far) && !end_host("far0", FAR, "10.2.0.2"));
	NEED(!dt_netns_enter(*near) && !end_host("near0", NEAR, "10.1.0.2"));
	return 0;
}

/* ---- all of it ---- */

/* Seconds of each kind, in all rounds. */
static double total[2][2];

static void say_counters(void)
{
	static const char *const names[] = { "TcpOutSegs",
					     "TcpRetransSegs",
					     "TcpExtTCPTimeouts",
					     "TcpExtTCPFastRecovery",
					     "TcpExtTCPSpuriousRTOs",
					     "TcpExtTCPLossProbes" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint64_t v = 0;

		if (!demi_counter(&v, names[i]))
			printf("# %s %llu\n", names[i], (unsigned long long)v);
	}
}

static int rounds(int far, int n)
{
	struct run *runs = calloc((size_t)n * 4, sizeof(*runs));
	int fds[2], i, err = 0, status;
	uint16_t port;
	pid_t pid;

	NEED(runs && !pipe(fds));
	for (i = 0; i < 4 * n; i++)
		runs[i] = (struct run){ .demi = !(i & 1), .tx = !(i & 2) };
	pid = fork();
	NEED(pid >= 0);
	if (!pid)
		_exit(far_end(far, fds[1], runs, 4 * n) != 0);
	NEED(!(errno = demi_init(NULL)));
	NEED(read(fds[0], &port, sizeof(port)) == sizeof(port));
	for (i = 0; i < 4 * n && !err; i++) {
		uint64_t start_ns = now_ns();
		double s;

		err = runs[i].demi ? demi_near(port, runs[i].tx) : kernel_near(port, runs[i].tx);
		s = (double)(now_ns() - start_ns) / 1e9;
		total[runs[i].demi][runs[i].tx] += s;
		printf("# %s %s: %.2f Mbit/s\n", runs[i].demi ? "demi" : "kernel", runs[i].tx ? "sends" : "receives",
		       8e-6 * (double)bytes / s);
	}
	NEED(err || (waitpid(pid, &status, 0) == pid && status == 0));
	say_counters();
	free(runs);
	return err;
}

FIXTURE(lossy)
{
	int near, far;
};

FIXTURE_SETUP(lossy)
{
	int err;

	setenv("DEMI_LIBOS", "ring", 1);
	setenv("DEMI_LOG", "warn", 1);
	pattern_init();
	err = network(&self->near, &self->far);
	if (err == KSFT_SKIP)
		SKIP(return, "this kernel has no netem");
	ASSERT_EQ(0, err);
}

FIXTURE_TEARDOWN(lossy)
{
}

TEST_F_TIMEOUT(lossy, goodput, 900)
{
	const char *folder = getenv("DEMI_VM_OUT");
	int n = folder ? 10 : 1;
	char path[512];
	FILE *out;

	if (folder)
		bytes = 3 << 20;
	ASSERT_EQ(0, rounds(self->far, n));
	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/ring_lossy", folder);
	out = fopen(path, "w");
	ASSERT_NE(NULL, out);
	fprintf(out, "lossy_vs_linux_tx %.3f\nlossy_vs_linux_rx %.3f\n", total[0][1] / total[1][1],
		total[0][0] / total[1][0]);
	for (int demi = 0; demi < 2; demi++)
		for (int tx = 0; tx < 2; tx++)
			fprintf(out, "lossy_%s_%s_mbit %.2f\n", demi ? "demi" : "linux", tx ? "tx" : "rx",
				8e-6 * (double)bytes * n / total[demi][tx]);
	ASSERT_EQ(0, fclose(out));
}

TEST_HARNESS_MAIN
