/* SPDX-License-Identifier: MIT */
/*
 * Socket options, with the numbers and the rules of Linux's setsockopt(2). What would have no effect here is
 * -ENOPROTOOPT, so that no program believes otherwise; what is too late is -EBUSY.
 */
#include "inet/sock.h"

#include <demi/sockopt.h>

#include <linux/in6.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <string.h>

/* Of what SO_RCVBUF asks for, Linux takes twice as much; the limits are the ones it has at first. */
#define BUF_MIN 2304U
#define BUF_MAX 212992U

/* An int, or a byte where Linux takes that too (@small). */
static int get_int(const void *val, socklen_t len, bool small, int *out)
{
	if (len >= sizeof(*out)) {
		memcpy(out, val, sizeof(*out));
		return 0;
	}
	if (!small || !len)
		return -EINVAL;
	*out = *(const uint8_t *)val;
	return 0;
}

static int set_byte(uint8_t *to, int v, int min, int max, int dflt)
{
	if (v == -1 && dflt >= 0)
		v = dflt;
	if (v < min || v > max)
		return -EINVAL;
	*to = (uint8_t)v;
	return 0;
}

/* ---- SOL_SOCKET ---- */

static uint32_t buf_bytes(int v)
{
	uint32_t n = v < 0 || (uint32_t)v > BUF_MAX ? BUF_MAX : (uint32_t)v;

	return 2 * n < BUF_MIN ? BUF_MIN : 2 * n;
}

/* The name of an interface, perhaps without its end; none: any. Linux checks a privilege when the port is taken. */
static int set_device(struct demi_inet_sock *s, const void *val, socklen_t len)
{
	char name[IF_NAMESIZE] = { 0 };

	if (s->bound)
		return -EBUSY;
	memcpy(name, val, len < sizeof(name) - 1 ? len : sizeof(name) - 1);
	s->ifindex = name[0] ? if_nametoindex(name) : 0;
	return name[0] && !s->ifindex ? -ENODEV : 0;
}

static int set_socket(struct demi_inet_sock *s, int name, const void *val, socklen_t len)
{
	int v, err;

	if (name == SO_BINDTODEVICE)
		return set_device(s, val, len);
	err = get_int(val, len, false, &v);
	if (err)
		return err;
	switch (name) {
	case SO_RCVBUF:
		s->rcvbuf_bytes = buf_bytes(v);
		return 0;
	case SO_SNDBUF: /* pushes are limited for the whole context: DEMI_PUSH_LIMIT */
		s->sndbuf_bytes = buf_bytes(v);
		return 0;
	case SO_REUSEADDR: /* a port of a flow queue is taken by one socket at a time, and free when it is closed */
		s->reuseaddr = v != 0;
		return 0;
	case SO_REUSEPORT:
		if (s->bound)
			return -EBUSY;
		s->share = v != 0;
		return 0;
	case SO_BROADCAST:
		if (s->bound && (v != 0) != s->broadcast)
			return -EBUSY;
		s->broadcast = v != 0;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int get_socket(struct demi_inet_sock *s, int name, int *v)
{
	switch (name) {
	case SO_TYPE:
		*v = SOCK_DGRAM;
		return 0;
	case SO_DOMAIN:
		*v = s->domain;
		return 0;
	case SO_PROTOCOL:
		*v = s->proto;
		return 0;
	case SO_ACCEPTCONN:
		*v = 0;
		return 0;
	case SO_ERROR:
		*v = demi_inet_sock_take_err(s);
		return 0;
	case SO_RCVBUF:
		*v = (int)s->rcvbuf_bytes;
		return 0;
	case SO_SNDBUF:
		*v = (int)s->sndbuf_bytes;
		return 0;
	case SO_REUSEADDR:
		*v = s->reuseaddr;
		return 0;
	case SO_REUSEPORT:
		*v = s->share;
		return 0;
	case SO_BROADCAST:
		*v = s->broadcast;
		return 0;
	case SO_BINDTOIFINDEX:
		*v = (int)s->ifindex;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

/* ---- groups ---- */

static int membership4(struct demi_inet_sock *s, const void *val, socklen_t len, bool join)
{
	struct ip_mreqn m = { 0 };
	struct demi_ip group;

	if (len < sizeof(struct ip_mreq))
		return -EINVAL;
	memcpy(&m, val, len < sizeof(m) ? len : sizeof(m));
	/* an interface by its address: the device has only routes */
	if (m.imr_address.s_addr && !m.imr_ifindex)
		return -EOPNOTSUPP;
	group = demi_ip_from4(m.imr_multiaddr.s_addr);
	return join ? demi_inet_join(s, &group, (uint32_t)m.imr_ifindex)
		    : demi_inet_leave(s, &group, (uint32_t)m.imr_ifindex);
}

static int membership6(struct demi_inet_sock *s, const void *val, socklen_t len, bool join)
{
	struct ipv6_mreq m;
	struct demi_ip group;

	if (len < sizeof(m))
		return -EINVAL;
	memcpy(&m, val, sizeof(m));
	memcpy(group.b, &m.ipv6mr_multiaddr, sizeof(group.b));
	if (demi_ip_is4(&group))
		return -EINVAL;
	return join ? demi_inet_join(s, &group, m.ipv6mr_interface) : demi_inet_leave(s, &group, m.ipv6mr_interface);
}

/* By index only, as for memberships. */
static int multicast_if4(struct demi_inet_sock *s, const void *val, socklen_t len)
{
	struct ip_mreqn m = { 0 };

	if (len < sizeof(struct in_addr))
		return -EINVAL;
	if (len < sizeof(struct ip_mreq))
		memcpy(&m.imr_address, val, sizeof(m.imr_address));
	else
		memcpy(&m, val, len < sizeof(m) ? len : sizeof(m));
	if (m.imr_address.s_addr && !m.imr_ifindex)
		return -EOPNOTSUPP;
	s->mc_ifindex4 = (uint32_t)m.imr_ifindex;
	return 0;
}

/* ---- IPPROTO_IP ---- */

static int set_ip4(struct demi_inet_sock *s, int name, const void *val, socklen_t len)
{
	int v, err;

	switch (name) {
	case IP_ADD_MEMBERSHIP:
	case IP_DROP_MEMBERSHIP:
		return membership4(s, val, len, name == IP_ADD_MEMBERSHIP);
	case IP_MULTICAST_IF:
		err = multicast_if4(s, val, len);
		demi_inet_routes_changed(s->in);
		return err;
	}
	err = get_int(val, len, true, &v);
	if (err)
		return err;
	switch (name) {
	case IP_TOS:
		s->tos = (uint8_t)v;
		return 0;
	case IP_TTL:
		return set_byte(&s->ttl, v, 1, 255, IPDEFTTL);
	case IP_MULTICAST_TTL:
		return set_byte(&s->mc_ttl, v, 0, 255, 1);
	case IP_RECVERR:
		s->recverr4 = v != 0;
		return 0;
	case IP_MTU_DISCOVER:
		return set_byte(&s->pmtudisc4, v, IP_PMTUDISC_DONT, IP_PMTUDISC_DO, -1);
	default:
		return -ENOPROTOOPT;
	}
}

static int get_mtu(const struct demi_inet_sock *s, int *v)
{
	if (!s->connected)
		return -ENOTCONN;
	*v = (int)s->peer.mtu_bytes;
	return 0;
}

static int get_ip4(struct demi_inet_sock *s, int name, int *v)
{
	switch (name) {
	case IP_TOS:
		*v = s->tos;
		return 0;
	case IP_TTL:
		*v = s->ttl;
		return 0;
	case IP_MULTICAST_TTL:
		*v = s->mc_ttl;
		return 0;
	case IP_RECVERR:
		*v = s->recverr4;
		return 0;
	case IP_MTU_DISCOVER:
		*v = s->pmtudisc4;
		return 0;
	case IP_MTU:
		return get_mtu(s, v);
	default:
		return -ENOPROTOOPT;
	}
}

/* ---- IPPROTO_IPV6 ---- */

static int set_v6only(struct demi_inet_sock *s, bool on)
{
	if (s->bound)
		return -EINVAL;
	s->v6only = on;
	s->families = on ? DEMI_SOCK_6 : DEMI_SOCK_4 | DEMI_SOCK_6;
	return 0;
}

static int set_ip6(struct demi_inet_sock *s, int name, const void *val, socklen_t len)
{
	int v, err;

	if (s->domain != AF_INET6)
		return -ENOPROTOOPT;
	if (name == IPV6_ADD_MEMBERSHIP || name == IPV6_DROP_MEMBERSHIP)
		return membership6(s, val, len, name == IPV6_ADD_MEMBERSHIP);
	err = get_int(val, len, false, &v);
	if (err)
		return err;
	switch (name) {
	case IPV6_V6ONLY:
		return set_v6only(s, v != 0);
	case IPV6_UNICAST_HOPS:
		return set_byte(&s->hops, v, 0, 255, IPDEFTTL);
	case IPV6_MULTICAST_HOPS:
		return set_byte(&s->mc_hops, v, 0, 255, 1);
	case IPV6_MULTICAST_IF:
		if (v < 0)
			return -EINVAL;
		s->mc_ifindex6 = (uint32_t)v;
		demi_inet_routes_changed(s->in);
		return 0;
	case IPV6_TCLASS:
		return set_byte(&s->tclass, v, 0, 255, 0);
	case IPV6_RECVERR:
		s->recverr6 = v != 0;
		return 0;
	case IPV6_MTU_DISCOVER:
		return set_byte(&s->pmtudisc6, v, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_DO, -1);
	default:
		return -ENOPROTOOPT;
	}
}

static int get_ip6(struct demi_inet_sock *s, int name, int *v)
{
	if (s->domain != AF_INET6)
		return -ENOPROTOOPT;
	switch (name) {
	case IPV6_V6ONLY:
		*v = s->v6only;
		return 0;
	case IPV6_UNICAST_HOPS:
		*v = s->hops;
		return 0;
	case IPV6_MULTICAST_HOPS:
		*v = s->mc_hops;
		return 0;
	case IPV6_MULTICAST_IF:
		*v = (int)s->mc_ifindex6;
		return 0;
	case IPV6_TCLASS:
		*v = s->tclass;
		return 0;
	case IPV6_RECVERR:
		*v = s->recverr6;
		return 0;
	case IPV6_MTU_DISCOVER:
		*v = s->pmtudisc6;
		return 0;
	case IPV6_MTU:
		return get_mtu(s, v);
	default:
		return -ENOPROTOOPT;
	}
}

/* ---- DEMI_SOL ---- */

static int set_own(struct demi_inet_sock *s, int name, const void *val, socklen_t len)
{
	int v;

	if (len != sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	switch (name) {
	case DEMI_SO_READAHEAD:
		if (v < 1)
			return -EINVAL;
		s->rcvbuf_bytes = (uint32_t)v;
		return 0;
	case DEMI_SO_MAXSEGS: /* at most so many: a datagram comes in one */
		return v < 1 || v > DEMI_SGARRAY_MAXSIZE ? -EINVAL : 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int get_own(struct demi_inet_sock *s, int name, int *v)
{
	switch (name) {
	case DEMI_SO_READAHEAD:
		*v = (int)s->rcvbuf_bytes;
		return 0;
	case DEMI_SO_MAXSEGS:
		*v = 1;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

int demi_inet_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	struct demi_inet_sock *s = DEMI_INET_SOCK(q);

	switch (level) {
	case SOL_SOCKET:
		return set_socket(s, name, val, len);
	case IPPROTO_IP:
		return set_ip4(s, name, val, len);
	case IPPROTO_IPV6:
		return set_ip6(s, name, val, len);
	case DEMI_SOL:
		return set_own(s, name, val, len);
	default:
		return -ENOPROTOOPT;
	}
}

int demi_inet_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	struct demi_inet_sock *s = DEMI_INET_SOCK(q);
	int v = 0, err;

	switch (level) {
	case SOL_SOCKET:
		err = get_socket(s, name, &v);
		break;
	case IPPROTO_IP:
		err = get_ip4(s, name, &v);
		break;
	case IPPROTO_IPV6:
		err = get_ip6(s, name, &v);
		break;
	case DEMI_SOL:
		err = get_own(s, name, &v);
		break;
	default:
		return -ENOPROTOOPT;
	}
	if (err)
		return err;
	if (*len < sizeof(v))
		return -EINVAL;
	memcpy(val, &v, sizeof(v));
	*len = sizeof(v);
	return 0;
}
