// SPDX-License-Identifier: MIT
/* uses: libdemi.a */
/*
 * TCP through libdemi's ring backend and the module, with the kernel's TCP and other demi processes on the other side:
 * on this host and across a cable, IPv4 and IPv6, every byte looked at, both ends closing. The kernel answers nothing
 * that is not its own: no reset leaves it.
 */
#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kdev/kdev.h"

#include "kmod.h"
#include "tcp_test.h"

static size_t bulk = 3 << 20;

/* Who is where. Addresses as text: of demi's side, of the other one's. */
struct link {
	const char *demi, *peer;
	int there; /* the peer's namespace, -1: this one */
	bool demi_listens;
};

/* ---- the kernel's side ---- */

/* Send and receive @bytes at once; the end of this direction, then the other's. */
static int kernel_talk(int fd, uint64_t bytes)
{
	static uint8_t in[CHUNK];
	uint64_t sent = 0, got = 0;
	bool end = false;

	while (sent < bytes || !end) {
		struct pollfd p = { fd, (short)((end ? 0 : POLLIN) | (sent < bytes ? POLLOUT : 0)), 0 };
		ssize_t n;

		NEED(poll(&p, 1, 100000) > 0);
		if (p.revents & POLLOUT) {
			n = send(fd, pattern + sent % PERIOD, bytes - sent < CHUNK ? bytes - sent : CHUNK,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
			NEED(n > 0 || errno == EAGAIN);
			sent += n > 0 ? (uint64_t)n : 0;
			NEED(sent < bytes || !shutdown(fd, SHUT_WR));
		}
		if (!end && p.revents & (POLLIN | POLLHUP)) {
			n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			NEED(n >= 0 || errno == EAGAIN);
			NEED(n < 0 || is_pattern(in, (size_t)n, got));
			got += n > 0 ? (uint64_t)n : 0;
			end = n == 0;
		}
	}
	NEED(got == bytes);
	return close(fd);
}

/* ---- demi's side ---- */

/* As kernel_talk(); pushes lend their memory. */
static int demi_talk(int qd, uint64_t bytes)
{
	uint8_t *chunk = demi_malloc(CHUNK);
	uint64_t sent = 0, got = 0;
	demi_qtoken_t qts[2]; /* the pop, the push */
	bool end = false;
	demi_qresult_t r;
	int at, err;

	NEED(chunk && bytes);
	NEED(!(errno = demi_pop(&qts[0], qd)));
	err = push_at(qd, chunk, 0, bytes, &qts[1]);
	while (!err && (!end || sent < bytes)) {
		at = end;
		if (end || sent == bytes)
			NEED(!(errno = demi_wait(&r, qts[at], &limit)));
		else
			NEED(!(errno = demi_wait_any(&r, &at, qts, 2, &limit)));
		errno = (int)r.qr_ret;
		NEED(r.qr_opcode == (at ? DEMI_OPC_PUSH : DEMI_OPC_POP) && !r.qr_ret);
		if (at) {
			sent += bytes - sent < CHUNK ? bytes - sent : CHUNK;
			if (sent == bytes)
				NEED(!(errno = demi_shutdown(qd, SHUT_WR)));
			else
				err = push_at(qd, chunk, sent, bytes, &qts[1]);
			continue;
		}
		NEED(r.qr_value.sga.sga_numsegs == 1);
		NEED(is_pattern(r.qr_value.sga.sga_segs[0].sgaseg_buf, r.qr_value.sga.sga_segs[0].sgaseg_len, got));
		got += r.qr_value.sga.sga_segs[0].sgaseg_len;
		end = !r.qr_value.sga.sga_segs[0].sgaseg_len;
		demi_sgafree(&r.qr_value.sga);
		NEED(end || !(errno = demi_pop(&qts[0], qd)));
	}
	NEED(err || got == bytes);
	demi_free(chunk);
	NEED(!(errno = demi_close(qd)));
	return err;
}

/* ---- both sides ---- */

/* The kernel's side in a process of its own, which has a port from @in if it connects, and writes its own to @out. */
static int kernel_side(const struct link *l, int in, int out)
{
	uint16_t port;
	int fd, conn;

	NEED(l->there < 0 || !dt_netns_enter(l->there));
	if (l->demi_listens) {
		NEED(read(in, &port, sizeof(port)) == sizeof(port));
		while ((conn = kernel_connect(l->demi, port)) == -ENETUNREACH) /* the cable is out */
			usleep(10000);
	} else {
		fd = dt_socket(SOCK_STREAM, l->peer, 0);
		NEED(fd >= 0 && !listen(fd, 8));
		port = port_of(fd);
		NEED(write(out, &port, sizeof(port)) == sizeof(port));
		conn = accept(fd, NULL, NULL);
		close(fd);
	}
	NEED(conn >= 0);
	return kernel_talk(conn, bulk);
}

static int demi_side(const struct link *l, int in, int out)
{
	int listener, qd, err;
	uint16_t port;

	if (l->demi_listens) {
		listener = demi_listener(l->demi, &port);
		NEED(listener > 0);
		NEED(write(out, &port, sizeof(port)) == sizeof(port));
		err = demi_accepted(listener, &qd);
		NEED(!demi_close(listener)); /* its connections keep the port */
	} else {
		NEED(read(in, &port, sizeof(port)) == sizeof(port));
		err = demi_connected(l->peer, port, &qd);
	}
	return err ? err : demi_talk(qd, bulk);
}

/* What is closed goes on as long as somebody waits: the other process's end may need that. */
static int ended(pid_t pid)
{
	static const struct timespec moment = { .tv_nsec = 10000000 };
	demi_qresult_t r;
	pid_t which;
	int status, n;

	while (!(which = waitpid(pid, &status, WNOHANG))) {
		NEED(demi_wait_next_n(&r, 1, &n, &moment));
		usleep(1000);
	}
	NEED(which == pid && status == 0);
	return 0;
}

/* One connection. The other end is the kernel's, or, if @demi_too, another demi process's. */
static int connection(const struct link *l, bool demi_too)
{
	struct link other = { l->peer, l->demi, -1, !l->demi_listens };
	int there[2], back[2], err;
	pid_t pid;

	NEED(!pipe(there) && !pipe(back));
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		if (!demi_too)
			_exit(kernel_side(l, there[0], back[1]) != 0);
		errno = demi_init(NULL);
		exit(errno || demi_side(&other, there[0], back[1]));
	}
	NEED(!(errno = demi_init(NULL)));
	err = demi_side(l, back[0], there[1]);
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
	return err ? err : ended(pid);
}

/* Resets that the kernel of this namespace has sent. */
static long resets(void)
{
	FILE *f = fopen("/proc/self/net/snmp", "r");
	long v = -1, values[14];
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		int at = 4, n = 0, used;

		if (strncmp(line, "Tcp: ", 5) || strstr(line, "OutRsts"))
			continue;
		while (n < 14 && sscanf(line + at, "%ld%n", &values[n], &used) == 1) {
			at += used;
			n++;
		}
		v = n == 14 ? values[13] : -1;
	}
	if (f)
		fclose(f);
	return v;
}

FIXTURE(ring)
{
	int here, there;
};

FIXTURE_SETUP(ring)
{
	setenv("DEMI_LIBOS", "ring", 1);
	setenv("DEMI_LOG", "warn", 1);
	pattern_init();
	if (kmod_debug_kernel())
		bulk = 1 << 20;
	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	ASSERT_EQ(0, dt_if_up("lo"));
	ASSERT_EQ(0, resets());
}

FIXTURE_TEARDOWN(ring)
{
}

#define LO4 "127.0.0.1"
#define LO6 "::1"

/* A connection of this host with itself. */
#define SAME_HOST(name, address, listens, demi_too)                                                                    \
	TEST_F(ring, name)                                                                                             \
	{                                                                                                              \
		struct link l = { address, address, -1, listens };                                                     \
                                                                                                                       \
		ASSERT_EQ(0, connection(&l, demi_too));                                                                \
		EXPECT_EQ(0, resets());                                                                                \
	}

SAME_HOST(accept_ipv4, LO4, true, false)
SAME_HOST(accept_ipv6, LO6, true, false)
SAME_HOST(connect_ipv4, LO4, false, false)
SAME_HOST(connect_ipv6, LO6, false, false)
SAME_HOST(demi_demi_ipv4, LO4, true, true)
SAME_HOST(demi_demi_ipv6, LO6, false, true)

/* ---- across a cable ---- */

#define CABLE(name, ours, theirs, listens)                                                                             \
	TEST_F(ring, name)                                                                                             \
	{                                                                                                              \
		struct link l = { ours, theirs, -1, listens };                                                         \
                                                                                                                       \
		ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));                                                 \
		l.there = self->there;                                                                                 \
		ASSERT_EQ(0, connection(&l, false));                                                                   \
		EXPECT_EQ(0, resets());                                                                                \
		ASSERT_EQ(0, dt_netns_enter(self->there));                                                             \
		EXPECT_EQ(0, resets());                                                                                \
	}

CABLE(cable_accept_ipv4, "10.0.0.1", "10.0.0.2", true)
CABLE(cable_accept_ipv6, "fd00::1", "fd00::2", true)
CABLE(cable_connect_ipv4, "10.0.0.1", "10.0.0.2", false)
CABLE(cable_connect_ipv6, "fd00::1", "fd00::2", false)

static int set_mtu(const char *name, int mtu)
{
	struct ifreq req = { .ifr_mtu = mtu };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	strncat(req.ifr_name, name, IFNAMSIZ - 1);
	err = fd < 0 || ioctl(fd, SIOCSIFMTU, &req) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* Neither end's device can cut segments, nor put them together. */
TEST_F(ring, gso_off)
{
	struct link l = { "10.0.0.1", "10.0.0.2", -1, true };
	int i;

	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	l.there = self->there;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, ethtool_set("veth0", ETHTOOL_STSO, 0));
		ASSERT_EQ(0, ethtool_set("veth0", ETHTOOL_SGSO, 0));
		ASSERT_EQ(0, ethtool_set("veth0", ETHTOOL_SGRO, 0));
		ASSERT_EQ(0, ethtool_set("veth0", ETHTOOL_STXCSUM, 0));
		ASSERT_EQ(0, dt_netns_enter(i ? self->here : self->there));
	}
	ASSERT_EQ(0, connection(&l, false));
	EXPECT_EQ(0, resets());
}

TEST_F(ring, jumbo)
{
	struct link l = { "fd00::1", "fd00::2", -1, false };

	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	l.there = self->there;
	ASSERT_EQ(0, set_mtu("veth0", 9000));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, set_mtu("veth0", 9000));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	ASSERT_EQ(0, connection(&l, false));
	EXPECT_EQ(0, resets());
}

/* The cable is pulled out for moments, and both ends change their MTU, until somebody ends this. */
static void flap(const struct link *l, int here, unsigned int *flaps)
{
	static const int mtus[] = { 1400, 9000, 1500, 600, 65535, 1500 };

	for (unsigned int i = 0;; i++) {
		int mtu = mtus[i % (sizeof(mtus) / sizeof(mtus[0]))];

		if (dt_netns_enter(here) || set_mtu("veth0", mtu) || dt_netns_enter(l->there) ||
		    set_mtu("veth0", mtu) || dt_if_set("veth0", false))
			_exit(1);
		usleep(50000);
		if (dt_if_set("veth0", true))
			_exit(1);
		++*flaps;
		usleep(400000);
	}
}

/* Much data both ways while the link flaps and its MTU changes: all of it arrives, as it was. */
TEST_F_TIMEOUT(ring, flapping, 600)
{
	struct link l = { "10.0.0.1", "10.0.0.2", -1, true };
	const char *mib = getenv("DEMI_TEST_MIB");
	unsigned int *flaps;
	int status;
	pid_t pid;

	bulk = (size_t)(mib ? atoi(mib) : kmod_debug_kernel() ? 2 : 16) << 20;
	flaps = mmap(NULL, sizeof(*flaps), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, flaps);
	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	l.there = self->there;
	pid = fork();
	if (!pid)
		flap(&l, self->here, flaps);
	EXPECT_EQ(0, connection(&l, false));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status)); /* else it has failed */
	printf("# %u flaps\n", *flaps);
	EXPECT_LT(0, *flaps);
}

/* The only queue there is. */
static int counters_of_queue(struct demi_queue_counters *count)
{
	struct demi_queue_info info;
	uint32_t *ids, n;
	int fd = demi_kdev_open(NULL);

	NEED(fd >= 0 && !demi_kdev_ids(fd, DEMI_QUEUE_LIST, &ids, &n));
	NEED(n == 1 && !demi_kdev_queue_info(fd, ids[0], &info));
	*count = info.counters;
	free(ids);
	return close(fd);
}

/* The other end of it: all that comes, then as much back. */
static int kernel_one_by_one(const struct link *l, int in)
{
	static uint8_t buf[CHUNK];
	uint64_t got = 0, sent = 0;
	uint16_t port;
	ssize_t n;
	int fd;

	NEED(!dt_netns_enter(l->there));
	/* else how much the kernel sends at once depends on how fast this machine is */
	fd = open("/proc/sys/net/ipv4/tcp_min_tso_segs", O_WRONLY | O_CLOEXEC);
	NEED(fd >= 0 && write(fd, "16", 2) == 2 && !close(fd));
	NEED(read(in, &port, sizeof(port)) == sizeof(port));
	fd = kernel_connect(l->demi, port);
	NEED(fd >= 0);
	for (; got < bulk; got += (uint64_t)n) {
		n = recv(fd, buf, sizeof(buf), 0);
		NEED(n > 0 && is_pattern(buf, (size_t)n, got));
	}
	for (; sent < bulk; sent += (uint64_t)n) {
		n = send(fd, pattern + sent % PERIOD, bulk - sent < CHUNK ? bulk - sent : CHUNK, 0);
		NEED(n > 0);
	}
	NEED(recv(fd, buf, 1, 0) == 0);
	return close(fd);
}

/*
 * Segments of far more than the MTU cross the queue whole, both ways: the kernel cuts what is sent, and what came
 * put together is handed over so.
 */
TEST_F(ring, super_segments)
{
	struct link l = { "10.0.0.1", "10.0.0.2", -1, true };
	struct demi_queue_counters before, sent, got;
	int listener, qd, fds[2];
	uint16_t port;
	pid_t pid;

	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	l.there = self->there;
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid)
		_exit(kernel_one_by_one(&l, fds[0]) != 0);
	ASSERT_EQ(0, demi_init(NULL));
	listener = demi_listener(l.demi, &port);
	ASSERT_LT(0, listener);
	ASSERT_EQ(sizeof(port), write(fds[1], &port, sizeof(port)));
	ASSERT_EQ(0, demi_accepted(listener, &qd));
	ASSERT_EQ(0, counters_of_queue(&before));
	ASSERT_EQ(0, one_way(qd, true, bulk));
	ASSERT_EQ(0, counters_of_queue(&sent));
	ASSERT_EQ(0, one_way(qd, false, bulk));
	ASSERT_EQ(0, counters_of_queue(&got));
	ASSERT_EQ(0, demi_close(qd));
	ASSERT_EQ(0, ended(pid));
	printf("# bytes a frame: sent %llu, received %llu\n",
	       (unsigned long long)((sent.tx_bytes - before.tx_bytes) / (sent.tx_frames - before.tx_frames)),
	       (unsigned long long)((got.rx_bytes - sent.rx_bytes) / (got.rx_frames - sent.rx_frames)));
	EXPECT_LT(10 * 1500, (sent.tx_bytes - before.tx_bytes) / (sent.tx_frames - before.tx_frames));
	EXPECT_LT(4 * 1500, (got.rx_bytes - sent.rx_bytes) / (got.rx_frames - sent.rx_frames));
	EXPECT_EQ(0, sent.tx_refused + sent.tx_dropped + sent.tx_unreachable);
}

/* ---- ports and connections ---- */

/* A kernel socket that connects without waiting: it is this thread that answers. */
static int kernel_connect_later(const char *to, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, to, port);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || !connect(fd, (struct sockaddr *)&ss, len) || errno == EINPROGRESS)
		return fd;
	close(fd);
	return -errno;
}

/* A few bytes from the kernel's socket to the queue and back. */
static int echo(int fd, int qd, uint32_t n)
{
	struct pollfd p = { fd, POLLIN, 0 };
	uint32_t back = 0;
	demi_qresult_t r;
	demi_qtoken_t qt;
	int err;

	NEED(send(fd, &n, sizeof(n), MSG_NOSIGNAL) == sizeof(n));
	NEED(!(errno = demi_pop(&qt, qd)));
	err = finish(qt, DEMI_OPC_POP, &r);
	if (err)
		return err;
	NEED(r.qr_value.sga.sga_segs[0].sgaseg_len == sizeof(n));
	NEED(!memcmp(r.qr_value.sga.sga_segs[0].sgaseg_buf, &n, sizeof(n)));
	NEED(!(errno = demi_push(&qt, qd, &r.qr_value.sga)));
	demi_sgafree(&r.qr_value.sga);
	err = finish(qt, DEMI_OPC_PUSH, &r);
	NEED(!err && poll(&p, 1, 100000) == 1 && recv(fd, &back, sizeof(back), 0) == sizeof(back) && back == n);
	return 0;
}

/* Many connections through one listener, which is closed before they are: they keep its port. */
TEST_F(ring, many)
{
	enum { N = 100 };
	int fds[N], qds[N], listener, i;
	demi_qtoken_t qts[N];
	demi_qresult_t r;
	uint16_t port;

	ASSERT_EQ(0, demi_init(NULL));
	listener = demi_listener(LO4, &port);
	ASSERT_LT(0, listener);
	for (i = 0; i < N; i++) {
		ASSERT_EQ(0, demi_accept(&qts[i], listener));
		fds[i] = kernel_connect_later(LO4, port);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, finish(qts[i], DEMI_OPC_ACCEPT, &r));
		qds[i] = r.qr_value.ares.qd;
	}
	ASSERT_EQ(0, demi_close(listener));
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, echo(fds[i], qds[i], i));
	EXPECT_EQ(-EADDRINUSE, dt_socket(SOCK_STREAM, LO4, port));
	for (i = 0; i < N; i++) {
		ASSERT_EQ(0, close(fds[i]));
		ASSERT_EQ(0, demi_pop(&qts[i], qds[i]));
		ASSERT_EQ(0, finish(qts[i], DEMI_OPC_POP, &r));
		EXPECT_EQ(0, r.qr_value.sga.sga_segs[0].sgaseg_len);
		ASSERT_EQ(0, demi_close(qds[i]));
	}
	EXPECT_EQ(0, resets());
}

/* A port is demi's or the kernel's, never both; each answers for its own. */
TEST_F(ring, ports)
{
	static const struct timespec moment = { .tv_nsec = 100000000 };
	int mine, fd, conn, qd, n;
	long before;
	struct sockaddr_storage ss;
	uint16_t port, other;
	demi_qresult_t r;
	demi_qtoken_t qt;
	char c;

	ASSERT_EQ(0, demi_init(NULL));
	mine = demi_listener(LO4, &port);
	ASSERT_LT(0, mine);
	EXPECT_EQ(-EADDRINUSE, dt_socket(SOCK_STREAM, LO4, port));
	/* the same number at another address, and another number at the same one, are the kernel's */
	fd = dt_socket(SOCK_STREAM, "127.0.0.2", port);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, listen(fd, 1));
	conn = kernel_connect("127.0.0.2", port);
	ASSERT_LE(0, conn);
	close(conn);
	close(fd);
	fd = dt_socket(SOCK_STREAM, LO4, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, listen(fd, 1));
	other = port_of(fd);
	ASSERT_EQ(0, demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	ASSERT_EQ(EADDRINUSE, demi_bind(qd, (struct sockaddr *)&ss, dt_sockaddr(&ss, LO4, other)));
	ASSERT_EQ(0, demi_close(qd));
	ASSERT_EQ(0, demi_connected(LO4, other, &qd));
	conn = accept(fd, NULL, NULL);
	ASSERT_LE(0, conn);
	ASSERT_EQ(0, demi_close(qd));
	ASSERT_EQ(ENOENT, demi_wait_next_n(&r, 1, &n, &moment));
	EXPECT_EQ(0, recv(conn, &c, 1, 0));
	close(conn);
	close(fd);
	/* nobody listens there now: the kernel says so to demi, by a reset that is its own */
	before = resets();
	ASSERT_EQ(0, demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	ASSERT_EQ(0, demi_connect(&qt, qd, (struct sockaddr *)&ss, dt_sockaddr(&ss, LO4, other)));
	ASSERT_EQ(0, demi_wait(&r, qt, &limit));
	EXPECT_EQ(DEMI_OPC_FAILED, r.qr_opcode);
	EXPECT_EQ(ECONNREFUSED, r.qr_ret);
	EXPECT_EQ(before + 1, resets());
	ASSERT_EQ(0, demi_close(qd));
	ASSERT_EQ(0, demi_close(mine));
}

/* No route: connect says it, as connect(2) does. */
TEST_F(ring, unreachable)
{
	struct sockaddr_storage ss;
	demi_qresult_t r;
	demi_qtoken_t qt;
	int qd;

	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	ASSERT_EQ(0, demi_connect(&qt, qd, (struct sockaddr *)&ss, dt_sockaddr(&ss, "192.0.2.1", 9)));
	ASSERT_EQ(0, demi_wait(&r, qt, &limit));
	EXPECT_EQ(DEMI_OPC_FAILED, r.qr_opcode);
	EXPECT_EQ(ENETUNREACH, r.qr_ret);
}

/* Without spinning every wait sleeps; what wakes it is the queue's file or the stack's own timer. */
TEST_F(ring, sleep)
{
	uint64_t sleeps = 0;
	int fd, qd, listener, i;
	demi_qtoken_t qt;
	demi_qresult_t r;
	uint16_t port;

	setenv("DEMI_SPIN_US", "0", 1);
	ASSERT_EQ(0, demi_init(NULL));
	listener = demi_listener(LO6, &port);
	ASSERT_LT(0, listener);
	ASSERT_EQ(0, demi_accept(&qt, listener));
	fd = kernel_connect_later(LO6, port);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, finish(qt, DEMI_OPC_ACCEPT, &r));
	qd = r.qr_value.ares.qd;
	for (i = 0; i < 20; i++) {
		pid_t late;

		ASSERT_EQ(0, demi_pop(&qt, qd));
		late = fork();
		if (!late) {
			usleep(20000);
			_exit(send(fd, &i, sizeof(i), 0) != sizeof(i));
		}
		ASSERT_EQ(0, finish(qt, DEMI_OPC_POP, &r));
		EXPECT_EQ(sizeof(i), r.qr_value.sga.sga_segs[0].sgaseg_len);
		demi_sgafree(&r.qr_value.sga);
		ASSERT_EQ(0, ended(late));
	}
	ASSERT_EQ(0, demi_counter(&sleeps, "sleeps"));
	EXPECT_LT(0, sleeps);
}

static void leave(int sig)
{
	exit(0);
}

/* A process that waits for ever on a connection, until a signal's handler ends it. */
static void wait_and_leave(const char *to, uint16_t port)
{
	demi_qresult_t r;
	demi_qtoken_t qt;
	int qd;

	if (demi_init(NULL) || demi_connected(to, port, &qd) || demi_pop(&qt, qd))
		_exit(1);
	signal(SIGUSR1, leave);
	kill(getppid(), SIGUSR2);
	demi_wait(&r, qt, NULL);
	_exit(2);
}

/*
 * exit() in a handler that has interrupted the library: the peer, which says nothing that the kernel could answer, is
 * told by a reset all the same.
 */
static int left_by_handler(const char *address)
{
	struct pollfd p;
	int fd, conn, status;
	sigset_t set;
	pid_t pid;
	char c;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	NEED(!sigprocmask(SIG_BLOCK, &set, NULL));
	fd = dt_socket(SOCK_STREAM, address, 0);
	NEED(fd >= 0 && !listen(fd, 1));
	pid = fork();
	NEED(pid >= 0);
	if (!pid)
		wait_and_leave(address, port_of(fd));
	conn = accept(fd, NULL, NULL);
	NEED(conn >= 0 && sigwaitinfo(&set, NULL) == SIGUSR2);
	NEED(!usleep(20000) && !kill(pid, SIGUSR1));
	NEED(waitpid(pid, &status, 0) == pid && status == 0);
	p = (struct pollfd){ conn, POLLIN, 0 };
	NEED(poll(&p, 1, 100000) == 1);
	NEED(recv(conn, &c, 1, 0) == -1 && errno == ECONNRESET);
	NEED(resets() == 0);
	return close(conn) || close(fd);
}

TEST_F(ring, exit_in_handler_ipv4)
{
	ASSERT_EQ(0, left_by_handler(LO4));
}

TEST_F(ring, exit_in_handler_ipv6)
{
	ASSERT_EQ(0, left_by_handler(LO6));
}

/* An ordinary user, with what a distribution lets him lock, and with less: the rest is copied. */
static int as_nobody(rlim_t memlock)
{
	struct link l = { LO4, LO4, -1, true };
	struct rlimit rl = { memlock, memlock };

	NEED(!chmod("/dev/demi", 0666));
	NEED(!setrlimit(RLIMIT_MEMLOCK, &rl));
	NEED(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	return connection(&l, false);
}

TEST_F(ring, nobody_8_mib)
{
	ASSERT_EQ(0, as_nobody(8 << 20));
	EXPECT_EQ(0, resets());
}

TEST_F(ring, nobody_1_mib)
{
	ASSERT_EQ(0, as_nobody(1 << 20));
	EXPECT_EQ(0, resets());
}

TEST_HARNESS_MAIN
