/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/*
 * Lists of /dev/demi, against commands played by this program: of any length, growing while they are read, never
 * complete, refused; and what to do when the device cannot be opened.
 */
#include "kdev/kdev.h"

#include "check.h"

#include <linux/filter.h>

static uint32_t have, grow_by, calls;
static int error;

int demi_kdev_open(struct demi_get_info *info)
{
	return -ENOENT;
}

const char *demi_kdev_hint(int err)
{
	return NULL;
}

static void list_ids(struct demi_queue_list *a)
{
	uint32_t *ids = (uint32_t *)(uintptr_t)a->ids;

	for (uint32_t i = 0; i < a->count && i < have; i++)
		ids[i] = 100 + i;
	a->count = have;
}

static void list_flows(struct demi_flow_list *a)
{
	struct demi_flow_entry *flows = (struct demi_flow_entry *)(uintptr_t)a->entries;

	CHECK(a->entry_bytes == sizeof(*flows));
	for (uint32_t i = 0; i < a->count && i < have; i++)
		flows[i] = (struct demi_flow_entry){ .flow_id = 100 + i };
	a->count = have;
}

static void filter_info(struct demi_filter_info *a)
{
	struct sock_filter *insns = (struct sock_filter *)(uintptr_t)a->insns;

	CHECK(a->queue_id == 7);
	for (uint32_t i = 0; insns && i < a->insn_count && i < have; i++)
		insns[i] = (struct sock_filter){ .k = 100 + i };
	a->kind = have ? DEMI_FILTER_CBPF : DEMI_FILTER_NONE;
	a->insn_count = have;
}

int demi_kdev_call(int fd, unsigned long command, void *arg)
{
	CHECK(fd == 3);
	if (error)
		return error;
	have += grow_by * calls++;
	switch (command) {
	case DEMI_DEVICE_LIST:
	case DEMI_QUEUE_LIST:
		CHECK(((struct demi_queue_list *)arg)->size == sizeof(struct demi_queue_list));
		list_ids(arg);
		return 0;
	case DEMI_FLOW_LIST:
		list_flows(arg);
		return 0;
	case DEMI_FILTER_INFO:
		filter_info(arg);
		return 0;
	default:
		return -ENOTTY;
	}
}

static void set(uint32_t n, uint32_t grows, int err)
{
	have = n;
	grow_by = grows;
	calls = 0;
	error = err;
}

static void test_lists(void)
{
	static const uint32_t lengths[] = { 0, 1, 15, 16, 17, 1000 };
	struct demi_flow_entry *flows;
	uint32_t *ids, n, i, k;

	for (k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
		set(lengths[k], 0, 0);
		OK(demi_kdev_ids(3, DEMI_QUEUE_LIST, &ids, &n));
		CHECK_EQ(n, lengths[k]);
		for (i = 0; i < n; i++)
			CHECK_EQ(ids[i], 100 + i);
		free(ids);
		OK(demi_kdev_flows(3, &flows, &n));
		CHECK_EQ(n, lengths[k]);
		for (i = 0; i < n; i++)
			CHECK_EQ(flows[i].flow_id, 100 + i);
		free(flows);
	}
	/* grows by less than the room that is added: complete in the end; by more: never */
	set(20, 3, 0);
	OK(demi_kdev_ids(3, DEMI_DEVICE_LIST, &ids, &n));
	CHECK(n == have && n > 20 && ids[n - 1] == 100 + n - 1);
	free(ids);
	set(20, 100, 0);
	CHECK_EQ(demi_kdev_ids(3, DEMI_DEVICE_LIST, &ids, &n), -EAGAIN);
	set(20, 100, 0);
	CHECK_EQ(demi_kdev_flows(3, &flows, &n), -EAGAIN);
	set(20, 0, -EPERM);
	CHECK_EQ(demi_kdev_ids(3, DEMI_QUEUE_LIST, &ids, &n), -EPERM);
	CHECK_EQ(demi_kdev_flows(3, &flows, &n), -EPERM);
}

static void test_filter(void)
{
	struct demi_filter_info info;
	struct sock_filter *insns;

	set(30, 0, 0);
	OK(demi_kdev_filter_info(3, 7, &info, &insns));
	CHECK(info.kind == DEMI_FILTER_CBPF && info.insn_count == 30 && insns[29].k == 129);
	free(insns);
	OK(demi_kdev_filter_info(3, 7, &info, NULL));
	CHECK(info.insn_count == 30);
	set(0, 0, 0);
	OK(demi_kdev_filter_info(3, 7, &info, &insns));
	CHECK(info.kind == DEMI_FILTER_NONE && !insns);
	set(0, 0, -ENOENT);
	CHECK_EQ(demi_kdev_filter_info(3, 7, &info, &insns), -ENOENT);
	CHECK(!insns);
}

int main(void)
{
	alarm(60);
	test_lists();
	test_filter();
	return 0;
}
