/* SPDX-License-Identifier: MIT */
/* Scatter-gather arrays out of the heap: include/demi/sga.h. */

#include <demi/sga.h>

#include "core/enter.h"
#include "heap/object.h"

#include <errno.h>
#include <string.h>

DEMI_PUBLIC demi_sgarray_t demi_sgaalloc(size_t size)
{
	demi_sgarray_t sga;
	void *p;

	memset(&sga, 0, sizeof(sga));
	if (!size || size > DEMI_SGA_MAXBYTES)
		return sga;
	p = demi_object_alloc(size);
	if (!p)
		return sga;
	sga.sga_buf = p;
	sga.sga_numsegs = 1;
	sga.sga_segs[0].sgaseg_buf = p;
	sga.sga_segs[0].sgaseg_len = (uint32_t)size;
	return sga;
}

static bool empty(const demi_sgaseg_t *seg)
{
	return !seg->sgaseg_buf && !seg->sgaseg_len;
}

/* Segments may share an object: it must have an owner for each. */
static bool can_free(const demi_sgarray_t *sga)
{
	uintptr_t start[DEMI_SGARRAY_MAXSIZE];
	uint32_t i, k;

	for (i = 0; i < sga->sga_numsegs; i++) {
		unsigned int owners, need = 1;

		start[i] = 0;
		if (empty(&sga->sga_segs[i]))
			continue;
		owners = demi_object_owners(sga->sga_segs[i].sgaseg_buf, &start[i]);
		for (k = 0; k < i; k++)
			need += start[k] == start[i];
		if (owners < need) {
			demi_object_misuse(sga->sga_segs[i].sgaseg_buf, "free");
			return false;
		}
	}
	return true;
}

static __attribute__((noinline)) int free_any(demi_sgarray_t *sga)
{
	uint32_t i;

	if (!sga || !sga->sga_numsegs || sga->sga_numsegs > DEMI_SGARRAY_MAXSIZE)
		return EINVAL;
	if (sga->sga_numsegs == 1 && sga->sga_segs[0].sgaseg_buf) {
		/* Nothing else could be freed already: no need to look first. */
		if (demi_object_free(sga->sga_segs[0].sgaseg_buf, false))
			return EINVAL;
		memset(sga, 0, sizeof(*sga));
		return 0;
	}
	if (!can_free(sga))
		return EINVAL;
	for (i = 0; i < sga->sga_numsegs; i++)
		if (!empty(&sga->sga_segs[i]))
			(void)demi_object_free(sga->sga_segs[i].sgaseg_buf, false);
	memset(sga, 0, sizeof(*sga));
	return 0;
}

DEMI_PUBLIC int demi_sgafree(demi_sgarray_t *sga)
{
	/* a segment without a buffer is not in the heap */
	if (__builtin_expect(!sga || sga->sga_numsegs != 1, 0))
		return free_any(sga);
	if (__builtin_expect(!demi_object_give_cached(sga->sga_segs[0].sgaseg_buf, false), 0))
		return free_any(sga);
	memset(sga, 0, sizeof(*sga));
	return 0;
}
