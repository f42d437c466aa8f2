/* SPDX-License-Identifier: MIT */
#ifndef DEMI_NVME_WIRE_H
#define DEMI_NVME_WIRE_H

/* What stands in queues: NVM Express base specification 1.4, 4.2 (commands), 4.6 (completions), 6 (I/O commands). */

#include <stdint.h>

enum {
	DEMI_NVME_FLUSH = 0x00,
	DEMI_NVME_WRITE = 0x01,
	DEMI_NVME_READ = 0x02,
	DEMI_NVME_WRITE_ZEROES = 0x08,
	DEMI_NVME_DATASET = 0x09, /* Dataset Management */
};

struct demi_nvme_command {
	uint8_t opcode;
	uint8_t flags; /* not fused, PRP entries: 0 */
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved;
	uint64_t metadata;
	uint64_t prp[2];
	uint32_t dword[6]; /* 10 to 15 */
};

struct demi_nvme_completion {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head;
	uint16_t sq_id;
	uint16_t cid;
	uint16_t status; /* bit 0 is the phase */
};

struct demi_nvme_range { /* of Dataset Management */
	uint32_t attributes;
	uint32_t blocks;
	uint64_t first;
};

_Static_assert(sizeof(struct demi_nvme_command) == 64 && sizeof(struct demi_nvme_completion) == 16 &&
		       sizeof(struct demi_nvme_range) == 16,
	       "as the specification has them");

#define DEMI_NVME_DW12_FUA (1u << 30)
#define DEMI_NVME_DW12_DEALLOCATE (1u << 25)
#define DEMI_NVME_DW11_DEALLOCATE (1u << 2)

#define DEMI_NVME_PAGE 4096u

/* Status: type and code, without phase and the bits behind. */
#define DEMI_NVME_STATUS(status) ((status) >> 1 & 0x7ff)
#define DEMI_NVME_S_LBA_RANGE 0x080
#define DEMI_NVME_S_CAPACITY 0x081
#define DEMI_NVME_S_WRITE_PROTECTED 0x020
#define DEMI_NVME_S_READ_ONLY 0x182

#endif /* DEMI_NVME_WIRE_H */
