// SPDX-License-Identifier: GPL-2.0
/*
 * Reservations: a socket that is bound and never read.
 *
 * Who may have which address and port is what bind(2) says for a socket without SO_REUSEADDR and
 * SO_REUSEPORT, and nothing here decides it again. What follows from that for the kernel's own
 * sockets:
 *  - UDP: none can be bound to an address and port that overlap, so what a flow claims could have
 *    reached no other socket. Sockets bound to different interfaces do not overlap, for bind(2) and
 *    in the table of flows.
 *  - TCP: connections in every state, TIME-WAIT included, stay in the table of bound ports with
 *    their local address, so a port with such a connection on an address that overlaps is refused
 *    (EADDRINUSE) although its listener may have gone. Afterwards connect() picks no port for
 *    itself that a socket has bound without address reuse, and an accepted connection has the
 *    port of a listener, which cannot be bound. So no connection of the kernel's can meet a flow,
 *    and the table of flows alone decides. Transparent proxies (IP_TRANSPARENT) and TCP_REPAIR go
 *    round these rules with CAP_NET_ADMIN, and meet flows as they meet other sockets.
 *
 * The socket is made with the credentials of the opener, as if by socket(2): uid, cgroup of the
 * caller, the LSM's create hook. It has a file, which is in no table of descriptors: there the
 * firewall looks for the owner of what is sent (meta skuid, xt_owner). The LSM's bind hook has no
 * exported entry.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/sock.h>

#include "../core/limits.h"
#include "flow.h"

#define DEMI_PORT_FLAGS	(DEMI_PORT_F_DUAL | DEMI_PORT_F_BROADCAST | DEMI_PORT_F_MULTICAST)

static int demi_reserve_check(struct demi_cmd *cmd, const struct demi_port_reserve *arg,
			      struct in6_addr *local)
{
	struct net *net = cmd->ctx->net;
	u16 port = ntohs(arg->local.port);
	int err;

	if (arg->flags & ~DEMI_PORT_FLAGS || arg->__reserved)
		return -EINVAL;
	if (arg->protocol != IPPROTO_TCP && arg->protocol != IPPROTO_UDP)
		return -EOPNOTSUPP;
	if (arg->protocol == IPPROTO_TCP && arg->flags & ~DEMI_PORT_F_DUAL)
		return -EINVAL;
	if (arg->local.family == AF_UNSPEC)
		return -EINVAL;
	err = demi_addr_parse(&arg->local, local);
	if (err)
		return err;
	if (arg->local.scope_id && !demi_addr_link_local(local))
		return -EINVAL;
	if (arg->flags & DEMI_PORT_F_DUAL && !ipv6_addr_any(local))
		return -EINVAL;
	if (demi_addr_multicast(local) || demi_addr_broadcast(net, local))
		return -EADDRNOTAVAIL;

	if ((arg->mark || arg->priority > TC_PRIO_INTERACTIVE) &&
	    !demi_cmd_capable(cmd, CAP_NET_ADMIN) && !demi_cmd_capable(cmd, CAP_NET_RAW))
		return -EPERM;
	/*
	 * The kernel asks this of the opener, whose credentials the socket gets; and of the
	 * caller:
	 */
	if (port && inet_port_requires_bind_service(net, port) &&
	    !demi_cmd_capable(cmd, CAP_NET_BIND_SERVICE))
		return -EACCES;
	return 0;
}

static bool demi_ifindex_exists(struct net *net, u32 ifindex)
{
	bool exists;

	rcu_read_lock();
	exists = dev_get_by_index_rcu(net, ifindex);
	rcu_read_unlock();
	return exists;
}

static int demi_socket_prepare(struct sock *sk, const struct demi_port_reserve *arg)
{
	int err;

	if (arg->ifindex) {
		if (!demi_ifindex_exists(sock_net(sk), arg->ifindex))
			return -ENODEV;
		err = sock_bindtoindex(sk, arg->ifindex, true);
		if (err)
			return err;
	}
	if (arg->mark)
		sock_set_mark(sk, arg->mark);
	sock_set_priority(sk, arg->priority);
	sock_set_rcvbuf(sk, 0);		/* the least that there is */
	lock_sock(sk);
	if (sk->sk_family == AF_INET6)
		sk->sk_ipv6only = !(arg->flags & DEMI_PORT_F_DUAL);
	if (arg->flags & DEMI_PORT_F_BROADCAST)
		sock_set_flag(sk, SOCK_BROADCAST);
	release_sock(sk);
	return 0;
}

static int demi_socket_bind(struct socket *sock, const struct demi_addr *local)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = local->port };
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = local->port,
		.sin6_scope_id = local->scope_id,
	};

	if (local->family == AF_INET) {
		memcpy(&sin.sin_addr, local->addr, sizeof(sin.sin_addr));
		return kernel_bind(sock, (struct sockaddr *)&sin, sizeof(sin));
	}
	memcpy(&sin6.sin6_addr, local->addr, sizeof(sin6.sin6_addr));
	return kernel_bind(sock, (struct sockaddr *)&sin6, sizeof(sin6));
}

/*
 * The port is free again when the caller is back in user mode; a worker never is, and would leave
 * the file to another one.
 */
static void demi_socket_release(struct socket *sock)
{
	if (current->flags & PF_KTHREAD)
		__fput_sync(sock->file);
	else
		fput(sock->file);
}

static int demi_socket_create(struct demi_ctx *ctx, const struct demi_port_reserve *arg,
			      struct socket **sockp)
{
	int type = arg->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	const struct cred *saved = override_creds(ctx->cred);
	struct socket *sock;
	struct file *file;
	int err;

	err = __sock_create(ctx->net, arg->local.family, type, arg->protocol, &sock, 0);
	if (err)
		goto out;
	file = sock_alloc_file(sock, 0, NULL);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);	/* the socket is gone, too */
		goto out;
	}
	err = demi_socket_prepare(sock->sk, arg);
	if (!err)
		err = demi_socket_bind(sock, &arg->local);
	if (err)
		demi_socket_release(sock);
	else
		*sockp = sock;
out:
	revert_creds(saved);
	return err;
}

/*
 * What was bound: the port was perhaps the kernel's choice, and a cgroup's program may change
 * both.
 */
static void demi_reservation_learn(struct demi_reservation *rsv)
{
	const struct sock *sk = rsv->sock->sk;

	if (rsv->family == AF_INET)
		ipv6_addr_set_v4mapped(inet_sk(sk)->inet_rcv_saddr, &rsv->local);
	else
		rsv->local = sk->sk_v6_rcv_saddr;
	rsv->port = inet_sk(sk)->inet_sport;
	if (demi_addr_link_local(&rsv->local))
		rsv->scope_id = sk->sk_bound_dev_if;
}

static struct demi_reservation *demi_reservation_create(struct demi_ctx *ctx,
							const struct demi_port_reserve *arg)
{
	struct demi_net *dn = demi_net(ctx->net);
	struct demi_reservation *rsv;
	int err;

	err = demi_limit_charge(ctx->user, DEMI_LIMIT_RESERVATIONS);
	if (err)
		return ERR_PTR(err);
	err = -ENOMEM;
	rsv = kzalloc(sizeof(*rsv), GFP_KERNEL_ACCOUNT);
	if (!rsv)
		goto err_uncharge;
	rsv->ctx = ctx;
	rsv->flags = arg->flags;
	rsv->family = arg->local.family;
	rsv->protocol = arg->protocol;
	rsv->grace = get_state_synchronize_rcu();
	INIT_LIST_HEAD(&rsv->members);
	err = demi_socket_create(ctx, arg, &rsv->sock);
	if (err)
		goto err_free;
	demi_reservation_learn(rsv);
	demi_tx_prepare_socket(rsv->sock);

	mutex_lock(&dn->lock);
	err = demi_rx_hooks_get(dn);
	mutex_unlock(&dn->lock);
	if (err)
		goto err_socket;
	return rsv;

err_socket:
	demi_tx_forget_socket(rsv->sock);
	demi_socket_release(rsv->sock);
err_free:
	kfree(rsv);
err_uncharge:
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_RESERVATIONS);
	return ERR_PTR(err);
}

void demi_reservation_free(struct demi_reservation *rsv)
{
	struct demi_ctx *ctx = rsv->ctx;
	struct demi_net *dn = demi_net(ctx->net);

	mutex_lock(&dn->lock);
	demi_rx_hooks_put(dn);
	mutex_unlock(&dn->lock);
	/* who found one of its flows may still use the socket */
	cond_synchronize_rcu(rsv->grace);
	demi_tx_forget_socket(rsv->sock);
	demi_socket_release(rsv->sock);
	demi_mcast_forget(rsv);
	kfree(rsv);
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_RESERVATIONS);
}

int demi_cmd_port_reserve(struct demi_cmd *cmd)
{
	struct demi_port_reserve *arg = cmd->arg;
	struct demi_reservation *rsv;
	struct in6_addr local;
	int err;

	err = demi_reserve_check(cmd, arg, &local);
	if (err)
		return err;
	rsv = demi_reservation_create(cmd->ctx, arg);
	if (IS_ERR(rsv))
		return PTR_ERR(rsv);

	demi_addr_show(&arg->local, &rsv->local, rsv->port, rsv->scope_id);
	err = demi_ctx_publish(cmd, &cmd->ctx->reservations, rsv, &rsv->id, &arg->reservation_id);
	if (err)
		demi_reservation_free(rsv);
	return err;
}

static bool demi_reservation_is_busy(const void *rsv)
{
	return ((const struct demi_reservation *)rsv)->nflows;
}

int demi_cmd_port_release(struct demi_cmd *cmd)
{
	const struct demi_port_release *arg = cmd->arg;
	struct demi_ctx *ctx = cmd->ctx;
	struct demi_reservation *rsv;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	rsv = demi_ctx_take(ctx, &ctx->reservations, arg->reservation_id, demi_reservation_is_busy);
	if (IS_ERR(rsv))
		return PTR_ERR(rsv);
	demi_reservation_free(rsv);
	return 0;
}
