/* SPDX-License-Identifier: MIT */
/* The peer that is the limit: two bare rings in memory that two spinning processes share. */
#include "ring.h"
#include "side.h"

#include <errno.h>
#include <stdlib.h>

struct ring_client {
	struct ring *out, *in;
	struct flow flow;
	char *msg;
};

static struct ring *ring_of(struct side *s, unsigned int direction)
{
	return (struct ring *)((char *)s->shm + direction * ring_bytes(s->opts->size));
}

static size_t shm_bytes(const struct opts *o)
{
	return 2 * ring_bytes(o->size);
}

static int ring_serve(struct side *s)
{
	struct ring *in = ring_of(s, 0), *out = ring_of(s, 1);
	struct ring_slot *slot;
	unsigned int empty = 0;

	in->stride = out->stride = ring_stride(s->opts->size);
	side_ready(s);
	for (;;) {
		slot = ring_peek(in);
		if (!slot) {
			if (!side_spin(s, &empty))
				return 0;
			continue;
		}
		if (s->mode == MODE_STREAM) {
			atomic_fetch_add_explicit(&s->bytes, slot->len, memory_order_relaxed);
		} else {
			while (!ring_put(out, slot->data, slot->len))
				if (!side_spin(s, &empty))
					return 0;
		}
		ring_drop(in);
	}
}

static int ring_open(struct side *s, void **client)
{
	struct ring_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*client = c;
	c->out = ring_of(s, 0);
	c->in = ring_of(s, 1);
	c->msg = calloc(1, s->opts->size);
	return c->msg ? flow_init(&c->flow, s->opts) : -ENOMEM;
}

static int ring_flood(struct side *s, struct ring_client *c, struct slice_clock *clock)
{
	while (slice_next(clock, ticks())) {
		while (!ring_put(c->out, c->msg, s->opts->size))
			cpu_relax();
		s->slice.ops++;
	}
	return 0;
}

static int ring_run(struct side *s, void *client)
{
	struct ring_client *c = client;
	struct slice_clock clock;
	struct ring_slot *slot;
	uint64_t t = ticks();
	uint32_t w, under_way = 0;

	slice_begin(s, &clock, t);
	if (s->mode == MODE_STREAM)
		return ring_flood(s, c, &clock);
	for (w = 0; w < s->opts->window && slice_next(&clock, t); w++, under_way++) {
		flow_sent(&c->flow, t);
		ring_put(c->out, c->msg, s->opts->size);
	}
	while (under_way) {
		slot = ring_peek(c->in);
		if (!slot) {
			cpu_relax();
			continue;
		}
		t = ticks();
		under_way -= flow_got(&c->flow, s, slot->len, t);
		ring_drop(c->in);
		if (slice_next(&clock, t)) {
			flow_sent(&c->flow, t);
			ring_put(c->out, c->msg, s->opts->size);
			under_way++;
		}
	}
	return 0;
}

static void ring_close(struct side *s, void *client)
{
	struct ring_client *c = client;

	flow_free(&c->flow);
	free(c->msg);
	free(c);
}

static bool ring_can(enum over over, enum mode mode)
{
	return over == OVER_PIPE;
}

const struct side_kind side_ring = {
	.name = "ring-raw",
	.can = ring_can,
	.shm_bytes = shm_bytes,
	.serve = ring_serve,
	.open = ring_open,
	.run = ring_run,
	.close = ring_close,
};
