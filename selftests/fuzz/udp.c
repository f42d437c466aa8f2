// SPDX-License-Identifier: MIT
/* UDP: any header and payload behind a right IP header; what is popped is what came. */
#include "packets.h"

static uint32_t headers(uint8_t *p, bool six, uint32_t len)
{
	memset(p, 0, 40);
	if (six) {
		p[0] = 0x60;
		put16(p + 4, len);
		p[6] = 17;
		p[7] = 64;
		memcpy(p + 8, fuzz_peer6, 16);
		memcpy(p + 24, fuzz_node->addr6, 16);
		return 40;
	}
	p[0] = 0x45;
	put16(p + 2, 20 + len);
	p[8] = 64;
	p[9] = 17;
	put32(p + 12, PEER4);
	put32(p + 16, fuzz_node->addr4);
	set_ip4_sum(p);
	return 20;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };
	demi_qtoken_t pop;
	demi_qresult_t qr;

	fuzz_begin();
	while (i.n) {
		uint32_t how = take16(&i), len = take16(&i) % 3000, off;
		uint8_t u[3000] = { 0 }, p[3100];

		len = take_bytes(&i, u, len);
		off = headers(p, how & 0x1000, len);
		memcpy(p + off, u, len);
		if (how & 0x2000 && len >= 8) {
			put16(p + off + 2, 7);
			put16(p + off + 4, len);
		}
		if (how & 0x4000)
			transport_sum(p, p + off, len, 17, 6);
		fuzz_receive(p, off + len, how & 0xfff);
		if (how & 0x8000 || demi_pop(&pop, fuzz_udp))
			continue;
		if (!try_result(pop, &qr)) {
			OK(demi_cancel(pop));
			qr = result_now(pop);
			continue;
		}
		if (qr.qr_opcode == DEMI_OPC_POP) {
			CHECK(qr.qr_value.sga.sga_segs[0].sgaseg_len <= 65507);
			OK(demi_sgafree(&qr.qr_value.sga));
		}
	}
	fuzz_end();
	return 0;
}
