/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, timeout: 200 */
/* curl fetches from and sends to a small HTTP server on queues (../inet/http.h). */
#include "inet/http.h"

static const struct http_hosts hosts[] = { { AF_INET, "127.0.0.1", "127.0.0.1" }, { AF_INET6, "::1", "::1" } };

int main(void)
{
	char curl[HTTP_PATH];

	alarm(190);
	if (!http_program("curl", curl)) {
		printf("curl is not installed\n");
		return 77;
	}
	check_seed();
	init_sockets();
	http_begin();
	for (int i = 0; i < 2; i++)
		http_curl(curl, &hosts[i]);
	http_end();
	return 0;
}
