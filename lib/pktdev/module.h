/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_MODULE_H
#define DEMI_PKTDEV_MODULE_H

/*
 * Packet devices that need more than the library does are shared objects of their own, libdemi-KIND.so, loaded when a
 * context wants one. They are built from the same tree, export one object of this type by the name demi_pktdev_module,
 * and call back through the table that open() is given: nothing inside the library is exported for them.
 */

#include "core/log.h"
#include "heap/heap.h"
#include "pktdev/pktdev.h"

#include <stddef.h>

/* What the library lends; lives as long as the process. */
struct demi_pktdev_host {
	void *(*heap_alloc)(size_t size);
	int (*heap_free)(void *p);
	bool (*heap_contains)(const void *p, size_t len);
	int (*hook_add)(struct demi_heap_hook *h);
	void (*hook_del)(struct demi_heap_hook *h);
	void (*log)(enum demi_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
	const enum demi_log_level *log_level;
};

/* Of the configuration. */
struct demi_pktdev_settings {
	const char *args; /* for the framework below the device: words, one a line */
	const char *port; /* names or numbers of ports with commas between them; empty: any */
	uint32_t rx_entries, tx_entries; /* of the rings; 0: the device's choice */
};

struct demi_pktdev_module {
	uint32_t abi; /* DEMI_PKTDEV_ABI; first, so that every version finds it */
	struct demi_pktdev_ops *ops; /* the loader fills in what is missing */

	/* Called by the thread whose context it is, of which it knows nothing. As makers do: -errno. */
	int (*open)(const struct demi_pktdev_host *host, const struct demi_pktdev_settings *settings,
		    struct demi_ctx *ctx, struct demi_pktdev **out);
};

#define DEMI_PKTDEV_MODULE_SYMBOL "demi_pktdev_module"

#endif /* DEMI_PKTDEV_MODULE_H */
