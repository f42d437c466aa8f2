/* SPDX-License-Identifier: MIT */
#include "proc.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 120000 /* who dies is heard of at once */
#define HIST_HIGHEST (60 * NSEC_PER_SEC)
#define HIST_FIGURES 3

volatile sig_atomic_t interrupted;

/* In a child: its control socket, its side, and what ends the wait it may be in. */
static int child_fd = -1;
static struct side *child_side;
static void (*child_stop_fn)(void);

static void on_interrupt(int sig)
{
	interrupted = sig;
}

void catch_interrupts(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND }; /* the second one kills */

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sa = (struct sigaction){ .sa_handler = SIG_IGN };
	sigaction(SIGPIPE, &sa, NULL);
}

int pin_cpu(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	if (cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

int side_pin(struct side *s, bool server)
{
	return pin_cpu(s->opts->cpus[server ? 0 : 1]);
}

static void futex(atomic_int *word, int op, int value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

void side_park(struct side *s)
{
	while (!atomic_load(&s->active) && !side_stopped(s))
		futex(&s->active, FUTEX_WAIT, 0);
}

void side_on_stop(void (*fn)(void))
{
	child_stop_fn = fn;
}

/* SIGTERM from the program: its only use is to end the wait that the server may be in. */
static void on_stop(int sig)
{
	int saved = errno;

	atomic_store(&child_side->stop, 1);
	atomic_store(&child_side->active, 1); /* side_park() ends whether it sleeps already or is about to */
	if (child_stop_fn)
		child_stop_fn();
	errno = saved;
}

void side_ready(struct side *s)
{
	if (write(child_fd, "r", 1) != 1)
		err(1, "control socket");
}

static int client_loop(struct side *s)
{
	void *client = NULL;
	char c;
	int ret = s->client->open(s, &client);

	if (ret)
		return ret;
	side_ready(s);
	while (read(child_fd, &c, 1) == 1) {
		uint64_t t0 = now_ns();

		ret = s->client->run(s, client);
		s->slice.ns = now_ns() - t0;
		s->slice.err = -ret;
		if (write(child_fd, "d", 1) != 1)
			break;
	}
	s->client->close(s, client);
	return 0;
}

static _Noreturn void child_main(struct side *s, bool server, int fd, pid_t parent)
{
	const struct side_kind *kind = server ? s->server : s->client;
	struct sigaction sa = { .sa_handler = on_stop };
	int ret;

	child_fd = fd;
	child_side = s;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigaction(SIGTERM, &sa, NULL);
	sa.sa_handler = SIG_IGN; /* the terminal's ^C goes to all: the program ends its children itself */
	sigaction(SIGINT, &sa, NULL);
	ret = kind->pins_itself ? 0 : side_pin(s, server);
	if (ret)
		errx(1, "cannot run on CPU %d (--cpus): %s", s->opts->cpus[server ? 0 : 1], strerror(-ret));
	ret = server ? kind->serve(s) : client_loop(s);
	if (ret && !side_stopped(s))
		warnx("the %s of %s failed: %s", server ? "server" : "client", kind->name, strerror(-ret));
	exit(ret != 0 && !side_stopped(s));
}

static int child_start(struct run *r, struct child *c, struct side *s, bool server)
{
	pid_t parent = getpid();
	int fds[2], i;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;
	fflush(NULL);
	c->pid = fork();
	if (c->pid < 0) {
		int ret = -errno;

		close(fds[0]);
		close(fds[1]);
		return ret;
	}
	if (!c->pid) {
		close(fds[0]);
		for (i = 0; i < MAX_SIDES; i++) {
			if (r->server[i].fd >= 0)
				close(r->server[i].fd);
			if (r->client[i].fd >= 0)
				close(r->client[i].fd);
		}
		child_main(s, server, fds[1], parent);
	}
	close(fds[1]);
	c->fd = fds[0];
	if (clock_getcpuclockid(c->pid, &c->cpu))
		c->cpu = -1;
	return 0;
}

/* One byte from a child. -ETIMEDOUT, -EINTR (interrupted), -ECHILD (it has ended). */
static int child_hear(struct child *c, int timeout_ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	char b;
	int n;

	n = poll(&p, 1, timeout_ms);
	if (n < 0)
		return -errno;
	if (!n)
		return -ETIMEDOUT;
	return read(c->fd, &b, 1) == 1 ? 0 : -ECHILD;
}

/* Ask a child to end, wait a little, then end it. */
static void child_end(struct child *c, bool server)
{
	uint64_t give_up = now_ns() + 3 * NSEC_PER_SEC;
	bool killed = false;

	if (c->pid <= 0)
		return;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (server)
		kill(c->pid, SIGTERM);
	for (;;) {
		pid_t pid = waitpid(c->pid, NULL, WNOHANG);

		if (pid == c->pid || (pid < 0 && errno != EINTR))
			break;
		if (!killed && now_ns() > give_up) {
			warnx("a %s did not end by itself and was killed", server ? "server" : "client");
			kill(c->pid, SIGKILL);
			killed = true;
		}
		usleep(1000);
	}
	c->pid = 0;
}

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct hist *make_hist(void)
{
	struct hist *h = shared(hist_bytes(HIST_HIGHEST, HIST_FIGURES));

	if (h)
		hist_init(h, HIST_HIGHEST, HIST_FIGURES);
	return h;
}

static int side_make(struct run *r, unsigned int i)
{
	const struct opts *o = r->opts;
	struct side *s = shared(sizeof(*s));

	if (!s)
		return -ENOMEM;
	r->sides[i] = s;
	s->opts = o;
	s->index = i;
	s->mode = r->mode;
	s->over = o->sides[i].over;
	s->server = side_kind_find(o->sides[i].kind);
	s->client = o->load[0] ? side_kind_find(o->load) : s->server;
	if (!s->server || !s->client)
		return -EINVAL;
	if (!s->server->can(s->over, s->mode) || !s->client->can(s->over, s->mode)) {
		warnx("%s cannot run over %s: choose another --over or give the peer its own, as in --vs epoll:tcp",
		      s->server->can(s->over, s->mode) ? s->client->name : s->server->name, over_name(s->over));
		return -EOPNOTSUPP;
	}
	snprintf(s->path, sizeof(s->path), "%s/%u", r->dir, i);
	s->hist = make_hist();
	s->total = make_hist();
	if (!s->hist || !s->total)
		return -ENOMEM;
	if (s->server->shm_bytes) {
		s->shm = shared(s->server->shm_bytes(o));
		if (!s->shm)
			return -ENOMEM;
	}
	return 0;
}

static int side_start(struct run *r, unsigned int i)
{
	struct side *s = r->sides[i];
	int ret = child_start(r, &r->server[i], s, true);

	if (ret)
		return ret;
	ret = child_hear(&r->server[i], READY_TIMEOUT_MS);
	if (ret) {
		warnx("the %s server did not start: %s", s->server->name, strerror(-ret));
		return ret;
	}
	atomic_store(&s->active, 1); /* servers that park shall accept */
	futex(&s->active, FUTEX_WAKE, 1);
	ret = child_start(r, &r->client[i], s, false);
	if (!ret)
		ret = child_hear(&r->client[i], READY_TIMEOUT_MS);
	if (ret)
		warnx("the %s client did not start: %s", s->client->name, strerror(-ret));
	atomic_store(&s->active, 0);
	return ret;
}

int run_start(struct run *r, const struct opts *o, enum mode mode)
{
	const char *tmp = getenv("TMPDIR");
	unsigned int i;
	int ret;

	memset(r, 0, sizeof(*r));
	r->opts = o;
	r->mode = mode;
	for (i = 0; i < MAX_SIDES; i++)
		r->server[i].fd = r->client[i].fd = -1;
	snprintf(r->dir, sizeof(r->dir), "%s/demi-bench.XXXXXX", tmp && strlen(tmp) < 64 ? tmp : "/tmp");
	if (!mkdtemp(r->dir)) {
		ret = -errno;
		r->dir[0] = 0;
		warnx("no folder in %s: %s", tmp ? tmp : "/tmp", strerror(-ret));
		return ret;
	}
	r->nsides = o->nsides;
	for (i = 0; i < r->nsides; i++) {
		ret = side_make(r, i);
		if (ret)
			return ret;
	}
	for (i = 0; i < r->nsides; i++) {
		ret = side_start(r, i);
		if (ret)
			return ret;
	}
	return 0;
}

static uint64_t cpu_ns(const struct child *c)
{
	struct timespec ts;

	if (clock_gettime(c->cpu, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

int run_slice(struct run *r, unsigned int i, uint64_t max_ns, uint64_t max_ops)
{
	struct side *s = r->sides[i];
	uint64_t server0 = cpu_ns(&r->server[i]), client0 = cpu_ns(&r->client[i]);
	int ret;

	s->slice = (struct slice){ .max_ns = max_ns, .max_ops = max_ops };
	hist_reset(s->hist);
	atomic_store(&s->active, 1);
	futex(&s->active, FUTEX_WAKE, 1);
	if (write(r->client[i].fd, "g", 1) != 1)
		return -ECHILD;
	ret = child_hear(&r->client[i], max_ns ? (int)(max_ns / 1000000) + 20000 : -1);
	if (ret != -EINTR) /* else the client is in the middle of the slice and needs its server to get to the end */
		atomic_store(&s->active, 0);
	if (ret == -ETIMEDOUT)
		warnx("%s: a slice did not end", s->client->name);
	if (ret == -ECHILD)
		warnx("%s: a process ended during a slice", s->client->name);
	if (ret)
		return ret;
	s->server_use.cpu_ns = cpu_ns(&r->server[i]) - server0;
	s->client_use.cpu_ns = cpu_ns(&r->client[i]) - client0;
	if (s->slice.err)
		warnx("%s: the client failed: %s", s->client->name, strerror(s->slice.err));
	return -s->slice.err;
}

void run_end(struct run *r)
{
	unsigned int i;

	for (i = 0; i < r->nsides; i++) {
		if (!r->sides[i])
			continue;
		child_end(&r->client[i], false);
		atomic_store(&r->sides[i]->stop, 1);
		atomic_store(&r->sides[i]->active, 1);
		futex(&r->sides[i]->active, FUTEX_WAKE, 1);
		child_end(&r->server[i], true);
		unlink(r->sides[i]->path);
	}
	if (r->dir[0])
		rmdir(r->dir);
	r->dir[0] = 0;
}

void run_free(struct run *r)
{
	size_t bytes = hist_bytes(HIST_HIGHEST, HIST_FIGURES);
	unsigned int i;

	for (i = 0; i < r->nsides; i++) {
		struct side *s = r->sides[i];

		if (!s)
			continue;
		if (s->hist)
			munmap(s->hist, bytes);
		if (s->total)
			munmap(s->total, bytes);
		if (s->shm)
			munmap(s->shm, s->server->shm_bytes(r->opts));
		munmap(s, sizeof(*s));
	}
}
