// SPDX-License-Identifier: MIT
/* The producer's side of a pipe's ring. The contract is in pipe_ring.h. */
#include "memq/pipe_ring.h"

#include <errno.h>

static inline _Atomic uint64_t *word_at(const struct demi_pipe_tx *tx, uint64_t pos)
{
	return (_Atomic uint64_t *)(tx->ring + (pos & (tx->size - 1)));
}

/* See how far the consumer is. It can only have moved on, and not beyond what was published. */
static int refresh(struct demi_pipe_tx *tx)
{
	uint64_t head = atomic_load_explicit(&tx->peer->head, memory_order_acquire);

	if (head - tx->head > tx->tail - tx->head || head % DEMI_PIPE_WORD)
		return -EBADMSG;
	tx->head = head;
	return 0;
}

bool demi_pipe_tx_moved(const struct demi_pipe_tx *tx)
{
	return atomic_load_explicit(&tx->peer->head, memory_order_relaxed) != tx->head ||
	       atomic_load_explicit(&tx->peer->ended, memory_order_relaxed);
}

static inline bool fits(const struct demi_pipe_tx *tx, uint64_t need)
{
	return need <= tx->size - (tx->tail - tx->head);
}

static inline uint64_t record_bytes(uint32_t payload)
{
	return DEMI_PIPE_WORD + (((uint64_t)payload + 7) & ~7ULL);
}

int demi_pipe_tx_reserve(struct demi_pipe_tx *tx, uint32_t len, struct demi_pipe_slot *slot)
{
	uint64_t left = tx->size - (tx->tail & (tx->size - 1)); /* up to the end of the ring */
	uint64_t bytes = record_bytes(len), pad = bytes <= left ? 0 : left;
	uint64_t need = pad + bytes + DEMI_PIPE_WORD; /* and the 0 behind it */

	if (!fits(tx, need)) {
		if (refresh(tx))
			return -EBADMSG;
		if (!fits(tx, need))
			return 0;
	}
	slot->pos = tx->tail + pad;
	slot->payload = (uint8_t *)word_at(tx, slot->pos) + DEMI_PIPE_WORD;
	return 1;
}

void demi_pipe_tx_publish(struct demi_pipe_tx *tx, const struct demi_pipe_slot *slot, enum demi_pipe_record type,
			  uint32_t len, uint32_t payload)
{
	uint64_t next = slot->pos + record_bytes(payload), word = demi_pipe_word(type, len);
	uint64_t pad = slot->pos - tx->tail;

	atomic_store_explicit(word_at(tx, next), 0, memory_order_relaxed);
	if (pad) { /* the consumer polls the padding's word: that one publishes both */
		atomic_store_explicit(word_at(tx, slot->pos), word, memory_order_relaxed);
		word = demi_pipe_word(DEMI_PIPE_PAD, (uint32_t)pad);
	}
	atomic_store_explicit(word_at(tx, tx->tail), word, memory_order_release);
	tx->tail = next;
}

void demi_pipe_tx_end(struct demi_pipe_tx *tx)
{
	atomic_store_explicit(word_at(tx, tx->tail), demi_pipe_word(DEMI_PIPE_END, 0), memory_order_release);
}
