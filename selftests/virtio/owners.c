// SPDX-License-Identifier: MIT
/* timeout: 200 */
/*
 * Both functions belong to owners of their own, on one link: their frames reach each other, their memory does not.
 * And one function has one owner.
 */
#include "kselftest_harness.h"

#include "virtio_test.h"

#define FILL 0xa5
#define FRAME 128
/* The kernel's log takes few faults in five seconds. */
#define LOG_PAUSE_S 6

FIXTURE(owners)
{
	struct vt a, b;
	int log;
};

/* Both are this process's, as root; each has its own context. */
FIXTURE_SETUP(owners)
{
	ASSERT_EQ(0, system("./peer take"));
	self->log = vt_log_open();
	ASSERT_EQ(0, vt_open(&self->a));
	setenv("DEMI_VIRTIO_PCI", getenv("DEMI_VIRTIO_PEER_PCI"), 1);
	ASSERT_EQ(0, vt_open_at(&self->b, VT_AREA + (1ull << 30)));
}

FIXTURE_TEARDOWN(owners)
{
	vt_close(&self->a);
	vt_close(&self->b);
	EXPECT_EQ(0, system("./peer back"));
}

/* A frame from @from to @to, made at @at: its length with virtio's header. */
static uint32_t frame_make(struct vt *from, struct vt *to, uint8_t *at, uint8_t seed)
{
	struct virtio_net_hdr_v1 *hdr = (void *)at;
	struct ethhdr *eth = (void *)(hdr + 1);

	memset(hdr, 0, sizeof(*hdr));
	memcpy(eth->h_dest, (const uint8_t *)to->q->mac, ETH_ALEN);
	memcpy(eth->h_source, (const uint8_t *)from->q->mac, ETH_ALEN);
	eth->h_proto = htons(0x88b5);
	memset(eth + 1, seed, FRAME);
	return sizeof(*hdr) + sizeof(*eth) + FRAME;
}

static bool has_frame(const uint8_t *p, size_t n, uint8_t seed)
{
	uint8_t body[FRAME];

	memset(body, seed, FRAME);
	return memmem(p, n, body, FRAME) != NULL;
}

static void receive_at(struct vt *v, uint16_t i, uint64_t iova)
{
	vt_post(&v->rx, i, iova, VT_BUFFER, VRING_DESC_F_WRITE);
	vt_kick(&v->rx);
}

/* @from sends what lies at @iova. */
static bool sent(struct vt *from, uint16_t i, uint64_t iova, uint32_t len)
{
	vt_post(&from->tx, i, iova, len, 0);
	vt_kick(&from->tx);
	if (!vt_sleep(from, &from->tx, VT_PATIENCE_MS))
		return from->q->status & DEMI_VIRTIO_BROKEN;
	vt_take(&from->tx);
	return true;
}

TEST_F(owners, frames_reach_each_other)
{
	struct vt *a = &self->a, *b = &self->b;

	EXPECT_NE(0, memcmp((void *)a->q->mac, (void *)b->q->mac, ETH_ALEN));
	for (uint16_t i = 0; i < 8; i++) {
		uint8_t *frame = b->mem + 64 * VT_BUFFER;

		receive_at(a, i, a->iova + i * VT_BUFFER);
		ASSERT_TRUE(sent(b, i, b->iova + 64 * VT_BUFFER, frame_make(b, a, frame, (uint8_t)(i + 1))));
		ASSERT_TRUE(vt_sleep(a, &a->rx, VT_PATIENCE_MS));
		ASSERT_EQ(i, vt_take(&a->rx).id);
		EXPECT_TRUE(has_frame(a->mem + i * VT_BUFFER, VT_BUFFER, (uint8_t)(i + 1)));
	}
}

/* a's function is told to write to where b's memory lies for b's function, and for the processor. */
TEST_F(owners, receive_into_the_others_memory)
{
	struct vt *a = &self->a, *b = &self->b;
	uint8_t *frame = b->mem + 64 * VT_BUFFER;

	sleep(LOG_PAUSE_S);
	memset(b->mem, FILL, 64 * VT_BUFFER);
	receive_at(a, 0, b->iova);
	ASSERT_TRUE(sent(b, 0, b->iova + 64 * VT_BUFFER, frame_make(b, a, frame, 7)));
	EXPECT_TRUE(vt_sleep(a, &a->rx, VT_PATIENCE_MS) || a->q->status & DEMI_VIRTIO_BROKEN);
	EXPECT_TRUE(vt_log_says(self->log, "DMAR: [DMA Write", VT_PATIENCE_MS));
	for (size_t i = 0; i < 64 * VT_BUFFER; i++)
		ASSERT_EQ(FILL, b->mem[i]);
}

/* And to read it: then b would receive its own secret. */
TEST_F(owners, send_the_others_memory)
{
	struct vt *a = &self->a, *b = &self->b;
	uint32_t len = frame_make(a, b, b->mem + 64 * VT_BUFFER, 9);

	sleep(LOG_PAUSE_S);
	receive_at(b, 0, b->iova);
	EXPECT_TRUE(sent(a, 0, b->iova + 64 * VT_BUFFER, len));
	EXPECT_TRUE(vt_log_says(self->log, "DMAR: [DMA Read", VT_PATIENCE_MS));
	usleep(VT_QUIET_MS * 1000);
	EXPECT_FALSE(has_frame(b->mem, VT_BUFFER, 9));
}

/* From another process: of the same user, who may have it but not now; and of one who may not. */
static int wants(uint32_t uid, uint32_t device)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(uid, uid, uid) ||
		    setresuid(uid, uid, uid))
			_exit(255);
		_exit(-vt_bind(open("/dev/demi", O_RDWR | O_CLOEXEC), device, 0));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

TEST_F(owners, two_processes_want_one)
{
	EXPECT_EQ(EBUSY, wants(VT_OWNER, self->a.device));
	EXPECT_EQ(EBUSY, wants(VT_OWNER, self->b.device));
	EXPECT_EQ(EACCES, wants(VT_OWNER - 1, self->a.device));
	vt_queue_close(&self->a);
	EXPECT_EQ(EBUSY, wants(VT_OWNER, self->a.device));
	EXPECT_EQ(0, vt_bind(self->a.fd, self->a.device, DEMI_DEVICE_BIND_F_RELEASE));
	EXPECT_EQ(0, wants(VT_OWNER, self->a.device));
	EXPECT_EQ(EACCES, wants(VT_OWNER - 1, self->a.device));
	/* whoever had it is gone */
	EXPECT_EQ(0, vt_bind(self->a.fd, self->a.device, 0));
	EXPECT_EQ(0, vt_queue(&self->a, 64));
}

TEST_HARNESS_MAIN
