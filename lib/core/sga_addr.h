/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_SGA_ADDR_H
#define DEMI_CORE_SGA_ADDR_H

/*
 * Where a datagram came from, when that does not fit sga_addr: a record at the start of the heap object
 * that sga_buf points to. The application can write there, so that demi_sga_addr() believes nothing.
 */

#include <stdint.h>
#include <sys/socket.h>

struct demi_addr_record {
	uint32_t magic;
	uint16_t off; /* of the address, from the start of the record */
	uint16_t len; /* of the address in bytes */
};

#define DEMI_ADDR_MAGIC 0x72646461

#endif /* DEMI_CORE_SGA_ADDR_H */
