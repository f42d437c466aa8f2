/* SPDX-License-Identifier: MIT */
/* TCP by libdemi's ring backend and by the kernel, for the tests that put one against the other. */
#ifndef TCP_TEST_H
#define TCP_TEST_H

#include <demi/demi.h>

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <sys/socket.h>

#include "demi_test.h"
#include "need.h"

#define CHUNK 65536
#define PERIOD 65521 /* of the pattern: no power of two, so that a piece in the wrong place shows */

static uint8_t pattern[PERIOD + CHUNK];

static DT_UNUSED void pattern_init(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(((i % PERIOD) * 2654435761u) >> 13);
}

static const struct timespec limit = { 100, 0 };

static DT_UNUSED bool is_pattern(const void *p, size_t len, uint64_t at)
{
	for (size_t n; len; p = (const uint8_t *)p + n, at += n, len -= n) {
		n = len < CHUNK ? len : CHUNK;
		if (memcmp(p, pattern + at % PERIOD, n))
			return false;
	}
	return true;
}

static DT_UNUSED int kernel_connect(const char *to, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, to, port);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || !connect(fd, (struct sockaddr *)&ss, len))
		return fd;
	close(fd);
	return -errno;
}

static DT_UNUSED uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return 0;
	return ntohs(((struct sockaddr_in *)&ss)->sin_port); /* at the same place in sockaddr_in6 */
}

static DT_UNUSED int demi_listener(const char *at, uint16_t *port)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, at, 0);
	int qd;

	errno = demi_socket(&qd, ss.ss_family, SOCK_STREAM, 0);
	if (!errno)
		errno = demi_bind(qd, (struct sockaddr *)&ss, len);
	if (!errno)
		errno = demi_listen(qd, 64);
	len = sizeof(ss);
	if (!errno)
		errno = demi_getsockname(qd, (struct sockaddr *)&ss, &len);
	*port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	return errno ? -1 : qd;
}

static DT_UNUSED int finish(demi_qtoken_t qt, demi_opcode_t opcode, demi_qresult_t *r)
{
	NEED(!(errno = demi_wait(r, qt, &limit)));
	errno = (int)r->qr_ret;
	NEED(r->qr_opcode == opcode && !r->qr_ret);
	return 0;
}

static DT_UNUSED int demi_accepted(int listener, int *qd)
{
	demi_qresult_t r;
	demi_qtoken_t qt;
	int err;

	NEED(!(errno = demi_accept(&qt, listener)));
	err = finish(qt, DEMI_OPC_ACCEPT, &r);
	*qd = r.qr_value.ares.qd;
	return err;
}

static DT_UNUSED int demi_connected(const char *to, uint16_t port, int *qd)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, to, port);
	demi_qresult_t r;
	demi_qtoken_t qt;

	NEED(!(errno = demi_socket(qd, ss.ss_family, SOCK_STREAM, 0)));
	NEED(!(errno = demi_connect(&qt, *qd, (struct sockaddr *)&ss, len)));
	return finish(qt, DEMI_OPC_CONNECT, &r);
}

static DT_UNUSED int push_at(int qd, uint8_t *chunk, uint64_t at, uint64_t bytes, demi_qtoken_t *qt)
{
	demi_sgarray_t sga = { .sga_numsegs = 1 };
	uint32_t n = bytes - at < CHUNK ? (uint32_t)(bytes - at) : CHUNK;

	memcpy(chunk, pattern + at % PERIOD, n);
	sga.sga_segs[0].sgaseg_buf = chunk;
	sga.sga_segs[0].sgaseg_len = n;
	NEED(!(errno = demi_push(qt, qd, &sga)));
	return 0;
}

/* One direction: @send or receive @bytes on @qd, to the end. */
static DT_UNUSED int one_way(int qd, bool send, uint64_t bytes)
{
	uint8_t *chunk = demi_malloc(CHUNK);
	demi_qresult_t r = { 0 };
	demi_qtoken_t qt;
	uint64_t at = 0;
	int err = 0;

	NEED(chunk);
	while (send && at < bytes && !err) {
		err = push_at(qd, chunk, at, bytes, &qt);
		if (!err)
			err = finish(qt, DEMI_OPC_PUSH, &r);
		at += bytes - at < CHUNK ? bytes - at : CHUNK;
	}
	while (!send && at < bytes && !err) {
		NEED(!(errno = demi_pop(&qt, qd)));
		err = finish(qt, DEMI_OPC_POP, &r);
		if (err)
			break;
		NEED(is_pattern(r.qr_value.sga.sga_segs[0].sgaseg_buf, r.qr_value.sga.sga_segs[0].sgaseg_len, at));
		NEED(r.qr_value.sga.sga_segs[0].sgaseg_len);
		at += r.qr_value.sga.sga_segs[0].sgaseg_len;
		demi_sgafree(&r.qr_value.sga);
	}
	demi_free(chunk);
	return err;
}

/* ---- interfaces ---- */

static DT_UNUSED int ethtool_set(const char *name, uint32_t command, uint32_t value)
{
	struct ethtool_value v = { .cmd = command, .data = value };
	struct ifreq req = { .ifr_data = (void *)&v };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	strncat(req.ifr_name, name, IFNAMSIZ - 1);
	err = fd < 0 || ioctl(fd, SIOCETHTOOL, &req) < 0 ? -errno : 0;
	close(fd);
	return err;
}

#endif /* TCP_TEST_H */
