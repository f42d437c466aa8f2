/* SPDX-License-Identifier: MIT */
/* How long a context and a queue live: fork, dup, descriptors passed on, mappings that stay, ends from all sides. */
#include "kmod.h"

#include <grp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

FIXTURE(life)
{
	int ctx;
	unsigned int host, mock;
	struct demi_queue_create request;
	struct kmod_queue q;
};

FIXTURE_SETUP(life)
{
	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
	self->host = kmod_device(self->ctx, "host");
	self->mock = kmod_device(self->ctx, "mock0");
	ASSERT_NE(0, self->mock);
	ASSERT_EQ(0, kmod_bind(self->ctx, self->mock, 0));
	self->request = kmod_queue_request(self->mock);
	ASSERT_EQ(0, kmod_queue_make(&self->q, self->ctx, &self->request));
}

/* Everything is free again: another context can have the device, and the user's counters are at 0. */
FIXTURE_TEARDOWN(life)
{
	int other = kmod_open();

	munmap(self->q.map, self->q.map_bytes);
	close(self->q.fd);
	close(self->ctx);
	EXPECT_EQ(0, kmod_bind(other, self->mock, 0));
	close(other);
}

static int visible(int ctx, unsigned int id)
{
	struct demi_queue_info info;

	return kmod_queue_info(ctx, id, &info);
}

TEST_F(life, a_queue_ends_with_its_last_descriptor_and_mapping)
{
	int other = kmod_open(), copy = dup(self->q.fd);

	ASSERT_EQ(0, visible(other, self->q.id));
	close(self->q.fd);
	ASSERT_EQ(0, visible(other, self->q.id));
	close(copy);
	ASSERT_EQ(0, visible(other, self->q.id));
	*self->q.tx.producer = 5;
	munmap(self->q.map, self->q.map_bytes / 2);
	ASSERT_EQ(0, visible(other, self->q.id));
	munmap(self->q.map, self->q.map_bytes);
	ASSERT_EQ(-ENOENT, visible(other, self->q.id));
	close(other);
	self->q.fd = -1;
}

TEST_F(life, a_queue_outlives_its_contexts_file)
{
	unsigned int sent;

	close(self->ctx);
	self->ctx = -1;
	kmod_put(&self->q.tx, (struct demi_desc){ .region = 9, .len = 1 });
	ASSERT_EQ(0, kmod_kick(self->q.fd, &sent));
	ASSERT_EQ(1, sent);
	/* and the context's: the device is not free yet */
	self->ctx = kmod_open();
	ASSERT_EQ(-EBUSY, kmod_bind(self->ctx, self->mock, 0));
}

TEST_F(life, close_on_exec)
{
	ASSERT_EQ(FD_CLOEXEC, fcntl(self->q.fd, F_GETFD));
}

TEST_F(life, a_child_has_the_descriptor_but_not_the_mapping)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		unsigned char resident;
		unsigned int sent;

		if (mincore(self->q.map, getpagesize(), &resident) != -1 || errno != ENOMEM)
			_exit(1);
		if (kmod_kick(self->q.fd, &sent) || sent != 0)
			_exit(2);
		if (mmap(self->q.map, self->q.map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, self->q.fd,
			 0) == MAP_FAILED)
			_exit(3);
		*self->q.rx.consumer = 99;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(99, *self->q.rx.consumer);
	/* the child's end was not the queue's */
	ASSERT_EQ(0, kmod_kick(self->q.fd, NULL));
}

static int pass_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static int take_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

TEST_F(life, a_queue_passed_to_another_process)
{
	unsigned int sent;
	int pair[2], status;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = take_fd(pair[1]);
		char *map;
		struct demi_queue_info info;

		if (fd < 0)
			_exit(1);
		map = mmap(NULL, self->q.map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			_exit(2);
		/* only through its file: the parent's ids mean nothing without its context */
		if (kmod_queue_info(fd, 0, &info) || info.queue_id != self->q.id)
			_exit(3);
		if (kmod_shutdown(fd, 0))
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(0, pass_fd(pair[0], self->q.fd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(-ENODEV, kmod_kick(self->q.fd, &sent));
	close(pair[0]);
	close(pair[1]);
}

TEST_F(life, a_queue_in_a_socket_that_nobody_reads)
{
	int pair[2], other = kmod_open();

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, pass_fd(pair[0], self->q.fd));
	munmap(self->q.map, self->q.map_bytes);
	close(self->q.fd);
	ASSERT_EQ(0, visible(other, self->q.id));
	close(pair[0]);
	close(pair[1]);
	ASSERT_EQ(-ENOENT, visible(other, self->q.id));
	close(other);
	self->q.fd = -1;
}

/* Another user's queues are not there. */
TEST_F(life, others_see_nothing)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct demi_queue_list list = { .size = sizeof(list) };
		int ctx = kmod_open();

		/* privileges go with the caller's, though root opened it */
		if (setgroups(0, NULL) || setresgid(1234, 1234, 1234) || setresuid(1234, 1234, 1234))
			_exit(1);
		if (visible(ctx, self->q.id) != -ENOENT || kmod_shutdown(ctx, self->q.id) != -ENOENT)
			_exit(2);
		if (kmod_ioctl(ctx, DEMI_QUEUE_LIST, &list) || list.count)
			_exit(3);
		if (kmod_open() != -EACCES)
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_F(life, another_contexts_queue_is_not_shut_down)
{
	int other = kmod_open();

	ASSERT_EQ(0, visible(other, self->q.id));
	ASSERT_EQ(-EACCES, kmod_shutdown(other, self->q.id));
	ASSERT_EQ(0, kmod_kick(self->q.fd, NULL));
	close(other);
}

/* ---- ends against uses --------------------------------------------------------------------- */

struct race {
	struct kmod_queue *q;
	int ctx;
	volatile bool stop;
	long calls, unexpected;
};

static void *use(void *arg)
{
	struct race *r = arg;
	struct pollfd p = { .fd = r->q->fd, .events = POLLIN };
	struct demi_queue_info info;

	while (!r->stop) {
		int err = kmod_kick(r->q->fd, NULL);

		if (err && err != -ENODEV && err != -EAGAIN)
			r->unexpected++;
		*r->q->tx.producer += 3;
		*r->q->rx.consumer += 1;
		poll(&p, 1, 0);
		err = kmod_queue_info(r->q->fd, 0, &info);
		if (err)
			r->unexpected++;
		r->calls++;
	}
	return NULL;
}

static void *end(void *arg)
{
	struct race *r = arg;

	usleep(2000);
	if (kmod_shutdown(r->ctx, r->q->id))
		r->unexpected++;
	return NULL;
}

TEST_F(life, shutdown_against_use)
{
	int i;

	for (i = 0; i < 30; i++) {
		struct race r = { .q = &self->q, .ctx = self->ctx };
		pthread_t users[2], enders[2];
		int n;

		for (n = 0; n < 2; n++) {
			ASSERT_EQ(0, pthread_create(&users[n], NULL, use, &r));
			ASSERT_EQ(0, pthread_create(&enders[n], NULL, end, &r));
		}
		for (n = 0; n < 2; n++)
			pthread_join(enders[n], NULL);
		/* over for whoever shut it down, also the one that came second */
		ASSERT_EQ(-ENODEV, kmod_kick(self->q.fd, NULL));
		r.stop = true;
		for (n = 0; n < 2; n++)
			pthread_join(users[n], NULL);
		ASSERT_EQ(0, r.unexpected);
		kmod_queue_close(&self->q);
		ASSERT_EQ(0, kmod_queue_make(&self->q, self->ctx, &self->request));
	}
}

static void *close_it(void *arg)
{
	kmod_queue_close(arg);
	return NULL;
}

TEST_F(life, close_against_shutdown)
{
	int i;

	for (i = 0; i < 100; i++) {
		struct kmod_queue q;
		pthread_t t;
		int err;

		ASSERT_EQ(0, kmod_queue_make(&q, self->ctx, &self->request));
		ASSERT_EQ(0, pthread_create(&t, NULL, close_it, &q));
		err = kmod_shutdown(self->ctx, q.id);
		ASSERT_TRUE(err == 0 || err == -ENOENT);
		pthread_join(t, NULL);
		ASSERT_EQ(-ENOENT, kmod_shutdown(self->ctx, q.id));
	}
}

/* poll() that waits is told of the end. */
static void *wait_for_end(void *arg)
{
	struct kmod_queue *q = arg;
	struct pollfd p = { .fd = q->fd, .events = POLLIN };

	return (void *)(long)(poll(&p, 1, 20000) == 1 ? p.revents : -1);
}

TEST_F(life, waiters_are_woken)
{
	pthread_t t;
	void *revents;

	ASSERT_EQ(0, pthread_create(&t, NULL, wait_for_end, &self->q));
	usleep(50000);
	ASSERT_EQ(0, kmod_shutdown(self->ctx, self->q.id));
	pthread_join(t, &revents);
	ASSERT_EQ(POLLHUP | POLLERR, (long)revents);
}

/* ---- the module ---------------------------------------------------------------------------- */

TEST_F(life, a_busy_module_stays)
{
	ASSERT_EQ(-1, syscall(SYS_delete_module, "demi", O_NONBLOCK));
	ASSERT_EQ(EWOULDBLOCK, errno);
	munmap(self->q.map, self->q.map_bytes);
	close(self->ctx);
	self->ctx = -1;
	/* a queue's descriptor alone holds it */
	ASSERT_EQ(-1, syscall(SYS_delete_module, "demi", O_NONBLOCK));
	ASSERT_EQ(EWOULDBLOCK, errno);
	ASSERT_EQ(0, kmod_kick(self->q.fd, NULL));
	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
}

TEST_HARNESS_MAIN
