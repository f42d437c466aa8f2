/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SIDE_H
#define BENCH_SIDE_H

/*
 * A side of a run: one server process and one client process that talk to each other, of one kind
 * (libdemi, or a hand-written peer). struct side lies in memory that both share with the program that started
 * them. Between its slices a side must not use the processor: its client waits for the next command,
 * its server sleeps (side_park() for those that spin).
 */

#include "clock.h"
#include "hist.h"
#include "opts.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

enum mode {
	MODE_ECHO, /* the server sends back what it gets; the client times it */
	MODE_STREAM, /* the client sends all it can; the server counts */
};

/* The client's job for one slice, and what came of it. */
struct slice {
	uint64_t max_ns, max_ops; /* 0: no limit */
	uint64_t ops, bytes, ns;
	int err; /* positive errno: the slice failed */
};

struct side {
	const struct side_kind *server, *client;
	const struct opts *opts;
	unsigned int index;
	enum over over;
	enum mode mode;

	/* The server's address, filled in before it says that it is ready. */
	struct sockaddr_storage addr;
	socklen_t addrlen;
	char path[100]; /* over unix and pipe: below the run's own folder */

	struct slice slice;
	struct hist *hist; /* of this slice; shared */
	struct hist *total; /* of all measured slices; the program's own */
	void *shm; /* side_kind.shm_bytes, zeroed */

	/* System calls of the data path in the whole run, and the operations they belong to. */
	struct {
		uint64_t calls;
		uint64_t cpu_ns; /* of this slice */
		uint64_t copied; /* bytes; of libdemi alone */
	} server_use, client_use;

	_Alignas(64) atomic_int active; /* futex: a slice is under way */
	atomic_int stop; /* the server shall end */
	_Alignas(64) atomic_ullong bytes; /* stream: taken by the server */
};

struct side_kind {
	const char *name;
	bool is_libdemi;
	bool pins_itself; /* serve() and open() do what --cpus says, else it is done before */
	bool (*can)(enum over over, enum mode mode);
	size_t (*shm_bytes)(const struct opts *o); /* NULL: none */

	/* The server process: serve until side->stop; call side_ready() once clients may connect. 0 or -errno. */
	int (*serve)(struct side *s);

	/* The client process. run() does one slice and ends with nothing under way. 0 or -errno. */
	int (*open)(struct side *s, void **client);
	int (*run)(struct side *s, void *client);
	void (*close)(struct side *s, void *client);
};

extern const struct side_kind side_demi, side_epoll, side_busy, side_uring, side_ring, side_l2, side_kernel, side_dpdk;

/* For the child processes (proc.c). */
void side_ready(struct side *s);
void side_on_stop(void (*fn)(void)); /* called in a signal handler when side->stop was set */
int side_pin(struct side *s, bool server); /* 0 or -errno */
void side_park(struct side *s); /* sleep until the next slice begins, or stop */

static inline bool side_stopped(struct side *s)
{
	return atomic_load_explicit(&s->stop, memory_order_relaxed);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* For a server that spins: called each time nothing was found. False when it is to end. */
static inline bool side_spin(struct side *s, unsigned int *empty)
{
	cpu_relax();
	if (++*empty & 255)
		return true;
	if (!atomic_load_explicit(&s->active, memory_order_relaxed))
		side_park(s);
	return !side_stopped(s);
}

/* For a client: is the slice over at time @t (ticks)? */
struct slice_clock {
	uint64_t end; /* ticks; UINT64_MAX for none */
	uint64_t left; /* operations that may still be started */
};

static inline void slice_begin(struct side *s, struct slice_clock *c, uint64_t t)
{
	struct slice *sl = &s->slice;

	c->end = sl->max_ns ? t + ns_ticks(sl->max_ns) : UINT64_MAX;
	c->left = sl->max_ops ? sl->max_ops : UINT64_MAX;
}

/* May one more be started? Counts it. */
static inline bool slice_next(struct slice_clock *c, uint64_t t)
{
	if (t >= c->end || !c->left)
		return false;
	c->left--;
	return true;
}

/*
 * One connection of an echo client: which messages are under way. The answers come in order on a stream,
 * so a message is complete when its bytes are.
 */
struct flow {
	uint64_t *sent; /* window start times, a ring */
	uint32_t window, head, tail;
	uint32_t got; /* bytes of the answer that is coming in */
	uint32_t size;
};

int flow_init(struct flow *f, const struct opts *o);
void flow_free(struct flow *f);

static inline void flow_sent(struct flow *f, uint64_t t)
{
	f->sent[f->head++ % f->window] = t;
}

/* @len bytes of answers came at time @t: records what is complete and returns how many that are. */
static inline uint32_t flow_got(struct flow *f, struct side *s, size_t len, uint64_t t)
{
	uint32_t done = 0;

	f->got += (uint32_t)len;
	while (f->got >= f->size && f->tail != f->head) {
		f->got -= f->size;
		hist_record(s->hist, ticks_ns(t - f->sent[f->tail++ % f->window]));
		done++;
	}
	s->slice.ops += done;
	return done;
}

#endif /* BENCH_SIDE_H */
