/* SPDX-License-Identifier: MIT */
/* demictl device list|show, grant, revoke */
#include "ctl.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>

static const struct bit_name states[] = {
	{ DEMI_DEVICE_F_DEDICATED, "dedicated" },
	{ DEMI_DEVICE_F_IOMMU, "iommu" },
	{ DEMI_DEVICE_F_BOUND, "bound" },
	{ DEMI_DEVICE_F_MINE, "mine" },
};

static const struct bit_name offloads[] = {
	{ DEMI_OFFLOAD_TX_CSUM, "tx-csum" }, { DEMI_OFFLOAD_TX_TSO4, "tso4" },	  { DEMI_OFFLOAD_TX_TSO6, "tso6" },
	{ DEMI_OFFLOAD_TX_USO, "uso" },	     { DEMI_OFFLOAD_RX_CSUM, "rx-csum" }, { DEMI_OFFLOAD_RX_GRO, "gro" },
};

static const char *kind_name(uint32_t kind)
{
	static const char *const names[] = { "?", "host", "virtio-net", "nvme", "mock" };

	return names[kind < sizeof(names) / sizeof(names[0]) ? kind : 0];
}

static json_t *owner_of(uint32_t uid)
{
	const struct passwd *p = uid == DEMI_UID_NONE ? NULL : getpwuid(uid);

	return uid == DEMI_UID_NONE ? json_null() : p ? json_string(p->pw_name) : json_integer(uid);
}

static json_t *describe(struct demi_device_info *d)
{
	json_t *o = json_object();

	d->name[sizeof(d->name) - 1] = 0;
	ctl_set(o, "id", json_integer(d->device_id));
	ctl_set(o, "name", json_string(d->name));
	ctl_set(o, "kind", json_string(kind_name(d->kind)));
	ctl_set(o, "state", ctl_bits(d->state, states, sizeof(states) / sizeof(states[0])));
	ctl_set(o, "owner", owner_of(d->owner_uid));
	ctl_set(o, "queues_max", d->queues_max ? json_integer(d->queues_max) : json_null());
	ctl_set(o, "mtu_bytes", json_integer(d->mtu_bytes));
	ctl_set(o, "offloads", ctl_bits(d->offloads, offloads, sizeof(offloads) / sizeof(offloads[0])));
	return o;
}

static int run_list(struct ctl *c)
{
	static const struct column columns[] = {
		{ "id", "ID", true },
		{ "name", "NAME", false },
		{ "kind", "KIND", false },
		{ "state", "STATE", false },
		{ "owner", "OWNER", false },
		{ "mtu_bytes", "MTU", true },
		{ "queues_max", "QUEUES", true },
		{ "offloads", "OFFLOADS", false },
	};
	json_t *rows = json_array();
	struct demi_device_info d;
	uint32_t *ids, n, i;
	int ret = demi_kdev_ids(c->fd, DEMI_DEVICE_LIST, &ids, &n);

	if (ret) {
		json_decref(rows);
		return ctl_fail(c, ret, NULL, "list of devices");
	}
	for (i = 0; i < n; i++)
		if (!demi_kdev_device_info(c->fd, ids[i], &d)) /* else it has just gone */
			(void)json_array_append_new(rows, describe(&d));
	free(ids);
	return ctl_table(c, rows, columns, sizeof(columns) / sizeof(columns[0]));
}

static int run_show(struct ctl *c)
{
	struct demi_device_info d;
	int ret = ctl_device(c, c->o.args[0], &d);

	return ret ? ret : ctl_object(c, describe(&d));
}

static const char *hint_of(int err)
{
	switch (-err) {
	case EPERM:
		return "this takes root (CAP_SYS_ADMIN)";
	case EOPNOTSUPP:
		return "only dedicated devices have an owner; queues of the host's network are for everybody who may "
		       "open " DEMI_KDEV_PATH;
	case EBUSY:
		return "a program uses it: end that first";
	default:
		return NULL;
	}
}

static int run_grant(struct ctl *c)
{
	struct demi_device_grant arg = { .size = sizeof(arg) };
	struct demi_device_info d;
	int ret;

	ret = ctl_device(c, c->o.args[0], &d);
	if (!ret)
		ret = ctl_user(c, c->o.args[1], &arg.uid);
	if (ret)
		return ret;
	arg.device_id = d.device_id;
	ret = demi_kdev_call(c->fd, DEMI_DEVICE_GRANT, &arg);
	return ret ? ctl_fail(c, ret, hint_of(ret), "grant %s", d.name) : 0;
}

static int run_revoke(struct ctl *c)
{
	struct demi_device_grant arg = { .size = sizeof(arg) };
	struct demi_device_info d;
	int ret = ctl_device(c, c->o.args[0], &d);

	if (ret)
		return ret;
	arg.device_id = d.device_id;
	ret = demi_kdev_call(c->fd, DEMI_DEVICE_REVOKE, &arg);
	return ret ? ctl_fail(c, ret, hint_of(ret), "revoke %s", d.name) : 0;
}

const struct command cmd_device_list = {
	.name = "device list",
	.doc = "devices that you may use",
	.options = "",
	.run = run_list,
};

const struct command cmd_device_show = {
	.name = "device show",
	.args = "DEVICE",
	.doc = "all about one device",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_show,
};

const struct command cmd_grant = {
	.name = "grant",
	.args = "DEVICE USER",
	.doc = "let a user have a dedicated device",
	.options = "",
	.min_args = 2,
	.max_args = 2,
	.run = run_grant,
};

const struct command cmd_revoke = {
	.name = "revoke",
	.args = "DEVICE",
	.doc = "take a dedicated device away, at once",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_revoke,
};
