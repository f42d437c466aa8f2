/* SPDX-License-Identifier: MIT */
/* Between the stack, which is deterministic, and the device, the context and the kernel, which are not. */
#include "inet/backend.h"

#include "core/ctx.h"
#include "core/log.h"
#include "core/poll.h"
#include "inet/fast.h"
#include "inet/sock.h"
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

/* While spinning the clock is read once in so many rounds, if anything is timed at all. */
#define CLOCK_EVERY 16

/* Copies that have left are taken back when there is nothing else to do, or so many at a time. */
#define REAP_AT 32

/* How long to sleep on a device that cannot wake. */
#define POLL_NS 50000

struct demi_inet_backend {
	struct demi_backend b;
	struct demi_inet in;
	struct demi_timer timer; /* ends a sleep: the stack's deadline, or a device without wake fd */
	uint32_t polls;
	bool armed;
	bool streams; /* there has been a stream socket: the stack's timers count */
	uint32_t dev_route_gen;
};

static struct demi_inet_backend *backend_of(struct demi_backend *b)
{
	return (struct demi_inet_backend *)b;
}

static void choose_poll(struct demi_inet_backend *ib);

static void gone(struct demi_inet_backend *ib, int err)
{
	demi_await_settle(ib->b.ctx);
	demi_warn("inet: %s: %s", ib->in.dev->ops->name, strerror(-err));
	if (ib->in.dev->wake_fd >= 0)
		demi_ctx_wake_del(ib->b.ctx, ib->in.dev->wake_fd);
	demi_inet_device_gone(&ib->in, -err);
	choose_poll(ib);
}

static void transmit(struct demi_inet_backend *ib)
{
	struct demi_inet *in = &ib->in;
	struct demi_pkt pkts[DEMI_INET_BURST];
	int n, taken;

	do {
		n = (int)demi_inet_output(in, pkts, DEMI_INET_BURST);
		taken = n ? in->dev->ops->tx(in->dev, pkts, (uint32_t)n) : 0;
		if (taken < 0) {
			gone(ib, taken);
			return;
		}
		demi_inet_taken(in, (uint32_t)taken);
	} while (n && taken == n);
}

static void reap(struct demi_inet_backend *ib)
{
	struct demi_inet *in = &ib->in;
	struct demi_pkt_done done[DEMI_INET_BURST];
	int n;

	do {
		n = in->dev->ops->tx_done(in->dev, done, DEMI_INET_BURST);
		if (n < 0) {
			gone(ib, n);
			return;
		}
		demi_inet_done(in, done, (uint32_t)n);
	} while (n == DEMI_INET_BURST);
}

static void kick(struct demi_inet_backend *ib)
{
	int err = ib->in.dead ? 0 : ib->in.dev->ops->kick(ib->in.dev);

	if (err < 0)
		gone(ib, err);
}

static __attribute__((noinline)) void flush_queue(struct demi_inet_backend *ib)
{
	transmit(ib);
	ib->in.kick = false;
	kick(ib);
}

static void backend_flush(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);
	struct demi_inet *in = &ib->in;
	int err;

	if (__builtin_expect(demi_tcp_wants_run(in), 0)) {
		in->now_ns = demi_clock_ns(&b->ctx->clock);
		demi_inet_run(in);
	}
	if (demi_unlikely(in->dead))
		return;
	if (demi_unlikely(in->txq.head != NULL)) {
		flush_queue(ib);
	} else if (demi_likely(in->kick)) {
		in->kick = false;
		err = in->dev->ops->kick(in->dev);
		if (demi_unlikely(err < 0))
			gone(ib, err);
	}
}

/* What a burst has left to be done for the device. */
static __attribute__((noinline)) void give_back(struct demi_inet_backend *ib)
{
	struct demi_inet *in = &ib->in;

	for (uint32_t i = 0; i < in->nrecycle; i++)
		in->dev->ops->rx_recycle(in->dev, in->recycle[i]);
	if (in->nrecycle)
		kick(ib);
}

static __attribute__((noinline)) void routes_changed(struct demi_inet_backend *ib)
{
	ib->dev_route_gen = ib->in.dev->route_gen;
	demi_inet_routes_changed(&ib->in);
}

static __attribute__((noinline)) void take_back(struct demi_inet_backend *ib)
{
	demi_await_settle(ib->b.ctx);
	if (!ib->in.dead)
		reap(ib);
}

/* From the first packet on that is not what fast.h expects. */
static __attribute__((noinline)) void input(struct demi_inet_backend *ib, struct demi_pkt *pkts, int n)
{
	demi_await_settle(ib->b.ctx);
	demi_inet_input(&ib->in, pkts, (uint32_t)n);
	give_back(ib);
}

/* Nothing has come: what has left is taken back. */
static __attribute__((noinline)) void received_none(struct demi_inet_backend *ib, int n)
{
	if (n < 0) {
		gone(ib, n);
		return;
	}
	if (ib->dev_route_gen != ib->in.dev->route_gen)
		routes_changed(ib);
	if (ib->in.flying)
		take_back(ib);
}

/* Receive a burst; take back what has left. */
static inline __attribute__((always_inline)) void poll_device(struct demi_inet_backend *ib)
{
	struct demi_inet *in = &ib->in;
	struct demi_pkt pkts[DEMI_INET_BURST], *p = pkts, *end;
	int n = in->dev->ops->rx(in->dev, pkts, DEMI_INET_BURST);

	if (demi_unlikely(n <= 0)) {
		received_none(ib, n);
		return;
	}
	end = pkts + n;
	do {
		if (demi_likely(demi_inet_fast_input(in, p)))
			continue;
		input(ib, p, (int)(end - p));
		break;
	} while (++p != end);
	if (demi_unlikely(ib->dev_route_gen != in->dev->route_gen))
		routes_changed(ib);
	if (demi_unlikely(in->flying >= REAP_AT || (in->awaited | in->draining)))
		take_back(ib);
}

/* The device's; 0 becomes never. */
static inline uint64_t device_deadline(const struct demi_inet_backend *ib)
{
	return ib->in.dev->deadline_ns - 1;
}

static inline uint64_t next_deadline(const struct demi_inet_backend *ib)
{
	uint64_t stack_ns = demi_tcp_deadline(&ib->in), dev_ns = device_deadline(ib);

	return dev_ns < stack_ns ? dev_ns : stack_ns;
}

static __attribute__((noinline)) void run_due(struct demi_inet_backend *ib, uint64_t dev_ns)
{
	struct demi_inet *in = &ib->in;

	demi_await_settle(ib->b.ctx);
	if (dev_ns <= in->now_ns)
		in->dev->ops->run(in->dev, in->now_ns);
	if (in->due_ns <= in->now_ns)
		demi_inet_run(in);
}

/* The wait that polls has not read the clock: does it have to be looked at? */
static __attribute__((noinline)) bool clock_wanted(struct demi_inet_backend *ib)
{
	/* a device's own timers are of seconds: without streams they are worth no clock in every round */
	bool seldom = ib->b.ctx->spinning || !(ib->streams || ib->armed);

	return (demi_tcp_deadline(&ib->in) & device_deadline(ib)) != UINT64_MAX &&
	       !(seldom && ++ib->polls % CLOCK_EVERY);
}

/* The stack's timers and the device's, in turn with everything else. */
static inline void look_at_clock(struct demi_inet_backend *ib)
{
	uint64_t now_ns = ib->b.ctx->poll_ns;

	if (demi_unlikely(!now_ns)) {
		ib->in.timed = clock_wanted(ib);
		if (!ib->in.timed)
			return;
		now_ns = demi_clock_ns(&ib->b.ctx->clock);
	}
	ib->in.now_ns = now_ns;
	ib->in.timed = true;
	if (demi_unlikely(device_deadline(ib) <= now_ns || ib->in.due_ns <= now_ns))
		run_due(ib, device_deadline(ib));
}

/*
 * A sleep ends when something of the stack is due, or because the device cannot wake. Set again after each poll of a
 * sleeper: what came in or was done in the one before the sleep may have changed the deadline, or used it up.
 */
static void set_timer(struct demi_inet_backend *ib)
{
	uint64_t deadline_ns = next_deadline(ib);
	int err = 0;

	if (ib->in.dev->wake_fd < 0) {
		uint64_t again_ns = demi_now_ns() + POLL_NS;

		deadline_ns = again_ns < deadline_ns ? again_ns : deadline_ns;
	}
	if (deadline_ns == UINT64_MAX)
		demi_timer_cancel(&ib->b.ctx->timers, &ib->timer);
	else
		err = demi_timer_set(&ib->b.ctx->timers, &ib->timer, deadline_ns);
	if (err)
		demi_warn("inet: timer: %s", strerror(-err));
}

/* It has ended a sleep; the poll that follows does the work. */
static void timer_due(struct demi_timer *t)
{
}

/* With streams, while nobody sleeps and the device lives. */
static void backend_poll_streams(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);

	look_at_clock(ib);
	if (__builtin_expect(ib->in.txq.head || demi_tcp_wants_run(&ib->in), 0)) {
		demi_await_settle(b->ctx);
		backend_flush(b);
		if (ib->in.dead)
			return;
	}
	poll_device(ib);
}

static void backend_poll(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);

	if (!ib->in.dead)
		backend_poll_streams(b);
	if (ib->armed && !ib->in.dead)
		set_timer(ib);
}

/* While there has been no stream socket, nothing is timed, nobody sleeps and the device takes what it is given. */
static void backend_poll_simple(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);

	if (__builtin_expect(ib->in.txq.head != NULL || ib->in.dead, 0))
		backend_poll(b);
	else
		poll_device(ib);
}

static void choose_poll(struct demi_inet_backend *ib)
{
	if (ib->armed || ib->in.dead)
		ib->b.poll = backend_poll;
	else
		ib->b.poll = ib->streams || ib->in.dev->ops->run ? backend_poll_streams : backend_poll_simple;
}

static void backend_arm(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);
	int err;

	if (ib->in.dead)
		return;
	ib->armed = true;
	choose_poll(ib);
	set_timer(ib);
	if (ib->in.dev->wake_fd < 0)
		return;
	err = ib->in.dev->ops->arm(ib->in.dev);
	if (err < 0)
		gone(ib, err);
}

static void backend_disarm(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);

	ib->armed = false;
	choose_poll(ib);
	demi_timer_cancel(&b->ctx->timers, &ib->timer);
	if (ib->in.dead)
		return;
	if (ib->in.dev->wake_fd >= 0)
		ib->in.dev->ops->disarm(ib->in.dev);
}

static bool backend_busy(struct demi_backend *b)
{
	return backend_of(b)->in.draining != 0;
}

static void backend_last(struct demi_backend *b)
{
	demi_tcp_last_answers(&backend_of(b)->in);
}

static void backend_destroy(struct demi_backend *b)
{
	struct demi_inet_backend *ib = backend_of(b);
	struct demi_pktdev *dev = ib->in.dev;

	demi_timer_cancel(&b->ctx->timers, &ib->timer);
	if (dev->wake_fd >= 0 && !ib->in.dead)
		demi_ctx_wake_del(b->ctx, dev->wake_fd);
	/* first the device, then the memory that it may use */
	ib->in.dev = NULL;
	dev->ops->destroy(dev);
	demi_inet_exit(&ib->in);
	free(ib);
}

static int backend_socket(struct demi_backend *b, int domain, int type, int protocol, struct demi_queue **q_out)
{
	backend_of(b)->streams |= type == SOCK_STREAM;
	choose_poll(backend_of(b));
	return demi_inet_socket(&backend_of(b)->in, domain, type, protocol, q_out);
}

static const char *backend_counter(struct demi_backend *b, unsigned int i, uint64_t *value)
{
#define DEMI_INET_COUNTER_ENTRY(name) { #name, offsetof(struct demi_inet_counters, name) },
	static const struct {
		const char *name;
		size_t off;
	} table[] = { DEMI_INET_COUNTERS(DEMI_INET_COUNTER_ENTRY) };
#undef DEMI_INET_COUNTER_ENTRY

	if (i >= sizeof(table) / sizeof(table[0]))
		return NULL;
	memcpy(value, (const char *)&backend_of(b)->in.count + table[i].off, sizeof(*value));
	return table[i].name;
}

static const struct demi_backend_ops ops = {
	.name = "inet",
	.poll = backend_poll,
	.flush = backend_flush,
	.arm = backend_arm,
	.disarm = backend_disarm,
	.busy = backend_busy,
	.last = backend_last,
	.destroy = backend_destroy,
	.socket = backend_socket,
	.counter = backend_counter,
};

int demi_inet_create(struct demi_ctx *ctx, struct demi_pktdev *dev, struct demi_backend **out)
{
	struct demi_inet_secrets secrets;
	struct demi_inet_backend *ib;
	int err;

	if (getrandom(&secrets, sizeof(secrets), 0) != sizeof(secrets))
		return -EIO;
	ib = calloc(1, sizeof(*ib));
	if (!ib)
		return -ENOMEM;
	ib->b.ops = &ops;
	ib->b.ctx = ctx;
	ib->timer.fn = timer_due;
	ib->dev_route_gen = dev->route_gen;
	err = demi_inet_init(&ib->in, ctx, dev, &secrets);
	if (err)
		goto err_free;
	ib->in.clock = &ctx->clock;
	ctx->awaits = !ctx->nbackends;
	ib->in.tx = dev->ops->tx;
	choose_poll(ib);
	if (dev->wake_fd >= 0)
		err = demi_ctx_wake_add(ctx, dev->wake_fd, EPOLLIN);
	if (err)
		goto err_stack;
	*out = &ib->b;
	return 0;

err_stack:
	demi_inet_exit(&ib->in);
err_free:
	free(ib);
	return err;
}
