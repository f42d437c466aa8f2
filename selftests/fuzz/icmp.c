// SPDX-License-Identifier: MIT
/* ICMP and ICMPv6: any message, and errors that quote what the stack sends. */
#include "packets.h"

/* The front of a packet that the stack may have sent: the rest of the input overwrites it. */
static uint32_t quote(uint8_t *q, bool six, bool tcp)
{
	uint32_t off = six ? 40 : 20;

	memset(q, 0, off + 8);
	if (six) {
		q[0] = 0x60;
		q[6] = tcp ? 6 : 17;
		memcpy(q + 8, fuzz_node->addr6, 16);
		memcpy(q + 24, fuzz_peer6, 16);
	} else {
		q[0] = 0x45;
		q[9] = tcp ? 6 : 17;
		put32(q + 12, fuzz_node->addr4);
		put32(q + 16, PEER4);
	}
	put16(q + off, tcp ? ntohs(fuzz_opening.sin_port) : 7);
	put16(q + off + 2, 9);
	return off + 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };

	fuzz_begin();
	while (i.n) {
		uint32_t how = take16(&i), n = take8(&i), at = take8(&i), len, off = how & 0x1000 ? 40 : 20;
		uint8_t p[900] = { 0 }, body[256] = { 0 };
		bool six = how & 0x1000;

		p[0] = six ? 0x60 : 0x45;
		p[six ? 6 : 9] = six ? 58 : 1;
		put32(p + off, take32(&i));
		put32(p + off + 4, take32(&i));
		len = 8;
		if (how & 0x2000)
			len += quote(p + off + len, six, how & 0x4000);
		n = take_bytes(&i, body, n);
		if (8 + at > len)
			at = len - 8;
		memcpy(p + off + 8 + at, body, n);
		len = 8 + at + n > len ? 8 + at + n : len;
		if (six) {
			put16(p + 4, len);
			p[7] = 64;
			memcpy(p + 8, fuzz_peer6, 16);
			memcpy(p + 24, fuzz_node->addr6, 16);
		} else {
			put16(p + 2, 20 + len);
			put32(p + 12, PEER4);
			put32(p + 16, fuzz_node->addr4);
			set_ip4_sum(p);
		}
		if (!(how & 0x8000))
			transport_sum(p, p + off, len, six ? 58 : 1, 2);
		fuzz_receive(p, off + len, how & 7);
	}
	fuzz_end();
	return 0;
}
