/* SPDX-License-Identifier: MIT */
/*
 * A controller's I/O queues, driven by hand. Functions return 0 or something useful, or -errno; what they make goes
 * with the process. Include the harness first.
 */
#ifndef NVME_TEST_H
#define NVME_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/demi.h>
#include <linux/demi_nvme.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NT_UNUSED __attribute__((unused))

/* How long something that must come may take. */
#define NT_PATIENCE_MS 30000

#define NT_OWNER 65534

/* Where regions may lie: above 4 GiB, below 2^39. */
#define NT_AREA 0x2000000000ull
#define NT_BYTES (1u << 20)

/* Where the kernel puts what the controller sees: the admin queues, and then pairs, a MiB each. */
#define NT_IOVA_ASQ 0x1000000ull
#define NT_IOVA_ACQ 0x1001000ull
#define NT_IOVA_DATA 0x1002000ull
#define NT_IOVA_PAIR(qid) (0x1000000ull + ((uint64_t)(qid) << 20))

enum { NT_FLUSH = 0, NT_WRITE = 1, NT_READ = 2 };

/* Namespace 2 has blocks of a page each. */
#define NT_PAGE 4096
#define NT_BLOCKS (32u << 20 >> 12)

/* No answer came: the controller is broken, or the queue has ended. */
#define NT_LOST 0x10000

struct nt_command {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t unused[2];
	uint64_t prp[2];
	uint32_t dword[6];
};

struct nt_completion {
	uint32_t result, unused;
	uint16_t sq_head, sq_id, cid, status;
};

/* A pair of queues. */
struct nt_pair {
	int fd;
	uint8_t *map;
	size_t map_bytes;
	volatile struct demi_nvme_queue *q;
	volatile struct nt_command *sq;
	volatile struct nt_completion *cq;
	volatile uint32_t *sq_doorbell, *cq_doorbell;
	uint32_t sq_entries, cq_entries; /* as they were: a scratch page has none */
	uint32_t tail, head;
	uint16_t cid, phase;
};

/* An owner: its context, its memory, a pair. */
struct nt {
	int fd;
	uint32_t device, region;
	uint8_t *mem;
	struct nt_pair pair;
};

static NT_UNUSED int nt_ioctl(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) < 0 ? -errno : 0;
}

/* ---- devices ---- */

/* The id of the controller, if the context may know of it. */
static NT_UNUSED int nt_device(int fd)
{
	const char *name = getenv("DEMI_NVME_PCI");
	uint32_t ids[16];
	struct demi_device_list list = { .size = sizeof(list), .count = 16, .ids = (uintptr_t)ids };
	int err = nt_ioctl(fd, DEMI_DEVICE_LIST, &list);

	for (uint32_t i = 0; !err && name && i < list.count && i < 16; i++) {
		struct demi_device_info info = { .size = sizeof(info), .device_id = ids[i] };

		if (!nt_ioctl(fd, DEMI_DEVICE_INFO, &info) && !strcmp(info.name, name))
			return (int)ids[i];
	}
	return err ? err : -ENOENT;
}

static NT_UNUSED int nt_bind(int fd, uint32_t device, uint32_t flags)
{
	struct demi_device_bind bind = { .size = sizeof(bind), .flags = flags, .device_id = device };

	return nt_ioctl(fd, DEMI_DEVICE_BIND, &bind);
}

static NT_UNUSED int nt_grant(uint32_t uid)
{
	struct demi_device_grant grant = { .size = sizeof(grant), .uid = uid };
	int fd = open("/dev/demi", O_RDWR | O_CLOEXEC), err = fd < 0 ? -errno : nt_device(fd);

	if (err >= 0) {
		grant.device_id = (uint32_t)err;
		err = nt_ioctl(fd, DEMI_DEVICE_GRANT, &grant);
	}
	close(fd);
	return err;
}

/* From now on this process is the device's unprivileged owner. */
static NT_UNUSED int nt_become_owner(void)
{
	if (chmod("/dev/demi", 0666) || setgroups(0, NULL) || setresgid(NT_OWNER, NT_OWNER, NT_OWNER) ||
	    setresuid(NT_OWNER, NT_OWNER, NT_OWNER) || prctl(PR_SET_DUMPABLE, 1))
		return -errno;
	return 0;
}

/* ---- memory ---- */

static NT_UNUSED uint8_t *nt_memory(uint64_t at, size_t bytes)
{
	uint8_t *p = mmap((void *)(uintptr_t)at, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static NT_UNUSED int nt_register(int fd, void *mem, size_t bytes, uint32_t *region)
{
	struct demi_region_register reg = { .size = sizeof(reg), .addr = (uintptr_t)mem, .length_bytes = bytes };
	int err = nt_ioctl(fd, DEMI_REGION_REGISTER, &reg);

	*region = reg.region_id;
	return err ? err : reg.iova == (uintptr_t)mem ? 0 : -EPROTO;
}

static NT_UNUSED int nt_unregister(int fd, uint32_t region)
{
	struct demi_region_unregister reg = { .size = sizeof(reg), .region_id = region };

	return nt_ioctl(fd, DEMI_REGION_UNREGISTER, &reg);
}

/* ---- pairs ---- */

/* Where things lie in a mapping. */
static NT_UNUSED void nt_pair_place(struct nt_pair *p)
{
	p->q = (void *)p->map;
	p->sq_entries = p->q->sq_entries;
	p->cq_entries = p->q->cq_entries;
	p->sq = (void *)(p->map + p->q->sq);
	p->cq = (void *)(p->map + p->q->cq);
	p->sq_doorbell = (void *)(p->map + p->q->sq_doorbell);
	p->cq_doorbell = (void *)(p->map + p->q->cq_doorbell);
}

static NT_UNUSED int nt_pair_of(struct nt_pair *p, int fd, uint32_t device, uint32_t sq_entries, uint32_t cq_entries)
{
	struct demi_queue_create c = { .size = sizeof(c),
				       .device_id = device,
				       .kind = DEMI_QUEUE_DEVICE,
				       .rx_fill_entries = cq_entries,
				       .rx_entries = cq_entries,
				       .tx_entries = sq_entries,
				       .tx_done_entries = sq_entries };
	int err = nt_ioctl(fd, DEMI_QUEUE_CREATE, &c);

	if (err)
		return err;
	*p = (struct nt_pair){ .fd = c.fd, .map_bytes = c.mmap_bytes, .phase = 1 };
	p->map = mmap(NULL, p->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, 0);
	if (p->map == MAP_FAILED)
		return -errno;
	nt_pair_place(p);
	return 0;
}

static NT_UNUSED int nt_pair(struct nt_pair *p, int fd, uint32_t device, uint32_t entries)
{
	return nt_pair_of(p, fd, device, entries, entries);
}

static NT_UNUSED void nt_pair_close(struct nt_pair *p)
{
	munmap(p->map, p->map_bytes);
	close(p->fd);
}

/* An owner with a pair, and NT_BYTES registered at @at. */
static NT_UNUSED int nt_open_at(struct nt *n, uint64_t at)
{
	int err;

	*n = (struct nt){ .fd = open("/dev/demi", O_RDWR | O_CLOEXEC) };
	if (n->fd < 0)
		return -errno;
	err = nt_device(n->fd);
	if (err < 0)
		return err;
	n->device = (uint32_t)err;
	err = nt_bind(n->fd, n->device, 0);
	if (err)
		return err;
	n->mem = nt_memory(at, NT_BYTES);
	if (!n->mem)
		return -ENOMEM;
	err = nt_register(n->fd, n->mem, NT_BYTES, &n->region);
	return err ? err : nt_pair(&n->pair, n->fd, n->device, 64);
}

static NT_UNUSED int nt_open(struct nt *n)
{
	return nt_open_at(n, NT_AREA);
}

static NT_UNUSED void nt_close(struct nt *n)
{
	nt_pair_close(&n->pair);
	close(n->fd);
	munmap(n->mem, NT_BYTES);
}

/* ---- commands ---- */

/* As it is; not yet rung. */
static NT_UNUSED void nt_post_raw(struct nt_pair *p, const struct nt_command *c)
{
	memcpy((void *)&p->sq[p->tail], c, sizeof(*c));
	p->tail = (p->tail + 1) % p->sq_entries;
}

/* @blocks of the namespace from @first on; not yet rung. */
static NT_UNUSED uint16_t nt_post(struct nt_pair *p, uint8_t opcode, uint32_t nsid, uint64_t first, uint32_t blocks,
				  uint64_t prp1, uint64_t prp2)
{
	struct nt_command c = { .opcode = opcode,
				.cid = ++p->cid,
				.nsid = nsid,
				.prp = { prp1, prp2 },
				.dword = { (uint32_t)first, (uint32_t)(first >> 32), blocks ? blocks - 1 : 0 } };

	nt_post_raw(p, &c);
	return c.cid;
}

static NT_UNUSED void nt_ring(struct nt_pair *p)
{
	__atomic_store_n(p->sq_doorbell, p->tail, __ATOMIC_RELEASE);
}

static NT_UNUSED bool nt_has(struct nt_pair *p)
{
	return (__atomic_load_n(&p->cq[p->head].status, __ATOMIC_ACQUIRE) & 1) == p->phase;
}

/* Take the completion that is there: its status. */
static NT_UNUSED unsigned int nt_take(struct nt_pair *p, uint16_t *cid)
{
	unsigned int status = p->cq[p->head].status >> 1 & 0x7ff;

	if (cid)
		*cid = p->cq[p->head].cid;
	p->head = (p->head + 1) % p->cq_entries;
	p->phase ^= !p->head;
	*p->cq_doorbell = p->head;
	return status;
}

/* Sleep for a completion: its status, or NT_LOST. */
static NT_UNUSED unsigned int nt_wait(struct nt_pair *p, uint16_t *cid)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	while (!nt_has(p)) {
		p->q->seen = p->q->events;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (nt_has(p))
			break;
		if (p->q->status || poll(&pfd, 1, NT_PATIENCE_MS) <= 0 || pfd.revents & POLLHUP)
			return NT_LOST;
	}
	return nt_take(p, cid);
}

/* One command, until it is done: its status. */
static NT_UNUSED unsigned int nt_run(struct nt_pair *p, uint8_t opcode, uint32_t nsid, uint64_t first, uint32_t blocks,
				     uint64_t prp1, uint64_t prp2)
{
	nt_post(p, opcode, nsid, first, blocks, prp1, prp2);
	nt_ring(p);
	return nt_wait(p, NULL);
}

/*
 * Does the pair, or a new one if the controller stopped, write and read? In the last block of namespace 2, by the last
 * two pages of the owner's memory.
 */
static NT_UNUSED bool nt_works(struct nt *n)
{
	uint8_t *out = n->mem + NT_BYTES - 2 * NT_PAGE, *in = out + NT_PAGE;
	static uint8_t seed;

	if (n->pair.q->status) {
		nt_pair_close(&n->pair);
		if (nt_pair(&n->pair, n->fd, n->device, 64))
			return false;
	}
	memset(out, ++seed, NT_PAGE);
	memset(in, 0, NT_PAGE);
	return !nt_run(&n->pair, NT_WRITE, 2, NT_BLOCKS - 1, 1, (uintptr_t)out, 0) &&
	       !nt_run(&n->pair, NT_READ, 2, NT_BLOCKS - 1, 1, (uintptr_t)in, 0) && !memcmp(out, in, NT_PAGE);
}

/* ---- the kernel's log ---- */

/* From now on; to be opened with privileges. */
static NT_UNUSED int nt_log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* Does it come to say within so long that the IOMMU refused the controller this access? */
static NT_UNUSED bool nt_log_fault(int fd, bool write, uint64_t address, int timeout_ms)
{
	const char *access = write ? "DMAR: [DMA Write" : "DMAR: [DMA Read";
	char line[2048], where[128];
	ssize_t n;

	/* without the domain */
	snprintf(where, sizeof(where), "[%s] fault addr 0x%llx ", strchr(getenv("DEMI_NVME_PCI"), ':') + 1,
		 (unsigned long long)address);
	for (int waited = 0;; waited += 10) {
		while ((n = read(fd, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
			line[n > 0 ? n : 0] = 0;
			if (strstr(line, access) && strstr(line, where))
				return true;
		}
		if (waited >= timeout_ms)
			return false;
		usleep(10000);
	}
}

#endif /* NVME_TEST_H */
