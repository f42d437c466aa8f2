/* SPDX-License-Identifier: MIT */
/* This layer's own packets: memory, headers, sending. */
#include "ether/dev.h"

#include "heap/heap.h"
#include "inet/cksum.h"

#include <string.h>

/*
 * Such a packet lies in one heap object, behind this, the device's headroom and the frame's header. Its cookie is the
 * object with bit 0 set. All that exist are on one list, for the end of the device.
 */
struct demi_ether_own {
	struct demi_ether_own *next, **at;
};

static uint32_t head_bytes(const struct demi_ether *e)
{
	return (uint32_t)(sizeof(struct demi_ether_own) + e->low->tx_headroom_bytes + DEMI_ETHER_HLEN + 15U) & ~15U;
}

uint8_t *demi_ether_alloc(struct demi_ether *e, uint32_t len)
{
	struct demi_ether_own *o = e->low->ops->buf_alloc(e->low, head_bytes(e) + len);
	uint8_t *ip;

	if (!o)
		return NULL;
	ip = (uint8_t *)o + head_bytes(e);
	o->next = e->own;
	o->at = &e->own;
	if (o->next)
		o->next->at = &o->next;
	e->own = o;
	memset(ip, 0, len);
	return ip;
}

uint64_t demi_ether_own_cookie(const struct demi_ether *e, const uint8_t *ip)
{
	return (uintptr_t)(ip - head_bytes(e)) | 1;
}

void demi_ether_own_free(struct demi_ether *e, uint64_t cookie)
{
	struct demi_ether_own *o = (struct demi_ether_own *)(uintptr_t)(cookie & ~1ULL);

	*o->at = o->next;
	if (o->next)
		o->next->at = o->at;
	demi_heap_free(o);
}

void demi_ether_own_exit(struct demi_ether *e)
{
	while (e->own)
		demi_ether_own_free(e, (uintptr_t)e->own);
}

static struct demi_pkt own_packet(const struct demi_ether *e, uint8_t *data, uint32_t len)
{
	return (struct demi_pkt){ .data = data, .len = len, .cookie = demi_ether_own_cookie(e, data) };
}

void demi_ether_send(struct demi_ether *e, uint8_t *ip, uint32_t len, const uint8_t *mac)
{
	struct demi_pkt p = own_packet(e, ip, len);

	if (mac ? demi_ether_transmit(e, &p, 1, mac) : demi_ether_output(e, &p, 1, len)) {
		e->tx_dropped++;
		demi_ether_own_free(e, p.cookie);
		return;
	}
	e->kick = true;
}

void demi_ether_send_arp(struct demi_ether *e, uint8_t *arp, uint32_t len, const uint8_t mac[6])
{
	struct demi_ether_hdr h = { .type = htons(DEMI_ETHER_TYPE_ARP) };
	struct demi_pkt p = own_packet(e, arp, len);

	memcpy(h.dst, mac, sizeof(h.dst));
	memcpy(h.src, e->low->mac, sizeof(h.src));
	p.data -= sizeof(h);
	p.len += (uint32_t)sizeof(h);
	memcpy(p.data, &h, sizeof(h));
	if (e->low->ops->tx(e->low, &p, 1) != 1) {
		e->tx_dropped++;
		demi_ether_own_free(e, p.cookie);
		return;
	}
	e->own_flying++;
	e->kick = true;
}

void demi_ether_put_ip4(uint8_t *to, uint32_t total, uint8_t proto, uint8_t ttl, const struct demi_ip *src,
			const struct demi_ip *dst, const uint8_t *options, uint32_t olen)
{
	struct demi_ip4_hdr h = {
		.ver_ihl = (uint8_t)(0x45 + olen / 4),
		.tot_len = htons((uint16_t)total),
		.frag_off = htons(DEMI_IP4_DF),
		.ttl = ttl,
		.proto = proto,
		.src = src->w[3],
		.dst = dst->w[3],
	};

	memcpy(to, &h, sizeof(h));
	if (olen)
		memcpy(to + sizeof(h), options, olen);
	h.check = (uint16_t)~demi_cksum_fold(demi_cksum_add(0, to, sizeof(h) + olen));
	memcpy(to, &h, sizeof(h));
}

void demi_ether_put_ip6(uint8_t *to, uint32_t payload, uint8_t next, uint8_t hops, const struct demi_ip *src,
			const struct demi_ip *dst)
{
	struct demi_ip6_hdr h = { .ver_tc_flow = htonl(6U << 28) };

	h.payload_len = htons((uint16_t)payload);
	h.next = next;
	h.hops = hops;
	memcpy(h.src, src->b, sizeof(h.src));
	memcpy(h.dst, dst->b, sizeof(h.dst));
	memcpy(to, &h, sizeof(h));
}

void demi_ether_sum_icmp6(uint8_t *icmp, uint32_t len, const struct demi_ip *src, const struct demi_ip *dst)
{
	uint64_t sum = demi_cksum_pseudo(src, dst, IPPROTO_ICMPV6) + demi_cksum_len(len);
	uint16_t check = 0;

	memcpy(icmp + 2, &check, sizeof(check));
	check = (uint16_t)~demi_cksum_fold(demi_cksum_add(sum, icmp, len));
	memcpy(icmp + 2, &check, sizeof(check));
}
