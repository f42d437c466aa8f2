// SPDX-License-Identifier: MIT
/* timeout: 600 */
/* DEMI_FILTER_ATTACH, _DETACH, _INFO: what a filter sees, does and counts, and who may set it. */
#include <grp.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>

#include "frames.h"

#define ENTRIES 64

/* ---- programs ------------------------------------------------------------------------------ */

static const struct sock_filter pass_all[] = { BPF_STMT(BPF_RET | BPF_K, 0xffff) };
static const struct sock_filter drop_all[] = { BPF_STMT(BPF_RET | BPF_K, 0) };

/* UDP whose first byte of payload is 'p', seen from the IP header; passes "1 byte" of it, which means all. */
static const struct sock_filter only_p[] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x45, 0, 5),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 3),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, UDP_HDRS),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'p', 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 1),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static int attach_cbpf(int fd, unsigned int queue, const struct sock_filter *insns, unsigned int n)
{
	struct demi_filter_attach arg = {
		.size = sizeof(arg),
		.queue_id = queue,
		.kind = DEMI_FILTER_CBPF,
		.insn_count = n,
		.insns = (uintptr_t)insns,
	};

	return kmod_ioctl(fd, DEMI_FILTER_ATTACH, &arg);
}

static int attach_ebpf(int fd, unsigned int queue, int prog)
{
	struct demi_filter_attach arg = {
		.size = sizeof(arg),
		.queue_id = queue,
		.kind = DEMI_FILTER_EBPF,
		.prog_fd = prog,
	};

	return kmod_ioctl(fd, DEMI_FILTER_ATTACH, &arg);
}

static int detach(int fd, unsigned int queue)
{
	struct demi_filter_detach arg = { .size = sizeof(arg), .queue_id = queue };

	return kmod_ioctl(fd, DEMI_FILTER_DETACH, &arg);
}

static int filter_info(int fd, unsigned int queue, struct demi_filter_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->queue_id = queue;
	return kmod_ioctl(fd, DEMI_FILTER_INFO, info);
}

static int load(unsigned int type, const struct bpf_insn *insns, unsigned int n)
{
	union bpf_attr attr = {
		.prog_type = type,
		.insns = (uintptr_t)insns,
		.insn_cnt = n,
		.license = (uintptr_t) "GPL",
	};
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	return fd < 0 ? -errno : fd;
}

/* r0 = byte @at of the packet, as only a program that looks can return it */
static int load_byte(unsigned int at)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_LD | BPF_ABS | BPF_B, .imm = at },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return load(BPF_PROG_TYPE_SOCKET_FILTER, insns, LEN(insns));
}

/* Writes to skb->cb, which at this place belongs to the kernel's own code. */
static int load_scribble_cb(void)
{
	struct bpf_insn insns[2 + 5 + 1];
	unsigned int i;

	memset(insns, 0, sizeof(insns));
	insns[0] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = -1 };
	insns[1] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0x5a5a5a5a };
	for (i = 0; i < 5; i++)
		insns[2 + i] = (struct bpf_insn){
			.code = BPF_STX | BPF_MEM | BPF_W,
			.dst_reg = 1,
			.src_reg = 2,
			.off = offsetof(struct __sk_buff, cb) + 4 * i,
		};
	insns[7] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	return load(BPF_PROG_TYPE_SOCKET_FILTER, insns, LEN(insns));
}

FIXTURE(filter)
{
	int fd, sock;
	unsigned int port;
	struct fq q;
};

FIXTURE_SETUP(filter)
{
	unsigned int i;

	self->fd = kmod_open();
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, fq_udp(&self->q, self->fd, ENTRIES, &self->port));
	for (i = 0; i < ENTRIES; i++)
		fq_post(&self->q, i);
	self->sock = udp_socket(self->port);
	ASSERT_GE(self->sock, 0);
}

FIXTURE_TEARDOWN(filter)
{
	close(self->sock);
	fq_close(&self->q);
	close(self->fd);
}

static struct demi_queue_counters counters(struct fq *q)
{
	struct demi_queue_info info;

	if (kmod_queue_info(q->q.fd, 0, &info))
		memset(&info.counters, 0xff, sizeof(info.counters));
	return info.counters;
}

TEST_F(filter, classic)
{
	struct demi_filter_info info;
	struct demi_queue_info queue;

	EXPECT_TRUE(fq_passes(&self->q, self->sock, "q before"));
	ASSERT_EQ(0, attach_cbpf(self->fd, self->q.q.id, only_p, LEN(only_p)));
	ASSERT_EQ(0, kmod_queue_info(self->q.q.fd, 0, &queue));
	EXPECT_TRUE(queue.state & DEMI_QUEUE_STATE_FILTER);
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "packet"));
	EXPECT_FALSE(fq_passes(&self->q, self->sock, "q"));
	EXPECT_FALSE(fq_passes(&self->q, self->sock, "another"));
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "p"));
	EXPECT_EQ(2, counters(&self->q).rx_filtered);
	EXPECT_EQ(3, counters(&self->q).rx_frames);
	ASSERT_EQ(0, filter_info(self->fd, self->q.q.id, &info));
	EXPECT_EQ(DEMI_FILTER_CBPF, info.kind);
	EXPECT_EQ(0, info.prog_id);
	EXPECT_EQ(2, info.passed);
	EXPECT_EQ(2, info.dropped);
	EXPECT_EQ(LEN(only_p), info.insn_count);
	ASSERT_EQ(0, detach(self->fd, self->q.q.id));
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "q after"));
	EXPECT_EQ(-ENODATA, detach(self->fd, self->q.q.id));
	ASSERT_EQ(0, filter_info(self->fd, self->q.q.id, &info));
	EXPECT_EQ(DEMI_FILTER_NONE, info.kind);
	EXPECT_EQ(0, info.passed + info.dropped + info.insn_count + info.attached_ns);
	ASSERT_EQ(0, kmod_queue_info(self->q.q.fd, 0, &queue));
	EXPECT_FALSE(queue.state & DEMI_QUEUE_STATE_FILTER);
}

TEST_F(filter, extended)
{
	struct demi_filter_info info;
	/* the first byte of the IP header is never 0; the type of service of a fresh packet is */
	int pass = load_byte(0), drop = load_byte(1);

	ASSERT_GE(pass, 0);
	ASSERT_GE(drop, 0);
	ASSERT_EQ(0, attach_ebpf(self->fd, self->q.q.id, pass));
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "x"));
	ASSERT_EQ(0, filter_info(self->fd, self->q.q.id, &info));
	EXPECT_EQ(DEMI_FILTER_EBPF, info.kind);
	EXPECT_NE(0, info.prog_id);
	EXPECT_EQ(0, info.insn_count);
	EXPECT_EQ(1, info.passed);
	/* replaced; the queue holds the program without the fd */
	ASSERT_EQ(0, attach_ebpf(self->fd, self->q.q.id, drop));
	close(pass);
	close(drop);
	EXPECT_FALSE(fq_passes(&self->q, self->sock, "x"));
	ASSERT_EQ(0, filter_info(self->fd, self->q.q.id, &info));
	EXPECT_EQ(0, info.passed);
	EXPECT_EQ(1, info.dropped);
}

TEST_F(filter, control_block_is_restored)
{
	int prog = load_scribble_cb(), i;

	ASSERT_GE(prog, 0);
	ASSERT_EQ(0, attach_ebpf(self->fd, self->q.q.id, prog));
	for (i = 0; i < 10; i++)
		EXPECT_TRUE(fq_passes(&self->q, self->sock, "x"));
	close(prog);
}

TEST_F(filter, on_the_queues_file)
{
	struct demi_filter_info info;

	EXPECT_EQ(-EINVAL, attach_cbpf(self->q.q.fd, self->q.q.id, drop_all, 1));
	ASSERT_EQ(0, attach_cbpf(self->q.q.fd, 0, drop_all, 1));
	EXPECT_FALSE(fq_passes(&self->q, self->sock, "x"));
	EXPECT_EQ(-EINVAL, filter_info(self->q.q.fd, self->q.q.id, &info));
	ASSERT_EQ(0, filter_info(self->q.q.fd, 0, &info));
	EXPECT_EQ(1, info.dropped);
	EXPECT_EQ(-EINVAL, detach(self->q.q.fd, self->q.q.id));
	ASSERT_EQ(0, detach(self->q.q.fd, 0));
}

TEST_F(filter, instructions_come_back)
{
	struct sock_filter insns[LEN(only_p) + 1];
	struct demi_filter_info info = { .size = sizeof(info), .queue_id = self->q.q.id };
	struct timespec now;

	ASSERT_EQ(0, attach_cbpf(self->fd, self->q.q.id, only_p, LEN(only_p)));
	memset(insns, 0xee, sizeof(insns));
	info.insns = (uintptr_t)insns;
	info.insn_count = LEN(insns);
	ASSERT_EQ(0, kmod_ioctl(self->fd, DEMI_FILTER_INFO, &info));
	EXPECT_EQ(LEN(only_p), info.insn_count);
	EXPECT_EQ(0, memcmp(insns, only_p, sizeof(only_p)));
	EXPECT_EQ(0xee, ((uint8_t *)insns)[sizeof(only_p)]);
	clock_gettime(CLOCK_BOOTTIME, &now);
	EXPECT_GT(info.attached_ns, 0);
	EXPECT_LE(info.attached_ns, now.tv_sec * 1000000000ULL + now.tv_nsec);
	/* less room: as much as there is */
	memset(insns, 0xee, sizeof(insns));
	info.insn_count = 2;
	ASSERT_EQ(0, kmod_ioctl(self->fd, DEMI_FILTER_INFO, &info));
	EXPECT_EQ(LEN(only_p), info.insn_count);
	EXPECT_EQ(0, memcmp(insns, only_p, 2 * sizeof(insns[0])));
	EXPECT_EQ(0xee, ((uint8_t *)insns)[2 * sizeof(insns[0])]);
	info.insns = 8;
	EXPECT_EQ(-EFAULT, kmod_ioctl(self->fd, DEMI_FILTER_INFO, &info));
}

TEST_F(filter, fields)
{
	struct demi_filter_attach good = {
		.size = sizeof(good),
		.queue_id = self->q.q.id,
		.kind = DEMI_FILTER_CBPF,
		.insn_count = 1,
		.insns = (uintptr_t)drop_all,
	}, bad;
	const struct sock_filter loop[] = { BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_K, 1) };
	const struct sock_filter no_ret[] = { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0) };
	struct demi_filter_detach un = { .size = sizeof(un), .queue_id = self->q.q.id };
	struct demi_filter_info info = { .size = sizeof(info), .queue_id = self->q.q.id, .flags = 1 };
	const struct bpf_insn xdp[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int prog;

#define REJECTED(err, field, value)                                                                                    \
	do {                                                                                                           \
		bad = good;                                                                                            \
		bad.field = (value);                                                                                   \
		EXPECT_EQ(-(err), kmod_ioctl(self->fd, DEMI_FILTER_ATTACH, &bad));                                     \
	} while (0)
	REJECTED(EINVAL, flags, 1);
	REJECTED(ENOENT, queue_id, self->q.q.id + 1000);
	REJECTED(ENOENT, queue_id, 0);
	REJECTED(EINVAL, kind, 0);
	REJECTED(EINVAL, kind, 3);
	REJECTED(EINVAL, kind, ~0U);
	REJECTED(EINVAL, prog_fd, 1);
	REJECTED(EINVAL, insn_count, 0);
	REJECTED(EINVAL, insn_count, BPF_MAXINSNS + 1);
	REJECTED(EINVAL, insn_count, 65536 + 1);
	REJECTED(EFAULT, insns, 8);
	REJECTED(EINVAL, kind, DEMI_FILTER_EBPF); /* with instructions */
	EXPECT_EQ(-EINVAL, attach_cbpf(self->fd, self->q.q.id, loop, LEN(loop)));
	EXPECT_EQ(-EINVAL, attach_cbpf(self->fd, self->q.q.id, no_ret, LEN(no_ret)));
	good.kind = DEMI_FILTER_EBPF;
	good.insn_count = 0;
	good.insns = 0;
	REJECTED(EBADF, prog_fd, -1);
	REJECTED(EINVAL, prog_fd, self->sock);
	REJECTED(EINVAL, prog_fd, self->fd);
	prog = load(BPF_PROG_TYPE_XDP, xdp, LEN(xdp));
	ASSERT_GE(prog, 0);
	REJECTED(EINVAL, prog_fd, prog);
	close(prog);
#undef REJECTED
	EXPECT_EQ(-ENODATA, detach(self->fd, self->q.q.id));
	un.flags = 1;
	EXPECT_EQ(-EINVAL, kmod_ioctl(self->fd, DEMI_FILTER_DETACH, &un));
	un.flags = 0;
	un.__reserved = 1;
	EXPECT_EQ(-EINVAL, kmod_ioctl(self->fd, DEMI_FILTER_DETACH, &un));
	EXPECT_EQ(-EINVAL, kmod_ioctl(self->fd, DEMI_FILTER_INFO, &info));
	/* nothing of all this changed what passes */
	EXPECT_TRUE(fq_passes(&self->q, self->sock, "x"));
}

TEST_F(filter, kinds_of_queues)
{
	struct fq capture, mock;

	ASSERT_EQ(0, fq_host(&capture, self->fd, DEMI_QUEUE_CAPTURE, 0, 16));
	EXPECT_EQ(-EOPNOTSUPP, attach_cbpf(capture.q.fd, 0, pass_all, 1));
	ASSERT_EQ(0, fq_mock(&mock, self->fd, 16));
	EXPECT_EQ(-EOPNOTSUPP, attach_cbpf(mock.q.fd, 0, pass_all, 1));
	fq_close(&capture);
	fq_close(&mock);
}

TEST_F(filter, of_an_ended_queue)
{
	ASSERT_EQ(0, attach_cbpf(self->fd, self->q.q.id, drop_all, 1));
	ASSERT_EQ(0, kmod_shutdown(self->q.q.fd, 0));
	EXPECT_EQ(-ENODEV, attach_cbpf(self->q.q.fd, 0, drop_all, 1));
}

/* ---- whose ---------------------------------------------------------------------------------- */

TEST(whose)
{
	int owner = kmod_open_as(KMOD_USER), same = kmod_open_as(KMOD_USER), other = kmod_open_as(KMOD_OTHER),
	    root = kmod_open();
	struct demi_filter_info info;
	unsigned int port, id;
	struct fq q;
	int prog;

	ASSERT_GE(owner, 0);
	ASSERT_GE(same, 0);
	ASSERT_GE(other, 0);
	ASSERT_GE(root, 0);
	ASSERT_EQ(0, KMOD_AS(KMOD_USER, fq_udp(&q, owner, ENTRIES, &port)));
	id = q.q.id;

	/* one's own needs no privilege, be it eBPF that somebody else loaded */
	EXPECT_EQ(0, KMOD_AS(KMOD_USER, attach_cbpf(owner, id, pass_all, 1)));
	prog = load_byte(0);
	ASSERT_GE(prog, 0);
	EXPECT_EQ(0, KMOD_AS(KMOD_USER, attach_ebpf(owner, id, prog)));
	EXPECT_EQ(0, KMOD_AS(KMOD_USER, detach(owner, id)));

	/* another context of the same user sees it, and that is all */
	EXPECT_EQ(0, KMOD_AS(KMOD_USER, filter_info(same, id, &info)));
	EXPECT_EQ(-EACCES, KMOD_AS(KMOD_USER, attach_cbpf(same, id, pass_all, 1)));
	EXPECT_EQ(-EACCES, KMOD_AS(KMOD_USER, detach(same, id)));

	/* another user does not */
	EXPECT_EQ(-ENOENT, KMOD_AS(KMOD_OTHER, filter_info(other, id, &info)));
	EXPECT_EQ(-ENOENT, KMOD_AS(KMOD_OTHER, attach_cbpf(other, id, pass_all, 1)));
	EXPECT_EQ(-ENOENT, KMOD_AS(KMOD_OTHER, detach(other, id)));

	/* a privilege of the caller alone, or of the opener alone, is none */
	EXPECT_EQ(-ENOENT, attach_cbpf(other, id, pass_all, 1));
	EXPECT_EQ(-ENOENT, KMOD_AS(KMOD_OTHER, attach_cbpf(root, id, pass_all, 1)));

	/* an administrator's stays */
	EXPECT_EQ(0, attach_cbpf(root, id, drop_all, 1));
	EXPECT_EQ(-EPERM, KMOD_AS(KMOD_USER, detach(owner, id)));
	EXPECT_EQ(-EPERM, KMOD_AS(KMOD_USER, attach_cbpf(owner, id, pass_all, 1)));
	EXPECT_EQ(-EPERM, KMOD_AS(KMOD_USER, detach(q.q.fd, 0)));
	EXPECT_EQ(-EPERM, KMOD_AS(KMOD_USER, attach_ebpf(q.q.fd, 0, prog)));
	EXPECT_EQ(0, filter_info(root, id, &info));
	EXPECT_EQ(DEMI_FILTER_CBPF, info.kind);
	EXPECT_EQ(0, detach(root, id));
	EXPECT_EQ(0, KMOD_AS(KMOD_USER, attach_cbpf(owner, id, pass_all, 1)));
	/* an administrator may take an owner's away */
	EXPECT_EQ(0, detach(root, id));
	EXPECT_EQ(-ENODATA, KMOD_AS(KMOD_USER, detach(owner, id)));

	close(prog);
	fq_close(&q);
	close(owner);
	close(same);
	close(other);
	close(root);
}

/* ---- under traffic ------------------------------------------------------------------------- */

struct sender {
	int sock;
	bool stop;
	uint32_t sent;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;
	cpu_set_t here;

	/* a sender that goes to another CPU overtakes what the first still has in its backlog */
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here))
		return NULL;
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		if (send(s->sock, &s->sent, sizeof(s->sent), 0) == sizeof(s->sent))
			s->sent++;
	}
	return NULL;
}

/* Replaced 1,000 times while packets arrive: each was judged once, by one of them. */
TEST_F(filter, replaced_under_traffic)
{
	struct sender s = { .sock = self->sock };
	struct demi_queue_counters c;
	struct demi_filter_info info;
	uint32_t last = 0, received = 0, number, i;
	uint64_t judged = 0;
	uint8_t got[FQ_BUF];
	pthread_t thread;
	int prog = load_byte(0), err;

	ASSERT_GE(prog, 0);
	ASSERT_EQ(0, attach_cbpf(self->fd, self->q.q.id, drop_all, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_all, &s));
	for (i = 0; i < 1000; i++) {
		if (i % 3 == 0)
			err = attach_cbpf(self->fd, self->q.q.id, drop_all, 1);
		else if (i % 3 == 1)
			err = attach_cbpf(self->fd, self->q.q.id, pass_all, 1);
		else
			err = attach_ebpf(self->fd, self->q.q.id, prog);
		ASSERT_EQ(0, err);
		while (fq_recv(&self->q, got, sizeof(got), 0) > 0) {
			memcpy(&number, got + FQ_HDR + UDP_HDRS, sizeof(number));
			if (received++)
				ASSERT_GT(number, last);
			last = number;
		}
		ASSERT_EQ(0, filter_info(self->fd, self->q.q.id, &info));
		judged += info.passed + info.dropped;
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	while (fq_recv(&self->q, got, sizeof(got), 0) > 0)
		received++;
	c = counters(&self->q);
	EXPECT_EQ(s.sent, c.rx_frames + c.rx_filtered + c.rx_no_buffer);
	EXPECT_EQ(received, c.rx_frames);
	EXPECT_NE(0, c.rx_filtered);
	EXPECT_NE(0, c.rx_frames);
	EXPECT_LE(judged, s.sent);
	close(prog);
}

TEST_HARNESS_MAIN
