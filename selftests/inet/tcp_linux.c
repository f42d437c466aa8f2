/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, threads, timeout: 180 */
/*
 * The stack against the kernel's TCP, over a TUN device: both open, both send, both close, also at once; with and
 * without segmentation by the device, with jumbo frames, with loss.
 */
#include "bulk.h"
#include "tun.h"

static struct bulk bulk = { .bytes = SLOW ? 2000000 : 20000000, .make = bulk_make, .came = bulk_came };

/* What the device lets through is made use of. */
static void check_mss(int qd)
{
	struct tcp_info i = { .tcpi_state = 0 };
	socklen_t len = sizeof(i);

	OK(demi_getsockopt(qd, IPPROTO_TCP, TCP_INFO, &i, &len));
	CHECK(i.tcpi_snd_mss >= (uint32_t)tun.mtu - 100 && i.tcpi_snd_mss < (uint32_t)tun.mtu);
}

static void await_state(int fd, uint8_t state)
{
	struct tcp_info i = { .tcpi_state = 0 };
	socklen_t len = sizeof(i);

	for (;;) {
		demi_qresult_t qr;
		int n;

		OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
		if (i.tcpi_state == state)
			return;
		demi_wait_next_n(&qr, 1, &n, &check_now); /* the stack's turn */
	}
}

/* Both have sent their FIN before they see the other's: the kernel is in CLOSING, and gets out of it. */
static void simultaneous_close(int domain)
{
	int listener = bulk_listen(domain), qd = bulk_connect(domain), conn = bulk_accept(listener);

	tun.deaf = true;
	OK(shutdown(conn, SHUT_WR));
	OK(demi_close(qd));
	await_state(conn, TCP_CLOSING);
	tun.deaf = false;
	await_state(conn, TCP_CLOSE); /* what is left is TIME-WAIT, and no socket's */
	close(conn);
}

static void refused(void)
{
	struct sockaddr_storage ss;
	socklen_t len = bulk_address(&ss, AF_INET, 1);
	demi_qtoken_t qt = 0;
	demi_qresult_t qr;
	int qd = -1;

	OK(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

static void *context(void *arg)
{
	int mode = (int)(intptr_t)arg;

	tun.mtu = mode == 2 ? 9000 : 1500;
	tun_init(mode == 1);
	tun.drop_every = mode == 3 ? 97 : 0;
	if (mode == 3)
		bulk.bytes /= 10;
	refused();
	bulk_run(&bulk, AF_INET, false, check_mss);
	bulk_run(&bulk, AF_INET, true, check_mss);
	bulk_run(&bulk, AF_INET6, false, check_mss);
	bulk_run(&bulk, AF_INET6, true, check_mss);
	if (mode < 2) {
		simultaneous_close(AF_INET);
		simultaneous_close(AF_INET6);
	}
	printf("mode %d: retransmitted %llu, timeouts %llu, recoveries %llu, spurious %llu, probes %llu\n", mode,
	       (unsigned long long)counter("TcpRetransSegs"), (unsigned long long)counter("TcpExtTCPTimeouts"),
	       (unsigned long long)counter("TcpExtTCPFastRecovery"),
	       (unsigned long long)counter("TcpExtTCPSpuriousRTOs"),
	       (unsigned long long)counter("TcpExtTCPLossProbes"));
	return NULL;
}

int main(void)
{
	alarm(170);
	setbuf(stdout, NULL);
	tun_unshare();
	for (int mode = 0; mode < 4; mode++) { /* plain, offloads, jumbo frames, loss */
		pthread_t t;

		OK(pthread_create(&t, NULL, context, (void *)(intptr_t)mode));
		OK(pthread_join(t, NULL));
	}
	return 0;
}
