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

/* Ask once, for at most *@count entries at @list; *@count is then how many there are. */
typedef int ask_fn(int fd, unsigned long command, void *list, uint32_t *count);

static int whole_list(int fd, unsigned long command, ask_fn *ask, size_t entry_bytes, void **list_out, uint32_t *count)
{
	uint32_t room = SLACK;
	void *list = NULL;
	int ret = -EAGAIN;

	for (int i = 0; i < TRIES && ret == -EAGAIN; i++) {
		void *more = realloc(list, room * entry_bytes);

		if (!more) {
			ret = -ENOMEM;
			break;
		}
		list = more;
		*count = room;
		ret = ask(fd, command, list, count);
		if (!ret && *count <= room) {
			*list_out = list;
			return 0;
		}
		if (!ret)
			ret = -EAGAIN;
		room = *count + SLACK;
	}
	free(list);
	return ret;
}

static int ask_ids(int fd, unsigned long command, void *list, uint32_t *count)
{
	/* both commands have this argument */
	struct demi_queue_list arg = { .size = sizeof(arg), .count = *count, .ids = (uintptr_t)list };
	int ret = demi_kdev_call(fd, command, &arg);

	_Static_assert(sizeof(struct demi_queue_list) == sizeof(struct demi_device_list), "one argument for both");
	*count = arg.count;
	return ret;
}

static int ask_flows(int fd, unsigned long command, void *list, uint32_t *count)
{
	struct demi_flow_list arg = { .size = sizeof(arg),
				      .count = *count,
				      .entry_bytes = sizeof(struct demi_flow_entry),
				      .entries = (uintptr_t)list };
	int ret = demi_kdev_call(fd, command, &arg);

	*count = arg.count;
	return ret;
}

int demi_kdev_ids(int fd, unsigned long command, uint32_t **ids, uint32_t *count)
{
	void *list;
	int ret = whole_list(fd, command, ask_ids, sizeof(**ids), &list, count);

	if (!ret)
		*ids = list;
	return ret;
}

int demi_kdev_flows(int fd, struct demi_flow_entry **flows, uint32_t *count)
{
	void *list;
	int ret = whole_list(fd, DEMI_FLOW_LIST, ask_flows, sizeof(**flows), &list, count);

	if (!ret)
		*flows = list;
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
