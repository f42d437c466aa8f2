/* SPDX-License-Identifier: MIT */
#include "core/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define MAGIC 0xd3f1
#define VERSION 1

static uint32_t get32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static void put32(unsigned char *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
}

size_t demi_frame_head(void *head, const uint32_t *lens, uint32_t n)
{
	unsigned char *p = head;
	uint32_t total = 0;

	p[0] = MAGIC >> 8;
	p[1] = MAGIC & 0xff;
	p[2] = VERSION;
	p[3] = (unsigned char)n;
	for (uint32_t i = 0; i < n; i++) {
		put32(p + DEMI_FRAME_MIN_HEAD + 4 * i, lens[i]);
		total += lens[i];
	}
	put32(p + 4, total);
	return DEMI_FRAME_MIN_HEAD + 4 * n;
}

int demi_frame_parse(struct demi_frame *f, const void *head, size_t len, uint32_t max)
{
	const unsigned char *p = head;
	uint64_t sum = 0;

	/* what is wrong is told by the first byte that shows it: a wrong peer may never send more */
	if ((len > 0 && p[0] != MAGIC >> 8) || (len > 1 && p[1] != (MAGIC & 0xff)) || (len > 2 && p[2] != VERSION))
		return -EBADMSG;
	if (len > 3 && (p[3] < 1 || p[3] > DEMI_SGARRAY_MAXSIZE))
		return -EBADMSG;
	if (len < DEMI_FRAME_MIN_HEAD)
		return 0;
	f->nsegs = p[3];
	f->total = get32(p + 4);
	if (f->total > max)
		return -EMSGSIZE;
	if (len < DEMI_FRAME_MIN_HEAD + 4 * f->nsegs)
		return 0;
	for (uint32_t i = 0; i < f->nsegs; i++) {
		f->lens[i] = get32(p + DEMI_FRAME_MIN_HEAD + 4 * i);
		if (!f->lens[i])
			return -EBADMSG;
		sum += f->lens[i];
	}
	return sum == f->total ? (int)(DEMI_FRAME_MIN_HEAD + 4 * f->nsegs) : -EBADMSG;
}

/* The head is gathered until it can be parsed: first its fixed part, then all of it. */
static int read_head(struct demi_frame_reader *r, const char *data, uint32_t len)
{
	uint32_t want = DEMI_FRAME_MIN_HEAD, n;
	int res;

	if (r->head_got >= DEMI_FRAME_MIN_HEAD)
		want += 4U * r->head[3];
	n = want - r->head_got < len ? want - r->head_got : len;
	memcpy(r->head + r->head_got, data, n);
	r->head_got += n;
	res = demi_frame_parse(&r->frame, r->head, r->head_got, r->max);
	if (res < 0)
		return res;
	if (res) {
		r->in_body = true;
		r->body_got = 0;
	}
	return (int)n;
}

int demi_frame_read(struct demi_frame_reader *r, const char *data, uint32_t len, struct demi_frame_piece *piece)
{
	memset(piece, 0, sizeof(*piece));
	if (!len)
		return 0;
	if (len > INT32_MAX)
		len = INT32_MAX;
	if (!r->in_body)
		return read_head(r, data, len);
	piece->data = data;
	piece->off = r->body_got;
	piece->len = r->frame.total - r->body_got < len ? r->frame.total - r->body_got : len;
	r->body_got += piece->len;
	piece->last = r->body_got == r->frame.total;
	if (piece->last) {
		r->in_body = false;
		r->head_got = 0;
	}
	return (int)piece->len;
}
