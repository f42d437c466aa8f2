/* SPDX-License-Identifier: GPL-2.0 */
/*
 * demi_nvme.ko: NVMe controllers whose I/O queues an unprivileged process drives.
 *
 *	pci.c	finding out whether a controller can be given away, and giving it back
 *	pair.c	owners and pairs of I/O queues: the operations of struct demi_device
 *	ctrl.c	the controller: enabled, disabled, watched; its namespaces
 *	admin.c	the admin queues: one command at a time, whose answer may be anybody's
 *
 * A controller without an owner is reset, masters no bus, and its IOMMU group reaches nothing. From
 * an owner's coming to its going it is enabled, with admin queues that stay the kernel's.
 *
 * The owner can ring the admin doorbells, which are in the page of its own, and can have the
 * controller write to the admin completion queue. So the submission queue is mapped for reading
 * only and holds commands that mean nothing but while one of the kernel's is under way; and
 * completions are believed as little as identify data is. The worst that an owner reaches is that
 * an admin command is not answered: then the controller is disabled.
 *
 * demi_nvme->lock is inside demi_devices_lock and ctx->lock. A pair ends without them.
 */
#ifndef _DEMI_NVME_H
#define _DEMI_NVME_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/nvme.h>
#include <linux/workqueue.h>
#include <uapi/linux/demi_nvme.h>

#include "../core/device.h"
#include "../core/iommu.h"

#define DEMI_NVME_PAIRS_MAX		64
#define DEMI_NVME_NAMESPACES_MAX	1024
#define DEMI_NVME_ENTRIES_MAX		4096

/* What the controller sees where: admin queues and identify data, then a MiB for each pair. */
#define DEMI_NVME_IOVA_ASQ	DEMI_IOMMU_RINGS
#define DEMI_NVME_IOVA_ACQ	(DEMI_IOMMU_RINGS + PAGE_SIZE)
#define DEMI_NVME_IOVA_DATA	(DEMI_IOMMU_RINGS + 2 * PAGE_SIZE)
#define DEMI_NVME_IOVA_PAIR(qid)	(DEMI_IOMMU_RINGS + ((u64)(qid) << 20))

struct demi_nvme;

/* A pair of I/O queues, by its number. */
struct demi_nvme_pair {
	struct demi_nvme *nv;
	struct demi_queue *q;		/* whose it is, else NULL; lock */
	u16 qid;
	atomic_t events;		/* interrupts */
};

struct demi_nvme_admin {
	struct nvme_command *sq;	/* a page each, from vmalloc() */
	struct nvme_completion *cq;
	void *data;
	u16 tail, head, cid;
	u8 phase;
};

struct demi_nvme {
	struct demi_device dev;
	struct pci_dev *pdev;
	void __iomem *regs;
	u64 cap;
	struct demi_iommu iommu;
	struct demi_nvme_admin admin;	/* lock */
	struct mutex lock;		/* the controller, and what runs on it */
	bool enabled;			/* has admin queues; lock */
	bool broken;			/* was disabled although it has an owner; lock */
	struct delayed_work watch;	/* while enabled */
	u32 npairs;
	struct demi_nvme_pair pairs[DEMI_NVME_PAIRS_MAX + 1];	/* [0]: the admin queues' */
	struct demi_nvme_queue describe;	/* what every queue tells alike */
	struct demi_nvme_namespace *namespaces;	/* DEMI_NVME_NAMESPACES_MAX */
	u32 namespaces_told;		/* that fit in what queues tell */
};

/* pair.c */
extern const struct demi_device_ops demi_nvme_ops;

/* Lock held. All users of the controller's pairs learn that it is broken. */
void demi_nvme_tell_broken(struct demi_nvme *nv);

/* ctrl.c; lock held but for reset_function. */

/* Neither reads nor writes memory on return. -EIO: it does not answer. */
int demi_nvme_disable(struct demi_nvme *nv);

/* Reset by PCI too, where the function can; not while its driver is being bound or unbound. */
void demi_nvme_reset_function(struct demi_nvme *nv);

/*
 * With a domain attached: enable it and learn what it is; nv->npairs is then how many pairs it can
 * have. And the contrary, at any time. -EIO; -EOPNOTSUPP; errors of demi_iommu_map_rings().
 */
int demi_nvme_start(struct demi_nvme *nv);
void demi_nvme_stop(struct demi_nvme *nv);

/* It did not do what it has to: disabled until all pairs have ended. */
void demi_nvme_break(struct demi_nvme *nv, const char *why);

/* Once, before and after everything. */
void demi_nvme_watch_init(struct demi_nvme *nv);

/* admin.c */
int demi_nvme_admin_alloc(struct demi_nvme *nv);
void demi_nvme_admin_free(struct demi_nvme *nv);

/* Before the controller is enabled: empty queues. */
void demi_nvme_admin_reset(struct demi_nvme *nv);

/*
 * One command, until it is answered. Lock held. Its first double word of result goes to @result, if
 * that is not NULL. -EIO: refused by the controller; -ETIMEDOUT: no answer.
 */
int demi_nvme_admin_run(struct demi_nvme *nv, struct nvme_command *cmd, u32 *result);

#endif
