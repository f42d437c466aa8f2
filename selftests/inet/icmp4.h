/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_ICMP4_H
#define DEMI_SELFTESTS_INET_ICMP4_H

#include "script.h"

/* An error about the stack's segment with number @seq, as its peer's network quotes it. */
static inline void icmp(uint8_t type, uint8_t code, uint32_t info, uint32_t seq)
{
	uint8_t p[56] = { 0x45 }, *q = p + 28;

	put16(p + 2, sizeof(p));
	p[8] = 64;
	p[9] = 1;
	put32(p + 12, 0x0a000000U | PEER_HOST);
	put32(p + 16, sn->addr4);
	put16(p + 10, (uint16_t)~fold16(sum16(p, 20)));
	p[20] = type;
	p[21] = code;
	put32(p + 24, info);
	q[0] = 0x45;
	put16(q + 2, 1500);
	q[6] = 0x40;
	q[8] = 64;
	q[9] = 6;
	put32(q + 12, sn->addr4);
	put32(q + 16, 0x0a000000U | PEER_HOST);
	put16(q + 20, stack_port);
	put16(q + 22, PEER_PORT);
	put32(q + 24, iss + seq);
	put16(p + 22, (uint16_t)~fold16(sum16(p + 20, 36)));
	node_receive(sn, p, sizeof(p), NULL);
	node_pump(sn);
}

#endif /* DEMI_SELFTESTS_INET_ICMP4_H */
