/* SPDX-License-Identifier: MIT */
/* also: 32 bit */
/* The layout of every struct of the interface, in 64 and in 32 bit: what is once published stays. */
#include "kmod.h"

#include <linux/demi_nvme.h>
#include <linux/demi_virtio.h>
#include <stddef.h>

#define LAYOUT(_struct, _size, _member, _offset)                                                                       \
	_Static_assert(sizeof(struct _struct) == (_size), #_struct);                                                   \
	_Static_assert(offsetof(struct _struct, _member) == (_offset), #_struct "." #_member)

LAYOUT(demi_get_info, 56, contexts_max, 52);
LAYOUT(demi_device_list, 24, ids, 16);
LAYOUT(demi_device_info, 72, offloads, 32);
LAYOUT(demi_device_info, 72, name, 40);
LAYOUT(demi_device_bind, 16, device_id, 8);
LAYOUT(demi_device_grant, 16, uid, 12);
LAYOUT(demi_region_register, 40, length_bytes, 16);
LAYOUT(demi_region_register, 40, iova, 32);
LAYOUT(demi_region_unregister, 16, region_id, 8);
LAYOUT(demi_desc, 16, len, 8);
LAYOUT(demi_desc, 16, region, 12);
LAYOUT(demi_desc, 16, flags, 14);
LAYOUT(demi_ring_layout, 24, entries, 16);
LAYOUT(demi_queue_create, 160, fd, 40);
LAYOUT(demi_queue_create, 160, mmap_bytes, 48);
LAYOUT(demi_queue_create, 160, tx_done, 128);
LAYOUT(demi_queue_create, 160, features, 152);
LAYOUT(demi_queue_shutdown, 16, queue_id, 8);
LAYOUT(demi_queue_kick, 16, sent, 8);
LAYOUT(demi_queue_counters, 152, capture_lost, 144);
LAYOUT(demi_queue_info, 240, comm, 72);
LAYOUT(demi_queue_info, 240, counters, 88);
LAYOUT(demi_queue_list, 24, ids, 16);
LAYOUT(demi_addr, 24, addr, 8);
LAYOUT(demi_port_reserve, 56, local, 24);
LAYOUT(demi_port_reserve, 56, reservation_id, 48);
LAYOUT(demi_port_release, 16, reservation_id, 8);
LAYOUT(demi_flow_add, 72, remote, 40);
LAYOUT(demi_flow_add, 72, flow_id, 64);
LAYOUT(demi_flow_del, 16, flow_id, 8);
LAYOUT(demi_flow_entry, 72, remote, 48);
LAYOUT(demi_flow_list, 24, entries, 16);
LAYOUT(demi_group_create, 16, group_id, 8);
LAYOUT(demi_group_set, 24, queues, 16);
LAYOUT(demi_group_destroy, 16, group_id, 8);
LAYOUT(demi_filter_attach, 32, insns, 24);
LAYOUT(demi_filter_detach, 16, queue_id, 8);
LAYOUT(demi_filter_info, 56, insns, 24);
LAYOUT(demi_filter_info, 56, attached_ns, 48);
LAYOUT(demi_capture, 24, snap_bytes, 16);
LAYOUT(demi_capture_hdr, 24, direction, 16);
LAYOUT(demi_virtio_ring, 24, entries, 16);
LAYOUT(demi_virtio_queue, 256, tx, 32);
LAYOUT(demi_virtio_queue, 256, mtu_bytes, 56);
LAYOUT(demi_virtio_queue, 256, events, 128);
LAYOUT(demi_virtio_queue, 256, seen, 192);
LAYOUT(demi_nvme_namespace, 64, nguid, 24);
LAYOUT(demi_nvme_queue, 320, serial, 64);
LAYOUT(demi_nvme_queue, 320, events, 192);
LAYOUT(demi_nvme_queue, 320, seen, 256);
_Static_assert(DEMI_GET_INFO == 0xde00 && DEMI_REGION_REGISTER == 0xde20 && DEMI_QUEUE_CREATE == 0xde30 &&
		       DEMI_QUEUE_LIST == 0xde34 && DEMI_PORT_RESERVE == 0xde40 && DEMI_GROUP_CREATE == 0xde50 &&
		       DEMI_FILTER_ATTACH == 0xde60 && DEMI_CAPTURE == 0xde70,
	       "numbers of commands");

/* What the kernel writes stays inside, ends where this program's struct ends, and says what it knows. */
TEST(get_info)
{
	struct {
		struct demi_get_info info;
		unsigned char after[16];
	} a = { .info = { .size = sizeof(a.info) } };
	int ctx = kmod_open(), i;

	ASSERT_LE(0, ctx);
	memset(a.after, 0xa5, sizeof(a.after));
	ASSERT_EQ(0, kmod_ioctl(ctx, DEMI_GET_INFO, &a));
	ASSERT_EQ(sizeof(a.info), a.info.size);
	ASSERT_EQ(DEMI_ABI_VERSION, a.info.abi);
	ASSERT_EQ(getpagesize(), a.info.page_bytes);
	ASSERT_EQ(DEMI_RING_ENTRIES_MAX, a.info.ring_entries_max);
	ASSERT_EQ(DEMI_FRAME_MAX, a.info.frame_max);
	ASSERT_NE(0, a.info.features & DEMI_FEATURE_MOCK);
	ASSERT_EQ(kmod_read_number("/sys/module/demi/parameters/queues_max"), a.info.queues_max);
	ASSERT_EQ(kmod_read_number("/sys/module/demi/parameters/contexts_max"), a.info.contexts_max);
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0xa5, a.after[i]);
	close(ctx);
}

/* A caller that knows more than the kernel: its further fields stay 0. */
TEST(a_longer_struct)
{
	struct {
		struct demi_get_info info;
		unsigned char later[16];
	} a = { .info = { .size = sizeof(a) } };
	int ctx = kmod_open(), i;

	ASSERT_EQ(0, kmod_ioctl(ctx, DEMI_GET_INFO, &a));
	ASSERT_EQ(DEMI_ABI_VERSION, a.info.abi);
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, a.later[i]);
	close(ctx);
}

TEST(device_list)
{
	unsigned int ids[4] = { 77, 77, 77, 77 };
	struct demi_device_list list = { .size = sizeof(list), .count = 1, .ids = (uintptr_t)ids };
	struct demi_device_info info = { .size = sizeof(info) };
	int ctx = kmod_open();

	ASSERT_EQ(0, kmod_ioctl(ctx, DEMI_DEVICE_LIST, &list));
	ASSERT_LE(2, list.count);
	ASSERT_NE(77, ids[0]);
	ASSERT_EQ(77, ids[1]);
	info.device_id = ids[0];
	ASSERT_EQ(0, kmod_ioctl(ctx, DEMI_DEVICE_INFO, &info));
	ASSERT_EQ(DEMI_DEVICE_HOST, info.kind);
	ASSERT_EQ(0, strcmp("host", info.name));
	ASSERT_EQ(0, info.state);
	ASSERT_EQ(DEMI_UID_NONE, info.owner_uid);
	close(ctx);
}

TEST_HARNESS_MAIN
