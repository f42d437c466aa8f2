/* SPDX-License-Identifier: MIT */
/* timeout: 900 */
/*
 * Every allocation of every command fails once: the n-th of a call, for all n. A call that fails has done nothing; one
 * that succeeds did so by a way around. Wants a kernel with fault injection.
 */
#include "kmod.h"

#include <linux/filter.h>
#include <sys/syscall.h>

static int nth_fd;

/* Arm the n-th possible failure of this task's next calls. */
static bool arm(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	return pwrite(nth_fd, text, len, 0) == len;
}

/* Off again. True: it had not come to n failures. */
static bool disarm(void)
{
	char text[16] = "";
	bool left = pread(nth_fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) > 0;

	arm(0);
	return left;
}

static bool inject(void)
{
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },	    { "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" }, { "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },	    { "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" },
	};
	char path[128];
	unsigned int i;

	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", settings[i][0]);
		kmod_write(path, settings[i][1]);
	}
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return nth_fd >= 0;
}

FIXTURE(nth)
{
	int ctx;
	unsigned int host, mock, flow_queue;
	int flow_fd;
	char *mem;
};

FIXTURE_SETUP(nth)
{
	struct demi_queue_create request;

	if (!inject())
		SKIP(return, "this kernel injects no faults");
	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
	self->host = kmod_device(self->ctx, "host");
	self->mock = kmod_device(self->ctx, "mock0");
	ASSERT_EQ(0, kmod_bind(self->ctx, self->mock, 0));
	self->mem = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	request = kmod_queue_request(self->host);
	request.kind = DEMI_QUEUE_FLOW;
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_QUEUE_CREATE, &request));
	self->flow_fd = request.fd;
	self->flow_queue = request.queue_id;
}

FIXTURE_TEARDOWN(nth)
{
	close(self->flow_fd);
	close(self->ctx);
}

static int queues_there(int ctx)
{
	struct demi_queue_list list = { .size = sizeof(list) };
	int err = kmod_ioctl(ctx, DEMI_QUEUE_LIST, &list);

	return err ? err : (int)list.count;
}

static int open_descriptors(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool may_fail_so(int err)
{
	return err == 0 || err == -ENOMEM || err == -EFAULT || err == -ENFILE || err == -ENOBUFS;
}

/*
 * Call with each n until nothing fails any more. @undo takes back what a success made. The sum of queues and
 * descriptors is the same after each.
 */
#define SWEEP(_fd, _cmd, _arg, _undo)                                                                                  \
	do {                                                                                                           \
		int n_, err_, queues_ = queues_there(self->ctx), open_ = open_descriptors();                           \
		bool through_ = false;                                                                                 \
		for (n_ = 1; n_ < 2000 && !through_; n_++) {                                                           \
			__typeof__(_arg) a_ = _arg;                                                                    \
			ASSERT_TRUE(arm(n_));                                                                          \
			err_ = kmod_ioctl(_fd, _cmd, &a_);                                                             \
			through_ = disarm();                                                                           \
			ASSERT_TRUE(may_fail_so(err_));                                                                \
			if (!err_) {                                                                                   \
				_undo;                                                                                 \
			}                                                                                              \
			ASSERT_EQ(queues_, queues_there(self->ctx));                                                   \
			ASSERT_EQ(open_, open_descriptors());                                                          \
		}                                                                                                      \
		ASSERT_TRUE(through_);                                                                                 \
		ASSERT_EQ(0, err_);                                                                                    \
		printf("# %s: %d failures\n", #_cmd, n_ - 2);                                                          \
		fflush(stdout);                                                                                        \
	} while (0)

TEST_F(nth, open)
{
	bool through = false;
	int n, fd = -1;

	for (n = 1; n < 1000 && !through; n++) {
		ASSERT_TRUE(arm(n));
		fd = kmod_open();
		through = disarm();
		if (fd >= 0)
			close(fd);
		else
			ASSERT_TRUE(may_fail_so(fd));
	}
	ASSERT_TRUE(through);
	ASSERT_LE(0, fd);
}

TEST_F(nth, information)
{
	unsigned int ids[64];
	struct demi_get_info get = { .size = sizeof(get) };
	struct demi_device_list devices = { .size = sizeof(devices), .count = 64, .ids = (uintptr_t)ids };
	struct demi_device_info device = { .size = sizeof(device), .device_id = self->host };
	struct demi_queue_info info = { .size = sizeof(info), .queue_id = self->flow_queue };
	struct demi_queue_list queues = { .size = sizeof(queues), .count = 64, .ids = (uintptr_t)ids };
	struct demi_flow_entry entries[4];
	struct demi_flow_list flows = {
		.size = sizeof(flows), .count = 4, .entry_bytes = sizeof(entries[0]), .entries = (uintptr_t)entries
	};

	SWEEP(self->ctx, DEMI_GET_INFO, get, );
	SWEEP(self->ctx, DEMI_DEVICE_LIST, devices, );
	SWEEP(self->ctx, DEMI_DEVICE_INFO, device, );
	SWEEP(self->ctx, DEMI_QUEUE_INFO, info, );
	SWEEP(self->ctx, DEMI_QUEUE_LIST, queues, );
	SWEEP(self->ctx, DEMI_FLOW_LIST, flows, );
}

TEST_F(nth, queue_create)
{
	struct demi_queue_create flow = kmod_queue_request(self->host), raw = flow, capture = flow;
	struct demi_queue_create device = kmod_queue_request(self->mock);

	flow.kind = DEMI_QUEUE_FLOW;
	raw.kind = DEMI_QUEUE_RAW;
	raw.ifindex = 1;
	capture.kind = DEMI_QUEUE_CAPTURE;
	capture.tx_entries = capture.tx_done_entries = 0;
	SWEEP(self->ctx, DEMI_QUEUE_CREATE, flow, close(a_.fd));
	SWEEP(self->ctx, DEMI_QUEUE_CREATE, raw, close(a_.fd));
	SWEEP(self->ctx, DEMI_QUEUE_CREATE, capture, close(a_.fd));
	SWEEP(self->ctx, DEMI_QUEUE_CREATE, device, close(a_.fd));
}

static int unregister(int ctx, unsigned int id)
{
	struct demi_region_unregister u = { .size = sizeof(u), .region_id = id };

	return kmod_ioctl(ctx, DEMI_REGION_UNREGISTER, &u);
}

TEST_F(nth, regions)
{
	struct demi_region_register reg = { .size = sizeof(reg), .addr = (uintptr_t)self->mem, .length_bytes = 65536 };

	SWEEP(self->ctx, DEMI_REGION_REGISTER, reg, ASSERT_EQ(0, unregister(self->ctx, a_.region_id)));
	ASSERT_EQ(0, kmod_read_number(DEMI_DEBUGFS "mock/mock0/maps"));
}

static int release(int ctx, unsigned int id)
{
	struct demi_port_release r = { .size = sizeof(r), .reservation_id = id };

	return kmod_ioctl(ctx, DEMI_PORT_RELEASE, &r);
}

TEST_F(nth, flows)
{
	struct demi_port_reserve port = { .size = sizeof(port),
					  .protocol = 17,
					  .local = { .family = 2, .addr = { 127, 0, 0, 1 } } };
	struct demi_flow_add add = { .size = sizeof(add), .target = self->flow_queue };
	struct demi_flow_del del = { .size = sizeof(del) };
	struct demi_group_create group = { .size = sizeof(group) };
	struct demi_group_destroy destroy = { .size = sizeof(destroy) };
	unsigned int ids[DEMI_GROUP_ENTRIES] = { self->flow_queue };
	struct demi_group_set set = { .size = sizeof(set), .count = DEMI_GROUP_ENTRIES, .queues = (uintptr_t)ids };

	SWEEP(self->ctx, DEMI_PORT_RESERVE, port, ASSERT_EQ(0, release(self->ctx, a_.reservation_id)));
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_PORT_RESERVE, &port));
	add.reservation_id = port.reservation_id;
	SWEEP(self->ctx, DEMI_FLOW_ADD, add, del.flow_id = a_.flow_id;
	      ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_FLOW_DEL, &del)));
	SWEEP(self->ctx, DEMI_GROUP_CREATE, group, destroy.group_id = a_.group_id;
	      ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_GROUP_DESTROY, &destroy)));
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_GROUP_CREATE, &group));
	set.group_id = group.group_id;
	SWEEP(self->ctx, DEMI_GROUP_SET, set, );
}

static int filter_detach(int fd)
{
	struct demi_filter_detach d = { .size = sizeof(d) };

	return kmod_ioctl(fd, DEMI_FILTER_DETACH, &d);
}

TEST_F(nth, filter)
{
	const struct sock_filter insns[] = { { 0x30, 0, 0, 0 }, { 0x6, 0, 0, 0xffff } }; /* ldb [0]; ret #65535 */
	struct sock_filter back[2];
	struct demi_filter_attach attach = {
		.size = sizeof(attach), .kind = DEMI_FILTER_CBPF, .insn_count = 2, .insns = (uintptr_t)insns
	};
	struct demi_filter_info info = { .size = sizeof(info), .insn_count = 2, .insns = (uintptr_t)back };

	SWEEP(self->flow_fd, DEMI_FILTER_ATTACH, attach, ASSERT_EQ(0, filter_detach(self->flow_fd)));
	ASSERT_EQ(0, kmod_ioctl(self->flow_fd, DEMI_FILTER_ATTACH, &attach));
	SWEEP(self->flow_fd, DEMI_FILTER_INFO, info, );
	ASSERT_EQ(0, memcmp(insns, back, sizeof(insns)));
}

TEST_F(nth, capture)
{
	struct demi_queue_create request = kmod_queue_request(self->host);
	struct demi_capture start = { .size = sizeof(start), .flags = DEMI_CAPTURE_F_RX, .queue_id = self->flow_queue };
	struct demi_capture stop = { .size = sizeof(stop), .flags = DEMI_CAPTURE_F_STOP, .queue_id = self->flow_queue };

	request.kind = DEMI_QUEUE_CAPTURE;
	request.tx_entries = request.tx_done_entries = 0;
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_QUEUE_CREATE, &request));
	start.target_id = stop.target_id = request.queue_id;
	SWEEP(self->ctx, DEMI_CAPTURE, start, ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_CAPTURE, &stop)));
	close(request.fd);
}

TEST_HARNESS_MAIN
