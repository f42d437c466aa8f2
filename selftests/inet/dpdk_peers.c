/* SPDX-License-Identifier: MIT */
/* timeout: 180 */
/*
 * curl, nginx and iperf3 against the stack on a DPDK port, by AF_PACKET on a veth pair in a network namespace of the
 * test's own (http.h, iperf3.h).
 */
#include "dpdk_net.h"
#include "iperf3.h"

static const struct http_hosts hosts[] = { { AF_INET, "10.9.0.1", "10.9.0.2" }, { AF_INET6, "fd09::1", "fd09::2" } };

int main(void)
{
	char curl[HTTP_PATH], nginx[HTTP_PATH], iperf[HTTP_PATH];
	bool has_curl, has_nginx, has_iperf;

	alarm(170);
	dpdk_or_skip();
	has_curl = http_program("curl", curl);
	has_nginx = http_program("nginx", nginx);
	has_iperf = http_program("iperf3", iperf);
	if (!has_curl && !has_nginx && !has_iperf) {
		printf("none of curl, nginx, iperf3 is installed\n");
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
		if (has_iperf)
			iperf3(iperf, &hosts[i]);
	}
	http_end();
	return 0;
}
