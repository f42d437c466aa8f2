/* SPDX-License-Identifier: GPL-2.0 */
/* Devices for tests: dedicated ones without hardware, whose frames come back. */
#ifndef _DEMI_MOCK_H
#define _DEMI_MOCK_H

#include <linux/atomic.h>
#include <linux/list.h>

#include "../core/device.h"

struct dentry;

struct demi_mock {
	struct demi_device dev;
	struct list_head node;
	struct dentry *dir;		/* its counters */
	u32 fail_maps;			/* so many region_map fail from now on; debugfs writes it */
	atomic_t binds;			/* now */
	atomic_t maps;			/* regions mapped now */
	atomic_t mapped;		/* ever */
};

extern const struct demi_queue_ops demi_mock_queue_ops;

/*
 * bugs.c: a file that makes the module misbehave, so that the tests' tests can see that they
 * notice.
 */
void demi_mock_bugs_init(struct dentry *dir);

#endif
