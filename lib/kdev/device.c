/* SPDX-License-Identifier: MIT */
/* Devices and registered memory. */
#include "kdev/kdev.h"

#include <errno.h>
#include <stdlib.h>

int demi_kdev_device_info(int fd, uint32_t device_id, struct demi_device_info *info)
{
	*info = (struct demi_device_info){ .size = sizeof(*info), .device_id = device_id };
	return demi_kdev_call(fd, DEMI_DEVICE_INFO, info);
}

int demi_kdev_device_find(int fd, enum demi_device_kind kind, struct demi_device_info *info)
{
	uint32_t *ids, count, i;
	int ret;

	ret = demi_kdev_ids(fd, DEMI_DEVICE_LIST, &ids, &count);
	if (ret)
		return ret;
	ret = -ENODEV;
	for (i = 0; i < count && ret; i++)
		if (!demi_kdev_device_info(fd, ids[i], info) && info->kind == kind)
			ret = 0;
	free(ids);
	return ret;
}

int demi_kdev_region_register(int fd, void *addr, size_t len_bytes, uint32_t *region_id)
{
	struct demi_region_register arg = { .size = sizeof(arg), .addr = (uintptr_t)addr, .length_bytes = len_bytes };
	int ret = demi_kdev_call(fd, DEMI_REGION_REGISTER, &arg);

	if (!ret)
		*region_id = arg.region_id;
	return ret;
}

void demi_kdev_region_unregister(int fd, uint32_t region_id)
{
	struct demi_region_unregister arg = { .size = sizeof(arg), .region_id = region_id };

	(void)demi_kdev_call(fd, DEMI_REGION_UNREGISTER, &arg);
}
