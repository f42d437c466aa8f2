/* SPDX-License-Identifier: MIT */
/* TCP segments as packets: headers, payload by reference, checksums or what the device needs to make them. */
#include "inet/cksum.h"
#include "inet/tcp.h"
#include "inet/tx.h"

#include "heap/heap.h"

#include <string.h>

static void put_ip4(struct demi_inet *in, const struct demi_tcp_out *o, uint8_t *to, uint32_t total)
{
	struct demi_ip4_hdr h = {
		.ver_ihl = 0x45,
		.tos = o->tos,
		.tot_len = htons((uint16_t)total),
		.frag_off = o->df ? htons(DEMI_IP4_DF) : 0, /* RFC 6864: then the identification means nothing */
		.ttl = o->ttl,
		.proto = IPPROTO_TCP,
		.src = o->src->w[3],
		.dst = o->dst->w[3],
	};

	if (!o->df)
		h.id = demi_inet_next_id(in, o->src, o->dst);
	if (!(in->caps & DEMI_PKTDEV_C_TX_IP_CSUM))
		h.check = (uint16_t)~demi_cksum_fold(demi_cksum_ip4(&h));
	memcpy(to, &h, sizeof(h));
	in->count.IpOutRequests++;
}

static void put_ip6(struct demi_inet *in, const struct demi_tcp_out *o, uint8_t *to, uint32_t total)
{
	struct demi_ip6_hdr h = { .ver_tc_flow = htonl(6U << 28 | (uint32_t)o->tos << 20) };

	h.payload_len = htons((uint16_t)(total - sizeof(h)));
	h.next = IPPROTO_TCP;
	h.hops = o->ttl;
	memcpy(h.src, o->src->b, sizeof(h.src));
	memcpy(h.dst, o->dst->b, sizeof(h.dst));
	memcpy(to, &h, sizeof(h));
	in->count.Ip6OutRequests++;
}

static inline uint32_t ip_bytes(const struct demi_tcp_out *o)
{
	return demi_ip_is4(o->dst) ? sizeof(struct demi_ip4_hdr) : sizeof(struct demi_ip6_hdr);
}

static inline uint32_t header_bytes(const struct demi_tcp_out *o)
{
	return ip_bytes(o) + (uint32_t)sizeof(struct demi_tcp_hdr) + o->olen;
}

/* The payload of @len bytes is in place behind the headers: its checksum may be made here. */
static void put_headers(struct demi_inet *in, struct demi_inet_tx *tx, const struct demi_tcp_out *o, uint32_t len)
{
	uint32_t off = ip_bytes(o), tlen = (uint32_t)sizeof(struct demi_tcp_hdr) + o->olen + len;
	uint64_t sum = o->pseudo_sum + demi_cksum_len(tlen);
	struct demi_pkt *p = &tx->pkt[0];
	struct demi_tcp_hdr h = {
		.sport = o->sport,
		.dport = o->dport,
		.seq = htonl(o->seq),
		.ack = htonl(o->ack),
		.doff = (uint8_t)((sizeof(h) + o->olen) << 2),
		.flags = o->flags,
		.wnd = htons(o->wnd),
		.check = demi_cksum_fold(sum),
	};

	if (off == sizeof(struct demi_ip4_hdr))
		put_ip4(in, o, p->data, off + tlen);
	else
		put_ip6(in, o, p->data, off + tlen);
	if (o->olen)
		memcpy(p->data + off + sizeof(h), o->opts, o->olen);
	if (in->caps & DEMI_PKTDEV_C_TX_CSUM) {
		p->flags |= DEMI_PKT_F_CSUM_PARTIAL;
		p->csum_start = (uint16_t)off;
		p->csum_offset = offsetof(struct demi_tcp_hdr, check);
		if (o->gso_size) {
			p->flags |= off == sizeof(struct demi_ip4_hdr) ? DEMI_PKT_F_GSO_TCP4 : DEMI_PKT_F_GSO_TCP6;
			p->gso_size = o->gso_size;
			p->hdr_len = (uint16_t)header_bytes(o);
			if (o->flags & DEMI_TH_CWR)
				p->flags |= DEMI_PKT_F_GSO_ECN;
		}
		memcpy(p->data + off, &h, sizeof(h));
	} else {
		h.check = 0;
		memcpy(p->data + off, &h, sizeof(h));
		h.check = (uint16_t)~demi_cksum_fold(demi_cksum_pkt(sum, p, off, tlen));
		memcpy(p->data + off, &h, sizeof(h));
	}
	in->count.TcpOutSegs++;
}

static void queue(struct demi_inet *in, struct demi_tcp *t, struct demi_inet_tx *tx)
{
	tx->tcp = true;
	tx->s = t ? &t->s : NULL;
	tx->charge = 0;
	if (t)
		t->s.inflight++;
	demi_inet_tx_queue(in, tx);
}

void demi_tcp_send_bare(struct demi_inet *in, struct demi_tcp *t, const struct demi_tcp_out *o)
{
	struct demi_inet_tx *tx = demi_inet_tx_alloc(in, header_bytes(o), 0);

	if (!tx)
		return;
	put_headers(in, tx, o, 0);
	queue(in, t, tx);
}

static void copy_payload(struct demi_inet_tx *tx, const struct demi_tcp_chunk *c, uint32_t at, uint32_t len)
{
	uint8_t *to = tx->pkt[0].data + tx->pkt[0].len;

	tx->pkt[0].len += len;
	while (len) {
		uint32_t n = c->len - at < len ? c->len - at : len;

		memcpy(to, c->base + at, n);
		to += n;
		len -= n;
		at = 0;
		c = c->next;
	}
}

/* The caller has seen to it that there are entries enough: demi_tcp_chunks_fit(). */
static void refer_payload(struct demi_inet *in, struct demi_inet_tx *tx, struct demi_tcp_chunk *c, uint32_t at,
			  uint32_t len)
{
	for (; len; c = c->next, at = 0) {
		struct demi_pkt *e = &tx->pkt[tx->segs];
		uint32_t n = c->len - at < len ? c->len - at : len;

		if (!n)
			continue;
		*e = (struct demi_pkt){ .data = (uint8_t *)(uintptr_t)c->base + at, .len = n, .cookie = (uintptr_t)c };
		if (c->op && n >= in->zc_min_bytes)
			e->flags = DEMI_PKT_F_ZEROCOPY;
		tx->pkt[tx->segs - 1].flags |= DEMI_PKT_F_MORE;
		tx->lent |= (uint16_t)(1U << tx->segs++);
		c->refs++;
		len -= n;
	}
}

bool demi_tcp_send_data(struct demi_tcp *t, const struct demi_tcp_out *o, uint32_t len)
{
	struct demi_inet *in = t->s.in;
	struct demi_tcp_chunk *c = demi_tcp_chunk_at(t, o->seq);
	struct demi_inet_tx *tx;

	tx = demi_inet_tx_alloc(in, header_bytes(o), len <= DEMI_TCP_COPY_MAX ? len : 0);
	if (!tx)
		return false;
	if (len <= DEMI_TCP_COPY_MAX)
		copy_payload(tx, c, o->seq - c->seq, len);
	else
		refer_payload(in, tx, c, o->seq - c->seq, len);
	put_headers(in, tx, o, len);
	queue(in, t, tx);
	return true;
}

uint32_t demi_tcp_chunks_fit(struct demi_tcp *t, uint32_t seq, uint32_t len)
{
	const struct demi_tcp_chunk *c;
	uint32_t n;

	if (len <= DEMI_TCP_COPY_MAX)
		return len;
	c = demi_tcp_chunk_at(t, seq);
	n = c->len - (seq - c->seq);
	for (unsigned int segs = 2; n < len && segs < DEMI_INET_TX_SEGS; segs++) {
		c = c->next;
		n += c->len;
	}
	return n < len ? n : len;
}

/* RFC 9293 3.10.7.1 */
void demi_tcp_send_reset_to(struct demi_inet *in, const struct demi_tcp_in *i)
{
	const struct demi_demux_key *k = &i->r->key;
	struct demi_tcp_out o = {
		.src = &k->local, .dst = &k->remote, .sport = k->lport, .dport = k->rport, .ttl = 64, .df = true
	};

	/* RFC 1122 3.2.1.3: nobody answers for a group */
	if (i->flags & DEMI_TH_RST || demi_ip_is_multicast(&k->local) || demi_ip_is_broadcast(&k->local))
		return;
	o.pseudo_sum = demi_cksum_pseudo(&k->local, &k->remote, IPPROTO_TCP);
	if (i->flags & DEMI_TH_ACK) {
		o.seq = i->ack;
		o.flags = DEMI_TH_RST;
	} else {
		o.ack = i->seq + i->len + !!(i->flags & DEMI_TH_SYN) + !!(i->flags & DEMI_TH_FIN);
		o.flags = DEMI_TH_RST | DEMI_TH_ACK;
	}
	demi_tcp_send_bare(in, NULL, &o);
	in->count.TcpOutRsts++;
}

/* The packet is lost; loss recovery sees to it. A SYN that cannot even leave is told at once, as connect(2) does. */
void demi_tcp_frame_failed(struct demi_tcp *t, int err)
{
	if (t->dead)
		return;
	demi_tcp_settle(t);
	t->push.until_ns = 0; /* the next acknowledgement forgets the error, not by the fast way */
	t->soft_err = (uint32_t)err;
	if (t->state == DEMI_TCP_SYN_SENT &&
	    (err == EACCES || err == EPERM || err == ENETUNREACH || err == EHOSTUNREACH))
		demi_tcp_end(t, err);
}

void demi_tcp_frame_done(struct demi_inet *in, struct demi_inet_tx *tx, int err)
{
	struct demi_tcp *t = DEMI_TCP(tx->s);

	for (uint32_t i = 1; tx->lent >> i; i++) {
		if (tx->lent & 1U << i)
			demi_tcp_chunk_put(in, (struct demi_tcp_chunk *)(uintptr_t)tx->pkt[i].cookie);
	}
	tx->out = false;
	if (!tx->kept)
		demi_inet_tx_free(in, tx);
	if (!t)
		return;
	t->s.inflight--;
	if (__builtin_expect(err != 0, 0))
		demi_tcp_frame_failed(t, err);
	if (__builtin_expect(t->dead, 0))
		demi_tcp_put(t);
	else if (__builtin_expect(t->draining, 0))
		demi_tcp_drained(t);
}
