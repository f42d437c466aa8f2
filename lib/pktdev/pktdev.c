/* SPDX-License-Identifier: MIT */
/* What a packet device does that its table does not name. */
#include "pktdev/pktdev.h"

#include "heap/heap.h"

#include <string.h>

static int no_kick(struct demi_pktdev *d)
{
	return 0;
}

static int no_last(struct demi_pktdev *d, const void *packet, uint32_t len)
{
	return -EOPNOTSUPP;
}

static void free_recycled(struct demi_pktdev *d, void *data)
{
	demi_heap_free(data);
}

static void *heap_alloc(struct demi_pktdev *d, uint32_t size)
{
	return demi_heap_alloc(size);
}

/* Without a wake fd there is nothing to arm: the stack polls. */
static int no_arm(struct demi_pktdev *d)
{
	return 0;
}

static void no_disarm(struct demi_pktdev *d)
{
}

static int no_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	return -EOPNOTSUPP;
}

static void no_release(struct demi_pktdev *d, uint32_t id)
{
}

static int no_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow_out)
{
	return -EOPNOTSUPP;
}

static int no_group(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
		    uint32_t ifindex, bool join)
{
	return -EOPNOTSUPP;
}

static int no_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	return -EOPNOTSUPP;
}

static void no_stats(struct demi_pktdev *d, struct demi_pktdev_stats *s)
{
	memset(s, 0, sizeof(*s));
}

#define FILL(entry, fn) (ops->entry = ops->entry ? ops->entry : (fn))

void demi_pktdev_ops_fill(struct demi_pktdev_ops *ops)
{
	FILL(kick, no_kick);
	FILL(last, no_last);
	FILL(rx_recycle, free_recycled);
	FILL(buf_alloc, heap_alloc);
	FILL(arm, no_arm);
	FILL(disarm, no_disarm);
	FILL(port_reserve, no_port_reserve);
	FILL(port_release, no_release);
	FILL(flow_add, no_flow_add);
	FILL(flow_del, no_release);
	FILL(group, no_group);
	FILL(route, no_route);
	FILL(stats, no_stats);
}

void demi_pkt_copy(uint8_t *to, const struct demi_pkt *p, uint32_t off, uint32_t len)
{
	for (; len; p++) {
		uint32_t n;

		if (off >= p->len) {
			off -= p->len;
			continue;
		}
		n = p->len - off < len ? p->len - off : len;
		memcpy(to, p->data + off, n);
		to += n;
		len -= n;
		off = 0;
	}
}
