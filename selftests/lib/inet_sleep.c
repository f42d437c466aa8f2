/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* Waits sleep on the device's wake fd, and what comes between arming and sleeping is not slept through. */
#include "inet_test.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

#define PORT 7000

static void put_packet(void)
{
	uint8_t p[64];

	inject(p, udp4(p, 5, PORT, "wake", 4));
	dev->on_arm = NULL;
}

/* It comes when the thread is about to sleep: the poll after arming finds it, the fd stays silent. */
static void test_race(void)
{
	int qd = bound4(PORT);

	dev->on_arm = put_packet;
	pop_bytes(qd, "wake", 4);
	CHECK(dev->arms >= 1 && dev->arms == dev->disarms);
	OK(demi_close(qd));
}

static int timer_fd;

/* It comes later, and the device says so. The packet is there from then on: dev_rx() does not look at clocks. */
static void later(void)
{
	struct itimerspec its = { .it_value.tv_nsec = 20000000 };

	OK(timerfd_settime(timer_fd, 0, &its, NULL));
	dev->on_arm = NULL;
}

static int rx_when_due(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	uint64_t n;

	if (read(timer_fd, &n, sizeof(n)) == sizeof(n))
		put_packet();
	return dev_rx(d, pkts, max);
}

static void test_wake(void)
{
	uint64_t sleeps = counter("sleeps");
	int qd = bound4(PORT);

	dev->on_arm = later;
	dev_ops.rx = rx_when_due;
	pop_bytes(qd, "wake", 4);
	CHECK(counter("sleeps") > sleeps);
	dev_ops.rx = dev_rx;
	OK(demi_close(qd));
}

/* The device goes while the thread sleeps, or is about to. */
static void go(void)
{
	dev->gone = -ENODEV;
}

static void test_gone(void)
{
	int qd = bound4(PORT);
	demi_qresult_t qr;

	dev->on_arm = go;
	qr = wait_result(pop_start(qd));
	check_failed(&qr, ENODEV);
	OK(demi_close(qd));
}

/* A device that cannot wake is looked at all the same. */
static int rx_third_sleep(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	if (demi_ctx_self->count.sleeps >= 3 && dev->rx_tail == 0 && dev->on_arm)
		put_packet();
	return dev_rx(d, pkts, max);
}

static void test_no_fd(void)
{
	int qd = bound4(PORT);

	dev->on_arm = put_packet; /* not called: there is nothing to arm */
	dev_ops.rx = rx_third_sleep;
	pop_bytes(qd, "wake", 4);
	CHECK(counter("sleeps") >= 3 && dev->arms == 0);
	dev_ops.rx = dev_rx;
	OK(demi_close(qd));
}

int main(void)
{
	alarm(60);
	setenv("DEMI_SPIN_US", "0", 1);
	dev_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(dev_wake_fd >= 0);
	inet_run(test_race, 0);
	inet_run(test_gone, 0);
	OK(close(dev_wake_fd));
	timer_fd = dev_wake_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	CHECK(timer_fd >= 0);
	inet_run(test_wake, 0);
	OK(close(timer_fd));
	dev_wake_fd = -1;
	inet_run(test_no_fd, 0);
	return 0;
}
