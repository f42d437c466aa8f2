/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_FRAME_H
#define DEMI_CORE_FRAME_H

/*
 * Message framing on a byte stream (DEMI_SO_FRAMED). In network byte order:
 *
 *	0	2 bytes		magic 0xd3f1
 *	2	1 byte		version 1
 *	3	1 byte		number of segments n, 1 to DEMI_SGARRAY_MAXSIZE
 *	4	4 bytes		length of all segments together
 *	8	4 * n bytes	length of each, at least 1
 *	8 + 4n	the segments
 *
 * Nothing here allocates or keeps a pointer to what it is given; the bytes may come from anybody.
 */

#include <demi/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMI_FRAME_MIN_HEAD 8
#define DEMI_FRAME_MAX_HEAD (DEMI_FRAME_MIN_HEAD + 4 * DEMI_SGARRAY_MAXSIZE)

struct demi_frame {
	uint32_t total;
	uint32_t nsegs;
	uint32_t lens[DEMI_SGARRAY_MAXSIZE];
};

/* Write the head of a message of @n segments to @head; returns the head's length. */
size_t demi_frame_head(void *head, const uint32_t *lens, uint32_t n);

/*
 * Read a head from the @len bytes at @head. Returns its length; 0 when there are too few bytes to tell;
 * -EBADMSG: it is none; -EMSGSIZE: the message would be longer than @max.
 */
int demi_frame_parse(struct demi_frame *f, const void *head, size_t len, uint32_t max);

/* Reads messages from a stream that comes in pieces of any size. Begins zeroed, but for max. */
struct demi_frame_reader {
	uint32_t max; /* bytes in a message */
	uint32_t head_got; /* bytes in head */
	uint32_t body_got;
	bool in_body;
	struct demi_frame frame; /* valid when a piece is given out */
	unsigned char head[DEMI_FRAME_MAX_HEAD];
};

/* A part of a message's body. */
struct demi_frame_piece {
	const char *data; /* inside what was read */
	uint32_t len; /* 0: nothing yet */
	uint32_t off; /* where in the body it belongs */
	bool last; /* the message is complete with it */
};

/*
 * Take bytes from @data. Returns how many (at least 1 if @len is), with what they hold in @piece, or
 * -EBADMSG, -EMSGSIZE: the stream cannot be read any further.
 */
int demi_frame_read(struct demi_frame_reader *r, const char *data, uint32_t len, struct demi_frame_piece *piece);

#endif /* DEMI_CORE_FRAME_H */
