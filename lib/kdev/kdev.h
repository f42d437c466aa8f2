/* SPDX-License-Identifier: MIT */
#ifndef DEMI_KDEV_KDEV_H
#define DEMI_KDEV_KDEV_H

/*
 * /dev/demi: its commands as functions, its queues as mapped rings (kdev/ring.h). What the arguments mean and which
 * errors there are is said in <linux/demi.h>. For the library's backends and for demictl: nothing here
 * logs, uses the DMA heap or knows a context. All return 0 or -errno.
 */

#include "kdev/ring.h"

#include <linux/demi.h>
#include <stddef.h>
#include <stdint.h>

struct sock_filter;

#define DEMI_KDEV_PATH "/dev/demi"

/*
 * A file descriptor (close-on-exec), or -errno; -EPROTONOSUPPORT: the module speaks another version.
 * @info: what the module can do; may be NULL.
 */
int demi_kdev_open(struct demi_get_info *info);

/* What to do about an error of demi_kdev_open(): one line without a full stop; NULL: nothing is known. */
const char *demi_kdev_hint(int err);

/* One command. Its argument begins with its size. */
int demi_kdev_call(int fd, unsigned long command, void *arg);

/* Ids of DEMI_DEVICE_LIST or DEMI_QUEUE_LIST, all of them; to be freed with free(). */
int demi_kdev_ids(int fd, unsigned long command, uint32_t **ids, uint32_t *count);
int demi_kdev_flows(int fd, struct demi_flow_entry **flows, uint32_t *count);

int demi_kdev_device_info(int fd, uint32_t device_id, struct demi_device_info *info);
/* The first device of a kind; -ENODEV. */
int demi_kdev_device_find(int fd, enum demi_device_kind kind, struct demi_device_info *info);

int demi_kdev_region_register(int fd, void *addr, size_t len_bytes, uint32_t *region_id);
void demi_kdev_region_unregister(int fd, uint32_t region_id);

int demi_kdev_queue_info(int fd, uint32_t queue_id, struct demi_queue_info *info);

/* @insns: the classic program, to be freed with free(), NULL if there is none; may be NULL itself. */
int demi_kdev_filter_info(int fd, uint32_t queue_id, struct demi_filter_info *info, struct sock_filter **insns);

/* A queue of this process, with its rings. Rings that it does not have are zeroed. */
struct demi_kqueue {
	int fd;
	uint32_t id;
	void *map;
	size_t map_bytes;
	struct demi_kring rx_fill, rx, tx, tx_done;
};

/* @c: the wish, and then what the kernel made of it. */
int demi_kqueue_create(struct demi_kqueue *q, int fd, struct demi_queue_create *c);

/* Map the queue that @c->fd is; the file descriptor stays the caller's when that fails. */
int demi_kqueue_map(struct demi_kqueue *q, const struct demi_queue_create *c);

/* End it, mapping and file descriptor. What is in its rings is lost. */
void demi_kqueue_close(struct demi_kqueue *q);

/* Have the kernel look at tx. -EAGAIN: it could take nothing, EPOLLOUT tells when; -ENODEV. */
int demi_kqueue_kick(const struct demi_kqueue *q);

#endif /* DEMI_KDEV_KDEV_H */
