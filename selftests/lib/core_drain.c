/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* The end of a context waits for what its backends have to do, and not longer: the poll before a sleep may end it. */
#include "check.h"

#include "core/ctx.h"
#include "core/enter.h"

#define LINGER_MS 3000

static struct {
	struct demi_backend b;
	bool work, aborted; /* something to do; the end was not waited for */
	bool armed;
	unsigned int polls, polls_armed;
	unsigned int ends; /* with which poll after arming the work does; 0: with none, but with the next plain one */
} fake;

static void fake_poll(struct demi_backend *b)
{
	fake.polls++;
	if (fake.armed && ++fake.polls_armed == fake.ends)
		fake.work = false;
}

static void fake_arm(struct demi_backend *b)
{
	fake.armed = true;
}

static void fake_disarm(struct demi_backend *b)
{
	fake.armed = false;
}

static bool fake_busy(struct demi_backend *b)
{
	return fake.work;
}

static void fake_last(struct demi_backend *b)
{
	fake.aborted = true;
}

static void fake_destroy(struct demi_backend *b)
{
}

static const struct demi_backend_ops fake_ops = {
	.name = "fake",
	.poll = fake_poll,
	.arm = fake_arm,
	.disarm = fake_disarm,
	.busy = fake_busy,
	.last = fake_last,
	.destroy = fake_destroy,
};

/* A round that ends the work and completes nothing: a sleep behind it would be one until the linger time. */
static void test_poll_before_sleep(struct demi_ctx *ctx)
{
	uint64_t sleeps = ctx->count.sleeps;

	fake.work = true;
	fake.ends = 1;
	demi_ctx_drain(ctx, LINGER_MS);
	CHECK_EQ(fake.polls_armed, 1);
	CHECK_EQ(ctx->count.sleeps, sleeps);
	CHECK(!fake.armed && !fake.aborted);
}

static void test_nothing_to_do(struct demi_ctx *ctx)
{
	uint64_t sleeps = ctx->count.sleeps;

	fake.polls_armed = 0;
	demi_ctx_drain(ctx, LINGER_MS);
	CHECK_EQ(fake.polls_armed, 0);
	CHECK_EQ(ctx->count.sleeps, sleeps);
	CHECK(!fake.aborted);
}

/* What is not done in time is aborted. */
static void test_abort(struct demi_ctx *ctx)
{
	fake.work = true;
	fake.ends = 0;
	demi_ctx_drain(ctx, 1);
	CHECK(fake.aborted && fake.polls_armed > 0);
	fake.work = false;
}

int main(void)
{
	struct demi_ctx *ctx;

	alarm(30);
	init_memq();
	ctx = demi_ctx_self;
	fake.b = (struct demi_backend){ .poll = fake_poll, .ops = &fake_ops, .ctx = ctx };
	ctx->backends[ctx->nbackends++] = &fake.b;
	test_poll_before_sleep(ctx);
	test_nothing_to_do(ctx);
	test_abort(ctx);
	return 0;
}
