// SPDX-License-Identifier: MIT
/* timeout: 600 */
/* DEMI_REGION_REGISTER and _UNREGISTER: which memory, how much, charged to whom and until when. */
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "frames.h"

#define MIB (1UL << 20)

static size_t page;

/* The id, or -errno. */
static int region(int ctx, void *addr, uint64_t bytes)
{
	unsigned int id;
	int err = kmod_region(ctx, addr, bytes, &id);

	return err ? err : (int)id;
}

static void *map_anon(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* A number of /proc: how often pages were pinned or let go since the boot. */
static unsigned long long vmstat(const char *name)
{
	unsigned long long n = 0;
	char line[128], *value;
	FILE *f;

	kmod_write("/proc/sys/vm/stat_refresh", "1"); /* the CPUs' shares are added up */
	f = fopen("/proc/vmstat", "re");
	while (f && fgets(line, sizeof(line), f)) {
		value = strchr(line, ' ');
		if (value && (size_t)(value - line) == strlen(name) && !strncmp(line, name, value - line))
			n = strtoull(value, NULL, 10);
	}
	if (f)
		fclose(f);
	return n;
}

FIXTURE(region)
{
	int fd;
	void *mem;
};

FIXTURE_SETUP(region)
{
	page = sysconf(_SC_PAGESIZE);
	self->fd = kmod_open();
	ASSERT_GE(self->fd, 0);
	self->mem = map_anon(16 * page);
	ASSERT_NE(self->mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(region)
{
	munmap(self->mem, 16 * page);
	close(self->fd);
}

TEST_F(region, ids_are_given_and_taken_back)
{
	int a = region(self->fd, self->mem, page), b;

	ASSERT_GT(a, 0);
	ASSERT_LE(a, 65535);
	b = region(self->fd, self->mem, page);
	ASSERT_GT(b, 0);
	EXPECT_NE(a, b);
	EXPECT_EQ(0, kmod_unregister(self->fd, a));
	EXPECT_EQ(-ENOENT, kmod_unregister(self->fd, a));
	EXPECT_EQ(0, kmod_unregister(self->fd, b));
	EXPECT_EQ(-ENOENT, kmod_unregister(self->fd, 0));
	EXPECT_EQ(-ENOENT, kmod_unregister(self->fd, 65536));
	EXPECT_EQ(-ENOENT, kmod_unregister(self->fd, ~0U));
}

TEST_F(region, ids_are_of_one_context)
{
	int a = region(self->fd, self->mem, page), other = kmod_open();

	ASSERT_GT(a, 0);
	ASSERT_GE(other, 0);
	EXPECT_EQ(-ENOENT, kmod_unregister(other, a));
	EXPECT_EQ(0, kmod_unregister(self->fd, a));
	close(other);
}

TEST_F(region, fields)
{
	struct demi_region_register good = {
		.size = sizeof(good),
		.addr = (uintptr_t)self->mem,
		.length_bytes = page,
	}, bad;
	struct demi_region_unregister un = { .size = sizeof(un) };

#define REJECTED(err, field, value)                                                                                    \
	do {                                                                                                           \
		bad = good;                                                                                            \
		bad.field = (value);                                                                                   \
		EXPECT_EQ(-(err), kmod_ioctl(self->fd, DEMI_REGION_REGISTER, &bad));                                   \
	} while (0)
	REJECTED(EINVAL, flags, 1);
	REJECTED(EINVAL, flags, 1U << 31);
	REJECTED(EINVAL, __reserved, 1);
	REJECTED(EINVAL, addr, good.addr + 1);
	REJECTED(EINVAL, addr, good.addr + 512);
	REJECTED(EINVAL, length_bytes, 0);
	REJECTED(EINVAL, length_bytes, 1);
	REJECTED(EINVAL, length_bytes, page + 1);
	REJECTED(EINVAL, length_bytes, (1ULL << 32) + page);
	REJECTED(EINVAL, length_bytes, ~0ULL & ~(page - 1ULL));
	REJECTED(EINVAL, addr, ~0ULL & ~(page - 1ULL)); /* the sum is 2^64 */
	REJECTED(EFAULT, addr, 0);
	REJECTED(EFAULT, addr, 1ULL << 62 & ~(page - 1ULL));
#undef REJECTED
	ASSERT_EQ(0, kmod_ioctl(self->fd, DEMI_REGION_REGISTER, &good));
	un.region_id = good.region_id;
	un.flags = 1;
	EXPECT_EQ(-EINVAL, kmod_ioctl(self->fd, DEMI_REGION_UNREGISTER, &un));
	un.flags = 0;
	un.__reserved = 1;
	EXPECT_EQ(-EINVAL, kmod_ioctl(self->fd, DEMI_REGION_UNREGISTER, &un));
	un.__reserved = 0;
	EXPECT_EQ(0, kmod_ioctl(self->fd, DEMI_REGION_UNREGISTER, &un));
}

/* ---- which memory -------------------------------------------------------------------------- */

TEST_F(region, shared_memory)
{
	void *shm = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("demi", MFD_CLOEXEC), sysv, id;
	void *memfd, *attached;

	ASSERT_NE(shm, MAP_FAILED);
	EXPECT_GT(region(self->fd, shm, 4 * page), 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, 4 * page));
	memfd = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(memfd, MAP_FAILED);
	EXPECT_GT(region(self->fd, memfd, 4 * page), 0);
	sysv = shmget(IPC_PRIVATE, 4 * page, IPC_CREAT | 0600);
	ASSERT_GE(sysv, 0);
	attached = shmat(sysv, NULL, 0);
	shmctl(sysv, IPC_RMID, NULL);
	ASSERT_NE(attached, (void *)-1);
	id = region(self->fd, attached, 4 * page);
	EXPECT_GT(id, 0);
	shmdt(attached);
	munmap(shm, 4 * page);
	munmap(memfd, 4 * page);
	close(fd);
}

TEST_F(region, file_is_refused)
{
	int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int fd = open("/root/.demi-region", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	ASSERT_GE(exe, 0);
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, exe, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(-EOPNOTSUPP, region(self->fd, p, page));
	*(volatile char *)p = 1; /* now an anonymous page, in a mapping of a file all the same */
	EXPECT_EQ(-EOPNOTSUPP, region(self->fd, p, page));
	munmap(p, page);
	close(exe);
	if (fd < 0)
		SKIP(return, "no file system to write to");
	unlink("/root/.demi-region");
	ASSERT_EQ(0, ftruncate(fd, page));
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) {
		struct stat st;

		ASSERT_EQ(0, fstat(fd, &st));
		/* The guest's root is an overlay, whose files live in a tmpfs: shared memory after all. */
		EXPECT_NE(-EFAULT, region(self->fd, p, page));
		munmap(p, page);
	}
	close(fd);
}

TEST_F(region, device_is_refused)
{
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	void *p;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0xf0000);
	close(fd);
	if (p == MAP_FAILED)
		SKIP(return, "/dev/mem cannot be mapped");
	EXPECT_EQ(-EOPNOTSUPP, region(self->fd, p, page));
	munmap(p, page);
}

TEST_F(region, own_rings_are_refused)
{
	struct fq q;

	ASSERT_EQ(0, fq_mock(&q, self->fd, 16));
	EXPECT_EQ(-EOPNOTSUPP, region(self->fd, q.q.map, page));
	fq_close(&q);
}

TEST_F(region, holes_and_protection)
{
	char *p = map_anon(4 * page);

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(0, mprotect(p + 2 * page, page, PROT_READ));
	EXPECT_EQ(-EFAULT, region(self->fd, p, 4 * page));
	EXPECT_GT(region(self->fd, p, 2 * page), 0);
	ASSERT_EQ(0, mprotect(p + 2 * page, page, PROT_NONE));
	EXPECT_EQ(-EFAULT, region(self->fd, p, 4 * page));
	ASSERT_EQ(0, munmap(p + 2 * page, page));
	EXPECT_EQ(-EFAULT, region(self->fd, p, 4 * page));
	EXPECT_EQ(-EFAULT, region(self->fd, p + 2 * page, page));
	munmap(p, 4 * page);
}

/* Several mappings side by side, of several kinds. */
TEST_F(region, spans_mappings)
{
	char *p = map_anon(4 * page);

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(p + page,
		  mmap(p + page, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_GT(region(self->fd, p, 4 * page), 0);
	munmap(p, 4 * page);
}

TEST_F(region, huge_pages)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "we");
	unsigned long long pinned;
	char *p;
	int id;

	ASSERT_NE(f, NULL);
	fputs("4", f);
	fclose(f);
	p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		SKIP(return, "no huge pages");
	pinned = vmstat("nr_foll_pin_acquired");
	id = region(self->fd, p, 4 * MIB);
	EXPECT_GT(id, 0);
	EXPECT_EQ(4 * MIB / page, vmstat("nr_foll_pin_acquired") - pinned);
	/* a piece of a huge page */
	EXPECT_GT(region(self->fd, p + 5 * page, 3 * page), 0);
	munmap(p, 4 * MIB);
	EXPECT_EQ(0, kmod_unregister(self->fd, id));
}

TEST_F(region, many_pages)
{
	unsigned long long pinned = vmstat("nr_foll_pin_acquired"), let_go = vmstat("nr_foll_pin_released");
	char *p = map_anon(64 * MIB);
	int id;

	ASSERT_NE(p, MAP_FAILED);
	id = region(self->fd, p, 64 * MIB);
	ASSERT_GT(id, 0);
	EXPECT_EQ(64 * MIB / page, vmstat("nr_foll_pin_acquired") - pinned);
	EXPECT_EQ(0, kmod_unregister(self->fd, id));
	EXPECT_EQ(64 * MIB / page, vmstat("nr_foll_pin_released") - let_go);
	munmap(p, 64 * MIB);
}

/* ---- how much ------------------------------------------------------------------------------ */

/* An ordinary user's process, with a limit on locked memory. */
static void become_user(unsigned long memlock)
{
	struct rlimit limit = { memlock, memlock };

	alarm(60);
	if (chmod("/dev/demi", 0666) || setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) ||
	    setresgid(12345, 12345, 12345) || setresuid(12345, 12345, 12345))
		_exit(100);
}

/* 0, or the number of the first step that went wrong. */
#define STEP(n, ok)                                                                                                    \
	do {                                                                                                           \
		if (!(ok))                                                                                             \
			_exit(n);                                                                                      \
	} while (0)

static int in_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		run();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

static void to_the_limit(void)
{
	char *p = map_anon(16 * page);
	int fd, id, again;

	munmap(p + 9 * page, page);
	become_user(8 * page);
	fd = kmod_open();
	STEP(1, fd >= 0 && p != MAP_FAILED);
	STEP(2, region(fd, p, 9 * page) == -ENOMEM);
	id = region(fd, p, 8 * page);
	STEP(3, id > 0);
	STEP(4, region(fd, p, page) == -ENOMEM);
	STEP(5, kmod_unregister(fd, id) == 0);
	/* what was refused left no charge, and what went took its charge along */
	id = region(fd, p, 5 * page);
	STEP(6, id > 0);
	STEP(7, region(fd, p, 4 * page) == -ENOMEM);
	again = region(fd, p, 3 * page); /* overlaps, and is charged all the same */
	STEP(8, again > 0);
	STEP(9, region(fd, p, page) == -ENOMEM);
	STEP(10, kmod_unregister(fd, id) == 0);
	STEP(11, region(fd, p, 5 * page) > 0);
	STEP(12, region(fd, p, page) == -ENOMEM);
	/* a failure after the charge */
	STEP(13, kmod_unregister(fd, again) == 0);
	STEP(14, region(fd, p + 7 * page, 3 * page) == -EFAULT);
	STEP(15, region(fd, p, 3 * page) > 0);
	/* the context's end gives all of it back: it is freed when close() returns */
	close(fd);
	fd = kmod_open();
	STEP(16, region(fd, p, 8 * page) > 0);
}

TEST_F(region, rlimit)
{
	EXPECT_EQ(0, in_child(to_the_limit));
	EXPECT_EQ(0, in_child(to_the_limit)); /* the user is charged for nothing from before */
}

/* The charge is the user's: two processes of one user share it. */
static void two_processes(void)
{
	char *p = map_anon(8 * page);
	int fd, status;
	pid_t pid;

	become_user(8 * page);
	fd = kmod_open();
	STEP(1, region(fd, p, 5 * page) > 0);
	pid = fork();
	STEP(2, pid >= 0);
	if (!pid) {
		fd = kmod_open();
		STEP(1, region(fd, p, 4 * page) == -ENOMEM);
		STEP(2, region(fd, p, 3 * page) > 0);
		_exit(0);
	}
	STEP(3, waitpid(pid, &status, 0) == pid && status == 0);
	STEP(4, region(fd, p, 4 * page) == -ENOMEM);
	STEP(5, region(fd, p, 3 * page) > 0);
}

TEST_F(region, charge_is_of_the_user)
{
	EXPECT_EQ(0, in_child(two_processes));
}

/* The pages stay charged while they are registered, whatever happens to the mapping. */
static void munmap_keeps_the_charge(void)
{
	char *p = map_anon(8 * page);
	int fd, id;

	become_user(8 * page);
	fd = kmod_open();
	id = region(fd, p, 8 * page);
	STEP(1, id > 0);
	STEP(2, !munmap(p, 8 * page));
	p = map_anon(8 * page);
	STEP(3, region(fd, p, page) == -ENOMEM);
	STEP(4, kmod_unregister(fd, id) == 0);
	STEP(5, region(fd, p, 8 * page) > 0);
}

TEST_F(region, munmap_keeps_the_charge)
{
	EXPECT_EQ(0, in_child(munmap_keeps_the_charge));
}

/* Root has CAP_IPC_LOCK: exempt. */
TEST_F(region, cap_ipc_lock)
{
	struct rlimit limit = { 0, 0 }, old;

	ASSERT_EQ(0, getrlimit(RLIMIT_MEMLOCK, &old));
	limit.rlim_max = old.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	EXPECT_GT(region(self->fd, self->mem, 16 * page), 0);
}

/* The opener must have it as well: a file handed to root is no way around the limit. */
static void opener_counts(void)
{
	struct rlimit limit = { 0, 0 };
	char *p = map_anon(page);
	int fd;

	alarm(60);
	STEP(1, !chmod("/dev/demi", 0666) && !setrlimit(RLIMIT_MEMLOCK, &limit));
	STEP(2, !setresuid(12345, 12345, 0));
	fd = kmod_open();
	STEP(3, fd >= 0);
	STEP(4, !setresuid(0, 0, 0));
	STEP(5, region(fd, p, page) == -ENOMEM);
	fd = kmod_open();
	STEP(6, region(fd, p, page) > 0);
}

TEST_F(region, cap_ipc_lock_of_the_opener)
{
	EXPECT_EQ(0, in_child(opener_counts));
}

static void limit_of_regions(void)
{
	struct demi_get_info info = { .size = sizeof(info) };
	unsigned int i;
	int fd, id = 0;
	char *p = map_anon(page);

	become_user(RLIM_INFINITY);
	fd = kmod_open();
	STEP(1, !kmod_ioctl(fd, DEMI_GET_INFO, &info));
	STEP(2, info.regions_max > 0 && info.regions_max < 65535);
	for (i = 0; i < info.regions_max; i++) {
		id = region(fd, p, page);
		STEP(3, id > 0);
	}
	STEP(4, region(fd, p, page) == -EDQUOT);
	STEP(5, kmod_unregister(fd, id) == 0);
	STEP(6, region(fd, p, page) > 0);
	STEP(7, region(fd, p, page) == -EDQUOT);
}

TEST_F(region, count_limit)
{
	EXPECT_EQ(0, in_child(limit_of_regions));
}

/* ---- while it is used ---------------------------------------------------------------------- */

/* After fork() the parent keeps the registered pages: what it writes is what the kernel reads. */
TEST_F(region, fork_leaves_pages_to_the_parent)
{
	int status;
	uint8_t frame[64] = {}, got[128];
	struct fq q;
	pid_t pid;

	ASSERT_EQ(0, fq_mock(&q, self->fd, 64));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		memset(q.mem, 0xcc, FQ_BUFS * FQ_BUF);
		pause();
		_exit(0);
	}
	memset(frame + FQ_HDR, 0x5a, sizeof(frame) - FQ_HDR);
	fq_post(&q, 0);
	EXPECT_EQ(0, fq_send(&q, 1, frame, sizeof(frame)));
	EXPECT_EQ(sizeof(frame), fq_recv(&q, got, sizeof(got), 10000));
	EXPECT_EQ(0, memcmp(got + FQ_HDR, frame + FQ_HDR, sizeof(frame) - FQ_HDR));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	fq_close(&q);
}

/* munmap() leaves the old pages registered: frames still pass, into memory that nobody sees. */
TEST_F(region, munmap_under_registration)
{
	uint8_t frame[64] = {};
	struct demi_queue_info info;
	struct fq q;
	char *p;

	ASSERT_EQ(0, fq_mock(&q, self->fd, 64));
	p = mmap(q.mem, FQ_BUFS * FQ_BUF, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ((char *)q.mem, p);
	fq_post(&q, 0);
	EXPECT_EQ(0, fq_send(&q, 1, frame, sizeof(frame)));
	ASSERT_EQ(0, kmod_queue_info(q.q.fd, 0, &info));
	/* the old pages hold zeroes, so this is a frame; the new ones see nothing of it */
	EXPECT_EQ(1, info.counters.rx_frames);
	for (int i = 0; i < FQ_BUF; i++)
		ASSERT_EQ(0, p[i]);
	fq_close(&q);
}

struct churn {
	int fd;
	void *mem;
	bool stop;
	unsigned long rounds;
	struct fq *q;
};

static void *unregister_and_register(void *arg)
{
	struct churn *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		if (kmod_unregister(c->fd, c->q->region))
			break;
		/* the lowest free id: the same one */
		if (region(c->fd, c->mem, FQ_BUFS * FQ_BUF) != (int)c->q->region)
			break;
		c->rounds++;
	}
	return NULL;
}

/* Unregistered and registered while frames are delivered: a frame finds its region or is counted as lost. */
TEST_F(region, unregister_in_flight)
{
	int i, sent = 0;
	unsigned long long acquired = vmstat("nr_foll_pin_acquired");
	unsigned long long released = vmstat("nr_foll_pin_released");
	uint8_t frame[64] = {};
	struct demi_queue_info info;
	struct demi_desc d;
	struct churn churn;
	pthread_t thread;
	struct fq q;

	ASSERT_EQ(0, fq_mock(&q, self->fd, 64));
	churn = (struct churn){ .fd = self->fd, .mem = q.mem, .q = &q };
	ASSERT_EQ(0, pthread_create(&thread, NULL, unregister_and_register, &churn));
	for (i = 0; i < 2000; i++) {
		if (kmod_filled(&q.q.rx_fill) < 32)
			fq_post(&q, 0);
		if (fq_send(&q, 1, frame, sizeof(frame)) == 0)
			sent++;
		while (kmod_take(&q.q.rx, &d))
			;
	}
	__atomic_store_n(&churn.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_GT(churn.rounds, 0);
	ASSERT_EQ(0, kmod_queue_info(q.q.fd, 0, &info));
	EXPECT_EQ(sent, info.counters.tx_frames);
	EXPECT_EQ(sent, info.counters.rx_frames + info.counters.rx_no_buffer);
	EXPECT_EQ(0, kmod_unregister(self->fd, q.region));
	fq_close(&q);
	EXPECT_EQ(vmstat("nr_foll_pin_acquired") - acquired, vmstat("nr_foll_pin_released") - released);
}

/* A process that dies with registered memory gives all of it back. */
static void die_with_regions(void)
{
	int fd = kmod_open(), i;

	alarm(60);
	for (i = 0; i < 8; i++)
		STEP(1, region(fd, map_anon(MIB), MIB) > 0);
	kill(getpid(), SIGKILL);
}

TEST_F(region, killed_process)
{
	unsigned long long acquired = vmstat("nr_foll_pin_acquired");
	unsigned long long released = vmstat("nr_foll_pin_released");

	EXPECT_EQ(200 + SIGKILL, in_child(die_with_regions));
	EXPECT_EQ(8 * MIB / page, vmstat("nr_foll_pin_acquired") - acquired);
	EXPECT_EQ(8 * MIB / page, vmstat("nr_foll_pin_released") - released);
}

TEST_HARNESS_MAIN
