/* SPDX-License-Identifier: MIT */
#include "demi-loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int loop_init(int64_t spin_us)
{
	char us[24];
	int ret;

	snprintf(us, sizeof(us), "%lld", (long long)spin_us);
	if (spin_us >= 0 && setenv("DEMI_SPIN_US", us, 1))
		return errno;
	ret = demi_init(NULL);
	return ret == EEXIST ? 0 : ret;
}

int loop_memq(int qd, const demi_sgarray_t *msg, uint64_t n)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret;

	while (n--) {
		ret = demi_push(&qt, qd, msg);
		if (!ret)
			ret = demi_wait(&qr, qt, NULL);
		if (!ret)
			ret = demi_pop(&qt, qd);
		if (!ret)
			ret = demi_wait(&qr, qt, NULL);
		if (!ret)
			ret = demi_sgafree(&qr.qr_value.sga);
		if (ret)
			return ret;
	}
	return 0;
}

int loop_heap(size_t size, uint64_t n)
{
	while (n--) {
		char *p = demi_malloc(size);

		if (!p)
			return ENOMEM;
		__asm__ volatile("" : : "r"(p) : "memory");
		demi_free(p);
	}
	return 0;
}

/*
 * Which of @step neighbours is the active one. Not always the same: at a distance of a power of two all of
 * them would compete for one set of the cache.
 */
static uint32_t place_in(uint32_t k, uint32_t step)
{
	return (uint32_t)(((uint64_t)(k * 2654435761U) * step) >> 32);
}

int waiters_init(struct waiters *w, uint32_t outstanding, uint32_t active, bool any)
{
	uint32_t i, step;
	int ret, qd;

	memset(w, 0, sizeof(*w));
	w->n = outstanding;
	w->active = active < outstanding ? active : outstanding;
	w->any = any;
	w->qts = calloc(w->n, sizeof(w->qts[0]));
	w->qds = calloc(w->active, sizeof(w->qds[0]));
	w->index = calloc(w->active, sizeof(w->index[0]));
	w->by_qd = calloc(1 << 20, sizeof(w->by_qd[0]));
	w->msg = demi_sgaalloc(64);
	if (!w->qts || !w->qds || !w->index || !w->by_qd || !w->msg.sga_numsegs)
		return ENOMEM;
	memset(w->msg.sga_segs[0].sgaseg_buf, 'w', 64);
	step = w->n / w->active;
	for (i = 0; i < w->n; i++) {
		ret = demi_queue(&qd);
		if (!ret)
			ret = demi_pop(&w->qts[i], qd);
		if (ret)
			return ret;
		if (qd >= 1 << 20)
			return ERANGE;
		if (i / step < w->active && i % step == place_in(i / step, step)) {
			w->qds[i / step] = qd;
			w->index[i / step] = i;
			w->by_qd[qd] = (int)(i / step);
		}
	}
	return 0;
}

void waiters_free(struct waiters *w)
{
	free(w->qts);
	free(w->qds);
	free(w->index);
	free(w->by_qd);
	demi_sgafree(&w->msg);
}

int waiters_fire(struct waiters *w)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret;

	w->next = (w->next + 27) % w->active; /* in an order that a prefetcher does not know */
	ret = demi_push(&qt, w->qds[w->next], &w->msg);
	return ret ? ret : demi_wait(&qr, qt, NULL);
}

int waiters_take(struct waiters *w)
{
	demi_qresult_t qr;
	int offset, n, ret;

	if (w->any) {
		ret = demi_wait_any(&qr, &offset, w->qts, (int)w->n, NULL);
	} else {
		ret = demi_wait_next_n(&qr, 1, &n, NULL);
		offset = ret ? 0 : (int)w->index[w->by_qd[qr.qr_qd]];
	}
	if (ret)
		return ret;
	if (qr.qr_opcode != DEMI_OPC_POP)
		return EPROTO;
	demi_sgafree(&qr.qr_value.sga);
	return demi_pop(&w->qts[offset], qr.qr_qd);
}
