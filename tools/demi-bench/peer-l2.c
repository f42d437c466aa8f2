/* SPDX-License-Identifier: MIT */
/*
 * The peer that is the limit of a device: frames go back as they came, their addresses swapped, without any stack. It
 * is a shared object beside the program, because it needs DPDK and the program does not.
 */
#include "side.h"

#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Beside the program where it is built, in ../lib/demi where it is installed. */
static void *open_object(void)
{
	static const char *const places[] = { "demi-bench-l2.so", "../lib/demi/demi-bench-l2.so" };
	char path[PATH_MAX], *name;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	void *so = NULL;

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	name = strrchr(path, '/') + 1;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !so; i++) {
		strcpy(name, places[i]);
		so = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	}
	return so;
}

static const struct side_kind *bare(void)
{
	static const struct side_kind *kind;
	void *so;

	if (kind)
		return kind;
	so = open_object();
	if (so)
		kind = dlsym(so, "demi_bench_l2");
	if (!kind)
		warnx("no demi-bench-l2.so: it is built where libdpdk-dev is installed");
	return kind;
}

static bool l2_can(enum over over, enum mode mode)
{
	return (over == OVER_TCP || over == OVER_UDP) && mode == MODE_ECHO;
}

static int l2_serve(struct side *s)
{
	return bare() ? bare()->serve(s) : -ENODEV;
}

static int l2_open(struct side *s, void **client)
{
	return bare() ? bare()->open(s, client) : -ENODEV;
}

static int l2_run(struct side *s, void *client)
{
	return bare()->run(s, client);
}

static void l2_close(struct side *s, void *client)
{
	bare()->close(s, client);
}

const struct side_kind side_l2 = {
	.name = "l2",
	.pins_itself = true,
	.can = l2_can,
	.serve = l2_serve,
	.open = l2_open,
	.run = l2_run,
	.close = l2_close,
};
