/* SPDX-License-Identifier: MIT */
/* What the tests of /dev/demi share: commands as functions, a queue with its rings. Errors are negative errnos. */
#ifndef KMOD_H
#define KMOD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/demi.h>
#include "kselftest_harness.h"
#include "machine.h"

#define DEMI_DEV "/dev/demi"
#define DEMI_DEBUGFS "/sys/kernel/debug/demi/"

static inline int kmod_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

static inline int kmod_open(void)
{
	int fd = open(DEMI_DEV, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Users of tests about who may do what. */
#define KMOD_USER 12345
#define KMOD_OTHER 12346

/* /dev/demi as opened by this user, who may from now on. */
static inline int kmod_open_as(uid_t uid)
{
	int fd;

	if (chmod(DEMI_DEV, 0666) || seteuid(uid))
		return -errno;
	fd = kmod_open();
	return seteuid(0) ? -errno : fd;
}

/* A call as it ends for this user; of root's, in a test. */
#define KMOD_AS(uid, call)                                                                                             \
	({                                                                                                             \
		int _ret;                                                                                              \
		ASSERT_EQ(0, seteuid(uid));                                                                            \
		_ret = (call);                                                                                         \
		ASSERT_EQ(0, seteuid(0));                                                                              \
		_ret;                                                                                                  \
	})

/* The id of the device of this name, or 0. */
static inline unsigned int kmod_device(int fd, const char *name)
{
	unsigned int ids[64];
	struct demi_device_list list = { .size = sizeof(list), .count = 64, .ids = (uintptr_t)ids };
	unsigned int i;

	if (kmod_ioctl(fd, DEMI_DEVICE_LIST, &list) || list.count > 64)
		return 0;
	for (i = 0; i < list.count; i++) {
		struct demi_device_info info = { .size = sizeof(info), .device_id = ids[i] };

		if (!kmod_ioctl(fd, DEMI_DEVICE_INFO, &info) && !strcmp(info.name, name))
			return ids[i];
	}
	return 0;
}

static inline int kmod_bind(int fd, unsigned int device, unsigned int flags)
{
	struct demi_device_bind bind = { .size = sizeof(bind), .flags = flags, .device_id = device };

	return kmod_ioctl(fd, DEMI_DEVICE_BIND, &bind);
}

static inline int kmod_region(int fd, void *addr, uint64_t bytes, unsigned int *id)
{
	struct demi_region_register reg = { .size = sizeof(reg), .addr = (uintptr_t)addr, .length_bytes = bytes };
	int err = kmod_ioctl(fd, DEMI_REGION_REGISTER, &reg);

	*id = reg.region_id;
	return err;
}

/* A request for a queue of a dedicated device, which every test can have: valid as it is. */
static inline struct demi_queue_create kmod_queue_request(unsigned int device)
{
	return (struct demi_queue_create){
		.size = sizeof(struct demi_queue_create),
		.device_id = device,
		.kind = DEMI_QUEUE_DEVICE,
		.rx_fill_entries = 16,
		.rx_entries = 16,
		.tx_entries = 16,
		.tx_done_entries = 16,
	};
}

static inline int kmod_shutdown(int fd, unsigned int id)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg), .queue_id = id };

	return kmod_ioctl(fd, DEMI_QUEUE_SHUTDOWN, &arg);
}

static inline int kmod_kick(int fd, unsigned int *sent)
{
	struct demi_queue_kick arg = { .size = sizeof(arg) };
	int err = kmod_ioctl(fd, DEMI_QUEUE_KICK, &arg);

	if (sent)
		*sent = arg.sent;
	return err;
}

static inline int kmod_queue_info(int fd, unsigned int id, struct demi_queue_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->queue_id = id;
	return kmod_ioctl(fd, DEMI_QUEUE_INFO, info);
}

/* A ring as the user sees it. */
struct kmod_ring {
	uint32_t *producer, *consumer, *flags;
	struct demi_desc *desc;
	uint32_t mask;
};

static inline struct kmod_ring kmod_ring(void *map, const struct demi_ring_layout *l)
{
	char *base = map;

	return (struct kmod_ring){ (void *)(base + l->producer), (void *)(base + l->consumer),
				   (void *)(base + l->flags), (void *)(base + l->desc), l->entries - 1 };
}

static inline void kmod_put(struct kmod_ring *r, struct demi_desc d)
{
	uint32_t at = *r->producer;

	r->desc[at & r->mask] = d;
	__atomic_store_n(r->producer, at + 1, __ATOMIC_RELEASE);
}

/* False: nothing there. */
static inline bool kmod_take(struct kmod_ring *r, struct demi_desc *d)
{
	uint32_t at = *r->consumer;

	if (__atomic_load_n(r->producer, __ATOMIC_ACQUIRE) == at)
		return false;
	*d = r->desc[at & r->mask];
	__atomic_store_n(r->consumer, at + 1, __ATOMIC_RELEASE);
	return true;
}

struct kmod_queue {
	int fd;
	unsigned int id;
	void *map;
	size_t map_bytes;
	struct kmod_ring rx_fill, rx, tx, tx_done;
};

static inline int kmod_queue_make(struct kmod_queue *q, int ctx, const struct demi_queue_create *request)
{
	struct demi_queue_create arg = *request;
	int err = kmod_ioctl(ctx, DEMI_QUEUE_CREATE, &arg);

	memset(q, 0, sizeof(*q));
	q->fd = -1;
	if (err)
		return err;
	q->fd = arg.fd;
	q->id = arg.queue_id;
	q->map_bytes = arg.mmap_bytes;
	q->map = mmap(NULL, q->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, q->fd, 0);
	if (q->map == MAP_FAILED) {
		err = -errno;
		close(q->fd);
		return err;
	}
	q->rx_fill = kmod_ring(q->map, &arg.rx_fill);
	q->rx = kmod_ring(q->map, &arg.rx);
	q->tx = kmod_ring(q->map, &arg.tx);
	q->tx_done = kmod_ring(q->map, &arg.tx_done);
	return 0;
}

static inline void kmod_queue_close(struct kmod_queue *q)
{
	munmap(q->map, q->map_bytes);
	close(q->fd);
}

/* Write a line to a file, below debugfs for one. */
static inline int kmod_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static inline long kmod_read_number(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtol(text, NULL, 0);
}

#endif
