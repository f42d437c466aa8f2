/* SPDX-License-Identifier: MIT */
/* Selective acknowledgements that have arrived: RFC 2018, RFC 2883, RFC 6675 3. */
#include "inet/tcp_stack.h"

/* RFC 2883 4: the first block is below the acknowledgement, or inside the second one. */
static bool is_dsack(const struct demi_tcp_in *i)
{
	const uint32_t start = i->o.sacks[0].start, end = i->o.sacks[0].end;

	if (seq_lt(start, i->ack))
		return seq_leq(end, i->ack) && seq_lt(start, end);
	return i->o.nsacks > 1 && seq_leq(i->o.sacks[1].start, start) && seq_leq(end, i->o.sacks[1].end);
}

/* A block that can be true: of what is out (RFC 2018 5, and what RFC 6528 is for). */
static bool valid(const struct demi_tcp *t, uint32_t start, uint32_t end)
{
	return seq_lt(start, end) && seq_leq(end, t->snd_nxt) && seq_leq(t->snd_una, start);
}

/* Mark [start, end); bytes that are new. */
static uint32_t mark(struct demi_tcp *t, uint32_t start, uint32_t end)
{
	struct demi_tcp_rec *rec, *next;
	uint32_t bytes = 0;

	for (rec = t->rec_head; rec && seq_lt(rec->seq, end); rec = next) {
		next = rec->next;
		if (seq_leq(rec->end, start) || rec->flags & DEMI_TCP_REC_SACKED)
			continue;
		/* records are cut where the block begins and ends, so that each is either there or not */
		if (seq_lt(rec->seq, start)) {
			rec = demi_tcp_rec_split(t, rec, start);
			if (!rec)
				return bytes;
		}
		if (seq_lt(end, rec->end) && !demi_tcp_rec_split(t, rec, end))
			return bytes;
		next = rec->next;
		demi_tcp_rack_delivered(t, rec);
		bytes += demi_tcp_rec_len(rec);
		if (!(rec->flags & DEMI_TCP_REC_EVER))
			t->sack_orig = true;
		demi_tcp_rec_sacked(t, rec);
	}
	return bytes;
}

/* What one acknowledgement reports arrived in no order: not to be taken for reordering (RFC 8985 6.2, step 3). */
static void sort(struct demi_tcp_range *r, unsigned int n)
{
	for (unsigned int i = 1; i < n; i++) {
		struct demi_tcp_range x = r[i];
		unsigned int k = i;

		for (; k > 0 && seq_lt(x.start, r[k - 1].start); k--)
			r[k] = r[k - 1];
		r[k] = x;
	}
}

uint32_t demi_tcp_sack_input(struct demi_tcp *t, const struct demi_tcp_in *i, bool *dsack)
{
	struct demi_tcp_range blocks[4];
	unsigned int k = 0, n = 0;
	uint32_t bytes = 0;

	t->sack_orig = false;
	if (is_dsack(i)) {
		*dsack = true;
		t->s.in->count.TcpExtTCPDSACKRecv++;
		if (t->undo_bytes) {
			uint32_t twice = i->o.sacks[0].end - i->o.sacks[0].start;

			t->undo_bytes -= twice < t->undo_bytes ? twice : t->undo_bytes;
		}
		demi_tcp_rack_dsack(t);
		k = 1;
	}
	for (; k < i->o.nsacks; k++) {
		if (valid(t, i->o.sacks[k].start, i->o.sacks[k].end))
			blocks[n++] = (struct demi_tcp_range){ i->o.sacks[k].start, i->o.sacks[k].end };
	}
	sort(blocks, n);
	for (k = 0; k < n; k++)
		bytes += mark(t, blocks[k].start, blocks[k].end);
	return bytes;
}
