/* SPDX-License-Identifier: MIT */
/*
 * Owners that the function is taken from while they push and pop: processes that tell by a byte what becomes of
 * them, and frames without end for them. Include virtio_test.h first.
 */
#ifndef OWNER_H
#define OWNER_H

#include "../kmod/machine.h"

/* What an owner tells: it receives; its function has gone, and all that it could ask said so. */
#define OWNER_RUNS 'r'
#define OWNER_LOST_IT 'g'

struct owner {
	pid_t pid;
	int told;
};

static VT_UNUSED bool owner_said(const struct owner *o, char what)
{
	struct pollfd p = { .fd = o->told, .events = POLLIN };
	char c = 0;

	return poll(&p, 1, VT_PATIENCE_MS) == 1 && read(o->told, &c, 1) == 1 && c == what;
}

static VT_UNUSED bool owner_tells(int tell, char what)
{
	return write(tell, &what, 1) == 1;
}

/* A process that runs @own, which does not return before the end. True: it receives. */
static VT_UNUSED bool owner_begin(struct owner *o, int (*own)(int tell))
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return false;
	o->pid = fork();
	if (!o->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fprintf(stderr, "# the owner stops at step %d\n", own(ends[1]));
		_exit(1);
	}
	close(ends[1]);
	o->told = ends[0];
	return o->pid > 0 && owner_said(o, OWNER_RUNS);
}

static VT_UNUSED void owner_end(struct owner *o)
{
	kill(o->pid, SIGKILL);
	waitpid(o->pid, NULL, 0);
	close(o->told);
}

/* What was received goes out again, as far as there is room: nobody's address but the sender's own. */
static VT_UNUSED void owner_send_back(struct vt *v, uint16_t i, uint32_t len)
{
	uint16_t k = v->tx.next % v->tx.entries;
	uint8_t *slot = v->mem + (256 + k) * VT_BUFFER;

	for (uint16_t n = 0; n < v->tx.entries && vt_used(&v->tx); n++)
		vt_take(&v->tx);
	if ((uint16_t)(v->tx.next - v->tx.seen) >= v->tx.entries || len > VT_BUFFER)
		return;
	memcpy(slot, v->mem + i * VT_BUFFER, len);
	memset(slot, 0, sizeof(struct virtio_net_hdr_v1));
	vt_post(&v->tx, k, v->iova + (uint64_t)(slot - v->mem), len, 0);
	vt_kick(&v->tx);
}

/* On the bare rings, until the function goes; then pauses. */
static VT_UNUSED int owner_of_rings(int tell)
{
	struct pollfd p;
	uint64_t features;
	struct vt v;

	if (vt_become_owner() || vt_open(&v))
		return 1;
	features = v.q->features;
	vt_post_buffers(&v, 32);
	p = (struct pollfd){ .fd = v.queue_fd, .events = POLLIN };
	for (bool first = true;; first = false) {
		/* a scratch page has none */
		if (!vt_sleep(&v, &v.rx, VT_PATIENCE_MS) || v.q->features != features)
			break;
		if (first && !owner_tells(tell, OWNER_RUNS))
			return 2;
		for (int n = 0; n < 32 && vt_used(&v.rx); n++) {
			struct vring_used_elem e = vt_take(&v.rx);
			uint16_t i = e.id % 32;

			owner_send_back(&v, i, e.len);
			vt_post(&v.rx, i, v.iova + i * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
		}
		vt_kick(&v.rx);
	}
	/* doorbells may be rung for ever */
	vt_kick(&v.tx);
	if (poll(&p, 1, VT_PATIENCE_MS) != 1 || !(p.revents & POLLHUP) || !vt_queue(&v, 64))
		return 3;
	if (!owner_tells(tell, OWNER_LOST_IT))
		return 4;
	return pause();
}

/* A process that sends without end by @peer. */
static VT_UNUSED pid_t owner_noise(int peer)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		for (int i = 0; i < 16; i++)
			send(peer, "noise", 5, 0);
		usleep(kmod_debug_kernel() ? 50000 : 200); /* which has to get at something else, too */
	}
}

#endif /* OWNER_H */
