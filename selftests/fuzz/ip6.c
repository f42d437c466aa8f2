// SPDX-License-Identifier: MIT
/* IPv6: any header, extension headers, and what follows, for every protocol of the stack. */
#include "packets.h"

/* Where the transport header of a well-formed packet begins, and which it is: not the library's code. */
static uint32_t transport(const uint8_t *p, uint32_t len, uint8_t *proto)
{
	uint32_t off = 40;

	*proto = p[6];
	while (off + 8 <= len && (*proto == 0 || *proto == 43 || *proto == 44 || *proto == 60)) {
		uint32_t n = *proto == 44 ? 8 : 8U + 8U * p[off + 1];

		*proto = p[off];
		off += n;
	}
	return off < len ? off : len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };

	fuzz_begin();
	while (i.n) {
		uint32_t how = take16(&i), len = 1 + take16(&i) % 3000, off;
		uint8_t p[3100] = { 0 }, proto;

		len = take_bytes(&i, p, len);
		if (how & 0x2000)
			memcpy(p + 24, fuzz_node->addr6, 16);
		if (how & 0x4000 && len >= 40)
			put16(p + 4, len - 40);
		if (how & 0x8000 && len >= 40) {
			off = transport(p, len, &proto);
			transport_sum(p, p + off, len - off, proto, sum_offset(proto));
		}
		fuzz_receive(p, len, how & 0x1fff);
	}
	fuzz_end();
	return 0;
}
