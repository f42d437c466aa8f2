// SPDX-License-Identifier: GPL-2.0
/*
 * Back-pressure: a queue whose reservation's send buffer is full waits in the wait queue of the
 * reservation's socket. Packets in flight refer to the socket and outlive the reservation, so
 * nothing of this module may be left in it: no callback, only entries that leave before it goes.
 *
 * w->head says whose wait queue the entry is in. It is cleared, as the last thing, by whoever
 * takes the entry out from the other side; the socket's memory then may go, after a grace
 * period.
 */
#include <linux/net.h>
#include <linux/poll.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "tx.h"

static bool demi_tx_sock_full(const struct sock *sk)
{
	return refcount_read(&sk->sk_wmem_alloc) >= READ_ONCE(sk->sk_sndbuf);
}

/* Under the head's lock. At half of the buffer, as the kernel wakes a socket's writers. */
static int demi_tx_wake(wait_queue_entry_t *entry, unsigned int mode, int sync, void *key)
{
	struct demi_tx_wait *w = container_of(entry, struct demi_tx_wait, entry);
	struct demi_queue *q = w->queue;

	if (!(key_to_poll(key) & EPOLLHUP) && !sock_writeable(w->sk))
		return 0;
	list_del_init(&entry->entry);
	WRITE_ONCE(q->tx_blocked, false);
	wake_up_interruptible_poll(&q->wait, EPOLLOUT | EPOLLWRNORM);
	/* release: demi_tx_wait_stop() then does not take the lock that we are under */
	smp_store_release(&w->head, NULL);
	return 1;
}

void demi_tx_wait_init(struct demi_tx_wait *w, struct demi_queue *q)
{
	init_waitqueue_func_entry(&w->entry, demi_tx_wake);
	INIT_LIST_HEAD(&w->entry.entry);
	w->queue = q;
}

void demi_tx_wait_stop(struct demi_tx_wait *w)
{
	wait_queue_head_t *head;

	rcu_read_lock();
	/* acquire: what demi_tx_wake() did is over if this is NULL */
	head = smp_load_acquire(&w->head);
	if (head) {
		remove_wait_queue(head, &w->entry);
		w->head = NULL;
	}
	rcu_read_unlock();
	WRITE_ONCE(w->queue->tx_blocked, false);
}

bool demi_tx_wait_start(struct demi_tx_wait *w, struct sock *sk)
{
	if (likely(!demi_tx_sock_full(sk)))
		return false;
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
	WRITE_ONCE(w->queue->tx_blocked, true);
	w->sk = sk;
	w->head = sk_sleep(sk);
	add_wait_queue(w->head, &w->entry);
	/*
	 * Pairs with the barrier in skwq_has_sleeper(), between a packet's giving back its
	 * charge and the look at the wait queue: the socket sees the entry, or we see the room.
	 */
	smp_mb();
	if (demi_tx_sock_full(sk))
		return true;
	demi_tx_wait_stop(w);
	return false;
}

/*
 * TCP tells of room when it sends itself, which this socket never does. Now it does so whenever
 * a packet was freed, and by a function that may run while the socket is closed
 * (sk_stream_write_space() relies on the socket's lock): that it says "readable" does not matter
 * to demi_tx_wake(). The buffer is what a connection may grow to.
 */
void demi_tx_prepare_socket(struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	sock_reset_flag(sk, SOCK_USE_WRITE_QUEUE);
	sk->sk_write_space = sk->sk_data_ready;
	WRITE_ONCE(sk->sk_sndbuf, READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_wmem[2]));
}

void demi_tx_forget_socket(struct socket *sock)
{
	__wake_up(sk_sleep(sock->sk), TASK_NORMAL, 0, poll_to_key(EPOLLHUP));
}
