// SPDX-License-Identifier: MIT
/*
 * A memory queue: a FIFO of elements and a FIFO of pops that wait for one; at most one of the two is
 * not empty. While only one context knows the queue no lock is taken; from the first export on all of
 * struct memq is under its lock.
 *
 * An element owns its segments (demi_heap_own()), and the pop that gets it hands that ownership to its
 * caller: large heap memory is not copied, and pusher and popper share it read-only.
 *
 * A pop that waits in another context is completed by the pusher, under the lock, and posted to that
 * context: each element completes one pop and wakes one thread.
 */
#include "memq/memq.h"
#include "core/config.h"
#include "core/ctx.h"
#include "heap/heap.h"

#include <demi/sga.h>
#include <demi/sockopt.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Below this many bytes a segment is copied: sharing would cost more (design, statement 5). */
#define COPY_BELOW 1024

#define OP_WAITING 1 /* demi_op.flags: in memq.pops */

struct memq {
	bool shared; /* exported: other contexts may know it */
	bool ended; /* shut down: no more pushes */
	uint8_t max_segs; /* of one pop */
	uint32_t refs; /* descriptors */
	demi_sgarray_t *ring; /* elements; capacity is a power of two or 0 */
	uint32_t cap, head, count;
	size_t bytes; /* charged, against demi_config.push_limit_bytes */
	struct demi_op_list pops; /* of any context */
	pthread_mutex_t lock;
	int export_fd; /* a memfd whose inode is the queue's name in this process; -1 */
	ino_t ino;
	dev_t dev;
	struct memq *next; /* in `exported` */
};

struct memq_desc {
	struct demi_queue q;
	struct memq *m;
};

static pthread_mutex_t exported_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memq *exported;

static struct memq *memq_of(struct demi_queue *q)
{
	return ((struct memq_desc *)q)->m;
}

static inline void memq_lock(struct memq *m)
{
	if (m->shared)
		pthread_mutex_lock(&m->lock);
}

static inline void memq_unlock(struct memq *m)
{
	if (m->shared)
		pthread_mutex_unlock(&m->lock);
}

/* ---- elements ---- */

static size_t sga_bytes(const demi_sgarray_t *sga)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < sga->sga_numsegs; i++)
		bytes += sga->sga_segs[i].sgaseg_len;
	return bytes;
}

/* What an element is charged: its place, too, so that empty ones are not free. */
static size_t sga_charge(const demi_sgarray_t *sga)
{
	return sga_bytes(sga) + sizeof(*sga);
}

/* Copy @n segments from @from into one new object; an empty element has none. */
static int gather(struct demi_ctx *ctx, demi_sgarray_t *elem, const demi_sgaseg_t *from, uint32_t n, size_t bytes)
{
	char *buf = NULL, *p;

	if (bytes > UINT32_MAX)
		return -EMSGSIZE;
	if (bytes) {
		buf = demi_heap_alloc(bytes);
		if (!buf)
			return -ENOMEM;
	}
	p = buf;
	for (uint32_t i = 0; i < n; i++) {
		if (!from[i].sgaseg_len)
			continue;
		memcpy(p, from[i].sgaseg_buf, from[i].sgaseg_len);
		p += from[i].sgaseg_len;
	}
	elem->sga_segs[elem->sga_numsegs].sgaseg_buf = buf;
	elem->sga_segs[elem->sga_numsegs++].sgaseg_len = (uint32_t)bytes;
	ctx->count.copied_bytes += bytes;
	return 0;
}

static void drop_element(demi_sgarray_t *elem)
{
	for (uint32_t i = 0; i < elem->sga_numsegs; i++) {
		if (elem->sga_segs[i].sgaseg_buf)
			demi_heap_free(elem->sga_segs[i].sgaseg_buf);
	}
}

/* Own the segment where it is, if it is large and lies in one heap object. */
static bool share(const demi_sgaseg_t *seg)
{
	return demi_config.zerocopy && seg->sgaseg_len >= COPY_BELOW &&
	       demi_heap_contains(seg->sgaseg_buf, seg->sgaseg_len) && !demi_heap_own(seg->sgaseg_buf);
}

static int make_element(struct demi_ctx *ctx, demi_sgarray_t *elem, const demi_sgarray_t *sga, unsigned int max_segs)
{
	const demi_sgaseg_t *seg = sga->sga_segs;
	int err;

	memset(elem, 0, sizeof(*elem));
	if (sga->sga_numsegs > max_segs)
		return gather(ctx, elem, seg, sga->sga_numsegs, sga_bytes(sga));
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (share(&seg[i])) {
			elem->sga_segs[elem->sga_numsegs++] = seg[i];
			continue;
		}
		err = gather(ctx, elem, &seg[i], 1, seg[i].sgaseg_len);
		if (err) {
			drop_element(elem);
			return err;
		}
	}
	return 0;
}

static int ring_grow(struct memq *m)
{
	uint32_t cap = m->cap ? 2 * m->cap : 8;
	demi_sgarray_t *ring = malloc(cap * sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->count; i++)
		ring[i] = m->ring[(m->head + i) & (m->cap - 1)];
	free(m->ring);
	m->ring = ring;
	m->cap = cap;
	m->head = 0;
	return 0;
}

/* ---- push and pop, under the lock ---- */

static void finish(struct demi_ctx *ctx, struct demi_op *op)
{
	op->flags = 0;
	if (op->q->ctx == ctx)
		demi_op_ready(op);
	else
		demi_ctx_post(op);
}

static void give(struct demi_ctx *ctx, struct demi_op *op, demi_sgarray_t *elem)
{
	elem->sga_buf = elem->sga_segs[0].sgaseg_buf;
	demi_op_set_popped(op, elem);
	finish(ctx, op);
}

static void refuse(struct demi_ctx *ctx, struct demi_op *op, int err)
{
	demi_op_set_failed(op, err);
	finish(ctx, op);
}

/* Hand @elem to the first waiting pop that has room for it; false: there is none. */
static bool give_to_waiter(struct demi_ctx *ctx, struct memq *m, demi_sgarray_t *elem, size_t charge)
{
	struct demi_op *op;

	while ((op = demi_op_list_take(&m->pops))) {
		if (charge <= op->priv.u64[0]) {
			give(ctx, op, elem);
			return true;
		}
		refuse(ctx, op, EMSGSIZE);
	}
	return false;
}

static int enqueue(struct demi_ctx *ctx, struct memq *m, demi_sgarray_t *elem)
{
	size_t charge = sga_charge(elem);

	if (m->ended)
		return -EPIPE;
	if (m->pops.head && give_to_waiter(ctx, m, elem, charge))
		return 0;
	if (charge > demi_config.push_limit_bytes - m->bytes)
		return -ENOBUFS;
	if (m->count == m->cap && ring_grow(m))
		return -ENOMEM;
	m->ring[(m->head + m->count++) & (m->cap - 1)] = *elem;
	m->bytes += charge;
	return 0;
}

static int memq_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		     socklen_t tolen)
{
	struct memq *m = memq_of(q);
	demi_sgarray_t elem;
	int err;

	if (to)
		return -EOPNOTSUPP;
	err = make_element(q->ctx, &elem, sga, m->max_segs);
	if (err)
		return err;
	memq_lock(m);
	err = enqueue(q->ctx, m, &elem);
	memq_unlock(m);
	if (err) {
		drop_element(&elem);
		return err;
	}
	demi_op_complete(op);
	return 0;
}

/* Give the oldest element to @op. */
static void take(struct demi_ctx *ctx, struct memq *m, struct demi_op *op, size_t max_charge)
{
	demi_sgarray_t *elem = &m->ring[m->head & (m->cap - 1)];
	size_t charge = sga_charge(elem);

	if (charge > max_charge) {
		refuse(ctx, op, EMSGSIZE);
		return;
	}
	m->head++;
	m->count--;
	m->bytes -= charge;
	give(ctx, op, elem);
}

static int memq_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	size_t max_charge = max_bytes < SIZE_MAX / 2 ? max_bytes + sizeof(demi_sgarray_t) : SIZE_MAX;
	struct memq *m = memq_of(q);

	memq_lock(m);
	if (m->count) {
		take(q->ctx, m, op, max_charge);
	} else if (m->ended) {
		demi_op_complete_eof(op);
	} else {
		op->flags = OP_WAITING;
		op->priv.u64[0] = max_charge;
		demi_op_list_add(&m->pops, op);
	}
	memq_unlock(m);
	return 0;
}

static int memq_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct memq *m = memq_of(q);
	int err = -EALREADY;

	memq_lock(m);
	if (op->flags & OP_WAITING) {
		demi_op_list_del(&m->pops, op);
		refuse(q->ctx, op, ECANCELED);
		err = 0;
	}
	memq_unlock(m);
	return err;
}

/* A memory queue has no two directions: either way nothing can be pushed any more. */
static int memq_shutdown(struct demi_queue *q, int how)
{
	struct memq *m = memq_of(q);
	demi_sgarray_t none = {.sga_numsegs = 1};
	struct demi_op *op;

	memq_lock(m);
	m->ended = true;
	while ((op = demi_op_list_take(&m->pops)))
		give(q->ctx, op, &none);
	while (how != SHUT_WR && m->count) {
		drop_element(&m->ring[m->head++ & (m->cap - 1)]);
		q->ctx->count.dropped++;
		m->count--;
	}
	if (!m->count)
		m->bytes = 0;
	memq_unlock(m);
	return 0;
}

static int memq_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	struct memq *m = memq_of(q);
	int v;

	if (level != DEMI_SOL || name != DEMI_SO_MAXSEGS)
		return -ENOPROTOOPT;
	if (len < sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	if (v < 1 || v > DEMI_SGARRAY_MAXSIZE)
		return -EINVAL;
	memq_lock(m);
	m->max_segs = (uint8_t)v;
	memq_unlock(m);
	return 0;
}

static int memq_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	struct memq *m = memq_of(q);
	int v;

	if (level != DEMI_SOL || name != DEMI_SO_MAXSEGS)
		return -ENOPROTOOPT;
	memq_lock(m);
	v = m->max_segs;
	memq_unlock(m);
	if (*len > sizeof(v))
		*len = sizeof(v);
	memcpy(val, &v, *len);
	return 0;
}

/* ---- life ---- */

static struct memq *memq_alloc(void)
{
	struct memq *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	if (pthread_mutex_init(&m->lock, NULL)) {
		free(m);
		return NULL;
	}
	m->refs = 1;
	m->max_segs = 1;
	m->export_fd = -1;
	return m;
}

static void memq_free(struct memq *m)
{
	for (; m->count; m->count--)
		drop_element(&m->ring[m->head++ & (m->cap - 1)]);
	free(m->ring);
	pthread_mutex_destroy(&m->lock);
	if (m->export_fd >= 0)
		close(m->export_fd);
	free(m);
}

/* Drop a descriptor's reference; the last one takes the queue off the list of exported ones. */
static void memq_put(struct memq *m)
{
	struct memq **p;
	bool last;

	pthread_mutex_lock(&exported_lock);
	last = --m->refs == 0;
	if (last && m->shared) {
		for (p = &exported; *p != m; p = &(*p)->next)
			;
		*p = m->next;
	}
	pthread_mutex_unlock(&exported_lock);
	if (last)
		memq_free(m);
}

static void memq_close(struct demi_queue *q)
{
	struct memq *m = memq_of(q);
	struct demi_op *op, *next;

	memq_lock(m);
	for (op = m->pops.head; op; op = next) {
		next = op->next;
		if (op->q == q) {
			demi_op_list_del(&m->pops, op);
			refuse(q->ctx, op, ECANCELED);
		}
	}
	memq_unlock(m);
	demi_queue_put(q);
}

static void memq_destroy(struct demi_queue *q)
{
	memq_put(memq_of(q));
	free(q);
}

static int set_exported(struct memq *m)
{
	struct stat st;
	int fd;

	fd = memfd_create("demi-queue", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st)) {
		close(fd);
		return -EINVAL;
	}
	m->export_fd = fd;
	m->ino = st.st_ino;
	m->dev = st.st_dev;
	m->next = exported;
	exported = m;
	m->shared = true;
	return 0;
}

static int memq_export_fd(struct demi_queue *q, int *fd_out)
{
	struct memq *m = memq_of(q);
	int fd, err = 0;

	pthread_mutex_lock(&exported_lock);
	if (!m->shared)
		err = set_exported(m);
	pthread_mutex_unlock(&exported_lock);
	if (err)
		return err;
	fd = fcntl(m->export_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*fd_out = fd;
	return 0;
}

static struct demi_queue_ops memq_ops = {
	.name = "memq",
	.push = memq_push,
	.pop = memq_pop,
	.cancel = memq_cancel,
	.shutdown = memq_shutdown,
	.setsockopt = memq_setsockopt,
	.getsockopt = memq_getsockopt,
	.export_fd = memq_export_fd,
	.close = memq_close,
	.destroy = memq_destroy,
};

__attribute__((constructor)) static void memq_ops_init(void)
{
	demi_queue_ops_fill(&memq_ops);
}

/* Takes over the reference to @m, also when it fails. */
static int memq_attach(struct demi_ctx *ctx, struct memq *m, struct demi_queue **out)
{
	struct memq_desc *d = calloc(1, sizeof(*d));
	int err = -ENOMEM;

	if (d) {
		d->m = m;
		err = demi_queue_install(ctx, &d->q, &memq_ops);
	}
	if (err) {
		free(d);
		memq_put(m);
		return err;
	}
	*out = &d->q;
	return 0;
}

int demi_memq_create(struct demi_ctx *ctx, struct demi_queue **out)
{
	struct memq *m = memq_alloc();

	return m ? memq_attach(ctx, m, out) : -ENOMEM;
}

int demi_memq_import(struct demi_ctx *ctx, int fd, struct demi_queue **out)
{
	struct stat st;
	struct memq *m;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || fcntl(fd, F_GET_SEALS) < 0)
		return -EINVAL;
	pthread_mutex_lock(&exported_lock);
	for (m = exported; m; m = m->next) {
		if (m->ino == st.st_ino && m->dev == st.st_dev)
			break;
	}
	if (m)
		m->refs++;
	pthread_mutex_unlock(&exported_lock);
	return m ? memq_attach(ctx, m, out) : -EXDEV;
}
