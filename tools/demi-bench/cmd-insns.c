/* SPDX-License-Identifier: MIT */
/* insns: a loop of N operations and nothing else, for counting instructions from outside (valgrind, perf). */
#include "cmds.h"
#include "demi-loop.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 65536
#define BLOCKED 100000 /* dispatch: operations that stay blocked */
#define ACTIVE 64

static int insns_memq(uint64_t n)
{
	demi_sgarray_t msg = demi_sgaalloc(64);
	int qd, ret;

	if (!msg.sga_numsegs)
		return ENOMEM;
	memset(msg.sga_segs[0].sgaseg_buf, 'i', 64);
	ret = demi_queue(&qd);
	if (!ret)
		ret = loop_memq(qd, &msg, 100);
	return ret ? ret : loop_memq(qd, &msg, n);
}

static int insns_heap(uint64_t n)
{
	int ret = loop_heap(64, 100);

	return ret ? ret : loop_heap(64, n);
}

static int insns_wait(uint64_t n, uint32_t outstanding, bool any)
{
	struct waiters w;
	int ret = waiters_init(&w, outstanding, ACTIVE, any);

	for (n += 1000; n && !ret; n--) {
		ret = waiters_fire(&w);
		if (!ret)
			ret = waiters_take(&w);
	}
	return ret;
}

/*
 * The two halves of "dispatch", whose difference with everything else equal is what one more empty poll round and
 * finding the next ready operation cost: "fire" makes one operation ready in each turn and takes it;
 * "dispatch" polls with nothing ready (a wait that times out at once) before each.
 */
static int insns_dispatch(uint64_t n, bool empty_poll)
{
	static const struct timespec now = { 0, 0 };
	struct waiters w;
	demi_qresult_t qr;
	int ret = waiters_init(&w, BLOCKED, ACTIVE, false), got;

	for (n += 1000; n && !ret; n--) {
		if (empty_poll) {
			ret = demi_wait_next_n(&qr, 1, &got, &now);
			if (ret != ETIMEDOUT)
				return ret ? ret : EPROTO;
		}
		ret = waiters_fire(&w);
		if (!ret)
			ret = waiters_take(&w);
	}
	return ret;
}

/*
 * Waits in which nothing happens, each long enough that its beginning and end do not count; prints how many poll
 * rounds that were.
 */
static int insns_polls(uint64_t n)
{
	static const struct timespec period = { 0, 20000000 };
	struct waiters w;
	demi_qresult_t qr;
	uint64_t polls;
	int ret = waiters_init(&w, BLOCKED, ACTIVE, false), got;

	for (; n && !ret; n--) {
		ret = demi_wait_next_n(&qr, 1, &got, &period);
		ret = ret == ETIMEDOUT ? 0 : ret ? ret : EPROTO;
	}
	if (!ret)
		ret = demi_counter(&polls, "polls");
	if (!ret)
		printf("%llu\n", (unsigned long long)polls);
	return ret;
}

static int insns_what(const char *what, uint64_t n)
{
	if (!strcmp(what, "memq"))
		return insns_memq(n);
	if (!strcmp(what, "heap"))
		return insns_heap(n);
	if (!strcmp(what, "wait-any-many"))
		return insns_wait(n, MANY, true);
	if (!strcmp(what, "wait-any-one"))
		return insns_wait(n, 1, true);
	if (!strcmp(what, "wait-next-many"))
		return insns_wait(n, MANY, false);
	if (!strcmp(what, "wait-next-one"))
		return insns_wait(n, 1, false);
	if (!strcmp(what, "dispatch"))
		return insns_dispatch(n, true);
	if (!strcmp(what, "fire"))
		return insns_dispatch(n, false);
	if (!strcmp(what, "polls"))
		return insns_polls(n);
	return -1;
}

static int run_insns(struct opts *o)
{
	uint64_t n;
	char *end;
	int ret;

	if (o->nargs != 2) {
		warnx("insns takes two arguments: WHAT and how many times; see demi-bench insns --help");
		return 64;
	}
	n = strtoull(o->args[1], &end, 10);
	if (end == o->args[1] || *end) {
		warnx("%s is not a number of times", o->args[1]);
		return 64;
	}
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = insns_what(o->args[0], n);
	if (ret < 0) {
		warnx("insns does not know \"%s\"; see demi-bench insns --help", o->args[0]);
		return 64;
	}
	if (ret)
		warnx("%s: %s", o->args[0], strerror(ret));
	return ret != 0;
}

const struct command cmd_insns = {
	.name = "insns",
	.doc = "N times WHAT and nothing else, for counting instructions from outside: memq heap wait-any-many "
	       "wait-any-one wait-next-many wait-next-one dispatch fire polls",
	.options = "a",
	.kinds = "",
	.run = run_insns,
};
