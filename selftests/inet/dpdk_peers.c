/* SPDX-License-Identifier: MIT */
/* timeout: 180 */
/*
 * curl and nginx against the stack on a DPDK port, by AF_PACKET on a veth pair in a network namespace of the test's
 * own (http.h).
 */
#include "dpdk_net.h"
#include "http.h"

static const struct http_hosts hosts[] = { { AF_INET, "10.9.0.1", "10.9.0.2" }, { AF_INET6, "fd09::1", "fd09::2" } };

int main(void)
{
	char curl[HTTP_PATH], nginx[HTTP_PATH];
	bool has_curl, has_nginx;

	alarm(170);
	dpdk_or_skip();
	has_curl = http_program("curl", curl);
	has_nginx = http_program("nginx", nginx);
	if (!has_curl && !has_nginx) {
		printf("neither curl nor nginx is installed\n");
		return 77;
	}
	check_seed();
	own_network();
	veth();
	http_begin();
	for (int i = 0; i < 2; i++) {
		if (has_curl)
			http_curl(curl, &hosts[i]);
		if (has_nginx)
			http_nginx(nginx, &hosts[i]);
	}
	http_end();
	return 0;
}
