/* SPDX-License-Identifier: MIT */
/* demictl stats: the counters of all queues, and with --watch their rates. */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct sample {
	struct demi_queue_info *queues;
	uint32_t n;
	double at;
};

static int sample(const struct ctl *c, struct sample *s)
{
	int ret = ctl_queues(c, &s->queues, &s->n);

	s->at = now();
	return ret;
}

static const struct demi_queue_info *find(const struct sample *s, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < s->n; i++)
		if (s->queues[i].queue_id == id)
			return &s->queues[i];
	return NULL;
}

static uint64_t rx_dropped(const struct demi_queue_counters *k)
{
	return k->rx_no_buffer + k->rx_filtered + k->rx_policy + k->rx_error;
}

static uint64_t tx_dropped(const struct demi_queue_counters *k)
{
	return k->tx_refused + k->tx_unreachable + k->tx_dropped + k->tx_bad_desc;
}

/* Per second since the last sample; a queue that was not there then has none. */
static json_t *rates(const struct demi_queue_counters *a, const struct demi_queue_counters *b, double seconds)
{
	json_t *o = json_object();

	ctl_set(o, "rx_frames", json_real((double)(b->rx_frames - a->rx_frames) / seconds));
	ctl_set(o, "rx_bytes", json_real((double)(b->rx_bytes - a->rx_bytes) / seconds));
	ctl_set(o, "rx_dropped", json_real((double)(rx_dropped(b) - rx_dropped(a)) / seconds));
	ctl_set(o, "tx_frames", json_real((double)(b->tx_frames - a->tx_frames) / seconds));
	ctl_set(o, "tx_bytes", json_real((double)(b->tx_bytes - a->tx_bytes) / seconds));
	ctl_set(o, "tx_dropped", json_real((double)(tx_dropped(b) - tx_dropped(a)) / seconds));
	return o;
}

static json_t *describe(const struct demi_queue_info *q, const struct demi_queue_info *before, double seconds)
{
	char comm[sizeof(q->comm) + 1];
	json_t *o = json_object();

	snprintf(comm, sizeof(comm), "%.*s", (int)sizeof(q->comm), q->comm);
	ctl_set(o, "id", json_integer(q->queue_id));
	ctl_set(o, "kind", json_string(ctl_queue_kind(q->kind)));
	ctl_set(o, "pid", q->pid ? json_integer(q->pid) : json_null());
	ctl_set(o, "comm", json_string_nocheck(comm));
	ctl_set(o, "rx_dropped", json_integer((json_int_t)rx_dropped(&q->counters)));
	ctl_set(o, "tx_dropped", json_integer((json_int_t)tx_dropped(&q->counters)));
	ctl_set(o, "counters", ctl_counters(&q->counters));
	if (before)
		ctl_set(o, "rates", rates(&before->counters, &q->counters, seconds));
	return o;
}

static int show(const struct ctl *c, const struct sample *s, const struct sample *before)
{
	static const struct column totals[] = {
		{ "id", "QUEUE", true },
		{ "kind", "KIND", false },
		{ "pid", "PID", true },
		{ "comm", "COMMAND", false },
		{ "counters.rx_frames", "RECEIVED", true },
		{ "counters.rx_bytes", "BYTES", true },
		{ "counters.rx_no_buffer", "NO-BUFFER", true },
		{ "counters.rx_filtered", "FILTERED", true },
		{ "rx_dropped", "DROPPED", true },
		{ "counters.tx_frames", "SENT", true },
		{ "counters.tx_bytes", "BYTES", true },
		{ "tx_dropped", "DROPPED", true },
	};
	static const struct column per_second[] = {
		{ "id", "QUEUE", true },
		{ "kind", "KIND", false },
		{ "pid", "PID", true },
		{ "comm", "COMMAND", false },
		{ "rates.rx_frames", "RECEIVED/s", true },
		{ "rates.rx_bytes", "BYTES/s", true },
		{ "rates.rx_dropped", "DROPPED/s", true },
		{ "rates.tx_frames", "SENT/s", true },
		{ "rates.tx_bytes", "BYTES/s", true },
		{ "rates.tx_dropped", "DROPPED/s", true },
		{ "counters.rx_filtered", "FILTERED", true },
	};
	json_t *rows = json_array();
	uint32_t i;

	for (i = 0; i < s->n; i++)
		(void)json_array_append_new(rows,
					    describe(&s->queues[i], before ? find(before, s->queues[i].queue_id) : NULL,
						     before ? s->at - before->at : 1));
	if (c->o.json && c->o.watch_s > 0) /* one line each time */
		return ctl_json(rows, JSON_COMPACT);
	if (before)
		return ctl_table(c, rows, per_second, sizeof(per_second) / sizeof(per_second[0]));
	return ctl_table(c, rows, totals, sizeof(totals) / sizeof(totals[0]));
}

static void wait_until(double t)
{
	struct timespec ts = { (time_t)t, (long)((t - (double)(time_t)t) * 1e9) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int watch(struct ctl *c, struct sample *before)
{
	bool live = !c->o.json && isatty(STDOUT_FILENO);
	double next = before->at;
	struct sample s;
	uint64_t i;
	int ret = 0;

	for (i = 0; !ret && (!c->o.count || i < c->o.count); i++) {
		next += c->o.watch_s;
		wait_until(next);
		ret = sample(c, &s);
		if (ret)
			break;
		if (live)
			fputs("\033[H\033[J", stdout);
		ret = show(c, &s, before);
		if (!live && !c->o.json)
			putchar('\n');
		if (fflush(stdout))
			ret = ctl_fail(c, -errno, NULL, "standard output");
		free(before->queues);
		*before = s;
	}
	return ret;
}

static int run(struct ctl *c)
{
	struct sample s;
	int ret = sample(c, &s);

	if (ret)
		return ret;
	ret = c->o.watch_s > 0 ? watch(c, &s) : show(c, &s, NULL);
	free(s.queues);
	return ret;
}

const struct command cmd_stats = {
	.name = "stats",
	.doc = "the counters of all queues, once or as a live table",
	.options = "Wc",
	.run = run,
};
