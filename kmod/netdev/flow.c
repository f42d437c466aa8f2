// SPDX-License-Identifier: GPL-2.0
/* Flows: what reaches which queue, and by what a queue may send. */
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <net/addrconf.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <net/tcp.h>
#include <net/udp.h>

#include "../core/limits.h"
#include "flow.h"

static const struct in6_addr demi_any4 = { .s6_addr32[2] = cpu_to_be32(0xffff) };

/* ---- look-up ------------------------------------------------------------------------------- */

static bool demi_flow_bound_here(struct demi_net *dn, const struct demi_flow *f,
				 const struct demi_ingress *in)
{
	int bound = READ_ONCE(f->rsv->sock->sk->sk_bound_dev_if);

	if (f->scope_id && f->scope_id != in->dif && f->scope_id != in->sdif)
		return false;
	if (f->key.protocol == IPPROTO_TCP)
		return inet_sk_bound_dev_eq(dn->net, bound, in->dif, in->sdif);
	return udp_sk_bound_dev_eq(dn->net, bound, in->dif, in->sdif);
}

static struct demi_flow *demi_flow_find(struct demi_net *dn, enum demi_flow_kind kind,
					const struct demi_tuple *key, const struct demi_ingress *in)
{
	struct rhlist_head *list, *pos;
	struct demi_flow *f;

	if (!READ_ONCE(dn->flows_of_kind[kind]))
		return NULL;
	list = rhltable_lookup(&dn->flows, key, demi_flow_params);
	rhl_for_each_entry_rcu(f, pos, list, node)
		if (demi_flow_bound_here(dn, f, in))
			return f;
	return NULL;
}

static u32 *demi_flow_port_count(struct demi_net *dn, __be16 lport)
{
	return &dn->flows_of_port[ntohs(lport) % DEMI_FLOW_PORTS];
}

static bool demi_flow_is_dual(const struct demi_flow *f)
{
	return f->rsv->flags & DEMI_PORT_F_DUAL;
}

struct demi_flow *demi_flow_lookup(struct demi_net *dn, const struct demi_tuple *t,
				   const struct demi_ingress *in)
{
	struct demi_flow *f;
	struct demi_tuple key;
	bool v4;

	/* what is nobody's here costs no more than this */
	if (!READ_ONCE(*demi_flow_port_count(dn, t->lport)))
		return NULL;
	f = demi_flow_find(dn, DEMI_FLOW_PEER, t, in);
	if (f)
		return f;
	key = (struct demi_tuple){ .local = t->local, .lport = t->lport, .protocol = t->protocol };
	f = demi_flow_find(dn, DEMI_FLOW_LOCAL, &key, in);
	/* who listens on any address has not joined the group */
	if (f || in->multicast)
		return f;
	v4 = ipv6_addr_v4mapped(&t->local);
	if (v4) {
		key.local = demi_any4;
		f = demi_flow_find(dn, DEMI_FLOW_ANY4, &key, in);
	}
	if (!f) {
		key.local = in6addr_any;
		f = demi_flow_find(dn, DEMI_FLOW_ANY6, &key, in);
		if (f && v4 && !demi_flow_is_dual(f))
			f = NULL;
	}
	if (f && in->broadcast && !(f->rsv->flags & DEMI_PORT_F_BROADCAST))
		f = NULL;
	return f;
}

static struct demi_flow *demi_flow_find_send(struct demi_net *dn, const struct demi_tuple *key,
					     const struct demi_queue *q)
{
	struct rhlist_head *list, *pos;
	struct demi_flow *f;

	list = rhltable_lookup(&dn->flows, key, demi_flow_params);
	rhl_for_each_entry_rcu(f, pos, list, node)
		if (f->queue == q || (f->group && demi_group_has(f->group, q)))
			return f;
	return NULL;
}

struct demi_flow *demi_flow_lookup_send(struct demi_net *dn, const struct demi_tuple *t,
					const struct demi_queue *q)
{
	struct demi_tuple key = *t;
	struct demi_flow *f;

	f = demi_flow_find_send(dn, &key, q);
	if (f)
		return f;
	memset(&key.remote, 0, sizeof(key.remote));
	key.rport = 0;
	f = demi_flow_find_send(dn, &key, q);
	if (f)
		return f;
	if (ipv6_addr_v4mapped(&t->local)) {
		key.local = demi_any4;
		f = demi_flow_find_send(dn, &key, q);
		if (f)
			return f;
	}
	key.local = in6addr_any;
	f = demi_flow_find_send(dn, &key, q);
	if (f && ipv6_addr_v4mapped(&t->local) && !demi_flow_is_dual(f))
		return NULL;
	return f;
}

struct demi_queue *demi_flow_queue(const struct demi_flow *flow, const struct demi_tuple *t)
{
	return flow->queue ? flow->queue : demi_group_queue(flow->group, t);
}

/* ---- what the user asks for ---------------------------------------------------------------- */

/* The host's own address now, or one that the namespace's sockets may bind anyway. */
static bool demi_addr_bindable(const struct demi_reservation *rsv, const struct in6_addr *addr,
			       u32 scope_id)
{
	struct sock *sk = rsv->sock->sk;
	struct net *net = sock_net(sk);
	struct net_device *dev = NULL;
	bool ok;

	if (ipv6_addr_v4mapped(addr))
		return inet_can_nonlocal_bind(net, inet_sk(sk)) ||
		       inet_addr_type(net, addr->s6_addr32[3]) == RTN_LOCAL;
	if (ipv6_can_nonlocal_bind(net, inet_sk(sk)))
		return true;
	rcu_read_lock();
	if (scope_id)
		dev = dev_get_by_index_rcu(net, scope_id);
	ok = (!scope_id || dev) && ipv6_chk_addr(net, addr, dev, 0);
	rcu_read_unlock();
	return ok;
}

/* Is @addr one of what was bound? */
static bool demi_reservation_covers(const struct demi_reservation *rsv, const struct in6_addr *addr)
{
	bool v4 = ipv6_addr_v4mapped(addr);

	if (!demi_addr_any(&rsv->local))
		return ipv6_addr_equal(addr, &rsv->local);
	if (v4 != ipv6_addr_v4mapped(&rsv->local))
		return v4 && rsv->flags & DEMI_PORT_F_DUAL;
	return true;
}

static int demi_flow_parse_local(struct demi_flow *f, const struct demi_addr *local)
{
	const struct demi_reservation *rsv = f->rsv;
	bool multicast = f->flags & DEMI_FLOW_F_MULTICAST;
	struct demi_addr unscoped = *local;
	int err;

	if (multicast)	/* of IPv4, too, it has an interface */
		unscoped.scope_id = 0;
	err = demi_addr_parse(&unscoped, &f->key.local);
	if (err)
		return err;
	f->key.lport = rsv->port;
	f->key.protocol = rsv->protocol;
	if (multicast) {
		if (local->family == AF_UNSPEC || !demi_addr_multicast(&f->key.local))
			return -EINVAL;
		/* of what was bound to one address another socket may bind the group */
		if (!demi_addr_any(&rsv->local))
			return -EADDRNOTAVAIL;
	} else if (local->family == AF_UNSPEC) {
		f->key.local = rsv->local;
		f->scope_id = rsv->scope_id;
		return 0;
	}
	if (local->port != rsv->port || !demi_reservation_covers(rsv, &f->key.local))
		return -EADDRNOTAVAIL;
	f->scope_id = local->scope_id;
	if (multicast || demi_addr_any(&f->key.local))
		return f->scope_id && !multicast ? -EINVAL : 0;
	if (f->scope_id && !demi_addr_link_local(&f->key.local))
		return -EINVAL;
	return demi_addr_unicast(sock_net(rsv->sock->sk), &f->key.local) &&
	       demi_addr_bindable(rsv, &f->key.local, f->scope_id) ? 0 : -EADDRNOTAVAIL;
}

static int demi_flow_parse_remote(struct demi_flow *f, const struct demi_addr *remote)
{
	struct net *net = sock_net(f->rsv->sock->sk);
	int err = demi_addr_parse(remote, &f->key.remote);

	if (err || remote->family == AF_UNSPEC)
		return err;
	if (!remote->port || !demi_addr_unicast(net, &f->key.remote) ||
	    demi_addr_any(&f->key.local) ||
	    ipv6_addr_v4mapped(&f->key.local) != ipv6_addr_v4mapped(&f->key.remote))
		return -EINVAL;
	f->key.rport = remote->port;
	if (!remote->scope_id)
		return 0;
	if (!demi_addr_link_local(&f->key.remote) ||
	    (f->scope_id && f->scope_id != remote->scope_id))
		return -EINVAL;
	f->scope_id = remote->scope_id;
	return 0;
}

/* Link-local addresses need an interface, and there may be one only. */
static int demi_flow_check_scope(const struct demi_flow *f)
{
	int bound = f->rsv->sock->sk->sk_bound_dev_if;

	if (bound)
		return f->scope_id && f->scope_id != bound ? -EINVAL : 0;
	if (!f->scope_id && (demi_addr_link_local(&f->key.local) ||
			     demi_addr_link_local(&f->key.remote)))
		return -EINVAL;
	return 0;
}

static int demi_flow_parse(struct demi_flow *f, const struct demi_flow_add *arg)
{
	int err;

	if (arg->flags & DEMI_FLOW_F_MULTICAST && f->rsv->protocol != IPPROTO_UDP)
		return -EINVAL;
	err = demi_flow_parse_local(f, &arg->local);
	if (!err)
		err = demi_flow_parse_remote(f, &arg->remote);
	return err ? err : demi_flow_check_scope(f);
}

/* ---- the table ----------------------------------------------------------------------------- */

static u32 demi_flow_ifindex(const struct demi_flow *f)
{
	return f->scope_id ? f->scope_id : f->rsv->sock->sk->sk_bound_dev_if;
}

/* Is there a flow of this tuple that could see the same packet? */
static bool demi_flow_exists(struct demi_net *dn, const struct demi_flow *f)
{
	u32 ifindex = demi_flow_ifindex(f), other;
	struct rhlist_head *list, *pos;
	const struct demi_flow *o;
	bool exists = false;

	rcu_read_lock();
	list = rhltable_lookup(&dn->flows, &f->key, demi_flow_params);
	rhl_for_each_entry_rcu(o, pos, list, node) {
		other = demi_flow_ifindex(o);
		if (!other || !ifindex || other == ifindex)
			exists = true;
	}
	rcu_read_unlock();
	return exists;
}

static enum demi_flow_kind demi_flow_kind(const struct demi_flow *f)
{
	if (f->key.rport)
		return DEMI_FLOW_PEER;
	if (!demi_addr_any(&f->key.local))
		return DEMI_FLOW_LOCAL;
	return ipv6_addr_v4mapped(&f->key.local) ? DEMI_FLOW_ANY4 : DEMI_FLOW_ANY6;
}

static void demi_flow_count(struct demi_net *dn, const struct demi_flow *f, int n)
{
	u32 *kind = &dn->flows_of_kind[demi_flow_kind(f)];
	u32 *port = demi_flow_port_count(dn, f->key.lport);

	lockdep_assert_held(&dn->lock);
	WRITE_ONCE(*kind, *kind + n);
	WRITE_ONCE(*port, *port + n);
}

/*
 * A queue's end takes demi_net->lock between dying and deleting its flows: a flow that is added
 * to a live queue is still to be deleted.
 */
static int demi_flow_insert(struct demi_net *dn, struct demi_flow *f)
{
	int err;

	mutex_lock(&dn->lock);
	err = f->queue && READ_ONCE(f->queue->dead) ? -ENODEV :
	      demi_flow_exists(dn, f) ? -EADDRINUSE :
	      rhltable_insert(&dn->flows, &f->node, demi_flow_params);
	if (!err) {
		demi_flow_count(dn, f, 1);
		list_add_tail(&f->net_node, &dn->flow_list);
		list_add_tail(&f->target_node, f->queue ? &f->queue->flows : &f->group->flows);
		if (f->queue)
			f->queue->nflows++;
		f->rsv->nflows++;
	}
	mutex_unlock(&dn->lock);
	return err;
}

/* Readers may have it for a grace period more. */
static void demi_flow_remove(struct demi_net *dn, struct demi_flow *f)
{
	lockdep_assert_held(&dn->lock);
	rhltable_remove(&dn->flows, &f->node, demi_flow_params);
	demi_flow_count(dn, f, -1);
	list_del(&f->net_node);
	list_del(&f->target_node);
	if (f->queue)
		f->queue->nflows--;
	f->rsv->nflows--;
	f->rsv->grace = get_state_synchronize_rcu();
}

/* Made, but in no table. ctx->lock. */
static void demi_flow_release(struct demi_flow *f)
{
	struct demi_ctx *ctx = f->ctx;

	lockdep_assert_held(&ctx->lock);
	if (f->flags & DEMI_FLOW_F_MULTICAST)
		demi_mcast_leave(f->rsv, &f->key.local, f->scope_id);
	xa_erase(&ctx->flows, f->id);
	f->id = 0;
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_FLOWS);
	if (!f->answering)
		kfree_rcu(f, rcu);
}

static void demi_flow_delete(struct demi_flow *f)
{
	struct demi_net *dn = demi_net(f->ctx->net);

	mutex_lock(&dn->lock);
	demi_flow_remove(dn, f);
	mutex_unlock(&dn->lock);
	demi_flow_release(f);
}

/* In the context's table, limits charged, the group joined; not yet found by packets. */
static struct demi_flow *demi_flow_make(struct demi_ctx *ctx, struct demi_reservation *rsv,
					const struct demi_flow_add *arg)
{
	struct demi_flow *f;
	int err;

	err = demi_limit_charge(ctx->user, DEMI_LIMIT_FLOWS);
	if (err)
		return ERR_PTR(err);
	err = -ENOMEM;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		goto err_uncharge;
	f->ctx = ctx;
	f->rsv = rsv;
	f->flags = arg->flags;
	err = demi_flow_parse(f, arg);
	if (err)
		goto err_free;
	err = xa_alloc(&ctx->flows, &f->id, f, XA_LIMIT(1, INT_MAX), GFP_KERNEL_ACCOUNT);
	if (err)
		goto err_free;
	if (f->flags & DEMI_FLOW_F_MULTICAST) {
		err = demi_mcast_join(rsv, &f->key.local, f->scope_id);
		if (err)
			goto err_erase;
	}
	return f;

err_erase:
	xa_erase(&ctx->flows, f->id);
err_free:
	kfree(f);
err_uncharge:
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_FLOWS);
	return ERR_PTR(err);
}

/* ---- commands ------------------------------------------------------------------------------ */

/*
 * Tell the id of a flow that is there. ctx->lock is held, but for the time in which the user's
 * memory may let us wait: then the flow may be deleted, or its queue end, as at any later time.
 */
static int demi_flow_answer(struct demi_cmd *cmd, struct demi_flow *f)
{
	struct demi_flow_add *arg = cmd->arg;
	int err;

	arg->flow_id = f->id;
	f->answering = true;
	mutex_unlock(&cmd->ctx->lock);
	err = demi_cmd_respond(cmd);
	mutex_lock(&cmd->ctx->lock);
	f->answering = false;
	if (!f->id)
		kfree_rcu(f, rcu);
	else if (err)
		demi_flow_delete(f);
	return err;
}

/* @q: the target, if it is a queue: held by the caller */
static int demi_flow_add_locked(struct demi_cmd *cmd, struct demi_queue *q)
{
	const struct demi_flow_add *arg = cmd->arg;
	struct demi_ctx *ctx = cmd->ctx;
	struct demi_reservation *rsv = xa_load(&ctx->reservations, arg->reservation_id);
	struct demi_group *group = q ? NULL : xa_load(&ctx->groups, arg->target);
	struct demi_flow *f;
	int err;

	if (!rsv || (!q && !group))
		return -ENOENT;
	f = demi_flow_make(ctx, rsv, arg);
	if (IS_ERR(f))
		return PTR_ERR(f);
	f->queue = q;
	f->group = group;
	err = demi_flow_insert(demi_net(ctx->net), f);
	if (err) {
		demi_flow_release(f);
		return err;
	}
	return demi_flow_answer(cmd, f);
}

int demi_cmd_flow_add(struct demi_cmd *cmd)
{
	const struct demi_flow_add *arg = cmd->arg;
	struct demi_queue *q = NULL;
	int err;

	if (arg->flags & ~(DEMI_FLOW_F_GROUP | DEMI_FLOW_F_MULTICAST) || arg->__reserved)
		return -EINVAL;
	if (!(arg->flags & DEMI_FLOW_F_GROUP)) {
		q = demi_queue_lookup(cmd, arg->target);
		if (IS_ERR(q))
			return PTR_ERR(q);
		err = q->ctx != cmd->ctx ? -EACCES : q->kind != DEMI_QUEUE_FLOW ? -EINVAL : 0;
		if (err)
			goto out;
	}
	mutex_lock(&cmd->ctx->lock);
	err = demi_flow_add_locked(cmd, q);
	mutex_unlock(&cmd->ctx->lock);
out:
	if (q)
		demi_queue_put(q);
	return err;
}

int demi_cmd_flow_del(struct demi_cmd *cmd)
{
	const struct demi_flow_del *arg = cmd->arg;
	struct demi_ctx *ctx = cmd->ctx;
	struct demi_flow *f;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	mutex_lock(&ctx->lock);
	f = xa_load(&ctx->flows, arg->flow_id);
	if (f)
		demi_flow_delete(f);
	mutex_unlock(&ctx->lock);
	if (!f)
		return -ENOENT;
	/* who found it before has delivered after this */
	synchronize_net();
	return 0;
}

static void demi_flow_show(struct demi_flow_entry *e, const struct demi_flow *f)
{
	*e = (struct demi_flow_entry){
		.flow_id = f->id,
		.reservation_id = f->rsv->id,
		.target = f->queue ? f->queue->id : f->group->id,
		.flags = f->flags,
		.protocol = f->key.protocol,
		.uid = from_kuid_munged(current_user_ns(), f->ctx->cred->euid),
	};
	demi_addr_show(&e->local, &f->key.local, f->key.lport,
		       f->flags & DEMI_FLOW_F_MULTICAST || demi_addr_link_local(&f->key.local) ?
		       f->scope_id : 0);
	if (f->key.rport)
		demi_addr_show(&e->remote, &f->key.remote, f->key.rport,
			       demi_addr_link_local(&f->key.remote) ? f->scope_id : 0);
}

/* As with queues: the context's own, those of the same user, all for CAP_NET_ADMIN. */
static bool demi_flow_is_visible(const struct demi_cmd *cmd, const struct demi_flow *f)
{
	kuid_t uid = f->ctx->cred->euid;

	if (f->ctx == cmd->ctx)
		return true;
	if (uid_eq(uid, cmd->file->f_cred->euid) && uid_eq(uid, current_euid()))
		return true;
	return demi_cmd_capable(cmd, CAP_NET_ADMIN);
}

/* What the caller may see of the namespace, as far as there is room. How much there is. */
static u32 demi_flow_collect(struct demi_cmd *cmd, struct demi_flow_entry *entries, u32 room)
{
	struct demi_net *dn = demi_net(cmd->ctx->net);
	struct demi_flow *f;
	u32 n = 0;

	mutex_lock(&dn->lock);
	list_for_each_entry(f, &dn->flow_list, net_node) {
		if (!demi_flow_is_visible(cmd, f))
			continue;
		if (n < room)
			demi_flow_show(&entries[n], f);
		n++;
	}
	mutex_unlock(&dn->lock);
	return n;
}

static int demi_flow_copy(const struct demi_flow_list *arg, const struct demi_flow_entry *entries,
			  u32 n)
{
	u8 __user *to = u64_to_user_ptr(arg->entries);
	u32 known = min_t(u32, arg->entry_bytes, sizeof(*entries));
	u32 i;

	for (i = 0; i < n; i++, to += arg->entry_bytes) {
		if (copy_to_user(to, &entries[i], known) ||
		    clear_user(to + known, arg->entry_bytes - known))
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

int demi_cmd_flow_list(struct demi_cmd *cmd)
{
	struct demi_flow_list *arg = cmd->arg;
	struct demi_flow_entry *entries;
	u32 room, n;
	int err;

	if (arg->flags || arg->entry_bytes < sizeof(*entries) || arg->entry_bytes > PAGE_SIZE)
		return -EINVAL;
	/* more may have come when we look again: they are counted, and not written */
	room = min(arg->count, demi_flow_collect(cmd, NULL, 0));
	entries = kvmalloc_array(max(room, 1u), sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return -ENOMEM;
	n = demi_flow_collect(cmd, entries, room);
	err = demi_flow_copy(arg, entries, min(room, n));
	arg->count = n;
	if (!err)
		err = demi_cmd_respond(cmd);
	kvfree(entries);
	return err;
}

/* ---- ends ---------------------------------------------------------------------------------- */

void demi_flow_forget_queue(struct demi_queue *q)
{
	struct demi_ctx *ctx = q->ctx;
	struct demi_net *dn = demi_net(ctx->net);
	struct demi_flow *f, *next;
	struct demi_group *group;
	unsigned long id;
	LIST_HEAD(gone);

	mutex_lock(&ctx->lock);
	mutex_lock(&dn->lock);
	xa_for_each(&ctx->groups, id, group)
		demi_group_forget_queue(group, q);
	list_for_each_entry_safe(f, next, &q->flows, target_node) {
		demi_flow_remove(dn, f);
		list_add(&f->target_node, &gone);
	}
	mutex_unlock(&dn->lock);
	list_for_each_entry_safe(f, next, &gone, target_node)
		demi_flow_release(f);
	mutex_unlock(&ctx->lock);
}

void demi_net_release_ctx(struct demi_ctx *ctx)
{
	struct demi_reservation *rsv;
	struct demi_group *group;
	struct demi_flow *f;
	unsigned long id;

	mutex_lock(&ctx->lock);
	xa_for_each(&ctx->flows, id, f)
		demi_flow_delete(f);
	xa_for_each(&ctx->groups, id, group) {
		xa_erase(&ctx->groups, id);
		demi_group_free(group);
	}
	xa_for_each(&ctx->reservations, id, rsv) {
		xa_erase(&ctx->reservations, id);
		demi_reservation_free(rsv);
	}
	mutex_unlock(&ctx->lock);
}
