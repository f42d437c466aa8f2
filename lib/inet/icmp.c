/* SPDX-License-Identifier: MIT */
/*
 * ICMP errors about what was sent: RFC 792, RFC 1122 3.2.2, RFC 4443. Which errno, and whether it ends an operation
 * of a socket that did not ask for all of them (IP_RECVERR), is as Linux has it. Everything else is the kernel's.
 */
#include "inet/cksum.h"
#include "inet/sock.h"
#include "inet/wire.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

struct meaning {
	uint8_t err;
	bool hard;
};

/* By code of "destination unreachable". */
static const struct meaning unreach4[] = {
	[ICMP_NET_UNREACH] = { ENETUNREACH, false },	[ICMP_HOST_UNREACH] = { EHOSTUNREACH, false },
	[ICMP_PROT_UNREACH] = { ENOPROTOOPT, true },	[ICMP_PORT_UNREACH] = { ECONNREFUSED, true },
	[ICMP_FRAG_NEEDED] = { EMSGSIZE, false },	[ICMP_SR_FAILED] = { EOPNOTSUPP, false },
	[ICMP_NET_UNKNOWN] = { ENETUNREACH, true },	[ICMP_HOST_UNKNOWN] = { EHOSTDOWN, true },
	[ICMP_HOST_ISOLATED] = { ENONET, true },	[ICMP_NET_ANO] = { ENETUNREACH, true },
	[ICMP_HOST_ANO] = { EHOSTUNREACH, true },	[ICMP_NET_UNR_TOS] = { ENETUNREACH, false },
	[ICMP_HOST_UNR_TOS] = { EHOSTUNREACH, false },	[ICMP_PKT_FILTERED] = { EHOSTUNREACH, true },
	[ICMP_PREC_VIOLATION] = { EHOSTUNREACH, true }, [ICMP_PREC_CUTOFF] = { EHOSTUNREACH, true },
};

static const struct meaning unreach6[] = {
	{ ENETUNREACH, false }, { EACCES, true }, { EHOSTUNREACH, false }, { EHOSTUNREACH, false },
	{ ECONNREFUSED, true }, { EACCES, true }, { EACCES, true },
};

/* @q quotes a packet of UDP or TCP from @src to @dst, from its header on; at least 8 bytes are there. */
static void report(struct demi_inet *in, uint8_t proto, const struct demi_ip *src, const struct demi_ip *dst,
		   const uint8_t *q, const struct meaning *m, uint32_t mtu)
{
	struct demi_demux_key k = { .local = *src, .remote = *dst };
	struct demi_udp_hdr h;
	struct demi_inet_sock *s;

	memcpy(&h, q, sizeof(h));
	k.lport = h.sport;
	k.rport = h.dport;
	if (proto == IPPROTO_TCP) {
		uint32_t seq;

		memcpy(&seq, q + sizeof(uint32_t), sizeof(seq)); /* behind the ports, as UDP's */
		demi_tcp_icmp(in, &k, ntohl(seq), m->err, mtu);
		return;
	}
	s = demi_demux_find(&in->udp, &k);
	if (!s)
		return;
	if (m->err == EMSGSIZE) /* the path's MTU is known better now, by the kernel */
		demi_inet_routes_changed(in);
	demi_udp_error(s, m->err, m->hard);
}

static bool meaning4(struct demi_inet *in, const struct demi_icmp_hdr *h, struct meaning *m)
{
	switch (h->type) {
	case ICMP_DEST_UNREACH:
		in->count.IcmpInDestUnreachs++;
		if (h->code >= sizeof(unreach4) / sizeof(unreach4[0]))
			return false;
		*m = unreach4[h->code];
		return true;
	case ICMP_TIME_EXCEEDED:
		in->count.IcmpInTimeExcds++;
		*m = (struct meaning){ EHOSTUNREACH, false };
		return true;
	case ICMP_PARAMETERPROB:
		in->count.IcmpInParmProbs++;
		*m = (struct meaning){ EPROTO, true };
		return true;
	default:
		return false;
	}
}

static void error4(struct demi_inet *in, const struct demi_inet_rxpkt *r)
{
	const uint8_t *q = r->p->data + r->off + sizeof(struct demi_icmp_hdr);
	uint32_t len = r->len - (uint32_t)sizeof(struct demi_icmp_hdr), hlen;
	struct demi_icmp_hdr h;
	struct demi_ip4_hdr ip;
	struct demi_ip src, dst;
	struct meaning m;

	memcpy(&h, r->p->data + r->off, sizeof(h));
	if (!meaning4(in, &h, &m))
		return;
	if (len < sizeof(ip))
		goto bad;
	memcpy(&ip, q, sizeof(ip));
	hlen = (ip.ver_ihl & 15) * 4U;
	/* RFC 1122 3.2.2: the header and 8 bytes at least */
	if (ip.ver_ihl >> 4 != 4 || hlen < sizeof(ip) || len < hlen + sizeof(struct demi_udp_hdr))
		goto bad;
	if ((ip.proto != IPPROTO_UDP && ip.proto != IPPROTO_TCP) || ip.frag_off & htons(DEMI_IP4_OFFSET))
		return;
	src = demi_ip_from4(ip.src);
	dst = demi_ip_from4(ip.dst);
	report(in, ip.proto, &src, &dst, q + hlen, &m, ntohl(h.info) & 0xffff); /* RFC 1191 4 */
	return;
bad:
	in->count.IcmpInErrors++;
}

/* All of it must lie in one piece; errors are short. */
static bool whole(const struct demi_inet_rxpkt *r)
{
	return r->len >= sizeof(struct demi_icmp_hdr) && r->off + r->len <= r->p->len;
}

void demi_icmp4_input(struct demi_inet *in, const struct demi_inet_rxpkt *r)
{
	in->count.IcmpInMsgs++;
	if (!whole(r))
		in->count.IcmpInErrors++;
	else if (!demi_inet_csum_known(r) && demi_cksum_fold(demi_cksum_add(0, r->p->data + r->off, r->len)) != 0xffff)
		in->count.IcmpInCsumErrors++;
	else
		error4(in, r);
	demi_inet_drop(in, r->p, r->segs);
}

static bool meaning6(struct demi_inet *in, const struct demi_icmp_hdr *h, struct meaning *m)
{
	switch (h->type) {
	case ICMP6_DST_UNREACH:
		in->count.Icmp6InDestUnreachs++;
		if (h->code >= sizeof(unreach6) / sizeof(unreach6[0]))
			return false;
		*m = unreach6[h->code];
		return true;
	case ICMP6_PACKET_TOO_BIG:
		in->count.Icmp6InPktTooBigs++;
		*m = (struct meaning){ EMSGSIZE, false };
		return true;
	case ICMP6_TIME_EXCEEDED:
		in->count.Icmp6InTimeExcds++;
		*m = (struct meaning){ EHOSTUNREACH, false };
		return true;
	case ICMP6_PARAM_PROB:
		in->count.Icmp6InParmProblems++;
		*m = (struct meaning){ EPROTO, true };
		return true;
	default:
		return false;
	}
}

static void error6(struct demi_inet *in, const struct demi_inet_rxpkt *r)
{
	const uint8_t *q = r->p->data + r->off + sizeof(struct demi_icmp_hdr);
	uint32_t len = r->len - (uint32_t)sizeof(struct demi_icmp_hdr), skip = sizeof(struct demi_ip6_hdr);
	struct demi_icmp_hdr h;
	struct demi_ip6_hdr ip;
	struct demi_ip src, dst;
	struct meaning m;

	memcpy(&h, r->p->data + r->off, sizeof(h));
	if (!meaning6(in, &h, &m))
		return;
	if (len < skip + sizeof(struct demi_udp_hdr) || q[0] >> 4 != 6) {
		in->count.Icmp6InErrors++;
		return;
	}
	memcpy(&ip, q, sizeof(ip));
	if (ip.next == IPPROTO_FRAGMENT && len >= skip + 8 + sizeof(struct demi_udp_hdr)) {
		/* the kernel may have cut what was sent; only the first part has the ports */
		if (q[skip + 2] || q[skip + 3] & 0xf8)
			return;
		ip.next = q[skip];
		skip += 8;
	}
	if (ip.next != IPPROTO_UDP && ip.next != IPPROTO_TCP)
		return;
	memcpy(src.b, ip.src, sizeof(src.b));
	memcpy(dst.b, ip.dst, sizeof(dst.b));
	if (!demi_ip_is4(&src) && !demi_ip_is4(&dst))
		report(in, ip.next, &src, &dst, q + skip, &m, ntohl(h.info));
}

void demi_icmp6_input(struct demi_inet *in, const struct demi_inet_rxpkt *r)
{
	uint64_t sum = demi_cksum_pseudo(&r->key.remote, &r->key.local, IPPROTO_ICMPV6) + demi_cksum_len(r->len);

	in->count.Icmp6InMsgs++;
	if (!whole(r))
		in->count.Icmp6InErrors++;
	else if (!demi_inet_csum_known(r) &&
		 demi_cksum_fold(demi_cksum_add(sum, r->p->data + r->off, r->len)) != 0xffff)
		in->count.Icmp6InCsumErrors++;
	else
		error6(in, r);
	demi_inet_drop(in, r->p, r->segs);
}
