/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_IP_H
#define DEMI_INET_IP_H

/*
 * Addresses. IPv4 is mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2), so that one comparison and one hash serve both
 * protocols. All zero is "any" of either. No packet may carry a mapped address: see demi_ip6_input().
 */

#include "pktdev/pktdev.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct demi_ip {
	union {
		uint64_t q[2];
		uint32_t w[4];
		uint8_t b[16];
	};
};

/* An address with a port (network byte order) and, if it is link-local, an interface. */
struct demi_inet_addr {
	struct demi_ip ip;
	uint32_t scope;
	uint16_t port;
};

static inline struct demi_ip demi_ip_from4(uint32_t v4)
{
	return (struct demi_ip){ .w = { 0, 0, htonl(0xffff), v4 } };
}

static inline bool demi_ip_is4(const struct demi_ip *a)
{
	return !a->q[0] && a->w[2] == htonl(0xffff);
}

static inline bool demi_ip_equal(const struct demi_ip *a, const struct demi_ip *b)
{
	return !((a->q[0] ^ b->q[0]) | (a->q[1] ^ b->q[1]));
}

/* "any", also as 0.0.0.0 */
static inline bool demi_ip_is_any(const struct demi_ip *a)
{
	return !a->q[0] && (!a->q[1] || (a->w[2] == htonl(0xffff) && !a->w[3]));
}

static inline bool demi_ip4_is_multicast(uint32_t v4)
{
	return (ntohl(v4) >> 28) == 0xe;
}

static inline bool demi_ip_is_multicast(const struct demi_ip *a)
{
	return demi_ip_is4(a) ? demi_ip4_is_multicast(a->w[3]) : a->b[0] == 0xff;
}

static inline bool demi_ip_is_broadcast(const struct demi_ip *a)
{
	return demi_ip_is4(a) && a->w[3] == INADDR_NONE;
}

static inline bool demi_ip_is_linklocal(const struct demi_ip *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* The address as a packet device wants it; returns its family. */
uint8_t demi_ip_to_pktdev(const struct demi_ip *a, union demi_pktdev_ip *out);
struct demi_ip demi_ip_from_pktdev(uint8_t family, const union demi_pktdev_ip *ip);

/*
 * From and to what the application uses, in a socket of @domain. -EINVAL: too short; -EAFNOSUPPORT. `fill` writes a
 * sockaddr_in or a sockaddr_in6 and returns its length; `to` cuts off what does not fit in *len (getsockname(2)).
 */
int demi_inet_addr_from(struct demi_inet_addr *out, int domain, const struct sockaddr *sa, socklen_t len);
socklen_t demi_inet_addr_fill(struct sockaddr_in6 *out, int domain, const struct demi_inet_addr *a);
void demi_inet_addr_to(struct sockaddr *sa, socklen_t *len, int domain, const struct demi_inet_addr *a);

#endif /* DEMI_INET_IP_H */
