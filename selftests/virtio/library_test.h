/* SPDX-License-Identifier: MIT */
/* libdemi at one end of the link and the kernel's stack at the other. Include the harness first. */
#ifndef LIBRARY_TEST_H
#define LIBRARY_TEST_H

#include <demi/demi.h>

#include "virtio_test.h"
#include "../kmod/need.h"

#define MINE "10.9.0.3"

static const struct timespec limit = { 60, 0 };

static VT_UNUSED struct sockaddr_in address(const char *ip, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip), .sin_port = htons(port) };
}

static VT_UNUSED void pattern(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 2654435761u + seed) >> 11);
}

static VT_UNUSED bool is_pattern(const uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != (uint8_t)((i * 2654435761u + seed) >> 11))
			return false;
	return true;
}

static VT_UNUSED int kernel_socket(int type, uint16_t port)
{
	struct sockaddr_in me = address(VT_THERE, port);
	struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (void *)&me, sizeof(me)) || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		return -1;
	return fd;
}

static VT_UNUSED int demi_bound(int type, uint16_t port)
{
	struct sockaddr_in me = address(MINE, port);
	int qd;

	errno = demi_socket(&qd, AF_INET, type, 0);
	if (!errno)
		errno = demi_bind(qd, (void *)&me, sizeof(me));
	return errno ? -1 : qd;
}

static VT_UNUSED int push(int qd, const void *data, size_t len, const struct sockaddr_in *to)
{
	demi_sgarray_t sga = demi_sgaalloc(len ? len : 1);
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(sga.sga_numsegs == 1);
	sga.sga_segs[0].sgaseg_len = (uint32_t)len;
	memcpy(sga.sga_segs[0].sgaseg_buf, data, len);
	errno = to ? demi_pushto(&qt, qd, &sga, (const void *)to, sizeof(*to)) : demi_push(&qt, qd, &sga);
	NEED(!errno);
	demi_sgafree(&sga);
	NEED(!(errno = demi_wait(&r, qt, &limit)));
	errno = (int)r.qr_ret;
	NEED(r.qr_opcode == DEMI_OPC_PUSH && !r.qr_ret);
	return 0;
}

static const size_t sizes[] = { 0, 1, 64, 1000, 1400, 1472, 1473, 8000, 30000 };

#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

/* The kernel's end gets something: meanwhile the library runs, which may have to ask for the neighbour first. */
static VT_UNUSED ssize_t receive(int fd, void *buf, size_t room, demi_qtoken_t pop)
{
	static const struct timespec slice = { 0, 10000000 };
	demi_qresult_t r;
	ssize_t n;

	for (int waited = 0; waited < VT_PATIENCE_MS; waited += 10) {
		n = recv(fd, buf, room, MSG_DONTWAIT);
		if (n >= 0 || errno != EAGAIN)
			return n;
		if (demi_wait(&r, pop, &slice) != ETIMEDOUT)
			break;
	}
	return -1;
}

static VT_UNUSED int udp_echo(int rounds)
{
	static uint8_t buf[65536];
	struct sockaddr_in there = address(VT_THERE, 5000), here = address(MINE, 5001);
	int fd = kernel_socket(SOCK_DGRAM, 5000), qd = demi_bound(SOCK_DGRAM, 5001), err;
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(fd >= 0 && qd > 0);
	NEED(!(errno = demi_pop(&qt, qd)));
	for (int i = 0; i < rounds; i++) {
		size_t n = sizes[i % NSIZES];
		const demi_sgaseg_t *seg = &r.qr_value.sga.sga_segs[0];

		pattern(buf, n, i);
		NEED(sendto(fd, buf, n, 0, (void *)&here, sizeof(here)) == (ssize_t)n);
		NEED(!(errno = demi_wait(&r, qt, &limit)));
		NEED(r.qr_opcode == DEMI_OPC_POP && !r.qr_ret);
		NEED(seg->sgaseg_len == n && is_pattern(seg->sgaseg_buf, n, i));
		NEED(!(errno = demi_pop(&qt, qd)));
		err = push(qd, seg->sgaseg_buf, n, &there);
		demi_sgafree(&r.qr_value.sga);
		if (err)
			return err;
		memset(buf, 0, sizeof(buf));
		NEED(receive(fd, buf, sizeof(buf), qt) == (ssize_t)n);
		NEED(is_pattern(buf, n, i));
	}
	NEED(!demi_close(qd) && !close(fd));
	return 0;
}

#endif /* LIBRARY_TEST_H */
