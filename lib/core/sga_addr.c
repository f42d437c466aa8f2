/* SPDX-License-Identifier: MIT */
#include "core/sga_addr.h"

#include "core/enter.h"
#include "heap/heap.h"

#include <demi/sga.h>

#include <string.h>

static int give(struct sockaddr_storage *ss, socklen_t *len, const void *addr, socklen_t addrlen)
{
	memcpy(ss, addr, *len < addrlen ? *len : addrlen);
	*len = addrlen;
	return 0;
}

DEMI_PUBLIC int demi_sga_addr(const demi_sgarray_t *sga, struct sockaddr_storage *ss, socklen_t *len)
{
	struct demi_addr_record rec;
	struct sockaddr_in sin;

	if (!sga || !ss || !len || !sga->sga_numsegs || sga->sga_numsegs > DEMI_SGARRAY_MAXSIZE)
		return EINVAL;
	memcpy(&sin, &sga->sga_addr, sizeof(sin));
	if (sin.sin_family == AF_INET)
		return give(ss, len, &sin, sizeof(sin));
	if (sin.sin_family != AF_INET6 && sin.sin_family != AF_UNIX)
		return ENOENT;
	if (!demi_heap_contains(sga->sga_buf, sizeof(rec)))
		return ENOENT;
	memcpy(&rec, sga->sga_buf, sizeof(rec));
	if (rec.magic != DEMI_ADDR_MAGIC || rec.len > sizeof(*ss) || rec.len < sizeof(sa_family_t) ||
	    !demi_heap_contains(sga->sga_buf, (size_t)rec.off + rec.len))
		return ENOENT;
	return give(ss, len, (const char *)sga->sga_buf + rec.off, rec.len);
}
