/* SPDX-License-Identifier: MIT */
#include "device.h"

#include "function.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct device devices[] = {
	{ "ring", "ring", false },
	{ "dpdk", "dpdk", true },
	{ "virtio", "virtio", true },
	{ "nvme", NULL, false },
};

const struct device *device_find(const char *name)
{
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		if (!strcmp(devices[i].name, name))
			return &devices[i];
	return NULL;
}

bool device_has_blocks(const struct device *d)
{
	return !d->libos;
}

static const struct side_spec *spec_of(const struct side *s)
{
	return &s->opts->sides[s->index];
}

/* What libdemi runs on at this side; NULL: nothing of its own. */
static const struct device *device_of(const struct side *s)
{
	return strcmp(spec_of(s)->kind, "dpdk") ? s->opts->device : device_find("dpdk");
}

/* Each side has a network of its own, in case that all of them are one link. */
static void address_of(const struct side *s, bool server, char ip[16])
{
	snprintf(ip, 16, "10.77.%u.%d", s->index & 255, server ? 1 : 2);
}

static int check_side(const struct opts *o, const struct side_spec *spec)
{
	bool kernel = !strcmp(spec->kind, "kernel"), dpdk = !strcmp(spec->kind, "dpdk");

	if (spec->on && !kernel && !dpdk) {
		warnx("functions of their own have the sides kernel and dpdk: leave @%s away", spec->on);
		return -1;
	}
	if (!spec->on && (dpdk || (kernel && o->device && !strcmp(o->device->name, "virtio")))) {
		warnx("%s runs on two PCI functions that are one link: --vs %s@0000:03:00.0,0000:04:00.0%s", spec->kind,
		      spec->kind, kernel ? "; busy does the same on the loopback" : "");
		return -1;
	}
	if (!spec->on)
		return 0;
	if (o->load[0] || (spec->over != OVER_TCP && spec->over != OVER_UDP)) {
		warnx("%s on functions of its own is for tcp and udp, and has its own client", spec->kind);
		return -1;
	}
	return function_check(spec->kind, spec->on);
}

int device_check(const struct opts *o)
{
	unsigned int i, n;

	for (i = 0; i < o->nsides; i++)
		if (check_side(o, &o->sides[i]))
			return -1;
	n = function_count_ours();
	if (!o->device || strcmp(o->device->name, "virtio") || strcmp(o->sides[0].kind, "demi") || n > 1)
		return 0;
	warnx("--device virtio takes two virtio-net functions that are one link, and demi has %u. As root, for each:",
	      n);
	fprintf(stderr, "    demictl device bind 0000:01:00.0 --owner %u\n", (unsigned int)getuid());
	return -1;
}

/* A socket in the abstract name space, one for each side of each run: the parent is this run's. */
void device_dpdk_args(const struct side *s, bool server, char *args, size_t room)
{
	const char *own = getenv("DEMI_DPDK_ARGS"), *on = spec_of(s)->on;
	char function[FUNCTION_NAME];

	if (on && function_named(on, server, function))
		snprintf(args, room, "--no-huge -m 64 --no-shconf --no-telemetry -a %s", function);
	else if (own && *own)
		snprintf(args, room, "%s", own);
	else
		snprintf(args, room,
			 "--no-huge -m 64 --no-shconf --no-pci --no-telemetry "
			 "--vdev=net_memif0,role=%s,socket=demi-bench-%d-%u,mac=02:00:00:00:00:0%d",
			 server ? "server" : "client", (int)getppid(), s->index, server ? 1 : 2);
}

int device_environment(const struct side *s, bool server)
{
	const struct device *d = device_of(s);
	char args[1024], ip[16], addr[24];

	if (!d)
		return 0;
	/* what the library says when a device cannot be had is better than an error number */
	if (setenv("DEMI_LIBOS", d->libos, 1) || setenv("DEMI_LOG", "warn", 0))
		return -errno;
	if (!d->own_hosts)
		return 0;
	device_dpdk_args(s, server, args, sizeof(args));
	address_of(s, server, ip);
	snprintf(addr, sizeof(addr), "%s/24", ip);
	if ((!strcmp(d->name, "dpdk") && setenv("DEMI_DPDK_ARGS", args, 1)) || setenv("DEMI_INET_ADDR", addr, 1))
		return -errno;
	return 0;
}

int device_network(const struct side *s, bool server)
{
	const char *on = spec_of(s)->on;
	char function[FUNCTION_NAME], ip[16];

	if (!on || !function_named(on, server, function))
		return 0;
	address_of(s, server, ip);
	return function_enter(function, ip);
}

bool device_address(const struct side *s, struct sockaddr_storage *ss, socklen_t *len)
{
	const struct device *d = device_of(s);
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	char ip[16];

	if (!spec_of(s)->on && !(s->server->is_libdemi && d && d->own_hosts))
		return false;
	memset(ss, 0, sizeof(*ss));
	in->sin_family = AF_INET;
	in->sin_port = htons(7);
	address_of(s, true, ip);
	inet_pton(AF_INET, ip, &in->sin_addr);
	*len = sizeof(*in);
	return true;
}
