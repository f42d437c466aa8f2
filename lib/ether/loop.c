/* SPDX-License-Identifier: MIT */
/* Packets for the stack that do not come straight from the device: to this host itself, or put together. */
#include "ether/dev.h"

#include "heap/heap.h"

#include <stdlib.h>
#include <string.h>

/* Of one segment of a copy. With it every packet has less than DEMI_PKT_RX_SEGS_MAX of them. */
#define CHUNK 2048
#define CHUNK_ROOM (CHUNK - DEMI_PKT_HEADROOM)

_Static_assert(DEMI_ETHER_LOOP_MTU / CHUNK_ROOM + 1 <= DEMI_PKT_RX_SEGS_MAX, "too many segments");

struct demi_ether_ready *demi_ether_ready_alloc(uint32_t n)
{
	struct demi_ether_ready *r = malloc(sizeof(*r) + n * sizeof(r->pkts[0]));

	if (r) {
		r->next = NULL;
		r->n = n;
		memset(r->pkts, 0, n * sizeof(r->pkts[0]));
	}
	return r;
}

static void ready_free(struct demi_ether_ready *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		demi_heap_free(r->pkts[i].data);
	free(r);
}

void demi_ether_ready_add(struct demi_ether *e, struct demi_ether_ready *r)
{
	if (e->nready == DEMI_ETHER_READY_MAX) {
		e->rx_dropped++;
		ready_free(r);
		return;
	}
	*e->ready_end = r;
	e->ready_end = &r->next;
	e->nready++;
	e->slow = true;
	demi_ether_due(e, 1); /* whoever is about to sleep has to look first */
}

uint32_t demi_ether_ready_take(struct demi_ether *e, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_ether_ready *r;
	uint32_t n = 0;

	while ((r = e->ready) && r->n <= max - n) {
		memcpy(pkts + n, r->pkts, r->n * sizeof(*pkts));
		n += r->n;
		e->ready = r->next;
		if (!e->ready)
			e->ready_end = &e->ready;
		e->nready--;
		free(r);
	}
	return n;
}

void demi_ether_ready_exit(struct demi_ether *e)
{
	struct demi_ether_ready *r;

	while ((r = e->ready)) {
		e->ready = r->next;
		ready_free(r);
	}
}

/* What a sender on this host has left to the device: the receiver need not see to it. */
static void copy_meta(struct demi_pkt *to, const struct demi_pkt *from)
{
	to->flags |= from->flags & (DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO | DEMI_PKT_F_GSO_ECN);
	to->gso_size = from->gso_size;
	to->csum_start = from->csum_start;
	to->csum_offset = from->csum_offset;
}

int demi_ether_loop(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs)
{
	struct demi_ether_ready *r;
	uint32_t len = 0, off = 0;

	for (uint32_t i = 0; i < segs; i++)
		len += pkts[i].len;
	if (e->nready == DEMI_ETHER_READY_MAX)
		return -ENOBUFS;
	r = demi_ether_ready_alloc((len + CHUNK_ROOM - 1) / CHUNK_ROOM);
	if (!r)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->n; i++) {
		uint32_t n = len - off < CHUNK_ROOM ? len - off : CHUNK_ROOM;
		uint8_t *obj = demi_heap_alloc(CHUNK);

		if (!obj) {
			r->n = i;
			ready_free(r);
			return -ENOMEM;
		}
		r->pkts[i].data = obj + DEMI_PKT_HEADROOM;
		r->pkts[i].len = n;
		r->pkts[i].flags = off + n < len ? DEMI_PKT_F_MORE : 0;
		demi_pkt_copy(r->pkts[i].data, pkts, off, n);
		off += n;
	}
	copy_meta(&r->pkts[0], &pkts[0]);
	if (!(pkts[0].flags & DEMI_PKT_F_CSUM_PARTIAL))
		r->pkts[0].flags |= DEMI_PKT_F_CSUM_OK; /* it was never on a wire */
	demi_ether_ready_add(e, r);
	return 0;
}
