/* SPDX-License-Identifier: MIT */
/* demictl queue list|show */
#include "ctl.h"

#include <errno.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

static const struct bit_name states[] = {
	{ DEMI_QUEUE_STATE_SHUTDOWN, "shutdown" },
	{ DEMI_QUEUE_STATE_FILTER, "filter" },
	{ DEMI_QUEUE_STATE_CAPTURED, "captured" },
};

#define COUNTERS(X)                                                                                                    \
	X(rx_frames)                                                                                                   \
	X(rx_bytes)                                                                                                    \
	X(rx_no_buffer)                                                                                                \
	X(rx_filtered)                                                                                                 \
	X(rx_policy)                                                                                                   \
	X(rx_error)                                                                                                    \
	X(rx_icmp)                                                                                                     \
	X(rx_bad_desc)                                                                                                 \
	X(rx_wakeups)                                                                                                  \
	X(tx_frames)                                                                                                   \
	X(tx_bytes)                                                                                                    \
	X(tx_refused)                                                                                                  \
	X(tx_unreachable)                                                                                              \
	X(tx_dropped)                                                                                                  \
	X(tx_bad_desc)                                                                                                 \
	X(tx_kicks)                                                                                                    \
	X(tx_again)                                                                                                    \
	X(captured)                                                                                                    \
	X(capture_lost)

json_t *ctl_counters(const struct demi_queue_counters *counters)
{
	json_t *o = json_object();

#define SET(name) ctl_set(o, #name, json_integer((json_int_t)counters->name));
	COUNTERS(SET)
#undef SET
	return o;
}

int ctl_queues(const struct ctl *c, struct demi_queue_info **infos, uint32_t *count)
{
	struct demi_queue_info *list;
	uint32_t *ids, n, i, have = 0;
	int ret = demi_kdev_ids(c->fd, DEMI_QUEUE_LIST, &ids, &n);

	if (ret)
		return ctl_fail(c, ret, NULL, "list of queues");
	list = calloc(n + 1, sizeof(*list));
	if (!list) {
		free(ids);
		return ctl_fail(c, -ENOMEM, NULL, "list of queues");
	}
	for (i = 0; i < n; i++)
		if (!demi_kdev_queue_info(c->fd, ids[i], &list[have])) /* else it has just gone */
			have++;
	free(ids);
	*infos = list;
	*count = have;
	return 0;
}

static json_t *user_of(uint32_t uid)
{
	const struct passwd *p = getpwuid(uid);

	return p ? json_string(p->pw_name) : json_integer(uid);
}

static json_t *device_of(const struct ctl *c, const struct demi_queue_info *q)
{
	char name[IF_NAMESIZE];
	struct demi_device_info d;

	if (q->ifindex)
		return if_indextoname(q->ifindex, name) ? json_string(name) : json_integer(q->ifindex);
	if (demi_kdev_device_info(c->fd, q->device_id, &d))
		return json_integer(q->device_id);
	d.name[sizeof(d.name) - 1] = 0;
	return json_string(d.name);
}

static json_t *ring(uint32_t entries, int64_t used)
{
	json_t *o = json_object();

	ctl_set(o, "entries", json_integer(entries));
	if (used >= 0)
		ctl_set(o, "used", json_integer(used));
	return o;
}

static json_t *describe(const struct ctl *c, const struct demi_queue_info *q)
{
	json_t *o = json_object(), *rings = json_object();
	char comm[sizeof(q->comm) + 1];

	snprintf(comm, sizeof(comm), "%.*s", (int)sizeof(q->comm), q->comm);
	ctl_set(o, "id", json_integer(q->queue_id));
	ctl_set(o, "kind", json_string(ctl_queue_kind(q->kind)));
	ctl_set(o, "device", device_of(c, q));
	ctl_set(o, "user", user_of(q->uid));
	ctl_set(o, "uid", json_integer(q->uid));
	ctl_set(o, "pid", q->pid ? json_integer(q->pid) : json_null());
	ctl_set(o, "comm", json_string_nocheck(comm));
	ctl_set(o, "state", ctl_bits(q->state, states, sizeof(states) / sizeof(states[0])));
	ctl_set(o, "flows", json_integer(q->flows));
	ctl_set(rings, "rx_fill", ring(q->rx_fill_entries, q->rx_fill_used));
	ctl_set(rings, "rx", ring(q->rx_entries, q->rx_used));
	ctl_set(rings, "tx", ring(q->tx_entries, -1));
	ctl_set(rings, "tx_done", ring(q->tx_done_entries, -1));
	ctl_set(o, "rings", rings);
	ctl_set(o, "ring_bytes", json_integer(q->ring_bytes));
	ctl_set(o, "kernel_bytes", json_integer(q->kernel_bytes));
	ctl_set(o, "counters", ctl_counters(&q->counters));
	return o;
}

static int run_list(struct ctl *c)
{
	static const struct column columns[] = {
		{ "id", "ID", true },
		{ "kind", "KIND", false },
		{ "device", "DEVICE", false },
		{ "user", "USER", false },
		{ "pid", "PID", true },
		{ "comm", "COMMAND", false },
		{ "flows", "FLOWS", true },
		{ "counters.rx_frames", "RECEIVED", true },
		{ "counters.tx_frames", "SENT", true },
		{ "state", "STATE", false },
	};
	struct demi_queue_info *list;
	uint32_t n, i;
	int ret = ctl_queues(c, &list, &n);
	json_t *rows;

	if (ret)
		return ret;
	rows = json_array();
	for (i = 0; i < n; i++)
		(void)json_array_append_new(rows, describe(c, &list[i]));
	free(list);
	return ctl_table(c, rows, columns, sizeof(columns) / sizeof(columns[0]));
}

static int run_show(struct ctl *c)
{
	struct demi_queue_info q;
	int ret = ctl_queue(c, c->o.args[0], &q);

	return ret ? ret : ctl_object(c, describe(c, &q));
}

const struct command cmd_queue_list = {
	.name = "queue list",
	.doc = "queues that you may see: your own, or (root) all of the network namespace",
	.options = "",
	.run = run_list,
};

const struct command cmd_queue_show = {
	.name = "queue show",
	.args = "QUEUE",
	.doc = "all about one queue",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_show,
};
