// SPDX-License-Identifier: MIT
/*
 * Polling, sleeping and being woken. The order of stores and loads that keeps wake-ups from being
 * lost is described in core/backend.h.
 */
#include "core/poll.h"
#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

void demi_ctx_flush(struct demi_ctx *ctx)
{
	demi_ctx_flush_inline(ctx);
}

void demi_ctx_poll(struct demi_ctx *ctx)
{
	demi_ctx_poll_inline(ctx);
}

static void arm_backends(struct demi_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nbackends; i++) {
		struct demi_backend *b = ctx->backends[i];

		if (b->ops->arm)
			b->ops->arm(b);
	}
}

static void disarm_backends(struct demi_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nbackends; i++) {
		struct demi_backend *b = ctx->backends[i];

		if (b->ops->disarm)
			b->ops->disarm(b);
	}
}

static void empty_event_fd(struct demi_ctx *ctx)
{
	uint64_t count;

	ctx->count.syscalls++;
	if (read(ctx->event_fd, &count, sizeof(count)) == sizeof(count)) {
		ctx->count.wakes++;
		ctx->writes_due -= count;
	}
}

/*
 * From here on whoever posts makes the epoll fd readable. True: the context may sleep. False: something was
 * completed or put off in between, or demi_wakeup() was called. What was ready before does not count: it is
 * nothing that the caller waits for.
 */
static bool begin_sleep(struct demi_ctx *ctx)
{
	uint64_t seq = ctx->seq;

	arm_backends(ctx);
	atomic_store_explicit(&ctx->sleeping, 1, memory_order_relaxed);
	/* pairs with the fences of demi_ctx_post() and demi_wakeup(): flag, then look again */
	demi_full_barrier();
	demi_ctx_poll(ctx);
	/*
	 * What this poll has put off (the rest of a stream) would wait for as long as the thread sleeps; and it may
	 * have ended the last thing that a drain waits for, which completes nothing.
	 */
	if (ctx->draining && !demi_ctx_busy(ctx))
		return false;
	return !demi_ctx_flush_wanted(ctx) && ctx->seq == seq &&
	       !atomic_load_explicit(&ctx->wakeup, memory_order_relaxed);
}

/* A poster that saw the flag has cleared it and has written, or is about to write, the event fd. */
static void end_sleep(struct demi_ctx *ctx, bool event)
{
	if (!atomic_exchange(&ctx->sleeping, 0)) {
		ctx->writes_due++;
		event = true;
	}
	if (event)
		empty_event_fd(ctx);
	disarm_backends(ctx);
}

void demi_ctx_await_writes(struct demi_ctx *ctx)
{
	struct pollfd pfd = { .fd = ctx->event_fd, .events = POLLIN };

	while (ctx->writes_due && !(pfd.revents & POLLNVAL)) {
		if (poll(&pfd, 1, -1) > 0)
			empty_event_fd(ctx);
	}
}

static int epoll_sleep(int fd, struct epoll_event *ev, int n, uint64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / 1000000000),
			       .tv_nsec = (long)(timeout_ns % 1000000000) };
	int ret;

#ifdef SYS_epoll_pwait2
	ret = (int)syscall(SYS_epoll_pwait2, fd, ev, n, timeout_ns == UINT64_MAX ? NULL : &ts, NULL, 0);
	if (ret >= 0 || errno != ENOSYS)
		return ret;
#endif
	if (timeout_ns == UINT64_MAX)
		return epoll_wait(fd, ev, n, -1);
	if (timeout_ns / 1000000 >= INT32_MAX)
		return epoll_wait(fd, ev, n, INT32_MAX);
	return epoll_wait(fd, ev, n, (int)((timeout_ns + 999999) / 1000000));
}

void demi_ctx_sleep(struct demi_ctx *ctx, uint64_t deadline_ns)
{
	struct epoll_event ev[8];
	uint64_t timeout_ns = UINT64_MAX, now_ns;
	bool event = false;
	int n = 0;

	if (begin_sleep(ctx)) {
		if (demi_timers_next(&ctx->timers) < deadline_ns)
			deadline_ns = demi_timers_next(&ctx->timers);
		if (deadline_ns != UINT64_MAX) {
			now_ns = demi_now_ns();
			timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
		}
		ctx->count.sleeps++;
		ctx->count.syscalls++;
		n = epoll_sleep(ctx->epoll_fd, ev, 8, timeout_ns);
		if (n < 0 && errno != EINTR)
			demi_warn("epoll_wait: %m");
	}
	for (int i = 0; i < n; i++)
		event |= ev[i].data.fd == ctx->event_fd;
	end_sleep(ctx, event);
}

/* Have a foreign loop see the timer that is due at @next; UINT64_MAX: none. */
static void set_timer_fd(struct demi_ctx *ctx, uint64_t next)
{
	struct itimerspec its = { 0 };

	if (ctx->timer_fd < 0 || next == ctx->timer_fd_ns)
		return;
	ctx->timer_fd_ns = next;
	if (next != UINT64_MAX) {
		its.it_value.tv_sec = (time_t)(next / 1000000000);
		its.it_value.tv_nsec = (long)(next % 1000000000) + (next == 0);
	}
	if (timerfd_settime(ctx->timer_fd, TFD_TIMER_ABSTIME, &its, NULL))
		demi_warn("timerfd_settime: %m");
}

/* For a foreign loop only: a context that sleeps by itself knows its next timer. */
int demi_ctx_need_timer_fd(struct demi_ctx *ctx)
{
	int err;

	if (ctx->timer_fd >= 0)
		return 0;
	ctx->timer_fd_ns = UINT64_MAX;
	ctx->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ctx->timer_fd < 0)
		return -errno;
	err = demi_ctx_wake_add(ctx, ctx->timer_fd, EPOLLIN);
	if (err) {
		close(ctx->timer_fd);
		ctx->timer_fd = -1;
	}
	return err;
}

int demi_ctx_arm(struct demi_ctx *ctx)
{
	demi_ctx_flush(ctx);
	demi_ctx_poll(ctx);
	if (!demi_op_ring_empty(&ctx->ready))
		return -EAGAIN;
	if (!begin_sleep(ctx)) {
		end_sleep(ctx, false);
		return -EAGAIN;
	}
	set_timer_fd(ctx, demi_timers_next(&ctx->timers));
	ctx->armed = true;
	return 0;
}

void demi_ctx_disarm(struct demi_ctx *ctx)
{
	ctx->armed = false;
	end_sleep(ctx, false);
	set_timer_fd(ctx, UINT64_MAX);
}

void demi_ctx_leave_armed(struct demi_ctx *ctx)
{
	set_timer_fd(ctx, demi_timers_next(&ctx->timers));
	if (!demi_op_ring_empty(&ctx->ready) || demi_ctx_flush_wanted(ctx))
		demi_ctx_wake(ctx);
}
