/* SPDX-License-Identifier: MIT */
/* The process's contexts of demi.ko, and which parts of the heap are registered with them. */
#include "pktdev/ring/mem.h"

#include "core/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of a limit on locked memory, whole areas may take this part: other processes of the user live by it, too. */
#define SHARE 4

#define REGION_OF_BYTES (DEMI_HEAP_SPANS * sizeof(_Atomic(uint16_t)))
#define BASE_OF_BYTES ((size_t)65536 * sizeof(_Atomic(uintptr_t)))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct demi_ring_mem *all;

/* Spans that are registered one by one. Not held while the heap's locks are taken. */
static pthread_mutex_t span_lock = PTHREAD_MUTEX_INITIALIZER;

static bool may_lock_memory(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return !syscall(SYS_capget, &head, data) && data[CAP_IPC_LOCK / 32].effective >> (CAP_IPC_LOCK % 32) & 1;
}

static void say_small(struct demi_ring_mem *m, int err)
{
	if (!m->said_small)
		demi_warn("ring: not all of the heap is registered (%s): what is sent from elsewhere is copied. The "
			  "limit on locked memory (ulimit -l) counts all processes of the user. See limits.conf(5)",
			  strerror(-err));
	m->said_small = true;
	m->area_budget_bytes = 0;
}

static void say_full(struct demi_ring_mem *m, int err)
{
	if (!atomic_exchange(&m->full, true))
		demi_warn("ring: no more receive buffers can be registered (%s): what is received is copied",
			  strerror(-err));
}

static int register_range(struct demi_ring_mem *m, uintptr_t addr, size_t len)
{
	size_t first = demi_span_index((void *)addr), n = len >> DEMI_SPAN_SHIFT, i;
	uint32_t region;
	int ret = demi_kdev_region_register(m->fd, (void *)addr, len, &region);

	if (ret)
		return ret;
	if (!region || region > UINT16_MAX)
		return -EPROTO;
	atomic_store_explicit(&m->base_of[region], addr, memory_order_relaxed);
	for (i = 0; i < n; i++)
		atomic_store_explicit(&m->region_of[first + i], (uint16_t)region, memory_order_release);
	return 0;
}

/* An area is used whether it could be registered or not. */
static int area_add(struct demi_heap_hook *h, void *base, size_t len)
{
	struct demi_ring_mem *m = (struct demi_ring_mem *)h;
	int ret;

	ret = len > m->area_budget_bytes ? -ENOMEM : register_range(m, (uintptr_t)base, len);
	if (ret)
		say_small(m, ret);
	else if (m->area_budget_bytes != UINT64_MAX)
		m->area_budget_bytes -= len;
	return 0;
}

static void area_del(struct demi_heap_hook *h, void *base, size_t len)
{
	struct demi_ring_mem *m = (struct demi_ring_mem *)h;
	size_t first = demi_span_index(base), n = len >> DEMI_SPAN_SHIFT, i;
	uint16_t region, last = 0;

	for (i = 0; i < n; i++) {
		region = atomic_exchange(&m->region_of[first + i], 0);
		if (region && region != last && !m->ending)
			demi_kdev_region_unregister(m->fd, region);
		last = region;
	}
}

int demi_ring_mem_register(struct demi_ring_mem *m, const void *p, size_t len)
{
	uintptr_t at = (uintptr_t)p & ~DEMI_SPAN_MASK, end = (uintptr_t)p + len;
	int ret = 0;

	if (demi_span_index(p) >= DEMI_HEAP_SPANS)
		return -ENOMEM;
	pthread_mutex_lock(&span_lock);
	for (; at < end && !ret; at += DEMI_SPAN_SIZE) {
		if (atomic_load(&m->region_of[demi_span_index((void *)at)]))
			continue;
		ret = atomic_load(&m->full) ? -ENOMEM : register_range(m, at, DEMI_SPAN_SIZE);
	}
	pthread_mutex_unlock(&span_lock);
	if (ret)
		say_full(m, ret);
	return ret ? -ENOMEM : 0;
}

static int tables_map(struct demi_ring_mem *m)
{
	char *t = mmap(NULL, REGION_OF_BYTES + BASE_OF_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (t == MAP_FAILED)
		return -ENOMEM;
	m->base_of = (void *)t;
	m->region_of = (void *)(t + BASE_OF_BYTES);
	return 0;
}

static int create(struct demi_ring_mem **out, const struct stat *ns)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct demi_ring_mem *m = calloc(1, sizeof(*m));
	int ret;

	if (!m)
		return -ENOMEM;
	ret = tables_map(m);
	if (ret)
		goto err_free;
	m->fd = demi_kdev_open(&m->info);
	if (m->fd < 0) {
		const char *hint = demi_kdev_hint(m->fd);

		ret = m->fd;
		demi_warn("ring: " DEMI_KDEV_PATH ": %s%s%s", strerror(-ret), hint ? "; " : "", hint ? hint : "");
		goto err_tables;
	}
	ret = demi_kdev_device_find(m->fd, DEMI_DEVICE_HOST, &m->host);
	if (ret)
		goto err_fd;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	m->area_budget_bytes =
		limit.rlim_cur == RLIM_INFINITY || may_lock_memory() ? UINT64_MAX : limit.rlim_cur / SHARE;
	m->ns_dev = ns->st_dev;
	m->ns_ino = ns->st_ino;
	m->users = 1;
	m->hook.add = area_add;
	m->hook.del = area_del;
	ret = demi_heap_hook_add(&m->hook);
	if (ret)
		goto err_fd;
	*out = m;
	return 0;

err_fd:
	close(m->fd);
err_tables:
	munmap((void *)m->base_of, REGION_OF_BYTES + BASE_OF_BYTES);
err_free:
	free(m);
	return ret;
}

int demi_ring_mem_get(struct demi_ring_mem **out)
{
	struct demi_ring_mem *m;
	struct stat ns;
	int ret = 0;

	if (stat("/proc/thread-self/ns/net", &ns))
		memset(&ns, 0, sizeof(ns)); /* without /proc all threads are taken to be in one */
	pthread_mutex_lock(&lock);
	for (m = all; m; m = m->next)
		if (m->ns_dev == ns.st_dev && m->ns_ino == ns.st_ino)
			break;
	if (m) {
		m->users++;
	} else {
		ret = create(&m, &ns);
		if (!ret) {
			m->next = all;
			all = m;
		}
	}
	pthread_mutex_unlock(&lock);
	if (!ret)
		*out = m;
	return ret;
}

void demi_ring_mem_put(struct demi_ring_mem *m)
{
	struct demi_ring_mem **at;

	pthread_mutex_lock(&lock);
	if (--m->users) {
		pthread_mutex_unlock(&lock);
		return;
	}
	for (at = &all; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	pthread_mutex_unlock(&lock);
	m->ending = true;
	demi_heap_hook_del(&m->hook);
	close(m->fd);
	munmap((void *)m->base_of, REGION_OF_BYTES + BASE_OF_BYTES);
	free(m);
}
