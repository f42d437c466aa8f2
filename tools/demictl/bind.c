/* SPDX-License-Identifier: MIT */
/* demictl device bind, unbind: PCI functions come from their own driver to demi's, and go back. */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCI "/sys/bus/pci"
#define VIRTIO "demi_virtio"
#define NVME "demi_nvme"
#define CLASS_NVME 0x010802

/* Block devices of one controller that are looked at; no controller has that many. */
#define DISKS_MAX 1024

struct function {
	const char *name; /* 0000:01:00.0 */
	const char *ours; /* the driver that it gets */
	char driver[64]; /* empty: none */
	int *disks; /* its block devices, which nobody else can use while they are open */
	size_t ndisks;
};

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int write_function(const struct function *f, const char *attribute, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI "/devices/%s/%s", f->name, attribute);
	return write_file(path, text);
}

static const char *driver_for(const struct function *f)
{
	char path[PATH_MAX];
	unsigned int class = 0;
	FILE *file;

	snprintf(path, sizeof(path), PCI "/devices/%s/class", f->name);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%x", &class) != 1)
			class = 0;
		fclose(file);
	}
	return class == CLASS_NVME ? NVME : VIRTIO;
}

/* Who drives it now. -ENODEV: there is no such function. */
static int look(struct function *f)
{
	char path[PATH_MAX], link[PATH_MAX];
	const char *base;
	ssize_t n;

	snprintf(path, sizeof(path), PCI "/devices/%s", f->name);
	if (strchr(f->name, '/') || f->name[0] == '.' || access(path, F_OK))
		return -ENODEV;
	snprintf(path, sizeof(path), PCI "/devices/%s/driver", f->name);
	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = 0;
	base = strrchr(link, '/');
	snprintf(f->driver, sizeof(f->driver), "%s", base ? base + 1 : "");
	f->ours = driver_for(f);
	return 0;
}

/* Its network interface, if that is up: somebody uses it. */
static bool interface_up(const struct function *f, char *name)
{
	char pattern[PATH_MAX];
	bool up = false;
	glob_t found;
	size_t i;

	snprintf(pattern, sizeof(pattern), PCI "/devices/%s/virtio*/net/*/flags", f->name);
	if (glob(pattern, 0, NULL, &found))
		return false;
	for (i = 0; i < found.gl_pathc && !up; i++) {
		FILE *file = fopen(found.gl_pathv[i], "re");
		unsigned int flags = 0;

		if (!file)
			continue;
		up = fscanf(file, "%x", &flags) == 1 && flags & IFF_UP;
		fclose(file);
		*strrchr(found.gl_pathv[i], '/') = 0;
		snprintf(name, IFNAMSIZ, "%s", strrchr(found.gl_pathv[i], '/') + 1);
	}
	globfree(&found);
	return up;
}

static void disks_close(struct function *f)
{
	for (size_t i = 0; i < f->ndisks; i++)
		close(f->disks[i]);
	free(f->disks);
	f->disks = NULL;
	f->ndisks = 0;
}

/*
 * A path of a controller with several is hidden, nvme0c1n2 instead of nvme0n2, which is what there is in /dev. @name
 * has room for a sysfs name.
 */
static void disk_name(char *name)
{
	char *c = strchr(name, 'c'), *n = c ? strchr(c, 'n') : NULL;

	if (n)
		memmove(c, n, strlen(n) + 1);
}

static int disk_open(struct function *f, const char *sysfs, char *name, size_t room)
{
	char path[PATH_MAX];
	int fd;

	snprintf(name, room, "%s", strrchr(sysfs, '/') + 1);
	disk_name(name);
	snprintf(path, sizeof(path), "/dev/%s", name);
	/* as mount(2) and others do it, who have to be alone; and so none of them comes now */
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	f->disks[f->ndisks++] = fd;
	return 0;
}

/* Have all its block devices for ourselves. -EBUSY: one is mounted or held otherwise, @name. */
static int disks_open(struct function *f, char *name, size_t room)
{
	char pattern[PATH_MAX];
	glob_t found;
	int ret = 0;
	size_t i;

	snprintf(pattern, sizeof(pattern), PCI "/devices/%s/nvme/nvme*/nvme*n*", f->name);
	if (glob(pattern, 0, NULL, &found))
		return 0;
	f->disks = calloc(DISKS_MAX, sizeof(*f->disks));
	if (!f->disks)
		ret = -ENOMEM;
	for (i = 0; i < found.gl_pathc && i < DISKS_MAX && !ret; i++)
		ret = disk_open(f, found.gl_pathv[i], name, room);
	globfree(&found);
	if (ret)
		disks_close(f);
	return ret;
}

/* From the driver that it has to the one that it should have: @driver, or whoever takes it. */
static int change_driver(struct function *f, const char *driver)
{
	int ret = write_function(f, "driver_override", *driver ? driver : "\n");

	if (!ret && f->driver[0])
		ret = write_function(f, "driver/unbind", f->name);
	if (!ret)
		ret = write_file(PCI "/drivers_probe", f->name);
	(void)look(f);
	return ret;
}

static const char *hint_of(int err)
{
	switch (-err) {
	case EACCES:
	case EPERM:
		return "this takes root";
	case ENODEV:
		return "lspci -D shows what functions there are";
	default:
		return NULL;
	}
}

/* -ENOENT: our driver is not there. */
static int driver_is_there(const struct function *f)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI "/drivers/%s", f->ours);
	return access(path, F_OK) ? -ENOENT : 0;
}

static int take(struct ctl *c, struct function *f)
{
	char user[NAME_MAX + 1] = "";
	int ret;

	if (!strcmp(f->driver, f->ours))
		return 0;
	if (driver_is_there(f))
		return ctl_fail(c, -ENOENT,
				!strcmp(f->ours, NVME) ? "as root, modprobe " NVME : "as root, modprobe " VIRTIO,
				"driver %s", f->ours);
	if (interface_up(f, user))
		return ctl_fail(c, -EBUSY, "make sure that you do not need it, and: ip link set DEVICE down",
				"%s is the interface %s, which is up", f->name, user);
	ret = disks_open(f, user, sizeof(user));
	if (ret)
		return ctl_fail(c, ret, ret == -EBUSY ? "unmount it, or end whoever holds it" : hint_of(ret),
				"%s has the namespace %s", f->name, user);
	ret = change_driver(f, f->ours);
	disks_close(f);
	if (!strcmp(f->driver, f->ours))
		return 0;
	(void)change_driver(f, "");
	return ctl_fail(c, ret, ret == -EACCES ? hint_of(ret) : "the kernel's log (dmesg) tells why", "bind %s",
			f->name);
}

static int run_bind(struct ctl *c)
{
	struct demi_device_grant arg = { .size = sizeof(arg) };
	struct function f = { .name = c->o.args[0] };
	struct demi_device_info d;
	int ret = look(&f);

	if (ret)
		return ctl_fail(c, ret, hint_of(ret), "PCI function %s", f.name);
	ret = ctl_user(c, c->o.owner, &arg.uid);
	if (!ret)
		ret = take(c, &f);
	if (!ret)
		ret = ctl_device(c, f.name, &d);
	if (ret)
		return ret;
	arg.device_id = d.device_id;
	ret = demi_kdev_call(c->fd, DEMI_DEVICE_GRANT, &arg);
	return ret ? ctl_fail(c, ret, hint_of(ret), "grant %s", f.name) : 0;
}

static int run_unbind(struct ctl *c)
{
	struct function f = { .name = c->o.args[0] };
	int ret = look(&f);

	if (ret)
		return ctl_fail(c, ret, hint_of(ret), "PCI function %s", f.name);
	if (strcmp(f.driver, f.ours))
		return ctl_fail(c, 0, NULL, "%s is not %s's", f.name, f.ours);
	ret = change_driver(&f, "");
	return ret ? ctl_fail(c, ret, hint_of(ret), "unbind %s", f.name) : 0;
}

const struct command cmd_device_bind = {
	.name = "device bind",
	.args = "PCI-FUNCTION",
	.doc = "take a function from its driver, and let a user have it",
	.options = "O",
	.min_args = 1,
	.max_args = 1,
	.run = run_bind,
};

const struct command cmd_device_unbind = {
	.name = "device unbind",
	.args = "PCI-FUNCTION",
	.doc = "give a function back to its own driver, at once",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_unbind,
};
