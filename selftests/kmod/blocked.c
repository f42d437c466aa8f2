/* SPDX-License-Identifier: MIT */
/*
 * An answer goes to memory that takes it when its owner likes. Who waits for that holds up nobody: neither the same
 * context's other commands, nor those who look at all contexts, nor the end of a queue.
 */
#include "kmod.h"

#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/syscall.h>

#define PORT 5000

FIXTURE(blocked)
{
	int ctx, uffd;
	unsigned int host, mock;
	struct kmod_queue q, dedicated;
	void *page; /* the argument is here; read, but not written, until let_go() */
	size_t page_bytes;
};

/* One command in a thread of its own. */
struct call {
	int fd;
	unsigned long cmd;
	void *arg;
	int err;
	pthread_t thread;
};

static void *call_run(void *arg)
{
	struct call *c = arg;

	c->err = kmod_ioctl(c->fd, c->cmd, c->arg);
	return NULL;
}

static int protect(int uffd, void *page, size_t bytes, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)page, .len = bytes },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

/* A descriptor of what is written to this memory. */
static int watch(void *page, size_t bytes)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)page, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC), err;

	if (uffd < 0)
		return -errno;
	if (!ioctl(uffd, UFFDIO_API, &api) && !ioctl(uffd, UFFDIO_REGISTER, &reg))
		return uffd;
	err = -errno;
	close(uffd);
	return err;
}

FIXTURE_SETUP(blocked)
{
	struct demi_queue_create request;

	self->page_bytes = getpagesize();
	self->page = mmap(NULL, self->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	self->uffd = watch(self->page, self->page_bytes);
	if (self->uffd < 0)
		SKIP(return, "no userfaultfd that protects from writing: %s", strerror(-self->uffd));
	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
	self->host = kmod_device(self->ctx, "host");
	self->mock = kmod_device(self->ctx, "mock0");
	request = kmod_queue_request(self->host);
	request.kind = DEMI_QUEUE_FLOW;
	ASSERT_EQ(0, kmod_queue_make(&self->q, self->ctx, &request));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->mock, 0));
	request = kmod_queue_request(self->mock);
	ASSERT_EQ(0, kmod_queue_make(&self->dedicated, self->ctx, &request));
}

FIXTURE_TEARDOWN(blocked)
{
	close(self->uffd);
	kmod_queue_close(&self->q);
	kmod_queue_close(&self->dedicated);
	close(self->ctx);
}

/* On return the call is where it writes its answer. */
static int call_start(struct call *c, FIXTURE_DATA(blocked) * self, unsigned long cmd, const void *arg, size_t bytes)
{
	struct uffd_msg msg;
	int err;

	memcpy(self->page, arg, bytes);
	err = protect(self->uffd, self->page, self->page_bytes, true);
	if (err)
		return err;
	*c = (struct call){ .fd = self->ctx, .cmd = cmd, .arg = self->page };
	err = -pthread_create(&c->thread, NULL, call_run, c);
	if (err)
		return err;
	if (read(self->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -errno;
	return msg.event == UFFD_EVENT_PAGEFAULT && msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP ? 0 : -EPROTO;
}

/* The answer gets its memory, or finds that nobody may write there. What the call says. */
static int call_end(struct call *c, FIXTURE_DATA(blocked) * self, bool fault)
{
	int err = 0;

	if (fault && mprotect(self->page, self->page_bytes, PROT_READ))
		return -errno;
	err = protect(self->uffd, self->page, self->page_bytes, false);
	if (err)
		return err;
	pthread_join(c->thread, NULL);
	return mprotect(self->page, self->page_bytes, PROT_READ | PROT_WRITE) ? -errno : c->err;
}

static struct demi_port_reserve reserve_request(unsigned int port)
{
	return (struct demi_port_reserve){ .size = sizeof(struct demi_port_reserve),
					   .protocol = IPPROTO_UDP,
					   .local = {
						   .family = AF_INET, .port = htons(port), .addr = { 127, 0, 0, 1 } } };
}

static int release(int ctx, unsigned int id)
{
	struct demi_port_release arg = { .size = sizeof(arg), .reservation_id = id };

	return kmod_ioctl(ctx, DEMI_PORT_RELEASE, &arg);
}

static int flow_del(int ctx, unsigned int id)
{
	struct demi_flow_del arg = { .size = sizeof(arg), .flow_id = id };

	return kmod_ioctl(ctx, DEMI_FLOW_DEL, &arg);
}

static int group_destroy(int ctx, unsigned int id)
{
	struct demi_group_destroy arg = { .size = sizeof(arg), .group_id = id };

	return kmod_ioctl(ctx, DEMI_GROUP_DESTROY, &arg);
}

static int flows(int ctx)
{
	struct demi_flow_entry entry;
	struct demi_flow_list list = { .size = sizeof(list), .entry_bytes = sizeof(entry) };
	int err = kmod_ioctl(ctx, DEMI_FLOW_LIST, &list);

	return err ? err : (int)list.count;
}

static int read_all(const char *path)
{
	char buf[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = read(fd, buf, sizeof(buf));
	while (n > 0);
	close(fd);
	return n < 0 ? -errno : 0;
}

/* All that takes the context's lock: none of it comes back before the answer is taken, if that holds the lock. */
static void others_go_on(struct __test_metadata *_metadata, FIXTURE_DATA(blocked) * self)
{
	struct demi_device_grant revoke = { .size = sizeof(revoke), .device_id = self->mock };
	struct demi_port_reserve reserve = reserve_request(PORT + 1);
	struct demi_group_create group = { .size = sizeof(group) };
	int fd;

	ASSERT_EQ(0, read_all(DEMI_DEBUGFS "contexts"));
	ASSERT_EQ(0, read_all(DEMI_DEBUGFS "queues"));
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_PORT_RESERVE, &reserve));
	ASSERT_EQ(0, release(self->ctx, reserve.reservation_id));
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_GROUP_CREATE, &group));
	ASSERT_EQ(0, group_destroy(self->ctx, group.group_id));
	ASSERT_EQ(-ENOENT, flow_del(self->ctx, 4711));
	fd = kmod_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kmod_ioctl(fd, DEMI_DEVICE_REVOKE, &revoke));
	ASSERT_EQ(-ENODEV, kmod_kick(self->dedicated.fd, NULL));
	close(fd);
}

TEST_F(blocked, port_reserve)
{
	const struct demi_port_reserve *answer = self->page;
	struct demi_port_reserve arg = reserve_request(PORT);
	struct call c;

	ASSERT_EQ(0, call_start(&c, self, DEMI_PORT_RESERVE, &arg, sizeof(arg)));
	others_go_on(_metadata, self);
	/* nobody has it, before its owner knows of it; the first id is 1 */
	EXPECT_EQ(-ENOENT, release(self->ctx, 1));
	ASSERT_EQ(0, call_end(&c, self, false));
	EXPECT_EQ(1, answer->reservation_id);
	EXPECT_EQ(0, release(self->ctx, answer->reservation_id));

	ASSERT_EQ(0, call_start(&c, self, DEMI_PORT_RESERVE, &arg, sizeof(arg)));
	EXPECT_EQ(-EFAULT, call_end(&c, self, true));
	EXPECT_EQ(-ENOENT, release(self->ctx, 1));
	/* the port is free */
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_PORT_RESERVE, &arg));
	EXPECT_EQ(1, arg.reservation_id);
}

TEST_F(blocked, group_create)
{
	const struct demi_group_create *answer = self->page;
	struct demi_group_create arg = { .size = sizeof(arg) };
	struct call c;

	ASSERT_EQ(0, call_start(&c, self, DEMI_GROUP_CREATE, &arg, sizeof(arg)));
	others_go_on(_metadata, self);
	EXPECT_EQ(-ENOENT, group_destroy(self->ctx, 1));
	ASSERT_EQ(0, call_end(&c, self, false));
	EXPECT_EQ(1, answer->group_id);
	EXPECT_EQ(0, group_destroy(self->ctx, answer->group_id));

	ASSERT_EQ(0, call_start(&c, self, DEMI_GROUP_CREATE, &arg, sizeof(arg)));
	EXPECT_EQ(-EFAULT, call_end(&c, self, true));
	EXPECT_EQ(-ENOENT, group_destroy(self->ctx, 1));
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_GROUP_CREATE, &arg));
	EXPECT_EQ(1, arg.group_id);
}

TEST_F(blocked, flow_add)
{
	const struct demi_flow_add *answer = self->page;
	struct demi_port_reserve reserve = reserve_request(PORT);
	struct demi_flow_add arg = { .size = sizeof(arg), .target = self->q.id };
	struct call c;

	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_PORT_RESERVE, &reserve));
	arg.reservation_id = reserve.reservation_id;
	ASSERT_EQ(0, call_start(&c, self, DEMI_FLOW_ADD, &arg, sizeof(arg)));
	others_go_on(_metadata, self);
	EXPECT_EQ(-EBUSY, release(self->ctx, reserve.reservation_id));
	ASSERT_EQ(0, call_end(&c, self, false));
	EXPECT_EQ(1, flows(self->ctx));
	EXPECT_EQ(0, flow_del(self->ctx, answer->flow_id));
	EXPECT_EQ(0, flows(self->ctx));

	ASSERT_EQ(0, call_start(&c, self, DEMI_FLOW_ADD, &arg, sizeof(arg)));
	EXPECT_EQ(-EFAULT, call_end(&c, self, true));
	EXPECT_EQ(0, flows(self->ctx));
	EXPECT_EQ(0, release(self->ctx, reserve.reservation_id));
}

/* The flow goes while its id is being told: by its id, which can be guessed, or with its queue. */
TEST_F(blocked, flow_goes)
{
	struct demi_port_reserve reserve = reserve_request(PORT);
	struct demi_flow_add arg = { .size = sizeof(arg) };
	struct demi_queue_create request = kmod_queue_request(self->host);
	int fault, by_id;

	request.kind = DEMI_QUEUE_FLOW;
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_PORT_RESERVE, &reserve));
	arg.reservation_id = reserve.reservation_id;
	for (fault = 0; fault < 2; fault++) {
		for (by_id = 0; by_id < 2; by_id++) {
			struct kmod_queue q;
			struct call c;

			ASSERT_EQ(0, kmod_queue_make(&q, self->ctx, &request));
			arg.target = q.id;
			ASSERT_EQ(0, call_start(&c, self, DEMI_FLOW_ADD, &arg, sizeof(arg)));
			EXPECT_EQ(1, flows(self->ctx));
			ASSERT_EQ(0, by_id ? flow_del(self->ctx, 1) : kmod_shutdown(q.fd, 0));
			EXPECT_EQ(0, flows(self->ctx));
			EXPECT_EQ(fault ? -EFAULT : 0, call_end(&c, self, fault));
			EXPECT_EQ(-ENOENT, flow_del(self->ctx, 1));
			kmod_queue_close(&q);
		}
	}
	EXPECT_EQ(0, release(self->ctx, reserve.reservation_id));
}

TEST_HARNESS_MAIN
