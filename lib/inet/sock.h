/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_SOCK_H
#define DEMI_INET_SOCK_H

/*
 * What all sockets of the stack have: a queue, addresses, a port, options. A protocol's own structure begins with it.
 *
 * Life: made by demi_inet_socket(); after ops->close it is out of the demux table and waits until no packet of it is
 * queued or in the device; then demi_inet_sock_put_tx() gives up port and flow and the backend's hold.
 */

#include "core/ctx.h"
#include "inet/stack.h"

enum demi_sock_families {
	DEMI_SOCK_4 = 1 << 0,
	DEMI_SOCK_6 = 1 << 1,
};

/* Where packets to one destination go, with all that is the same for each of them. */
struct demi_inet_path {
	struct demi_ip src;
	struct demi_inet_addr dst;
	uint32_t gen; /* of in->route_gen; 0: nothing is known */
	uint32_t mtu_bytes;
	uint64_t pseudo_sum; /* without the length */
};

/* A group that a socket has joined, or will when it has a port. */
struct demi_inet_group {
	struct demi_inet_group *next;
	struct demi_ip ip;
	uint32_t ifindex;
	bool joined;
};

struct demi_inet_sock {
	struct demi_queue q;
	struct demi_inet *in;
	struct demi_demux_key key; /* valid while hashed */
	uint8_t domain, proto;
	uint8_t families; /* of packets that it sends and gets: DEMI_SOCK_* */
	bool hashed : 1;
	bool bound : 1; /* has a port */
	bool connected : 1;
	bool shut_rd : 1, shut_wr : 1;
	bool v6only : 1, recverr4 : 1, recverr6 : 1, broadcast : 1, share : 1, reuseaddr : 1; /* options */
	uint16_t err; /* to be reported once, by the next operation (a positive errno) */
	uint32_t inflight; /* packets queued or in the device */

	struct demi_inet_addr local; /* as bound; the address may be "any" */
	struct demi_inet_path peer; /* connected */
	uint32_t handle, flow; /* the device's; bound */
	uint32_t ifindex; /* SO_BINDTODEVICE, 0: any */
	struct demi_inet_group *groups;

	uint32_t rcvbuf_bytes, sndbuf_bytes;
	uint32_t mc_ifindex4, mc_ifindex6;
	uint8_t ttl, tos, hops, tclass, mc_ttl, mc_hops;
	uint8_t pmtudisc4, pmtudisc6; /* IP_PMTUDISC_* */
	struct demi_inet_link all;
};

#define DEMI_INET_SOCK(queue) ((struct demi_inet_sock *)(queue)) /* q is the first member */

static inline uint8_t demi_ip_family(const struct demi_ip *a)
{
	return demi_ip_is4(a) ? DEMI_SOCK_4 : DEMI_SOCK_6;
}

/* Makers: 0 or -errno. */
int demi_inet_socket(struct demi_inet *in, int domain, int type, int protocol, struct demi_queue **q_out);
int demi_udp_create(struct demi_inet *in, int domain, struct demi_queue **q_out);

int demi_tcp_create(struct demi_inet *in, int domain, struct demi_queue **q_out);

/* What all sockets begin with. */
void demi_inet_sock_setup(struct demi_inet_sock *s, struct demi_inet *in, int domain, uint8_t proto);

/* Zeroed but for what the caller set; installs the queue. */
int demi_inet_sock_init(struct demi_inet_sock *s, struct demi_inet *in, int domain, uint8_t proto,
			const struct demi_queue_ops *ops);

/* Into the table with the addresses that it has now, or out of it. */
int demi_inet_sock_hash(struct demi_inet_sock *s);
void demi_inet_sock_unhash(struct demi_inet_sock *s);

/* Out of the table, and finished as soon as its packets are done. Called by ops->close. */
void demi_inet_sock_close(struct demi_inet_sock *s);

/* A packet of it is done. May free it. */
void demi_inet_sock_put_tx(struct demi_inet_sock *s);

/* The error to be reported, once: 0 or positive. */
static inline int demi_inet_sock_take_err(struct demi_inet_sock *s)
{
	int err = s->err;

	s->err = 0;
	return err ? err : s->in->dead;
}

/* port.c: the device's control entries */
int demi_inet_bind(struct demi_inet_sock *s, const struct demi_inet_addr *a);
int demi_inet_autobind(struct demi_inet_sock *s);
void demi_inet_unbind(struct demi_inet_sock *s);
int demi_inet_join(struct demi_inet_sock *s, const struct demi_ip *group, uint32_t ifindex);
int demi_inet_leave(struct demi_inet_sock *s, const struct demi_ip *group, uint32_t ifindex);
/* Find out how to reach @dst from @s. */
int demi_inet_path_find(struct demi_inet_sock *s, struct demi_inet_path *path, const struct demi_inet_addr *dst);

static inline bool demi_inet_path_ok(const struct demi_inet *in, const struct demi_inet_path *p)
{
	return p->gen == in->route_gen;
}

/* options.c, entries of the queues' tables that do not depend on the protocol */
int demi_inet_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len);
int demi_inet_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len);
int demi_inet_getsockname(struct demi_queue *q, struct sockaddr *addr, socklen_t *len);
int demi_inet_getpeername(struct demi_queue *q, struct sockaddr *addr, socklen_t *len);
int demi_inet_sock_bind(struct demi_queue *q, const struct sockaddr *addr, socklen_t len);

/* An error that ICMP reports about a packet that @s sent; @hard: for connected sockets that did not ask for all. */
void demi_udp_error(struct demi_inet_sock *s, int err, bool hard);

/* The device is gone, or the context ends: pending operations fail. */
void demi_udp_fail_ops(struct demi_inet_sock *s, int err);

#endif /* DEMI_INET_SOCK_H */
