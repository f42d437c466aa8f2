/* SPDX-License-Identifier: MIT */
/* demictl flow list */
#include "ctl.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *describe(const struct demi_flow_entry *f)
{
	json_t *o = json_object();
	char buf[80];

	ctl_set(o, "id", json_integer(f->flow_id));
	ctl_set(o, "protocol",
		f->protocol == IPPROTO_UDP   ? json_string("udp")
		: f->protocol == IPPROTO_TCP ? json_string("tcp")
					     : json_integer(f->protocol));
	ctl_addr(buf, sizeof(buf), &f->local, false);
	ctl_set(o, "local", json_string(buf));
	ctl_addr(buf, sizeof(buf), &f->remote, true);
	ctl_set(o, "remote", json_string(buf));
	ctl_set(o, f->flags & DEMI_FLOW_F_GROUP ? "group" : "queue", json_integer(f->target));
	ctl_set(o, "multicast", json_boolean(f->flags & DEMI_FLOW_F_MULTICAST));
	ctl_set(o, "reservation", json_integer(f->reservation_id));
	ctl_set(o, "uid", json_integer(f->uid));
	return o;
}

static int run(struct ctl *c)
{
	static const struct column columns[] = {
		{ "id", "ID", true },	       { "protocol", "PROTOCOL", false }, { "local", "LOCAL", false },
		{ "remote", "REMOTE", false }, { "queue", "QUEUE", true },	  { "group", "GROUP", true },
		{ "uid", "UID", true },
	};
	json_t *rows = json_array();
	struct demi_flow_entry *list;
	uint32_t n, i;
	int ret = demi_kdev_flows(c->fd, &list, &n);

	if (ret) {
		json_decref(rows);
		return ctl_fail(c, ret, NULL, "list of flows");
	}
	for (i = 0; i < n; i++)
		(void)json_array_append_new(rows, describe(&list[i]));
	free(list);
	return ctl_table(c, rows, columns, sizeof(columns) / sizeof(columns[0]));
}

const struct command cmd_flow_list = {
	.name = "flow list",
	.doc = "which packets reach which queue",
	.options = "",
	.run = run,
};
