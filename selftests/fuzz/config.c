// SPDX-License-Identifier: MIT
/* The configuration file: what is taken is within its limits, and the defaults stay where a file is refused. */
#include "input.h"

#include "lib/check.h"

#include "core/config.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[40];
	struct demi_config c;
	struct demi_config_yaml *y = NULL;

	if (fd < 0) {
		fd = memfd_create("config", MFD_CLOEXEC);
		CHECK(fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	memset(&c, 0, sizeof(c));
	if (!demi_config_yaml_open(&y, path)) {
		if (!demi_config_yaml_section(y, &c, "demi", false) &&
		    !demi_config_yaml_section(y, &c, "tcp_socket_options", true)) {
			CHECK(memchr(c.pipe_dir, 0, sizeof(c.pipe_dir)) != NULL);
			CHECK(c.backend <= DEMI_BACKEND_VIRTIO && c.engine <= DEMI_ENGINE_EPOLL);
			CHECK(c.tcp_linger_s <= INT32_MAX);
		}
	}
	demi_config_yaml_close(y);
	return 0;
}
