// SPDX-License-Identifier: MIT
/* IPv4: any header and what follows, for every protocol of the stack. */
#include "packets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };

	fuzz_begin();
	while (i.n) {
		uint32_t how = take16(&i), len = 1 + take16(&i) % 3000, hlen;
		uint8_t p[3100] = { 0 };

		len = take_bytes(&i, p, len);
		hlen = (p[0] & 15) * 4U;
		if (how & 0x2000) /* for this host */
			put32(p + 16, fuzz_node->addr4);
		if (how & 0x4000 && hlen >= 20 && hlen <= len) {
			put16(p + 2, len);
			transport_sum(p, p + hlen, len - hlen, p[9], sum_offset(p[9]));
		}
		if (how & 0x8000 && hlen >= 20 && hlen <= len)
			set_ip4_sum(p);
		fuzz_receive(p, len, how & 0x1fff);
	}
	fuzz_end();
	return 0;
}
