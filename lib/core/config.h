/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_CONFIG_H
#define DEMI_CORE_CONFIG_H

/*
 * The configuration: read once per process, at the first demi_init(), from (later wins) the defaults
 * of the table in config.c, the YAML file named by CONFIG_PATH, the environment, demi_args.
 */

#include "core/log.h"

#include <demi/types.h>
#include <stdbool.h>

enum demi_backend_kind {
	DEMI_BACKEND_URING, /* catnap, catcollar */
	DEMI_BACKEND_MEMQ, /* catmem: memory queues and pipes only */
	DEMI_BACKEND_RING,
	DEMI_BACKEND_DPDK, /* catnip */
	DEMI_BACKEND_XSK, /* catpowder */
	DEMI_BACKEND_RDMA, /* catmint */
	DEMI_BACKEND_VIRTIO,
};

enum demi_engine {
	DEMI_ENGINE_AUTO, /* io_uring, or epoll where it is refused */
	DEMI_ENGINE_URING, /* io_uring or an error */
	DEMI_ENGINE_EPOLL,
};

enum demi_inet_dad {
	DEMI_INET_DAD_OPTIMISTIC, /* an address is used while others are still asked (RFC 4429) */
	DEMI_INET_DAD_ON,
	DEMI_INET_DAD_OFF,
};

struct demi_config {
	enum demi_log_level log; /* DEMI_LOG */
	enum demi_backend_kind backend; /* DEMI_LIBOS, LIBOS */
	enum demi_engine engine; /* DEMI_ENGINE */
	uint32_t spin_us; /* DEMI_SPIN_US: 0 never */
	uint32_t exit_linger_ms; /* DEMI_EXIT_LINGER_MS */
	uint64_t push_limit_bytes; /* DEMI_PUSH_LIMIT: queued bytes per context */
	uint32_t readahead_bytes; /* DEMI_READAHEAD: per socket */
	bool zerocopy; /* DEMI_ZEROCOPY */
	uint32_t zc_min_bytes; /* DEMI_ZC_MIN: the io_uring backend's; 0: its own choice */
	uint32_t pipe_bytes; /* DEMI_PIPE_BYTES: ring of one direction of a pipe */
	char pipe_dir[108]; /* DEMI_PIPE_DIR */
	char pcap[256]; /* DEMI_PCAP: what the network stack sends and receives; empty: not written */
	char dpdk_args[1024]; /* DEMI_DPDK_ARGS, Demikernel's dpdk.eal_init: words, one a line */
	char dpdk_port[128]; /* DEMI_DPDK_PORT: names or numbers, commas between them; empty: any */
	uint32_t dpdk_rx_ring, dpdk_tx_ring; /* DEMI_DPDK_RX_RING, DEMI_DPDK_TX_RING: 0: the device's choice */
	/* devices of layer 2: lib/ether */
	char inet_addr[256]; /* DEMI_INET_ADDR: addresses with prefix lengths, auto */
	uint32_t virtio_pairs; /* DEMI_VIRTIO_PAIRS */
	char inet_gateway[256]; /* DEMI_INET_GATEWAY */
	uint32_t inet_mtu; /* DEMI_INET_MTU: 0: the device's */
	enum demi_inet_dad inet_dad; /* DEMI_INET_DAD */
	/* of Demikernel's YAML, section tcp_socket_options: defaults of new TCP sockets */
	bool tcp_nodelay;
	bool tcp_keepalive;
	uint32_t tcp_keepalive_ms, tcp_keepalive_interval_ms;
	bool tcp_linger;
	uint32_t tcp_linger_s;
};

/* Filled in by demi_config_load(); read-only afterwards. */
extern struct demi_config demi_config;

/*
 * Once per process: calls after the first success change nothing and return 0. A call that fails leaves no
 * trace. 0 or -errno (what is wrong is logged).
 */
int demi_config_load(const struct demi_args *args);

/*
 * Between config.c and config_yaml.c. Set the option @name of @section; @where is for the message if that is
 * wrong: -EINVAL, or -ENOENT when there is no such option.
 */
int demi_config_set(struct demi_config *c, const char *section, const char *name, const char *value, const char *where);

/* A parsed file. Sections other than those asked for are not looked at. All 0 or -errno. */
struct demi_config_yaml;
int demi_config_yaml_open(struct demi_config_yaml **out, const char *path);
int demi_config_yaml_section(struct demi_config_yaml *y, struct demi_config *c, const char *section, bool tolerant);
void demi_config_yaml_close(struct demi_config_yaml *y);

#endif /* DEMI_CORE_CONFIG_H */
