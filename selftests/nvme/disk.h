/* SPDX-License-Identifier: MIT */
/* The disks of the machine's controller while the kernel's own driver has it. */
#ifndef DEMI_SELFTESTS_NVME_DISK_H
#define DEMI_SELFTESTS_NVME_DISK_H

#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Is this a disk of the kernel's with this namespace? */
static inline bool has_namespace(const char *sysfs, int nsid)
{
	char path[256];
	int id = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/nsid", sysfs);
	f = fopen(path, "re");
	if (f && fscanf(f, "%d", &id) != 1)
		id = 0;
	if (f)
		fclose(f);
	return id == nsid;
}

/* A path of a controller with several is hidden: nvme0c1n2 for /dev/nvme0n2. */
static inline void disk_name(const char *sysfs, char *path, size_t room)
{
	const char *name = strrchr(sysfs, '/') + 1, *c = strchr(name, 'c'), *n = strrchr(name, 'n');

	snprintf(path, room, "/dev/%.*s%s", (int)((c ? c : n) - name), name, n);
}

/* The namespace's name in /dev, once it can be opened; its number among the kernel's disks need not be @nsid. */
static inline bool disk_path(int nsid, char *path, size_t room)
{
	char pattern[128];
	glob_t found;
	int fd = -1;

	snprintf(pattern, sizeof(pattern), "/sys/bus/pci/devices/%s/nvme/nvme*/nvme*n*", getenv("DEMI_NVME_PCI"));
	if (glob(pattern, 0, NULL, &found))
		return false;
	for (size_t i = 0; i < found.gl_pathc && fd < 0; i++) {
		if (!has_namespace(found.gl_pathv[i], nsid))
			continue;
		disk_name(found.gl_pathv[i], path, room);
		/* it has a name a little before it can be opened */
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	globfree(&found);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

#endif /* DEMI_SELFTESTS_NVME_DISK_H */
