/* SPDX-License-Identifier: MIT */
/* The pools of mbufs, and how far the port reaches into the heap. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_bus.h>
#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_memory.h>

#define CACHE 64

/* ---- what the port reaches ---- */

/* EAL knows the heap's areas from the first port on, for good: areas and EAL both stay to the process's end. */
static int extern_add(struct demi_heap_hook *h, void *base, size_t len)
{
	if (rte_extmem_register(base, len, NULL, 0, (size_t)sysconf(_SC_PAGESIZE)) && rte_errno != EEXIST)
		demi_dpdk_log(DEMI_LOG_INFO, "%zu KiB of the heap are unknown to EAL: %s", len >> 10,
			      rte_strerror(rte_errno));
	return 0;
}

static void extern_del(struct demi_heap_hook *h, void *base, size_t len)
{
	rte_extmem_unregister(base, len);
}

static void extern_register(void)
{
	static struct demi_heap_hook hook = { .add = extern_add, .del = extern_del };
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool done;

	pthread_mutex_lock(&lock);
	if (!done)
		done = !demi_dpdk_host->hook_add(&hook);
	pthread_mutex_unlock(&lock);
}

static struct demi_dpdk_dev *of_hook(struct demi_heap_hook *h)
{
	return (struct demi_dpdk_dev *)((char *)h - offsetof(struct demi_dpdk_dev, hook));
}

static struct rte_device *device_of(const struct demi_dpdk_dev *dd)
{
	struct rte_eth_dev_info info;

	return rte_eth_dev_info_get(dd->port, &info) ? NULL : info.device;
}

/* IOVAs are virtual addresses. */
static int dma_add(struct demi_heap_hook *h, void *base, size_t len)
{
	struct rte_device *dev = device_of(of_hook(h));

	/* EAL maps only what it knows, and it is not said which hook is called first */
	extern_add(NULL, base, len);
	if (dev && !rte_dev_dma_map(dev, base, (uintptr_t)base, len))
		return 0;
	demi_dpdk_log(DEMI_LOG_INFO, "%zu KiB of the heap cannot be mapped for port %u: %s", len >> 10,
		      of_hook(h)->port, rte_strerror(rte_errno));
	return -ENOMEM;
}

static void dma_del(struct demi_heap_hook *h, void *base, size_t len)
{
	struct rte_device *dev = device_of(of_hook(h));

	if (dev)
		rte_dev_dma_unmap(dev, base, (uintptr_t)base, len);
}

static bool on_bus(const struct rte_eth_dev_info *info, const char *name)
{
	return info->device && rte_dev_bus(info->device) && !strcmp(rte_bus_name(rte_dev_bus(info->device)), name);
}

/* memif between processes that share EAL's memory moves no bytes, so none of others'. */
static bool shares_memory(const struct rte_eth_dev_info *info)
{
	const struct rte_devargs *a = info->device ? rte_dev_devargs(info->device) : NULL;

	return a && a->args && strstr(a->args, "zero-copy=yes");
}

int demi_dpdk_mem_init(struct demi_dpdk_dev *dd, const struct rte_eth_dev_info *info)
{
	static const char *const copying[] = { "net_memif", "net_af_packet", "net_tap",
					       "net_vhost", "net_pcap",	     "net_null" };

	dd->reach = DEMI_DPDK_OWN_MEMORY;
	if (on_bus(info, "vdev")) {
		for (size_t i = 0; i < sizeof(copying) / sizeof(copying[0]); i++)
			if (!strcmp(info->driver_name, copying[i]) && !shares_memory(info))
				dd->reach = DEMI_DPDK_COPIES;
		if (dd->reach == DEMI_DPDK_COPIES)
			extern_register();
		return 0;
	}
	if (rte_eal_iova_mode() != RTE_IOVA_VA)
		return 0;
	extern_register();
	dd->hook.add = dma_add;
	dd->hook.del = dma_del;
	if (demi_dpdk_host->hook_add(&dd->hook))
		return 0;
	dd->hooked = true;
	dd->reach = DEMI_DPDK_DMA;
	return 0;
}

/* ---- pools ---- */

static const char *pool_name(char *name, const struct demi_dpdk_dev *dd, const char *what)
{
	snprintf(name, RTE_MEMPOOL_NAMESIZE, "demi_%s_%u", what, dd->port);
	return name;
}

/* An mbuf whose buffer is a heap object. rte_pktmbuf_init() would have it behind the mbuf. */
static void rx_mbuf_init(struct rte_mempool *mp, void *arg, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;
	bool *failed = arg;

	memset(m, 0, sizeof(*m));
	m->buf_addr = demi_dpdk_host->heap_alloc(DEMI_DPDK_RX_ROOM);
	*failed |= !m->buf_addr;
	rte_mbuf_iova_set(m, (uintptr_t)m->buf_addr);
	m->buf_len = DEMI_DPDK_RX_ROOM;
	m->data_off = RTE_PKTMBUF_HEADROOM;
	m->pool = mp;
	m->nb_segs = 1;
	m->port = RTE_MBUF_PORT_INVALID;
	rte_mbuf_refcnt_set(m, 1);
}

static void rx_mbuf_destroy(struct rte_mempool *mp, void *arg, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;

	if (m->buf_addr)
		demi_dpdk_host->heap_free(m->buf_addr);
}

/* Its objects are bare mbufs, but the drivers are told how much room each has. */
static int rx_pool_init(struct demi_dpdk_dev *dd, const char *name, unsigned int n, int socket)
{
	struct rte_pktmbuf_pool_private priv = { .mbuf_data_room_size = DEMI_DPDK_RX_ROOM };
	bool failed = false;

	dd->rx_pool = rte_mempool_create_empty(name, n, sizeof(struct rte_mbuf), CACHE, sizeof(priv), socket, 0);
	if (!dd->rx_pool)
		return -rte_errno;
	rte_pktmbuf_pool_init(dd->rx_pool, &priv);
	if (rte_mempool_populate_default(dd->rx_pool) < 0)
		goto err_pool;
	rte_mempool_obj_iter(dd->rx_pool, rx_mbuf_init, &failed);
	if (!failed)
		return 0;
	rte_mempool_obj_iter(dd->rx_pool, rx_mbuf_destroy, NULL);
err_pool:
	rte_mempool_free(dd->rx_pool);
	dd->rx_pool = NULL;
	return -ENOMEM;
}

/*
 * Pools stay with their port to the process's end: a driver may keep mbufs of a stopped port until its queues are set
 * up anew, by the next context that gets it.
 */
static int pools_get(struct demi_dpdk_dev *dd, uint16_t rx_entries, uint16_t tx_entries)
{
	unsigned int spare = 3 * DEMI_DPDK_BURST_MAX + 2 * CACHE;
	unsigned int nrx = rx_entries + spare, ntx = 2u * tx_entries + spare;
	int socket = rte_eth_dev_socket_id(dd->port);
	char name[RTE_MEMPOOL_NAMESIZE];

	dd->tx_pool = rte_mempool_lookup(pool_name(name, dd, "tx"));
	if (!dd->tx_pool)
		dd->tx_pool = rte_pktmbuf_pool_create(name, ntx, CACHE, 0, DEMI_DPDK_TX_ROOM, socket);
	if (!dd->tx_pool)
		return -rte_errno;
	dd->rx_pool = rte_mempool_lookup(pool_name(name, dd, "rx"));
	if (dd->rx_pool)
		return 0;
	if (dd->reach != DEMI_DPDK_OWN_MEMORY)
		return rx_pool_init(dd, name, nrx, socket);
	dd->rx_pool = rte_pktmbuf_pool_create(name, nrx, CACHE, 0, DEMI_DPDK_RX_ROOM, socket);
	return dd->rx_pool ? 0 : -rte_errno;
}

int demi_dpdk_pools_init(struct demi_dpdk_dev *dd, uint16_t rx_entries, uint16_t tx_entries)
{
	int ret = pools_get(dd, rx_entries, tx_entries);

	if (ret)
		return ret;
	dd->swap_pool = dd->reach == DEMI_DPDK_OWN_MEMORY ? NULL : dd->rx_pool;
	dd->rx_cache = rte_mempool_default_cache(dd->rx_pool, rte_lcore_id());
	dd->tx_cache = rte_mempool_default_cache(dd->tx_pool, rte_lcore_id());
	return 0;
}

void demi_dpdk_mem_destroy(struct demi_dpdk_dev *dd)
{
	if (dd->hooked)
		demi_dpdk_host->hook_del(&dd->hook);
}
