/* SPDX-License-Identifier: MIT */
/* queue: memory queues, in one thread or between two, beside the bare ring. */
#include "cmds.h"
#include "demi-loop.h"
#include "local.h"
#include "proc.h"
#include "ring.h"
#include "side.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 4096
#define WINDOW 64 /* two threads: pushes and pops under way */

struct queue_side {
	const struct opts *opts;
	demi_sgarray_t msg;
	int qd, fd;
	struct ring *ring;
	char *buf;
	/* Two threads: the producer's. */
	pthread_t thread;
	bool threaded, quit;
	sem_t go, ready;
	atomic_int ret;
};

/* Is there nothing to wait for any more: the other thread has failed, or the user wants an end? */
static bool side_over(struct queue_side *s)
{
	return interrupted || atomic_load(&s->ret);
}

/* Send BATCH elements. */
static int produce_demi(struct queue_side *s, int qd)
{
	demi_qresult_t qr[WINDOW];
	uint64_t sent = 0, done = 0;
	demi_qtoken_t qt;
	int ret = 0, n = 0, i;

	while (done < BATCH && !ret) {
		n = 0;
		while (sent < BATCH && sent - done < WINDOW && !ret) {
			ret = demi_push(&qt, qd, &s->msg);
			sent += !ret;
		}
		if (ret == ENOBUFS) { /* the queue has its fill: until the consumer has taken some */
			ret = sched_yield() || side_over(s) ? EINTR : 0;
			if (sent == done)
				continue;
		}
		if (!ret)
			ret = demi_wait_next_n(qr, WINDOW, &n, NULL);
		for (i = 0; i < n && !ret; i++)
			ret = (int)qr[i].qr_ret;
		done += ret ? 0 : (uint64_t)n;
	}
	return ret;
}

static int consume_demi(struct queue_side *s)
{
	static const struct timespec tick = { 0, 100000000 };
	demi_qresult_t qr[WINDOW];
	uint64_t asked = 0, done = 0;
	demi_qtoken_t qt;
	int ret = 0, n = 0, i;

	while (done < BATCH && !ret) {
		while (asked < BATCH && asked - done < WINDOW && !ret) {
			ret = demi_pop(&qt, s->qd);
			asked++;
		}
		if (!ret)
			ret = demi_wait_next_n(qr, WINDOW, &n, &tick);
		if (ret == ETIMEDOUT) {
			ret = side_over(s) ? EINTR : 0;
			continue;
		}
		for (i = 0; i < n && !ret; i++)
			ret = qr[i].qr_ret ? (int)qr[i].qr_ret : demi_sgafree(&qr[i].qr_value.sga);
		done += ret ? 0 : (uint64_t)n;
	}
	return ret;
}

static void produce_ring(struct queue_side *s)
{
	int i;

	for (i = 0; i < BATCH; i++)
		while (!ring_put(s->ring, s->buf, s->opts->size))
			cpu_relax();
}

static void consume_ring(struct queue_side *s)
{
	int i;

	for (i = 0; i < BATCH; i++) {
		while (!ring_peek(s->ring))
			cpu_relax();
		ring_drop(s->ring);
	}
}

static void sem_wait_all(sem_t *sem)
{
	while (sem_wait(sem) && errno == EINTR)
		;
}

static void *producer(void *arg)
{
	struct queue_side *s = arg;
	int qd = 0, ret = 0;

	if (!s->ring) {
		ret = loop_init(s->opts->spin_us);
		if (!ret)
			ret = demi_queue_import(&qd, s->fd);
	}
	atomic_store(&s->ret, ret);
	sem_post(&s->ready);
	for (;;) {
		sem_wait_all(&s->go);
		if (s->quit)
			return NULL;
		if (s->ring)
			produce_ring(s);
		else
			atomic_store(&s->ret, produce_demi(s, qd));
		sem_post(&s->ready);
	}
}

static int start_producer(struct queue_side *s)
{
	int ret;

	if (s->opts->threads < 2)
		return 0;
	sem_init(&s->go, 0, 0);
	sem_init(&s->ready, 0, 0);
	ret = pthread_create(&s->thread, NULL, producer, s);
	if (ret)
		return -ret;
	s->threaded = true;
	sem_wait_all(&s->ready);
	return -atomic_load(&s->ret);
}

static struct queue_side *make(const struct opts *o)
{
	struct queue_side *s = calloc(1, sizeof(*s));

	if (s) {
		s->opts = o;
		s->fd = -1;
	}
	return s;
}

static int demi_side_open(const struct opts *o, void **state)
{
	struct queue_side *s = make(o);
	int ret;

	if (!s)
		return -ENOMEM;
	*state = s;
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = demi_queue(&s->qd);
	if (!ret && o->threads > 1)
		ret = demi_queue_export(&s->fd, s->qd);
	if (ret)
		return -ret;
	s->msg = demi_sgaalloc(o->size);
	if (!s->msg.sga_numsegs)
		return -ENOMEM;
	memset(s->msg.sga_segs[0].sgaseg_buf, 'q', o->size);
	return start_producer(s);
}

static int ring_side_open(const struct opts *o, void **state)
{
	struct queue_side *s = make(o);

	if (!s)
		return -ENOMEM;
	*state = s;
	s->ring = aligned_alloc(64, (ring_bytes(o->size) + 63) & ~(size_t)63);
	s->buf = calloc(1, o->size);
	if (!s->ring || !s->buf)
		return -ENOMEM;
	memset(s->ring, 0, ring_bytes(o->size));
	s->ring->stride = ring_stride(o->size);
	return start_producer(s);
}

static int demi_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct queue_side *s = state;
	int ret;

	*ops = BATCH;
	if (!s->threaded)
		return -loop_memq(s->qd, &s->msg, BATCH);
	atomic_store(&s->ret, 0);
	sem_post(&s->go);
	ret = consume_demi(s);
	if (ret)
		atomic_store(&s->ret, ret);
	sem_wait_all(&s->ready);
	return ret ? -ret : -atomic_load(&s->ret);
}

static int ring_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct queue_side *s = state;
	int i;

	*ops = BATCH;
	if (s->threaded) {
		sem_post(&s->go);
		consume_ring(s);
		sem_wait_all(&s->ready);
		return 0;
	}
	for (i = 0; i < BATCH; i++) {
		ring_put(s->ring, s->buf, s->opts->size);
		ring_peek(s->ring);
		ring_drop(s->ring);
	}
	return 0;
}

static void side_close(void *state)
{
	struct queue_side *s = state;

	if (s->threaded) {
		s->quit = true;
		sem_post(&s->go);
		pthread_join(s->thread, NULL);
		sem_destroy(&s->go);
		sem_destroy(&s->ready);
	}
	if (!s->ring) {
		demi_sgafree(&s->msg);
		demi_close(s->qd);
	}
	if (s->fd >= 0)
		close(s->fd);
	free(s->ring);
	free(s->buf);
	free(s);
}

static int run_queue(struct opts *o)
{
	struct local_side sides[2] = {
		{ .name = "demi", .open = demi_side_open, .batch = demi_batch, .close = side_close },
		{ .name = "ring-raw", .open = ring_side_open, .batch = ring_batch, .close = side_close },
	};
	char title[128];

	if (!o->size)
		o->size = 64;
	snprintf(title, sizeof(title), "an element of %u bytes through a memory queue, %s", o->size,
		 o->threads > 1 ? "between two threads" : "in one thread: push, wait, pop, wait, free");
	return local_pairs(o, sides, o->nsides > 1 ? 2 : 1, 0, title);
}

const struct command cmd_queue = {
	.name = "queue",
	.doc = "memory queues in one thread or between two (--threads)",
	.options = "sq",
	.kinds = "demi ring-raw",
	.run = run_queue,
};
