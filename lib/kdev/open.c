/* SPDX-License-Identifier: MIT */
/* The device's file, and what to do when it cannot be opened. */
#include "kdev/kdev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

int demi_kdev_call(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) < 0 ? -errno : 0;
}

int demi_kdev_open(struct demi_get_info *info)
{
	struct demi_get_info mine = { .size = sizeof(mine) };
	int fd, ret;

	fd = open(DEMI_KDEV_PATH, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = demi_kdev_call(fd, DEMI_GET_INFO, &mine);
	if (!ret && mine.abi != DEMI_ABI_VERSION)
		ret = -EPROTONOSUPPORT;
	if (ret) {
		close(fd);
		return ret;
	}
	if (info)
		*info = mine;
	return fd;
}

const char *demi_kdev_hint(int err)
{
	switch (-err) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return "the module is not loaded: as root, modprobe demi (or, from the source tree, insmod "
		       "kmod/demi.ko)";
	case EACCES:
		return "not for this user: as root, adduser USER demi, and log in again; or load the module with "
		       "mode=0666";
	case EPERM:
		return "refused by the policy of a container or of its devices: pass " DEMI_KDEV_PATH " into it";
	case ENOTTY:
	case EPROTONOSUPPORT:
		return "the module is of another version than this program: install both from the same release";
	case EDQUOT:
		return "too many open contexts of this user: see demictl info and the module's parameters";
	default:
		return NULL;
	}
}
