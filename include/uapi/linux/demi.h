/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * demi - packet queues for unprivileged processes: the interface of /dev/demi
 *
 * OBJECTS
 *
 * open("/dev/demi") makes a context. It belongs to the network namespace of the opener, for ever.
 * A context owns regions (registered memory), reservations (protocol, local address, port), flows
 * (what reaches which queue), groups (queues that share flows) and queues. All are named by ids
 * that are valid in their context; queue ids are valid in the whole namespace. A queue is also a
 * file descriptor: mmap() maps its rings, poll() waits on it, it can be passed to another process.
 * A queue keeps its context alive, with everything the context owns, also after the context's own
 * file was closed. A queue ends when its last file descriptor and its last mapping are gone, or at
 * once by DEMI_QUEUE_SHUTDOWN.
 *
 * ARGUMENTS
 *
 * Every argument begins with its size, as the caller knows it, and flags. A smaller size than the
 * kernel's is completed with zeroes, as long as it is not below the first version's; a larger one
 * is taken if the bytes that the kernel does not know are zero. Reserved fields and unknown flags
 * must be zero. Output fields are ignored on the way in. On an error nothing has happened and
 * nothing but what a command says is written back.
 *
 * ERRORS of every command
 *
 *	ENOTTY		this kernel has no such command, or not on this kind of file
 *	EINVAL		too small a size; a wrong value of a field; a reserved one is set
 *	E2BIG		bytes beyond what this kernel knows are not zero
 *	EOPNOTSUPP	a known field or flag with a value not supported by this kernel or device
 *	EFAULT		a pointer of the caller
 *	ENOENT		no object with this id that the caller may know of
 *	EPERM		a privilege is missing (opener and caller must both have it)
 *	EACCES		the object is somebody else's
 *	EADDRINUSE	address and port are taken, or the flow exists
 *	ENOMEM		no memory
 *	EDQUOT		a limit of the user (see DEMI_GET_INFO) is reached
 *	ENODEV		the device or the queue is gone
 *
 * RINGS of a software queue: who owns what, and which barrier pairs with which
 *
 *	          user                     kernel
 *	rx_fill   producer: free buffers   consumer
 *	rx        consumer                 producer: frames received
 *	tx        producer: frames to send consumer
 *	tx_done   consumer                 producer: buffers that came back
 *
 *	mapping of the queue's file, offset 0, struct demi_queue_create tells the offsets:
 *	+-----------------------------------------------+ 0
 *	| rx_fill: producer line | consumer line | flags |   64 bytes each
 *	| rx       "               "               "     |
 *	| tx       "               "               "     |
 *	| tx_done  "               "               "     |
 *	+-----------------------------------------------+ page
 *	| descriptors of rx_fill, rx, tx, tx_done        |   each array begins on a page
 *	+-----------------------------------------------+ mmap_bytes
 *
 * Indices run freely over 32 bits; entry = index & (entries - 1); producer - consumer entries are
 * used. One side writes an index, the other reads it:
 *  - A producer writes descriptors, then stores its index with release semantics; the consumer
 *    loads it with acquire semantics, then reads the descriptors.
 *  - A consumer copies descriptors, then stores its index with release semantics; the producer
 *    loads it with acquire semantics, then overwrites the entries.
 *
 * One user on the user's side at a time. The kernel serialises its own side. The kernel keeps its
 * own indices in private memory, reads a descriptor once and checks the copy: a broken ring loses
 * its own frames (counted as bad descriptors), and nothing else.
 *
 * Sleeping. A side that sleeps sets DEMI_RING_NEED_WAKEUP in the flags word of the ring it waits
 * for, executes a full barrier, looks at the ring again, and then sleeps. The other side publishes
 * its index, executes a full barrier, and reads the flag. The user sets it in rx and tx_done and
 * sleeps in poll(); the kernel sets it in tx, and the user then calls DEMI_QUEUE_KICK. Without a
 * polling thread (DEMI_QUEUE_F_POLL) it is always set in tx. The flags word of rx_fill is not
 * used.
 *
 * FRAMES
 *
 * A frame is one or more descriptors; all but its last have DEMI_DESC_F_MORE. On flow queues it is
 * a struct virtio_net_hdr_v1 and an IP packet, on raw queues a virtio_net_hdr_v1 and an Ethernet
 * frame, on capture queues a struct demi_capture_hdr and a packet. Received frames longer than a
 * buffer span several, all or nothing: without enough free buffers (DEMI_FRAME_DESCS_MAX at most)
 * the frame is dropped and counted, and the buffers stay. A packet that the kernel merged
 * (gso_type, gso_size) is delivered whole. Frames longer than DEMI_FRAME_MAX are not sent.
 *
 * On transmit, virtio_net_hdr_v1 and all protocol headers lie in the first descriptor. Each tx
 * descriptor comes back once in tx_done with the same offset and region: when DEMI_DESC_F_ERROR is
 * set its len is the errno, otherwise the bytes were taken. DEMI_DESC_F_COPIED tells that the
 * kernel had to copy. Ring space: a frame is taken only when tx_done has room for all its
 * descriptors.
 */
#ifndef _UAPI_LINUX_DEMI_H
#define _UAPI_LINUX_DEMI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DEMI_ABI_VERSION	1
#define DEMI_IOCTL_TYPE		0xDE

/* 64 KiB of IP packet, its virtio_net_hdr_v1, an Ethernet header and two VLAN tags */
#define DEMI_FRAME_MAX		(65535 + 12 + 22)
/* Most descriptors of one frame, either way: buffers of at least 2 KiB hold every frame */
#define DEMI_FRAME_DESCS_MAX	64
#define DEMI_RING_ENTRIES_MIN	2
#define DEMI_RING_ENTRIES_MAX	32768
#define DEMI_GROUP_ENTRIES	128
#define DEMI_NAME_MAX		32

/* Commands take a pointer to the struct of their name. C: on a context's file, Q: on a queue's. */
enum {
	DEMI_CMD_GET_INFO = 0x00,		/* C */
	DEMI_CMD_DEVICE_LIST = 0x10,		/* C */
	DEMI_CMD_DEVICE_INFO,			/* C */
	DEMI_CMD_DEVICE_BIND,			/* C */
	DEMI_CMD_DEVICE_GRANT,			/* C */
	DEMI_CMD_DEVICE_REVOKE,			/* C */
	DEMI_CMD_REGION_REGISTER = 0x20,	/* C */
	DEMI_CMD_REGION_UNREGISTER,		/* C */
	DEMI_CMD_QUEUE_CREATE = 0x30,		/* C */
	DEMI_CMD_QUEUE_SHUTDOWN,		/* C Q */
	DEMI_CMD_QUEUE_KICK,			/*   Q */
	DEMI_CMD_QUEUE_INFO,			/* C Q */
	DEMI_CMD_QUEUE_LIST,			/* C */
	DEMI_CMD_PORT_RESERVE = 0x40,		/* C */
	DEMI_CMD_PORT_RELEASE,			/* C */
	DEMI_CMD_FLOW_ADD,			/* C */
	DEMI_CMD_FLOW_DEL,			/* C */
	DEMI_CMD_FLOW_LIST,			/* C */
	DEMI_CMD_GROUP_CREATE = 0x50,		/* C */
	DEMI_CMD_GROUP_SET,			/* C */
	DEMI_CMD_GROUP_DESTROY,			/* C */
	DEMI_CMD_FILTER_ATTACH = 0x60,		/* C Q */
	DEMI_CMD_FILTER_DETACH,			/* C Q */
	DEMI_CMD_FILTER_INFO,			/* C Q */
	DEMI_CMD_CAPTURE = 0x70,		/* C */
};

#define DEMI_GET_INFO		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_GET_INFO)
#define DEMI_DEVICE_LIST	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_DEVICE_LIST)
#define DEMI_DEVICE_INFO	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_DEVICE_INFO)
#define DEMI_DEVICE_BIND	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_DEVICE_BIND)
#define DEMI_DEVICE_GRANT	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_DEVICE_GRANT)
#define DEMI_DEVICE_REVOKE	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_DEVICE_REVOKE)
#define DEMI_REGION_REGISTER	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_REGION_REGISTER)
#define DEMI_REGION_UNREGISTER	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_REGION_UNREGISTER)
#define DEMI_QUEUE_CREATE	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_QUEUE_CREATE)
#define DEMI_QUEUE_SHUTDOWN	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_QUEUE_SHUTDOWN)
#define DEMI_QUEUE_KICK		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_QUEUE_KICK)
#define DEMI_QUEUE_INFO		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_QUEUE_INFO)
#define DEMI_QUEUE_LIST		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_QUEUE_LIST)
#define DEMI_PORT_RESERVE	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_PORT_RESERVE)
#define DEMI_PORT_RELEASE	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_PORT_RELEASE)
#define DEMI_FLOW_ADD		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_FLOW_ADD)
#define DEMI_FLOW_DEL		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_FLOW_DEL)
#define DEMI_FLOW_LIST		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_FLOW_LIST)
#define DEMI_GROUP_CREATE	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_GROUP_CREATE)
#define DEMI_GROUP_SET		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_GROUP_SET)
#define DEMI_GROUP_DESTROY	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_GROUP_DESTROY)
#define DEMI_FILTER_ATTACH	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_FILTER_ATTACH)
#define DEMI_FILTER_DETACH	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_FILTER_DETACH)
#define DEMI_FILTER_INFO	_IO(DEMI_IOCTL_TYPE, DEMI_CMD_FILTER_INFO)
#define DEMI_CAPTURE		_IO(DEMI_IOCTL_TYPE, DEMI_CMD_CAPTURE)

/* ---- what there is ------------------------------------------------------------------------- */

/* Bits of demi_get_info.features. Ask for them; do not guess from a version. */
#define DEMI_FEATURE_FLOW		(1ULL << 0)	/* flow queues on the device "host" */
#define DEMI_FEATURE_RAW		(1ULL << 1)	/* raw queues */
#define DEMI_FEATURE_CAPTURE		(1ULL << 2)	/* DEMI_CAPTURE */
#define DEMI_FEATURE_GROUP		(1ULL << 3)	/* groups */
#define DEMI_FEATURE_MULTICAST		(1ULL << 4)	/* DEMI_FLOW_F_MULTICAST */
#define DEMI_FEATURE_FILTER_CBPF	(1ULL << 5)	/* classic BPF filters */
#define DEMI_FEATURE_FILTER_EBPF	(1ULL << 6)	/* eBPF filters by program fd */
#define DEMI_FEATURE_GSO		(1ULL << 7)	/* gso_type on transmit */
#define DEMI_FEATURE_ZEROCOPY		(1ULL << 8)	/* large payloads leave without a copy */
#define DEMI_FEATURE_POLL		(1ULL << 9)	/* DEMI_QUEUE_F_POLL */
#define DEMI_FEATURE_EARLY		(1ULL << 10)	/* packets are claimed at ingress */
#define DEMI_FEATURE_MOCK		(1ULL << 11)	/* built with devices for tests */

/**
 * struct demi_get_info - DEMI_GET_INFO: what this kernel's module can do
 * @size: sizeof(struct demi_get_info)
 * @flags: 0
 * @features: out, DEMI_FEATURE_*
 * @abi: out, DEMI_ABI_VERSION of the module
 * @page_bytes: out, alignment of regions
 * @ring_entries_max: out, largest ring
 * @frame_max: out, longest frame, virtio_net_hdr_v1 included
 * @queues_max: out, limits of one user: queues,
 * @regions_max: out, regions,
 * @flows_max: out, flows,
 * @reservations_max: out, reservations,
 * @groups_max: out, groups,
 * @contexts_max: out, contexts
 */
struct demi_get_info {
	__u32 size;
	__u32 flags;
	__aligned_u64 features;
	__u32 abi;
	__u32 page_bytes;
	__u32 ring_entries_max;
	__u32 frame_max;
	__u32 queues_max;
	__u32 regions_max;
	__u32 flows_max;
	__u32 reservations_max;
	__u32 groups_max;
	__u32 contexts_max;
};

/* ---- devices ------------------------------------------------------------------------------- */

/**
 * struct demi_device_list - DEMI_DEVICE_LIST: ids of the devices this context may use
 * @size: sizeof(struct demi_device_list)
 * @flags: 0
 * @count: in, room in @ids; out, how many there are (only the room given is written)
 * @__reserved: 0
 * @ids: array of __u32
 */
struct demi_device_list {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 __reserved;
	__aligned_u64 ids;
};

enum demi_device_kind {
	DEMI_DEVICE_HOST = 1,		/* the host's own network: flow, raw and capture queues */
	DEMI_DEVICE_VIRTIO_NET = 2,	/* a dedicated virtio-net function */
	DEMI_DEVICE_NVME = 3,		/* a dedicated NVMe controller */
	DEMI_DEVICE_MOCK = 4,		/* for tests */
};

#define DEMI_DEVICE_F_DEDICATED	(1U << 0)	/* one context owns it: DEMI_DEVICE_BIND first */
#define DEMI_DEVICE_F_IOMMU	(1U << 1)	/* what it can reach in memory is limited */
#define DEMI_DEVICE_F_BOUND	(1U << 2)	/* a context owns it now */
#define DEMI_DEVICE_F_MINE	(1U << 3)	/* the asking context does */

#define DEMI_OFFLOAD_TX_CSUM	(1ULL << 0)
#define DEMI_OFFLOAD_TX_TSO4	(1ULL << 1)
#define DEMI_OFFLOAD_TX_TSO6	(1ULL << 2)
#define DEMI_OFFLOAD_TX_USO	(1ULL << 3)	/* UDP_L4 */
#define DEMI_OFFLOAD_RX_CSUM	(1ULL << 4)
#define DEMI_OFFLOAD_RX_GRO	(1ULL << 5)	/* merged packets arrive */

#define DEMI_UID_NONE		(~0U)

/**
 * struct demi_device_info - DEMI_DEVICE_INFO: one device
 * @size: sizeof(struct demi_device_info)
 * @flags: 0
 * @device_id: in
 * @kind: out, enum demi_device_kind
 * @state: out, DEMI_DEVICE_F_*
 * @queues_max: out, how many queues it can have, 0: no limit of its own
 * @mtu_bytes: out, longest IP packet, or frame payload; for NVMe the longest transfer
 * @owner_uid: out, who may bind it (DEMI_DEVICE_GRANT), or DEMI_UID_NONE
 * @offloads: out, DEMI_OFFLOAD_*
 * @name: out, zero-terminated: "host", "mock0", "0000:01:00.0"
 *
 * ENOENT: no such device, or not for this context.
 */
struct demi_device_info {
	__u32 size;
	__u32 flags;
	__u32 device_id;
	__u32 kind;
	__u32 state;
	__u32 queues_max;
	__u32 mtu_bytes;
	__u32 owner_uid;
	__aligned_u64 offloads;
	char name[DEMI_NAME_MAX];
};

#define DEMI_DEVICE_BIND_F_RELEASE	(1U << 0)	/* give it up */

/**
 * struct demi_device_bind - DEMI_DEVICE_BIND: make this context the owner of a dedicated device
 * @size: sizeof(struct demi_device_bind)
 * @flags: 0 or DEMI_DEVICE_BIND_F_RELEASE
 * @device_id: in
 * @__reserved: 0
 *
 * The caller is the uid it was granted to, or has CAP_SYS_ADMIN in the initial user namespace.
 * Ends with the context or DEMI_DEVICE_BIND_F_RELEASE. EBUSY: another context owns it, or
 * (release) it has queues. EACCES: not granted. EOPNOTSUPP: not a dedicated device.
 */
struct demi_device_bind {
	__u32 size;
	__u32 flags;
	__u32 device_id;
	__u32 __reserved;
};

/**
 * struct demi_device_grant - DEMI_DEVICE_GRANT, DEMI_DEVICE_REVOKE: who may bind a dedicated
 * device
 * @size: sizeof(struct demi_device_grant)
 * @flags: 0
 * @device_id: in
 * @uid: in, in the caller's user namespace; for DEMI_DEVICE_REVOKE 0, its owner loses it at once:
 *	queues end as if the device had been removed
 *
 * CAP_SYS_ADMIN in the initial user namespace, else EPERM. EBUSY: (grant) bound now. EOPNOTSUPP:
 * not a dedicated device.
 */
struct demi_device_grant {
	__u32 size;
	__u32 flags;
	__u32 device_id;
	__u32 uid;
};

/* ---- memory -------------------------------------------------------------------------------- */

/**
 * struct demi_region_register - DEMI_REGION_REGISTER: pin memory for descriptors of this context
 * @size: sizeof(struct demi_region_register)
 * @flags: 0
 * @addr: in, page aligned
 * @length_bytes: in, a multiple of the page size, not 0, at most 2^32
 * @region_id: out, 1 to 65535, for demi_desc.region
 * @__reserved: 0
 * @iova: out, where the context's dedicated devices see it
 *
 * The memory is anonymous, shmem or hugetlb, mapped readable and writable; it is pinned, charged
 * to the user's locked memory (RLIMIT_MEMLOCK, unless CAP_IPC_LOCK) and stays registered after
 * munmap(). After fork() the parent keeps the registered pages. ENOMEM: beyond RLIMIT_MEMLOCK, or
 * no memory; EDQUOT; EFAULT: not mapped so; EOPNOTSUPP: memory of a file or of a device. While the
 * context owns dedicated devices (and when it binds one): EADDRINUSE, it overlaps another region;
 * EOPNOTSUPP, an address that the device cannot have.
 */
struct demi_region_register {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length_bytes;
	__u32 region_id;
	__u32 __reserved;
	__aligned_u64 iova;
};

/**
 * struct demi_region_unregister - DEMI_REGION_UNREGISTER: take it back
 * @size: sizeof(struct demi_region_unregister)
 * @flags: 0
 * @region_id: in
 * @__reserved: 0
 *
 * Later descriptors that name it are bad. Pages and charge go when the last packet in flight has
 * let go of them. A dedicated device has lost its mapping when the call returns.
 */
struct demi_region_unregister {
	__u32 size;
	__u32 flags;
	__u32 region_id;
	__u32 __reserved;
};

/* ---- queues -------------------------------------------------------------------------------- */

#define DEMI_DESC_F_MORE	(1U << 0)	/* the frame goes on in the next descriptor */
#define DEMI_DESC_F_COPIED	(1U << 1)	/* tx_done: the kernel copied the bytes */
#define DEMI_DESC_F_ERROR	(1U << 2)	/* tx_done: not sent; len is the errno */

/**
 * struct demi_desc - one entry of a ring
 * @offset: bytes from the beginning of the region
 * @len: bytes; never 0 except in tx_done
 * @region: a region of the queue's context
 * @flags: DEMI_DESC_F_*; 0 in rx_fill
 *
 * Offsets and not addresses: the user of a queue need not be the process that made it.
 */
struct demi_desc {
	__aligned_u64 offset;
	__u32 len;
	__u16 region;
	__u16 flags;
};

#define DEMI_RING_NEED_WAKEUP	(1U << 0)

/* Offsets in bytes from the beginning of the queue's mapping. */
struct demi_ring_layout {
	__u32 producer;		/* __u32 */
	__u32 consumer;		/* __u32 */
	__u32 flags;		/* __u32, DEMI_RING_NEED_WAKEUP */
	__u32 desc;		/* struct demi_desc[entries] */
	__u32 entries;
	__u32 __reserved;
};

enum demi_queue_kind {
	DEMI_QUEUE_FLOW = 1,	/* IP packets of the flows added to it */
	DEMI_QUEUE_RAW = 2,	/* copies of a network device's frames; CAP_NET_RAW */
	DEMI_QUEUE_CAPTURE = 3,	/* copies of what crosses other queues: DEMI_CAPTURE */
	DEMI_QUEUE_DEVICE = 4,	/* a queue of a dedicated device */
};

#define DEMI_QUEUE_F_POLL	(1U << 0)	/* the kernel polls tx: see DEMI_FEATURE_POLL */

/**
 * struct demi_queue_create - DEMI_QUEUE_CREATE: a queue and its file descriptor
 * @size: sizeof(struct demi_queue_create)
 * @flags: DEMI_QUEUE_F_*
 * @device_id: in
 * @kind: in, enum demi_queue_kind
 * @ifindex: in, the network device of a raw queue, else 0
 * @poll_idle_us: in, the polling thread sleeps after so many microseconds without work; 0 without
 *	it
 * @rx_fill_entries: in, powers of two, DEMI_RING_ENTRIES_MIN to _MAX
 * @rx_entries: in
 * @tx_entries: in; 0 with @tx_done_entries: a queue that does not send (always so for capture)
 * @tx_done_entries: in
 * @fd: out, close-on-exec
 * @queue_id: out
 * @mmap_bytes: out, length of the mapping at offset 0 of @fd
 * @rx_fill: out, where the rings are
 * @rx: out
 * @tx: out, entries 0 if there is none
 * @tx_done: out
 * @features: in, of a dedicated device whose kind has features (<linux/demi_virtio.h>): those that
 *	the caller can deal with, else 0. Not in the first version
 *
 * The rings are zeroed memory of the kernel, charged to the caller's memory cgroup. A mapping is
 * not inherited over fork(). After a shutdown a touched page of the mapping is a scratch page.
 *
 * A raw queue gets copies of what the network device receives and sends, as a packet socket does,
 * but for what it sent itself; VLAN tags are in their place. It ends (EPOLLHUP, ENODEV) when the
 * network device is removed or moved to another namespace.
 *
 * EPERM: a raw queue without CAP_NET_RAW in the namespace's user namespace. ENOENT: no such
 * device. ENODEV: no such network device; EOPNOTSUPP: not Ethernet. EACCES: a dedicated device
 * that is not bound by this context. EBUSY: its last queue is still being stopped.
 *
 * Of a dedicated device with rings of its own the mapping is described elsewhere, and the four
 * layouts are zero: <linux/demi_virtio.h>.
 */
struct demi_queue_create {
	__u32 size;
	__u32 flags;
	__u32 device_id;
	__u32 kind;
	__u32 ifindex;
	__u32 poll_idle_us;
	__u32 rx_fill_entries;
	__u32 rx_entries;
	__u32 tx_entries;
	__u32 tx_done_entries;
	__s32 fd;
	__u32 queue_id;
	__aligned_u64 mmap_bytes;
	struct demi_ring_layout rx_fill;
	struct demi_ring_layout rx;
	struct demi_ring_layout tx;
	struct demi_ring_layout tx_done;
	__aligned_u64 features;
};

/**
 * struct demi_queue_shutdown - DEMI_QUEUE_SHUTDOWN: end a queue now
 * @size: sizeof(struct demi_queue_shutdown)
 * @flags: 0
 * @queue_id: in, on a queue's own file 0
 * @__reserved: 0
 *
 * Its flows are deleted, its mappings become scratch pages, poll() reports EPOLLHUP, commands
 * ENODEV. Only queues of the context. Shutting down twice is no error.
 */
struct demi_queue_shutdown {
	__u32 size;
	__u32 flags;
	__u32 queue_id;
	__u32 __reserved;
};

/**
 * struct demi_queue_kick - DEMI_QUEUE_KICK: send what the tx ring holds
 * @size: sizeof(struct demi_queue_kick)
 * @flags: 0
 * @sent: out, descriptors taken from the ring, refused ones included
 * @__reserved: 0
 *
 * EAGAIN: nothing was taken although the ring is not empty, because the socket's send buffer or
 * tx_done is full; EPOLLOUT tells when to try again. ENODEV after a shutdown.
 */
struct demi_queue_kick {
	__u32 size;
	__u32 flags;
	__u32 sent;
	__u32 __reserved;
};

#define DEMI_QUEUE_STATE_SHUTDOWN	(1U << 0)
#define DEMI_QUEUE_STATE_FILTER		(1U << 1)	/* has a filter */
#define DEMI_QUEUE_STATE_CAPTURED	(1U << 2)	/* is being captured */

/*
 * What a queue counts: frames, unless it says bytes. Every frame that reached the queue is counted
 * in exactly one of rx_frames, rx_no_buffer, rx_filtered, rx_policy and rx_error.
 */
struct demi_queue_counters {
	__aligned_u64 rx_frames;	/* delivered */
	__aligned_u64 rx_bytes;		/* of packets, without virtio_net_hdr_v1 */
	__aligned_u64 rx_no_buffer;	/* dropped: rx_fill had too little, or rx no entry */
	__aligned_u64 rx_filtered;	/* dropped by the queue's filter */
	__aligned_u64 rx_policy;	/* dropped by XFRM, cgroup program, LSM, socket filter */
	__aligned_u64 rx_error;		/* dropped: a checksum, or the kernel had no memory */
	__aligned_u64 rx_icmp;		/* of rx_frames: ICMP errors about a frame sent */
	__aligned_u64 rx_bad_desc;	/* descriptors of rx_fill that were skipped */
	__aligned_u64 rx_wakeups;	/* sleepers woken */
	__aligned_u64 tx_frames;	/* handed to the network */
	__aligned_u64 tx_bytes;
	__aligned_u64 tx_refused;	/* a header that this queue may not send: EACCES, EINVAL */
	__aligned_u64 tx_unreachable;	/* no route, or refused by the firewall */
	__aligned_u64 tx_dropped;	/* dropped by the kernel's queues or for lack of memory */
	__aligned_u64 tx_bad_desc;	/* descriptors that name no memory */
	__aligned_u64 tx_kicks;
	__aligned_u64 tx_again;		/* kicks that met a full send buffer or tx_done */
	__aligned_u64 captured;		/* copies made for capture queues */
	__aligned_u64 capture_lost;	/* copies that found no room there */
};

/**
 * struct demi_queue_info - DEMI_QUEUE_INFO: one queue and its counters
 * @size: sizeof(struct demi_queue_info)
 * @flags: 0
 * @queue_id: in, on a queue's own file 0; out, its id
 * @kind: out, enum demi_queue_kind
 * @device_id: out
 * @ifindex: out, of a raw queue
 * @state: out, DEMI_QUEUE_STATE_*
 * @uid: out, of its maker, in the caller's user namespace
 * @pid: out, of its maker, in the caller's pid namespace, or 0
 * @flows: out, how many flows lead to it
 * @rx_fill_entries: out
 * @rx_entries: out
 * @tx_entries: out
 * @tx_done_entries: out
 * @rx_used: out, frames' descriptors that the user has not taken yet, as far as its index can be
 *	believed
 * @rx_fill_used: out, free buffers posted
 * @ring_bytes: out, memory of the rings
 * @kernel_bytes: out, other kernel memory of the queue
 * @comm: out, name of the maker's task
 * @counters: out
 *
 * Another's queue: the same uid, or CAP_NET_ADMIN in the namespace's user namespace; else ENOENT.
 */
struct demi_queue_info {
	__u32 size;
	__u32 flags;
	__u32 queue_id;
	__u32 kind;
	__u32 device_id;
	__u32 ifindex;
	__u32 state;
	__u32 uid;
	__u32 pid;
	__u32 flows;
	__u32 rx_fill_entries;
	__u32 rx_entries;
	__u32 tx_entries;
	__u32 tx_done_entries;
	__u32 rx_used;
	__u32 rx_fill_used;
	__u32 ring_bytes;
	__u32 kernel_bytes;
	char comm[16];
	struct demi_queue_counters counters;
};

/**
 * struct demi_queue_list - DEMI_QUEUE_LIST: ids of the namespace's queues that the caller may see
 * @size: sizeof(struct demi_queue_list)
 * @flags: 0
 * @count: in, room in @ids; out, how many there are
 * @__reserved: 0
 * @ids: array of __u32
 */
struct demi_queue_list {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 __reserved;
	__aligned_u64 ids;
};

/* ---- ports and flows ----------------------------------------------------------------------- */

/**
 * struct demi_addr - an address and a port
 * @family: AF_INET, AF_INET6, or 0 (AF_UNSPEC): none
 * @port: network byte order
 * @scope_id: the interface of a link-local address, else 0
 * @addr: network byte order; an IPv4 address in the first four bytes, the others 0
 */
struct demi_addr {
	__u16 family;
	__be16 port;
	__u32 scope_id;
	__u8 addr[16];
};

#define DEMI_PORT_F_DUAL	(1U << 0)	/* AF_INET6 any address: IPv4 too */
#define DEMI_PORT_F_BROADCAST	(1U << 1)	/* may use broadcast addresses */
#define DEMI_PORT_F_MULTICAST	(1U << 2)	/* may send to multicast addresses */

/**
 * struct demi_port_reserve - DEMI_PORT_RESERVE: take (protocol, local address, port)
 * @size: sizeof(struct demi_port_reserve)
 * @flags: DEMI_PORT_F_*
 * @protocol: in, IPPROTO_TCP or IPPROTO_UDP
 * @mark: in, SO_MARK of what is sent; not 0 needs CAP_NET_ADMIN or CAP_NET_RAW
 * @priority: in, SO_PRIORITY of what is sent; above 6 needs CAP_NET_ADMIN or CAP_NET_RAW
 * @ifindex: in, SO_BINDTODEVICE, or 0
 * @local: in, a unicast address of this host or any address, not a v4-mapped one; port 0 asks for
 *	an ephemeral one; out, with the port chosen
 * @reservation_id: out
 * @__reserved: 0
 *
 * The rules are those of bind(2) for a socket without SO_REUSEADDR and SO_REUSEPORT: nobody else
 * on the host, socket or queue, can have the port until DEMI_PORT_RELEASE. The kernel's sockets
 * policy (ports below 1024, ip_local_port_range, ip_nonlocal_bind, cgroup programs) applies.
 * EADDRINUSE; EADDRNOTAVAIL; EACCES: a privileged port; EPERM: mark, priority; ENODEV: ifindex;
 * EDQUOT; ENFILE: the host's files.
 */
struct demi_port_reserve {
	__u32 size;
	__u32 flags;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 ifindex;
	struct demi_addr local;
	__u32 reservation_id;
	__u32 __reserved;
};

/**
 * struct demi_port_release - DEMI_PORT_RELEASE: give it back
 * @size: sizeof(struct demi_port_release)
 * @flags: 0
 * @reservation_id: in
 * @__reserved: 0
 *
 * EBUSY: it has flows.
 */
struct demi_port_release {
	__u32 size;
	__u32 flags;
	__u32 reservation_id;
	__u32 __reserved;
};

#define DEMI_FLOW_F_GROUP	(1U << 0)	/* @target is a group, else a queue */
#define DEMI_FLOW_F_MULTICAST	(1U << 1)	/* @local is a multicast address: join it */

/**
 * struct demi_flow_add - DEMI_FLOW_ADD: what a queue receives and may send
 * @size: sizeof(struct demi_flow_add)
 * @flags: DEMI_FLOW_F_*
 * @reservation_id: in
 * @target: in, id of a flow queue, or of a group, of this context
 * @local: in, family 0: the reservation's own address; else one that the reservation covers, with
 *	its port. With DEMI_FLOW_F_MULTICAST the group's address; @local.scope_id is the interface,
 *	0: the route's
 * @remote: in, family 0: from anybody (a listener); else exactly this peer, of one local address:
 *	EINVAL if @local is any address
 * @flow_id: out
 * @__reserved: 0
 *
 * Packets to @local from @remote reach the target and no socket; the most specific flow wins (with
 * remote, then specific local address, then any address). A queue may send packets of exactly its
 * flows, from local unicast addresses. A packet that matches a flow whose queue is full is dropped
 * and counted, never passed on. EADDRINUSE: exists. EADDRNOTAVAIL: @local is not covered by the
 * reservation. EDQUOT. ENODEV: the queue was shut down, or (multicast) no interface.
 */
struct demi_flow_add {
	__u32 size;
	__u32 flags;
	__u32 reservation_id;
	__u32 target;
	struct demi_addr local;
	struct demi_addr remote;
	__u32 flow_id;
	__u32 __reserved;
};

/**
 * struct demi_flow_del - DEMI_FLOW_DEL
 * @size: sizeof(struct demi_flow_del)
 * @flags: 0
 * @flow_id: in
 * @__reserved: 0
 *
 * When it returns no further packet of the flow reaches the queue.
 */
struct demi_flow_del {
	__u32 size;
	__u32 flags;
	__u32 flow_id;
	__u32 __reserved;
};

/**
 * struct demi_flow_entry - one flow in a list
 * @flow_id: in its context
 * @reservation_id: in its context
 * @target: queue or group
 * @flags: DEMI_FLOW_F_*
 * @protocol: IPPROTO_*
 * @uid: of the context's maker, in the caller's user namespace
 * @local: family 0 address bytes all zero: any
 * @remote: family 0: anybody
 */
struct demi_flow_entry {
	__u32 flow_id;
	__u32 reservation_id;
	__u32 target;
	__u32 flags;
	__u32 protocol;
	__u32 uid;
	struct demi_addr local;
	struct demi_addr remote;
};

/**
 * struct demi_flow_list - DEMI_FLOW_LIST: the namespace's flows that the caller may see
 * @size: sizeof(struct demi_flow_list)
 * @flags: 0
 * @count: in, room in @entries; out, how many there are
 * @entry_bytes: in, sizeof(struct demi_flow_entry) as the caller knows it: at least 72. Longer
 *	entries than the kernel's are completed with zeroes, shorter ones are cut
 * @entries: array of struct demi_flow_entry
 */
struct demi_flow_list {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 entry_bytes;
	__aligned_u64 entries;
};

/**
 * struct demi_group_create - DEMI_GROUP_CREATE: queues that share flows
 * @size: sizeof(struct demi_group_create)
 * @flags: 0
 * @group_id: out
 * @__reserved: 0
 *
 * The group is empty: what its flows match is dropped and counted in no queue.
 */
struct demi_group_create {
	__u32 size;
	__u32 flags;
	__u32 group_id;
	__u32 __reserved;
};

/**
 * struct demi_group_set - DEMI_GROUP_SET: who gets what
 * @size: sizeof(struct demi_group_set)
 * @flags: 0
 * @group_id: in
 * @count: in, DEMI_GROUP_ENTRIES
 * @queues: in, array of @count __u32, flow queues of this context, 0 for none
 *
 * A packet of a listener goes to queues[hash & 127], the hash being of its addresses and ports;
 * all packets of a 4-tuple go to the same entry. The table is replaced as a whole.
 */
struct demi_group_set {
	__u32 size;
	__u32 flags;
	__u32 group_id;
	__u32 count;
	__aligned_u64 queues;
};

/**
 * struct demi_group_destroy - DEMI_GROUP_DESTROY
 * @size: sizeof(struct demi_group_destroy)
 * @flags: 0
 * @group_id: in
 * @__reserved: 0
 *
 * EBUSY: a flow leads to it.
 */
struct demi_group_destroy {
	__u32 size;
	__u32 flags;
	__u32 group_id;
	__u32 __reserved;
};

/* ---- filters and capture ------------------------------------------------------------------- */

enum demi_filter_kind {
	DEMI_FILTER_NONE = 0,
	DEMI_FILTER_CBPF = 1,	/* struct sock_filter[] */
	DEMI_FILTER_EBPF = 2,	/* fd of a BPF_PROG_TYPE_SOCKET_FILTER program */
};

/**
 * struct demi_filter_attach - DEMI_FILTER_ATTACH: which packets a queue receives
 * @size: sizeof(struct demi_filter_attach)
 * @flags: 0
 * @queue_id: in, on a queue's own file 0
 * @kind: in, enum demi_filter_kind
 * @prog_fd: in, for DEMI_FILTER_EBPF, else 0
 * @insn_count: in, for DEMI_FILTER_CBPF, at most BPF_MAXINSNS, else 0
 * @insns: in, array of struct sock_filter
 *
 * The program sees flow queues' packets from the IP header (DLT_RAW), raw queues' from the
 * Ethernet header. It returns 0 to drop; everything else passes the whole packet. It replaces the
 * filter that was there, with no packet in between that sees none; counters begin at 0. Another's
 * queue: CAP_NET_ADMIN in the namespace's user namespace, and EACCES for a queue that is visible
 * without it. EINVAL, EBADF: not such a program. EOPNOTSUPP: neither a flow nor a raw queue.
 * ENODEV: the queue has ended.
 */
struct demi_filter_attach {
	__u32 size;
	__u32 flags;
	__u32 queue_id;
	__u32 kind;
	__s32 prog_fd;
	__u32 insn_count;
	__aligned_u64 insns;
};

/**
 * struct demi_filter_detach - DEMI_FILTER_DETACH
 * @size: sizeof(struct demi_filter_detach)
 * @flags: 0
 * @queue_id: in, on a queue's own file 0
 * @__reserved: 0
 *
 * ENOENT: no such queue; ENODATA: it has no filter. A filter that CAP_NET_ADMIN attached to
 * another's queue can be detached or replaced only with CAP_NET_ADMIN: EPERM.
 */
struct demi_filter_detach {
	__u32 size;
	__u32 flags;
	__u32 queue_id;
	__u32 __reserved;
};

/**
 * struct demi_filter_info - DEMI_FILTER_INFO
 * @size: sizeof(struct demi_filter_info)
 * @flags: 0
 * @queue_id: in, on a queue's own file 0
 * @kind: out, DEMI_FILTER_NONE if there is none
 * @prog_id: out, the kernel's id of an eBPF program (bpftool prog show id N)
 * @insn_count: in, room in @insns; out, classic instructions there are
 * @insns: in, array of struct sock_filter, or 0
 * @passed: out, packets since it was attached
 * @dropped: out
 * @attached_ns: out, CLOCK_BOOTTIME
 */
struct demi_filter_info {
	__u32 size;
	__u32 flags;
	__u32 queue_id;
	__u32 kind;
	__u32 prog_id;
	__u32 insn_count;
	__aligned_u64 insns;
	__aligned_u64 passed;
	__aligned_u64 dropped;
	__aligned_u64 attached_ns;
};

#define DEMI_CAPTURE_F_RX	(1U << 0)	/* what its flows match, before its filter */
#define DEMI_CAPTURE_F_TX	(1U << 1)	/* what it sends, after the checks */
#define DEMI_CAPTURE_F_STOP	(1U << 2)	/* alone: end it */

/**
 * struct demi_capture - DEMI_CAPTURE: copies of what crosses a queue, into a queue
 * @size: sizeof(struct demi_capture)
 * @flags: DEMI_CAPTURE_F_*
 * @queue_id: in, whose packets
 * @target_id: in, a capture queue of this context
 * @snap_bytes: in, at most so much of each packet; 0: all
 * @__reserved: 0
 *
 * Several queues can be captured into one; one queue has one capturer (EBUSY). Copies that find no
 * room are lost and counted; the traffic itself is not held up. Ends with either queue. Another's
 * queue: CAP_NET_RAW in the namespace's user namespace. To stop it both queues are named; ENODATA:
 * the one is not captured into the other. ENODEV: one of them has ended.
 */
struct demi_capture {
	__u32 size;
	__u32 flags;
	__u32 queue_id;
	__u32 target_id;
	__u32 snap_bytes;
	__u32 __reserved;
};

/**
 * struct demi_capture_hdr - before each packet in a capture queue
 * @time_ns: CLOCK_REALTIME of the copy
 * @wire_bytes: length of the packet
 * @queue_id: where it was captured
 * @direction: DEMI_CAPTURE_F_RX or DEMI_CAPTURE_F_TX
 * @__reserved: 0
 */
struct demi_capture_hdr {
	__aligned_u64 time_ns;
	__u32 wire_bytes;
	__u32 queue_id;
	__u32 direction;
	__u32 __reserved;
};

#endif /* _UAPI_LINUX_DEMI_H */
