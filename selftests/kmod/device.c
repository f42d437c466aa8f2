/* SPDX-License-Identifier: MIT */
/* Dedicated devices, by the mock ones: who may own one, regions mapped for it, revocation, removal under use. */
#include "kmod.h"

#include <grp.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SOMEBODY 1234
#define MOCK DEMI_DEBUGFS "mock/"

FIXTURE(device)
{
	int ctx;
	unsigned int id; /* of mock1, made for each test */
};

FIXTURE_SETUP(device)
{
	ASSERT_EQ(0, kmod_write(MOCK "add", "mock1\n"));
	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
	self->id = kmod_device(self->ctx, "mock1");
	ASSERT_NE(0, self->id);
	ASSERT_EQ(0, chmod(DEMI_DEV, 0666));
}

FIXTURE_TEARDOWN(device)
{
	int err;

	chmod(DEMI_DEV, 0660);
	close(self->ctx);
	err = kmod_write(MOCK "remove", "mock1\n");
	EXPECT_TRUE(err == 0 || err == -ENODEV);
}

static int grant(int ctx, unsigned long cmd, unsigned int id, unsigned int uid)
{
	struct demi_device_grant arg = { .size = sizeof(arg), .device_id = id, .uid = uid };

	return kmod_ioctl(ctx, cmd, &arg);
}

static struct demi_device_info info_of(int ctx, unsigned int id)
{
	struct demi_device_info info = { .size = sizeof(info), .device_id = id };

	if (kmod_ioctl(ctx, DEMI_DEVICE_INFO, &info))
		info.kind = 0;
	return info;
}

/* Run as a user; the status is what @f returned, 0 for success. */
static int as_somebody(int (*f)(unsigned int id), unsigned int id)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgroups(0, NULL) || setresgid(SOMEBODY, SOMEBODY, SOMEBODY) ||
		    setresuid(SOMEBODY, SOMEBODY, SOMEBODY))
			_exit(99);
		_exit(f(id));
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(device, what_it_is)
{
	struct demi_device_info info = info_of(self->ctx, self->id);

	ASSERT_EQ(DEMI_DEVICE_MOCK, info.kind);
	ASSERT_EQ(DEMI_DEVICE_F_DEDICATED, info.state);
	ASSERT_EQ(4, info.queues_max);
	ASSERT_EQ(DEMI_UID_NONE, info.owner_uid);
	ASSERT_EQ(0, strcmp("mock1", info.name));
}

TEST_F(device, one_owner)
{
	int other = kmod_open();

	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(DEMI_DEVICE_F_DEDICATED | DEMI_DEVICE_F_BOUND | DEMI_DEVICE_F_MINE,
		  info_of(self->ctx, self->id).state);
	ASSERT_EQ(DEMI_DEVICE_F_DEDICATED | DEMI_DEVICE_F_BOUND, info_of(other, self->id).state);
	ASSERT_EQ(-EBUSY, kmod_bind(other, self->id, 0));
	ASSERT_EQ(-EACCES, kmod_bind(other, self->id, DEMI_DEVICE_BIND_F_RELEASE));
	ASSERT_EQ(1, kmod_read_number(MOCK "mock1/binds"));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, DEMI_DEVICE_BIND_F_RELEASE));
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/binds"));
	ASSERT_EQ(0, kmod_bind(other, self->id, 0));
	close(other);
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/binds"));
}

static int user_without_grant(unsigned int id)
{
	int ctx = kmod_open();

	if (ctx < 0)
		return 1;
	if (info_of(ctx, id).kind || kmod_device(ctx, "mock1") || kmod_device(ctx, "host") != 1)
		return 2;
	if (kmod_bind(ctx, id, 0) != -EACCES)
		return 3;
	if (grant(ctx, DEMI_DEVICE_GRANT, id, SOMEBODY) != -EPERM || grant(ctx, DEMI_DEVICE_REVOKE, id, 0) != -EPERM)
		return 4;
	return 0;
}

static int user_with_grant(unsigned int id)
{
	struct demi_queue_create request = kmod_queue_request(id);
	struct kmod_queue q;
	int ctx = kmod_open();

	if (info_of(ctx, id).owner_uid != SOMEBODY)
		return 1;
	if (kmod_queue_make(&q, ctx, &request) != -EACCES)
		return 2;
	if (kmod_bind(ctx, id, 0) || kmod_queue_make(&q, ctx, &request))
		return 3;
	return 0;
}

TEST_F(device, granted)
{
	ASSERT_EQ(0, as_somebody(user_without_grant, self->id));
	ASSERT_EQ(0, grant(self->ctx, DEMI_DEVICE_GRANT, self->id, SOMEBODY));
	ASSERT_EQ(SOMEBODY, info_of(self->ctx, self->id).owner_uid);
	ASSERT_EQ(0, as_somebody(user_with_grant, self->id));
	ASSERT_EQ(0, grant(self->ctx, DEMI_DEVICE_REVOKE, self->id, 0));
	ASSERT_EQ(DEMI_UID_NONE, info_of(self->ctx, self->id).owner_uid);
	ASSERT_EQ(0, as_somebody(user_without_grant, self->id));
}

/* The opener must have the privilege, too: a descriptor of root's does not lend it. */
static int opened_by_root = -1;

static int user_with_roots_file(unsigned int id)
{
	if (kmod_bind(opened_by_root, id, 0) != -EACCES)
		return 1;
	if (grant(opened_by_root, DEMI_DEVICE_GRANT, id, SOMEBODY) != -EPERM)
		return 2;
	return 0;
}

TEST_F(device, a_passed_file_lends_no_privilege)
{
	opened_by_root = self->ctx;
	ASSERT_EQ(0, as_somebody(user_with_roots_file, self->id));
}

TEST_F(device, queues_are_counted)
{
	struct demi_queue_create request = kmod_queue_request(self->id);
	struct kmod_queue q[5];
	int i;

	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, kmod_queue_make(&q[i], self->ctx, &request));
	ASSERT_EQ(-EDQUOT, kmod_queue_make(&q[4], self->ctx, &request));
	ASSERT_EQ(-EBUSY, kmod_bind(self->ctx, self->id, DEMI_DEVICE_BIND_F_RELEASE));
	ASSERT_EQ(0, kmod_shutdown(self->ctx, q[0].id));
	ASSERT_EQ(0, kmod_queue_make(&q[4], self->ctx, &request));
	for (i = 0; i < 5; i++)
		kmod_queue_close(&q[i]);
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, DEMI_DEVICE_BIND_F_RELEASE));
}

TEST_F(device, regions_are_mapped_for_it)
{
	char *mem = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct demi_region_unregister u = { .size = sizeof(u) };
	unsigned int first, second;

	ASSERT_EQ(0, kmod_region(self->ctx, mem, 4096, &first));
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/maps"));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(1, kmod_read_number(MOCK "mock1/maps"));
	ASSERT_EQ(0, kmod_region(self->ctx, mem + 4096, 8192, &second));
	ASSERT_EQ(2, kmod_read_number(MOCK "mock1/maps"));
	/* a mapping that fails leaves no region, here and when a device comes later */
	ASSERT_EQ(0, kmod_write(MOCK "mock1/fail_maps", "1"));
	ASSERT_EQ(-ENOMEM, kmod_region(self->ctx, mem + 16384, 4096, &u.region_id));
	ASSERT_EQ(2, kmod_read_number(MOCK "mock1/maps"));
	u.region_id = first;
	ASSERT_EQ(0, kmod_ioctl(self->ctx, DEMI_REGION_UNREGISTER, &u));
	ASSERT_EQ(1, kmod_read_number(MOCK "mock1/maps"));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, DEMI_DEVICE_BIND_F_RELEASE));
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/maps"));
	ASSERT_EQ(0, kmod_write(MOCK "mock1/fail_maps", "1"));
	ASSERT_EQ(-ENOMEM, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/binds"));
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/maps"));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(1, kmod_read_number(MOCK "mock1/maps"));
	close(self->ctx);
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/maps"));
	self->ctx = -1;
	munmap(mem, 65536);
}

/* The second device's mapping fails: the first one's is undone. */
TEST_F(device, a_region_is_mapped_for_all_or_none)
{
	char *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int mock0 = kmod_device(self->ctx, "mock0"), id;

	ASSERT_EQ(0, kmod_bind(self->ctx, mock0, 0));
	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(0, kmod_write(MOCK "mock1/fail_maps", "1"));
	ASSERT_EQ(-ENOMEM, kmod_region(self->ctx, mem, 4096, &id));
	ASSERT_EQ(0, kmod_read_number(MOCK "mock0/maps"));
	ASSERT_EQ(0, kmod_region(self->ctx, mem, 4096, &id));
	ASSERT_EQ(1, kmod_read_number(MOCK "mock0/maps"));
	munmap(mem, 4096);
}

TEST_F(device, revoked)
{
	struct demi_queue_create request = kmod_queue_request(self->id);
	int admin = kmod_open();
	struct kmod_queue q;

	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(-EBUSY, grant(admin, DEMI_DEVICE_GRANT, self->id, SOMEBODY));
	ASSERT_EQ(0, kmod_queue_make(&q, self->ctx, &request));
	ASSERT_EQ(0, grant(admin, DEMI_DEVICE_REVOKE, self->id, 0));
	ASSERT_EQ(-ENODEV, kmod_kick(q.fd, NULL));
	*q.tx.producer = 1;
	ASSERT_EQ(0, kmod_read_number(MOCK "mock1/binds"));
	ASSERT_EQ(-EACCES, kmod_queue_make(&q, self->ctx, &request));
	close(admin);
}

TEST_F(device, removed_under_use)
{
	struct demi_queue_create request = kmod_queue_request(self->id);
	struct demi_queue_info info;
	struct kmod_queue q;

	ASSERT_EQ(0, kmod_bind(self->ctx, self->id, 0));
	ASSERT_EQ(0, kmod_queue_make(&q, self->ctx, &request));
	ASSERT_EQ(0, kmod_write(MOCK "remove", "mock1"));
	ASSERT_EQ(-ENODEV, kmod_kick(q.fd, NULL));
	ASSERT_EQ(0, kmod_queue_info(q.fd, 0, &info));
	ASSERT_EQ(self->id, info.device_id);
	ASSERT_EQ(0, info_of(self->ctx, self->id).kind);
	ASSERT_EQ(-ENOENT, kmod_bind(self->ctx, self->id, 0));
	kmod_queue_close(&q);
}

struct churn {
	int ctx;
	volatile bool stop;
	long made, unexpected;
};

static void *make_queues(void *arg)
{
	struct churn *c = arg;

	while (!c->stop) {
		unsigned int id = kmod_device(c->ctx, "mock1");
		struct demi_queue_create request = kmod_queue_request(id);
		struct kmod_queue q;
		int err = kmod_bind(c->ctx, id, 0);

		if (err && err != -ENOENT && err != -EBUSY)
			c->unexpected++;
		err = kmod_queue_make(&q, c->ctx, &request);
		if (err && err != -ENOENT && err != -EACCES && err != -ENODEV)
			c->unexpected++;
		if (!err) {
			kmod_kick(q.fd, NULL);
			*q.tx.producer += 1;
			kmod_queue_close(&q);
			c->made++;
		}
	}
	return NULL;
}

TEST_F(device, comes_and_goes_under_use)
{
	struct churn c[2] = { { .ctx = self->ctx }, { .ctx = kmod_open() } };
	pthread_t t[2];
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, make_queues, &c[i]));
	for (i = 0; i < 60; i++) {
		int admin = c[i % 2].ctx;

		usleep(3000);
		if (i % 3 == 0)
			grant(admin, DEMI_DEVICE_REVOKE, kmod_device(admin, "mock1"), 0);
		ASSERT_EQ(0, kmod_write(MOCK "remove", "mock1"));
		ASSERT_EQ(0, kmod_write(MOCK "add", "mock1"));
	}
	/* until something was made: the machine may be slow */
	while (c[0].made + c[1].made == 0)
		usleep(1000);
	for (i = 0; i < 2; i++) {
		c[i].stop = true;
		pthread_join(t[i], NULL);
		ASSERT_EQ(0, c[i].unexpected);
	}
	close(c[1].ctx);
}

TEST_HARNESS_MAIN
