/* SPDX-License-Identifier: MIT */
/* The backend's table, and the choice of its engine. */
#include "uring/backend.h"

#include "core/config.h"
#include "core/log.h"
#include "uring/file.h"
#include "uring/sock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void backend_flush(struct demi_backend *b)
{
	struct demi_uring *u = (struct demi_uring *)b;
	struct demi_link *l;

	while ((l = u->tx.next) != &u->tx) {
		demi_link_del(l);
		demi_sock_flush(demi_container(l, struct demi_sock, tx_link));
	}
	while ((l = u->file_tx.next) != &u->file_tx) {
		demi_link_del(l);
		demi_file_flush(demi_container(l, struct demi_file, tx_link));
	}
	u->engine->submit(u);
}

static void backend_arm(struct demi_backend *b)
{
	struct demi_uring *u = (struct demi_uring *)b;

	u->engine->arm(u);
}

static void backend_disarm(struct demi_backend *b)
{
	struct demi_uring *u = (struct demi_uring *)b;

	u->engine->disarm(u);
}

static bool backend_busy(struct demi_backend *b)
{
	return ((struct demi_uring *)b)->draining != 0;
}

static void end_sock(struct demi_link *l)
{
	demi_sock_end(demi_container(l, struct demi_sock, all));
}

static void end_file(struct demi_link *l)
{
	demi_file_end(demi_container(l, struct demi_file, all));
}

static void abandon_sock(struct demi_link *l)
{
	demi_sock_abandon(demi_container(l, struct demi_sock, all));
}

static void abandon_file(struct demi_link *l)
{
	demi_file_abandon(demi_container(l, struct demi_file, all));
}

/* Call @fn for each; it takes them, and none but them, off the list or leaves them there. */
static void for_all(struct demi_link *head, void (*fn)(struct demi_link *l))
{
	struct demi_link *last = head->prev, *l = head->next;

	while (l != head) {
		bool end = l == last;
		struct demi_link *next = l->next;

		fn(l);
		if (end)
			return;
		l = next;
	}
}

static void backend_destroy(struct demi_backend *b)
{
	struct demi_uring *u = (struct demi_uring *)b;

	for_all(&u->socks, end_sock);
	for_all(&u->files, end_file);
	u->engine->exit(u);
	/* what the kernel has not given back: nobody will hear of it any more */
	for_all(&u->socks, abandon_sock);
	for_all(&u->files, abandon_file);
	demi_stream_cache_free(u);
	free(u);
}

static const struct demi_backend_ops ops = {
	.name = "uring",
	.flush = backend_flush,
	.arm = backend_arm,
	.disarm = backend_disarm,
	.busy = backend_busy,
	.destroy = backend_destroy,
	.socket = demi_sock_create,
	.open = demi_file_open,
};

static int try_engine(struct demi_uring *u, const struct demi_engine_ops *e)
{
	int err;

	u->engine = e;
	err = e->init(u);
	if (err)
		demi_info("%s: %s", e->name, strerror(-err));
	return err;
}

static int choose_engine(struct demi_uring *u)
{
	static atomic_flag warned = ATOMIC_FLAG_INIT;
	int err;

	if (demi_config.engine == DEMI_ENGINE_EPOLL)
		return try_engine(u, &demi_engine_epoll);
	err = try_engine(u, &demi_engine_uring);
	if (!err || demi_config.engine == DEMI_ENGINE_URING)
		return err;
	if (!atomic_flag_test_and_set(&warned))
		demi_warn("io_uring is not to be had here (%s): using epoll", strerror(-err));
	return try_engine(u, &demi_engine_epoll);
}

int demi_uring_create(struct demi_ctx *ctx, struct demi_backend **out)
{
	struct demi_uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->b.ops = &ops;
	u->b.ctx = ctx;
	demi_link_init(&u->socks);
	demi_link_init(&u->files);
	demi_link_init(&u->tx);
	demi_link_init(&u->file_tx);
	demi_link_init(&u->todo);
	err = choose_engine(u);
	if (err) {
		free(u);
		return err;
	}
	u->b.poll = u->engine->poll;
	*out = &u->b;
	return 0;
}
