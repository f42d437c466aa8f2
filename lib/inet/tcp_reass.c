/* SPDX-License-Identifier: MIT */
/* Payload that came before its turn (RFC 9293 3.10.7.4, SHLD-31), and what SACK says of it (RFC 2018, RFC 2883). */
#include "heap/heap.h"
#include "inet/tcp_stack.h"

#include <string.h>

#define COMPACT_BELOW 4

/* ---- what is reported ---- */

void demi_tcp_dsack(struct demi_tcp *t, uint32_t start, uint32_t end)
{
	if (!t->sack_ok)
		return;
	t->dsack_range.start = start;
	t->dsack_range.end = end;
	t->dsack = true;
}

/* RFC 2018 4: the block with the newest segment first, then the others in the order in which they were reported. */
static void sacks_add(struct demi_tcp *t, uint32_t start, uint32_t end)
{
	struct demi_tcp_range r = { start, end };
	unsigned int n = 0;

	if (!t->sack_ok)
		return;
	for (unsigned int i = 0; i < t->nsacks; i++) {
		struct demi_tcp_range old = t->sacks[i];

		if (seq_lt(r.end, old.start) || seq_lt(old.end, r.start)) {
			t->sacks[n++] = old;
			continue;
		}
		if (seq_lt(old.start, r.start))
			r.start = old.start;
		if (seq_lt(r.end, old.end))
			r.end = old.end;
	}
	if (n == DEMI_TCP_SACKS)
		n--;
	memmove(t->sacks + 1, t->sacks, n * sizeof(t->sacks[0]));
	t->sacks[0] = r;
	t->nsacks = (uint8_t)(n + 1);
}

static void sacks_clean(struct demi_tcp *t)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < t->nsacks; i++) {
		if (seq_lt(t->rcv_nxt, t->sacks[i].start))
			t->sacks[n++] = t->sacks[i];
	}
	t->nsacks = (uint8_t)n;
}

/* ---- the list: in order, without overlaps ---- */

static void node_free(struct demi_tcp *t, struct demi_tcp_rx *rx)
{
	t->rx_bytes -= rx->charge;
	demi_heap_free(rx->data);
	demi_tcp_rx_free(t->s.in, rx);
}

/* Where a node at @seq belongs: behind all that begin before or with it. */
static struct demi_tcp_rx **place(struct demi_tcp *t, uint32_t seq, struct demi_tcp_rx **before)
{
	struct demi_tcp_rx **at = &t->ooo;

	*before = NULL;
	while (*at && seq_leq((*at)->seq, seq)) {
		*before = *at;
		at = &(*at)->next;
	}
	return at;
}

/* Cut off what is there already. False: nothing is left of it. */
static bool trim(struct demi_tcp *t, uint8_t **data, uint32_t *seq, uint32_t *len)
{
	struct demi_tcp_rx *before, **at = place(t, *seq, &before);

	/* what begins where one ends may be in the next one, too */
	while (before && seq_lt(*seq, before->seq + before->len)) {
		uint32_t n = before->seq + before->len - *seq;

		demi_tcp_dsack(t, *seq, *seq + (n < *len ? n : *len));
		if (n >= *len)
			return false;
		*data += n;
		*seq += n;
		*len -= n;
		at = place(t, *seq, &before);
	}
	/* nodes that it covers go; one that it overlaps keeps its bytes */
	while (*at && seq_leq((*at)->seq + (*at)->len, *seq + *len)) {
		struct demi_tcp_rx *rx = *at;

		demi_tcp_dsack(t, rx->seq, rx->seq + rx->len);
		*at = rx->next;
		node_free(t, rx);
	}
	if (*at && seq_lt((*at)->seq, *seq + *len)) {
		demi_tcp_dsack(t, (*at)->seq, *seq + *len);
		*len = (*at)->seq - *seq;
	}
	return *len != 0;
}

/* True: the buffer is kept. */
static bool insert(struct demi_tcp *t, uint8_t *data, uint32_t seq, uint32_t len)
{
	uint32_t size = t->s.in->dev->rx_buf_bytes;
	struct demi_tcp_rx *before, **at, *rx;
	bool kept = false;

	if (!trim(t, &data, &seq, &len))
		return false;
	at = place(t, seq, &before);
	if (before && before->seq + before->len == seq && before->room >= len) {
		memcpy(before->data + before->len, data, len);
		t->s.in->ctx->count.copied_bytes += len;
		before->len += len;
		before->room -= len;
		return false;
	}
	/* RFC 2018 8 lets it be thrown away: memory has a limit, whatever the window promised */
	if (t->rx_bytes + (len < size / COMPACT_BELOW ? len : size) > 2 * t->s.rcvbuf_bytes) {
		t->s.in->count.TcpExtTCPOFODrop++;
		return false;
	}
	rx = len < size / COMPACT_BELOW ? demi_tcp_rx_copy(t, data, len) : NULL;
	if (!rx) {
		rx = demi_tcp_rx_node(t->s.in);
		if (!rx)
			return false;
		rx->data = data;
		rx->len = len;
		rx->room = 0;
		rx->charge = size;
		kept = true;
	}
	rx->seq = seq;
	rx->next = *at;
	*at = rx;
	t->rx_bytes += rx->charge;
	return kept;
}

/* Is [seq, seq + len) in the list now? */
static void report(struct demi_tcp *t, uint32_t seq, uint32_t len)
{
	uint32_t start = 0, end = 0;
	bool on = false;

	for (struct demi_tcp_rx *rx = t->ooo; rx; rx = rx->next) {
		if (on && rx->seq == end) {
			end += rx->len;
			continue;
		}
		if (on && seq_leq(start, seq) && seq_lt(seq, end))
			break;
		start = rx->seq;
		end = rx->seq + rx->len;
		on = true;
	}
	if (on && seq_lt(start, seq + len) && seq_lt(seq, end))
		sacks_add(t, start, end);
}

void demi_tcp_ooo_add(struct demi_tcp *t, const struct demi_inet_rxpkt *r, uint32_t off, uint32_t len, uint32_t seq)
{
	struct demi_inet *in = t->s.in;
	uint32_t first = seq, total = len;

	in->count.TcpExtTCPOFOQueue++;
	for (uint32_t i = 0; i < r->segs; i++) {
		uint8_t *data = r->p[i].data;
		uint32_t n = r->p[i].len;

		if (off >= n || !len) {
			off -= off < n ? off : n;
			in->recycle[in->nrecycle++] = data;
			continue;
		}
		n = n - off < len ? n - off : len;
		if (!insert(t, data + off, seq, n))
			in->recycle[in->nrecycle++] = data;
		seq += n;
		len -= n;
		off = 0;
	}
	report(t, first, total);
}

void demi_tcp_ooo_merge(struct demi_tcp *t)
{
	struct demi_tcp_rx *rx;

	while ((rx = t->ooo) && seq_leq(rx->seq, t->rcv_nxt)) {
		uint32_t old = t->rcv_nxt - rx->seq;

		t->ooo = rx->next;
		if (old >= rx->len || t->framed || t->s.shut_rd || t->s.q.closed) {
			if (old < rx->len) {
				if (t->framed && !t->s.shut_rd && !t->s.q.closed)
					demi_tcp_rx_framed(t, rx->data + old, rx->len - old);
				t->rcv_nxt = rx->seq + rx->len;
			}
			node_free(t, rx);
			continue;
		}
		if (old)
			demi_tcp_dsack(t, rx->seq, t->rcv_nxt);
		rx->data += old;
		rx->len -= old;
		t->rcv_nxt += rx->len;
		demi_tcp_rx_add(t, rx);
	}
	sacks_clean(t);
	demi_tcp_rx_deliver(t);
}

void demi_tcp_ooo_drop(struct demi_tcp *t)
{
	struct demi_tcp_rx *rx;

	while ((rx = t->ooo)) {
		t->ooo = rx->next;
		node_free(t, rx);
	}
	t->nsacks = 0;
}
