// SPDX-License-Identifier: GPL-2.0
/* What one user may have. The counters of a uid live as long as somebody has something. */
#include <linux/atomic.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "../demi.h"
#include "limits.h"

struct demi_user {
	struct hlist_node node;
	refcount_t ref;
	kuid_t uid;
	atomic_t used[DEMI_LIMITS];
};

/* Changed at run time: what is there already stays. */
static unsigned int demi_limit_values[DEMI_LIMITS] = {
	[DEMI_LIMIT_CONTEXTS] = 256, [DEMI_LIMIT_QUEUES] = 256,	       [DEMI_LIMIT_REGIONS] = 4096,
	[DEMI_LIMIT_FLOWS] = 65536,  [DEMI_LIMIT_RESERVATIONS] = 4096, [DEMI_LIMIT_GROUPS] = 256,
};

module_param_named(contexts_max, demi_limit_values[DEMI_LIMIT_CONTEXTS], uint, 0644);
MODULE_PARM_DESC(contexts_max, "most contexts of one user");
module_param_named(queues_max, demi_limit_values[DEMI_LIMIT_QUEUES], uint, 0644);
MODULE_PARM_DESC(queues_max, "most queues of one user");
module_param_named(regions_max, demi_limit_values[DEMI_LIMIT_REGIONS], uint, 0644);
MODULE_PARM_DESC(regions_max, "most regions of one user");
module_param_named(flows_max, demi_limit_values[DEMI_LIMIT_FLOWS], uint, 0644);
MODULE_PARM_DESC(flows_max, "most flows of one user");
module_param_named(reservations_max, demi_limit_values[DEMI_LIMIT_RESERVATIONS], uint, 0644);
MODULE_PARM_DESC(reservations_max, "most reservations of one user");
module_param_named(groups_max, demi_limit_values[DEMI_LIMIT_GROUPS], uint, 0644);
MODULE_PARM_DESC(groups_max, "most groups of one user");

static DEFINE_MUTEX(demi_users_lock);
static DEFINE_HASHTABLE(demi_users, 6);

struct demi_user *demi_user_get(kuid_t uid)
{
	struct demi_user *user;

	mutex_lock(&demi_users_lock);
	hash_for_each_possible(demi_users, user, node, __kuid_val(uid)) {
		if (uid_eq(user->uid, uid)) {
			refcount_inc(&user->ref);
			goto out;
		}
	}
	user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
	if (user) {
		refcount_set(&user->ref, 1);
		user->uid = uid;
		hash_add(demi_users, &user->node, __kuid_val(uid));
	}
out:
	mutex_unlock(&demi_users_lock);
	return user;
}

void demi_user_put(struct demi_user *user)
{
	if (!refcount_dec_and_mutex_lock(&user->ref, &demi_users_lock))
		return;
	hash_del(&user->node);
	mutex_unlock(&demi_users_lock);
	kfree(user);
}

int demi_limit_charge(struct demi_user *user, enum demi_limit what)
{
	int used = atomic_read(&user->used[what]);

	do {
		if ((unsigned int)used >= demi_limit_max(what))
			return -EDQUOT;
	} while (!atomic_try_cmpxchg(&user->used[what], &used, used + 1));
	return 0;
}

void demi_limit_uncharge(struct demi_user *user, enum demi_limit what)
{
	atomic_dec(&user->used[what]);
}

unsigned int demi_limit_max(enum demi_limit what)
{
	return READ_ONCE(demi_limit_values[what]);
}

int demi_users_show(struct seq_file *m, void *unused)
{
	struct demi_user *user;
	int bucket, what;

	seq_puts(m, "uid contexts queues regions flows reservations groups\n");
	mutex_lock(&demi_users_lock);
	hash_for_each(demi_users, bucket, user, node) {
		seq_printf(m, "%u", from_kuid_munged(seq_user_ns(m), user->uid));
		for (what = 0; what < DEMI_LIMITS; what++)
			seq_printf(m, " %d", atomic_read(&user->used[what]));
		seq_putc(m, '\n');
	}
	mutex_unlock(&demi_users_lock);
	return 0;
}
