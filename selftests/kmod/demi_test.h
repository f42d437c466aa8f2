/* SPDX-License-Identifier: MIT */
/*
 * Set-up for tests of /dev/demi. Functions return 0 or something useful, or -errno; what they make
 * goes with the process. Include the harness first.
 */
#ifndef DEMI_TEST_H
#define DEMI_TEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/demi.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "link.h"

#define DT_UNUSED __attribute__((unused))

/* How long something that must come may take. Nothing waits so long when all is well. */
#define DT_PATIENCE_MS 30000

#define DT_REGION_BYTES (1U << 20)
#define DT_BUFFER_BYTES 2048

/* ---- contexts ------------------------------------------------------------------------------ */

struct dt_ctx {
	int fd;
	uint32_t device; /* "host" */
	uint32_t region; /* DT_REGION_BYTES at mem */
	uint8_t *mem;
	uint32_t used; /* bytes of mem that queues have taken */
};

static DT_UNUSED int dt_ioctl(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) < 0 ? -errno : 0;
}

/* The id of the first device of a kind, or -ENODEV. */
static DT_UNUSED int dt_device(int fd, uint32_t kind)
{
	uint32_t ids[16];
	struct demi_device_list list = { .size = sizeof(list), .count = 16, .ids = (uintptr_t)ids };
	int err = dt_ioctl(fd, DEMI_DEVICE_LIST, &list);

	if (err)
		return err;
	for (uint32_t i = 0; i < list.count && i < 16; i++) {
		struct demi_device_info info = { .size = sizeof(info), .device_id = ids[i] };

		if (!dt_ioctl(fd, DEMI_DEVICE_INFO, &info) && info.kind == kind)
			return (int)ids[i];
	}
	return -ENODEV;
}

/* A context of the current namespace and credentials, with memory registered. */
static DT_UNUSED int dt_open(struct dt_ctx *c)
{
	struct demi_region_register reg = { .size = sizeof(reg), .length_bytes = DT_REGION_BYTES };
	int err;

	*c = (struct dt_ctx){ .fd = open("/dev/demi", O_RDWR | O_CLOEXEC) };
	if (c->fd < 0)
		return -errno;
	err = dt_device(c->fd, DEMI_DEVICE_HOST);
	if (err < 0)
		return err;
	c->device = (uint32_t)err;
	c->mem = mmap(NULL, DT_REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->mem == MAP_FAILED)
		return -errno;
	reg.addr = (uintptr_t)c->mem;
	err = dt_ioctl(c->fd, DEMI_REGION_REGISTER, &reg);
	c->region = reg.region_id;
	return err;
}

/* Its queues live on. */
static DT_UNUSED void dt_close(struct dt_ctx *c)
{
	close(c->fd);
	munmap(c->mem, DT_REGION_BYTES);
}

/* ---- queues -------------------------------------------------------------------------------- */

/* The user's side of a ring. */
struct dt_ring {
	uint32_t own, entries;
	uint32_t *producer, *consumer, *flags;
	struct demi_desc *desc;
};

struct dt_queue {
	struct dt_ctx *ctx;
	int fd;
	uint32_t id;
	void *map;
	size_t map_bytes;
	struct dt_ring rx_fill, rx, tx, tx_done;
	uint32_t base; /* its buffers in the region: entries of DT_BUFFER_BYTES, first rx's, then tx's */
	uint32_t entries;
};

static DT_UNUSED void dt_ring_init(struct dt_ring *r, void *map, const struct demi_ring_layout *l)
{
	char *base = map;

	*r = (struct dt_ring){
		.entries = l->entries,
		.producer = (uint32_t *)(base + l->producer),
		.consumer = (uint32_t *)(base + l->consumer),
		.flags = (uint32_t *)(base + l->flags),
		.desc = (struct demi_desc *)(base + l->desc),
	};
}

static DT_UNUSED int dt_queue_map(struct dt_queue *q, const struct demi_queue_create *c)
{
	q->fd = c->fd;
	q->id = c->queue_id;
	q->map_bytes = c->mmap_bytes;
	q->map = mmap(NULL, q->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, q->fd, 0);
	if (q->map == MAP_FAILED)
		return -errno;
	dt_ring_init(&q->rx_fill, q->map, &c->rx_fill);
	dt_ring_init(&q->rx, q->map, &c->rx);
	dt_ring_init(&q->tx, q->map, &c->tx);
	dt_ring_init(&q->tx_done, q->map, &c->tx_done);
	return 0;
}

/* One descriptor for the kernel to take: into rx_fill or tx. */
static DT_UNUSED void dt_ring_put(struct dt_ring *r, struct demi_desc desc)
{
	r->desc[r->own++ & (r->entries - 1)] = desc;
	__atomic_store_n(r->producer, r->own, __ATOMIC_RELEASE);
}

static DT_UNUSED uint32_t dt_ring_avail(const struct dt_ring *r)
{
	return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - r->own;
}

/* One descriptor from the kernel: of rx or tx_done, which has some. */
static DT_UNUSED struct demi_desc dt_ring_take(struct dt_ring *r)
{
	struct demi_desc desc = r->desc[r->own++ & (r->entries - 1)];

	__atomic_store_n(r->consumer, r->own, __ATOMIC_RELEASE);
	return desc;
}

static DT_UNUSED void dt_post(struct dt_queue *q, uint64_t offset, uint32_t len)
{
	dt_ring_put(&q->rx_fill,
		    (struct demi_desc){ .offset = offset, .len = len, .region = (uint16_t)q->ctx->region });
}

/* A flow, raw or capture queue; all rings have @entries; buffers are there, and none is posted. */
static DT_UNUSED int dt_queue_open_kind(struct dt_queue *q, struct dt_ctx *ctx, uint32_t kind, uint32_t ifindex,
					uint32_t entries)
{
	uint32_t bytes = 2 * entries * DT_BUFFER_BYTES, sends = kind == DEMI_QUEUE_CAPTURE ? 0 : entries;
	struct demi_queue_create c = {
		.size = sizeof(c),
		.device_id = ctx->device,
		.kind = kind,
		.ifindex = ifindex,
		.rx_fill_entries = entries,
		.rx_entries = entries,
		.tx_entries = sends,
		.tx_done_entries = sends,
	};
	int err;

	if (ctx->used + bytes > DT_REGION_BYTES)
		return -ENOSPC;
	*q = (struct dt_queue){ .ctx = ctx, .base = ctx->used, .entries = entries };
	err = dt_ioctl(ctx->fd, DEMI_QUEUE_CREATE, &c);
	if (err)
		return err;
	ctx->used += bytes;
	return dt_queue_map(q, &c);
}

/* A flow queue with @entries buffers posted. */
static DT_UNUSED int dt_queue_open(struct dt_queue *q, struct dt_ctx *ctx, uint32_t entries)
{
	int err = dt_queue_open_kind(q, ctx, DEMI_QUEUE_FLOW, 0, entries);

	for (uint32_t i = 0; !err && i < entries; i++)
		dt_post(q, q->base + i * DT_BUFFER_BYTES, DT_BUFFER_BYTES);
	return err;
}

static DT_UNUSED void dt_queue_close(struct dt_queue *q)
{
	munmap(q->map, q->map_bytes);
	close(q->fd);
}

static DT_UNUSED int dt_counters(const struct dt_queue *q, struct demi_queue_counters *count)
{
	struct demi_queue_info info = { .size = sizeof(info) };
	int err = dt_ioctl(q->fd, DEMI_QUEUE_INFO, &info);

	*count = info.counters;
	return err;
}

/* Sleep until rx has something. False: it has not, and @timeout_ms are over. */
static DT_UNUSED bool dt_wait(struct dt_queue *q, int timeout_ms)
{
	struct pollfd p = { .fd = q->fd, .events = POLLIN };
	bool some;

	__atomic_store_n(q->rx.flags, DEMI_RING_NEED_WAKEUP, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	some = dt_ring_avail(&q->rx) || poll(&p, 1, timeout_ms) > 0;
	__atomic_store_n(q->rx.flags, 0, __ATOMIC_RELAXED);
	return some && dt_ring_avail(&q->rx);
}

/*
 * The next frame, now: joined, without virtio_net_hdr_v1 (which goes to @hdr, if that is not NULL); its
 * buffers are posted again. Length; -EAGAIN: none; -EMSGSIZE: longer than @room; -EPROTO: broken.
 */
static DT_UNUSED int dt_pop_now(struct dt_queue *q, struct virtio_net_hdr_v1 *hdr, void *buf, size_t room)
{
	static uint8_t frame[DEMI_FRAME_MAX];
	uint32_t avail = dt_ring_avail(&q->rx);
	size_t len = 0;
	bool more = avail;

	if (!avail)
		return -EAGAIN;
	while (more) {
		struct demi_desc desc;

		if (!avail--)
			return -EPROTO;
		desc = dt_ring_take(&q->rx);
		if (desc.region != q->ctx->region || desc.offset + desc.len > DT_REGION_BYTES ||
		    len + desc.len > sizeof(frame))
			return -EPROTO;
		memcpy(frame + len, q->ctx->mem + desc.offset, desc.len);
		len += desc.len;
		more = desc.flags & DEMI_DESC_F_MORE;
		dt_post(q, desc.offset & ~(uint64_t)(DT_BUFFER_BYTES - 1), DT_BUFFER_BYTES);
	}
	if (len < sizeof(*hdr))
		return -EPROTO;
	len -= sizeof(*hdr);
	if (len > room)
		return -EMSGSIZE;
	if (hdr)
		memcpy(hdr, frame, sizeof(*hdr));
	memcpy(buf, frame + sizeof(*hdr), len);
	return (int)len;
}

/* The next frame, waiting for it. -ETIMEDOUT: it did not come. */
static DT_UNUSED int dt_pop(struct dt_queue *q, struct virtio_net_hdr_v1 *hdr, void *buf, size_t room)
{
	return dt_wait(q, DT_PATIENCE_MS) ? dt_pop_now(q, hdr, buf, room) : -ETIMEDOUT;
}

/* Send an IP packet of up to one buffer, with what @hdr says; what tx_done says of it: 0 or -errno. */
static DT_UNUSED int dt_push(struct dt_queue *q, const struct virtio_net_hdr_v1 *hdr, const void *packet, size_t len)
{
	struct demi_queue_kick kick = { .size = sizeof(kick) };
	uint32_t at = q->base + (q->entries + (q->tx.own & (q->entries - 1))) * DT_BUFFER_BYTES;
	struct demi_desc done;
	int err;

	if (len + sizeof(*hdr) > DT_BUFFER_BYTES)
		return -EMSGSIZE;
	memcpy(q->ctx->mem + at, hdr, sizeof(*hdr));
	memcpy(q->ctx->mem + at + sizeof(*hdr), packet, len);
	dt_ring_put(&q->tx, (struct demi_desc){ .offset = at,
						.len = (uint32_t)(len + sizeof(*hdr)),
						.region = (uint16_t)q->ctx->region });
	err = dt_ioctl(q->fd, DEMI_QUEUE_KICK, &kick);
	if (err)
		return err;
	for (int i = 0; i < DT_PATIENCE_MS && !dt_ring_avail(&q->tx_done); i++)
		usleep(1000);
	if (!dt_ring_avail(&q->tx_done))
		return -ETIMEDOUT;
	done = dt_ring_take(&q->tx_done);
	if (done.offset != at)
		return -EPROTO;
	return done.flags & DEMI_DESC_F_ERROR ? -(int)done.len : 0;
}

/* ---- addresses, ports, flows --------------------------------------------------------------- */

/* Numeric, of either family; "fe80::1%veth0" has a scope. NULL: family 0. */
static DT_UNUSED struct demi_addr dt_addr(const char *text, uint16_t port)
{
	struct demi_addr a = { .port = htons(port) };
	char host[64] = "";
	char *scope;

	if (!text)
		return (struct demi_addr){ 0 };
	strncat(host, text, sizeof(host) - 1);
	scope = strchr(host, '%');
	if (scope) {
		*scope++ = 0;
		a.scope_id = if_nametoindex(scope);
	}
	a.family = strchr(host, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(a.family, host, a.addr) != 1)
		abort();
	return a;
}

static DT_UNUSED socklen_t dt_sockaddr(struct sockaddr_storage *ss, const char *text, uint16_t port)
{
	struct demi_addr a = dt_addr(text, port);
	struct sockaddr_in6 *sin6 = (void *)ss;
	struct sockaddr_in *sin = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = a.family;
	if (a.family == AF_INET) {
		sin->sin_port = a.port;
		memcpy(&sin->sin_addr, a.addr, sizeof(sin->sin_addr));
		return sizeof(*sin);
	}
	sin6->sin6_port = a.port;
	sin6->sin6_scope_id = a.scope_id;
	memcpy(&sin6->sin6_addr, a.addr, sizeof(sin6->sin6_addr));
	return sizeof(*sin6);
}

/* The reservation's id, or -errno. */
static DT_UNUSED int dt_reserve(const struct dt_ctx *c, int protocol, uint32_t flags, const char *local, uint16_t port)
{
	struct demi_port_reserve arg = {
		.size = sizeof(arg),
		.flags = flags,
		.protocol = (uint32_t)protocol,
		.local = dt_addr(local, port),
	};
	int err = dt_ioctl(c->fd, DEMI_PORT_RESERVE, &arg);

	return err ? err : (int)arg.reservation_id;
}

static DT_UNUSED int dt_release(const struct dt_ctx *c, int reservation)
{
	struct demi_port_release arg = { .size = sizeof(arg), .reservation_id = (uint32_t)reservation };

	return dt_ioctl(c->fd, DEMI_PORT_RELEASE, &arg);
}

/* The flow's id, or -errno. Addresses may be NULL. */
static DT_UNUSED int dt_flow(const struct dt_ctx *c, int reservation, uint32_t flags, uint32_t target,
			     const char *local, uint16_t lport, const char *remote, uint16_t rport)
{
	struct demi_flow_add arg = {
		.size = sizeof(arg),
		.flags = flags,
		.reservation_id = (uint32_t)reservation,
		.target = target,
		.local = dt_addr(local, lport),
		.remote = dt_addr(remote, rport),
	};
	int err = dt_ioctl(c->fd, DEMI_FLOW_ADD, &arg);

	return err ? err : (int)arg.flow_id;
}

/* Everything for @local and @port to @q. The flow's id, or -errno. */
static DT_UNUSED int dt_listen(struct dt_queue *q, int protocol, uint32_t flags, const char *local, uint16_t port)
{
	int reservation = dt_reserve(q->ctx, protocol, flags, local, port);

	return reservation < 0 ? reservation : dt_flow(q->ctx, reservation, 0, q->id, NULL, 0, NULL, 0);
}

static DT_UNUSED int dt_flow_del(const struct dt_ctx *c, int flow)
{
	struct demi_flow_del arg = { .size = sizeof(arg), .flow_id = (uint32_t)flow };

	return dt_ioctl(c->fd, DEMI_FLOW_DEL, &arg);
}

/* ---- packets ------------------------------------------------------------------------------- */

/* What a frame says, as far as its lengths are consistent. */
struct dt_packet {
	int protocol;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	uint16_t sport, dport;
	const uint8_t *payload; /* of UDP, else what follows the IP header */
	int len;
};

static DT_UNUSED uint16_t dt_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* An IP packet without extension headers. False: it is none, or cut. */
static DT_UNUSED bool dt_parse(struct dt_packet *p, const uint8_t *ip, int len)
{
	bool v4 = len >= 20 && ip[0] >> 4 == 4;
	int hlen = v4 ? (ip[0] & 15) * 4 : 40;

	*p = (struct dt_packet){ 0 };
	if (len < hlen + 8 || (!v4 && ip[0] >> 4 != 6) || len != (v4 ? dt_be16(ip + 2) : dt_be16(ip + 4) + 40))
		return false;
	inet_ntop(v4 ? AF_INET : AF_INET6, ip + (v4 ? 12 : 8), p->src, sizeof(p->src));
	inet_ntop(v4 ? AF_INET : AF_INET6, ip + (v4 ? 16 : 24), p->dst, sizeof(p->dst));
	p->protocol = v4 ? ip[9] : ip[6];
	p->payload = ip + hlen;
	p->len = len - hlen;
	p->sport = dt_be16(ip + hlen);
	p->dport = dt_be16(ip + hlen + 2);
	if (p->protocol == IPPROTO_UDP) {
		if (dt_be16(ip + hlen + 4) != p->len)
			return false;
		p->payload += 8;
		p->len -= 8;
	}
	return true;
}

/*
 * For a fixture with a buffer: the next frame in the queue is this datagram; there is nothing in it, after all that
 * was sent has arrived.
 */
#define DT_EXPECT_DATAGRAM(q, source, dest, port, text)                                                                \
	do {                                                                                                           \
		struct dt_packet _p;                                                                                   \
		int _len = dt_pop(q, NULL, self->buf, sizeof(self->buf));                                              \
		ASSERT_LT(0, _len);                                                                                    \
		ASSERT_TRUE(dt_parse(&_p, self->buf, _len));                                                           \
		EXPECT_EQ(IPPROTO_UDP, _p.protocol);                                                                   \
		EXPECT_STREQ(source, _p.src);                                                                          \
		EXPECT_STREQ(dest, _p.dst);                                                                            \
		EXPECT_EQ(port, _p.dport);                                                                             \
		ASSERT_EQ(strlen(text), _p.len);                                                                       \
		EXPECT_EQ(0, memcmp(text, _p.payload, _p.len));                                                        \
	} while (0)

#define DT_EXPECT_NOTHING(q)                                                                                           \
	do {                                                                                                           \
		ASSERT_EQ(0, dt_settle());                                                                             \
		EXPECT_EQ(-EAGAIN, dt_pop_now(q, NULL, self->buf, sizeof(self->buf)));                                 \
	} while (0)

/* ---- the kernel's own network -------------------------------------------------------------- */

/* A socket of the kernel bound to @local, or -errno. */
static DT_UNUSED int dt_socket(int type, const char *local, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = dt_sockaddr(&ss, local, port);
	int fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&ss, len))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static DT_UNUSED int dt_send(int fd, const char *remote, uint16_t port, const void *data, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t sslen = dt_sockaddr(&ss, remote, port);

	return sendto(fd, data, len, 0, (struct sockaddr *)&ss, sslen) < 0 ? -errno : 0;
}

/* One datagram from a new socket, bound to @source. */
static DT_UNUSED int dt_send_to(const char *source, const char *dest, uint16_t port, const char *text)
{
	int fd = dt_socket(SOCK_DGRAM, source, 0), err;

	if (fd < 0)
		return fd;
	err = dt_send(fd, dest, port, text, strlen(text));
	close(fd);
	return err;
}

/*
 * What this process sent before has arrived, on lo and veth: their packets wait in one queue of the CPU, in
 * order, and those of lo that are sent here come last.
 */
static DT_UNUSED int dt_settle(void)
{
	int fd = dt_socket(SOCK_DGRAM, "127.0.0.1", 0);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char c = 0;

	if (fd < 0 || getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		if (sendto(fd, &c, 1, 0, (struct sockaddr *)&ss, len) != 1 || recv(fd, &c, 1, 0) != 1)
			return -errno;
	close(fd);
	return 0;
}

/* A command of the shell; its status. A process takes 0.2 s where the processor is emulated. */
static DT_UNUSED int dt_sh(const char *format, ...)
{
	char command[4096];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Lines of `ip -batch`, in one process. */
#define dt_ip(format, ...) dt_sh("ip -batch - <<'END'\n" format "\nEND\n", ##__VA_ARGS__)

/* Set flags of an interface without a process. */
static DT_UNUSED int dt_if_set(const char *name, bool up)
{
	struct ifreq req = { .ifr_flags = up ? IFF_UP : 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	strncat(req.ifr_name, name, IFNAMSIZ - 1);
	err = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &req) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static DT_UNUSED int dt_if_up(const char *name)
{
	return dt_if_set(name, true);
}

/*
 * Go into a new network namespace with lo, and stay on one CPU (see dt_settle()); a descriptor of it, which
 * `ip` inherits.
 */
static DT_UNUSED int dt_netns(void)
{
	cpu_set_t one;
	int err;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0 || unshare(CLONE_NEWNET) < 0)
		return -errno;
	err = dt_if_up("lo");
	if (err)
		return err;
	err = open("/proc/self/ns/net", O_RDONLY);
	return err < 0 ? -errno : err;
}

static DT_UNUSED int dt_netns_enter(int ns)
{
	return setns(ns, CLONE_NEWNET) < 0 ? -errno : 0;
}

#define DT_IP_HOST(n)                                                                                                  \
	"link set veth0 addrgenmode none\naddr add 10.0.0." #n "/24 brd + dev veth0\n"                                 \
	"addr add fd00::" #n "/64 dev veth0 nodad\naddr add fe80::" #n "/64 dev veth0 nodad\nlink set veth0 up"

/*
 * Two hosts: namespaces here and there, joined by veth0 and veth0, 10.0.0.1 and 10.0.0.2, fd00::1 and
 * fd00::2, fe80::1 and fe80::2, 02:00:00:00:00:01 and 02:00:00:00:00:02. The current one is here.
 */
static DT_UNUSED int dt_two_hosts(int *here, int *there)
{
	int err;

	*there = dt_netns();
	if (*there < 0)
		return *there;
	*here = dt_netns();
	if (*here < 0)
		return *here;
	if (dt_ip("link add veth0 address 02:00:00:00:00:01 type veth"
		  " peer name veth0 address 02:00:00:00:00:02 netns /proc/self/fd/%d\n" DT_IP_HOST(1),
		  *there) ||
	    dt_netns_enter(*there) ||
	    dt_ip(DT_IP_HOST(2) "\nroute add default via 10.0.0.1\n"
				"route add default via fd00::1"))
		return -EINVAL;
	err = link_wait("veth0");
	if (!err)
		err = dt_netns_enter(*here);
	return err ? err : link_wait("veth0");
}

#endif /* DEMI_TEST_H */
