/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_PKTDEV_H
#define DEMI_PKTDEV_PKTDEV_H

/*
 * Packet devices: one table per kind (ring, dpdk, virtio, xsk), one instance per context, used by that
 * context's thread alone. A device moves packets and knows no protocol; lib/inet knows no device.
 *
 *	L2	packets begin with the Ethernet header. The stack owns the device's addresses and all ports, answers
 *		ARP and neighbour discovery, routes. The control entries (port_*, flow_*, group, route) are missing.
 *		lib/ether makes an L3 device of it.
 *	L3	packets begin with the IP header. Addresses, ports, routes and neighbours are somebody else's (the
 *		kernel's): the stack asks for ports and flows, and gets only packets that belong to them, plus
 *		the ICMP errors that quote what it sent.
 *
 * Packets travel as runs of struct demi_pkt, one for each segment:
 *
 *	[pkt|MORE] [pkt|MORE] [pkt]   [pkt]   [pkt|MORE] [pkt]
 *	 `------- one packet -----'  `another'  `-- a third --'
 *
 * The first entry of a run carries the packet's metadata; in the others only data, len and flags count. Every byte
 * of a received packet is hostile, its metadata too (it may come out of a ring that is shared): the device
 * vouches for `data`, `len`, headroom and the run's shape, and for nothing else.
 *
 * Who owns memory:
 *
 *	receive		Each segment lies in one heap object of its own (demi_heap_alloc(), demi_heap_extern_object()),
 *			of which rx() hands over the one owner. The stack gives the object to the application, or frees
 *			it with demi_heap_free(), or returns it by rx_recycle(). Between the object's start and the data
 *			of a packet's first segment are at least DEMI_PKT_HEADROOM bytes for the stack to write to.
 *			The first segment holds at least DEMI_PKT_RX_FIRST_MIN bytes, or the whole packet.
 *	transmit	tx() takes whole packets. Their bytes belong to the device until tx_done() gives the packet's
 *			cookie, exactly once for each packet taken, in any order: then nobody, DMA included, reads
 *			them again. A device that copies may report at once. The stack keeps the objects alive.
 *			What the device cannot reach (no registered memory) it copies by itself. All protocol headers
 *			lie in the first segment, with tx_headroom_bytes in front of it for the device to write to.
 */

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct demi_ctx;
struct demi_pktdev;
struct demi_pktdev_ports;

#define DEMI_PKTDEV_ABI 3

/* Bytes before a received packet that are the stack's; the device's own header (virtio_net_hdr) is not among them. */
#define DEMI_PKT_HEADROOM 64

/* So that all headers that a packet can sensibly have are in one piece. */
#define DEMI_PKT_RX_FIRST_MIN 256

/* A received packet has at most so many segments; rx() is never called with room for less. */
#define DEMI_PKT_RX_SEGS_MAX 48

#define DEMI_PKT_LAST_MAX 128

enum demi_pkt_flags {
	DEMI_PKT_F_MORE = 1 << 0, /* the next entry continues this packet */

	/* transmit: store the Internet checksum of everything from csum_start at csum_start + csum_offset, where the
	 * sum of the pseudo header is now. receive: the sender is on this host and has left it so; the
	 * payload was never on a wire, so there is nothing to verify. */
	DEMI_PKT_F_CSUM_PARTIAL = 1 << 1,
	/* receive: the device has verified the transport checksum */
	DEMI_PKT_F_CSUM_OK = 1 << 2,

	/* One of these or none: gso_size bytes of payload a segment. transmit: to be cut; needs CSUM_PARTIAL.
	 * receive: was put together. */
	DEMI_PKT_F_GSO_TCP4 = 1 << 3,
	DEMI_PKT_F_GSO_TCP6 = 1 << 4,
	DEMI_PKT_F_GSO_UDP = 1 << 5,
	DEMI_PKT_F_GSO_ECN = 1 << 6, /* with GSO_TCP*: CWR is set in the first one only */

	/* transmit, any segment: memory of the application, worth not being copied (>= zc_min bytes) */
	DEMI_PKT_F_ZEROCOPY = 1 << 7,
};

#define DEMI_PKT_F_GSO (DEMI_PKT_F_GSO_TCP4 | DEMI_PKT_F_GSO_TCP6 | DEMI_PKT_F_GSO_UDP)

struct demi_pkt {
	uint8_t *data;
	uint32_t len; /* of this segment in bytes; 0 only as the whole of a malformed packet */
	uint16_t flags;
	/* From here on the first entry of a packet only. Offsets count from the packet's start. */
	uint16_t gso_size;
	uint16_t csum_start, csum_offset;
	uint16_t hdr_len; /* transmit with GSO: link to transport headers; they lie in the first segment */
	uint16_t reserved;
	uint64_t cookie; /* transmit: what tx_done() reports */
};

_Static_assert(sizeof(struct demi_pkt) == 32, "a burst of them should stay in the first-level cache");

/* A transmitted packet that is done. */
struct demi_pkt_done {
	uint64_t cookie;
	int32_t err; /* 0: it left, as far as the device knows; or why not (positive): EACCES, EHOSTUNREACH … */
	uint32_t copied; /* not 0: ZEROCOPY was asked for, and it had to be copied */
};

/* What a device can do; flags of struct demi_pktdev. */
enum demi_pktdev_caps {
	DEMI_PKTDEV_C_L3 = 1 << 0,
	DEMI_PKTDEV_C_TX_CSUM = 1 << 1, /* DEMI_PKT_F_CSUM_PARTIAL for TCP and UDP, IPv4 and IPv6 */
	DEMI_PKTDEV_C_TX_IP_CSUM = 1 << 2, /* fills in the IPv4 header's checksum, whatever is there */
	DEMI_PKTDEV_C_TX_TSO4 = 1 << 3, /* DEMI_PKT_F_GSO_TCP4 */
	DEMI_PKTDEV_C_TX_TSO6 = 1 << 4,
	DEMI_PKTDEV_C_TX_USO = 1 << 5, /* DEMI_PKT_F_GSO_UDP */
	DEMI_PKTDEV_C_TX_FRAG = 1 << 6, /* takes packets of up to 65,535 bytes and fragments them to the path's MTU */
	DEMI_PKTDEV_C_RX_IP_OK =
		1 << 7, /* received packets have passed a kernel's checks: whole, local, header sum right */
};

/* An IP address; IPv4 in the first word. Network byte order. */
union demi_pktdev_ip {
	struct in6_addr v6;
	struct in_addr v4;
	uint32_t w[4];
};

enum demi_pktdev_port_flags {
	DEMI_PKTDEV_PORT_F_DUAL = 1 << 0, /* AF_INET6, any address: IPv4 packets, too */
	DEMI_PKTDEV_PORT_F_SHARE = 1 << 1, /* SO_REUSEPORT: with all of this user's that ask for it */
	DEMI_PKTDEV_PORT_F_MULTICAST = 1 << 2, /* may send to multicast addresses */
	DEMI_PKTDEV_PORT_F_BROADCAST = 1 << 3, /* SO_BROADCAST: may send to broadcast addresses, receives from them */
};

/* A local port: (protocol, address, port). Ports are in network byte order throughout. */
struct demi_pktdev_port {
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t proto; /* IPPROTO_UDP, IPPROTO_TCP */
	uint16_t port; /* in: 0: the device chooses; out: which it is */
	uint32_t flags;
	uint32_t ifindex; /* scope of a link-local address, SO_BINDTODEVICE; 0: any */
	uint32_t handle; /* out: for flow_add(), group(), port_release() */
	union demi_pktdev_ip ip; /* all 0: any address */
};

/* The other end of a flow. */
struct demi_pktdev_peer {
	uint8_t family; /* of both addresses: AF_INET, AF_INET6 */
	uint16_t port;
	union demi_pktdev_ip local, ip; /* local is one of the host's addresses, never "any" */
};

/* How packets to a destination leave. */
struct demi_pktdev_route {
	uint8_t family;
	uint32_t ifindex; /* in: wanted, 0: any; out: taken, if known */
	union demi_pktdev_ip dst; /* in */
	union demi_pktdev_ip src; /* out: the source address to use */
	uint32_t mtu_bytes; /* out: of IP packets on the path */
};

struct demi_pktdev_stats {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t rx_dropped; /* no buffer, no room in the ring */
	uint64_t rx_errors; /* what the device delivered was malformed for it */
	uint64_t tx_dropped; /* refused: a header that is not allowed, no route, no memory */
	uint64_t tx_copied; /* asked for without a copy, copied all the same */
};

/*
 * All return 0 or a count, or a negative errno. -ENODEV from any of them: the device is gone for good; nothing is
 * received any more and everything that was taken counts as done. Missing entries are filled in
 * by demi_pktdev_ops_fill().
 */
struct demi_pktdev_ops {
	const char *name;
	uint32_t abi; /* DEMI_PKTDEV_ABI of the header it was built with */

	/* ---- hot; rx, tx and tx_done are never missing ---- */

	/* Whole packets that have arrived, and new buffers. Entries written, at most @max (>= DEMI_PKT_RX_SEGS_MAX). */
	int (*rx)(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max);

	/*
	 * Take packets, in order, as far as there is room. Entries taken: whole packets only. A packet with more
	 * than tx_segs_max entries is never given. May delay the start until kick().
	 */
	int (*tx)(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n);

	/* Packets that are done. How many; less than @max: no more for now. */
	int (*tx_done)(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max);

	/* The end of a burst: start what tx() took, give back what rx_recycle() returned. Missing: nothing to do. */
	int (*kick)(struct demi_pktdev *d);

	/* A received segment that the stack has done with and whose object it alone owns. Missing: demi_heap_free(). */
	void (*rx_recycle)(struct demi_pktdev *d, void *data);

	/* ---- time: devices with timers of their own; else missing ---- */

	/* It is @now_ns and deadline_ns has passed. What the device does on its own account; may move deadline_ns. */
	void (*run)(struct demi_pktdev *d, uint64_t now_ns);

	/*
	 * The process ends, perhaps in a signal handler that has interrupted this device anywhere: send a packet of
	 * at most DEMI_PKT_LAST_MAX bytes, complete with its sums, without lock and allocation, if it can be done at
	 * once. After that the device is at most destroyed. L3 devices; missing: -EOPNOTSUPP.
	 */
	int (*last)(struct demi_pktdev *d, const void *packet, uint32_t len);

	/*
	 * After a last(): copy the beginning, at most @max bytes, of the next packet that has come, under the same
	 * conditions. How many; 0: none. Devices that have last().
	 */
	uint32_t (*last_rx)(struct demi_pktdev *d, void *packet, uint32_t max);

	/* ---- memory ---- */

	/*
	 * A heap object for headers and copied payload, reachable for the device without a copy. Freed with
	 * demi_heap_free(). NULL without memory. Missing: demi_heap_alloc().
	 */
	void *(*buf_alloc)(struct demi_pktdev *d, uint32_t size);

	/* ---- sleeping: see core/backend.h for who orders what ---- */

	/*
	 * From now on wake_fd becomes readable when rx() or tx_done() would give something, tx() has room
	 * again after it had none, or the device is gone. The caller looks at all of them once more before it sleeps.
	 */
	int (*arm)(struct demi_pktdev *d);
	/* The sleep is over: empty the fd, stop asking for wake-ups. */
	void (*disarm)(struct demi_pktdev *d);

	/* ---- control: L3 devices. Missing: -EOPNOTSUPP ---- */

	/*
	 * The right to a local port: EADDRINUSE, EADDRNOTAVAIL, EACCES, EDQUOT … as bind(2) gives them.
	 * Nothing is received before flow_add().
	 */
	int (*port_reserve)(struct demi_pktdev *d, struct demi_pktdev_port *p);
	/* Never fails. Its flows have been deleted. */
	void (*port_release)(struct demi_pktdev *d, uint32_t handle);

	/*
	 * Have packets come to this device: those of one peer, or (@peer NULL) all to the port that no other
	 * flow names. The stack sends from the port only while it has a flow. EADDRINUSE: somebody has it; EDQUOT.
	 */
	int (*flow_add)(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer,
			uint32_t *flow_out);
	void (*flow_del)(struct demi_pktdev *d, uint32_t flow);

	/* Join or leave a multicast group (@family's) on an interface, 0: by route, on behalf of a port. */
	int (*group)(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
		     uint32_t ifindex, bool join);

	/* ENETUNREACH, EHOSTUNREACH, EACCES … as connect(2) gives them. */
	int (*route)(struct demi_pktdev *d, struct demi_pktdev_route *r);

	/* ---- the rest ---- */

	void (*stats)(struct demi_pktdev *d, struct demi_pktdev_stats *s);

	/*
	 * Never fails, frees @d. Nobody writes to or reads from memory of this process on its behalf any more;
	 * cookies that were not reported are not reported any more.
	 */
	void (*destroy)(struct demi_pktdev *d);
};

/* The head of every device. What is not marked is filled in by open and does not change. */
struct demi_pktdev {
	const struct demi_pktdev_ops *ops;
	struct demi_ctx *ctx;
	uint32_t caps; /* DEMI_PKTDEV_C_* */
	uint32_t mtu_bytes; /* of IP packets; L3: the greatest that is taken */
	uint32_t gso_max_bytes; /* payload of a GSO packet; 0: none */
	uint16_t gso_max_segs;
	uint16_t tx_segs_max; /* entries of a packet, at least 2 + DEMI_SGARRAY_MAXSIZE */
	uint32_t zc_min_bytes; /* DEMI_PKT_F_ZEROCOPY pays from here; UINT32_MAX: it never does */
	uint16_t tx_headroom_bytes; /* before each packet, for the device to write to (virtio_net_hdr) */
	uint32_t rx_buf_bytes; /* what a received segment occupies, for limits */
	int wake_fd; /* the device's; -1: it cannot wake, it must be polled */
	uint32_t route_gen; /* changes when addresses or routes may have changed; the device may write it in rx() */
	uint8_t mac[6]; /* L2 */
	uint8_t ports_me; /* who this context is in */
	struct demi_pktdev_ports *ports; /* L2: of a device that contexts of the process share; else NULL */
	uint64_t deadline_ns; /* when run() is wanted, 0: never; any entry of the table may move it */
};

/* Give every missing entry its default. Once for each table. */
void demi_pktdev_ops_fill(struct demi_pktdev_ops *ops);

/* Copy @len bytes at @off of a packet, which has them. */
void demi_pkt_copy(uint8_t *to, const struct demi_pkt *p, uint32_t off, uint32_t len);

/* Makers, one per kind: core/ctx.c has one line for each. -errno: ENODEV, EPERM, EACCES, ENOMEM … */
int demi_ring_open(struct demi_ctx *ctx, struct demi_pktdev **out);
int demi_dpdk_open(struct demi_ctx *ctx, struct demi_pktdev **out); /* L2 */
int demi_virtio_open(struct demi_ctx *ctx, struct demi_pktdev **out); /* L2 */

#endif /* DEMI_PKTDEV_PKTDEV_H */
