/* SPDX-License-Identifier: MIT */
/* also: 32 bit */
/*
 * Each field of each command's argument that can be wrong, wrong alone: everything else is what succeeds. A row of the
 * table is a test.
 */
#include "kmod.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stddef.h>

#define NO_ID 0x7ffffff0
#define NOWHERE 8 /* no pointer points there */

/* Objects that valid arguments name. */
static int ctx;
static struct kmod_queue mock_queue;
static int flow_fd;
static unsigned int host, mock0, mock1, flow_queue, capture_queue, reservation, flow, group, region;
static void *mem;
static unsigned int queues[DEMI_GROUP_ENTRIES], ids[64];
static struct demi_flow_entry entries[64];
static struct sock_filter pass[] = { BPF_STMT(BPF_RET | BPF_K, 1) };

union arg {
	struct {
		__u32 size, flags;
	};
	struct demi_get_info get_info;
	struct demi_device_list device_list;
	struct demi_device_info device_info;
	struct demi_device_bind device_bind;
	struct demi_device_grant device_grant;
	struct demi_region_register region_register;
	struct demi_region_unregister region_unregister;
	struct demi_queue_create queue_create;
	struct demi_queue_shutdown queue_shutdown;
	struct demi_queue_kick queue_kick;
	struct demi_queue_info queue_info;
	struct demi_queue_list queue_list;
	struct demi_port_reserve port_reserve;
	struct demi_port_release port_release;
	struct demi_flow_add flow_add;
	struct demi_flow_del flow_del;
	struct demi_flow_list flow_list;
	struct demi_group_create group_create;
	struct demi_group_set group_set;
	struct demi_group_destroy group_destroy;
	struct demi_filter_attach filter_attach;
	struct demi_filter_detach filter_detach;
	struct demi_filter_info filter_info;
	struct demi_capture capture;
	char bytes[8192];
};

static int call(unsigned long cmd, union arg *a)
{
	return kmod_ioctl(ctx, cmd, a);
}

static struct demi_addr loopback(unsigned int port)
{
	return (struct demi_addr){ .family = AF_INET, .port = htons(port), .addr = { 127, 0, 0, 1 } };
}

static unsigned int reserve(void)
{
	struct demi_port_reserve arg = { .size = sizeof(arg), .protocol = IPPROTO_UDP, .local = loopback(0) };

	return kmod_ioctl(ctx, DEMI_PORT_RESERVE, &arg) ? 0 : arg.reservation_id;
}

static unsigned int make_queue(unsigned int kind, int *fd)
{
	struct demi_queue_create arg = kmod_queue_request(host);

	arg.kind = kind;
	if (kind == DEMI_QUEUE_CAPTURE)
		arg.tx_entries = arg.tx_done_entries = 0;
	if (kmod_ioctl(ctx, DEMI_QUEUE_CREATE, &arg))
		return 0;
	*fd = arg.fd;
	return arg.queue_id;
}

/* ---- valid arguments: what they need is made, what they made is undone ---------------------- */

static int spare_fd;

static void v_get_info(union arg *a)
{
}

static void v_device_list(union arg *a)
{
	a->device_list.count = 64;
	a->device_list.ids = (uintptr_t)ids;
}

static void v_device_info(union arg *a)
{
	a->device_info.device_id = host;
}

static void v_device_bind(union arg *a)
{
	a->device_bind.device_id = mock1;
}

static void u_device_bind(union arg *a)
{
	kmod_bind(ctx, mock1, DEMI_DEVICE_BIND_F_RELEASE);
}

static void v_device_grant(union arg *a)
{
	a->device_grant.device_id = mock1;
}

static void v_region_register(union arg *a)
{
	a->region_register.addr = (uintptr_t)mem;
	a->region_register.length_bytes = 8192;
}

static void u_region_register(union arg *a)
{
	struct demi_region_unregister u = { .size = sizeof(u), .region_id = a->region_register.region_id };

	kmod_ioctl(ctx, DEMI_REGION_UNREGISTER, &u);
}

static void v_region_unregister(union arg *a)
{
	kmod_region(ctx, mem, 4096, &a->region_unregister.region_id);
}

static void v_queue_create(union arg *a)
{
	a->queue_create = kmod_queue_request(host);
	a->queue_create.kind = DEMI_QUEUE_FLOW;
}

static void v_queue_raw(union arg *a)
{
	a->queue_create = kmod_queue_request(host);
	a->queue_create.kind = DEMI_QUEUE_RAW;
	a->queue_create.ifindex = 1;
}

static void v_queue_capture(union arg *a)
{
	a->queue_create = kmod_queue_request(host);
	a->queue_create.kind = DEMI_QUEUE_CAPTURE;
	a->queue_create.tx_entries = a->queue_create.tx_done_entries = 0;
}

static void v_queue_device(union arg *a)
{
	a->queue_create = kmod_queue_request(mock0);
}

static void u_queue_create(union arg *a)
{
	close(a->queue_create.fd);
}

static void v_queue_shutdown(union arg *a)
{
	a->queue_shutdown.queue_id = make_queue(DEMI_QUEUE_FLOW, &spare_fd);
}

static void u_spare_fd(union arg *a)
{
	close(spare_fd);
}

static void v_queue_own(union arg *a)
{
}

static void v_queue_info(union arg *a)
{
	a->queue_info.queue_id = flow_queue;
}

static void v_queue_list(union arg *a)
{
	a->queue_list.count = 64;
	a->queue_list.ids = (uintptr_t)ids;
}

static void v_port_reserve(union arg *a)
{
	a->port_reserve.protocol = IPPROTO_UDP;
	a->port_reserve.local = loopback(0);
}

static void v_port_reserve6(union arg *a)
{
	a->port_reserve.protocol = IPPROTO_TCP;
	a->port_reserve.local = (struct demi_addr){ .family = AF_INET6, .addr = { [15] = 1 } };
}

static void u_port_reserve(union arg *a)
{
	struct demi_port_release r = { .size = sizeof(r), .reservation_id = a->port_reserve.reservation_id };

	kmod_ioctl(ctx, DEMI_PORT_RELEASE, &r);
}

static void v_port_release(union arg *a)
{
	a->port_release.reservation_id = reserve();
}

static void v_flow_add(union arg *a)
{
	a->flow_add.reservation_id = reservation;
	a->flow_add.target = flow_queue;
	a->flow_add.remote = loopback(7);
}

static void v_flow_add_group(union arg *a)
{
	v_flow_add(a);
	a->flags = DEMI_FLOW_F_GROUP;
	a->flow_add.target = group;
}

static void u_flow_add(union arg *a)
{
	struct demi_flow_del d = { .size = sizeof(d), .flow_id = a->flow_add.flow_id };

	kmod_ioctl(ctx, DEMI_FLOW_DEL, &d);
}

static void v_flow_del(union arg *a)
{
	union arg add = { .size = sizeof(add.flow_add) };

	v_flow_add(&add);
	call(DEMI_FLOW_ADD, &add);
	a->flow_del.flow_id = add.flow_add.flow_id;
}

static void v_flow_list(union arg *a)
{
	a->flow_list.count = 64;
	a->flow_list.entry_bytes = sizeof(struct demi_flow_entry);
	a->flow_list.entries = (uintptr_t)entries;
}

static void v_group_create(union arg *a)
{
}

static void u_group_create(union arg *a)
{
	struct demi_group_destroy d = { .size = sizeof(d), .group_id = a->group_create.group_id };

	kmod_ioctl(ctx, DEMI_GROUP_DESTROY, &d);
}

static void v_group_set(union arg *a)
{
	a->group_set.group_id = group;
	a->group_set.count = DEMI_GROUP_ENTRIES;
	a->group_set.queues = (uintptr_t)queues;
}

static void v_group_destroy(union arg *a)
{
	struct demi_group_create c = { .size = sizeof(c) };

	kmod_ioctl(ctx, DEMI_GROUP_CREATE, &c);
	a->group_destroy.group_id = c.group_id;
}

static void v_filter_attach(union arg *a)
{
	a->filter_attach.queue_id = flow_queue;
	a->filter_attach.kind = DEMI_FILTER_CBPF;
	a->filter_attach.insn_count = 1;
	a->filter_attach.insns = (uintptr_t)pass;
}

static void v_filter_detach(union arg *a)
{
	union arg attach = { .size = sizeof(attach.filter_attach) };

	v_filter_attach(&attach);
	call(DEMI_FILTER_ATTACH, &attach);
	a->filter_detach.queue_id = flow_queue;
}

static void v_filter_info(union arg *a)
{
	v_filter_detach(a);
	a->filter_info.insn_count = 1;
	a->filter_info.insns = (uintptr_t)pass;
}

static void v_capture(union arg *a)
{
	a->flags = DEMI_CAPTURE_F_RX;
	a->capture.queue_id = flow_queue;
	a->capture.target_id = capture_queue;
}

static void u_capture(union arg *a)
{
	struct demi_capture stop = {
		.size = sizeof(stop), .flags = DEMI_CAPTURE_F_STOP, .queue_id = flow_queue, .target_id = capture_queue
	};

	kmod_ioctl(ctx, DEMI_CAPTURE, &stop);
}

static const struct command {
	const char *name;
	unsigned long cmd;
	__u32 size;
	int *fd;
	void (*valid)(union arg *a);
	void (*undo)(union arg *a);
} commands[] = {
#define C(_name, _cmd, _struct, _fd, _undo)                                                                            \
	{                                                                                                              \
#_name, _cmd, sizeof(struct _struct), _fd, v_##_name, _undo                                            \
	}
	C(get_info, DEMI_GET_INFO, demi_get_info, &ctx, NULL),
	C(device_list, DEMI_DEVICE_LIST, demi_device_list, &ctx, NULL),
	C(device_info, DEMI_DEVICE_INFO, demi_device_info, &ctx, NULL),
	C(device_bind, DEMI_DEVICE_BIND, demi_device_bind, &ctx, u_device_bind),
	C(device_grant, DEMI_DEVICE_GRANT, demi_device_grant, &ctx, NULL),
	{ "device_revoke", DEMI_DEVICE_REVOKE, sizeof(struct demi_device_grant), &ctx, v_device_grant, NULL },
	C(region_register, DEMI_REGION_REGISTER, demi_region_register, &ctx, u_region_register),
	C(region_unregister, DEMI_REGION_UNREGISTER, demi_region_unregister, &ctx, NULL),
	C(queue_create, DEMI_QUEUE_CREATE, demi_queue_create, &ctx, u_queue_create),
	C(queue_raw, DEMI_QUEUE_CREATE, demi_queue_create, &ctx, u_queue_create),
	C(queue_capture, DEMI_QUEUE_CREATE, demi_queue_create, &ctx, u_queue_create),
	C(queue_device, DEMI_QUEUE_CREATE, demi_queue_create, &ctx, u_queue_create),
	C(queue_shutdown, DEMI_QUEUE_SHUTDOWN, demi_queue_shutdown, &ctx, u_spare_fd),
	{ "queue_kick", DEMI_QUEUE_KICK, sizeof(struct demi_queue_kick), &flow_fd, v_queue_own, NULL },
	C(queue_info, DEMI_QUEUE_INFO, demi_queue_info, &ctx, NULL),
	{ "queue_info_own", DEMI_QUEUE_INFO, sizeof(struct demi_queue_info), &flow_fd, v_queue_own, NULL },
	C(queue_list, DEMI_QUEUE_LIST, demi_queue_list, &ctx, NULL),
	C(port_reserve, DEMI_PORT_RESERVE, demi_port_reserve, &ctx, u_port_reserve),
	C(port_reserve6, DEMI_PORT_RESERVE, demi_port_reserve, &ctx, u_port_reserve),
	C(port_release, DEMI_PORT_RELEASE, demi_port_release, &ctx, NULL),
	C(flow_add, DEMI_FLOW_ADD, demi_flow_add, &ctx, u_flow_add),
	C(flow_add_group, DEMI_FLOW_ADD, demi_flow_add, &ctx, u_flow_add),
	C(flow_del, DEMI_FLOW_DEL, demi_flow_del, &ctx, NULL),
	C(flow_list, DEMI_FLOW_LIST, demi_flow_list, &ctx, NULL),
	C(group_create, DEMI_GROUP_CREATE, demi_group_create, &ctx, u_group_create),
	C(group_set, DEMI_GROUP_SET, demi_group_set, &ctx, NULL),
	C(group_destroy, DEMI_GROUP_DESTROY, demi_group_destroy, &ctx, NULL),
	C(filter_attach, DEMI_FILTER_ATTACH, demi_filter_attach, &ctx, NULL),
	C(filter_detach, DEMI_FILTER_DETACH, demi_filter_detach, &ctx, NULL),
	C(filter_info, DEMI_FILTER_INFO, demi_filter_info, &ctx, NULL),
	C(capture, DEMI_CAPTURE, demi_capture, &ctx, u_capture),
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* ---- wrong fields -------------------------------------------------------------------------- */

static const struct wrong {
	const char *command, *field;
	size_t offset, width;
	__u64 value;
	int err;
} wrongs[] = {
#define W(_cmd, _struct, _field, _value, _err)                                                                         \
	{                                                                                                              \
#_cmd, #_field, offsetof(struct demi_##_struct, _field), sizeof(((struct demi_##_struct *)0)->_field), \
			_value, -(_err)                                                                                \
	}
	W(device_list, device_list, __reserved, 1, EINVAL),
	W(device_list, device_list, ids, NOWHERE, EFAULT),
	W(device_info, device_info, device_id, 0, ENOENT),
	W(device_info, device_info, device_id, NO_ID, ENOENT),
	W(device_bind, device_bind, flags, DEMI_DEVICE_BIND_F_RELEASE, EACCES), /* it is not this context's */
	W(device_bind, device_bind, device_id, NO_ID, ENOENT),
	W(device_bind, device_bind, device_id, 1, EOPNOTSUPP), /* host */
	W(device_bind, device_bind, __reserved, 1, EINVAL),
	W(device_grant, device_grant, device_id, NO_ID, ENOENT),
	W(device_grant, device_grant, device_id, 1, EOPNOTSUPP),
	W(device_grant, device_grant, device_id, 2, EBUSY), /* mock0: bound */
	W(device_grant, device_grant, uid, ~0U, EINVAL),
	W(device_revoke, device_grant, device_id, NO_ID, ENOENT),
	W(device_revoke, device_grant, device_id, 1, EOPNOTSUPP),
	W(device_revoke, device_grant, uid, 1, EINVAL),
	W(region_register, region_register, addr, 1, EINVAL),
	W(region_register, region_register, addr, 0x10000, EFAULT),
	W(region_register, region_register, addr, ~0xfffULL, EINVAL),
	W(region_register, region_register, length_bytes, 0, EINVAL),
	W(region_register, region_register, length_bytes, 4095, EINVAL),
	W(region_register, region_register, length_bytes, (1ULL << 32) + 4096, EINVAL),
	W(region_register, region_register, __reserved, 1, EINVAL),
	W(region_unregister, region_unregister, region_id, 0, ENOENT),
	W(region_unregister, region_unregister, region_id, 65535, ENOENT),
	W(region_unregister, region_unregister, region_id, 65536, ENOENT),
	W(region_unregister, region_unregister, __reserved, 1, EINVAL),
	W(queue_create, queue_create, device_id, 0, ENOENT),
	W(queue_create, queue_create, device_id, NO_ID, ENOENT),
	W(queue_create, queue_create, device_id, 2, EOPNOTSUPP), /* mock0 has no flow queues */
	W(queue_create, queue_create, kind, 0, EINVAL),
	W(queue_create, queue_create, kind, DEMI_QUEUE_DEVICE, EOPNOTSUPP),
	W(queue_create, queue_create, kind, DEMI_QUEUE_DEVICE + 1, EINVAL),
	W(queue_create, queue_create, kind, DEMI_QUEUE_CAPTURE, EINVAL), /* with tx */
	W(queue_create, queue_create, flags, DEMI_QUEUE_F_POLL, EOPNOTSUPP),
	W(queue_create, queue_create, ifindex, 1, EINVAL),
	W(queue_create, queue_create, poll_idle_us, 1, EINVAL),
	W(queue_create, queue_create, features, 1, EOPNOTSUPP),
	W(queue_create, queue_create, features, 1ULL << 63, EOPNOTSUPP),
	W(queue_create, queue_create, rx_fill_entries, 0, EINVAL),
	W(queue_create, queue_create, rx_fill_entries, 1, EINVAL),
	W(queue_create, queue_create, rx_fill_entries, 3, EINVAL),
	W(queue_create, queue_create, rx_fill_entries, 2 * DEMI_RING_ENTRIES_MAX, EINVAL),
	W(queue_create, queue_create, rx_entries, 0, EINVAL),
	W(queue_create, queue_create, rx_entries, 1, EINVAL),
	W(queue_create, queue_create, rx_entries, 48, EINVAL),
	W(queue_create, queue_create, rx_entries, 1U << 31, EINVAL),
	W(queue_create, queue_create, tx_entries, 0, EINVAL),
	W(queue_create, queue_create, tx_entries, 1, EINVAL),
	W(queue_create, queue_create, tx_entries, 17, EINVAL),
	W(queue_create, queue_create, tx_entries, 2 * DEMI_RING_ENTRIES_MAX, EINVAL),
	W(queue_create, queue_create, tx_done_entries, 0, EINVAL),
	W(queue_create, queue_create, tx_done_entries, 1, EINVAL),
	W(queue_create, queue_create, tx_done_entries, 255, EINVAL),
	W(queue_create, queue_create, tx_done_entries, 2 * DEMI_RING_ENTRIES_MAX, EINVAL),
	W(queue_raw, queue_create, ifindex, 0, EINVAL),
	W(queue_raw, queue_create, ifindex, NO_ID, ENODEV),
	W(queue_capture, queue_create, tx_entries, 16, EINVAL),
	W(queue_capture, queue_create, tx_done_entries, 16, EINVAL),
	W(queue_capture, queue_create, ifindex, 1, EINVAL),
	W(queue_device, queue_create, device_id, 3, EACCES), /* mock1: not bound */
	W(queue_device, queue_create, kind, DEMI_QUEUE_FLOW, EOPNOTSUPP),
	W(queue_device, queue_create, features, 1, EOPNOTSUPP),
	W(queue_shutdown, queue_shutdown, queue_id, 0, ENOENT),
	W(queue_shutdown, queue_shutdown, queue_id, NO_ID, ENOENT),
	W(queue_shutdown, queue_shutdown, queue_id, ~0U, ENOENT),
	W(queue_shutdown, queue_shutdown, __reserved, 1, EINVAL),
	W(queue_kick, queue_kick, __reserved, 1, EINVAL),
	W(queue_info, queue_info, queue_id, 0, ENOENT),
	W(queue_info, queue_info, queue_id, NO_ID, ENOENT),
	W(queue_info_own, queue_info, queue_id, 1, EINVAL),
	W(queue_list, queue_list, __reserved, 1, EINVAL),
	W(queue_list, queue_list, ids, NOWHERE, EFAULT),
	W(port_reserve, port_reserve, flags, DEMI_PORT_F_DUAL, EINVAL),
	W(port_reserve, port_reserve, protocol, 0, EOPNOTSUPP),
	W(port_reserve, port_reserve, protocol, IPPROTO_ICMP, EOPNOTSUPP),
	W(port_reserve, port_reserve, ifindex, NO_ID, ENODEV),
	W(port_reserve, port_reserve, local.family, 0, EINVAL),
	W(port_reserve, port_reserve, local.family, 17, EINVAL),
	W(port_reserve, port_reserve, local.scope_id, 1, EINVAL),
	W(port_reserve, port_reserve, local.addr[0], 224, EADDRNOTAVAIL),
	W(port_reserve, port_reserve, local.addr[0], 9, EADDRNOTAVAIL),
	W(port_reserve, port_reserve, local.addr[4], 1, EINVAL),
	W(port_reserve, port_reserve, local.addr[15], 1, EINVAL),
	W(port_reserve, port_reserve, __reserved, 1, EINVAL),
	W(port_reserve6, port_reserve, flags, DEMI_PORT_F_DUAL, EINVAL), /* not any address */
	W(port_reserve6, port_reserve, flags, DEMI_PORT_F_BROADCAST, EINVAL),
	W(port_reserve6, port_reserve, flags, DEMI_PORT_F_MULTICAST, EINVAL), /* TCP */
	W(port_reserve6, port_reserve, local.scope_id, 1, EINVAL),
	W(port_reserve6, port_reserve, local.addr[0], 0xff, EADDRNOTAVAIL),
	W(port_release, port_release, reservation_id, 0, ENOENT),
	W(port_release, port_release, reservation_id, NO_ID, ENOENT),
	W(port_release, port_release, reservation_id, 1, EBUSY), /* it has a flow */
	W(port_release, port_release, __reserved, 1, EINVAL),
	W(flow_add, flow_add, flags, DEMI_FLOW_F_GROUP, ENOENT), /* no group has the queue's id */
	W(flow_add, flow_add, reservation_id, 0, ENOENT),
	W(flow_add, flow_add, reservation_id, NO_ID, ENOENT),
	W(flow_add, flow_add, target, 0, ENOENT),
	W(flow_add, flow_add, target, NO_ID, ENOENT),
	W(flow_add, flow_add, local.family, 17, EINVAL),
	W(flow_add, flow_add, local.port, 1, EINVAL),
	W(flow_add, flow_add, local.scope_id, 1, EINVAL),
	W(flow_add, flow_add, local.addr[0], 1, EINVAL),
	W(flow_add, flow_add, remote.family, 0, EINVAL),
	W(flow_add, flow_add, remote.family, 17, EINVAL),
	W(flow_add, flow_add, remote.port, 0, EINVAL),
	W(flow_add, flow_add, remote.scope_id, 1, EINVAL),
	W(flow_add, flow_add, remote.addr[4], 1, EINVAL),
	W(flow_add, flow_add, __reserved, 1, EINVAL),
	W(flow_add_group, flow_add, target, NO_ID, ENOENT),
	W(flow_add_group, flow_add, target, 0, ENOENT),
	W(flow_del, flow_del, flow_id, 0, ENOENT),
	W(flow_del, flow_del, flow_id, NO_ID, ENOENT),
	W(flow_del, flow_del, __reserved, 1, EINVAL),
	W(flow_list, flow_list, entry_bytes, 0, EINVAL),
	W(flow_list, flow_list, entry_bytes, sizeof(struct demi_flow_entry) - 1, EINVAL),
	W(flow_list, flow_list, entries, NOWHERE, EFAULT),
	W(group_create, group_create, __reserved, 1, EINVAL),
	W(group_set, group_set, group_id, 0, ENOENT),
	W(group_set, group_set, group_id, NO_ID, ENOENT),
	W(group_set, group_set, count, 0, EINVAL),
	W(group_set, group_set, count, DEMI_GROUP_ENTRIES + 1, EINVAL),
	W(group_set, group_set, queues, NOWHERE, EFAULT),
	W(group_destroy, group_destroy, group_id, 0, ENOENT),
	W(group_destroy, group_destroy, group_id, NO_ID, ENOENT),
	W(group_destroy, group_destroy, __reserved, 1, EINVAL),
	W(filter_attach, filter_attach, queue_id, 0, ENOENT),
	W(filter_attach, filter_attach, queue_id, NO_ID, ENOENT),
	W(filter_attach, filter_attach, kind, DEMI_FILTER_NONE, EINVAL),
	W(filter_attach, filter_attach, kind, 3, EINVAL),
	W(filter_attach, filter_attach, kind, DEMI_FILTER_EBPF, EINVAL), /* with instructions */
	W(filter_attach, filter_attach, prog_fd, 1, EINVAL),
	W(filter_attach, filter_attach, insn_count, 0, EINVAL),
	W(filter_attach, filter_attach, insn_count, BPF_MAXINSNS + 1, EINVAL),
	W(filter_attach, filter_attach, insns, NOWHERE, EFAULT),
	W(filter_detach, filter_detach, queue_id, 0, ENOENT),
	W(filter_detach, filter_detach, queue_id, NO_ID, ENOENT),
	W(filter_detach, filter_detach, __reserved, 1, EINVAL),
	W(filter_info, filter_info, queue_id, 0, ENOENT),
	W(filter_info, filter_info, queue_id, NO_ID, ENOENT),
	W(filter_info, filter_info, insns, NOWHERE, EFAULT),
	W(capture, capture, flags, 0, EINVAL),
	W(capture, capture, flags, DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_STOP, EINVAL),
	W(capture, capture, queue_id, 0, ENOENT),
	W(capture, capture, queue_id, NO_ID, ENOENT),
	W(capture, capture, target_id, 0, ENOENT),
	W(capture, capture, target_id, NO_ID, ENOENT),
	W(capture, capture, __reserved, 1, EINVAL),
};

#define WRONGS (sizeof(wrongs) / sizeof(wrongs[0]))

#define FIRST (-2000)

/* Wrong for every command: what the head of an argument says. */
static const struct {
	const char *field;
	int more; /* bytes beyond the struct; about FIRST: beyond its first version */
	bool zero; /* they are */
	__u32 flags;
	int err;
} heads[] = {
	{ "nothing: it succeeds", 0, true, 0, 0 },
	{ "size a longer struct's, zeroes", 64, true, 0, 0 },
	{ "size a longer struct's, not zeroes", 64, false, 0, -E2BIG },
	{ "size beyond a page", 4096, true, 0, -E2BIG },
	{ "size the first version's", FIRST, true, 0, 0 },
	{ "size a byte short of that", FIRST - 1, true, 0, -EINVAL },
	{ "size 0", -1000, true, 0, -EINVAL },
	{ "flags", 0, true, 1U << 31, -EINVAL },
};

#define HEADS (sizeof(heads) / sizeof(heads[0]))

static void prepare(const struct command *c, union arg *a)
{
	memset(a, 0, sizeof(*a));
	c->valid(a);
	a->size = c->size;
}

static __u32 first_size(const struct command *c)
{
	return c->cmd == DEMI_QUEUE_CREATE ? offsetof(struct demi_queue_create, features) : c->size;
}

static __u32 head_size(const struct command *c, int more)
{
	if (more <= FIRST)
		return first_size(c) + (more - FIRST);
	return more == -1000 ? 0 : c->size + more;
}

static bool expect(const struct command *c, union arg *a, int err)
{
	int got = kmod_ioctl(*c->fd, c->cmd, a);

	if (!got && c->undo)
		c->undo(a);
	if (got != err)
		printf("# %s: %s, expected %s\n", c->name, strerror(-got), strerror(-err));
	return got == err;
}

/* What a valid argument had made and a refused command did not use up. */
static void clean(const struct command *c, const union arg *made)
{
	union arg a;

	if (c->cmd == DEMI_REGION_UNREGISTER || c->cmd == DEMI_PORT_RELEASE || c->cmd == DEMI_FLOW_DEL ||
	    c->cmd == DEMI_GROUP_DESTROY) {
		memcpy(&a, made, sizeof(a));
		kmod_ioctl(*c->fd, c->cmd, &a);
	} else if (c->cmd == DEMI_QUEUE_SHUTDOWN) {
		close(spare_fd);
	}
}

static void test_head(const struct command *c, unsigned int h)
{
	union arg a, made;

	prepare(c, &a);
	memcpy(&made, &a, sizeof(a));
	a.size = head_size(c, heads[h].more);
	a.flags |= heads[h].flags;
	if (!heads[h].zero)
		a.bytes[c->size + 17] = 1;
	ksft_test_result(expect(c, &a, heads[h].err), "%s: %s\n", c->name, heads[h].field);
	if (heads[h].err)
		clean(c, &made);
}

static void test_wrong(const struct wrong *w)
{
	const struct command *c = commands;
	union arg a, made;

	while (strcmp(c->name, w->command))
		c++;
	prepare(c, &a);
	memcpy(&made, &a, sizeof(a));
	memcpy(a.bytes + w->offset, &w->value, w->width); /* little endian */
	ksft_test_result(expect(c, &a, w->err), "%s: %s = %#llx\n", c->name, w->field, (unsigned long long)w->value);
	clean(c, &made);
}

static bool set_up(void)
{
	union arg a = { .size = sizeof(a.flow_add) };
	struct demi_queue_create request;
	int capture_fd;

	kmod_write(DEMI_DEBUGFS "mock/add", "mock1");
	ctx = kmod_open();
	host = kmod_device(ctx, "host");
	mock0 = kmod_device(ctx, "mock0");
	mock1 = kmod_device(ctx, "mock1");
	mem = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ctx < 0 || host != 1 || mock0 != 2 || mock1 != 3 || mem == MAP_FAILED)
		return false;
	request = kmod_queue_request(mock0);
	if (kmod_bind(ctx, mock0, 0) || kmod_queue_make(&mock_queue, ctx, &request))
		return false;
	flow_queue = make_queue(DEMI_QUEUE_FLOW, &flow_fd);
	capture_queue = make_queue(DEMI_QUEUE_CAPTURE, &capture_fd);
	reservation = reserve();
	a.flow_add.reservation_id = reservation;
	a.flow_add.target = flow_queue;
	if (call(DEMI_FLOW_ADD, &a))
		return false;
	flow = a.flow_add.flow_id;
	a = (union arg){ .size = sizeof(a.group_create) };
	if (call(DEMI_GROUP_CREATE, &a))
		return false;
	group = a.group_create.group_id;
	return flow_queue && capture_queue && reservation == 1 && flow && group &&
	       !kmod_region(ctx, mem, 65536, &region);
}

int main(void)
{
	static const char others[] = { 0x01, 0x0f, 0x16, 0x22, 0x35, 0x45, 0x53, 0x63, 0x71 };
	unsigned int i, h;

	alarm(200);
	ksft_print_header();
	if (!set_up())
		ksft_exit_fail_msg("set-up: ctx %d host %u mock0 %u mock1 %u flow_queue %u\n", ctx, host, mock0, mock1,
				   flow_queue);
	ksft_set_plan(COMMANDS * (HEADS + 1) + WRONGS + sizeof(others) + 3);
	for (i = 0; i < COMMANDS; i++) {
		for (h = 0; h < HEADS; h++)
			test_head(&commands[i], h);
		ksft_test_result(kmod_ioctl(*commands[i].fd, commands[i].cmd, (void *)NOWHERE) == -EFAULT,
				 "%s: the pointer\n", commands[i].name);
	}
	for (i = 0; i < WRONGS; i++)
		test_wrong(&wrongs[i]);
	for (i = 0; i < sizeof(others); i++)
		ksft_test_result(kmod_ioctl(ctx, _IO(DEMI_IOCTL_TYPE, others[i]), NULL) == -ENOTTY, "no command %#x\n",
				 others[i]);
	ksft_test_result(kmod_ioctl(ctx, _IO(DEMI_IOCTL_TYPE + 1, DEMI_CMD_GET_INFO), NULL) == -ENOTTY,
			 "another type\n");
	ksft_test_result(kmod_ioctl(ctx, DEMI_QUEUE_KICK, NULL) == -ENOTTY, "kick on a context's file\n");
	ksft_test_result(kmod_ioctl(flow_fd, DEMI_QUEUE_CREATE, NULL) == -ENOTTY, "queue_create on a queue's file\n");
	printf("# figure ioctl_fields_tested %u\n", (unsigned int)(COMMANDS * (HEADS - 1) + WRONGS));
	kmod_write(DEMI_DEBUGFS "mock/remove", "mock1");
	ksft_finished();
}
