/* SPDX-License-Identifier: MIT */
/* Messages on a stream socket: core/framing.h puts them together, here they are charged as input. */
#include "core/framing.h"
#include "uring/sock.h"

static void charge(struct demi_sock *s)
{
	uint32_t now = (uint32_t)demi_framing_bytes(s->framed);

	s->rx_bytes += now - s->framed_bytes;
	s->framed_bytes = now;
}

int demi_framed_set(struct demi_sock *s, int on)
{
	if (s->rx_wanted || s->tx || s->rx_head)
		return -EBUSY;
	if (!on)
		demi_framed_free(s);
	else if (!s->framed)
		s->framed = demi_framing_new(s->q.ctx, s->maxmsg);
	return !on || s->framed ? 0 : -ENOMEM;
}

int demi_framed_set_max(struct demi_sock *s, int bytes)
{
	if (bytes < 1)
		return -EINVAL;
	s->maxmsg = (uint32_t)bytes;
	if (s->framed)
		demi_framing_set_max(s->framed, s->maxmsg);
	return 0;
}

void demi_framed_free(struct demi_sock *s)
{
	demi_framing_free(s->framed);
	s->framed = NULL;
	s->rx_bytes -= s->framed_bytes;
	s->framed_bytes = 0;
}

bool demi_framed_cut_off(const struct demi_sock *s)
{
	return s->framed && demi_framing_cut_off(s->framed);
}

bool demi_framed_ready(const struct demi_sock *s)
{
	return s->framed && demi_framing_ready(s->framed);
}

int demi_framed_input(struct demi_sock *s, const char *data, uint32_t len)
{
	int err = demi_framing_input(s->framed, data, len);

	charge(s);
	return err;
}

void demi_framed_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes)
{
	demi_framing_answer(s->framed, op, max_bytes, s->maxsegs);
	charge(s);
}
