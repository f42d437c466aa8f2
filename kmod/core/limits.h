/* SPDX-License-Identifier: GPL-2.0 */
/* What one user may have, over all its contexts: module parameters, counted per uid. */
#ifndef _DEMI_LIMITS_H
#define _DEMI_LIMITS_H

#include <linux/uidgid.h>

enum demi_limit {
	DEMI_LIMIT_CONTEXTS,
	DEMI_LIMIT_QUEUES,
	DEMI_LIMIT_REGIONS,
	DEMI_LIMIT_FLOWS,
	DEMI_LIMIT_RESERVATIONS,
	DEMI_LIMIT_GROUPS,
	DEMI_LIMITS,
};

struct demi_user;

/* Find or make the counters of a uid; one reference. NULL: no memory. */
struct demi_user *demi_user_get(kuid_t uid);
void demi_user_put(struct demi_user *user);

/* Count one more. -EDQUOT at the limit. */
int demi_limit_charge(struct demi_user *user, enum demi_limit what);
void demi_limit_uncharge(struct demi_user *user, enum demi_limit what);

/* A table for debugfs. */
struct seq_file;
int demi_users_show(struct seq_file *m, void *unused);

/* The limit as it is now (the parameter can be changed at run time). */
unsigned int demi_limit_max(enum demi_limit what);

#endif
