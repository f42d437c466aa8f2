// SPDX-License-Identifier: MIT
/* timeout: 200 */
/*
 * A function's rings in the hands of an unprivileged process: datagrams from and to the kernel's own driver, sleeping,
 * and who may have it.
 */
#include "kselftest_harness.h"

#include "virtio_test.h"
#include "../kmod/machine.h"

FIXTURE(rings)
{
	struct vt v;
	int peer;
	uint16_t port;
};

FIXTURE_SETUP(rings)
{
	ASSERT_EQ(0, vt_become_owner());
	ASSERT_EQ(0, vt_open(&self->v));
	self->peer = vt_peer(&self->port);
	ASSERT_LE(0, self->peer);
}

FIXTURE_TEARDOWN(rings)
{
	vt_close(&self->v);
}

TEST_F(rings, what_is_mapped)
{
	volatile struct demi_virtio_queue *q = self->v.q;
	unsigned int mac[6];

	EXPECT_TRUE(q->features & 1ull << VIRTIO_F_VERSION_1);
	EXPECT_TRUE(q->features & 1ull << VIRTIO_F_ACCESS_PLATFORM);
	EXPECT_TRUE(q->features & 1ull << VIRTIO_RING_F_EVENT_IDX);
	EXPECT_FALSE(q->features & 1ull << VIRTIO_NET_F_CTRL_VQ);
	EXPECT_EQ(64, q->rx.entries);
	EXPECT_EQ(64, q->tx.entries);
	EXPECT_EQ(1500, q->mtu_bytes);
	ASSERT_EQ(6, sscanf(getenv("DEMI_VIRTIO_MAC"), "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
			    &mac[5]));
	for (int i = 0; i < 6; i++)
		EXPECT_EQ(mac[i], q->mac[i]);
	EXPECT_EQ(VT_AREA, self->v.iova);
}

/* The next frame with a datagram to port 7: where its data begins, or NULL. */
static uint8_t *next_datagram(struct vt *v, uint32_t *len, uint8_t *peer_mac)
{
	while (vt_sleep(v, &v->rx, VT_PATIENCE_MS)) {
		struct vring_used_elem e = vt_take(&v->rx);
		uint8_t *frame = v->mem + e.id * VT_BUFFER + sizeof(struct virtio_net_hdr_v1);
		struct ethhdr *eth = (void *)frame;
		struct iphdr *ip = (void *)(eth + 1);
		struct udphdr *udp = (void *)(ip + 1);

		if (eth->h_proto == htons(ETH_P_IP) && ip->protocol == IPPROTO_UDP && udp->dest == htons(7)) {
			*len = ntohs(udp->len) - sizeof(*udp);
			memcpy(peer_mac, eth->h_source, ETH_ALEN);
			return (uint8_t *)(udp + 1);
		}
		vt_post(&v->rx, (uint16_t)e.id, v->iova + e.id * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
		vt_kick(&v->rx);
	}
	return NULL;
}

TEST_F(rings, echo)
{
	struct vt *v = &self->v;
	uint8_t out[1400], back[1500], mac[6], *data, *slot = v->mem + 64 * VT_BUFFER;

	vt_post_buffers(v, 32);
	for (uint32_t n = 0; n < 100; n++) {
		uint32_t size = 1 + n * 13, len;

		for (uint32_t i = 0; i < size; i++)
			out[i] = (uint8_t)(n + i * 7);
		ASSERT_EQ(size, send(self->peer, out, size, 0));
		data = next_datagram(v, &len, mac);
		ASSERT_NE(NULL, data);
		ASSERT_EQ(size, len);
		ASSERT_EQ(0, memcmp(out, data, len));
		len = vt_datagram(v, slot, mac, self->port, data, len);
		vt_post(&v->rx, n % 32, v->iova + (n % 32) * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
		vt_kick(&v->rx);
		vt_post(&v->tx, n % 64, v->iova + (uint64_t)(slot - v->mem), len, 0);
		vt_kick(&v->tx);
		ASSERT_TRUE(vt_sleep(v, &v->tx, VT_PATIENCE_MS));
		ASSERT_EQ(n % 64, vt_take(&v->tx).id);
		ASSERT_EQ(size, recv(self->peer, back, sizeof(back), 0));
		ASSERT_EQ(0, memcmp(out, back, size));
	}
}

/* Memory that is registered when the queue runs is the device's, too. */
TEST_F(rings, registered_later)
{
	struct vt *v = &self->v;
	uint8_t *more = vt_memory(VT_AREA + (1ull << 30), VT_BYTES);
	uint32_t region;
	uint64_t iova;

	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, vt_register(v->fd, more, VT_BYTES, &region, &iova));
	ASSERT_EQ((uintptr_t)more, iova);
	vt_post(&v->rx, 0, iova + 4096, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&v->rx);
	ASSERT_EQ(5, send(self->peer, "later", 5, 0));
	ASSERT_TRUE(vt_sleep(v, &v->rx, VT_PATIENCE_MS));
	EXPECT_NE(NULL, memmem(more + 4096, VT_BUFFER, "later", 5));
}

TEST_F(rings, who_may_have_it)
{
	struct vt other = { .fd = open("/dev/demi", O_RDWR | O_CLOEXEC), .device = self->v.device };
	struct demi_queue_create c = { .size = sizeof(c),
				       .device_id = self->v.device,
				       .kind = DEMI_QUEUE_DEVICE,
				       .rx_fill_entries = 64,
				       .rx_entries = 64,
				       .tx_entries = 64,
				       .tx_done_entries = 64 };

	ASSERT_LE(0, other.fd);
	EXPECT_EQ(-EBUSY, vt_bind(other.fd, other.device, 0));
	EXPECT_EQ(-EACCES, vt_queue(&other, 64));
	/* one pair of rings, one queue */
	EXPECT_EQ(-EDQUOT, vt_ioctl(self->v.fd, DEMI_QUEUE_CREATE, &c));
	EXPECT_EQ(-EBUSY, vt_bind(self->v.fd, self->v.device, DEMI_DEVICE_BIND_F_RELEASE));
	vt_queue_close(&self->v);
	c.rx_fill_entries = 32;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->v.fd, DEMI_QUEUE_CREATE, &c));
	c.rx_fill_entries = 64;
	c.tx_entries = c.tx_done_entries = 0;
	EXPECT_EQ(-EINVAL, vt_ioctl(self->v.fd, DEMI_QUEUE_CREATE, &c));
	c.tx_entries = c.tx_done_entries = 64;
	c.kind = DEMI_QUEUE_FLOW;
	EXPECT_EQ(-EOPNOTSUPP, vt_ioctl(self->v.fd, DEMI_QUEUE_CREATE, &c));
	EXPECT_EQ(0, vt_bind(self->v.fd, self->v.device, DEMI_DEVICE_BIND_F_RELEASE));
	EXPECT_EQ(0, vt_bind(other.fd, other.device, 0));
	EXPECT_EQ(-EBUSY, vt_bind(self->v.fd, self->v.device, 0));
	EXPECT_EQ(0, vt_bind(other.fd, other.device, DEMI_DEVICE_BIND_F_RELEASE));
	EXPECT_EQ(0, vt_bind(self->v.fd, self->v.device, 0));
	EXPECT_EQ(0, vt_queue(&self->v, 64));
}

/*
 * The control queue is in nobody's reach: it was not negotiated and has no ring, no page behind the two doorbells is
 * mapped, and other numbers than their own, rung there, do nothing.
 */
TEST_F(rings, control_queue)
{
	struct vt *v = &self->v;
	long page = sysconf(_SC_PAGESIZE);

	EXPECT_FALSE(v->q->features & 1ull << VIRTIO_NET_F_CTRL_VQ);
	EXPECT_FALSE(v->q->features & 1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	EXPECT_EQ(MAP_FAILED,
		  mmap(NULL, v->map_bytes + (size_t)page, PROT_READ | PROT_WRITE, MAP_SHARED, v->queue_fd, 0));
	EXPECT_EQ(MAP_FAILED,
		  mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_SHARED, v->queue_fd, (off_t)v->map_bytes));
	for (uint32_t index = 0; index < 8; index++) {
		*v->rx.doorbell = (uint16_t)index;
		*v->tx.doorbell = (uint16_t)index;
	}
	*v->rx.doorbell = UINT16_MAX;
	*(volatile uint32_t *)v->tx.doorbell = UINT32_MAX;
	vt_post_buffers(v, 4);
	ASSERT_EQ(5, send(self->peer, "alive", 5, 0));
	ASSERT_TRUE(vt_sleep(v, &v->rx, VT_PATIENCE_MS));
	EXPECT_NE(NULL, memmem(v->mem, 4 * VT_BUFFER, "alive", 5));
	EXPECT_EQ(0, v->q->status);
}

/* Each of them, a second one and one that was moved, is a scratch page after the end; a child has none of them. */
TEST_F(rings, doorbells_wherever_they_are_mapped)
{
	struct demi_queue_shutdown down = { .size = sizeof(down) };
	struct vt *v = &self->v;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bell = (size_t)((uint8_t *)v->tx.doorbell - v->map);
	off_t at = (off_t)(bell & ~(page - 1));
	uint8_t *again, *moved;
	unsigned char there;
	int status;
	pid_t pid;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, v->queue_fd, at));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_SHARED, v->queue_fd, at));
	again = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, v->queue_fd, at);
	moved = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, v->queue_fd, at);
	ASSERT_NE(MAP_FAILED, again);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_NE(0, mprotect(again, page, PROT_READ | PROT_EXEC));
	EXPECT_EQ(MAP_FAILED, mremap(again, page, 2 * page, MREMAP_MAYMOVE));
	*(volatile uint16_t *)(moved + bell % page) = v->tx.index;
	moved = mremap(moved, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(VT_AREA + (3ull << 30)));
	ASSERT_NE(MAP_FAILED, moved);
	*(volatile uint16_t *)(moved + bell % page) = v->tx.index;
	pid = fork();
	if (!pid)
		_exit(!mincore(again, page, &there) || !mincore(moved, page, &there) || !mincore(v->map, page, &there));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	vt_post_buffers(v, 4);
	ASSERT_EQ(5, send(self->peer, "alive", 5, 0));
	ASSERT_TRUE(vt_sleep(v, &v->rx, VT_PATIENCE_MS));
	ASSERT_EQ(0, vt_ioctl(v->queue_fd, DEMI_QUEUE_SHUTDOWN, &down));
	*(volatile uint32_t *)(again + 128) = 0x600df00d;
	EXPECT_EQ(0x600df00d, *(volatile uint32_t *)(moved + 128));
	EXPECT_EQ(0x600df00d, *(volatile uint32_t *)(v->map + at + 128));
	EXPECT_EQ(0x600df00d, *(volatile uint32_t *)(v->map + 128));
	munmap(again, page);
	munmap(moved, page);
}

/* Where a device's memory may not lie. */
TEST_F(rings, addresses)
{
	struct vt *v = &self->v;
	uint8_t *low = vt_memory(0x40000000, VT_BYTES), *high = vt_memory(VT_AREA * 512, VT_BYTES);
	uint32_t region;
	uint64_t iova;

	ASSERT_NE(NULL, low);
	/* below 4 GiB are the rings */
	EXPECT_EQ(-EOPNOTSUPP, vt_register(v->fd, low, VT_BYTES, &region, &iova));
	/* the same memory twice would be one address for two regions */
	EXPECT_EQ(-EADDRINUSE, vt_register(v->fd, v->mem, VT_BYTES, &region, &iova));
	EXPECT_EQ(-EADDRINUSE, vt_register(v->fd, v->mem + 8192, 4096, &region, &iova));
	/* of two widths one kernel's machine has 39 bits, the other's 48 */
	ASSERT_NE(NULL, high);
	ASSERT_TRUE(iommu_address_bits() == 39 || iommu_address_bits() == 48);
	if (iommu_address_bits() == 39) {
		EXPECT_EQ(-EOPNOTSUPP, vt_register(v->fd, high, VT_BYTES, &region, &iova));
		return;
	}
	ASSERT_EQ(0, vt_register(v->fd, high, VT_BYTES, &region, &iova));
	ASSERT_EQ((uintptr_t)high, iova);
	vt_post(&v->rx, 0, iova, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&v->rx);
	ASSERT_EQ(4, send(self->peer, "high", 4, 0));
	ASSERT_TRUE(vt_sleep(v, &v->rx, VT_PATIENCE_MS));
	EXPECT_NE(NULL, memmem(high, VT_BUFFER, "high", 4));
}

TEST_F(rings, shutdown)
{
	struct demi_queue_shutdown down = { .size = sizeof(down) };
	struct pollfd p = { .fd = self->v.queue_fd, .events = POLLIN };
	struct vt *v = &self->v;

	vt_post_buffers(v, 4);
	ASSERT_EQ(0, vt_ioctl(v->queue_fd, DEMI_QUEUE_SHUTDOWN, &down));
	ASSERT_EQ(1, poll(&p, 1, 0));
	EXPECT_TRUE(p.revents & POLLHUP);
	/* rings and doorbells are scratch now: stores are lost, and hurt nobody */
	vt_kick(&v->rx);
	*v->tx.doorbell = 1;
	v->rx.desc[0].addr = 1;
	ASSERT_EQ(4, send(self->peer, "none", 4, 0));
	usleep(VT_QUIET_MS * 1000);
	EXPECT_EQ(NULL, memmem(v->mem, 4 * VT_BUFFER, "none", 4));
	munmap(v->map, v->map_bytes);
	ASSERT_EQ(0, vt_queue(v, 64));
	vt_post_buffers(v, 4);
	ASSERT_EQ(5, send(self->peer, "again", 5, 0));
	ASSERT_TRUE(vt_sleep(v, &v->rx, VT_PATIENCE_MS));
	EXPECT_NE(NULL, memmem(v->mem, 4 * VT_BUFFER, "again", 5));
}

TEST_HARNESS_MAIN
