// SPDX-License-Identifier: MIT
/* timeout: 400 */
/*
 * From the kernel's own driver to an owner and back: again and again, with what is on the disk; while the one or the
 * other uses it; and not at all while a disk is held.
 */
#include "kselftest_harness.h"

#include <sys/mount.h>
#include <sys/swap.h>

#include "../kmod/machine.h"
#include "disk.h"
#include "nvme_test.h"

/* DEMI_NVME_BINDS */
#define BINDS 4

/* What is written of namespace 2. */
#define FIRST 64
#define DEEP 32

FIXTURE(handover)
{
	char disk[2][64]; /* in /dev, once disks_there() has found them */
};

static int demictl(const char *verb, const char *options)
{
	char line[512];

	snprintf(line, sizeof(line), "\"$BUILD/tools/demictl\" device %s \"$DEMI_NVME_PCI\" %s", verb, options);
	return system(line);
}

static int give(void)
{
	char options[64];

	snprintf(options, sizeof(options), "--owner %u", NT_OWNER);
	return demictl("bind", options);
}

/* The kernel's own driver has it, and in the end its disks. */
static bool disks_there(FIXTURE_DATA(handover) * self)
{
	for (int waited = 0; waited < NT_PATIENCE_MS; waited += 10) {
		if (disk_path(1, self->disk[0], sizeof(self->disk[0])) &&
		    disk_path(2, self->disk[1], sizeof(self->disk[1])))
			return true;
		usleep(10000);
	}
	return false;
}

FIXTURE_SETUP(handover)
{
	ASSERT_EQ(0, chmod("/dev/demi", 0666));
}

/* Whatever failed: the next test wants it to be the owner's. */
FIXTURE_TEARDOWN(handover)
{
	EXPECT_EQ(0, give());
}

static void fill(uint8_t *p, uint32_t block, uint32_t round)
{
	for (uint32_t i = 0; i < NT_PAGE; i++)
		p[i] = (uint8_t)(block * 7 + round * 13 + i / 16);
}

/* The kernel's side: what the blocks must hold, and then the next. */
static bool kernel_turns(const char *disk, uint32_t holds, uint32_t next)
{
	uint8_t want[NT_PAGE], got[NT_PAGE];
	int fd = open(disk, O_RDWR | O_CLOEXEC);
	bool ok = fd >= 0;

	for (uint32_t i = 0; i < DEEP && ok; i++) {
		fill(want, i, holds);
		ok = pread(fd, got, NT_PAGE, (FIRST + i) * NT_PAGE) == NT_PAGE && !memcmp(got, want, NT_PAGE);
		fill(want, i, next);
		ok = ok && pwrite(fd, want, NT_PAGE, (FIRST + i) * NT_PAGE) == NT_PAGE;
	}
	ok = ok && !fsync(fd);
	close(fd);
	return ok;
}

/* The owner's, in a process of its own; @any: whatever they hold. Its exit status. */
static int owner_turns(bool any, uint32_t holds, uint32_t next)
{
	uint8_t want[NT_PAGE];
	struct nt n;

	if (nt_become_owner() || nt_open(&n))
		return 1;
	for (uint32_t i = 0; i < DEEP; i++) {
		fill(want, i, holds);
		if (nt_run(&n.pair, NT_READ, 2, FIRST + i, 1, (uintptr_t)n.mem, 0))
			return 2;
		if (!any && memcmp(want, n.mem, NT_PAGE))
			return 3;
		fill(n.mem, i, next);
		if (nt_run(&n.pair, NT_WRITE, 2, FIRST + i, 1, (uintptr_t)n.mem, 0))
			return 4;
	}
	return nt_run(&n.pair, NT_FLUSH, 2, 0, 0, 0, 0) ? 5 : 0;
}

static int as_owner(bool any, uint32_t holds, uint32_t next)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(owner_turns(any, holds, next));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

TEST_F_TIMEOUT(handover, again_and_again, 350)
{
	uint32_t binds = kmod_amount("DEMI_NVME_BINDS", BINDS, 2);

	ASSERT_EQ(0, as_owner(true, 0, 1));
	for (uint32_t i = 0; i < binds; i++) {
		ASSERT_EQ(0, demictl("unbind", ""));
		ASSERT_TRUE(disks_there(self));
		ASSERT_TRUE(kernel_turns(self->disk[1], 2 * i + 1, 2 * i + 2));
		ASSERT_EQ(0, give());
		EXPECT_FALSE(disk_path(2, self->disk[1], sizeof(self->disk[1])));
		ASSERT_EQ(0, as_owner(false, 2 * i + 2, 2 * i + 3));
	}
	printf("# figure nvme_binds %u\n", binds);
	fflush(stdout);
}

/* ---- under traffic ------------------------------------------------------------------------- */

/* Writes until the controller goes. Tells 'w' when it writes, 'g' when all that it had is gone as it should. */
static int own(int tell)
{
	struct pollfd pfd;
	bool lost = false;
	struct nt n;

	if (nt_become_owner() || nt_open(&n))
		return 1;
	pfd = (struct pollfd){ .fd = n.pair.fd, .events = POLLIN };
	for (uint32_t round = 1; !lost && n.pair.q->magic == DEMI_NVME_MAGIC; round++) {
		for (uint32_t i = 0; i < DEEP; i++) {
			fill(n.mem + i * NT_PAGE, i, round % 8);
			nt_post(&n.pair, NT_WRITE, 2, FIRST + i, 1, (uintptr_t)n.mem + i * NT_PAGE, 0);
		}
		nt_ring(&n.pair);
		/* what is still under way must stay as it is */
		for (uint32_t i = 0; i < DEEP && !lost; i++)
			lost = nt_wait(&n.pair, NULL) == NT_LOST;
		if (round == 2 && write(tell, "w", 1) != 1)
			return 2;
	}
	/* poll() tells of the end when it begins */
	while (n.pair.q->magic == DEMI_NVME_MAGIC)
		usleep(1000);
	/* doorbells may be rung for ever */
	nt_ring(&n.pair);
	if (poll(&pfd, 1, 0) != 1 || !(pfd.revents & POLLHUP) || !nt_pair(&n.pair, n.fd, n.device, 64))
		return 3;
	return write(tell, "g", 1) != 1;
}

static bool said(int fd, char what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c = 0;

	return poll(&p, 1, NT_PATIENCE_MS) == 1 && read(fd, &c, 1) == 1 && c == what;
}

/* An owner that writes. */
static bool begin(int *told, pid_t *owner)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return false;
	*owner = fork();
	if (!*owner) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(own(ends[1]));
	}
	close(ends[1]);
	*told = ends[0];
	return *owner > 0 && said(*told, 'w');
}

/* Each block as one of the rounds left it, whole. */
static bool whole(const char *disk)
{
	uint8_t want[NT_PAGE], got[NT_PAGE];
	int fd = open(disk, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0;

	for (uint32_t i = 0, round; i < DEEP && ok; i++) {
		ok = pread(fd, got, NT_PAGE, (FIRST + i) * NT_PAGE) == NT_PAGE;
		for (round = 0; round < 8; round++) {
			fill(want, i, round);
			if (!memcmp(got, want, NT_PAGE))
				break;
		}
		ok = ok && round < 8;
	}
	close(fd);
	return ok;
}

TEST_F(handover, taken_from_an_owner_that_writes)
{
	int told, status;
	pid_t owner;

	ASSERT_TRUE(begin(&told, &owner));
	ASSERT_EQ(0, demictl("unbind", ""));
	EXPECT_TRUE(said(told, 'g'));
	ASSERT_EQ(owner, waitpid(owner, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_TRUE(disks_there(self));
	EXPECT_TRUE(whole(self->disk[1]));
	ASSERT_EQ(0, give());
	EXPECT_EQ(0, as_owner(true, 0, 5));
	EXPECT_EQ(0, as_owner(false, 5, 6));
}

TEST_F(handover, revoked_from_an_owner_that_writes)
{
	struct demi_device_grant revoke = { .size = sizeof(revoke) };
	int told, status, fd = open("/dev/demi", O_RDWR | O_CLOEXEC);
	pid_t owner;

	ASSERT_LE(0, fd);
	revoke.device_id = (uint32_t)nt_device(fd);
	ASSERT_TRUE(begin(&told, &owner));
	ASSERT_EQ(0, nt_ioctl(fd, DEMI_DEVICE_REVOKE, &revoke));
	EXPECT_TRUE(said(told, 'g'));
	ASSERT_EQ(owner, waitpid(owner, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_NE(0, as_owner(true, 0, 5));
	ASSERT_EQ(0, nt_grant(NT_OWNER));
	EXPECT_EQ(0, as_owner(true, 0, 5));
	close(fd);
}

/* ---- a disk that somebody has -------------------------------------------------------------- */

/* demictl says which disk it is that somebody holds, and the kernel's driver still has it. */
static bool not_given(const char *disk)
{
	char line[256], want[128];
	bool named = false;
	struct stat st;
	FILE *f;

	snprintf(line, sizeof(line), "\"$BUILD/tools/demictl\" device bind \"$DEMI_NVME_PCI\" --owner %u 2>&1",
		 NT_OWNER);
	f = popen(line, "re");
	if (!f)
		return false;
	snprintf(want, sizeof(want), "has the namespace %s", strrchr(disk, '/') + 1);
	while (fgets(line, sizeof(line), f))
		named |= !!strstr(line, want);
	snprintf(line, sizeof(line), "/sys/bus/pci/drivers/nvme/%s", getenv("DEMI_NVME_PCI"));
	return pclose(f) && named && !stat(disk, &st) && !access(line, F_OK);
}

static int run(const char *format, const char *disk)
{
	char line[512];

	snprintf(line, sizeof(line), format, disk);
	return system(line);
}

TEST_F(handover, not_while_a_disk_is_held)
{
	char at[] = "/run/demi-mounted.XXXXXX";

	ASSERT_NE(NULL, mkdtemp(at));
	ASSERT_EQ(0, demictl("unbind", ""));
	ASSERT_TRUE(disks_there(self));
	ASSERT_EQ(0, run("mkfs.ext4 -qF -O ^has_journal %s", self->disk[0]));
	ASSERT_EQ(0, mount(self->disk[0], at, "ext4", 0, NULL));
	EXPECT_TRUE(not_given(self->disk[0]));
	EXPECT_EQ(0, umount(at));
	ASSERT_EQ(0, run("mkswap -q %s >/dev/null", self->disk[1]));
	/* a kernel may have no swapping */
	if (!swapon(self->disk[1], 0)) {
		EXPECT_TRUE(not_given(self->disk[1]));
		EXPECT_EQ(0, swapoff(self->disk[1]));
	} else {
		ASSERT_EQ(ENOSYS, errno);
	}
	ASSERT_EQ(0, run("modprobe -q dm-mod; dmsetup create --noudevsync demi-held --table '0 1024 linear %s 0'",
			 self->disk[1]));
	EXPECT_TRUE(not_given(self->disk[1]));
	EXPECT_EQ(0, system("dmsetup remove --noudevsync demi-held"));
	ASSERT_EQ(0, give());
	EXPECT_EQ(0, as_owner(true, 0, 1));
	rmdir(at);
}

/* Reads until that fails; tells 'r' when it does read. */
static int read_on(const char *disk, int tell)
{
	int fd = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint8_t *p = nt_memory(NT_AREA, NT_BYTES);

	if (fd < 0 || !p)
		return 1;
	for (uint32_t i = 0; pread(fd, p, NT_BYTES, (off_t)(i % 32) * NT_BYTES) == NT_BYTES; i++)
		if (!i && write(tell, "r", 1) != 1)
			return 2;
	return 0;
}

/* Who only reads a disk does not hold it, and sees it go. */
TEST_F(handover, taken_from_a_reader)
{
	int status, ends[2];
	pid_t reader;

	ASSERT_EQ(0, demictl("unbind", ""));
	ASSERT_TRUE(disks_there(self));
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	reader = fork();
	if (!reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(read_on(self->disk[1], ends[1]));
	}
	EXPECT_TRUE(said(ends[0], 'r'));
	ASSERT_EQ(0, give());
	ASSERT_EQ(reader, waitpid(reader, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, as_owner(true, 0, 1));
	EXPECT_EQ(0, as_owner(false, 1, 2));
}

TEST_HARNESS_MAIN
