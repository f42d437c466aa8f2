/* SPDX-License-Identifier: MIT */
/* Addresses: between the stack's form and everybody else's. */
#include "inet/ip.h"

#include <string.h>

/* sin6_scope_id came later than the rest: RFC 2133 has none */
#define SIN6_LEN_MIN offsetof(struct sockaddr_in6, sin6_scope_id)

uint8_t demi_ip_to_pktdev(const struct demi_ip *a, union demi_pktdev_ip *out)
{
	memset(out, 0, sizeof(*out));
	if (demi_ip_is4(a)) {
		out->v4.s_addr = a->w[3];
		return AF_INET;
	}
	memcpy(&out->v6, a->b, sizeof(out->v6));
	return AF_INET6;
}

struct demi_ip demi_ip_from_pktdev(uint8_t family, const union demi_pktdev_ip *ip)
{
	struct demi_ip a;

	if (family == AF_INET)
		return demi_ip_from4(ip->v4.s_addr);
	memcpy(a.b, &ip->v6, sizeof(a.b));
	return a;
}

int demi_inet_addr_from(struct demi_inet_addr *out, int domain, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_in6 sin6 = { 0 };
	struct sockaddr_in sin;

	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	if (sa->sa_family != domain)
		return -EAFNOSUPPORT;
	if (domain == AF_INET) {
		if (len < sizeof(sin))
			return -EINVAL;
		memcpy(&sin, sa, sizeof(sin));
		out->ip = demi_ip_from4(sin.sin_addr.s_addr);
		out->port = sin.sin_port;
		out->scope = 0;
		return 0;
	}
	if (len < SIN6_LEN_MIN)
		return -EINVAL;
	memcpy(&sin6, sa, len < sizeof(sin6) ? len : sizeof(sin6));
	memcpy(out->ip.b, &sin6.sin6_addr, sizeof(out->ip.b));
	out->port = sin6.sin6_port;
	out->scope = demi_ip_is_linklocal(&out->ip) || demi_ip_is_multicast(&out->ip) ? sin6.sin6_scope_id : 0;
	return 0;
}

socklen_t demi_inet_addr_fill(struct sockaddr_in6 *sin6, int domain, const struct demi_inet_addr *a)
{
	if (domain == AF_INET) {
		struct sockaddr_in *sin = (struct sockaddr_in *)sin6;

		memset(sin, 0, sizeof(*sin));
		sin->sin_family = AF_INET;
		sin->sin_port = a->port;
		sin->sin_addr.s_addr = a->ip.w[3];
		return sizeof(*sin);
	}
	memset(sin6, 0, sizeof(*sin6));
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = a->port;
	memcpy(&sin6->sin6_addr, a->ip.b, sizeof(sin6->sin6_addr));
	sin6->sin6_scope_id = a->scope;
	return sizeof(*sin6);
}

void demi_inet_addr_to(struct sockaddr *sa, socklen_t *len, int domain, const struct demi_inet_addr *a)
{
	struct sockaddr_in6 sin6;
	socklen_t n = demi_inet_addr_fill(&sin6, domain, a);

	memcpy(sa, &sin6, *len < n ? *len : n);
	*len = n;
}
