// SPDX-License-Identifier: MIT
/*
 * The consumer's side of a pipe's ring. The contract is in pipe_ring.h. Nothing that is read here can be
 * trusted; a word is read once and what it says is checked before it is used.
 */
#include "heap/heap.h"
#include "memq/pipe_shm.h"

#include <errno.h>
#include <string.h>

/* Records that one call looks at: PARTs and PADs give no element. More than an honest peer's element can have there. */
#define WALK_MAX 64

/* A record that was checked: it lies within the ring. */
struct record {
	unsigned int type;
	uint32_t len; /* as in its word */
	const uint8_t *payload;
	uint64_t bytes; /* all of it in the ring */
};

static int decode(const struct demi_pipe_rx *rx, uint64_t word, struct record *r)
{
	uint64_t off = rx->head & (rx->size - 1), payload = 0;

	if (!DEMI_PIPE_WORD_OK(word))
		return -EBADMSG;
	r->type = DEMI_PIPE_WORD_TYPE(word);
	r->len = DEMI_PIPE_WORD_LEN(word);
	r->payload = rx->ring + off + DEMI_PIPE_WORD;
	switch (r->type) {
	case DEMI_PIPE_DATA:
	case DEMI_PIPE_PART:
		payload = r->len;
		break;
	case DEMI_PIPE_LARGE_AT:
		payload = sizeof(uint64_t);
		break;
	case DEMI_PIPE_PAD: /* never a whole ring, or a ring of padding would have no end */
		payload = (uint64_t)r->len - DEMI_PIPE_WORD;
		if (off == 0 || off + r->len != rx->size)
			return -EBADMSG;
		break;
	case DEMI_PIPE_FIRST:
	case DEMI_PIPE_END:
		break;
	default:
		return -EBADMSG;
	}
	r->bytes = DEMI_PIPE_WORD + ((payload + 7) & ~7ULL);
	return r->bytes <= rx->size / 4 && off + r->bytes <= rx->size ? 0 : -EBADMSG;
}

/* The record is done with. Says so to the producer every now and then. */
static void consume(struct demi_pipe_rx *rx, const struct record *r, bool *said)
{
	rx->head += r->bytes;
	if (rx->head - rx->head_said < rx->size / 8)
		return;
	/* release: the copies out of the records come before the producer's next writes */
	atomic_store_explicit(&rx->own->head, rx->head, memory_order_release);
	rx->head_said = rx->head;
	*said = true;
}

static int copy_out(const void *from, uint32_t len, void **buf, uint64_t *copied)
{
	*buf = NULL;
	if (!len)
		return 0;
	*buf = demi_heap_alloc(len);
	if (!*buf)
		return -ENOMEM;
	memcpy(*buf, from, len);
	*copied += len;
	return 0;
}

static int take_large(struct demi_pipe_rx *rx, const struct record *r, void **buf, uint64_t *copied)
{
	uint64_t block = atomic_load_explicit((const _Atomic uint64_t *)r->payload, memory_order_relaxed);
	void *p;
	int err;

	if (block > UINT32_MAX)
		return -EBADMSG;
	err = demi_pipe_shm_take(rx->shm, (uint32_t)block, r->len, &p);
	if (!err)
		*buf = p;
	if (err != -ENOMEM)
		return err;
	err = copy_out(p, r->len, buf, copied);
	if (!err)
		demi_pipe_shm_free_block(rx->shm, (uint32_t)block);
	return err;
}

static int begin_parts(struct demi_pipe_rx *rx, const struct record *r)
{
	if (!r->len || r->len > rx->max_element)
		return -EBADMSG;
	rx->part = demi_heap_alloc(r->len);
	if (!rx->part)
		return -ENOMEM;
	rx->part_total = r->len;
	rx->part_len = 0;
	return 0;
}

static int add_part(struct demi_pipe_rx *rx, const struct record *r, uint64_t *copied)
{
	if (!rx->part || !r->len || r->len > rx->part_total - rx->part_len)
		return -EBADMSG;
	memcpy(rx->part + rx->part_len, r->payload, r->len);
	rx->part_len += r->len;
	*copied += r->len;
	return 0;
}

void demi_pipe_rx_drop(struct demi_pipe_rx *rx)
{
	if (rx->part)
		demi_heap_free(rx->part);
	rx->part = NULL;
}

static int finish_parts(struct demi_pipe_rx *rx, void **buf, uint32_t *len)
{
	*buf = rx->part;
	*len = rx->part_total;
	rx->part = NULL;
	return 1;
}

/* 1: it was an element or its last part; 0: go on; or an error. */
static int take_record(struct demi_pipe_rx *rx, const struct record *r, size_t max, void **buf, uint64_t *copied)
{
	bool element = r->type == DEMI_PIPE_DATA || r->type == DEMI_PIPE_LARGE_AT || r->type == DEMI_PIPE_FIRST;

	if (element && rx->part)
		return -EBADMSG;
	if (element && r->len > max)
		return -EMSGSIZE;
	switch (r->type) {
	case DEMI_PIPE_DATA:
		return copy_out(r->payload, r->len, buf, copied) ?: 1;
	case DEMI_PIPE_LARGE_AT:
		return take_large(rx, r, buf, copied) ?: 1;
	case DEMI_PIPE_FIRST:
		return begin_parts(rx, r);
	case DEMI_PIPE_PART:
		return add_part(rx, r, copied);
	case DEMI_PIPE_END:
		return rx->part ? -EBADMSG : -ENODATA;
	default: /* PAD */
		return 0;
	}
}

int demi_pipe_rx_next(struct demi_pipe_rx *rx, size_t max, void **buf, uint32_t *len, bool *said, uint64_t *copied)
{
	struct record r;
	uint64_t word;
	int ret;

	if (rx->part && rx->part_total > max)
		return -EMSGSIZE;
	for (unsigned int i = 0; i < WALK_MAX; i++) {
		word = demi_pipe_rx_word(rx);
		if (!word)
			return 0;
		ret = decode(rx, word, &r);
		if (!ret)
			ret = take_record(rx, &r, max, buf, copied);
		if (ret < 0)
			return ret;
		consume(rx, &r, said);
		if (ret) {
			*len = r.len;
			return 1;
		}
		if (rx->part && rx->part_len == rx->part_total)
			return finish_parts(rx, buf, len);
	}
	return 0;
}
