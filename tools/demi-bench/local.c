/* SPDX-License-Identifier: MIT */
#include "local.h"

#include "clock.h"
#include "cmds.h"
#include "proc.h"
#include "progress.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static uint64_t cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

struct local_result {
	uint64_t ops, ns, cpu_ns;
};

static int local_slice(const struct local_side *side, void *state, uint64_t max_ns, uint64_t max_ops,
		       struct local_result *r)
{
	uint64_t t0 = now_ns(), t = t0, cpu0 = cpu_now_ns(), ops, part;
	int ret = 0;

	memset(r, 0, sizeof(*r));
	do {
		part = UINT64_MAX;
		ret = side->batch(state, &ops, &part);
		if (ret)
			return ret;
		r->ns += part == UINT64_MAX ? now_ns() - t : part;
		r->ops += ops;
		t = now_ns();
	} while (!interrupted && (max_ops ? r->ops < max_ops : t - t0 < max_ns));
	r->cpu_ns = cpu_now_ns() - cpu0;
	return interrupted ? -EINTR : 0;
}

struct local_run {
	struct report report;
	void *state[MAX_SIDES];
	unsigned int open;
	int ns_per_op, rate, cpu;
};

static int setup(struct local_run *l, const struct opts *o, const struct local_side *sides, unsigned int n, double mib,
		 const char *title)
{
	int ret = report_init(&l->report, o->command->name, n, o->rounds);
	unsigned int i;

	if (ret)
		return ret;
	snprintf(l->report.title, sizeof(l->report.title), "%s, %u slices of each side in turn", title, o->rounds);
	l->ns_per_op = report_metric(&l->report, "ns_per_op", "ns per operation", METRIC_LESS);
	l->cpu = report_metric(&l->report, "cpu_ns_per_op", "CPU per operation, ns", METRIC_LESS);
	l->rate = mib > 0 ? report_metric(&l->report, "mib_per_s", "MiB/s", METRIC_MORE)
			  : report_metric(&l->report, "kops_per_s", "thousand operations/s", METRIC_MORE);
	if (l->ns_per_op < 0 || l->rate < 0 || l->cpu < 0)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		snprintf(l->report.side[i], sizeof(l->report.side[i]), "%s", sides[i].name);
		l->open = i + 1;
		ret = sides[i].open(o, &l->state[i]);
		if (ret) {
			warnx("%s: %s", sides[i].name, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

static int rounds(struct local_run *l, const struct opts *o, const struct local_side *sides, unsigned int n, double mib)
{
	struct local_result r;
	unsigned int round, i;
	int ret;

	for (i = 0; i < n && o->warmup_ns; i++) {
		ret = local_slice(&sides[i], l->state[i], o->warmup_ns, 0, &r);
		if (ret)
			return ret;
	}
	for (round = 0; round < o->rounds; round++) {
		for (i = 0; i < n; i++) {
			progress(l->report.title, round * n + i, o->rounds * n);
			ret = local_slice(&sides[i], l->state[i], o->slice_ns, o->count, &r);
			if (ret)
				return ret;
			report_set(&l->report, l->ns_per_op, i, round, (double)r.ns / (double)r.ops);
			report_set(&l->report, l->cpu, i, round, (double)r.cpu_ns / (double)r.ops);
			report_set(&l->report, l->rate, i, round,
				   mib > 0 ? (double)r.ops * mib / ((double)r.ns / 1e9)
					   : (double)r.ops / ((double)r.ns / 1e9) / 1000);
		}
		l->report.done = round + 1;
	}
	return 0;
}

int local_pairs(const struct opts *o, const struct local_side *sides, unsigned int n, double mib_per_op,
		const char *title)
{
	struct local_run l = { 0 };
	unsigned int i;
	int ret = setup(&l, o, sides, n, mib_per_op, title);

	if (!ret)
		ret = rounds(&l, o, sides, n, mib_per_op);
	if (ret && !interrupted)
		warnx("%s: %s", o->command->name, strerror(-ret));
	for (i = 0; i < l.open; i++)
		if (l.state[i])
			sides[i].close(l.state[i]);
	ret = finish(o, &l.report, ret);
	report_free(&l.report);
	return ret;
}
