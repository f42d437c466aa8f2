/* SPDX-License-Identifier: MIT */
/* Lists whose length is known only when they have been asked for. */
#include "kdev/kdev.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>

/* A list grows while it is read; so much more room is asked for, and so often. */
#define SLACK 16
#define TRIES 16

int demi_kdev_ids(int fd, unsigned long command, uint32_t **ids, uint32_t *count)
{
	/* both commands have this argument */
	struct demi_queue_list arg = { .size = sizeof(arg) };
	uint32_t *list = NULL, room = SLACK;
	int ret, i;

	_Static_assert(sizeof(struct demi_queue_list) == sizeof(struct demi_device_list), "one argument for both");
	for (i = 0; i < TRIES; i++) {
		uint32_t *more = realloc(list, room * sizeof(*list));

		ret = more ? 0 : -ENOMEM;
		if (ret)
			break;
		list = more;
		arg.count = room;
		arg.ids = (uintptr_t)list;
		ret = demi_kdev_call(fd, command, &arg);
		if (ret)
			break;
		if (arg.count <= room) {
			*ids = list;
			*count = arg.count;
			return 0;
		}
		room = arg.count + SLACK;
		ret = -EAGAIN;
	}
	free(list);
	return ret;
}

int demi_kdev_flows(int fd, struct demi_flow_entry **flows, uint32_t *count)
{
	struct demi_flow_list arg = { .size = sizeof(arg), .entry_bytes = sizeof(**flows) };
	struct demi_flow_entry *list = NULL;
	uint32_t room = SLACK;
	int ret, i;

	for (i = 0; i < TRIES; i++) {
		struct demi_flow_entry *more = realloc(list, room * sizeof(*list));

		ret = more ? 0 : -ENOMEM;
		if (ret)
			break;
		list = more;
		arg.count = room;
		arg.entries = (uintptr_t)list;
		ret = demi_kdev_call(fd, DEMI_FLOW_LIST, &arg);
		if (ret)
			break;
		if (arg.count <= room) {
			*flows = list;
			*count = arg.count;
			return 0;
		}
		room = arg.count + SLACK;
		ret = -EAGAIN;
	}
	free(list);
	return ret;
}

int demi_kdev_filter_info(int fd, uint32_t queue_id, struct demi_filter_info *info, struct sock_filter **insns)
{
	struct sock_filter *list = NULL;
	int ret;

	if (insns) {
		list = calloc(BPF_MAXINSNS, sizeof(*list));
		if (!list)
			return -ENOMEM;
	}
	*info = (struct demi_filter_info){ .size = sizeof(*info),
					   .queue_id = queue_id,
					   .insn_count = list ? BPF_MAXINSNS : 0,
					   .insns = (uintptr_t)list };
	ret = demi_kdev_call(fd, DEMI_FILTER_INFO, info);
	if (ret || info->kind != DEMI_FILTER_CBPF || info->insn_count > BPF_MAXINSNS) {
		free(list);
		list = NULL;
	}
	if (insns)
		*insns = list;
	return ret;
}
