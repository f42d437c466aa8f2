/* SPDX-License-Identifier: MIT */
/* wait: what a completion costs when many tokens are outstanding, beside the same with one. */
#include "clock.h"
#include "cmds.h"
#include "demi-loop.h"
#include "local.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000

/* Each side needs a context of its own, for demi_wait_next_n() sees all of a context's tokens: so a thread. */
struct wait_side {
	pthread_t thread;
	sem_t go, done;
	struct waiters w;
	uint32_t outstanding;
	const struct opts *opts;
	uint64_t ns, cost;
	int ret;
	bool quit;
};

/* Two readings of the clock with nothing between them: part of what every timed piece seems to take. */
static uint64_t ticks_cost(void)
{
	uint64_t best = UINT64_MAX, t;
	int i;

	for (i = 0; i < 10000; i++) {
		t = ticks();
		t = ticks() - t;
		if (t < best)
			best = t;
	}
	return best;
}

static int batch(struct wait_side *s)
{
	uint64_t sum = 0, t;
	int i, ret;

	for (i = 0; i < BATCH; i++) {
		ret = waiters_fire(&s->w);
		if (ret)
			return ret;
		t = ticks();
		ret = waiters_take(&s->w);
		t = ticks() - t;
		if (ret)
			return ret;
		sum += t > s->cost ? t - s->cost : 0;
	}
	s->ns = ticks_ns(sum);
	return 0;
}

static void sem_wait_all(sem_t *sem)
{
	while (sem_wait(sem) && errno == EINTR)
		;
}

static void *wait_thread(void *arg)
{
	struct wait_side *s = arg;

	s->cost = ticks_cost();
	s->ret = loop_init(s->opts->spin_us);
	if (!s->ret)
		s->ret = waiters_init(&s->w, s->outstanding, s->opts->active, !strcmp(s->opts->how, "any"));
	for (;;) {
		sem_post(&s->done);
		sem_wait_all(&s->go);
		if (s->quit)
			break;
		s->ret = batch(s);
	}
	waiters_free(&s->w);
	return NULL;
}

static int wait_open(const struct opts *o, void **state, uint32_t outstanding)
{
	struct wait_side *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->opts = o;
	s->outstanding = outstanding;
	sem_init(&s->go, 0, 0);
	sem_init(&s->done, 0, 0);
	ret = pthread_create(&s->thread, NULL, wait_thread, s);
	if (ret) {
		free(s);
		return -ret;
	}
	*state = s;
	sem_wait_all(&s->done);
	return -s->ret;
}

static int open_many(const struct opts *o, void **state)
{
	return wait_open(o, state, o->outstanding);
}

static int open_one(const struct opts *o, void **state)
{
	return wait_open(o, state, 1);
}

static int wait_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct wait_side *s = state;

	sem_post(&s->go);
	sem_wait_all(&s->done);
	*ops = BATCH;
	*ns = s->ns;
	return -s->ret;
}

static void wait_close(void *state)
{
	struct wait_side *s = state;

	s->quit = true;
	sem_post(&s->go);
	pthread_join(s->thread, NULL);
	sem_destroy(&s->go);
	sem_destroy(&s->done);
	free(s);
}

static int run_wait(struct opts *o)
{
	struct local_side sides[2] = {
		{ .open = open_many, .batch = wait_batch, .close = wait_close },
		{ .name = "1 token", .open = open_one, .batch = wait_batch, .close = wait_close },
	};
	char title[128];

	snprintf(sides[0].name, sizeof(sides[0].name), "%u tokens", o->outstanding);
	snprintf(title, sizeof(title), "demi_wait_%s and the next pop, %u outstanding tokens beside 1",
		 strcmp(o->how, "any") ? "next_n" : "any", o->outstanding);
	return local_pairs(o, sides, 2, 0, title);
}

const struct command cmd_wait = {
	.name = "wait",
	.doc = "cost of a completion with many outstanding tokens, beside 1",
	.options = "th",
	.kinds = "",
	.run = run_wait,
};
