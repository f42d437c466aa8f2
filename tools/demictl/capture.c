/* SPDX-License-Identifier: MIT */
/* demictl capture: copies of what crosses a queue, through a capture queue of our own, into a pcap file. */
#include "ctl.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Buffers lie one after the other in one region: 4 MiB, what an ordinary user may lock. */
#define BUFS 2048u
#define BUF_BYTES 2048u

struct capture {
	const struct ctl *c;
	struct demi_kqueue q;
	char *mem;
	uint32_t region;
	uint32_t of; /* the queue that is captured */
	int signals;
	pcap_t *pcap;
	pcap_dumper_t *out;
	uint64_t packets, broken;
	uint8_t frame[sizeof(struct demi_capture_hdr) + DEMI_FRAME_MAX];
};

static const char *hint_of(int err)
{
	switch (-err) {
	case EPERM:
	case EACCES:
		return "a queue of another process: this takes root (CAP_NET_RAW)";
	case EBUSY:
		return "somebody captures it already; a queue has one capturer";
	case ENOMEM:
		return "4 MiB of memory have to be locked: see ulimit -l";
	case EOPNOTSUPP:
		return "demictl info shows what the module can do (capture)";
	default:
		return NULL;
	}
}

static void post(struct capture *cap, uint64_t offset)
{
	demi_kring_put(&cap->q.rx_fill, offset, BUF_BYTES, cap->region, 0);
}

static int open_queue(struct capture *cap)
{
	struct demi_queue_create create = { .kind = DEMI_QUEUE_CAPTURE, .rx_fill_entries = BUFS, .rx_entries = BUFS };
	struct demi_device_info host;
	uint32_t i;
	int ret;

	ret = demi_kdev_device_find(cap->c->fd, DEMI_DEVICE_HOST, &host);
	if (ret)
		return ret;
	cap->mem = mmap(NULL, BUFS * BUF_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cap->mem == MAP_FAILED)
		return -errno;
	ret = demi_kdev_region_register(cap->c->fd, cap->mem, BUFS * BUF_BYTES, &cap->region);
	if (ret)
		return ret;
	create.device_id = host.device_id;
	ret = demi_kqueue_create(&cap->q, cap->c->fd, &create);
	if (ret)
		return ret;
	for (i = 0; i < BUFS; i++)
		post(cap, (uint64_t)i * BUF_BYTES);
	demi_kring_publish(&cap->q.rx_fill);
	return 0;
}

static int start(const struct capture *cap, uint32_t flags)
{
	struct demi_capture arg = { .size = sizeof(arg),
				    .flags = flags,
				    .queue_id = cap->of,
				    .target_id = cap->q.id,
				    .snap_bytes = flags == DEMI_CAPTURE_F_STOP ? 0 : cap->c->o.snap_bytes };

	return demi_kdev_call(cap->c->fd, DEMI_CAPTURE, &arg);
}

static int open_file(struct capture *cap, uint32_t kind)
{
	int snap = cap->c->o.snap_bytes ? (int)cap->c->o.snap_bytes : 262144;
	const char *name = cap->c->o.file;

	cap->pcap = pcap_open_dead_with_tstamp_precision(kind == DEMI_QUEUE_RAW ? DLT_EN10MB : DLT_RAW, snap,
							 PCAP_TSTAMP_PRECISION_NANO);
	if (!cap->pcap)
		return ctl_fail(cap->c, -ENOMEM, NULL, "%s", name);
	cap->out = pcap_dump_open(cap->pcap, name);
	return cap->out ? 0 : ctl_fail(cap->c, 0, NULL, "%s", pcap_geterr(cap->pcap));
}

/* One frame of @len bytes, the kernel's header first. */
static void write_frame(struct capture *cap, size_t len)
{
	struct demi_capture_hdr h;
	struct pcap_pkthdr p;

	if (len < sizeof(h)) {
		cap->broken++;
		return;
	}
	memcpy(&h, cap->frame, sizeof(h));
	p = (struct pcap_pkthdr){ .ts = { .tv_sec = (time_t)(h.time_ns / 1000000000),
					  .tv_usec = (suseconds_t)(h.time_ns % 1000000000) }, /* nanoseconds */
				  .caplen = (bpf_u_int32)(len - sizeof(h)),
				  .len = h.wire_bytes };
	if (p.len < p.caplen)
		p.len = p.caplen;
	pcap_dump((u_char *)cap->out, &p, cap->frame + sizeof(h));
	cap->packets++;
}

static bool enough(const struct capture *cap)
{
	return cap->c->o.count && cap->packets >= cap->c->o.count;
}

/* Write whatever is there. -EPROTO: the ring is broken, or the queue has been shut down. */
static int drain(struct capture *cap)
{
	int n = demi_kring_avail(&cap->q.rx), i;
	size_t len = 0;

	if (n < 0)
		return n;
	for (i = 0; i < n && !enough(cap); i++) {
		struct demi_desc d = demi_kring_peek(&cap->q.rx, (uint32_t)i);
		size_t room = sizeof(cap->frame) - len;

		if (d.region != cap->region || d.offset % BUF_BYTES || d.offset / BUF_BYTES >= BUFS ||
		    d.len > BUF_BYTES || d.len > room)
			return -EPROTO;
		memcpy(cap->frame + len, cap->mem + d.offset, d.len);
		len += d.len;
		post(cap, d.offset);
		if (d.flags & DEMI_DESC_F_MORE)
			continue;
		write_frame(cap, len);
		len = 0;
	}
	if (i) {
		demi_kring_release(&cap->q.rx, (uint32_t)i);
		demi_kring_publish(&cap->q.rx_fill);
	}
	return i;
}

/* The captured queue is no more, or no longer captured. */
static bool over(const struct capture *cap)
{
	struct demi_queue_info q;

	return demi_kdev_queue_info(cap->c->fd, cap->of, &q) || q.state & DEMI_QUEUE_STATE_SHUTDOWN ||
	       !(q.state & DEMI_QUEUE_STATE_CAPTURED);
}

static int loop(struct capture *cap)
{
	struct pollfd fds[] = { { .fd = cap->q.fd, .events = POLLIN }, { .fd = cap->signals, .events = POLLIN } };
	bool last = false;
	int n;

	while (!enough(cap)) {
		n = drain(cap);
		if (n < 0)
			return n;
		if (n)
			continue;
		if (pcap_dump_flush(cap->out))
			return -errno;
		if (last)
			break;
		if (!demi_kring_arm(&cap->q.rx)) {
			n = poll(fds, 2, 500);
			if (n < 0 && errno != EINTR)
				return -errno;
			/* what came before the end is still written */
			last = fds[0].revents & POLLHUP || fds[1].revents & POLLIN || (!n && over(cap));
		}
		demi_kring_disarm(&cap->q.rx);
	}
	return pcap_dump_flush(cap->out) ? -errno : 0;
}

static int catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN); /* tcpdump has ended: EPIPE says so */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static uint64_t lost_by(const struct capture *cap)
{
	struct demi_queue_info q;

	return demi_kdev_queue_info(cap->c->fd, cap->of, &q) ? 0 : q.counters.capture_lost;
}

static int finish(const struct capture *cap, int ret, uint64_t lost_before)
{
	uint64_t lost = lost_by(cap);

	(void)start(cap, DEMI_CAPTURE_F_STOP);
	fprintf(stderr, "%llu packets captured, %llu lost\n", (unsigned long long)cap->packets,
		(unsigned long long)(lost > lost_before ? lost - lost_before : 0));
	if (ret == -EPIPE)
		ret = 0;
	if (ret == -EPROTO)
		return ctl_fail(cap->c, 0, NULL, "the capture queue was shut down");
	return ret ? ctl_fail(cap->c, ret, NULL, "%s", cap->c->o.file) : 0;
}

/* The file comes last: where nothing can be captured none is made. */
static int run_on(struct capture *cap)
{
	struct demi_queue_info q;
	uint64_t lost;
	int ret;

	if (!strcmp(cap->c->o.file, "-") && isatty(STDOUT_FILENO))
		return ctl_fail(cap->c, 0, "pipe it: demictl capture QUEUE -w - | tcpdump -n -r -",
				"packets are not for a terminal");
	ret = ctl_queue(cap->c, cap->c->o.args[0], &q);
	if (ret)
		return ret;
	cap->of = q.queue_id;
	if (q.kind == DEMI_QUEUE_CAPTURE)
		return ctl_fail(cap->c, 0, NULL, "queue %u is a capture queue itself", q.queue_id);
	ret = open_queue(cap);
	if (ret)
		return ctl_fail(cap->c, ret, hint_of(ret), "a capture queue");
	cap->signals = catch_signals();
	if (cap->signals < 0)
		return ctl_fail(cap->c, cap->signals, NULL, "signals");
	lost = lost_by(cap);
	ret = start(cap, cap->c->o.direction);
	if (ret)
		return ctl_fail(cap->c, ret, hint_of(ret), "capture queue %u", q.queue_id);
	ret = open_file(cap, q.kind);
	return ret ? ret : finish(cap, loop(cap), lost);
}

static int run(struct ctl *c)
{
	struct capture *cap = calloc(1, sizeof(*cap));
	int ret;

	if (!cap)
		return ctl_fail(c, -ENOMEM, NULL, "capture");
	cap->c = c;
	cap->signals = -1;
	ret = run_on(cap);
	if (cap->q.map)
		demi_kqueue_close(&cap->q);
	if (cap->out)
		pcap_dump_close(cap->out);
	if (cap->pcap)
		pcap_close(cap->pcap);
	if (cap->signals >= 0)
		close(cap->signals);
	free(cap);
	return ret;
}

const struct command cmd_capture = {
	.name = "capture",
	.args = "QUEUE",
	.doc = "write what crosses a queue into a pcap file",
	.options = "wc",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
