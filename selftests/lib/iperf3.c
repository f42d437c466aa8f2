/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, timeout: 200 */
/* A client on queues sends to and receives from a server of iperf3 (../inet/iperf3.h). */
#include "inet/iperf3.h"

static const struct http_hosts hosts[] = { { AF_INET, "127.0.0.1", "127.0.0.1" }, { AF_INET6, "::1", "::1" } };

int main(void)
{
	char program[HTTP_PATH];

	alarm(190);
	if (!http_program("iperf3", program)) {
		printf("iperf3 is not installed\n");
		return 77;
	}
	check_seed();
	init_sockets();
	for (int i = 0; i < 2; i++)
		iperf3(program, &hosts[i]);
	return 0;
}
