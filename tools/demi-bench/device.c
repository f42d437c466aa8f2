/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVER_IP "10.77.0.1"
#define CLIENT_IP "10.77.0.2"

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

/* A socket in the abstract name space, one for each side of each run: the parent is this run's. */
void device_dpdk_args(const struct side *s, bool server, char *args, size_t room)
{
	const char *own = getenv("DEMI_DPDK_ARGS");

	if (own && *own)
		snprintf(args, room, "%s", own);
	else
		snprintf(args, room,
			 "--no-huge -m 64 --no-shconf --no-pci --no-telemetry "
			 "--vdev=net_memif0,role=%s,socket=demi-bench-%d-%u,mac=02:00:00:00:00:0%d",
			 server ? "server" : "client", (int)getppid(), s->index, server ? 1 : 2);
}

int device_environment(const struct side *s, bool server)
{
	const struct device *d = s->opts->device;
	char args[1024];

	if (!d)
		return 0;
	if (setenv("DEMI_LIBOS", d->libos, 1))
		return -errno;
	if (!d->own_hosts)
		return 0;
	device_dpdk_args(s, server, args, sizeof(args));
	if ((!strcmp(d->name, "dpdk") && setenv("DEMI_DPDK_ARGS", args, 1)) ||
	    setenv("DEMI_INET_ADDR", server ? SERVER_IP "/24" : CLIENT_IP "/24", 0))
		return -errno;
	return 0;
}

bool device_address(const struct side *s, struct sockaddr_storage *ss, socklen_t *len)
{
	const struct device *d = s->opts->device;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	if (!d || !d->own_hosts)
		return false;
	memset(ss, 0, sizeof(*ss));
	in->sin_family = AF_INET;
	in->sin_port = htons(7);
	inet_pton(AF_INET, SERVER_IP, &in->sin_addr);
	*len = sizeof(*in);
	return true;
}
