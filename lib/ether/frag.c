/* SPDX-License-Identifier: MIT */
/*
 * Packets that are longer than their path takes, in pieces: RFC 791 3.2, RFC 8200 4.5. The pieces are copies, so the
 * packet is done as soon as the last of them is the device's. One packet at a time: where the device has no room,
 * the rest waits, and every packet behind it in the stack.
 */
#include "ether/dev.h"

#include "inet/cksum.h"

#include <string.h>

#define FRAG6_LEN 8

/* What the device would have filled in: over the whole packet it cannot. */
static void finish_checksum(struct demi_ether_job *j)
{
	const struct demi_pkt *p = &j->pkts[0];
	uint64_t sum;

	j->csum_at = 0;
	if (!(p->flags & DEMI_PKT_F_CSUM_PARTIAL) || p->csum_start < j->hlen)
		return;
	sum = demi_cksum_segs(0, p, p->csum_start, j->hlen + j->len - p->csum_start);
	j->sum = (uint16_t)~demi_cksum_fold(sum);
	if (!j->sum) /* RFC 768: 0 says that there is none; the same number to all others */
		j->sum = 0xffff;
	j->csum_at = p->csum_start + p->csum_offset - j->hlen;
}

int demi_ether_cut(struct demi_ether *e, const struct demi_pkt *pkts, uint32_t segs, uint32_t len, uint32_t mtu,
		   const uint8_t mac[6])
{
	struct demi_ether_job *j = &e->job;
	bool v4 = pkts[0].data[0] >> 4 == 4;
	uint32_t more = v4 ? 0 : FRAG6_LEN;

	if (j->n && !demi_ether_cut_more(e))
		return -EAGAIN;
	if (!demi_ether_done_room(e))
		return -EAGAIN;
	j->hlen = v4 ? (pkts[0].data[0] & 15) * 4U : (uint32_t)sizeof(struct demi_ip6_hdr);
	if (segs > DEMI_PKT_RX_SEGS_MAX || mtu < j->hlen + more + 8 || pkts[0].len < j->hlen || len > UINT16_MAX) {
		demi_ether_done(e, pkts[0].cookie, EMSGSIZE, false);
		return 0;
	}
	memcpy(j->pkts, pkts, segs * sizeof(*pkts));
	memcpy(j->mac, mac, sizeof(j->mac));
	j->n = segs;
	j->len = len - j->hlen;
	j->at = 0;
	j->step = (mtu - j->hlen - more) & ~7U;
	j->id = v4 ? 0 : e->next_id++;
	finish_checksum(j);
	e->nheld++; /* its place among those that are done */
	e->slow = true;
	demi_ether_cut_more(e);
	return 0;
}

static uint32_t put_header(const struct demi_ether_job *j, uint8_t *to, uint32_t n)
{
	bool more = j->at + n < j->len;

	memcpy(to, j->pkts[0].data, j->hlen);
	if (to[0] >> 4 == 4) {
		struct demi_ip4_hdr h;

		memcpy(&h, to, sizeof(h));
		h.tot_len = htons((uint16_t)(j->hlen + n));
		h.frag_off = htons((uint16_t)(j->at / 8 | (more ? DEMI_IP4_MF : 0)));
		h.check = 0;
		memcpy(to, &h, sizeof(h));
		h.check = (uint16_t)~demi_cksum_fold(demi_cksum_add(0, to, j->hlen));
		memcpy(to, &h, sizeof(h));
		return j->hlen;
	} else {
		uint16_t off = htons((uint16_t)(j->at | more)), payload = htons((uint16_t)(FRAG6_LEN + n));
		uint32_t id = htonl(j->id);
		uint8_t *x = to + j->hlen;

		memcpy(to + 4, &payload, sizeof(payload));
		x[0] = to[6];
		x[1] = 0;
		memcpy(x + 2, &off, sizeof(off));
		memcpy(x + 4, &id, sizeof(id));
		to[6] = IPPROTO_FRAGMENT;
		return j->hlen + FRAG6_LEN;
	}
}

/* The next piece: 0, -EAGAIN, -ENOMEM, -ENODEV. */
static int cut_one(struct demi_ether *e)
{
	struct demi_ether_job *j = &e->job;
	uint32_t n = j->len - j->at < j->step ? j->len - j->at : j->step, hlen;
	struct demi_pkt p = { .flags = 0 };
	int err;

	p.data = demi_ether_alloc(e, j->hlen + FRAG6_LEN + n);
	if (!p.data)
		return -ENOMEM;
	hlen = put_header(j, p.data, n);
	demi_pkt_copy(p.data + hlen, j->pkts, j->hlen + j->at, n);
	if (j->csum_at && !j->at && j->csum_at + 2 <= n)
		memcpy(p.data + hlen + j->csum_at, &j->sum, sizeof(j->sum));
	p.len = hlen + n;
	p.cookie = demi_ether_own_cookie(e, p.data);
	err = demi_ether_transmit(e, &p, 1, j->mac);
	if (err) {
		demi_ether_own_free(e, p.cookie);
		return err;
	}
	e->kick = true;
	j->at += n;
	return 0;
}

bool demi_ether_cut_more(struct demi_ether *e)
{
	struct demi_ether_job *j = &e->job;
	bool copied = false;
	int err = 0;

	while (j->at < j->len && !err)
		err = cut_one(e);
	if (err == -EAGAIN)
		return false;
	for (uint32_t i = 0; i < j->n; i++)
		copied |= (j->pkts[i].flags & DEMI_PKT_F_ZEROCOPY) != 0;
	j->n = 0;
	e->nheld--;
	demi_ether_done(e, j->pkts[0].cookie, err ? ENOBUFS : 0, copied);
	return true;
}
