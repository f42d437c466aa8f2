/* SPDX-License-Identifier: MIT */
/*
 * DEMI_PCAP: a device in front of another one that writes what crosses it to a file, in the pcapng format
 * (draft-ietf-opsawg-pcapng: section header, one interface, enhanced packet blocks), which libpcap reads. Unset,
 * there is no such device and nothing is asked.
 *
 * All contexts of the process write to one file: it is opened for appending, and each block is one write.
 */
#include "pktdev/pcap.h"

#include "core/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LINKTYPE_ETHERNET 1
#define LINKTYPE_RAW 101 /* begins with an IPv4 or IPv6 header */

#define BLOCK_SECTION 0x0a0d0d0aU
#define BLOCK_INTERFACE 1U
#define BLOCK_PACKET 6U
#define OPT_END 0
#define OPT_COMMENT 1
#define OPT_TSRESOL 9
#define OPT_FLAGS 2 /* of a packet */
#define INBOUND 1U
#define OUTBOUND 2U

struct pcap {
	struct demi_pktdev d;
	struct demi_pktdev_ops ops;
	struct demi_pktdev *inner;
	bool broken; /* a write failed: nothing more is written */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int file = -1;
static unsigned int users;

static struct pcap *of(struct demi_pktdev *d)
{
	return (struct pcap *)d;
}

/* ---- the file ---- */

struct section {
	uint32_t type, len, magic;
	uint16_t major, minor;
	int64_t section_len;
	uint32_t len_again;
} __attribute__((packed));

struct interface {
	uint32_t type, len;
	uint16_t linktype, reserved;
	uint32_t snaplen;
	uint16_t tsresol, tsresol_len;
	uint8_t tsresol_value, pad[3];
	uint16_t end, end_len;
	uint32_t len_again;
} __attribute__((packed));

struct packet {
	uint32_t type, len, interface, time_high, time_low, captured, original;
} __attribute__((packed));

/* Behind the packet's bytes and their padding. */
struct tail {
	uint16_t flags, flags_len;
	uint32_t flags_value;
	uint16_t comment, comment_len; /* followed by 4 * n bytes */
};

static int write_head(int fd, uint16_t linktype)
{
	struct section s = { .type = BLOCK_SECTION,
			     .len = sizeof(s),
			     .magic = 0x1a2b3c4d, /* whose byte order everything has */
			     .major = 1,
			     .section_len = -1,
			     .len_again = sizeof(s) };
	struct interface i = { .type = BLOCK_INTERFACE,
			       .len = sizeof(i),
			       .linktype = linktype,
			       .tsresol = OPT_TSRESOL,
			       .tsresol_len = 1,
			       .tsresol_value = 9, /* nanoseconds */
			       .end = OPT_END,
			       .len_again = sizeof(i) };
	const struct iovec iov[] = { { &s, sizeof(s) }, { &i, sizeof(i) } };

	return writev(fd, iov, 2) == (ssize_t)(sizeof(s) + sizeof(i)) ? 0 : -EIO;
}

static int file_open(const char *path, uint16_t linktype)
{
	int err = 0;

	pthread_mutex_lock(&lock);
	if (!users) {
		file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
		if (file < 0)
			err = -errno;
		else
			err = write_head(file, linktype);
		if (err && file >= 0)
			close(file);
	}
	users += !err;
	pthread_mutex_unlock(&lock);
	return err;
}

static void file_close(void)
{
	pthread_mutex_lock(&lock);
	if (!--users)
		close(file);
	pthread_mutex_unlock(&lock);
}

/* ---- packets ---- */

/* What the bytes do not say; its length. */
static uint32_t comment(char *to, size_t room, const struct demi_pkt *p)
{
	int n = 0;

	if (p->flags & DEMI_PKT_F_GSO)
		n = snprintf(to, room, "%u bytes a segment%s", p->gso_size,
			     p->flags & DEMI_PKT_F_CSUM_PARTIAL ? ", " : "");
	if (p->flags & DEMI_PKT_F_CSUM_PARTIAL)
		n += snprintf(to + n, room - (size_t)n, "checksum not filled in");
	return (uint32_t)n;
}

static uint64_t real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* One packet of @segs entries as one block. */
static void write_packet(struct pcap *c, const struct demi_pkt *p, uint32_t segs, uint32_t direction, uint64_t ns)
{
	struct tail t = { .flags = OPT_FLAGS, .flags_len = 4, .flags_value = direction, .comment = OPT_COMMENT };
	struct packet h = { .type = BLOCK_PACKET, .time_high = (uint32_t)(ns >> 32), .time_low = (uint32_t)ns };
	struct iovec iov[DEMI_PKT_RX_SEGS_MAX + 5];
	uint8_t end[8] = { 0 }; /* no more options, the length again */
	static const uint8_t zeros[4];
	char text[64] = { 0 };
	size_t n = 0, total;

	iov[n++] = (struct iovec){ &h, sizeof(h) };
	for (uint32_t i = 0; i < segs && i < DEMI_PKT_RX_SEGS_MAX; i++) {
		iov[n++] = (struct iovec){ p[i].data, p[i].len };
		h.captured += p[i].len;
	}
	h.original = h.captured;
	iov[n++] = (struct iovec){ (void *)(uintptr_t)zeros, -h.captured & 3 };
	t.comment_len = (uint16_t)comment(text, sizeof(text), p);
	iov[n++] = (struct iovec){ &t, t.comment_len ? sizeof(t) : sizeof(t) - 4 };
	iov[n++] = (struct iovec){ text, (t.comment_len + 3U) & ~3U };
	iov[n++] = (struct iovec){ end, sizeof(end) };
	total = 0;
	for (size_t i = 0; i < n; i++)
		total += iov[i].iov_len;
	h.len = (uint32_t)total;
	memcpy(end + 4, &h.len, sizeof(h.len));
	if (writev(file, iov, (int)n) == (ssize_t)total)
		return;
	demi_warn("DEMI_PCAP: %m: no more is written");
	c->broken = true;
}

static void write_packets(struct pcap *c, const struct demi_pkt *p, int n, uint32_t direction)
{
	uint64_t ns;
	int end;

	if (n <= 0 || c->broken)
		return;
	ns = real_ns();
	for (int i = 0; i < n && !c->broken; i = end) {
		for (end = i + 1; end < n && p[end - 1].flags & DEMI_PKT_F_MORE; end++)
			;
		write_packet(c, p + i, (uint32_t)(end - i), direction, ns);
	}
}

/* ---- the table: everything is the other device's ---- */

/* What a device may change in its head. */
static void follow(struct pcap *c)
{
	c->d.route_gen = c->inner->route_gen;
	c->d.deadline_ns = c->inner->deadline_ns;
}

static int pcap_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct pcap *c = of(d);
	int n = c->inner->ops->rx(c->inner, pkts, max);

	write_packets(c, pkts, n, INBOUND);
	follow(c);
	return n;
}

/* Until tx_done(), which only the caller of this calls, the bytes stay. */
static int pcap_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct pcap *c = of(d);
	int taken = c->inner->ops->tx(c->inner, pkts, n);

	write_packets(c, pkts, taken, OUTBOUND);
	follow(c);
	return taken;
}

static int pcap_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	int n = of(d)->inner->ops->tx_done(of(d)->inner, done, max);

	follow(of(d));
	return n;
}

static int pcap_kick(struct demi_pktdev *d)
{
	int err = of(d)->inner->ops->kick(of(d)->inner);

	follow(of(d));
	return err;
}

static void pcap_rx_recycle(struct demi_pktdev *d, void *data)
{
	of(d)->inner->ops->rx_recycle(of(d)->inner, data);
}

static void *pcap_buf_alloc(struct demi_pktdev *d, uint32_t size)
{
	return of(d)->inner->ops->buf_alloc(of(d)->inner, size);
}

static int pcap_arm(struct demi_pktdev *d)
{
	int err = of(d)->inner->ops->arm(of(d)->inner);

	follow(of(d));
	return err;
}

static void pcap_disarm(struct demi_pktdev *d)
{
	of(d)->inner->ops->disarm(of(d)->inner);
	follow(of(d));
}

static void pcap_run(struct demi_pktdev *d, uint64_t now_ns)
{
	of(d)->inner->ops->run(of(d)->inner, now_ns);
	follow(of(d));
}

static int pcap_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	int err = of(d)->inner->ops->port_reserve(of(d)->inner, p);

	follow(of(d));
	return err;
}

static void pcap_port_release(struct demi_pktdev *d, uint32_t handle)
{
	of(d)->inner->ops->port_release(of(d)->inner, handle);
	follow(of(d));
}

static int pcap_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer,
			 uint32_t *flow_out)
{
	int err = of(d)->inner->ops->flow_add(of(d)->inner, handle, peer, flow_out);

	follow(of(d));
	return err;
}

static void pcap_flow_del(struct demi_pktdev *d, uint32_t flow)
{
	of(d)->inner->ops->flow_del(of(d)->inner, flow);
	follow(of(d));
}

static int pcap_group(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
		      uint32_t ifindex, bool join)
{
	int err = of(d)->inner->ops->group(of(d)->inner, handle, family, group, ifindex, join);

	follow(of(d));
	return err;
}

static int pcap_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	int err = of(d)->inner->ops->route(of(d)->inner, r);

	follow(of(d));
	return err;
}

static void pcap_stats(struct demi_pktdev *d, struct demi_pktdev_stats *s)
{
	of(d)->inner->ops->stats(of(d)->inner, s);
}

static void pcap_destroy(struct demi_pktdev *d)
{
	of(d)->inner->ops->destroy(of(d)->inner);
	file_close();
	free(of(d));
}

static const struct demi_pktdev_ops table = {
	.abi = DEMI_PKTDEV_ABI,
	.rx = pcap_rx,
	.tx = pcap_tx,
	.tx_done = pcap_tx_done,
	.kick = pcap_kick,
	.rx_recycle = pcap_rx_recycle,
	.buf_alloc = pcap_buf_alloc,
	.arm = pcap_arm,
	.disarm = pcap_disarm,
	.run = pcap_run,
	.port_reserve = pcap_port_reserve,
	.port_release = pcap_port_release,
	.flow_add = pcap_flow_add,
	.flow_del = pcap_flow_del,
	.group = pcap_group,
	.route = pcap_route,
	.stats = pcap_stats,
	.destroy = pcap_destroy,
};

int demi_pcap_open(struct demi_pktdev *inner, const char *path, struct demi_pktdev **out)
{
	struct pcap *c = malloc(sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	err = file_open(path, inner->caps & DEMI_PKTDEV_C_L3 ? LINKTYPE_RAW : LINKTYPE_ETHERNET);
	if (err) {
		demi_warn("DEMI_PCAP=%s: %s", path, strerror(-err));
		free(c);
		return err;
	}
	c->d = *inner;
	c->ops = table;
	c->ops.name = inner->ops->name; /* messages are about that one */
	if (!inner->ops->run)
		c->ops.run = NULL;
	c->d.ops = &c->ops;
	c->inner = inner;
	c->broken = false;
	*out = &c->d;
	return 0;
}
