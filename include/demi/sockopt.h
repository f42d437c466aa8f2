/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SOCKOPT_H
#define DEMI_SOCKOPT_H

/** The level of demi's own options in demi_setsockopt() and demi_getsockopt(); all are ints but DEMI_SO_OFFSET. */
#define DEMI_SOL 0x4445

/**
 * Message framing on a stream: both ends must set it before the first byte. One push is one pop.
 * Each message travels behind a header of magic, version, 32-bit length and segment table; a header
 * that is wrong fails the pop with EBADMSG and ends the connection.
 */
#define DEMI_SO_FRAMED 1

/** The greatest message accepted with DEMI_SO_FRAMED, in bytes; default 16 MiB. */
#define DEMI_SO_MAXMSG 2

/** Segments that one pop may give, 1 (default) to DEMI_SGARRAY_MAXSIZE. */
#define DEMI_SO_MAXSEGS 3

/** Bytes that a socket receives ahead of pops; default 64 KiB. */
#define DEMI_SO_READAHEAD 4

/**
 * Of a block queue (demi_open("nvme:...")), uint64_t: where the next push goes, in bytes; default 0. A
 * multiple of the block size. Setting it is EBUSY while pushes are pending; it ends the failed state
 * that a failed push left.
 */
#define DEMI_SO_OFFSET 5

#endif /* DEMI_SOCKOPT_H */
