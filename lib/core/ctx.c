// SPDX-License-Identifier: MIT
#include "core/instant.h"
#include "core/config.h"
#include "core/log.h"
#include "ether/ether.h"
#include "heap/heap.h"
#include "inet/backend.h"
#include "pktdev/pcap.h"
#include "pktdev/pktdev.h"

#include <demi/sga.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

__thread struct demi_ctx *demi_ctx_self;
struct demi_ctx demi_ctx_nobody = { .gate = DEMI_GATE_NOBODY };
__thread struct demi_ctx *demi_ctx_entry = &demi_ctx_nobody;
bool demi_forked;
atomic_bool demi_exiting;

/* Contexts that ended, for reuse: their memory stays valid for late wake-ups. */
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct demi_ctx *free_list;

uint64_t demi_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int demi_ctx_missing(void)
{
	return demi_forked ? EPERM : ENOSYS;
}

void demi_ctx_set_self(struct demi_ctx *ctx)
{
	demi_ctx_entry = ctx ? ctx : &demi_ctx_nobody;
	demi_ctx_self = ctx;
}

int demi_enter_slow(struct demi_ctx *ctx)
{
	if (ctx == &demi_ctx_nobody) {
		/* other threads add to it and do this, too: it never comes near what an open gate says */
		__atomic_store_n(&ctx->gate, DEMI_GATE_NOBODY, __ATOMIC_RELAXED);
		return demi_ctx_missing();
	}
	switch (ctx->gate) {
	case DEMI_GATE_TAKING:
		ctx->gate = DEMI_GATE_BUSY;
		demi_instant_spill(ctx);
		return 0;
	case DEMI_GATE_AWAIT + 1:
		ctx->gate = DEMI_GATE_BUSY;
		demi_await_spill(ctx);
		return 0;
	case DEMI_GATE_ARMED + 1:
		ctx->gate = DEMI_GATE_BUSY;
		return 0;
	default:
		ctx->gate--;
		return EDEADLK;
	}
}

/* ---- other threads' side ---- */

void demi_ctx_wake(struct demi_ctx *ctx)
{
	static const uint64_t one = 1;

	if (!atomic_load_explicit(&ctx->sleeping, memory_order_relaxed))
		return;
	/* one write is enough, and only while the context is alive are its fds its own */
	if (atomic_exchange(&ctx->sleeping, 0) && write(ctx->event_fd, &one, sizeof(one)) < 0)
		demi_warn("wake: %m");
}

void demi_ctx_post(struct demi_op *op)
{
	struct demi_ctx *ctx = op->q->ctx;
	struct demi_op *head = atomic_load_explicit(&ctx->inbox, memory_order_relaxed);

	do {
		op->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&ctx->inbox, &head, op, memory_order_release,
							memory_order_relaxed));
	/* pairs with the barrier in demi_ctx_sleep(): publish, then read the sleeper's flag */
	demi_full_barrier();
	demi_ctx_wake(ctx);
}

void demi_ctx_drain_inbox(struct demi_ctx *ctx)
{
	struct demi_op *op = atomic_exchange_explicit(&ctx->inbox, NULL, memory_order_acquire);
	struct demi_op *oldest = NULL;

	while (op) { /* newest first: turn it round */
		struct demi_op *next = op->next;

		op->next = oldest;
		oldest = op;
		op = next;
	}
	while (oldest) {
		op = oldest;
		oldest = op->next;
		demi_op_ready(op);
	}
}

/* ---- making and ending ---- */

int demi_ctx_wake_add(struct demi_ctx *ctx, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	return epoll_ctl(ctx->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

void demi_ctx_wake_del(struct demi_ctx *ctx, int fd)
{
	if (epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, fd, NULL))
		demi_debug("epoll: %d: %m", fd);
}

int demi_ctx_backend(struct demi_ctx *ctx, const struct demi_backend_ops *ops, size_t size, struct demi_backend **out)
{
	struct demi_backend *b;

	for (unsigned int i = 0; i < ctx->nbackends; i++) {
		if (ctx->backends[i]->ops == ops) {
			*out = ctx->backends[i];
			return 0;
		}
	}
	if (ctx->nbackends == DEMI_CTX_MAX_BACKENDS)
		return -ENOMEM;
	b = calloc(1, size);
	if (!b)
		return -ENOMEM;
	b->ops = ops;
	b->poll = ops->poll;
	b->ctx = ctx;
	ctx->backends[ctx->nbackends++] = b;
	ctx->awaits = false;
	*out = b;
	return 0;
}

/* The network stack on a packet device. */
static int create_inet(struct demi_ctx *ctx, int (*open)(struct demi_ctx *, struct demi_pktdev **))
{
	struct demi_pktdev *dev;
	int err;

	err = open(ctx, &dev);
	if (err == -ENOENT || err == -ENXIO) /* as demi_init() promises; the device has said what is missing */
		return -ENODEV;
	if (err)
		return err == -EACCES ? -EPERM : err;
	if (demi_config.pcap[0] && demi_pcap_open(dev, demi_config.pcap, &dev))
		err = -EINVAL;
	if (!err && !(dev->caps & DEMI_PKTDEV_C_L3))
		err = demi_ether_open(ctx, dev, &dev);
	if (!err)
		err = demi_inet_create(ctx, dev, &ctx->main_backend);
	if (err)
		dev->ops->destroy(dev);
	return err;
}

/* One line per backend that makes sockets and files, and per packet device. */
static int create_main_backend(struct demi_ctx *ctx)
{
	static const struct {
		int (*create)(struct demi_ctx *ctx, struct demi_backend **out);
		int (*open)(struct demi_ctx *ctx, struct demi_pktdev **out);
	} kinds[] = {
		[DEMI_BACKEND_URING] = { .create = demi_uring_create },
		[DEMI_BACKEND_RING] = { .open = demi_ring_open },
		[DEMI_BACKEND_DPDK] = { .open = demi_dpdk_open },
		[DEMI_BACKEND_VIRTIO] = { .open = demi_virtio_open },
	};
	unsigned int kind = demi_config.backend;

	if (kind == DEMI_BACKEND_MEMQ) /* every context has memory queues and pipes */
		return 0;
	if (kind < sizeof(kinds) / sizeof(kinds[0]) && kinds[kind].create)
		return kinds[kind].create(ctx, &ctx->main_backend);
	if (kind < sizeof(kinds) / sizeof(kinds[0]) && kinds[kind].open)
		return create_inet(ctx, kinds[kind].open);
	demi_warn("this library has no backend of the kind that is configured (DEMI_LIBOS)");
	return -ENODEV;
}

static struct demi_ctx *ctx_take(void)
{
	struct demi_ctx *ctx;

	pthread_mutex_lock(&free_lock);
	ctx = free_list;
	if (ctx)
		free_list = ctx->next_free;
	pthread_mutex_unlock(&free_lock);
	if (!ctx) {
		ctx = aligned_alloc(64, sizeof(*ctx));
		if (ctx)
			atomic_init(&ctx->sleeping, 0);
	}
	if (ctx) {
		memset(ctx, 0, offsetof(struct demi_ctx, inbox));
		atomic_store(&ctx->inbox, NULL);
		atomic_store(&ctx->wakeup, 0);
	}
	return ctx;
}

static void ctx_give_back(struct demi_ctx *ctx)
{
	pthread_mutex_lock(&free_lock);
	ctx->next_free = free_list;
	free_list = ctx;
	pthread_mutex_unlock(&free_lock);
}

/*
 * Spinning on the only CPU that is allowed would keep away whoever is waited for. A program that gives its
 * threads a CPU each says so after demi_init().
 */
static uint64_t first_spin_ns(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1)
		return 0;
	return (uint64_t)demi_config.spin_us * 1000;
}

int demi_ctx_create(const struct demi_args *args)
{
	struct demi_ctx *ctx;
	int err;

	err = demi_process_init();
	if (err)
		return err;
	err = demi_config_load(args);
	if (err)
		return err;
	ctx = ctx_take();
	if (!ctx)
		return -ENOMEM;
	demi_op_ring_init(&ctx->ready);
	demi_queue_table_init(&ctx->queues, ctx);
	ctx->gate = DEMI_GATE_OPEN;
	demi_clock_init(&ctx->clock);
	ctx->timer_fd = -1;
	ctx->spin_ns = first_spin_ns();
	ctx->callback = args ? args->callback : NULL;
	err = demi_op_table_init(&ctx->ops);
	if (err)
		goto err_ctx;
	ctx->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ctx->epoll_fd < 0) {
		err = -errno;
		goto err_ops;
	}
	ctx->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ctx->event_fd < 0) {
		err = -errno;
		goto err_epoll;
	}
	err = demi_ctx_wake_add(ctx, ctx->event_fd, EPOLLIN);
	if (err)
		goto err_event;
	err = create_main_backend(ctx);
	if (err)
		goto err_event;
	if (ctx->main_backend)
		ctx->backends[ctx->nbackends++] = ctx->main_backend;
	err = demi_process_own_ctx(ctx);
	if (err)
		goto err_backend;
	demi_ctx_set_self(ctx);
	return 0;

err_backend:
	if (ctx->main_backend)
		ctx->main_backend->ops->destroy(ctx->main_backend);
err_event:
	close(ctx->event_fd);
err_epoll:
	close(ctx->epoll_fd);
err_ops:
	demi_op_table_destroy(&ctx->ops);
err_ctx:
	ctx_give_back(ctx);
	return err;
}

bool demi_ctx_busy(const struct demi_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nbackends; i++) {
		struct demi_backend *b = ctx->backends[i];

		if (b->ops->busy && b->ops->busy(b))
			return true;
	}
	return false;
}

void demi_ctx_abort(struct demi_ctx *ctx)
{
	for (uint32_t i = 1; i < ctx->queues.size; i++) {
		struct demi_queue *q = demi_queue_at(&ctx->queues, i);

		if (q)
			q->ops->abort(q);
	}
	for (unsigned int i = 0; i < ctx->nbackends; i++) {
		struct demi_backend *b = ctx->backends[i];

		if (b->ops->last)
			b->ops->last(b);
	}
}

void demi_ctx_drain(struct demi_ctx *ctx, unsigned int linger_ms)
{
	uint64_t deadline = demi_now_ns() + (uint64_t)linger_ms * 1000000;
	struct demi_queue *q;

	ctx->draining = true;
	for (uint32_t i = 1; i < ctx->queues.size; i++) {
		q = demi_queue_at(&ctx->queues, i);
		if (q && !q->closed)
			demi_queue_close(q);
	}
	for (;;) {
		atomic_store(&ctx->wakeup, 0); /* it would keep the context awake */
		demi_ctx_flush(ctx);
		demi_ctx_poll(ctx);
		if (!demi_ctx_busy(ctx))
			return;
		if (demi_now_ns() >= deadline)
			break;
		demi_ctx_sleep(ctx, deadline);
	}
	demi_ctx_abort(ctx);
}

void demi_ctx_report(struct demi_ctx *ctx)
{
	const char *name;
	uint64_t value;

	if (!ctx->callback)
		return;
#define REPORT(name) ctx->callback(#name, sizeof(#name) - 1, ctx->count.name);
	DEMI_COUNTERS(REPORT)
#undef REPORT
	for (struct demi_backend **b = ctx->backends; *b; b++) {
		for (unsigned int i = 0; (*b)->ops->counter && (name = (*b)->ops->counter(*b, i, &value)); i++)
			ctx->callback(name, (uint32_t)strlen(name), value);
	}
}

/* Nobody will wait for these any more. */
static void drop_results(struct demi_ctx *ctx)
{
	struct demi_op *op;
	demi_qresult_t qr;

	while (!demi_op_ring_empty(&ctx->ready)) {
		op = ctx->ready.next;
		demi_op_unready_inline(op);
		demi_op_copy_result(&qr, op);
		if (qr.qr_opcode == DEMI_OPC_POP)
			demi_sgafree(&qr.qr_value.sga);
		demi_op_release(ctx, op);
	}
}

void demi_ctx_end(struct demi_ctx *ctx, unsigned int linger_ms)
{
	if (ctx->gate == DEMI_GATE_INSTANT)
		demi_instant_spill(ctx);
	ctx->gate = DEMI_GATE_BUSY;
	demi_ctx_drain(ctx, linger_ms);
	demi_ctx_report(ctx);
	drop_results(ctx);
	while (ctx->nbackends > 0) {
		struct demi_backend *b = ctx->backends[--ctx->nbackends];

		ctx->backends[ctx->nbackends] = NULL;
		b->ops->destroy(b);
	}
	demi_ctx_drain_inbox(ctx);
	drop_results(ctx);
	if (ctx->queues.open)
		demi_warn("%u queues left at the end of a context", ctx->queues.open);
	demi_ctx_await_writes(ctx);
	if (ctx->timer_fd >= 0)
		close(ctx->timer_fd);
	close(ctx->event_fd);
	close(ctx->epoll_fd);
	demi_ctx_set_self(NULL);
	atomic_signal_fence(memory_order_seq_cst); /* a handler that ends the program walks no table that is gone */
	demi_timers_destroy(&ctx->timers);
	demi_op_table_destroy(&ctx->ops);
	free(ctx->queues.slots);
	demi_process_own_ctx(NULL);
	ctx_give_back(ctx);
}
