/* SPDX-License-Identifier: MIT */
/*
 * A virtio-net function's rings, driven by hand. Functions return 0 or something useful, or -errno; what
 * they make goes with the process. Include the harness first. The link is as setup made it.
 */
#ifndef VIRTIO_TEST_H
#define VIRTIO_TEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/demi.h>
#include <linux/demi_virtio.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VT_UNUSED __attribute__((unused))

/* How long something that must come may take, and how long it is watched that something does not. */
#define VT_PATIENCE_MS 30000
#define VT_QUIET_MS 300

#define VT_OWNER 65534
#define VT_HERE "10.9.0.1"
#define VT_THERE "10.9.0.2"

/* Where regions may lie: above 4 GiB, below 2^39. */
#define VT_AREA 0x2000000000ull
#define VT_BYTES (1u << 20)
#define VT_BUFFER 2048

struct vt_ring {
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	volatile uint16_t *used_event, *avail_event, *doorbell;
	uint16_t entries, index, next, seen;
};

/* An owner: its context, its memory, its queue. */
struct vt {
	int fd, queue_fd;
	uint32_t device, region;
	uint64_t features; /* that are asked for */
	uint8_t *mem;
	uint64_t iova;
	uint8_t *map;
	size_t map_bytes;
	volatile struct demi_virtio_queue *q;
	struct vt_ring rx, tx;
};

static VT_UNUSED int vt_ioctl(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) < 0 ? -errno : 0;
}

/* ---- devices ---- */

static VT_UNUSED int vt_device(int fd)
{
	const char *name = getenv("DEMI_VIRTIO_PCI");
	uint32_t ids[16];
	struct demi_device_list list = { .size = sizeof(list), .count = 16, .ids = (uintptr_t)ids };
	int err = vt_ioctl(fd, DEMI_DEVICE_LIST, &list);

	for (uint32_t i = 0; !err && i < list.count && i < 16; i++) {
		struct demi_device_info info = { .size = sizeof(info), .device_id = ids[i] };

		if (!vt_ioctl(fd, DEMI_DEVICE_INFO, &info) && !strcmp(info.name, name))
			return (int)ids[i];
	}
	return err ? err : -ENOENT;
}

static VT_UNUSED int vt_bind(int fd, uint32_t device, uint32_t flags)
{
	struct demi_device_bind bind = { .size = sizeof(bind), .flags = flags, .device_id = device };

	return vt_ioctl(fd, DEMI_DEVICE_BIND, &bind);
}

static VT_UNUSED int vt_grant(uint32_t uid)
{
	struct demi_device_grant grant = { .size = sizeof(grant), .uid = uid };
	int fd = open("/dev/demi", O_RDWR | O_CLOEXEC), err = fd < 0 ? -errno : vt_device(fd);

	if (err >= 0) {
		grant.device_id = (uint32_t)err;
		err = vt_ioctl(fd, DEMI_DEVICE_GRANT, &grant);
	}
	close(fd);
	return err;
}

/* From now on this process is the device's unprivileged owner. */
static VT_UNUSED int vt_become_owner(void)
{
	if (chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(VT_OWNER, VT_OWNER, VT_OWNER) ||
	    setresuid(VT_OWNER, VT_OWNER, VT_OWNER) || prctl(PR_SET_DUMPABLE, 1))
		return -errno;
	return 0;
}

/* ---- memory ---- */

static VT_UNUSED uint8_t *vt_memory(uint64_t at, size_t bytes)
{
	uint8_t *p = mmap((void *)(uintptr_t)at, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static VT_UNUSED int vt_register(int fd, void *mem, size_t bytes, uint32_t *region, uint64_t *iova)
{
	struct demi_region_register reg = { .size = sizeof(reg), .addr = (uintptr_t)mem, .length_bytes = bytes };
	int err = vt_ioctl(fd, DEMI_REGION_REGISTER, &reg);

	*region = reg.region_id;
	*iova = reg.iova;
	return err;
}

static VT_UNUSED int vt_unregister(int fd, uint32_t region)
{
	struct demi_region_unregister reg = { .size = sizeof(reg), .region_id = region };

	return vt_ioctl(fd, DEMI_REGION_UNREGISTER, &reg);
}

/* ---- queues ---- */

static VT_UNUSED void vt_ring_init(struct vt_ring *r, uint8_t *map, const volatile struct demi_virtio_ring *at)
{
	*r = (struct vt_ring){ .entries = at->entries, .index = at->index };
	r->desc = (void *)(map + at->desc);
	r->avail = (void *)(map + at->avail);
	r->used = (void *)(map + at->used);
	r->used_event = &r->avail->ring[r->entries];
	r->avail_event = (uint16_t *)&r->used->ring[r->entries];
	r->doorbell = (void *)(map + at->doorbell);
}

static VT_UNUSED int vt_queue(struct vt *v, uint32_t entries)
{
	struct demi_queue_create c = { .size = sizeof(c),
				       .device_id = v->device,
				       .kind = DEMI_QUEUE_DEVICE,
				       .rx_fill_entries = entries,
				       .rx_entries = entries,
				       .tx_entries = entries,
				       .tx_done_entries = entries,
				       .features = v->features };
	int err = vt_ioctl(v->fd, DEMI_QUEUE_CREATE, &c);

	if (err)
		return err;
	v->queue_fd = c.fd;
	v->map_bytes = c.mmap_bytes;
	v->map = mmap(NULL, v->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, 0);
	if (v->map == MAP_FAILED)
		return -errno;
	v->q = (void *)v->map;
	vt_ring_init(&v->rx, v->map, &v->q->rx);
	vt_ring_init(&v->tx, v->map, &v->q->tx);
	return 0;
}

static VT_UNUSED void vt_queue_close(struct vt *v)
{
	munmap(v->map, v->map_bytes);
	close(v->queue_fd);
}

/* An owner with a queue and VT_BYTES registered at @at, of which nothing is posted. */
static VT_UNUSED int vt_open_at(struct vt *v, uint64_t at)
{
	int err;

	*v = (struct vt){ .fd = open("/dev/demi", O_RDWR | O_CLOEXEC) };
	if (v->fd < 0)
		return -errno;
	err = vt_device(v->fd);
	if (err < 0)
		return err;
	v->device = (uint32_t)err;
	err = vt_bind(v->fd, v->device, 0);
	if (err)
		return err;
	v->mem = vt_memory(at, VT_BYTES);
	if (!v->mem)
		return -ENOMEM;
	err = vt_register(v->fd, v->mem, VT_BYTES, &v->region, &v->iova);
	return err ? err : vt_queue(v, 64);
}

static VT_UNUSED int vt_open(struct vt *v)
{
	return vt_open_at(v, VT_AREA);
}

static VT_UNUSED void vt_close(struct vt *v)
{
	vt_queue_close(v);
	close(v->fd);
	munmap(v->mem, VT_BYTES);
}

/* ---- rings ---- */

static VT_UNUSED void vt_kick(struct vt_ring *r)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*r->doorbell = r->index;
}

/* One descriptor for the device, number @i of the ring. */
static VT_UNUSED void vt_post(struct vt_ring *r, uint16_t i, uint64_t iova, uint32_t len, uint16_t flags)
{
	r->desc[i].addr = iova;
	r->desc[i].len = len;
	r->desc[i].flags = flags;
	r->avail->ring[r->next & (r->entries - 1)] = i;
	r->next++;
	__atomic_store_n(&r->avail->idx, r->next, __ATOMIC_RELEASE);
}

static VT_UNUSED void vt_post_buffers(struct vt *v, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		vt_post(&v->rx, i, v->iova + i * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&v->rx);
}

static VT_UNUSED bool vt_used(struct vt_ring *r)
{
	return __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) != r->seen;
}

/* Sleep until the ring has something, or @timeout_ms are over. */
static VT_UNUSED bool vt_sleep(struct vt *v, struct vt_ring *r, int timeout_ms)
{
	struct pollfd p = { .fd = v->queue_fd, .events = POLLIN };

	while (!vt_used(r)) {
		v->q->seen = v->q->events;
		*r->used_event = r->seen;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (vt_used(r))
			break;
		if (poll(&p, 1, timeout_ms) <= 0)
			return false;
		if (p.revents & POLLHUP || v->q->status)
			return false;
	}
	return true;
}

static VT_UNUSED struct vring_used_elem vt_take(struct vt_ring *r)
{
	volatile struct vring_used_elem *e = &r->used->ring[r->seen & (r->entries - 1)];
	struct vring_used_elem copy = { .id = e->id, .len = e->len };

	r->seen++;
	return copy;
}

/* ---- packets ---- */

static VT_UNUSED uint16_t vt_sum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? b[i] : (uint32_t)b[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* A datagram to the kernel's side, with virtio's header, at @to; its length. */
static VT_UNUSED uint32_t vt_datagram(struct vt *v, uint8_t *to, const uint8_t *peer_mac, uint16_t port,
				      const void *data, uint32_t len)
{
	struct virtio_net_hdr_v1 *hdr = (void *)to;
	struct ethhdr *eth = (void *)(hdr + 1);
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	memset(to, 0, sizeof(*hdr) + sizeof(*eth) + sizeof(*ip) + sizeof(*udp));
	memcpy(eth->h_dest, peer_mac, ETH_ALEN);
	memcpy(eth->h_source, (const uint8_t *)v->q->mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->tot_len = htons((uint16_t)(sizeof(*ip) + sizeof(*udp) + len));
	ip->saddr = inet_addr(VT_HERE);
	ip->daddr = inet_addr(VT_THERE);
	ip->check = vt_sum(ip, sizeof(*ip));
	udp->source = htons(7);
	udp->dest = port;
	udp->len = htons((uint16_t)(sizeof(*udp) + len));
	memcpy(udp + 1, data, len);
	return (uint32_t)((uint8_t *)(udp + 1) - to) + len;
}

/* The kernel's end: a UDP socket, bound and connected to port 7 of the device; its own port goes to @port. */
static VT_UNUSED int vt_peer(uint16_t *port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(VT_THERE) };
	struct sockaddr_in there = { .sin_family = AF_INET,
				     .sin_addr.s_addr = inet_addr(VT_HERE),
				     .sin_port = htons(7) };
	socklen_t len = sizeof(here);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&here, sizeof(here)) || connect(fd, (void *)&there, sizeof(there)) ||
	    getsockname(fd, (void *)&here, &len))
		return -errno;
	*port = here.sin_port;
	return fd;
}

/* ---- the kernel's log ---- */

/* From now on; to be opened with privileges. */
static VT_UNUSED int vt_log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* Does it come to say @text within so long? */
static VT_UNUSED bool vt_log_says(int fd, const char *text, int timeout_ms)
{
	char line[2048];
	ssize_t n;

	for (int waited = 0;; waited += 10) {
		while ((n = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
			line[n > 0 ? n : 0] = 0;
			if (strstr(line, text))
				return true;
		}
		if (waited >= timeout_ms)
			return false;
		usleep(10000);
	}
}

#endif /* VIRTIO_TEST_H */
