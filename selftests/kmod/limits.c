/* SPDX-License-Identifier: MIT */
/* timeout: 600 */
/* What one user may have, and that nothing stays behind: neither counters nor memory. */
#include "kmod.h"

#include <sys/wait.h>

#define PARAMETER "/sys/module/demi/parameters/"

/* The used-up numbers of a uid in debugfs's table, or -1 if it has nothing. */
static int used(unsigned int uid, int column)
{
	unsigned int u, n[6];
	char line[256];
	int found = -1;
	FILE *f = fopen(DEMI_DEBUGFS "users", "r");

	if (!f)
		return -2;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u %u %u %u %u %u %u", &u, n, n + 1, n + 2, n + 3, n + 4, n + 5) == 7 && u == uid)
			found = n[column];
	}
	fclose(f);
	return found;
}

static void set_limit(const char *name, long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), PARAMETER "%s", name);
	snprintf(text, sizeof(text), "%ld", value);
	kmod_write(path, text);
}

TEST(contexts)
{
	long old = kmod_read_number(PARAMETER "contexts_max");
	int fd[4], i;

	set_limit("contexts_max", 3);
	for (i = 0; i < 3; i++)
		fd[i] = kmod_open();
	fd[3] = kmod_open();
	set_limit("contexts_max", old);
	for (i = 0; i < 3; i++) {
		EXPECT_LE(0, fd[i]);
		close(fd[i]);
	}
	ASSERT_EQ(-EDQUOT, fd[3]);
	ASSERT_EQ(-1, used(0, 0));
}

TEST(queues)
{
	long old = kmod_read_number(PARAMETER "queues_max");
	int ctx = kmod_open(), other = kmod_open(), err[4], i;
	struct demi_queue_create request = kmod_queue_request(kmod_device(ctx, "host"));
	struct demi_get_info info = { .size = sizeof(info) };
	struct kmod_queue q[4];

	request.kind = DEMI_QUEUE_FLOW;
	set_limit("queues_max", 3);
	kmod_ioctl(ctx, DEMI_GET_INFO, &info);
	/* over all contexts of the user */
	for (i = 0; i < 4; i++)
		err[i] = kmod_queue_make(&q[i], i % 2 ? ctx : other, &request);
	EXPECT_EQ(3, used(0, 1));
	/* one goes, one can come: the limit counts what there is, and not what was */
	kmod_queue_close(&q[0]);
	EXPECT_EQ(0, kmod_queue_make(&q[0], ctx, &request));
	set_limit("queues_max", old);
	EXPECT_EQ(3, info.queues_max);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, err[i]);
		kmod_queue_close(&q[i]);
	}
	EXPECT_EQ(-EDQUOT, err[3]);
	EXPECT_EQ(0, used(0, 1));
	close(ctx);
	close(other);
	ASSERT_EQ(-1, used(0, 0));
}

TEST(regions)
{
	long old = kmod_read_number(PARAMETER "regions_max");
	int ctx = kmod_open(), err[3], i;
	char *mem = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int id[3];

	set_limit("regions_max", 2);
	for (i = 0; i < 3; i++)
		err[i] = kmod_region(ctx, mem + 4096 * i, 4096, &id[i]);
	set_limit("regions_max", old);
	EXPECT_EQ(0, err[0]);
	EXPECT_EQ(0, err[1]);
	EXPECT_EQ(-EDQUOT, err[2]);
	EXPECT_EQ(2, used(0, 2));
	close(ctx);
	ASSERT_EQ(-1, used(0, 2));
}

TEST(flows_reservations_groups)
{
	static const char *const names[] = { "flows_max", "reservations_max", "groups_max" };
	struct demi_port_reserve port = { .size = sizeof(port),
					  .protocol = 17,
					  .local = { .family = 2, .addr = { 127, 0, 0, 1 } } };
	struct demi_flow_add add = { .size = sizeof(add) };
	struct demi_group_create group = { .size = sizeof(group) };
	int ctx = kmod_open(), err[3][2], i;
	struct demi_queue_create request = kmod_queue_request(kmod_device(ctx, "host"));
	struct kmod_queue q;
	long old[3];

	request.kind = DEMI_QUEUE_FLOW;
	ASSERT_EQ(0, kmod_queue_make(&q, ctx, &request));
	for (i = 0; i < 3; i++) {
		char path[128];

		snprintf(path, sizeof(path), PARAMETER "%s", names[i]);
		old[i] = kmod_read_number(path);
		set_limit(names[i], 1);
	}
	for (i = 0; i < 2; i++) {
		port.local.port = 0;
		err[1][i] = kmod_ioctl(ctx, DEMI_PORT_RESERVE, &port);
		add.reservation_id = port.reservation_id;
		add.target = q.id;
		add.remote = (struct demi_addr){ .family = 2, .port = 7, .addr = { 127, 0, 0, 1 + i } };
		err[0][i] = kmod_ioctl(ctx, DEMI_FLOW_ADD, &add);
		err[2][i] = kmod_ioctl(ctx, DEMI_GROUP_CREATE, &group);
	}
	for (i = 0; i < 3; i++) {
		set_limit(names[i], old[i]);
		EXPECT_EQ(0, err[i][0]);
		EXPECT_EQ(-EDQUOT, err[i][1]);
		EXPECT_EQ(1, used(0, 3 + i));
	}
	kmod_queue_close(&q);
	EXPECT_EQ(0, used(0, 3)); /* its flows end with a queue */
	close(ctx);
	ASSERT_EQ(-1, used(0, 0));
}

/* ---- nothing stays ------------------------------------------------------------------------- */

static long meminfo(const char *name)
{
	char line[256];
	long value = -1;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = strtol(line + strlen(name), NULL, 10);
	if (f)
		fclose(f);
	return value;
}

static int cycles(int ctx, struct demi_queue_create *request, char *mem, int n)
{
	struct demi_region_unregister u = { .size = sizeof(u) };
	struct demi_queue_create arg;
	int err;

	while (n--) {
		bool region = n % 32 == 0; /* waits for a grace period each time */

		arg = *request;
		err = region ? kmod_region(ctx, mem, 16384, &u.region_id) : 0;
		if (!err)
			err = kmod_ioctl(ctx, DEMI_QUEUE_CREATE, &arg);
		if (!err && n % 16 == 0) {
			char *map = mmap(NULL, arg.mmap_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, arg.fd, 0);

			if (map == MAP_FAILED)
				return -errno;
			map[0] = map[arg.mmap_bytes - 1] = 1;
			if (n % 32 == 0)
				err = kmod_shutdown(ctx, arg.queue_id);
			map[0] = 2;
			munmap(map, arg.mmap_bytes);
		}
		if (!err && region)
			err = kmod_ioctl(ctx, DEMI_REGION_UNREGISTER, &u);
		if (err)
			return err;
		close(arg.fd);
		if (n % 64 == 0) {
			int other = kmod_open();

			if (other < 0)
				return other;
			close(other);
		}
	}
	return 0;
}

TEST(ten_thousand_cycles)
{
	int ctx = kmod_open();
	struct demi_queue_create request = kmod_queue_request(kmod_device(ctx, "mock0"));
	char *mem = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rounds = kmod_debug_kernel() ? 500 : 10000;
	long slab, vmalloc;

	ASSERT_EQ(0, kmod_bind(ctx, request.device_id, 0));
	ASSERT_EQ(0, cycles(ctx, &request, mem, rounds / 20));
	slab = meminfo("SUnreclaim:");
	vmalloc = meminfo("VmallocUsed:");
	ASSERT_EQ(0, cycles(ctx, &request, mem, rounds));
	/* 10,000 leaks of the smallest object are 80 KiB; a queue's are 40 MiB */
	printf("# SUnreclaim %+ld kB, VmallocUsed %+ld kB\n", meminfo("SUnreclaim:") - slab,
	       meminfo("VmallocUsed:") - vmalloc);
	fflush(stdout); /* the harness ends tests by _exit() */
	/* a debug kernel keeps what was freed, and has kmemleak look for the rest */
	if (!kmod_debug_kernel()) {
		EXPECT_LT(meminfo("SUnreclaim:") - slab, 8000);
	}
	EXPECT_LT(meminfo("VmallocUsed:") - vmalloc, 4000);
	ASSERT_EQ(0, used(0, 1));
	ASSERT_EQ(0, used(0, 2));
	ASSERT_EQ(0, kmod_read_number(DEMI_DEBUGFS "mock/mock0/maps"));
	close(ctx);
	ASSERT_EQ(-1, used(0, 0));
}

/* What an idle queue costs beside its rings, by the kernel's own account of this process's cgroup. */
TEST(queue_bytes)
{
	enum { QUEUES = 50 };
	int ctx = kmod_open(), i;
	struct demi_queue_create request = kmod_queue_request(kmod_device(ctx, "host"));
	struct demi_queue_info info;
	struct kmod_queue q;
	unsigned int worst = 0;
	int fds[QUEUES];

	request.kind = DEMI_QUEUE_FLOW;
	for (i = 0; i < QUEUES; i++) {
		struct demi_queue_create arg = request;

		ASSERT_EQ(0, kmod_ioctl(ctx, DEMI_QUEUE_CREATE, &arg));
		fds[i] = arg.fd;
		ASSERT_EQ(0, kmod_queue_info(arg.fd, 0, &info));
		worst = info.kernel_bytes > worst ? info.kernel_bytes : worst;
	}
	/* the locks of a debug kernel are large */
	if (!kmod_debug_kernel()) {
		printf("# figure queue_bytes %u\n", worst);
		fflush(stdout);
		ASSERT_LT(worst, 8192);
	}
	for (i = 0; i < QUEUES; i++)
		close(fds[i]);
	/* a scratch page is counted when there is one */
	ASSERT_EQ(0, kmod_queue_make(&q, ctx, &request));
	ASSERT_EQ(0, kmod_shutdown(ctx, q.id));
	*q.tx.flags = 1;
	ASSERT_EQ(0, kmod_queue_info(q.fd, 0, &info));
	ASSERT_EQ(worst + 4096, info.kernel_bytes);
	kmod_queue_close(&q);
	close(ctx);
}

TEST_HARNESS_MAIN
