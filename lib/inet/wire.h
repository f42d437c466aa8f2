/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_WIRE_H
#define DEMI_INET_WIRE_H

/* Headers as they are on the wire: big-endian, at any alignment. */

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#define DEMI_WIRE __attribute__((packed))

/* As it stands in memory, at any alignment. */
static inline uint64_t demi_load64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t demi_load32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint16_t demi_load16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* RFC 791, 3.1 */
struct demi_ip4_hdr {
	uint8_t ver_ihl, tos;
	uint16_t tot_len, id, frag_off;
	uint8_t ttl, proto;
	uint16_t check;
	uint32_t src, dst;
} DEMI_WIRE;

#define DEMI_IP4_DF 0x4000
#define DEMI_IP4_MF 0x2000
#define DEMI_IP4_OFFSET 0x1fff

/* RFC 8200, 3 */
struct demi_ip6_hdr {
	uint32_t ver_tc_flow;
	uint16_t payload_len;
	uint8_t next, hops;
	uint8_t src[16], dst[16];
} DEMI_WIRE;

/* RFC 768 */
struct demi_udp_hdr {
	uint16_t sport, dport, len, check;
} DEMI_WIRE;

/* RFC 9293, 3.1 */
struct demi_tcp_hdr {
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t doff, flags; /* doff: in the upper half, in words of 4 bytes */
	uint16_t wnd, check, urg;
} DEMI_WIRE;

enum demi_tcp_flags {
	DEMI_TH_FIN = 1 << 0,
	DEMI_TH_SYN = 1 << 1,
	DEMI_TH_RST = 1 << 2,
	DEMI_TH_PSH = 1 << 3,
	DEMI_TH_ACK = 1 << 4,
	DEMI_TH_URG = 1 << 5,
	DEMI_TH_ECE = 1 << 6, /* RFC 3168 */
	DEMI_TH_CWR = 1 << 7,
};

/* RFC 792, RFC 4443: of errors; the packet that caused them follows */
struct demi_icmp_hdr {
	uint8_t type, code;
	uint16_t check;
	uint32_t info;
} DEMI_WIRE;

#endif /* DEMI_INET_WIRE_H */
