// SPDX-License-Identifier: MIT
/* Who can have a port: sockets and reservations, in both orders, as bind(2) says. */
#include "kselftest_harness.h"

#include "demi_test.h"

#include <grp.h>
#include <sys/stat.h>

FIXTURE(ports)
{
	struct dt_ctx c, d;
};

FIXTURE_SETUP(ports)
{
	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&self->c));
	ASSERT_EQ(0, dt_open(&self->d));
}

FIXTURE_TEARDOWN(ports)
{
	dt_close(&self->c);
	dt_close(&self->d);
}

static int socket_with(int type, int option, const char *local, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, local, port);
	int fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0), on = 1, err;

	if (fd < 0)
		return -errno;
	if (!(option && setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)) < 0) &&
	    !bind(fd, (struct sockaddr *)&ss, len))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

FIXTURE_VARIANT(ports)
{
	int protocol, type;
};

FIXTURE_VARIANT_ADD(ports, udp){ IPPROTO_UDP, SOCK_DGRAM };
FIXTURE_VARIANT_ADD(ports, tcp){ IPPROTO_TCP, SOCK_STREAM };

/* Two addresses at one port: may both be bound? */
static const struct {
	const char *one, *two;
	uint32_t one_flags, two_flags; /* of reservations */
	bool both;
} pairs[] = {
	{ "127.0.0.1", "127.0.0.1", 0, 0, false },
	{ "127.0.0.1", "127.0.0.2", 0, 0, true },
	{ "127.0.0.1", "0.0.0.0", 0, 0, false },
	{ "0.0.0.0", "0.0.0.0", 0, 0, false },
	{ "::1", "::1", 0, 0, false },
	{ "::1", "::", 0, 0, false },
	{ "0.0.0.0", "::", 0, 0, true },
	{ "127.0.0.1", "::1", 0, 0, true },
	{ "127.0.0.1", "::", 0, DEMI_PORT_F_DUAL, false },
	{ "0.0.0.0", "::", 0, DEMI_PORT_F_DUAL, false },
};

TEST_F(ports, reservation_against_reservation)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		for (int turn = 0; turn < 2; turn++) {
			const char *a = turn ? pairs[i].two : pairs[i].one;
			const char *b = turn ? pairs[i].one : pairs[i].two;
			uint32_t af = turn ? pairs[i].two_flags : pairs[i].one_flags;
			uint32_t bf = turn ? pairs[i].one_flags : pairs[i].two_flags;
			int one = dt_reserve(&self->c, variant->protocol, af, a, 5000);
			int two = dt_reserve(&self->d, variant->protocol, bf, b, 5000);

			ASSERT_LT(0, one);
			if (pairs[i].both) {
				EXPECT_LT(0, two) TH_LOG("%s and %s", a, b);
			} else {
				EXPECT_EQ(-EADDRINUSE, two) TH_LOG("%s and %s", a, b);
			}
			/* what was refused for the one is there when the other has gone */
			ASSERT_EQ(0, dt_release(&self->c, one));
			if (two > 0) {
				ASSERT_EQ(0, dt_release(&self->d, two));
				continue;
			}
			two = dt_reserve(&self->d, variant->protocol, bf, b, 5000);
			ASSERT_LT(0, two);
			ASSERT_EQ(0, dt_release(&self->d, two));
		}
	}
}

/* A socket at :: has both families unless it says otherwise. */
TEST_F(ports, socket_against_reservation)
{
	static const struct {
		const char *sock, *demi;
		uint32_t flags;
		bool both;
	} p[] = {
		{ "127.0.0.1", "127.0.0.1", 0, false },
		{ "127.0.0.1", "127.0.0.2", 0, true },
		{ "0.0.0.0", "127.0.0.1", 0, false },
		{ "127.0.0.1", "0.0.0.0", 0, false },
		{ "::", "127.0.0.1", 0, false },
		{ "::", "0.0.0.0", 0, false },
		{ "0.0.0.0", "::", 0, true },
		{ "0.0.0.0", "::", DEMI_PORT_F_DUAL, false },
		{ "::ffff:127.0.0.1", "127.0.0.1", 0, false },
		{ "::ffff:127.0.0.1", "127.0.0.2", 0, true },
		{ "::ffff:127.0.0.1", "::", 0, true },
		{ "::ffff:127.0.0.1", "::", DEMI_PORT_F_DUAL, false },
	};
	static const int options[] = { 0, SO_REUSEADDR, SO_REUSEPORT };

	for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
		for (size_t o = 0; o < 3; o++) {
			int fd = socket_with(variant->type, options[o], p[i].sock, 5000), r;

			ASSERT_LE(0, fd);
			r = dt_reserve(&self->c, variant->protocol, p[i].flags, p[i].demi, 5000);
			if (p[i].both) {
				EXPECT_LT(0, r) TH_LOG("%s, then %s", p[i].sock, p[i].demi);
			} else {
				EXPECT_EQ(-EADDRINUSE, r) TH_LOG("%s, then %s", p[i].sock, p[i].demi);
			}
			close(fd);
			if (r > 0)
				ASSERT_EQ(0, dt_release(&self->c, r));

			r = dt_reserve(&self->c, variant->protocol, p[i].flags, p[i].demi, 5000);
			ASSERT_LT(0, r);
			fd = socket_with(variant->type, options[o], p[i].sock, 5000);
			if (p[i].both) {
				EXPECT_LE(0, fd) TH_LOG("%s, then %s", p[i].demi, p[i].sock);
			} else {
				EXPECT_EQ(-EADDRINUSE, fd) TH_LOG("%s, then %s", p[i].demi, p[i].sock);
			}
			if (fd >= 0)
				close(fd);
			ASSERT_EQ(0, dt_release(&self->c, r));
		}
	}
}

TEST_F(ports, ephemeral)
{
	struct demi_port_reserve arg = {
		.size = sizeof(arg),
		.protocol = variant->protocol,
		.local = dt_addr("127.0.0.1", 0),
	};
	int fd;

	ASSERT_EQ(0, dt_sh("echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range"));
	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_PORT_RESERVE, &arg));
	EXPECT_LE(40000, ntohs(arg.local.port));
	EXPECT_GE(40001, ntohs(arg.local.port));
	EXPECT_EQ(AF_INET, arg.local.family);
	EXPECT_EQ(-EADDRINUSE, dt_socket(variant->type, "127.0.0.1", ntohs(arg.local.port)));
	/* the other one goes to the next, and then there is none */
	fd = dt_socket(variant->type, "127.0.0.1", 0);
	EXPECT_LE(0, fd);
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&self->d, variant->protocol, 0, "127.0.0.1", 0));
	close(fd);
}

TEST_F(ports, addresses)
{
	EXPECT_EQ(-EADDRNOTAVAIL, dt_reserve(&self->c, variant->protocol, 0, "192.0.2.1", 5000));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_reserve(&self->c, variant->protocol, 0, "2001:db8::1", 5000));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_reserve(&self->c, variant->protocol, 0, "224.1.1.1", 5000));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_reserve(&self->c, variant->protocol, 0, "255.255.255.255", 5000));
	EXPECT_EQ(-EADDRNOTAVAIL, dt_reserve(&self->c, variant->protocol, 0, "ff0e::1", 5000));
	EXPECT_EQ(-EINVAL, dt_reserve(&self->c, variant->protocol, 0, "::ffff:127.0.0.1", 5000));
	EXPECT_EQ(-EINVAL, dt_reserve(&self->c, variant->protocol, DEMI_PORT_F_DUAL, "::1", 5000));
	EXPECT_EQ(-EINVAL, dt_reserve(&self->c, variant->protocol, DEMI_PORT_F_DUAL, "0.0.0.0", 5000));
	EXPECT_EQ(-EINVAL, dt_reserve(&self->c, variant->protocol, 0, NULL, 5000));
	ASSERT_EQ(0, dt_sh("echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind"));
	EXPECT_LT(0, dt_reserve(&self->c, variant->protocol, 0, "192.0.2.1", 5000));
}

/* Sockets bound to different interfaces may share a port, and so may these. */
TEST_F(ports, interfaces)
{
	struct demi_port_reserve arg = {
		.size = sizeof(arg),
		.protocol = variant->protocol,
		.local = dt_addr("0.0.0.0", 5000),
	};

	ASSERT_EQ(0, dt_ip("link add d0 type dummy\nlink set d0 up"));
	arg.ifindex = 4711;
	EXPECT_EQ(-ENODEV, dt_ioctl(self->c.fd, DEMI_PORT_RESERVE, &arg));
	arg.ifindex = if_nametoindex("lo");
	ASSERT_EQ(0, dt_ioctl(self->c.fd, DEMI_PORT_RESERVE, &arg));
	EXPECT_EQ(-EADDRINUSE, dt_ioctl(self->d.fd, DEMI_PORT_RESERVE, &arg));
	arg.ifindex = if_nametoindex("d0");
	EXPECT_EQ(0, dt_ioctl(self->d.fd, DEMI_PORT_RESERVE, &arg));
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&self->d, variant->protocol, 0, "0.0.0.0", 5000));
}

/* Other protocols have other ports. */
TEST_F(ports, protocols)
{
	int other = variant->protocol == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP;

	EXPECT_LT(0, dt_reserve(&self->c, variant->protocol, 0, "127.0.0.1", 5000));
	EXPECT_LT(0, dt_reserve(&self->d, other, 0, "127.0.0.1", 5000));
	EXPECT_EQ(-EOPNOTSUPP, dt_reserve(&self->d, IPPROTO_SCTP, 0, "127.0.0.1", 5001));
}

/* A port whose connections are still there, although nobody listens any more. */
TEST(accepted_connections)
{
	struct sockaddr_storage ss;
	struct dt_ctx c;
	socklen_t len;
	int l, a, fd, r;
	char byte = 7;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&c));
	l = socket_with(SOCK_STREAM, SO_REUSEADDR, "127.0.0.1", 5000);
	fd = dt_socket(SOCK_STREAM, "127.0.0.2", 0);
	len = dt_sockaddr(&ss, "127.0.0.1", 5000);
	ASSERT_EQ(0, listen(l, 1));
	ASSERT_EQ(0, connect(fd, (struct sockaddr *)&ss, len));
	a = accept(l, NULL, NULL);
	ASSERT_LE(0, a);
	close(l);
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&c, IPPROTO_TCP, 0, "127.0.0.1", 5000));
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&c, IPPROTO_TCP, 0, "0.0.0.0", 5000));
	/* on another address of the port, flows and the connection do not meet */
	r = dt_reserve(&c, IPPROTO_TCP, 0, "127.0.0.3", 5000);
	EXPECT_LT(0, r);
	ASSERT_EQ(1, send(fd, &byte, 1, 0));
	ASSERT_EQ(1, recv(a, &byte, 1, 0));
	/* TIME-WAIT counts, too */
	close(a);
	ASSERT_EQ(0, recv(fd, &byte, 1, 0));
	close(fd);
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&c, IPPROTO_TCP, 0, "127.0.0.1", 5000));
}

/* connect() does not choose a reserved port, whatever else there is. */
TEST(connect_chooses_another_port)
{
	struct sockaddr_storage ss, own;
	socklen_t len, ownlen = sizeof(own);
	struct dt_ctx c;
	int l, fd;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_sh("echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range"));
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_LT(0, dt_reserve(&c, IPPROTO_TCP, 0, "0.0.0.0", 40000));
	l = dt_socket(SOCK_STREAM, "127.0.0.1", 5000);
	ASSERT_EQ(0, listen(l, 8));
	len = dt_sockaddr(&ss, "127.0.0.1", 5000);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, connect(fd, (struct sockaddr *)&ss, len));
	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&own, &ownlen));
	EXPECT_EQ(40001, ntohs(((struct sockaddr_in *)&own)->sin_port));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-1, connect(fd, (struct sockaddr *)&ss, len));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
}

/* ---- privileges ---------------------------------------------------------------------------- */

static int become_nobody(void)
{
	return setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) ? -errno : 0;
}

/* What needs a privilege, with @c: the first that is not refused as it should be, or 0 */
static int try_privileged(const struct dt_ctx *c)
{
	struct demi_port_reserve arg = {
		.size = sizeof(arg),
		.protocol = IPPROTO_UDP,
		.local = dt_addr("127.0.0.1", 7000),
	};
	int err;

	if (dt_reserve(c, IPPROTO_UDP, 0, "127.0.0.1", 80) != -EACCES)
		return 1;
	if (dt_reserve(c, IPPROTO_TCP, 0, "::1", 1023) != -EACCES)
		return 2;
	arg.mark = 1;
	if (dt_ioctl(c->fd, DEMI_PORT_RESERVE, &arg) != -EPERM)
		return 3;
	arg.mark = 0;
	arg.priority = 7;
	if (dt_ioctl(c->fd, DEMI_PORT_RESERVE, &arg) != -EPERM)
		return 4;
	arg.priority = 6;
	err = dt_ioctl(c->fd, DEMI_PORT_RESERVE, &arg);
	if (err)
		return 5;
	return 0;
}

TEST(privileges_of_the_caller)
{
	struct dt_ctx c;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_LT(0, dt_reserve(&c, IPPROTO_UDP, 0, "127.0.0.1", 81));
	/* the file of a privileged opener does not help */
	ASSERT_EQ(0, become_nobody());
	EXPECT_EQ(0, try_privileged(&c));
	EXPECT_LT(0, dt_reserve(&c, IPPROTO_UDP, 0, "127.0.0.1", 1024));
}

TEST(privileges_of_the_opener)
{
	struct dt_ctx c;
	int err;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	/* nobody opens, root calls */
	ASSERT_EQ(0, seteuid(65534));
	err = dt_open(&c);
	ASSERT_EQ(0, seteuid(0));
	ASSERT_EQ(0, chmod("/dev/demi", 0660));
	ASSERT_EQ(0, err);
	EXPECT_EQ(0, try_privileged(&c));
}

TEST(unprivileged_port_start)
{
	struct dt_ctx c;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_sh("echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start"));
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_EQ(0, become_nobody());
	EXPECT_LT(0, dt_reserve(&c, IPPROTO_UDP, 0, "127.0.0.1", 80));
	EXPECT_EQ(-EACCES, dt_reserve(&c, IPPROTO_UDP, 0, "127.0.0.1", 79));
}

/* Root of a user namespace may have the low ports of its own network, and of no other. */
TEST(user_namespace)
{
	struct dt_ctx host, own;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, dt_open(&host));
	ASSERT_EQ(0, seteuid(65534));
	if (unshare(CLONE_NEWUSER)) {
		ASSERT_EQ(0, seteuid(0));
		chmod("/dev/demi", 0660);
		SKIP(return, "no user namespaces: %s", strerror(errno));
	}
	EXPECT_EQ(-EACCES, dt_reserve(&host, IPPROTO_UDP, 0, "127.0.0.1", 80));
	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&own));
	EXPECT_LT(0, dt_reserve(&own, IPPROTO_UDP, 0, "127.0.0.1", 80));
}

TEST(reservation_is_its_users)
{
	struct dt_ctx c;
	int fd;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_LT(0, dt_reserve(&c, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	/* another user can neither bind over it nor release it, nor see its flows */
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, become_nobody());
	struct dt_ctx d;
	ASSERT_EQ(0, dt_open(&d));
	fd = socket_with(SOCK_DGRAM, SO_REUSEPORT, "127.0.0.1", 5000);
	EXPECT_EQ(-EADDRINUSE, fd);
	EXPECT_EQ(-EADDRINUSE, dt_reserve(&d, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	EXPECT_EQ(-ENOENT, dt_release(&d, 1));
}

/* The uid of the port is the opener's, for the firewall and for ss(8). */
TEST(uid)
{
	struct dt_ctx c;

	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
	ASSERT_EQ(0, seteuid(65534));
	ASSERT_EQ(0, dt_open(&c));
	ASSERT_EQ(0, seteuid(0));
	ASSERT_LT(0, dt_reserve(&c, IPPROTO_UDP, 0, "127.0.0.1", 5000));
	EXPECT_EQ(0, dt_sh("awk '$2 == \"0100007F:1388\" && $8 == 65534 { found = 1 } END { exit !found }' "
			   "/proc/net/udp"));
	chmod("/dev/demi", 0660);
}

TEST_HARNESS_MAIN
