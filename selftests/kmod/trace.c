// SPDX-License-Identifier: MIT
/* Tracepoints: what was dropped and why, what a filter said, when a queue began and ended. */
#include "kselftest_harness.h"
#include <linux/filter.h>

#include "tx_test.h"

#define TRACING "/sys/kernel/tracing/"
#define PORT 5000

static char text[65536];

static int put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* Is there a line of this event that ends so, since the last look at all? */
static bool told(const char *event, const char *format, ...)
{
	char what[256], line[400];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(line, sizeof(line), " %s: %s\n", event, what);
	return strstr(text, line);
}

static int look(void)
{
	int fd = open(TRACING "trace", O_RDONLY | O_CLOEXEC);
	ssize_t n, at = 0;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + at, sizeof(text) - 1 - (size_t)at)) > 0)
		at += n;
	text[at] = 0;
	close(fd);
	return put(TRACING "trace", "");
}

FIXTURE(trace)
{
	struct dt_ctx ctx;
	struct dt_queue q;
};

FIXTURE_SETUP(trace)
{
	if (access(TRACING "events/demi/demi_drop", F_OK))
		SKIP(return, "no tracefs");
	ASSERT_LE(0, dt_netns());
	ASSERT_EQ(0, dt_open(&self->ctx));
	ASSERT_EQ(0, put(TRACING "trace", ""));
	ASSERT_EQ(0, put(TRACING "events/demi/enable", "1"));
	ASSERT_EQ(0, dt_queue_open(&self->q, &self->ctx, 4));
	ASSERT_LT(0, dt_listen(&self->q, IPPROTO_UDP, 0, "127.0.0.1", PORT));
}

FIXTURE_TEARDOWN(trace)
{
	put(TRACING "events/demi/enable", "0");
	dt_close(&self->ctx);
}

TEST_F(trace, begin_and_end)
{
	ASSERT_EQ(0, look());
	EXPECT_TRUE(told("demi_queue_create", "queue=%u kind=%u device=%u ring_bytes=%zu", self->q.id, DEMI_QUEUE_FLOW,
			 self->ctx.device, self->q.map_bytes));
	dt_queue_close(&self->q);
	ASSERT_EQ(0, look());
	EXPECT_TRUE(told("demi_queue_end", "queue=%u rx_frames=0 tx_frames=0", self->q.id));
}

TEST_F(trace, what_may_not_be_sent)
{
	static struct tx_packet p;

	tx_udp(&p, "127.0.0.1", PORT + 1, "127.0.0.1", PORT, "abcd", 4);
	ASSERT_EQ(-EACCES, tx_send(&self->q, &p));
	tx_udp(&p, "127.0.0.1", PORT, "127.0.0.1", PORT, "abcd", 4);
	tx_ip(&p)[0] = 0x46;
	ASSERT_EQ(-EINVAL, tx_send(&self->q, &p));
	ASSERT_EQ(0, look());
	EXPECT_TRUE(told("demi_drop", "queue=%u reason=tx_refused len=32 err=-%d", self->q.id, EACCES));
	EXPECT_TRUE(told("demi_drop", "queue=%u reason=tx_refused len=32 err=-%d", self->q.id, EINVAL));
	EXPECT_TRUE(told("demi_kick", "queue=%u sent=1 err=0", self->q.id));
	dt_queue_close(&self->q);
}

TEST_F(trace, no_buffer)
{
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", PORT, i < 4 ? "taken" : "dropped"));
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, look());
	EXPECT_TRUE(told("demi_deliver", "queue=%u len=33 err=0", self->q.id));
	EXPECT_TRUE(told("demi_drop", "queue=%u reason=rx_no_buffer len=35 err=0", self->q.id));
	EXPECT_FALSE(told("demi_drop", "queue=%u reason=rx_no_buffer len=33 err=0", self->q.id));
	dt_queue_close(&self->q);
}

/* Datagrams longer than 32 bytes do not pass. */
TEST_F(trace, verdicts)
{
	struct sock_filter insns[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 32, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct demi_filter_attach attach = {
		.size = sizeof(attach), .kind = DEMI_FILTER_CBPF, .insn_count = 4, .insns = (uintptr_t)insns
	};

	ASSERT_EQ(0, dt_ioctl(self->q.fd, DEMI_FILTER_ATTACH, &attach));
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", PORT, "long"));
	ASSERT_EQ(0, dt_send_to("127.0.0.1", "127.0.0.1", PORT, "longer"));
	ASSERT_EQ(0, dt_settle());
	ASSERT_EQ(0, look());
	EXPECT_TRUE(told("demi_filter", "queue=%u len=32 pass=1", self->q.id));
	EXPECT_TRUE(told("demi_filter", "queue=%u len=34 pass=0", self->q.id));
	EXPECT_TRUE(told("demi_drop", "queue=%u reason=rx_filtered len=34 err=0", self->q.id));
	EXPECT_TRUE(told("demi_deliver", "queue=%u len=32 err=0", self->q.id));
	dt_queue_close(&self->q);
}

TEST_HARNESS_MAIN
