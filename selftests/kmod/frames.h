/* SPDX-License-Identifier: MIT */
/*
 * A queue with memory, and whole frames through it. Its buffers are those of one region, FQ_BUF bytes each;
 * which one is whose is up to the test.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "kmod.h"

#define FQ_BUF 2048
#define FQ_BUFS 128
#define FQ_HDR sizeof(struct virtio_net_hdr_v1)

struct fq {
	struct kmod_queue q;
	uint8_t *mem;
	unsigned int region;
};

static inline int kmod_unregister(int ctx, unsigned int id)
{
	struct demi_region_unregister arg = { .size = sizeof(arg), .region_id = id };

	return kmod_ioctl(ctx, DEMI_REGION_UNREGISTER, &arg);
}

static inline void fq_close(struct fq *q)
{
	if (q->q.fd >= 0)
		kmod_queue_close(&q->q);
	if (q->mem)
		munmap(q->mem, FQ_BUFS * FQ_BUF);
	memset(q, 0, sizeof(*q));
	q->q.fd = -1;
}

/* Its memory goes with the context; fq_close() unmaps it. */
static inline int fq_make(struct fq *q, int ctx, const struct demi_queue_create *request)
{
	int err;

	memset(q, 0, sizeof(*q));
	q->q.fd = -1;
	q->mem = mmap(NULL, FQ_BUFS * FQ_BUF, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (q->mem == MAP_FAILED) {
		q->mem = NULL;
		return -ENOMEM;
	}
	err = kmod_region(ctx, q->mem, FQ_BUFS * FQ_BUF, &q->region);
	if (!err)
		err = kmod_queue_make(&q->q, ctx, request);
	if (err)
		fq_close(q);
	return err;
}

/* A queue of the mock device, whose frames come back, bound to the context if it is not yet. */
static inline int fq_mock(struct fq *q, int ctx, unsigned int entries)
{
	unsigned int device = kmod_device(ctx, "mock0");
	struct demi_queue_create request = kmod_queue_request(device);

	if (!device)
		return -ENODEV;
	kmod_bind(ctx, device, 0);
	request.rx_fill_entries = request.rx_entries = entries;
	request.tx_entries = request.tx_done_entries = entries;
	return fq_make(q, ctx, &request);
}

/* A queue on the host's network; @ifindex of a raw one. */
static inline int fq_host(struct fq *q, int ctx, unsigned int kind, unsigned int ifindex, unsigned int entries)
{
	struct demi_queue_create request = kmod_queue_request(kmod_device(ctx, "host"));

	request.kind = kind;
	request.ifindex = ifindex;
	request.rx_fill_entries = request.rx_entries = entries;
	request.tx_entries = request.tx_done_entries = kind == DEMI_QUEUE_CAPTURE ? 0 : entries;
	return fq_make(q, ctx, &request);
}

static inline uint8_t *fq_buf(const struct fq *q, unsigned int i)
{
	return q->mem + i * FQ_BUF;
}

static inline unsigned int kmod_filled(const struct kmod_ring *r)
{
	return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - *r->consumer;
}

/* Post buffer @i whole. */
static inline void fq_post(struct fq *q, unsigned int i)
{
	kmod_put(&q->q.rx_fill, (struct demi_desc){ i * FQ_BUF, FQ_BUF, q->region, 0 });
}

/* Sleep until a ring has something: how many entries, or 0 after @ms without. */
static inline unsigned int fq_wait(struct fq *q, struct kmod_ring *r, int ms)
{
	struct pollfd p = { .fd = q->q.fd, .events = POLLIN };
	unsigned int n;

	__atomic_store_n(r->flags, DEMI_RING_NEED_WAKEUP, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (!(n = kmod_filled(r)) && poll(&p, 1, ms) > 0 && !(p.revents & (POLLHUP | POLLERR)))
		;
	__atomic_store_n(r->flags, 0, __ATOMIC_RELAXED);
	return n;
}

/*
 * The next frame, copied to @to; its length, -ENOENT if none comes within @ms, -EMSGSIZE if it is longer than @room.
 * Its buffers are posted again.
 */
static inline int fq_recv(struct fq *q, void *to, unsigned int room, int ms)
{
	struct demi_desc d = {};
	unsigned int len = 0;

	if (!fq_wait(q, &q->q.rx, ms))
		return -ENOENT;
	do {
		if (!kmod_take(&q->q.rx, &d))
			return -EIO;
		if (len + d.len <= room)
			memcpy((uint8_t *)to + len, q->mem + d.offset, d.len);
		len += d.len;
		fq_post(q, d.offset / FQ_BUF);
	} while (d.flags & DEMI_DESC_F_MORE);
	return len <= room ? (int)len : -EMSGSIZE;
}

/* Send one buffer's worth from buffer @i, virtio_net_hdr_v1 included, and wait until it came back. 0 or its error. */
static inline int fq_send(struct fq *q, unsigned int i, const void *from, unsigned int len)
{
	struct demi_desc d;
	int err;

	memcpy(fq_buf(q, i), from, len);
	kmod_put(&q->q.tx, (struct demi_desc){ i * FQ_BUF, len, q->region, 0 });
	err = kmod_kick(q->q.fd, NULL);
	if (err)
		return err;
	if (!fq_wait(q, &q->q.tx_done, 10000) || !kmod_take(&q->q.tx_done, &d))
		return -ETIMEDOUT;
	return d.flags & DEMI_DESC_F_ERROR ? -(int)d.len : 0;
}

/* ---- UDP on the host's own network --------------------------------------------------------- */

/* A reserved port of 127.0.0.1 whose packets reach the queue; *@port in host byte order. */
static inline int kmod_udp_port(int ctx, unsigned int queue, unsigned int *port)
{
	struct demi_port_reserve reserve = {
		.size = sizeof(reserve),
		.protocol = IPPROTO_UDP,
		.local = { .family = AF_INET, .addr = { 127, 0, 0, 1 } },
	};
	struct demi_flow_add flow = { .size = sizeof(flow), .target = queue };
	int err = kmod_ioctl(ctx, DEMI_PORT_RESERVE, &reserve);

	if (err)
		return err;
	*port = ntohs(reserve.local.port);
	flow.reservation_id = reserve.reservation_id;
	return kmod_ioctl(ctx, DEMI_FLOW_ADD, &flow);
}

/* A flow queue and its port. */
static inline int fq_udp(struct fq *q, int ctx, unsigned int entries, unsigned int *port)
{
	int err = fq_host(q, ctx, DEMI_QUEUE_FLOW, 0, entries);

	if (err)
		return err;
	err = kmod_udp_port(ctx, q->q.id, port);
	if (err)
		fq_close(q);
	return err;
}

/* An ordinary socket, connected to that port; -errno. */
static inline int udp_socket(unsigned int port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -errno;
	}
	return fd;
}

#define UDP_HDRS (20 + 8)

/* Sent over lo, which delivers before send() returns: is it there? */
static inline bool fq_passes(struct fq *q, int sock, const char *text)
{
	uint8_t got[FQ_BUF];
	int n;

	if (send(sock, text, strlen(text), 0) != (ssize_t)strlen(text))
		return false;
	n = fq_recv(q, got, sizeof(got), 200);
	return n == (int)(FQ_HDR + UDP_HDRS + strlen(text)) && !memcmp(got + FQ_HDR + UDP_HDRS, text, strlen(text));
}

#endif
