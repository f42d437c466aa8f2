/* SPDX-License-Identifier: MIT */
/* Pairs of queues: had from the kernel, polled, slept on, given back. */
#include "nvme/device.h"

#include "core/log.h"
#include "nvme/block.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

/* The wish: enough for DEMI_NVME_DEPTH_MAX commands, in a power of two. */
#define ENTRIES 2048

/* Of the sleep of a call that blocks: so often it is looked whether the controller is there. */
#define RUN_POLL_MS 100

#define LIST_BYTES sizeof(uint64_t[DEMI_NVME_LIST_ENTRIES])

static struct demi_nvme_backend *backend_of(struct demi_backend *b)
{
	return (struct demi_nvme_backend *)b;
}

/* ---- memory ---- */

bool demi_nvme_reach(struct demi_nvme_backend *b, const void *p, size_t len)
{
	size_t i = demi_span_index(p), last = demi_span_index((const char *)p + len - 1);

	if (last >= DEMI_HEAP_SPANS || i > last)
		return false;
	/* what is next to each other here is so for the controller, whatever regions it lies in */
	while (i <= last && atomic_load_explicit(&b->mem->region_of[i], memory_order_relaxed))
		i++;
	return i > last ||
	       (!atomic_load_explicit(&b->mem->full, memory_order_relaxed) && !demi_ring_mem_register(b->mem, p, len));
}

static void *lists_alloc(struct demi_nvme_backend *b, uint16_t depth)
{
	void *p = demi_heap_alloc_aligned(DEMI_NVME_PAGE, depth * LIST_BYTES);

	if (p && !demi_nvme_reach(b, p, depth * LIST_BYTES)) {
		demi_heap_free(p);
		p = NULL;
		demi_warn("nvme: no registered memory: the limit on locked memory (ulimit -l) is used up");
	}
	return p;
}

/* ---- the pair ---- */

/* The context keeps the device: another thread's queue may be of the same one. Fails while there is one. */
static void release(struct demi_nvme_dev *d)
{
	struct demi_device_bind bind = { .size = sizeof(bind),
					 .flags = DEMI_DEVICE_BIND_F_RELEASE,
					 .device_id = d->device_id };

	(void)demi_kdev_call(d->backend->mem->fd, DEMI_DEVICE_BIND, &bind);
}

static int pair_map(struct demi_nvme_dev *d, const struct demi_queue_create *c)
{
	const struct demi_nvme_queue *shared;
	void *lists;
	int ret;

	if (c->mmap_bytes < sizeof(*shared) || c->mmap_bytes > UINT32_MAX)
		return -EPROTO;
	d->fd = c->fd;
	d->map_bytes = c->mmap_bytes;
	d->map = mmap(NULL, d->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
	if (d->map == MAP_FAILED)
		return -errno;
	shared = d->map;
	ret = -ENOMEM;
	lists = lists_alloc(d->backend, demi_nvme_depth(shared));
	if (!lists)
		goto err_map;
	ret = demi_nvme_pair_init(&d->pair, d->map, d->map_bytes, lists);
	if (ret)
		goto err_lists;
	d->namespaces = (void *)((char *)d->map + shared->namespaces);
	ret = demi_ctx_wake_add(d->backend->b.ctx, d->fd, EPOLLIN);
	if (!ret)
		return 0;
	demi_nvme_pair_exit(&d->pair);
err_lists:
	demi_heap_free(lists);
err_map:
	munmap(d->map, d->map_bytes);
	return ret;
}

static int pair_open(struct demi_nvme_dev *d)
{
	struct demi_queue_create c = { .size = sizeof(c),
				       .device_id = d->device_id,
				       .kind = DEMI_QUEUE_DEVICE,
				       .rx_fill_entries = ENTRIES,
				       .rx_entries = ENTRIES,
				       .tx_entries = ENTRIES,
				       .tx_done_entries = ENTRIES };
	struct demi_device_bind bind = { .size = sizeof(bind), .device_id = d->device_id };
	int fd = d->backend->mem->fd, ret = demi_kdev_call(fd, DEMI_DEVICE_BIND, &bind);

	if (ret)
		return ret;
	ret = demi_kdev_call(fd, DEMI_QUEUE_CREATE, &c);
	if (!ret) {
		ret = pair_map(d, &c);
		if (ret)
			close(c.fd);
	}
	if (ret)
		release(d);
	return ret;
}

static void shut_down(struct demi_nvme_dev *d)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg) };

	if (d->gone)
		return;
	d->gone = true;
	/* it would be readable for ever */
	demi_ctx_wake_del(d->backend->b.ctx, d->fd);
	(void)demi_kdev_call(d->fd, DEMI_QUEUE_SHUTDOWN, &arg);
}

static void pair_close(struct demi_nvme_dev *d)
{
	void *lists = d->pair.lists;

	shut_down(d);
	munmap(d->map, d->map_bytes);
	close(d->fd);
	release(d);
	demi_nvme_pair_exit(&d->pair);
	demi_heap_free(lists);
}

void demi_nvme_dev_gone(struct demi_nvme_dev *d)
{
	if (d->gone)
		return;
	demi_warn("nvme: %s is gone: it was taken away, or is broken (see the kernel's log)", d->name);
	/* buffers are somebody else's only when the controller cannot write to them any more */
	shut_down(d);
	demi_nvme_pair_fail(&d->pair);
	demi_block_fail_waiting(d);
}

/* ---- finding one ---- */

static int try_device(struct demi_nvme_backend *b, const struct demi_device_info *info, struct demi_nvme_dev **out)
{
	struct demi_nvme_dev *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return -ENOMEM;
	d->backend = b;
	d->device_id = info->device_id;
	memcpy(d->name, info->name, sizeof(d->name) - 1);
	ret = pair_open(d);
	if (ret) {
		demi_info("nvme: %s: %s", d->name, strerror(-ret));
		free(d);
		return ret;
	}
	d->next = b->devs;
	b->devs = d;
	*out = d;
	return 0;
}

static int find_device(struct demi_nvme_backend *b, const char *name, struct demi_nvme_dev **out)
{
	struct demi_device_info info;
	uint32_t *ids, n, i;
	int ret = demi_kdev_ids(b->mem->fd, DEMI_DEVICE_LIST, &ids, &n);

	if (ret)
		return ret;
	ret = -ENODEV;
	for (i = 0; i < n && ret; i++) {
		if (demi_kdev_device_info(b->mem->fd, ids[i], &info) || info.kind != DEMI_DEVICE_NVME)
			continue;
		if (!*name || !strncmp(info.name, name, sizeof(info.name)))
			ret = try_device(b, &info, out);
	}
	free(ids);
	if (ret == -ENODEV)
		demi_warn("nvme: no controller %sthat this user may have: as root, demictl device bind FUNCTION "
			  "--owner USER",
			  *name ? "of that name " : "");
	return ret;
}

/* ---- the backend ---- */

void demi_nvme_dev_poll(struct demi_nvme_dev *d)
{
	if (d->gone)
		return;
	if (!demi_nvme_pair_has(&d->pair)) {
		if ((uint16_t)++d->pair.looks || demi_nvme_pair_works(&d->pair))
			return;
		demi_nvme_dev_gone(d);
		return;
	}
	if (demi_nvme_pair_poll(&d->pair)) {
		demi_nvme_dev_gone(d);
		return;
	}
	demi_block_issue(d);
	demi_nvme_pair_ring(&d->pair);
}

static void nvme_poll(struct demi_backend *base)
{
	struct demi_nvme_backend *b = backend_of(base);
	bool unused = false;

	for (struct demi_nvme_dev *d = b->devs; d; d = d->next) {
		if (!demi_nvme_pair_idle(&d->pair))
			demi_nvme_dev_poll(d);
		unused |= !d->blocks;
	}
	if (__builtin_expect(unused, 0))
		demi_nvme_reap(b);
}

static void nvme_flush(struct demi_backend *base)
{
	for (struct demi_nvme_dev *d = backend_of(base)->devs; d; d = d->next)
		if (!d->gone)
			demi_nvme_pair_ring(&d->pair);
}

static void nvme_arm(struct demi_backend *base)
{
	for (struct demi_nvme_dev *d = backend_of(base)->devs; d; d = d->next) {
		if (d->gone)
			continue;
		demi_nvme_pair_acknowledge(&d->pair);
		if (!demi_nvme_pair_works(&d->pair))
			demi_nvme_dev_gone(d);
	}
	/* the poll that follows looks at the queues after this, as the kernel counts after them */
	demi_full_barrier();
}

static void nvme_disarm(struct demi_backend *base)
{
	for (struct demi_nvme_dev *d = backend_of(base)->devs; d; d = d->next)
		if (!d->gone)
			demi_nvme_pair_acknowledge(&d->pair);
}

static bool nvme_busy(struct demi_backend *base)
{
	return backend_of(base)->draining != 0;
}

void demi_nvme_reap(struct demi_nvme_backend *b)
{
	struct demi_nvme_dev **at = &b->devs, *d;

	while ((d = *at)) {
		if (d->blocks) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		pair_close(d);
		free(d);
	}
}

static void nvme_destroy(struct demi_backend *base)
{
	struct demi_nvme_backend *b = backend_of(base);

	b->ending = true;
	for (struct demi_nvme_dev *d = b->devs; d; d = d->next) {
		demi_block_close_all(d);
		shut_down(d);
		demi_nvme_pair_fail(&d->pair);
		demi_block_fail_waiting(d);
	}
	demi_nvme_reap(b);
	demi_block_free_ios(b);
	if (b->mem)
		demi_ring_mem_put(b->mem);
	free(b);
}

static const struct demi_backend_ops nvme_ops = {
	.name = "nvme",
	.poll = nvme_poll,
	.flush = nvme_flush,
	.arm = nvme_arm,
	.disarm = nvme_disarm,
	.busy = nvme_busy,
	.destroy = nvme_destroy,
};

int demi_nvme_dev_get(struct demi_ctx *ctx, const char *name, struct demi_nvme_dev **out)
{
	struct demi_nvme_backend *b;
	struct demi_backend *base;
	struct demi_nvme_dev *d;
	int ret = demi_ctx_backend(ctx, &nvme_ops, sizeof(*b), &base);

	if (ret)
		return ret;
	b = backend_of(base);
	if (!b->mem)
		ret = demi_ring_mem_get(&b->mem);
	if (ret)
		return ret;
	for (d = b->devs; d; d = d->next) {
		if (!d->gone && (!*name || !strcmp(d->name, name))) {
			*out = d;
			return 0;
		}
	}
	return find_device(b, name, out);
}

/* ---- calls that block ---- */

struct run {
	bool done;
	unsigned int status;
};

static void run_done(void *arg, unsigned int status)
{
	struct run *r = arg;

	r->done = true;
	r->status = status;
}

static void run_wait(struct demi_nvme_dev *d)
{
	struct pollfd p = { .fd = d->fd, .events = POLLIN };

	demi_nvme_pair_acknowledge(&d->pair);
	demi_full_barrier();
	if (demi_nvme_pair_has(&d->pair))
		return;
	d->backend->b.ctx->count.syscalls++;
	(void)poll(&p, 1, RUN_POLL_MS);
	if (!demi_nvme_pair_works(&d->pair))
		demi_nvme_dev_gone(d);
}

unsigned int demi_nvme_dev_run(struct demi_nvme_dev *d, const struct demi_nvme_command *c, const void *data,
			       uint32_t len)
{
	struct run r = { .status = DEMI_NVME_S_GONE };

	while (!d->gone && !d->pair.free_count) {
		run_wait(d);
		demi_nvme_dev_poll(d);
	}
	if (d->gone)
		return r.status;
	demi_nvme_pair_submit(&d->pair, c, data, len, run_done, &r);
	demi_nvme_pair_ring(&d->pair);
	while (!r.done) {
		demi_nvme_dev_poll(d);
		if (!r.done)
			run_wait(d);
	}
	return r.status;
}
