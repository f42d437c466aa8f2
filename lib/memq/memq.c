// SPDX-License-Identifier: MIT
/*
 * A memory queue: a FIFO of elements and a FIFO of pops that wait for one; at most one of the two is
 * not empty. While only one context knows the queue no lock is taken; from the first export on all of
 * struct memq is under its lock, and its descriptors have another table, without the short ways.
 *
 * An element owns its segments (demi_heap_own()), and the pop that gets it hands that ownership to its
 * caller: large heap memory is not copied, and pusher and popper share it read-only.
 *
 * A pop that waits in another context is completed by the pusher, under the lock, and posted to that
 * context: each element completes one pop and wakes one thread.
 */
#include "memq/memq.h"
#include "core/config.h"
#include "core/copy.h"
#include "core/instant.h"
#include "heap/object.h"

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

/* An element is a run of segments; an empty one has a segment without a buffer. */
struct memq_seg {
	void *buf;
	uint32_t len;
	uint32_t more; /* segments of the element that follow this one */
};

struct memq_elem {
	struct memq_seg segs[DEMI_SGARRAY_MAXSIZE];
	uint32_t n;
	size_t bytes;
};

/* The place in the ring is charged, too, so that empty elements are not free. */
static inline size_t memq_charge(size_t bytes, uint32_t segs)
{
	return bytes + segs * sizeof(struct memq_seg);
}

struct memq {
	bool shared; /* exported: other contexts may know it */
	bool ended; /* shut down: no more pushes */
	_Atomic(uint8_t) max_segs; /* of one pop; a push reads it before it takes the lock */
	uint32_t refs; /* descriptors */
	struct memq_seg *ring; /* capacity is a power of two or 0 */
	uint32_t cap, mask, head, tail; /* in segments; mask is cap - 1, head and tail run on */
	uint32_t quick; /* how many may be there after a push that looks at nothing else: see quick_update() */
	/*
	 * What the elements are charged to, and its limit: the context while one alone knows the queue, the
	 * queue itself afterwards, for who pushed an element is not who pops it.
	 */
	size_t *charged, own, limit;
	struct demi_op_list pops; /* of any context */
	pthread_mutex_t lock;
	int export_fd; /* a memfd whose inode is the queue's name in this process; -1 */
	ino_t ino;
	dev_t dev;
	struct memq *next; /* in `exported` */
};

/* What the exported memfd holds, so that it can be told from other files and from another process's. */
struct memq_name {
	uint64_t magic;
	int64_t pid;
};

#define MEMQ_MAGIC 0x71756575652d3144

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

/*
 * What others have completed for @ctx on this queue goes to its ready list first: pops complete in the order in
 * which they were issued, whoever completes them.
 */
static inline void memq_lock(struct demi_ctx *ctx, struct memq *m)
{
	if (!m->shared)
		return;
	pthread_mutex_lock(&m->lock);
	if (atomic_load_explicit(&ctx->inbox, memory_order_relaxed))
		demi_ctx_drain_inbox(ctx);
}

static inline uint32_t memq_count(const struct memq *m)
{
	return m->tail - m->head;
}

/* One of these has changed: ring, ended, pops. Not for the short way: ended, or waited for. */
static inline void quick_update(struct memq *m)
{
	m->quick = m->ended || m->pops.head ? 0 : m->cap;
}

static inline void memq_unlock(struct memq *m)
{
	if (m->shared)
		pthread_mutex_unlock(&m->lock);
}

/* ---- elements ---- */

static void drop_segs(const struct memq_seg *seg, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (seg[i].buf)
			demi_heap_free(seg[i].buf);
	}
}

/* Copy @n segments into one object; an empty one needs none. */
static int gather(struct demi_ctx *ctx, struct memq_seg *seg, const demi_sgaseg_t *from, uint32_t n, size_t bytes)
{
	char *p;

	seg->buf = NULL;
	seg->len = (uint32_t)bytes;
	if (!bytes)
		return 0;
	if (bytes > UINT32_MAX)
		return -EMSGSIZE;
	p = demi_heap_alloc(bytes);
	if (!p)
		return -ENOMEM;
	seg->buf = p;
	ctx->count.copied_bytes += bytes;
	for (uint32_t i = 0; i < n; i++) {
		if (!from[i].sgaseg_len)
			continue;
		memcpy(p, from[i].sgaseg_buf, from[i].sgaseg_len);
		p += from[i].sgaseg_len;
	}
	return 0;
}

/* Own the segment where it is, if it is large and lies in one heap object. */
static bool share(struct memq_seg *seg, const demi_sgaseg_t *from)
{
	if (from->sgaseg_len < COPY_BELOW || !demi_config.zerocopy ||
	    !demi_heap_contains(from->sgaseg_buf, from->sgaseg_len) || demi_heap_own(from->sgaseg_buf))
		return false;
	seg->buf = from->sgaseg_buf;
	seg->len = from->sgaseg_len;
	return true;
}

static int make_element(struct demi_ctx *ctx, struct memq_elem *elem, const demi_sgarray_t *sga, uint32_t max_segs)
{
	const demi_sgaseg_t *from = sga->sga_segs;
	uint32_t n = sga->sga_numsegs;
	size_t bytes = 0;
	int err;

	for (uint32_t i = 0; i < n; i++)
		bytes += from[i].sgaseg_len;
	elem->n = n <= max_segs ? n : 1;
	elem->bytes = bytes;
	if (n > max_segs) {
		elem->segs[0].more = 0;
		return gather(ctx, &elem->segs[0], from, n, bytes);
	}
	for (uint32_t i = 0; i < n; i++) {
		elem->segs[i].more = n - 1 - i;
		if (share(&elem->segs[i], &from[i]))
			continue;
		err = gather(ctx, &elem->segs[i], &from[i], 1, from[i].sgaseg_len);
		if (err) {
			drop_segs(elem->segs, i);
			return err;
		}
	}
	return 0;
}

static int ring_grow(struct memq *m)
{
	uint32_t cap = m->cap ? 2 * m->cap : 16;
	struct memq_seg *ring = malloc(cap * sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < memq_count(m); i++)
		ring[i] = m->ring[(m->head + i) & m->mask];
	free(m->ring);
	m->ring = ring;
	m->cap = cap;
	m->mask = cap - 1;
	m->tail = memq_count(m);
	m->head = 0;
	quick_update(m);
	return 0;
}

static inline struct memq_seg *ring_at(struct memq *m, uint32_t i)
{
	return &m->ring[(m->head + i) & m->mask];
}

/* ---- push and pop, under the lock ---- */

static inline void finish(struct demi_ctx *ctx, struct demi_op *op)
{
	op->flags = 0;
	if (op->q->ctx == ctx)
		demi_op_ready_inline(ctx, op);
	else
		demi_ctx_post(op);
}

static void refuse(struct demi_ctx *ctx, struct demi_op *op, int err)
{
	demi_op_set_failed(op, err);
	finish(ctx, op);
}

static void set_popped_segs(struct demi_op *op, const struct memq_seg *segs, uint32_t n)
{
	demi_sgarray_t sga = { .sga_buf = segs[0].buf, .sga_numsegs = n };

	for (uint32_t i = 0; i < n; i++) {
		sga.sga_segs[i].sgaseg_buf = segs[i].buf;
		sga.sga_segs[i].sgaseg_len = segs[i].len;
	}
	demi_op_set_popped(op, &sga);
}

static inline void set_popped(struct demi_op *op, const struct memq_seg *segs, uint32_t n)
{
	if (demi_likely(n == 1))
		demi_op_set_popped_buf_inline(op, segs[0].buf, segs[0].len);
	else
		set_popped_segs(op, segs, n);
}

/* Hand @elem to the first waiting pop that has room for it; false: there is none. */
static bool give_to_waiter(struct demi_ctx *ctx, struct memq *m, const struct memq_elem *elem)
{
	struct demi_op *op;

	while ((op = demi_op_list_take(&m->pops))) {
		quick_update(m);
		if (elem->bytes > op->priv.u64[0]) {
			refuse(ctx, op, EMSGSIZE);
			continue;
		}
		set_popped(op, elem->segs, elem->n);
		finish(ctx, op);
		return true;
	}
	return false;
}

static inline int enqueue(struct demi_ctx *ctx, struct memq *m, const struct memq_elem *elem)
{
	size_t charge = memq_charge(elem->bytes, elem->n);

	if (m->ended)
		return -EPIPE;
	if (m->pops.head && give_to_waiter(ctx, m, elem))
		return 0;
	if (charge > m->limit - *m->charged)
		return -ENOBUFS;
	if (m->cap - memq_count(m) < elem->n && ring_grow(m))
		return -ENOMEM;
	for (uint32_t i = 0; i < elem->n; i++)
		*ring_at(m, memq_count(m) + i) = elem->segs[i];
	m->tail += elem->n;
	*m->charged += charge;
	return 0;
}

static __attribute__((noinline)) int push_any(struct demi_ctx *ctx, struct memq *m, const demi_sgarray_t *sga)
{
	struct memq_elem elem;
	int err;

	err = make_element(ctx, &elem, sga, atomic_load_explicit(&m->max_segs, memory_order_relaxed));
	if (err)
		return err;
	memq_lock(ctx, m);
	err = enqueue(ctx, m, &elem);
	memq_unlock(m);
	if (err)
		drop_segs(elem.segs, elem.n);
	return err;
}

static int memq_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		     socklen_t tolen)
{
	int err;

	if (demi_unlikely(to != NULL))
		return -EOPNOTSUPP;
	err = push_any(q->ctx, memq_of(q), sga);
	if (demi_unlikely(err))
		return err;
	demi_op_complete(op);
	return 0;
}

/*
 * The usual push: one short segment, nobody waits, an object at hand. No lock, as the queue is not shared (its table
 * would be another), and what it holds is charged to its context.
 */
static int memq_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	struct demi_ctx *ctx = q->ctx;
	struct memq *m = memq_of(q);
	struct demi_slot *slot;
	struct memq_seg *seg;
	const void *from;
	size_t len;
	void *buf;

	if (demi_unlikely(!qt_out || !sga || sga->sga_numsegs != 1))
		goto other;
	from = sga->sga_segs[0].sgaseg_buf;
	len = sga->sga_segs[0].sgaseg_len;
	if (demi_unlikely(len - 1 >= DEMI_COPY_SHORT || !from || memq_count(m) >= m->quick))
		goto other;
	if (demi_unlikely(m->limit - ctx->push_bytes < memq_charge(len, 1) || !demi_instant_possible(ctx)))
		goto other;
	slot = demi_object_take_cached(len);
	if (demi_unlikely(!slot))
		goto other;
	buf = slot->p;
	seg = &m->ring[m->tail++ & m->mask];
	seg->buf = buf;
	seg->len = (uint32_t)len;
	seg->more = 0;
	demi_copy_short(buf, from, (uint32_t)len);
	ctx->push_bytes += memq_charge(len, 1);
	ctx->count.copied_bytes += len;
	return demi_instant_pushed(ctx, qt_out, q);
other:
	return demi_push_op(qt_out, q, sga, NULL, 0);
}

/* Give the oldest element, of several segments or too large, to @op. */
static __attribute__((noinline)) void take_any(struct demi_ctx *ctx, struct memq *m, struct demi_op *op,
					       size_t max_bytes)
{
	struct memq_seg segs[DEMI_SGARRAY_MAXSIZE];
	uint32_t n = ring_at(m, 0)->more + 1;
	size_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		segs[i] = *ring_at(m, i);
		bytes += segs[i].len;
	}
	if (bytes > max_bytes) {
		refuse(ctx, op, EMSGSIZE);
		return;
	}
	m->head += n;
	*m->charged -= memq_charge(bytes, n);
	set_popped(op, segs, n);
	finish(ctx, op);
}

static inline void take(struct demi_ctx *ctx, struct memq *m, struct demi_op *op, size_t max_bytes)
{
	struct memq_seg *seg = ring_at(m, 0);

	if (demi_unlikely(seg->more || seg->len > max_bytes)) {
		take_any(ctx, m, op, max_bytes);
		return;
	}
	m->head++;
	*m->charged -= memq_charge(seg->len, 1);
	demi_op_set_popped_buf_inline(op, seg->buf, seg->len);
	demi_op_ready_inline(ctx, op);
}

static __attribute__((noinline)) int pop_any(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct memq *m = memq_of(q);

	memq_lock(q->ctx, m);
	if (memq_count(m)) {
		take(q->ctx, m, op, max_bytes);
	} else if (m->ended) {
		demi_op_complete_eof(op);
	} else {
		op->flags = OP_WAITING;
		op->priv.u64[0] = max_bytes;
		demi_op_list_add(&m->pops, op);
		quick_update(m);
	}
	memq_unlock(m);
	return 0;
}

static int memq_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct memq *m = memq_of(q);

	if (demi_unlikely(m->shared || !memq_count(m)))
		return pop_any(q, op, max_bytes);
	take(q->ctx, m, op, max_bytes);
	return 0;
}

/* The usual pop: an element of one segment is there. No lock, see memq_push_now(). */
static int memq_pop_now(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	struct demi_ctx *ctx = q->ctx;
	struct memq *m = memq_of(q);
	const struct memq_seg *seg;
	uint32_t len;
	void *buf;

	if (demi_unlikely(!memq_count(m) || !qt_out || !demi_instant_possible(ctx)))
		return demi_pop_op(qt_out, q, max_bytes);
	seg = ring_at(m, 0);
	len = seg->len;
	buf = seg->buf;
	/* also if there is nothing in it: it may be that nothing is asked for, and that is an error */
	if (demi_unlikely(seg->more || (size_t)len - 1 >= max_bytes))
		return demi_pop_op(qt_out, q, max_bytes);
	m->head++;
	ctx->push_bytes -= memq_charge(len, 1);
	return demi_instant_popped(ctx, qt_out, q, buf, len);
}

static int memq_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct memq *m = memq_of(q);
	int err = -EALREADY;

	memq_lock(q->ctx, m);
	if (op->flags & OP_WAITING) {
		demi_op_list_del(&m->pops, op);
		quick_update(m);
		refuse(q->ctx, op, ECANCELED);
		err = 0;
	}
	memq_unlock(m);
	return err;
}

static uint32_t drop_all(struct memq *m)
{
	uint32_t n = memq_count(m);

	for (uint32_t i = 0; i < n; i++) {
		*m->charged -= memq_charge(ring_at(m, i)->len, 1);
		drop_segs(ring_at(m, i), 1);
	}
	m->head = m->tail;
	return n;
}

/* From now on the queue pays for itself. */
static void charge_self(struct memq *m)
{
	for (uint32_t i = 0; i < memq_count(m); i++)
		m->own += memq_charge(ring_at(m, i)->len, 1);
	*m->charged -= m->own;
	m->charged = &m->own;
}

/* A memory queue has no two directions: either way nothing can be pushed any more. */
static int memq_shutdown(struct demi_queue *q, int how)
{
	struct memq *m = memq_of(q);
	struct demi_op *op;

	memq_lock(q->ctx, m);
	m->ended = true;
	quick_update(m);
	while ((op = demi_op_list_take(&m->pops))) {
		demi_op_set_popped_buf(op, NULL, 0);
		finish(q->ctx, op);
	}
	if (how != SHUT_WR)
		q->ctx->count.dropped += drop_all(m);
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
	atomic_store_explicit(&m->max_segs, (uint8_t)v, memory_order_relaxed);
	return 0;
}

static int memq_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	struct memq *m = memq_of(q);
	int v;

	if (level != DEMI_SOL || name != DEMI_SO_MAXSEGS)
		return -ENOPROTOOPT;
	v = atomic_load_explicit(&m->max_segs, memory_order_relaxed);
	if (*len > sizeof(v))
		*len = sizeof(v);
	memcpy(val, &v, *len);
	return 0;
}

/* ---- life ---- */

static struct memq *memq_alloc(struct demi_ctx *ctx)
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
	m->charged = &ctx->push_bytes;
	m->limit = demi_config.push_limit_bytes;
	m->export_fd = -1;
	return m;
}

static void memq_free(struct memq *m)
{
	drop_all(m);
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

	memq_lock(q->ctx, m);
	for (op = m->pops.head; op; op = next) {
		next = op->next;
		if (op->q == q) {
			demi_op_list_del(&m->pops, op);
			refuse(q->ctx, op, ECANCELED);
		}
	}
	quick_update(m);
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
	struct memq_name name = { .magic = MEMQ_MAGIC, .pid = getpid() };
	struct stat st;
	int fd;

	fd = memfd_create("demi-queue", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || write(fd, &name, sizeof(name)) != sizeof(name)) {
		close(fd);
		return -ENOMEM;
	}
	m->export_fd = fd;
	m->ino = st.st_ino;
	m->dev = st.st_dev;
	m->next = exported;
	exported = m;
	charge_self(m);
	m->shared = true;
	return 0;
}

static struct demi_queue_ops shared_ops;

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
	q->ops = &shared_ops;
	fd = fcntl(m->export_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*fd_out = fd;
	return 0;
}

/* Of a queue that other contexts may know. */
static struct demi_queue_ops shared_ops = {
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

/* The same and the short ways: of the only descriptor, until it is exported. */
static struct demi_queue_ops own_ops;

__attribute__((constructor)) static void memq_ops_init(void)
{
	own_ops = shared_ops;
	own_ops.push_now = memq_push_now;
	own_ops.pop_now = memq_pop_now;
	demi_queue_ops_fill(&shared_ops);
	demi_queue_ops_fill(&own_ops);
}

/* Takes over the reference to @m, also when it fails. */
static int memq_attach(struct demi_ctx *ctx, struct memq *m, struct demi_queue **out)
{
	struct memq_desc *d = calloc(1, sizeof(*d));
	int err = -ENOMEM;

	if (d) {
		d->m = m;
		err = demi_queue_install(ctx, &d->q, m->shared ? &shared_ops : &own_ops);
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
	struct memq *m = memq_alloc(ctx);

	return m ? memq_attach(ctx, m, out) : -ENOMEM;
}

int demi_memq_import(struct demi_ctx *ctx, int fd, struct demi_queue **out)
{
	struct memq_name name;
	struct stat st;
	struct memq *m;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || pread(fd, &name, sizeof(name), 0) != sizeof(name) || name.magic != MEMQ_MAGIC)
		return -EINVAL;
	pthread_mutex_lock(&exported_lock);
	for (m = exported; m; m = m->next) {
		if (m->ino == st.st_ino && m->dev == st.st_dev)
			break;
	}
	if (m)
		m->refs++;
	pthread_mutex_unlock(&exported_lock);
	if (!m)
		return name.pid == getpid() ? -EINVAL : -EXDEV; /* gone; or never here */
	return memq_attach(ctx, m, out);
}
