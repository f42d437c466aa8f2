/* SPDX-License-Identifier: MIT */
/* Sleeping: the port's receive interrupt, and a timer beside it for what has none. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <rte_interrupts.h>
#include <rte_log.h>

/* Until the next look at packets that have not left. */
#define SOON_NS 50000

static int add(int epoll_fd, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

/* Does the port have interrupts that can be turned on and off? That it has none is no error to tell of. */
static int interrupts_init(struct demi_dpdk_dev *dd)
{
	uint32_t level = rte_log_get_global_level();
	int ret;

	rte_log_set_global_level(RTE_LOG_CRIT);
	ret = rte_eth_dev_rx_intr_ctl_q(dd->port, 0, dd->rx_epoll_fd, RTE_INTR_EVENT_ADD, NULL);
	if (!ret)
		ret = rte_eth_dev_rx_intr_enable(dd->port, 0);
	if (!ret)
		ret = rte_eth_dev_rx_intr_disable(dd->port, 0);
	rte_log_set_global_level(level);
	return ret ? -ENOTSUP : 0;
}

int demi_dpdk_wake_init(struct demi_dpdk_dev *dd)
{
	int ret;

	dd->dev.wake_fd = -1;
	dd->timer_fd = -1;
	dd->rx_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (dd->rx_epoll_fd < 0)
		return -errno;
	ret = interrupts_init(dd);
	if (ret)
		goto err;
	dd->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	dd->dev.wake_fd = epoll_create1(EPOLL_CLOEXEC);
	ret = dd->timer_fd < 0 || dd->dev.wake_fd < 0 ? -errno : 0;
	if (!ret)
		ret = add(dd->dev.wake_fd, dd->timer_fd);
	if (!ret)
		ret = add(dd->dev.wake_fd, dd->rx_epoll_fd);
	if (!ret)
		return 0;
err:
	demi_dpdk_wake_destroy(dd);
	return ret;
}

void demi_dpdk_wake_destroy(struct demi_dpdk_dev *dd)
{
	if (dd->dev.wake_fd >= 0)
		close(dd->dev.wake_fd);
	if (dd->timer_fd >= 0) /* there are interrupts */
		rte_eth_dev_rx_intr_ctl_q(dd->port, 0, dd->rx_epoll_fd, RTE_INTR_EVENT_DEL, NULL);
	if (dd->timer_fd >= 0)
		close(dd->timer_fd);
	if (dd->rx_epoll_fd >= 0)
		close(dd->rx_epoll_fd);
	dd->dev.wake_fd = dd->timer_fd = dd->rx_epoll_fd = -1;
}

static void set_timer(struct demi_dpdk_dev *dd, long ns)
{
	struct itimerspec t = { .it_value.tv_nsec = ns };

	if (timerfd_settime(dd->timer_fd, 0, &t, NULL))
		demi_dpdk_log(DEMI_LOG_WARN, "timer: %m");
}

void demi_dpdk_wake_soon(struct demi_dpdk_dev *dd)
{
	if (dd->timer_fd >= 0)
		set_timer(dd, SOON_NS);
}

int demi_dpdk_arm(struct demi_pktdev *d)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);
	int ret;

	if (dd->timer_fd < 0)
		return 0;
	dd->armed = true;
	ret = rte_eth_dev_rx_intr_enable(dd->port, 0);
	if (ret || dd->out_n || dd->held_n || dd->refs_flying)
		demi_dpdk_wake_soon(dd);
	return 0;
}

void demi_dpdk_disarm(struct demi_pktdev *d)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);
	struct rte_epoll_event ev;

	if (dd->timer_fd < 0)
		return;
	dd->armed = false;
	rte_eth_dev_rx_intr_disable(dd->port, 0);
	while (rte_epoll_wait(dd->rx_epoll_fd, &ev, 1, 0) > 0)
		;
	set_timer(dd, 0); /* disarmed, and not readable any more */
}
