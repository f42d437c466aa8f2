/* SPDX-License-Identifier: MIT */
/* demictl info */
#include "ctl.h"

static const struct bit_name features[] = {
	{ DEMI_FEATURE_FLOW, "flow" },
	{ DEMI_FEATURE_RAW, "raw" },
	{ DEMI_FEATURE_CAPTURE, "capture" },
	{ DEMI_FEATURE_GROUP, "group" },
	{ DEMI_FEATURE_MULTICAST, "multicast" },
	{ DEMI_FEATURE_FILTER_CBPF, "filter-cbpf" },
	{ DEMI_FEATURE_FILTER_EBPF, "filter-ebpf" },
	{ DEMI_FEATURE_GSO, "gso" },
	{ DEMI_FEATURE_ZEROCOPY, "zerocopy" },
	{ DEMI_FEATURE_POLL, "poll" },
	{ DEMI_FEATURE_EARLY, "early" },
	{ DEMI_FEATURE_MOCK, "mock" },
};

static int run(struct ctl *c)
{
	const struct demi_get_info *i = &c->info;
	json_t *limits = json_object(), *out = json_object();

	ctl_set(limits, "contexts", json_integer(i->contexts_max));
	ctl_set(limits, "queues", json_integer(i->queues_max));
	ctl_set(limits, "regions", json_integer(i->regions_max));
	ctl_set(limits, "reservations", json_integer(i->reservations_max));
	ctl_set(limits, "flows", json_integer(i->flows_max));
	ctl_set(limits, "groups", json_integer(i->groups_max));
	ctl_set(limits, "ring_entries", json_integer(i->ring_entries_max));
	ctl_set(limits, "frame_bytes", json_integer(i->frame_max));
	ctl_set(out, "abi", json_integer(i->abi));
	ctl_set(out, "features", ctl_bits(i->features, features, sizeof(features) / sizeof(features[0])));
	ctl_set(out, "limits", limits);
	return ctl_object(c, out);
}

const struct command cmd_info = {
	.name = "info",
	.doc = "what the module can do, and what one user may have",
	.options = "",
	.run = run,
};
