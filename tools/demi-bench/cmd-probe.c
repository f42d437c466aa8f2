/* SPDX-License-Identifier: MIT */
/* probe: things about libdemi that are counted rather than timed. Prints one JSON object. */
#include "clock.h"
#include "cmds.h"
#include "demi-loop.h"
#include "proc.h"
#include "side.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDLE_SECONDS 5
#define STALL_SECONDS 10

static int print_result(json_t *o)
{
	int ret = !o || json_dumpf(o, stdout, JSON_REAL_PRECISION(6)) || puts("") == EOF;

	json_decref(o);
	return ret ? EIO : 0;
}

/* A field of /proc/self/smaps_rollup, in KiB. */
static long smaps_kib(const char *field)
{
	size_t len = strlen(field);
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	long v = -1;

	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			v = strtol(line + len + 1, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

/* Resident, without huge pages of either kind. */
static long small_pages_kib(void)
{
	return smaps_kib("Rss") - smaps_kib("AnonHugePages");
}

static long all_pages_kib(void)
{
	return smaps_kib("Rss") + smaps_kib("Private_Hugetlb") + smaps_kib("Shared_Hugetlb");
}

/* demi_init() and one element through a memory queue. */
static int probe_ctx(uint64_t n, const struct opts *o)
{
	demi_sgarray_t msg;
	long before, after;
	int qd, ret;

	small_pages_kib(); /* the C library's own buffers */
	before = small_pages_kib();
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = demi_queue(&qd);
	if (ret)
		return ret;
	msg = demi_sgaalloc(64);
	if (!msg.sga_numsegs)
		return ENOMEM;
	memset(msg.sga_segs[0].sgaseg_buf, 'p', 64);
	ret = loop_memq(qd, &msg, 1);
	after = small_pages_kib();
	return ret ? ret : print_result(json_pack("{s:I}", "ctx_kib", (json_int_t)(after - before)));
}

/*
 * A child that connects @n plain sockets to @addr and keeps them until *@stop_fd is closed; @other is an earlier
 * child's, which this one must not keep open.
 */
static pid_t start_clients(const struct sockaddr_in *addr, uint64_t n, int *stop_fd, int other)
{
	int fds[2];
	pid_t pid;
	uint64_t i;
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid) {
		close(fds[0]);
		*stop_fd = fds[1];
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(fds[1]);
	if (other > 0)
		close(other);
	for (i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
			_exit(1);
	}
	_exit(read(fds[0], &c, 1) < 0);
}

static int listen_any(int *qd, struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int ret = demi_socket(qd, AF_INET, SOCK_STREAM, 0);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (!ret)
		ret = demi_bind(*qd, (struct sockaddr *)addr, len);
	if (!ret)
		ret = demi_getsockname(*qd, (struct sockaddr *)addr, &len);
	if (!ret)
		ret = demi_listen(*qd, 4096);
	return ret;
}

static int accept_and_pop(int listener, uint64_t n)
{
	static const struct timespec limit = { 20, 0 };
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret = 0;

	while (n-- && !ret) {
		ret = demi_accept(&qt, listener);
		if (!ret)
			ret = demi_wait(&qr, qt, &limit);
		if (!ret)
			ret = (int)qr.qr_ret;
		if (!ret)
			ret = demi_pop(&qt, qr.qr_value.ares.qd);
	}
	return ret;
}

static int settle(void)
{
	static const struct timespec limit = { 0, 200000000 };
	demi_qresult_t qr;
	int n, ret = demi_wait_next_n(&qr, 1, &n, &limit);

	return ret == ETIMEDOUT ? 0 : ret ? ret : EPROTO;
}

static void raise_files(uint64_t n)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur >= n + 100)
		return;
	rl.rlim_cur = rl.rlim_max < n + 100 ? rl.rlim_max : n + 100;
	setrlimit(RLIMIT_NOFILE, &rl);
}

struct idle {
	int listener, stop_fd[2];
	pid_t pid[2];
};

static void idle_end(struct idle *s)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (s->pid[i] <= 0)
			continue;
		close(s->stop_fd[i]);
		waitpid(s->pid[i], NULL, 0);
	}
}

static int idle_add(struct idle *s, int which, const struct sockaddr_in *addr, uint64_t n)
{
	int ret;

	s->pid[which] = start_clients(addr, n, &s->stop_fd[which], which ? s->stop_fd[0] : 0);
	if (s->pid[which] < 0)
		return errno;
	ret = accept_and_pop(s->listener, n);
	return ret ? ret : settle();
}

/* Processor time of a process that waits on @n idle connections. */
static int probe_idle(uint64_t n, const struct opts *o)
{
	static const struct timespec period = { IDLE_SECONDS, 0 };
	struct idle s = { 0 };
	struct timespec t0, t1;
	struct sockaddr_in addr;
	demi_qresult_t qr;
	double pct;
	int ret, got;

	raise_files(n);
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = listen_any(&s.listener, &addr);
	if (!ret)
		ret = idle_add(&s, 0, &addr, n);
	if (!ret) {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
		ret = demi_wait_next_n(&qr, 1, &got, &period);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
		ret = ret == ETIMEDOUT ? 0 : ret ? ret : EPROTO;
	}
	idle_end(&s);
	if (ret)
		return ret;
	pct = ((double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9) / IDLE_SECONDS * 100;
	return print_result(json_pack("{s:f}", "idle_cpu_pct", pct));
}

/* The library's memory for one idle socket: from 1,000 to 2,000 with one pop pending on each, by pages. */
static int probe_socket(uint64_t n, const struct opts *o)
{
	struct idle s = { 0 };
	struct sockaddr_in addr;
	long before = 0, after = 0;
	int ret;

	raise_files(2 * n);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* huge pages would hide growth or show too much */
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = listen_any(&s.listener, &addr);
	if (!ret)
		ret = idle_add(&s, 0, &addr, n);
	before = all_pages_kib();
	if (!ret)
		ret = idle_add(&s, 1, &addr, n);
	after = all_pages_kib();
	idle_end(&s);
	if (ret)
		return ret;
	return print_result(json_pack("{s:f}", "socket_bytes", (double)(after - before) * 1024 / (double)n));
}

struct ping {
	int in_fd, out_fd; /* exported queues */
	uint64_t want; /* sleeps of both together */
	struct ping *other;
	unsigned int seed;
	bool first; /* pushes first, and says when to end */
	atomic_ullong done; /* rounds */
	_Atomic uint64_t sleeps;
	atomic_int ret; /* -1: still running */
};

/* Between nothing and a few microseconds: so that the push meets the other's way into sleep at every point. */
static void jitter(unsigned int *seed)
{
	unsigned int i, n;

	*seed = *seed * 1664525 + 1013904223;
	n = (*seed >> 16) % 256;
	for (i = 0; i < n; i++)
		cpu_relax();
}

#define PING_LAST UINT64_MAX
#define PING_COUNT_EVERY 1024 /* rounds between two looks at the counter of sleeps */

static int ping_push(struct ping *p, int out, demi_sgarray_t *msg, uint64_t value)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret;

	memcpy(msg->sga_segs[0].sgaseg_buf, &value, sizeof(value));
	jitter(&p->seed);
	ret = demi_push(&qt, out, msg);
	return ret ? ret : demi_wait(&qr, qt, NULL);
}

static int ping_pop(int in, uint64_t *value)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret = demi_pop(&qt, in);

	if (!ret)
		ret = demi_wait(&qr, qt, NULL);
	if (ret)
		return ret;
	if (qr.qr_opcode != DEMI_OPC_POP)
		return EPROTO;
	memcpy(value, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(*value));
	return demi_sgafree(&qr.qr_value.sga);
}

/* One round: the first pushes and pops, the other pops and pushes what it got. */
static int ping_round(struct ping *p, int in, int out, demi_sgarray_t *msg, uint64_t *value)
{
	uint64_t got;
	int ret;

	if (!p->first) {
		ret = ping_pop(in, value);
		return ret ? ret : ping_push(p, out, msg, *value);
	}
	ret = ping_push(p, out, msg, *value);
	if (!ret)
		ret = ping_pop(in, &got);
	return ret ? ret : got == *value ? 0 : EBADMSG;
}

static int ping_loop(struct ping *p, int in, int out)
{
	demi_sgarray_t msg = demi_sgaalloc(sizeof(uint64_t));
	uint64_t i, sleeps, value = 0;
	int ret = msg.sga_numsegs ? 0 : ENOMEM;

	for (i = 1; value != PING_LAST && !ret; i++) {
		if (p->first)
			value = p->sleeps + p->other->sleeps >= p->want ? PING_LAST : i;
		ret = ping_round(p, in, out, &msg, &value);
		atomic_store_explicit(&p->done, i, memory_order_relaxed);
		if (i % PING_COUNT_EVERY == 0 && !demi_counter(&sleeps, "sleeps"))
			p->sleeps = sleeps;
	}
	if (!demi_counter(&sleeps, "sleeps"))
		p->sleeps = sleeps;
	return ret;
}

static void *ping_thread(void *arg)
{
	struct ping *p = arg;
	int in, out, ret = loop_init(0);

	if (!ret)
		ret = demi_queue_import(&in, p->in_fd);
	if (!ret)
		ret = demi_queue_import(&out, p->out_fd);
	if (!ret)
		ret = ping_loop(p, in, out);
	atomic_store(&p->ret, ret);
	return NULL;
}

/* Watch two threads until both are done. ETIMEDOUT: they stood still, so a wake-up was lost. */
static int watch(struct ping *a, struct ping *b)
{
	uint64_t last = 0, since = now_ns();

	while (atomic_load(&a->ret) < 0 || atomic_load(&b->ret) < 0) {
		uint64_t done = atomic_load(&a->done) + atomic_load(&b->done);

		if (interrupted)
			return EINTR;
		if (atomic_load(&a->ret) > 0 || atomic_load(&b->ret) > 0)
			break;
		if (done != last) {
			last = done;
			since = now_ns();
		} else if (now_ns() - since > STALL_SECONDS * NSEC_PER_SEC) {
			warnx("no progress for %d s after %llu rounds: a wake-up was lost", STALL_SECONDS,
			      (unsigned long long)done / 2);
			return ETIMEDOUT;
		}
		usleep(10000);
	}
	return atomic_load(&a->ret) > 0 ? atomic_load(&a->ret) : atomic_load(&b->ret) > 0 ? atomic_load(&b->ret) : 0;
}

/* @n sleeps of two threads, each ended by the other. */
static int probe_sleepwake(uint64_t n, const struct opts *o)
{
	static struct ping a, b;
	pthread_t ta, tb;
	int q1, q2, ret;

	ret = loop_init(0);
	if (!ret)
		ret = demi_queue(&q1);
	if (!ret)
		ret = demi_queue(&q2);
	if (!ret)
		ret = demi_queue_export(&a.out_fd, q1);
	if (!ret)
		ret = demi_queue_export(&a.in_fd, q2);
	if (ret)
		return ret;
	b.in_fd = a.out_fd;
	b.out_fd = a.in_fd;
	a.first = true;
	a.want = n;
	a.other = &b;
	a.seed = 1;
	b.seed = 2;
	atomic_store(&a.ret, -1);
	atomic_store(&b.ret, -1);
	ret = pthread_create(&ta, NULL, ping_thread, &a);
	if (!ret)
		ret = pthread_create(&tb, NULL, ping_thread, &b);
	if (!ret)
		ret = watch(&a, &b);
	if (ret)
		_exit(1); /* the threads hang: nothing of theirs can be taken down */
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
	return print_result(json_pack("{s:I}", "sleepwake_pairs", (json_int_t)a.sleeps + (json_int_t)b.sleeps));
}

static int run_probe(struct opts *o)
{
	static const struct {
		const char *what;
		uint64_t n;
		int (*fn)(uint64_t n, const struct opts *o);
	} probes[] = {
		{ "idle", 1000, probe_idle },
		{ "ctx", 0, probe_ctx },
		{ "socket", 1000, probe_socket },
		{ "sleepwake", 1000000, probe_sleepwake },
	};
	size_t i;
	int ret;

	for (i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		if (!o->nargs || strcmp(o->args[0], probes[i].what))
			continue;
		ret = probes[i].fn(o->nargs > 1 ? strtoull(o->args[1], NULL, 10) : probes[i].n, o);
		if (ret)
			warnx("%s: %s", o->args[0], strerror(ret));
		return ret != 0;
	}
	warnx("probe takes one of idle, ctx, socket, sleepwake; see demi-bench probe --help");
	return 64;
}

const struct command cmd_probe = {
	.name = "probe",
	.doc = "count instead of time, as JSON; WHAT is idle (CPU with N idle connections), ctx (KiB of a context), "
	       "socket (bytes of an idle connection), sleepwake (N sleeps without a lost wake-up)",
	.options = "a",
	.kinds = "",
	.run = run_probe,
};
