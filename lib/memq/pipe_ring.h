/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_RING_H
#define DEMI_MEMQ_PIPE_RING_H

/*
 * How the two sides of a pipe share memory.
 *
 * Side 0 is the maker's, side 1 the opener's. Side s produces into ring s and arena s and consumes from
 * ring 1 - s and arena 1 - s. All of it is one sealed memfd:
 *
 *	     0	+------------------------------+
 *		| struct demi_pipe_side [0]    |  written by side 0 (`sleeping` also cleared by side 1)
 *	   128	| struct demi_pipe_side [1]    |  written by side 1 (`sleeping` also cleared by side 0)
 *	 4 KiB	| in use: a byte for each      |  producer: 1 before it publishes a block's element
 *		| block of arena 0, of arena 1 |  consumer: 0 when the element is freed
 *	64 KiB	+------------------------------+
 *		| ring 0 | ring 1              |  ring_bytes each, a power of two
 *		+------------------------------+
 *		| arena 0 | arena 1            |  arena_bytes each, in blocks of 4 KiB
 *		+------------------------------+
 *
 * A ring holds records of a multiple of 8 bytes, none across its end. Positions are free-running 64-bit
 * byte counts. A record begins with a word that tells its type and length; 0 means "not yet":
 *
 *		 head (consumer)            tail (producer)
 *		  v                          v
 *	+-------+------+-------------+-------+---+--------------------+-----+
 *	| free	| word | payload ... | word… | 0 | free, old contents | PAD |
 *	+-------+------+-------------+-------+---+--------------------+-----+
 *
 *	DATA	`len` bytes of payload follow: one element
 *	LARGE	one element of `len` bytes in the arena; a second word has its first block
 *	FIRST	an element of `len` bytes begins; PARTs follow until they make up that many
 *	PART	`len` bytes of payload
 *	PAD	nothing up to the end of the ring, `len` bytes with the word
 *	END	orderly end: nothing will follow
 *
 * The word at the tail is always 0 and always inside the free space. To publish a record the producer
 * writes its payload, then 0 behind it, and its word last (store-release). The consumer polls the word at
 * its head (load-acquire) and reads nothing else: a short message moves one or two cache lines, there
 * is no index of the producer's to look at. The consumer writes nothing into the ring; it says in
 * `head` up to where it is done (store-release), at the latest when an eighth of the ring is not said yet.
 * The producer reads `head` (load-acquire) only when what it last saw is too little. A record with its
 * padding takes no more than a quarter of the ring and a word, so that a consumer who has caught up
 * has always said enough: no producer waits for space that is there.
 *
 * Elements of DEMI_PIPE_LARGE bytes and more go to the arena if it has room; the consumer hands
 * them out where they are, and frees them in any order. If the arena is full (the consumer's application
 * holds all of it) they go through the ring in PARTs and are copied out, so that nothing stalls.
 *
 * Sleeping: side s sets `sleeping` in its struct to what it waits for (WANT_DATA, WANT_SPACE), full barrier,
 * looks at ring and `head` once more, sleeps on its end of the control socket. Side 1 - s publishes
 * (a record, `head`), full barrier, reads `sleeping`, and if it is set clears it and sends one byte. Both
 * barriers are seq_cst fences (flush_all() and pipe_arm() of pipe_poll.c): whoever comes second sees the other. One
 * barrier serves all that was published before it.
 *
 * The peer may be hostile and write anything anywhere at any time. Every word is read once, into a
 * local copy, and checked; lengths and blocks never lead out of the ring or arena; a consumed element of
 * the ring is copied before the application sees it. What an application holds in the arena can change
 * under it, as all memory that is shared: it is the peer's own data.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMI_PIPE_BLOCK 4096U
#define DEMI_PIPE_LARGE 4096U /* elements of as many bytes go to the arena */
#define DEMI_PIPE_RING_MIN (64U << 10)
#define DEMI_PIPE_RING_MAX (1U << 30)
#define DEMI_PIPE_ARENA_MAX (64U << 20)
#define DEMI_PIPE_BLOCKS_MAX (DEMI_PIPE_ARENA_MAX / DEMI_PIPE_BLOCK)

#define DEMI_PIPE_WANT_DATA 1U
#define DEMI_PIPE_WANT_SPACE 2U

/* Two cache lines, so that the prefetcher of neighbours does not tie the sides together. */
struct demi_pipe_side {
	_Atomic uint64_t head; /* of the ring that this side consumes */
	_Atomic uint32_t ended; /* this side consumes no more */
	_Atomic uint32_t sleeping; /* DEMI_PIPE_WANT_*, 0: awake */
} __attribute__((aligned(128)));

#define DEMI_PIPE_INUSE_OFF 4096U
#define DEMI_PIPE_RINGS_OFF (64U << 10)

_Static_assert(DEMI_PIPE_INUSE_OFF + 2 * DEMI_PIPE_BLOCKS_MAX <= DEMI_PIPE_RINGS_OFF, "the bytes fit");

enum demi_pipe_record {
	DEMI_PIPE_DATA = 1,
	DEMI_PIPE_LARGE_AT,
	DEMI_PIPE_FIRST,
	DEMI_PIPE_PART,
	DEMI_PIPE_PAD,
	DEMI_PIPE_END,
};

#define DEMI_PIPE_WORD 8U /* bytes of a record's word */

/* Type and length, and a constant that garbage is unlikely to have. */
static inline uint64_t demi_pipe_word(enum demi_pipe_record type, uint32_t len)
{
	return 0xd3e1a5U | (uint64_t)type << 24 | (uint64_t)len << 32;
}

#define DEMI_PIPE_WORD_OK(w) (((w)&0xffffff) == 0xd3e1a5U)
#define DEMI_PIPE_WORD_TYPE(w) ((unsigned int)((w) >> 24 & 0xff))
#define DEMI_PIPE_WORD_LEN(w) ((uint32_t)((w) >> 32))

struct demi_pipe_shm;

/* Elements in the arena that the consumer has not freed, in the order in which they were made. */
struct demi_pipe_arena {
	uint8_t *base;
	_Atomic uint8_t *in_use; /* shared */
	uint32_t nblocks;
	uint32_t cursor; /* where the next search begins */
	uint64_t *busy; /* a bit for each block */
	uint32_t first, count; /* of `live`, a ring of nblocks entries */
	struct demi_pipe_extent {
		uint32_t block, nblocks;
	} * live;
};

/* The producer's own view of the ring it fills. */
struct demi_pipe_tx {
	uint8_t *ring;
	uint64_t size; /* bytes */
	uint64_t tail;
	uint64_t head; /* as last read */
	struct demi_pipe_side *peer;
	struct demi_pipe_arena arena;
};

/* The consumer's own view of the ring it empties. */
struct demi_pipe_rx {
	uint8_t *ring;
	uint64_t size;
	uint64_t head;
	uint64_t head_said; /* as last stored in own->head */
	struct demi_pipe_side *own;
	struct demi_pipe_shm *shm;
	/* the element that FIRST began */
	uint8_t *part;
	uint32_t part_len, part_total;
	uint32_t max_element; /* bytes that an element may have */
};

/* A place for a record, not yet published. */
struct demi_pipe_slot {
	uint64_t pos; /* of the record's word; behind tail if there is padding */
	uint8_t *payload;
};

/* Greatest payload of one PART. */
static inline uint32_t demi_pipe_part_max(const struct demi_pipe_tx *tx)
{
	return (uint32_t)(tx->size / 8) - DEMI_PIPE_WORD;
}

/*
 * Room for a record with @len bytes of payload: 1 and *slot; 0: the ring is too full; -EBADMSG: the
 * peer wrote nonsense.
 */
int demi_pipe_tx_reserve(struct demi_pipe_tx *tx, uint32_t len, struct demi_pipe_slot *slot);

/* Publish the record: @len as in its word, @payload bytes of it in the ring. */
void demi_pipe_tx_publish(struct demi_pipe_tx *tx, const struct demi_pipe_slot *slot, enum demi_pipe_record type,
			  uint32_t len, uint32_t payload);

/* The orderly end; there is always room for it. Nothing may be published afterwards. */
void demi_pipe_tx_end(struct demi_pipe_tx *tx);

/* Has the peer taken enough for a record of any length? Cheap; may say yes when it did not. */
bool demi_pipe_tx_moved(const struct demi_pipe_tx *tx);

/* Memory for an element of @len bytes in the arena, or NULL. */
uint8_t *demi_pipe_arena_alloc(struct demi_pipe_arena *a, uint32_t len, uint32_t *block);
int demi_pipe_arena_init(struct demi_pipe_arena *a, uint8_t *base, _Atomic uint8_t *in_use, size_t bytes);
void demi_pipe_arena_destroy(struct demi_pipe_arena *a);

/* The word at the consumer's head: anything there? */
static inline uint64_t demi_pipe_rx_word(const struct demi_pipe_rx *rx)
{
	return atomic_load_explicit((_Atomic uint64_t *)(rx->ring + (rx->head & (rx->size - 1))), memory_order_acquire);
}

/*
 * The next element, as one heap object (NULL if it is empty) of the caller's: 1; 0: none yet; or
 * -EMSGSIZE (longer than @max; it stays), -ENOMEM (it stays), -ENODATA (orderly end), -EBADMSG (garbage).
 * *said is set when `head` was stored, *copied grows by the bytes copied.
 */
int demi_pipe_rx_next(struct demi_pipe_rx *rx, size_t max, void **buf, uint32_t *len, bool *said, uint64_t *copied);

/* Drop what FIRST began. */
void demi_pipe_rx_drop(struct demi_pipe_rx *rx);

#endif /* DEMI_MEMQ_PIPE_RING_H */
