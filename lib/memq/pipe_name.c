// SPDX-License-Identifier: MIT
#include "memq/pipe_name.h"
#include "core/log.h"
#include "memq/pipe_fork.h"
#include "memq/pipe_path.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (256UL << 10)
#define ANSWER_MS 5000 /* that the thread of a live maker has for its answer */
#define ASKERS 16 /* connections of a name that wait, for more than microseconds only if something is wrong */
#define CONNECT_TRIES 500 /* 10 ms apart, while its backlog is full */

struct demi_pipe_name {
	struct demi_pipe_path path;
	int listener;
	int askers[ASKERS]; /* connections, -1: none */
	unsigned int turn; /* which of them is dropped for want of room */
	int offered; /* to which of them the offer has been sent, -1: to none */
	bool given;
	struct demi_pipe_offer offer; /* until it is given */
	struct demi_pipe_name *next;
};

/* The thread that answers. Made for the first name; who removes the last one ends it. */
struct server {
	int epoll_fd, stop_fd;
	pthread_t thread;
};

/* Protects all below, and of the names all but the path and the listener. Never held while anything blocks. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct demi_pipe_name *names;
static struct server *server;

static const struct timespec pause_10ms = { .tv_nsec = 10000000 };

static void set_given(struct demi_pipe_name *n)
{
	for (unsigned int i = 0; i < DEMI_PIPE_FDS; i++)
		demi_pipe_fork_close(n->offer.fds[i]);
	n->given = true;
}

static void hang_up(struct demi_pipe_name *n, int i)
{
	/* by itself it leaves the set only when nobody has it open, and a forked child may */
	epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, n->askers[i], NULL);
	demi_pipe_fork_close(n->askers[i]);
	n->askers[i] = -1;
	if (i == n->offered)
		n->offered = -1;
}

/*
 * What became of the offer that was sent? Who has received it ends the connection. If the kernel resets it, the
 * message was never read: nobody has the fds.
 */
static void settle(struct demi_pipe_name *n)
{
	ssize_t got;
	char c;

	if (n->offered < 0)
		return;
	got = recv(n->askers[n->offered], &c, sizeof(c), MSG_DONTWAIT);
	if (got < 0 && errno == EWOULDBLOCK)
		return;
	if (got >= 0 || errno != ECONNRESET)
		set_given(n);
	hang_up(n, n->offered);
}

static int place_for_asker(struct demi_pipe_name *n)
{
	int i;

	for (i = 0; i < ASKERS; i++) {
		if (n->askers[i] < 0)
			return i;
	}
	do {
		i = (int)(n->turn++ % ASKERS);
	} while (i == n->offered);
	hang_up(n, i);
	return i;
}

/* -errno: no connection could be taken, for want of descriptors or memory. */
static int take_asker(struct demi_pipe_name *n)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = n };
	int i, err, fd = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == EAGAIN || errno == ECONNABORTED ? 0 : -errno;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		err = -errno;
		close(fd);
		return err;
	}
	i = place_for_asker(n);
	n->askers[i] = fd;
	demi_pipe_fork_add(fd);
	return 0;
}

static void answer_asker(struct demi_pipe_name *n, int i)
{
	int err = demi_pipe_ask_recv(n->askers[i]);

	if (err == -EAGAIN)
		return;
	if (err == 0 || err == -EPROTO) {
		bool offer = !err && !n->given && n->offered < 0;

		err = demi_pipe_hello_send(n->askers[i], offer ? &n->offer : NULL);
		if (!err && offer) {
			n->offered = i;
			return;
		}
	}
	if (err)
		demi_info("pipe %s: no answer sent: %d", n->path.addr.sun_path, -err);
	hang_up(n, i);
}

/* Which of its sockets had the event does not matter, all are looked at. */
static int answer(struct demi_pipe_name *n)
{
	int err;

	settle(n); /* first: who asks now may have waited for it */
	err = take_asker(n);
	for (int i = 0; i < ASKERS; i++) {
		if (n->askers[i] >= 0 && i != n->offered)
			answer_asker(n, i);
	}
	return err;
}

/* @n is only an address: the name may have been removed since the event. */
static int answer_event(const struct demi_pipe_name *n)
{
	struct demi_pipe_name *i;
	int err = 0;

	pthread_mutex_lock(&lock);
	for (i = names; i && i != n; i = i->next)
		;
	if (i)
		err = answer(i);
	pthread_mutex_unlock(&lock);
	return err;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct epoll_event ev;
	int n;

	for (;;) {
		n = epoll_wait(s->epoll_fd, &ev, 1, -1);
		if (n <= 0)
			continue;
		if (!ev.data.ptr)
			return NULL;
		if (answer_event(ev.data.ptr)) /* it stays readable: do not spin on it */
			nanosleep(&pause_10ms, NULL);
	}
}

static int start_thread(struct server *s)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all); /* the program's handlers run in the program's threads */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&s->thread, &attr, serve, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return err ? -ENOMEM : 0;
}

static struct server *server_start(int *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	struct server *s = calloc(1, sizeof(*s));

	*err = -ENOMEM;
	if (!s)
		return NULL;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0) {
		*err = -errno;
		goto err_free;
	}
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->stop_fd < 0) {
		*err = -errno;
		goto err_epoll;
	}
	*err = epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->stop_fd, &ev) ? -errno : start_thread(s);
	if (*err)
		goto err_stop;
	return s;

err_stop:
	close(s->stop_fd);
err_epoll:
	close(s->epoll_fd);
err_free:
	free(s);
	return NULL;
}

/* Not under the lock: the thread may want it before it ends. */
static void server_stop(struct server *s)
{
	static const uint64_t one = 1;

	if (write(s->stop_fd, &one, sizeof(one)) != sizeof(one)) {
		demi_warn("pipe names: the thread cannot be stopped: %m");
		return;
	}
	pthread_join(s->thread, NULL);
	close(s->stop_fd);
	close(s->epoll_fd);
	free(s);
}

/* Drop the server with the last name; the caller stops what is returned, after it has released the lock. */
static struct server *server_unused(void)
{
	struct server *s = server;

	if (names)
		return NULL;
	server = NULL;
	return s;
}

static int watch(struct server *s, struct demi_pipe_name *n)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = n };

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, n->listener, &ev))
		return -errno;
	n->next = names;
	names = n;
	return 0;
}

static int publish(struct demi_pipe_name *n)
{
	struct server *unused = NULL;
	int err = 0;

	pthread_mutex_lock(&lock);
	if (!server)
		server = server_start(&err);
	if (server) {
		err = watch(server, n);
		if (err)
			unused = server_unused();
	}
	pthread_mutex_unlock(&lock);
	if (unused)
		server_stop(unused);
	return err;
}

int demi_pipe_name_create(struct demi_pipe_name **out, const char *name, const struct demi_pipe_offer *offer)
{
	struct demi_pipe_name *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	n->offer = *offer;
	n->offered = -1;
	for (unsigned int i = 0; i < ASKERS; i++)
		n->askers[i] = -1;
	err = demi_pipe_path_make(&n->path, name);
	if (err)
		goto err_free;
	n->listener = demi_pipe_path_listen(&n->path);
	if (n->listener < 0) {
		err = n->listener;
		goto err_free;
	}
	err = publish(n);
	if (err)
		goto err_path;
	demi_pipe_fork_add(n->listener);
	demi_pipe_fork_add(offer->fds[DEMI_PIPE_FD_CONTROL]);
	*out = n;
	return 0;

err_path:
	demi_pipe_path_unlink(&n->path);
	close(n->listener);
err_free:
	free(n);
	return err;
}

int demi_pipe_name_give(struct demi_pipe_name *n, int sock)
{
	int err = -EBUSY;

	pthread_mutex_lock(&lock);
	settle(n);
	if (!n->given && n->offered < 0) {
		err = demi_pipe_hello_send(sock, &n->offer);
		if (!err)
			set_given(n);
	}
	pthread_mutex_unlock(&lock);
	return err;
}

bool demi_pipe_name_remove(struct demi_pipe_name *n)
{
	struct demi_pipe_name **i;
	struct server *unused;
	bool given;

	demi_pipe_path_unlink(&n->path);
	pthread_mutex_lock(&lock);
	for (i = &names; *i != n; i = &(*i)->next)
		;
	*i = n->next;
	settle(n);
	given = n->given || n->offered >= 0; /* what was sent can be received although this end is closed */
	for (int a = 0; a < ASKERS; a++) {
		if (n->askers[a] >= 0)
			hang_up(n, a);
	}
	epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, n->listener, NULL);
	demi_pipe_fork_close(n->listener);
	if (!n->given)
		set_given(n);
	unused = server_unused();
	pthread_mutex_unlock(&lock);
	if (unused)
		server_stop(unused);
	free(n);
	return given;
}

void demi_pipe_name_abort(const struct demi_pipe_name *n)
{
	demi_pipe_path_unlink(&n->path);
}

static int connect_to(const struct demi_pipe_path *p)
{
	int fd, err;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; connect(fd, (const struct sockaddr *)&p->addr, sizeof(p->addr)); i++) {
		err = errno;
		if (err != EAGAIN || i == CONNECT_TRIES) {
			close(fd);
			return err == EAGAIN ? -ETIMEDOUT : err == EPROTOTYPE ? -EPROTO : -err;
		}
		nanosleep(&pause_10ms, NULL);
	}
	return fd;
}

/* On the connection @fd. */
static int ask(int fd, struct demi_pipe_offer *offer)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int err, n;

	err = demi_pipe_ask_send(fd);
	if (err)
		return err;
	do {
		n = poll(&pfd, 1, ANSWER_MS);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	err = demi_pipe_hello_recv(fd, offer);
	if (!err)
		shutdown(fd, SHUT_RDWR); /* the maker learns that it is taken although a forked child may hold it */
	return err;
}

int demi_pipe_name_open(const char *name, struct demi_pipe_offer *offer)
{
	struct demi_pipe_path path;
	int err, fd;

	err = demi_pipe_path_make(&path, name);
	if (err)
		return err;
	fd = connect_to(&path);
	if (fd < 0)
		return fd;
	err = ask(fd, offer);
	close(fd);
	return err == -EPIPE || err == -ECONNRESET ? -ECONNREFUSED : err; /* it died before it answered */
}
