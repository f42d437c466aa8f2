/* SPDX-License-Identifier: MIT */
/* Packet devices in shared objects of their own. */
#include "pktdev/module.h"

#include "core/config.h"
#include "core/log.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct demi_pktdev_host host = {
	.heap_alloc = demi_heap_alloc,
	.heap_free = demi_heap_free,
	.heap_contains = demi_heap_contains,
	.hook_add = demi_heap_hook_add,
	.hook_del = demi_heap_hook_del,
	.log = demi_log_write,
	.log_level = &demi_log_level,
};

/* Beside the library, where both are installed and built; else wherever the loader looks. */
static void *open_object(const char *file)
{
	char path[PATH_MAX];
	const char *slash;
	void *so = NULL;
	Dl_info info;

	if (dladdr(&host, &info) && info.dli_fname && (slash = strrchr(info.dli_fname, '/')) &&
	    snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname, file) <
		    (int)sizeof(path))
		so = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!so)
		so = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	return so;
}

/* It stays: threads of its framework may run in it. -ENODEV: it is not there, or does not belong to this library. */
static int load(const char *file, const struct demi_pktdev_module **out)
{
	const struct demi_pktdev_module *m;
	void *so = open_object(file);

	if (!so) {
		demi_warn("%s: %s", file, dlerror());
		return -ENODEV;
	}
	m = dlsym(so, DEMI_PKTDEV_MODULE_SYMBOL);
	if (!m || m->abi != DEMI_PKTDEV_ABI || m->ops->abi != DEMI_PKTDEV_ABI) {
		demi_warn("%s is of another version than this library", file);
		return -ENODEV;
	}
	demi_pktdev_ops_fill(m->ops);
	*out = m;
	return 0;
}

int demi_dpdk_open(struct demi_ctx *ctx, struct demi_pktdev **out)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const struct demi_pktdev_module *dpdk;
	const struct demi_pktdev_settings settings = {
		.args = demi_config.dpdk_args,
		.port = demi_config.dpdk_port,
		.rx_entries = demi_config.dpdk_rx_ring,
		.tx_entries = demi_config.dpdk_tx_ring,
	};
	int ret = 0;

	pthread_mutex_lock(&lock);
	if (!dpdk)
		ret = load("libdemi-dpdk.so", &dpdk);
	pthread_mutex_unlock(&lock);
	return ret ? ret : dpdk->open(&host, &settings, ctx, out);
}
