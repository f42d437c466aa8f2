/* SPDX-License-Identifier: MIT */
#include "inet/tcp_opts.h"

#include <arpa/inet.h>
#include <string.h>

#define KIND_END 0
#define KIND_NOP 1
#define KIND_MSS 2
#define KIND_WSCALE 3
#define KIND_SACK_OK 4
#define KIND_SACK 5
#define KIND_TS 8

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
}

static void read_sacks(struct demi_tcp_opts *o, const uint8_t *p, uint32_t len)
{
	if ((len - 2) % 8)
		return;
	o->nsacks = 0;
	for (uint32_t i = 2; i + 8 <= len && o->nsacks < 4; i += 8) {
		o->sacks[o->nsacks].start = get32(p + i);
		o->sacks[o->nsacks++].end = get32(p + i + 4);
	}
}

static void read_one(struct demi_tcp_opts *o, const uint8_t *p, uint32_t len, bool syn)
{
	switch (p[0]) {
	case KIND_MSS:
		if (len == 4 && syn)
			o->mss = (uint16_t)(p[2] << 8 | p[3]);
		break;
	case KIND_WSCALE:
		if (len == 3 && syn) {
			o->ws = true;
			o->wscale = p[2] > DEMI_TCP_WSCALE_MAX ? DEMI_TCP_WSCALE_MAX : p[2]; /* RFC 7323 2.3 */
		}
		break;
	case KIND_SACK_OK:
		if (len == 2 && syn)
			o->sack_ok = true;
		break;
	case KIND_SACK:
		if (!syn)
			read_sacks(o, p, len);
		break;
	case KIND_TS:
		if (len == 10) {
			o->ts = true;
			o->tsval = get32(p + 2);
			o->tsecr = get32(p + 6);
		}
		break;
	default: /* RFC 9293 MUST-6: unknown ones are passed over */
		break;
	}
}

void demi_tcp_opts_parse(struct demi_tcp_opts *o, const uint8_t *p, uint32_t len, bool syn)
{
	uint32_t i = 0;

	memset(o, 0, sizeof(*o));
	while (i < len && p[i] != KIND_END) {
		if (p[i] == KIND_NOP) {
			i++;
			continue;
		}
		/* RFC 9293 MUST-7: illegal lengths */
		if (len - i < 2 || p[i + 1] < 2 || p[i + 1] > len - i)
			return;
		read_one(o, p + i, p[i + 1], syn);
		i += p[i + 1];
	}
}

uint8_t demi_tcp_put_mss(uint8_t *p, uint8_t len, uint16_t mss)
{
	put32(p + len, (uint32_t)KIND_MSS << 24 | 4U << 16 | mss);
	return (uint8_t)(len + 4);
}

uint8_t demi_tcp_put_wscale(uint8_t *p, uint8_t len, uint8_t shift)
{
	put32(p + len, (uint32_t)KIND_NOP << 24 | (uint32_t)KIND_WSCALE << 16 | 3U << 8 | shift);
	return (uint8_t)(len + 4);
}

uint8_t demi_tcp_put_sack_ok(uint8_t *p, uint8_t len)
{
	put32(p + len, (uint32_t)KIND_NOP << 24 | (uint32_t)KIND_NOP << 16 | (uint32_t)KIND_SACK_OK << 8 | 2);
	return (uint8_t)(len + 4);
}

uint8_t demi_tcp_put_ts(uint8_t *p, uint8_t len, uint32_t val, uint32_t ecr)
{
	put32(p + len, (uint32_t)KIND_NOP << 24 | (uint32_t)KIND_NOP << 16 | (uint32_t)KIND_TS << 8 | 10);
	put32(p + len + 4, val);
	put32(p + len + 8, ecr);
	return (uint8_t)(len + DEMI_TCP_TS_LEN);
}

uint8_t demi_tcp_put_sacks(uint8_t *p, uint8_t len, const uint32_t (*ranges)[2], unsigned int n)
{
	unsigned int room = (DEMI_TCP_OPTS_MAX - 4U - len) / 8;

	if (n > room)
		n = room;
	if (!n)
		return len;
	put32(p + len, (uint32_t)KIND_NOP << 24 | (uint32_t)KIND_NOP << 16 | (uint32_t)KIND_SACK << 8 | (2 + 8 * n));
	len = (uint8_t)(len + 4);
	for (unsigned int i = 0; i < n; i++, len = (uint8_t)(len + 8)) {
		put32(p + len, ranges[i][0]);
		put32(p + len + 4, ranges[i][1]);
	}
	return len;
}
