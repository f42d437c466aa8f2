/* SPDX-License-Identifier: MIT */
#include "function.h"

#include <err.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCI "/sys/bus/pci"

bool function_named(const char *pair, bool server, char name[FUNCTION_NAME])
{
	size_t first = strcspn(pair, ","), len = server ? first : strlen(pair + first) - 1;

	if (!pair[first] || strchr(pair + first + 1, ',') || strchr(pair, '/') || !len || len >= FUNCTION_NAME)
		return false;
	snprintf(name, FUNCTION_NAME, "%.*s", (int)len, server ? pair : pair + first + 1);
	return true;
}

/* The last part of what a link of the function's points to; empty: there is none. */
static void link_of(const char *name, const char *link, char *to, size_t room)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *base;
	ssize_t n;

	snprintf(path, sizeof(path), PCI "/devices/%s/%s", name, link);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	base = strrchr(target, '/');
	snprintf(to, room, "%s", base ? base + 1 : "");
}

static bool interface_in(const char *name, const char *folder, char interface[IFNAMSIZ])
{
	char pattern[PATH_MAX];
	glob_t found;

	snprintf(pattern, sizeof(pattern), PCI "/devices/%s/%s/*", name, folder);
	if (glob(pattern, 0, NULL, &found))
		return false;
	snprintf(interface, IFNAMSIZ, "%s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	return true;
}

bool function_interface(const char *name, char interface[IFNAMSIZ])
{
	return interface_in(name, "virtio*/net", interface) || interface_in(name, "net", interface);
}

static bool interface_up(const char *interface)
{
	char path[PATH_MAX];
	unsigned int flags = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/flags", interface);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%x", &flags) != 1)
			flags = 0;
		fclose(f);
	}
	return flags & IFF_UP;
}

/* What leads from @driver to vfio-pci, or to the function's own. */
static void say_how(const char *name, const char *driver, bool vfio)
{
	if (!strncmp(driver, "demi_", 5))
		fprintf(stderr, "    demictl device unbind %s\n", name);
	if (!strncmp(driver, "demi_", 5) && !vfio)
		return;
	if (vfio)
		fprintf(stderr, "    modprobe vfio-pci\n");
	fprintf(stderr, "    cd " PCI "/devices/%s && echo %s>driver_override\n", name, vfio ? "vfio-pci " : "");
	if (*driver)
		fprintf(stderr, "    echo %s >driver/unbind\n", name);
	fprintf(stderr, "    echo %s >" PCI "/drivers_probe\n", name);
}

static int check_kernel(const char *name, const char *driver)
{
	char interface[IFNAMSIZ];

	if (!function_interface(name, interface)) {
		warnx("%s has the driver %s, and no interface of the kernel's. As root:", name,
		      *driver ? driver : "none");
		say_how(name, driver, false);
		return -1;
	}
	if (interface_up(interface)) {
		warnx("%s is %s, which is up. If nobody needs it, as root:", name, interface);
		fprintf(stderr, "    ip link set %s down\n", interface);
		return -1;
	}
	return 0;
}

static int check_dpdk(const char *name, const char *driver)
{
	char interface[IFNAMSIZ], group[32], path[64];

	if (strcmp(driver, "vfio-pci")) {
		warnx("%s has the driver %s instead of vfio-pci. As root:", name, *driver ? driver : "none");
		if (function_interface(name, interface) && interface_up(interface))
			fprintf(stderr, "    ip link set %s down    # if nobody needs it\n", interface);
		say_how(name, driver, true);
		return -1;
	}
	link_of(name, "iommu_group", group, sizeof(group));
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	if (access(path, R_OK | W_OK)) {
		warnx("%s is behind %s, which you may not open. As root:", name, path);
		fprintf(stderr, "    chown %u %s\n", (unsigned int)getuid(), path);
		return -1;
	}
	return 0;
}

static int check_one(const char *kind, const char *name)
{
	char path[PATH_MAX], driver[64];

	snprintf(path, sizeof(path), PCI "/devices/%s/vendor", name);
	if (access(path, F_OK)) {
		warnx("there is no PCI function %s; lspci -D shows what there is", name);
		return -1;
	}
	link_of(name, "driver", driver, sizeof(driver));
	return strcmp(kind, "dpdk") ? check_kernel(name, driver) : check_dpdk(name, driver);
}

int function_check(const char *kind, const char *pair)
{
	char server[FUNCTION_NAME], client[FUNCTION_NAME];

	if (!function_named(pair, true, server) || !function_named(pair, false, client) || !strcmp(server, client)) {
		warnx("%s@ takes two PCI functions that are one link, as in --vs %s@0000:03:00.0,0000:04:00.0", kind,
		      kind);
		return -1;
	}
	return check_one(kind, server) || check_one(kind, client) ? -1 : 0;
}

unsigned int function_count_ours(void)
{
	unsigned int n;
	glob_t found;

	if (glob(PCI "/drivers/demi_virtio/*:*:*", 0, NULL, &found))
		return 0;
	n = (unsigned int)found.gl_pathc;
	globfree(&found);
	return n;
}
