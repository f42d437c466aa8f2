/* SPDX-License-Identifier: MIT */
/* ICMP, RFC 792 and RFC 1122 3.2.2, and ICMPv6, RFC 4443: echoes and errors. What errors mean is the stack's. */
#include "ether/dev.h"

#include "inet/cksum.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

/* Errors in a second, and at once: as Linux (icmp_msgs_per_sec, icmp_msgs_burst). RFC 4443 2.4 (f) */
#define ERRORS_PER_S 1000
#define ERRORS_BURST 50

/* As much of the packet as fits: RFC 1812 4.3.2.3, RFC 4443 2.4 (c) */
#define ERROR4_MAX 576
#define ERROR6_MAX 1280

#define TTL 64

/* ---- echoes ---- */

/*
 * The answer goes where the frame came from: nothing has to be known or remembered of who asks. What has to be cut goes
 * by route.
 */
static void echo(struct demi_ether *e, const struct demi_ether_in *in, const struct demi_ip *src)
{
	bool v4 = demi_ip_is4(src);
	uint32_t hlen = v4 ? (uint32_t)sizeof(struct demi_ip4_hdr) : (uint32_t)sizeof(struct demi_ip6_hdr);
	uint32_t len = in->end - in->off, total = hlen + len;
	bool whole = total <= demi_ether_path_mtu(e, &in->src);
	uint8_t *ip, *m;
	uint16_t sum = 0;

	if (total > UINT16_MAX)
		return;
	ip = demi_ether_alloc(e, total);
	if (!ip)
		return;
	m = ip + hlen;
	demi_pkt_copy(m, in->p, in->off, len);
	m[0] = v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	m[1] = 0;
	if (v4) {
		demi_ether_put_ip4(ip, total, IPPROTO_ICMP, TTL, src, &in->src, NULL, 0);
		if (!whole) { /* the header's checksum is made when it is cut */
			uint16_t id = (uint16_t)demi_ether_random(e, 65536);

			ip[6] = 0;
			memcpy(ip + 4, &id, sizeof(id));
		}
		memcpy(m + 2, &sum, sizeof(sum));
		sum = (uint16_t)~demi_cksum_fold(demi_cksum_add(0, m, len));
		memcpy(m + 2, &sum, sizeof(sum));
	} else {
		demi_ether_put_ip6(ip, len, IPPROTO_ICMPV6, TTL, src, &in->src);
		demi_ether_sum_icmp6(m, len, src, &in->src);
	}
	demi_ether_send(e, ip, total, whole ? in->from : NULL);
}

/* ---- errors of ours ---- */

static bool may_send(struct demi_ether *e)
{
	uint64_t now_ns = demi_ether_now(e), add = (now_ns - e->err_ns) / (DEMI_ETHER_S / ERRORS_PER_S);

	if (add) {
		e->err_ns = now_ns;
		e->err_tokens = add + e->err_tokens > ERRORS_BURST ? ERRORS_BURST : e->err_tokens + add;
	}
	if (!e->err_tokens)
		return false;
	e->err_tokens--;
	return true;
}

void demi_ether_icmp_error(struct demi_ether *e, const struct demi_ether_in *in, uint8_t type, uint8_t code,
			   uint32_t info)
{
	bool v4 = demi_ip_is4(&in->src);
	uint32_t hlen = v4 ? (uint32_t)sizeof(struct demi_ip4_hdr) : (uint32_t)sizeof(struct demi_ip6_hdr);
	uint32_t room = (v4 ? ERROR4_MAX : ERROR6_MAX) - hlen - 8, n = in->end < room ? in->end : room;
	uint16_t sum;
	uint8_t *ip;

	/* never about what was sent to many, or comes from nobody */
	if (in->mcast || demi_ip_is_any(&in->src) || !may_send(e))
		return;
	ip = demi_ether_alloc(e, hlen + 8 + n);
	if (!ip)
		return;
	ip[hlen] = type;
	ip[hlen + 1] = code;
	info = htonl(info);
	memcpy(ip + hlen + 4, &info, sizeof(info));
	demi_pkt_copy(ip + hlen + 8, in->p, 0, n);
	if (v4) {
		demi_ether_put_ip4(ip, hlen + 8 + n, IPPROTO_ICMP, TTL, &in->dst, &in->src, NULL, 0);
		sum = (uint16_t)~demi_cksum_fold(demi_cksum_add(0, ip + hlen, 8 + n));
		memcpy(ip + hlen + 2, &sum, sizeof(sum));
	} else {
		demi_ether_put_ip6(ip, 8 + n, IPPROTO_ICMPV6, TTL, &in->dst, &in->src);
		demi_ether_sum_icmp6(ip + hlen, 8 + n, &in->dst, &in->src);
	}
	demi_ether_send(e, ip, hlen + 8 + n, in->from);
}

/* ---- received ---- */

/*
 * RFC 1191, RFC 8201: the path to where a packet of ours went has less room. RFC 5927: what is quoted must at least
 * have come from one of our addresses; the stack looks for the socket.
 */
static void too_big(struct demi_ether *e, const struct demi_ether_in *in, uint32_t mtu)
{
	const uint8_t *q = in->p->data + in->off + 8;
	uint32_t len = in->end - in->off - 8;
	struct demi_ip src, dst;

	if (demi_ip_is4(&in->src)) {
		struct demi_ip4_hdr h;

		if (len < sizeof(h))
			return;
		memcpy(&h, q, sizeof(h));
		src = demi_ip_from4(h.src);
		dst = demi_ip_from4(h.dst);
	} else {
		struct demi_ip6_hdr h;

		if (len < sizeof(h))
			return;
		memcpy(&h, q, sizeof(h));
		memcpy(src.b, h.src, sizeof(src.b));
		memcpy(dst.b, h.dst, sizeof(dst.b));
		if (demi_ip_is4(&src) || demi_ip_is4(&dst))
			return;
	}
	if (demi_ether_is_local(e, &src) && !demi_ip_is_multicast(&dst) && mtu)
		demi_ether_path_mtu_set(e, &dst, mtu);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static bool in_one_piece(const struct demi_ether_in *in)
{
	return in->end <= in->p->len;
}

bool demi_ether_icmp4_input(struct demi_ether *e, struct demi_ether_in *in)
{
	uint32_t len = in->end - in->off;
	const uint8_t *m = in->p->data + in->off;

	if (len < 8 || in->off + 8 > in->p->len || demi_cksum_fold(demi_cksum_pkt(0, in->p, in->off, len)) != 0xffff) {
		e->rx_errors++;
		return false;
	}
	switch (m[0]) {
	case ICMP_ECHO:
		if (!in->mcast) /* RFC 1122 3.2.2.6: it may be ignored, and is a weapon */
			echo(e, in, &in->dst);
		return false;
	case ICMP_DEST_UNREACH:
		if (m[1] == ICMP_FRAG_NEEDED && in_one_piece(in))
			too_big(e, in, get32(m + 4) & 0xffff);
		return !in->mcast;
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return !in->mcast;
	default: /* RFC 1122 3.2.2: unknown ones silently; redirects are not followed */
		return false;
	}
}

static void echo6(struct demi_ether *e, const struct demi_ether_in *in)
{
	const struct demi_ether_addr *a;

	if (demi_ip_is_any(&in->src))
		return;
	if (!in->mcast) {
		echo(e, in, &in->dst);
		return;
	}
	a = demi_ether_addr_select(e, &in->src);
	if (a && may_send(e)) /* RFC 4443 4.2 lets it be answered */
		echo(e, in, &a->ip);
}

bool demi_ether_icmp6_input(struct demi_ether *e, struct demi_ether_in *in)
{
	uint32_t len = in->end - in->off;
	const uint8_t *m = in->p->data + in->off;
	uint64_t sum = demi_cksum_pseudo(&in->src, &in->dst, IPPROTO_ICMPV6) + demi_cksum_len(len);

	if (len < 8 || in->off + 8 > in->p->len ||
	    demi_cksum_fold(demi_cksum_pkt(sum, in->p, in->off, len)) != 0xffff) {
		e->rx_errors++;
		return false;
	}
	if (m[0] < ND_ROUTER_SOLICIT && demi_ether_is_local(e, &in->src)) {
		e->rx_errors++;
		return false;
	}
	switch (m[0]) {
	case ICMP6_ECHO_REQUEST:
		echo6(e, in);
		return false;
	case ICMP6_PACKET_TOO_BIG:
		if (in_one_piece(in))
			too_big(e, in, get32(m + 4));
		return !in->mcast;
	case ICMP6_DST_UNREACH:
	case ICMP6_TIME_EXCEEDED:
	case ICMP6_PARAM_PROB:
		return !in->mcast;
	case MLD_LISTENER_QUERY:
	case MLD_LISTENER_REPORT:
		if (in_one_piece(in))
			demi_ether_mld_input(e, in);
		return false;
	case ND_ROUTER_ADVERT:
	case ND_NEIGHBOR_SOLICIT:
	case ND_NEIGHBOR_ADVERT:
		if (in_one_piece(in) && !in->joined) /* RFC 6980: never fragmented */
			demi_ether_nd_input(e, in);
		return false;
	default:
		return false;
	}
}
