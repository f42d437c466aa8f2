/* SPDX-License-Identifier: MIT */
/* echo and stream: two processes of each side talk, slice by slice in turn with the other sides. */
#include "cmds.h"
#include "device.h"
#include "proc.h"
#include "progress.h"

#include <err.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	RTT_P50,
	RTT_P99,
	RTT_P999,
	RTT_MEAN,
	RATE,
	CPU_SERVER,
	CPU_CLIENT,
	CALLS_SERVER,
	CALLS_CLIENT,
	COPIED_CLIENT,
	METRICS,
};

static const struct {
	const char *key, *label, *stream_key, *stream_label;
	enum metric_sense sense;
} metrics[METRICS] = {
	[RTT_P50] = { "rtt_p50_us", "round trip p50, µs", NULL, NULL, METRIC_LESS },
	[RTT_P99] = { "rtt_p99_us", "round trip p99, µs", NULL, NULL, METRIC_LESS },
	[RTT_P999] = { "rtt_p999_us", "round trip p99.9, µs", NULL, NULL, METRIC_LESS },
	[RTT_MEAN] = { "rtt_mean_us", "round trip mean, µs", NULL, NULL, METRIC_LESS },
	[RATE] = { "kops_per_s", "thousand echoes/s", "mib_per_s", "MiB/s", METRIC_MORE },
	[CPU_SERVER] = { "server_cpu_us_per_op", "server CPU per echo, µs", "server_cpu_us_per_mib",
			 "server CPU per MiB, µs", METRIC_LESS },
	[CPU_CLIENT] = { "client_cpu_us_per_op", "client CPU per echo, µs", "client_cpu_us_per_mib",
			 "client CPU per MiB, µs", METRIC_LESS },
	[CALLS_SERVER] = { "server_calls_per_op", "server system calls/echo", "server_calls_per_mib",
			   "server system calls/MiB", METRIC_LESS },
	[CALLS_CLIENT] = { "client_calls_per_op", "client system calls/echo", "client_calls_per_mib",
			   "client system calls/MiB", METRIC_LESS },
	[COPIED_CLIENT] = { NULL, NULL, "client_copied_per_mib", "bytes the client copied/MiB", METRIC_LESS },
};

struct pairs {
	struct run run;
	struct report report;
	int id[METRICS]; /* of the report's metrics; -1 */
	double work[MAX_SIDES]; /* echoes or MiB of the whole run, warm-up included, as the counts of calls */
};

static int setup_report(struct pairs *p, const struct opts *o, enum mode mode)
{
	unsigned int i, m;
	int ret = report_init(&p->report, o->command->name, o->nsides, o->rounds);

	if (ret)
		return ret;
	for (m = 0; m < METRICS; m++) {
		const char *key = mode == MODE_STREAM ? metrics[m].stream_key : metrics[m].key;

		p->id[m] = -1;
		if (!key)
			continue;
		p->id[m] =
			report_metric(&p->report, key, mode == MODE_STREAM ? metrics[m].stream_label : metrics[m].label,
				      metrics[m].sense);
		if (p->id[m] < 0)
			return p->id[m];
	}
	for (i = 0; i < o->nsides; i++) {
		const char *sep = o->load[0] ? "<" : "";

		snprintf(p->report.side[i], sizeof(p->report.side[i]), "%s%s%s:%s", o->sides[i].kind, sep, o->load,
			 over_name(o->sides[i].over));
	}
	snprintf(p->report.title, sizeof(p->report.title),
		 "%s of %u bytes, %u connection%s, window %u, %u slices of each side in turn", o->command->name,
		 o->size, o->connections, o->connections == 1 ? "" : "s", o->window, o->rounds);
	return 0;
}

/* Wait until the server has taken what still lies in the sockets, so that the next slice starts clean. */
static void drain(struct side *s)
{
	unsigned long long seen;
	int quiet = 0, tries;

	for (tries = 0; tries < 1000 && quiet < 3; tries++) {
		seen = atomic_load(&s->bytes);
		usleep(1000);
		quiet = atomic_load(&s->bytes) == seen ? quiet + 1 : 0;
	}
}

/* The work of one slice: echoes, or MiB that arrived. */
static int one_slice(struct pairs *p, unsigned int i, uint64_t ns, uint64_t ops, double *work)
{
	struct side *s = p->run.sides[i];
	unsigned long long bytes0 = atomic_load(&s->bytes);
	int ret = run_slice(&p->run, i, ns, ops);

	if (ret)
		return ret;
	*work = (double)s->slice.ops;
	if (s->mode == MODE_STREAM) {
		*work = (double)(atomic_load(&s->bytes) - bytes0) / 1048576;
		atomic_store(&s->active, 1); /* a server that parks shall empty its queue */
		drain(s);
		atomic_store(&s->active, 0);
		p->work[i] += (double)(atomic_load(&s->bytes) - bytes0) / 1048576;
	} else {
		p->work[i] += *work;
	}
	return 0;
}

static void set(struct pairs *p, int m, unsigned int side, unsigned int round, double v)
{
	if (p->id[m] >= 0)
		report_set(&p->report, p->id[m], side, round, v);
}

static void record(struct pairs *p, unsigned int i, unsigned int round, double work)
{
	struct side *s = p->run.sides[i];
	const struct hist *h = s->hist;

	if (h->total) {
		set(p, RTT_P50, i, round, (double)hist_quantile(h, 0.5) / 1000);
		set(p, RTT_P99, i, round, (double)hist_quantile(h, 0.99) / 1000);
		set(p, RTT_P999, i, round, (double)hist_quantile(h, 0.999) / 1000);
		set(p, RTT_MEAN, i, round, hist_mean(h) / 1000);
	}
	hist_add(s->total, h);
	if (work <= 0 || !s->slice.ns)
		return;
	set(p, RATE, i, round, work / ((double)s->slice.ns / 1e9) / (s->mode == MODE_STREAM ? 1 : 1000));
	set(p, CPU_SERVER, i, round, (double)s->server_use.cpu_ns / 1000 / work);
	set(p, CPU_CLIENT, i, round, (double)s->client_use.cpu_ns / 1000 / work);
}

static int all_rounds(struct pairs *p, const struct opts *o)
{
	unsigned int round, i;
	double work;
	int ret;

	for (i = 0; i < o->nsides && o->warmup_ns; i++) {
		ret = one_slice(p, i, o->warmup_ns, 0, &work);
		if (ret)
			return ret;
	}
	for (round = 0; round < o->rounds; round++) {
		for (i = 0; i < o->nsides; i++) {
			if (interrupted)
				return -EINTR;
			progress(p->report.title, round * o->nsides + i, o->rounds * o->nsides);
			ret = one_slice(p, i, o->slice_ns, o->count, &work);
			if (ret)
				return ret;
			record(p, i, round, work);
		}
		p->report.done = round + 1;
	}
	return 0;
}

/* System calls are counted over the whole run: every round gets the same value. */
static void record_calls(struct pairs *p)
{
	unsigned int i, round;

	for (i = 0; i < p->run.nsides; i++) {
		struct side *s = p->run.sides[i];

		for (round = 0; round < p->report.done && p->work[i] > 0; round++) {
			set(p, CALLS_SERVER, i, round, (double)s->server_use.calls / p->work[i]);
			set(p, CALLS_CLIENT, i, round, (double)s->client_use.calls / p->work[i]);
			if (s->client->is_libdemi)
				set(p, COPIED_CLIENT, i, round, (double)s->client_use.copied / p->work[i]);
		}
	}
}

static int run_pairs(struct opts *o, enum mode mode)
{
	struct pairs p = { 0 };
	unsigned int i;
	int ret;

	ret = setup_report(&p, o, mode);
	if (!ret)
		ret = run_start(&p.run, o, mode);
	if (!ret)
		ret = all_rounds(&p, o);
	run_end(&p.run);
	if (ret && ret != -EINTR && !interrupted)
		warnx("%s: %s", o->command->name, strerror(-ret));
	record_calls(&p);
	for (i = 0; i < p.run.nsides; i++)
		p.report.hist[i] = p.run.sides[i] ? p.run.sides[i]->total : NULL;
	ret = finish(o, &p.report, ret);
	run_free(&p.run);
	report_free(&p.report);
	return ret;
}

/* What cannot work, said before any process starts. */
static int check(const struct opts *o)
{
	unsigned int i;

	for (i = 0; i < o->nsides; i++) {
		const char *kind = o->sides[i].kind;

		if (o->sides[i].over == OVER_PIPE && o->connections > 1) {
			warnx("a pipe is one connection: leave --connections away");
			return -1;
		}
		if (!strcmp(kind, "ring-raw") && o->window > 256) {
			warnx("ring-raw has 256 slots: --window 256 at most");
			return -1;
		}
		if (o->device && !strcmp(kind, "demi") && o->sides[i].over != OVER_TCP &&
		    o->sides[i].over != OVER_UDP) {
			warnx("--device is for tcp and udp");
			return -1;
		}
		if (!strcmp(kind, "l2") && (!o->device || strcmp(o->device->name, "dpdk"))) {
			warnx("l2 is a peer on DPDK: --device dpdk");
			return -1;
		}
		if (o->sides[i].over == OVER_UDP && o->size > 65507) {
			warnx("a UDP datagram carries 65507 bytes at most: choose a smaller --size");
			return -1;
		}
	}
	if (o->command == &cmd_echo && (uint64_t)o->size * o->window > 131072 && (o->nsides > 1 || o->window > 1)) {
		warnx("more than 128 KiB under way on a connection could block both ends of a plain socket: "
		      "choose a smaller --size or --window");
		return -1;
	}
	return device_check(o);
}

static int run_echo(struct opts *o)
{
	if (!o->size)
		o->size = 64;
	if (!o->window)
		o->window = 1;
	return check(o) ? 64 : run_pairs(o, MODE_ECHO);
}

static int run_stream(struct opts *o)
{
	if (!o->size)
		o->size = 16384;
	if (!o->window)
		o->window = 16;
	return check(o) ? 64 : run_pairs(o, MODE_STREAM);
}

const struct side_kind *side_kind_find(const char *name)
{
	static const struct side_kind *const kinds[] = { &side_demi,  &side_epoll, &side_busy, &side_kernel,
							 &side_uring, &side_ring,  &side_l2,   &side_dpdk };
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i]->name, name))
			return kinds[i];
	return NULL;
}

const struct command cmd_echo = {
	.name = "echo",
	.doc = "round trips between two processes",
	.options = "oscwlfpd",
	.kinds = "demi epoll busy kernel uring-raw ring-raw l2 dpdk",
	.run = run_echo,
};

const struct command cmd_stream = {
	.name = "stream",
	.doc = "throughput from one process to another",
	.options = "oscwlfd",
	.kinds = "demi epoll busy kernel uring-raw ring-raw dpdk",
	.run = run_stream,
};
