/* SPDX-License-Identifier: MIT */
/* Which port a context gets, and how it is set up. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 512 /* of a ring, if nobody says how many */

/* One packet, as of a flow queue: pktdev/ring. */
#define GSO_BYTES (65535 - 40 - 60)
#define GSO_SEGS 64

/* Packets of more pieces are copied together. */
#define SEGS_MAX 16

#define RX_CSUM (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM)
#define TX_CSUM (RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool taken[RTE_MAX_ETHPORTS];

/* A number, or the name of a device: 0000:01:00.0, net_memif0. -ENOENT. */
static int port_find(const char *name, size_t len, uint16_t *port)
{
	char word[RTE_ETH_NAME_MAX_LEN], *end;
	unsigned long n;

	if (!len || len >= sizeof(word))
		return -ENOENT;
	memcpy(word, name, len);
	word[len] = '\0';
	if (!rte_eth_dev_get_port_by_name(word, port))
		return 0;
	n = strtoul(word, &end, 10);
	if (*end || n >= RTE_MAX_ETHPORTS || !rte_eth_dev_is_valid_port((uint16_t)n))
		return -ENOENT;
	*port = (uint16_t)n;
	return 0;
}

static int choose_any(uint16_t *port_out)
{
	int ret = -ENODEV;
	uint16_t port;

	RTE_ETH_FOREACH_DEV(port)
	{
		ret = -EBUSY;
		if (!taken[port]) {
			*port_out = port;
			return 0;
		}
	}
	if (ret == -ENODEV)
		demi_dpdk_log(DEMI_LOG_WARN, "EAL has found no port: DEMI_DPDK_ARGS");
	return ret;
}

static int choose_of(const char *list, uint16_t *port_out)
{
	size_t len;

	for (; *list; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		if (port_find(list, len, port_out)) {
			demi_dpdk_log(DEMI_LOG_WARN, "there is no port %.*s", (int)len, list);
			return -ENODEV;
		}
		if (!taken[*port_out])
			return 0;
	}
	return -EBUSY;
}

int demi_dpdk_port_choose(const char *list, uint16_t *port_out)
{
	int ret;

	pthread_mutex_lock(&lock);
	ret = *list ? choose_of(list, port_out) : choose_any(port_out);
	if (!ret)
		taken[*port_out] = true;
	pthread_mutex_unlock(&lock);
	if (ret == -EBUSY)
		demi_dpdk_log(DEMI_LOG_WARN,
			      "every context needs a port of its own, and all are taken: DEMI_DPDK_PORT");
	return ret;
}

void demi_dpdk_port_release(uint16_t port)
{
	pthread_mutex_lock(&lock);
	taken[port] = false;
	pthread_mutex_unlock(&lock);
}

/*
 * TAP's segmentation is software that knows IPv4 alone, though the flag says both, and that takes no segment, for ever,
 * which is longer than the MTU with its Ethernet header.
 */
static bool is_tap(const struct rte_eth_dev_info *info)
{
	return !strcmp(info->driver_name, "net_tap");
}

static uint32_t caps_of(const struct rte_eth_dev_info *info)
{
	uint64_t o = info->tx_offload_capa;
	uint32_t caps = 0;

	if ((o & TX_CSUM) != TX_CSUM)
		return 0;
	caps |= DEMI_PKTDEV_C_TX_CSUM;
	if (!(o & RTE_ETH_TX_OFFLOAD_TCP_TSO) || !(o & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) ||
	    !(o & RTE_ETH_TX_OFFLOAD_MULTI_SEGS))
		return caps;
	caps |= DEMI_PKTDEV_C_TX_TSO4;
	return is_tap(info) ? caps : caps | DEMI_PKTDEV_C_TX_TSO6;
}

static uint64_t tx_offloads(const struct rte_eth_dev_info *info, uint32_t caps)
{
	uint64_t o = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

	if (caps & DEMI_PKTDEV_C_TX_CSUM)
		o |= TX_CSUM | (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
	if (caps & DEMI_PKTDEV_C_TX_TSO4)
		o |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
	return o;
}

static int configure(struct demi_dpdk_dev *dd, const struct rte_eth_dev_info *info)
{
	struct rte_eth_conf conf = { 0 };
	int ret;

	conf.rxmode.offloads = info->rx_offload_capa & (RX_CSUM | RTE_ETH_RX_OFFLOAD_SCATTER);
	conf.txmode.offloads = tx_offloads(info, dd->dev.caps);
	conf.intr_conf.rxq = 1;
	ret = rte_eth_dev_configure(dd->port, 1, 1, &conf);
	if (!ret)
		return 0;
	conf.intr_conf.rxq = 0;
	return rte_eth_dev_configure(dd->port, 1, 1, &conf);
}

static int queues(struct demi_dpdk_dev *dd, const struct rte_eth_dev_info *info, const struct demi_pktdev_settings *s)
{
	uint16_t rx = (uint16_t)(s->rx_entries ? s->rx_entries : ENTRIES);
	uint16_t tx = (uint16_t)(s->tx_entries ? s->tx_entries : ENTRIES);
	int socket = rte_eth_dev_socket_id(dd->port);
	struct rte_eth_rxconf rxconf = info->default_rxconf;
	struct rte_eth_txconf txconf = info->default_txconf;
	int ret;

	ret = rte_eth_dev_adjust_nb_rx_tx_desc(dd->port, &rx, &tx);
	if (!ret)
		ret = demi_dpdk_pools_init(dd, rx, tx);
	if (!ret)
		ret = demi_dpdk_tx_init(dd, tx);
	rxconf.offloads = 0;
	txconf.offloads = 0;
	if (!ret)
		ret = rte_eth_rx_queue_setup(dd->port, 0, rx, (unsigned int)socket, &rxconf, dd->rx_pool);
	if (!ret)
		ret = rte_eth_tx_queue_setup(dd->port, 0, tx, (unsigned int)socket, &txconf);
	return ret;
}

/* The stack wants every multicast frame and sorts them itself. Many drivers of software take everything anyway. */
static void filters(const struct demi_dpdk_dev *dd)
{
	int ret = rte_eth_allmulticast_enable(dd->port);

	if (ret && ret != -ENOTSUP)
		demi_dpdk_log(DEMI_LOG_INFO, "port %u: multicast: %s", dd->port, strerror(-ret));
}

static void describe(struct demi_dpdk_dev *dd, const struct rte_eth_dev_info *info)
{
	bool multi = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	uint16_t segs = info->tx_desc_lim.nb_mtu_seg_max, gso_segs = info->tx_desc_lim.nb_seg_max;
	uint16_t mtu = RTE_ETHER_MTU;
	struct rte_ether_addr mac = { 0 };

	rte_eth_dev_get_mtu(dd->port, &mtu);
	rte_eth_macaddr_get(dd->port, &mac);
	memcpy(dd->dev.mac, mac.addr_bytes, sizeof(dd->dev.mac));
	dd->dev.mtu_bytes = is_tap(info) ? mtu - RTE_ETHER_HDR_LEN : mtu;
	dd->dev.tx_segs_max = SEGS_MAX;
	dd->dev.rx_buf_bytes = DEMI_DPDK_RX_ROOM;
	dd->hw_segs_max = !multi ? 1 : segs ? segs : UINT16_MAX;
	dd->hw_gso_segs_max = !multi ? 1 : gso_segs ? gso_segs : UINT16_MAX;
	dd->prepare = dd->dev.caps & DEMI_PKTDEV_C_TX_CSUM;
	if (dd->dev.caps & (DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6)) {
		dd->dev.gso_max_bytes = GSO_BYTES;
		dd->dev.gso_max_segs = GSO_SEGS;
	}
}

int demi_dpdk_port_start(struct demi_dpdk_dev *dd, const struct demi_pktdev_settings *s)
{
	struct rte_eth_dev_info info;
	int ret;

	ret = rte_eth_dev_info_get(dd->port, &info);
	if (ret)
		return ret;
	dd->dev.caps = caps_of(&info);
	describe(dd, &info);
	ret = demi_dpdk_mem_init(dd, &info);
	if (!ret)
		ret = configure(dd, &info);
	if (!ret)
		ret = queues(dd, &info, s);
	if (!ret)
		ret = rte_eth_dev_start(dd->port);
	if (ret) {
		ret = ret == -1 ? -ENODEV : ret; /* drivers of software say -1 for anything */
		demi_dpdk_log(DEMI_LOG_WARN, "port %u (%s) cannot be started: %s", dd->port, info.driver_name,
			      strerror(ret < 0 ? -ret : ret));
		return ret;
	}
	dd->started = true;
	filters(dd);
	/* A driver that frees what it has sent when more is sent, and cannot be asked, would keep memory for ever. */
	dd->cleanup = rte_eth_tx_done_cleanup(dd->port, 0, 0) >= 0;
	dd->dev.zc_min_bytes = dd->reach == DEMI_DPDK_COPIES || (dd->reach == DEMI_DPDK_DMA && dd->cleanup)
				       ? DEMI_DPDK_REF_MIN
				       : UINT32_MAX;
	if (dd->hw_segs_max < 3)
		dd->dev.zc_min_bytes = UINT32_MAX;
	demi_dpdk_log(DEMI_LOG_INFO, "port %u: %s, mtu %u, %s, %s", dd->port, info.driver_name, dd->dev.mtu_bytes,
		      dd->dev.caps & DEMI_PKTDEV_C_TX_TSO4   ? "checksums and segmentation"
		      : dd->dev.caps & DEMI_PKTDEV_C_TX_CSUM ? "checksums"
							     : "no checksums",
		      dd->dev.zc_min_bytes == UINT32_MAX ? "sends copies" : "sends in place");
	return 0;
}

void demi_dpdk_port_stop(struct demi_dpdk_dev *dd)
{
	if (dd->started)
		rte_eth_dev_stop(dd->port);
	dd->started = false;
}
