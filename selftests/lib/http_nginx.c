/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, timeout: 200 */
/* A small HTTP client on queues fetches from and sends to nginx (../inet/http.h). */
#include "inet/http.h"

static const struct http_hosts hosts[] = { { AF_INET, "127.0.0.1", "127.0.0.1" }, { AF_INET6, "::1", "::1" } };

int main(void)
{
	char nginx[HTTP_PATH];

	alarm(190);
	if (!http_program("nginx", nginx)) {
		printf("nginx is not installed\n");
		return 77;
	}
	check_seed();
	init_sockets();
	http_begin();
	for (int i = 0; i < 2; i++)
		http_nginx(nginx, &hosts[i]);
	http_end();
	return 0;
}
