/* SPDX-License-Identifier: MIT */
/* Mappings of the rings: what is refused, parts of it, and the scratch page. */
#include "kmod.h"

#include <sys/uio.h>

FIXTURE(map)
{
	int ctx;
	size_t page;
	struct kmod_queue q;
};

FIXTURE_SETUP(map)
{
	struct demi_queue_create request;
	unsigned int mock;

	self->page = getpagesize();
	self->ctx = kmod_open();
	ASSERT_LE(0, self->ctx);
	mock = kmod_device(self->ctx, "mock0");
	ASSERT_EQ(0, kmod_bind(self->ctx, mock, 0));
	request = kmod_queue_request(mock);
	ASSERT_EQ(0, kmod_queue_make(&self->q, self->ctx, &request));
	ASSERT_EQ(5 * self->page, self->q.map_bytes);
}

FIXTURE_TEARDOWN(map)
{
	kmod_queue_close(&self->q);
	close(self->ctx);
}

static int try_map(int fd, size_t bytes, int prot, int flags, size_t offset)
{
	void *p = mmap(NULL, bytes, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

TEST_F(map, refused)
{
	size_t all = self->q.map_bytes, page = self->page;
	int fd = self->q.fd, rw = PROT_READ | PROT_WRITE;

	ASSERT_EQ(-EINVAL, try_map(fd, all, rw, MAP_PRIVATE, 0));
	ASSERT_EQ(-EINVAL, try_map(fd, all, PROT_READ, MAP_PRIVATE, 0));
	ASSERT_EQ(-EPERM, try_map(fd, all, PROT_READ | PROT_EXEC, MAP_SHARED, 0));
	ASSERT_EQ(-EINVAL, try_map(fd, all + page, rw, MAP_SHARED, 0));
	ASSERT_EQ(-EINVAL, try_map(fd, all, rw, MAP_SHARED, page));
	ASSERT_EQ(-EINVAL, try_map(fd, page, rw, MAP_SHARED, all));
	ASSERT_EQ(-EINVAL, try_map(fd, page, rw, MAP_SHARED, 1UL << 40));
	ASSERT_EQ(-EINVAL, try_map(fd, all, rw, MAP_SHARED, 100));
	ASSERT_EQ(-ENODEV, try_map(self->ctx, page, rw, MAP_SHARED, 0));
}

TEST_F(map, parts_and_twice)
{
	char *last = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, self->q.fd, 4 * self->page);
	char *all = mmap(NULL, self->q.map_bytes, PROT_READ, MAP_SHARED, self->q.fd, 0);

	ASSERT_NE(MAP_FAILED, last);
	ASSERT_NE(MAP_FAILED, all);
	ASSERT_EQ(0, last[123]);
	last[123] = 45;
	ASSERT_EQ(45, all[4 * self->page + 123]);
	ASSERT_EQ(45, ((char *)self->q.map)[4 * self->page + 123]);
	/* its protection can be changed as far as the file was opened */
	ASSERT_EQ(0, mprotect(all, self->page, PROT_READ | PROT_WRITE));
	all[8] = 1;
	ASSERT_EQ(1, ((char *)self->q.map)[8]);
	ASSERT_EQ(-1, mprotect(all, self->page, PROT_READ | PROT_EXEC));
	munmap(last, self->page);
	munmap(all, self->q.map_bytes);
}

TEST_F(map, all_zero_at_first)
{
	unsigned int *word = self->q.map, i;

	for (i = 0; i < self->q.map_bytes / sizeof(*word); i++)
		ASSERT_EQ(&word[i] == self->q.tx.flags ? DEMI_RING_NEED_WAKEUP : 0, word[i]);
}

TEST_F(map, does_not_grow)
{
	ASSERT_EQ(MAP_FAILED, mremap(self->q.map, self->q.map_bytes, self->q.map_bytes + self->page, MREMAP_MAYMOVE));
	/* but moves */
	self->q.map = mremap(self->q.map, self->q.map_bytes, self->q.map_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
			     (char *)mmap(NULL, self->q.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_NE(MAP_FAILED, self->q.map);
	((char *)self->q.map)[self->page] = 7;
	ASSERT_EQ(7, ((char *)self->q.map)[self->page]);
}

/* Ring memory is no memory to register: the device would write descriptors. */
TEST_F(map, no_region)
{
	unsigned int id;
	int err = kmod_region(self->ctx, self->q.map, self->page, &id);

	ASSERT_TRUE(err == -EOPNOTSUPP || err == -EFAULT);
}

/* Not in a core file. */
TEST_F(map, flags)
{
	char line[512], want[64], *vmflags = NULL;
	bool found = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	ASSERT_NE(NULL, f);
	sprintf(want, "%lx-", (unsigned long)self->q.map);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, want, strlen(want)))
			found = true;
		if (found && (vmflags = strstr(line, "VmFlags:")))
			break;
	}
	fclose(f);
	ASSERT_NE(NULL, vmflags);
	ASSERT_NE(NULL, strstr(vmflags, " dd"));
	ASSERT_NE(NULL, strstr(vmflags, " dc"));
	ASSERT_NE(NULL, strstr(vmflags, " de"));
	ASSERT_NE(NULL, strstr(vmflags, " pf"));
}

TEST_F(map, scratch)
{
	volatile char *map = self->q.map, *other;
	size_t i;

	other = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, self->q.fd, self->page);
	ASSERT_NE(MAP_FAILED, other);
	for (i = 0; i < self->q.map_bytes; i += self->page)
		map[i] = 1;
	ASSERT_EQ(1, other[0]);
	ASSERT_EQ(0, kmod_shutdown(self->ctx, self->q.id));
	/* what was there is not seen any more, in no mapping; nothing faults to death; system calls too */
	for (i = 0; i < self->q.map_bytes; i += 64)
		ASSERT_EQ(0, map[i]);
	ASSERT_EQ(0, other[0]);
	for (i = 0; i < self->q.map_bytes; i += 64)
		map[i] = 2;
	ASSERT_EQ(2, map[0]);
	ASSERT_EQ(-ENODEV, try_map(self->q.fd, self->page, PROT_READ, MAP_SHARED, 0));
	munmap((void *)other, self->page);
}

TEST_F(map, scratch_before_the_first_touch)
{
	ASSERT_EQ(0, kmod_shutdown(self->ctx, self->q.id));
	((volatile char *)self->q.map)[100] = 1;
	ASSERT_EQ(0, ((volatile char *)self->q.map)[101]);
}

TEST_F(map, a_file_descriptor_says_what_it_is)
{
	char path[64], name[128] = "";

	sprintf(path, "/proc/self/fd/%d", self->q.fd);
	ASSERT_LT(0, readlink(path, name, sizeof(name) - 1));
	sprintf(path, "demi-queue:%u", self->q.id);
	ASSERT_NE(NULL, strstr(name, path));
}

TEST_HARNESS_MAIN
