// SPDX-License-Identifier: MIT
/* timeout: 200 */
/*
 * What descriptors cannot do. Each names memory that is none of the owner's: not a byte moves, the IOMMU tells of it
 * in the kernel's log, and a new queue runs. Whether the device stops, or goes on as if nothing had been, is its own
 * affair.
 */
#include "kselftest_harness.h"

#include "virtio_test.h"

#define FILL 0xa5
#define SECRET "what nobody may send"
/* The kernel's log takes few faults in five seconds. */
#define LOG_PAUSE_S 6

FIXTURE(isolation)
{
	struct vt v;
	int peer, log;
	uint16_t port;
	uint8_t *other; /* VT_BYTES that are not registered */
	uint8_t peer_mac[6];
};

FIXTURE_SETUP(isolation)
{
	char path[128], line[32] = "";
	unsigned int mac[6];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/address", getenv("DEMI_VIRTIO_PEER"));
	f = fopen(path, "re");
	ASSERT_NE(NULL, f);
	ASSERT_NE(NULL, fgets(line, sizeof(line), f));
	fclose(f);
	ASSERT_EQ(6, sscanf(line, "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]));
	for (int i = 0; i < 6; i++)
		self->peer_mac[i] = (uint8_t)mac[i];
	self->log = vt_log_open();
	ASSERT_LE(0, self->log);
	ASSERT_EQ(0, vt_become_owner());
	ASSERT_EQ(0, vt_open(&self->v));
	self->peer = vt_peer(&self->port);
	ASSERT_LE(0, self->peer);
	self->other = vt_memory(VT_AREA + (2ull << 30), VT_BYTES);
	ASSERT_NE(NULL, self->other);
	memset(self->other, FILL, VT_BYTES);
}

FIXTURE_TEARDOWN(isolation)
{
	vt_close(&self->v);
}

static bool untouched(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != FILL)
			return false;
	return true;
}

/* The device has done with the descriptor, or tells that it stopped. */
static bool settled(struct vt *v, struct vt_ring *r)
{
	return vt_sleep(v, r, VT_PATIENCE_MS) || v->q->status & DEMI_VIRTIO_BROKEN;
}

/* After a fault: a new queue receives. */
static bool works_again(struct vt *v, int peer)
{
	vt_queue_close(v);
	if (vt_queue(v, 64))
		return false;
	vt_post_buffers(v, 4);
	return send(peer, "again", 5, 0) == 5 && vt_sleep(v, &v->rx, VT_PATIENCE_MS) &&
	       memmem(v->mem, 4 * VT_BUFFER, "again", 5);
}

/* A frame comes for a buffer at @iova. */
#define RECEIVE_AT(_iova)                                                                                              \
	do {                                                                                                           \
		vt_post(&self->v.rx, 0, (_iova), VT_BUFFER, VRING_DESC_F_WRITE);                                       \
		vt_kick(&self->v.rx);                                                                                  \
		ASSERT_EQ(6, send(self->peer, "frame.", 6, 0));                                                        \
		EXPECT_TRUE(settled(&self->v, &self->v.rx));                                                           \
		EXPECT_TRUE(vt_log_says(self->log, "DMAR: [DMA Write", VT_PATIENCE_MS));                               \
		EXPECT_TRUE(works_again(&self->v, self->peer));                                                        \
	} while (0)

TEST_F(isolation, receive_into_unregistered)
{
	RECEIVE_AT((uintptr_t)self->other);
	EXPECT_TRUE(untouched(self->other, VT_BYTES));
}

TEST_F(isolation, receive_into_unregistered_already)
{
	uint32_t region;
	uint64_t iova;

	ASSERT_EQ(0, vt_register(self->v.fd, self->other, VT_BYTES, &region, &iova));
	ASSERT_EQ(0, vt_unregister(self->v.fd, region));
	RECEIVE_AT(iova);
	EXPECT_TRUE(untouched(self->other, VT_BYTES));
}

/* Physical memory: what an address would be if nobody translated it. */
TEST_F(isolation, receive_into_physical)
{
	RECEIVE_AT(0x2000000);
}

/* The kernel put the rings there; the device only reads descriptors and available rings. */
TEST_F(isolation, receive_into_descriptors)
{
	struct vring_desc before[64];

	sleep(LOG_PAUSE_S);
	memcpy(before, (void *)self->v.tx.desc, sizeof(before));
	/* tx's descriptors: the first part after a ring that the device writes */
	vt_post(&self->v.rx, 0, (18ull << 20) + self->v.q->tx.desc, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&self->v.rx);
	ASSERT_EQ(6, send(self->peer, "frame.", 6, 0));
	EXPECT_TRUE(settled(&self->v, &self->v.rx));
	EXPECT_EQ(0, memcmp(before, (void *)self->v.tx.desc, sizeof(before)));
	EXPECT_TRUE(vt_log_says(self->log, "DMAR: [DMA Write", VT_PATIENCE_MS));
	EXPECT_TRUE(works_again(&self->v, self->peer));
}

TEST_F(isolation, send_unregistered)
{
	uint8_t got[256];
	uint32_t len = vt_datagram(&self->v, self->other, self->peer_mac, self->port, SECRET, sizeof(SECRET));

	sleep(LOG_PAUSE_S);
	vt_post(&self->v.tx, 0, (uintptr_t)self->other, len, 0);
	vt_kick(&self->v.tx);
	EXPECT_TRUE(settled(&self->v, &self->v.tx));
	EXPECT_TRUE(vt_log_says(self->log, "DMAR: [DMA Read", VT_PATIENCE_MS));
	usleep(VT_QUIET_MS * 1000);
	EXPECT_EQ(-1, recv(self->peer, got, sizeof(got), MSG_DONTWAIT));
	EXPECT_TRUE(works_again(&self->v, self->peer));
}

/* The same frame from registered memory does arrive: the test above would notice. */
TEST_F(isolation, send_registered)
{
	uint8_t got[256];
	uint32_t len = vt_datagram(&self->v, self->v.mem, self->peer_mac, self->port, SECRET, sizeof(SECRET));

	vt_post(&self->v.tx, 0, self->v.iova, len, 0);
	vt_kick(&self->v.tx);
	EXPECT_EQ(sizeof(SECRET), recv(self->peer, got, sizeof(got), 0));
	EXPECT_EQ(0, memcmp(got, SECRET, sizeof(SECRET)));
}

/* Frames come all the time into memory that is unregistered: from then on nothing does. */
TEST_F(isolation, unregistered_in_flight)
{
	const uint16_t n = 16;
	uint32_t region;
	uint64_t iova;
	pid_t noise;

	sleep(LOG_PAUSE_S);
	ASSERT_EQ(0, vt_register(self->v.fd, self->other, VT_BYTES, &region, &iova));
	for (uint16_t i = 0; i < n; i++)
		vt_post(&self->v.rx, i, iova + i * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&self->v.rx);
	noise = fork();
	if (!noise) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			if (send(self->peer, "noise", 5, 0) != 5)
				usleep(100);
	}
	for (int i = 0; i < 200; i++) {
		uint16_t head;

		ASSERT_TRUE(vt_sleep(&self->v, &self->v.rx, VT_PATIENCE_MS));
		head = (uint16_t)vt_take(&self->v.rx).id;
		ASSERT_GT(n, head);
		vt_post(&self->v.rx, head, iova + head * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
		vt_kick(&self->v.rx);
	}
	EXPECT_FALSE(untouched(self->other, VT_BYTES));
	ASSERT_EQ(0, vt_unregister(self->v.fd, region));
	memset(self->other, FILL, VT_BYTES);
	/* those that the noise had filled by then: again */
	while (vt_used(&self->v.rx)) {
		uint16_t head = (uint16_t)vt_take(&self->v.rx).id;

		ASSERT_GT(n, head);
		vt_post(&self->v.rx, head, iova + head * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
	}
	vt_kick(&self->v.rx);
	EXPECT_TRUE(vt_log_says(self->log, "DMAR: [DMA Write", VT_PATIENCE_MS));
	usleep(VT_QUIET_MS * 1000);
	EXPECT_TRUE(untouched(self->other, VT_BYTES));
	kill(noise, SIGKILL);
	waitpid(noise, NULL, 0);
	/* a new queue gets what comes, the rest of the noise first */
	vt_queue_close(&self->v);
	ASSERT_EQ(0, vt_queue(&self->v, 64));
	vt_post_buffers(&self->v, 4);
	ASSERT_EQ(5, send(self->peer, "noise", 5, 0));
	EXPECT_TRUE(vt_sleep(&self->v, &self->v.rx, VT_PATIENCE_MS));
	EXPECT_NE(NULL, memmem(self->v.mem, 4 * VT_BUFFER, "noise", 5));
}

TEST_HARNESS_MAIN
