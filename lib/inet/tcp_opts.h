/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_TCP_OPTS_H
#define DEMI_INET_TCP_OPTS_H

/* TCP's options: RFC 9293 3.2, 7323, 2018. */

#include <stdbool.h>
#include <stdint.h>

#define DEMI_TCP_OPTS_MAX 40
#define DEMI_TCP_TS_LEN 12 /* timestamps with two fillers, as everybody sends them */
#define DEMI_TCP_WSCALE_MAX 14 /* RFC 7323 2.3 */

struct demi_tcp_opts {
	uint32_t tsval, tsecr;
	uint16_t mss; /* 0: none */
	uint8_t wscale;
	bool ts, ws, sack_ok;
	uint8_t nsacks;
	struct {
		uint32_t start, end;
	} sacks[4];
};

/* What is malformed ends the reading; what came before it counts. @syn: options that only a SYN may have do. */
void demi_tcp_opts_parse(struct demi_tcp_opts *o, const uint8_t *p, uint32_t len, bool syn);

/* Writers: append to @p, return the new length. All keep to multiples of 4. */
uint8_t demi_tcp_put_mss(uint8_t *p, uint8_t len, uint16_t mss);
uint8_t demi_tcp_put_wscale(uint8_t *p, uint8_t len, uint8_t shift);
uint8_t demi_tcp_put_sack_ok(uint8_t *p, uint8_t len);
uint8_t demi_tcp_put_ts(uint8_t *p, uint8_t len, uint32_t val, uint32_t ecr);
/* As many of the @n ranges as there is room for. */
uint8_t demi_tcp_put_sacks(uint8_t *p, uint8_t len, const uint32_t (*ranges)[2], unsigned int n);

#endif /* DEMI_INET_TCP_OPTS_H */
