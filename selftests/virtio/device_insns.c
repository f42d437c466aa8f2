// SPDX-License-Identifier: MIT
/* uses: libdemi.a, modules: vfio-pci, timeout: 300 */
/*
 * Frames through the library's packet devices, on the same function: demi_virtio.ko's rings, then DPDK's own driver
 * over vfio-pci. Each receives BURST frames from the kernel's end and sends them back, and the kernel's end compares.
 * How many instructions that takes in the process is counted, polls that find nothing excluded: by the time stamp
 * counter, which under `selftests/vm/run --icount` is one instruction a tick, and elsewhere means nothing. What is
 * counted is sent to nobody, so that no interrupt of the other end falls into it.
 */
#include "core/ctx.h"
#include "heap/heap.h"
#include "pktdev/pktdev.h"

#include <demi/demi.h>

#include <dlfcn.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/resource.h>

#include "kselftest_harness.h"

#include "virtio_test.h"
#include "../kmod/insns.h"
#include "../kmod/machine.h"
#include "../kmod/need.h"

#define BURST 32
#define ROUNDS 33
#define WARM 24
#define FRAME 64
#define SETTLE_US 2000
#define PAUSE_US 100
#define PATIENCE (VT_PATIENCE_MS * 1000 / PAUSE_US)
#define ETHER_TYPE 0x88b5 /* IEEE 802: for experiments */

struct bench {
	struct demi_pktdev *d;
	int raw;
	uint8_t mac[6], peer[6];
	uint64_t rx[ROUNDS], tx[ROUNDS];
};

static bool parse_mac(const char *s, uint8_t *mac)
{
	return sscanf(s, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

static int open_raw(struct bench *b)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHER_TYPE) };
	struct timeval patience = { .tv_sec = 30 };
	char path[128], line[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/address", getenv("DEMI_VIRTIO_PEER"));
	f = fopen(path, "re");
	NEED(f && fgets(line, sizeof(line), f) && parse_mac(line, b->peer));
	fclose(f);
	NEED(parse_mac(getenv("DEMI_VIRTIO_MAC"), b->mac));
	b->raw = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHER_TYPE));
	ll.sll_ifindex = (int)if_nametoindex(getenv("DEMI_VIRTIO_PEER"));
	NEED(b->raw >= 0 && ll.sll_ifindex && !bind(b->raw, (void *)&ll, sizeof(ll)));
	NEED(!setsockopt(b->raw, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	return 0;
}

static void frame_make(const struct bench *b, uint8_t *f, int round, int i)
{
	memcpy(f, b->mac, 6);
	memcpy(f + 6, b->peer, 6);
	f[12] = ETHER_TYPE >> 8;
	f[13] = ETHER_TYPE & 0xff;
	for (int k = 14; k < FRAME; k++)
		f[k] = (uint8_t)(round * 31 + i * 7 + k);
}

/* The frames of a round; others (ARP) are dropped. What it cost, of the calls that found something. */
static int receive(struct bench *b, struct demi_pkt *frames, uint64_t *cost)
{
	struct demi_pkt pkts[DEMI_PKT_RX_SEGS_MAX];
	int n = 0, waited = 0;

	*cost = 0;
	while (n < BURST) {
		uint64_t start = __rdtsc();
		int got = b->d->ops->rx(b->d, pkts, DEMI_PKT_RX_SEGS_MAX);
		uint64_t end = __rdtsc();

		NEED(got >= 0);
		if (!got) {
			NEED(waited++ < PATIENCE);
			usleep(PAUSE_US);
			continue;
		}
		*cost += end - start;
		for (int i = 0; i < got; i++) {
			NEED(!(pkts[i].flags & DEMI_PKT_F_MORE));
			if (pkts[i].len == FRAME && pkts[i].data[12] == ETHER_TYPE >> 8 && n < BURST)
				frames[n++] = pkts[i];
			else
				b->d->ops->rx_recycle(b->d, pkts[i].data);
		}
	}
	return 0;
}

static int reported(struct bench *b, uint32_t *n)
{
	struct demi_pkt_done done[BURST];
	int got = b->d->ops->tx_done(b->d, done, BURST);

	NEED(got >= 0);
	for (int i = 0; i < got; i++)
		NEED(!done[i].err);
	*n += (uint32_t)got;
	return 0;
}

/* Back they go, and their buffers are free again. */
static int transmit(struct bench *b, struct demi_pkt *frames, const uint8_t *to, uint64_t *cost)
{
	uint32_t done = 0;
	uint64_t start;

	for (int i = 0; i < BURST; i++) {
		memcpy(frames[i].data, to, 6);
		memcpy(frames[i].data + 6, b->mac, 6);
		frames[i].flags = 0;
		frames[i].cookie = (uint64_t)i;
	}
	start = __rdtsc();
	NEED(b->d->ops->tx(b->d, frames, BURST) == BURST);
	NEED(!b->d->ops->kick(b->d));
	*cost = __rdtsc() - start;
	for (int waited = 0; done < BURST; waited++) {
		uint32_t before = done;

		NEED(waited < PATIENCE);
		start = __rdtsc();
		NEED(!reported(b, &done));
		if (done != before)
			*cost += __rdtsc() - start;
		else
			usleep(PAUSE_US);
	}
	start = __rdtsc();
	for (int i = 0; i < BURST; i++)
		b->d->ops->rx_recycle(b->d, frames[i].data);
	*cost += __rdtsc() - start;
	return 0;
}

static int one_round(struct bench *b, int round, uint64_t *rx, uint64_t *tx)
{
	static const uint8_t nobody[6] = { 2, 0, 0, 0, 0, 99 };
	struct demi_pkt frames[BURST];
	uint8_t out[FRAME], back[FRAME];

	for (int i = 0; i < BURST; i++) {
		frame_make(b, out, round, i);
		NEED(send(b->raw, out, FRAME, 0) == FRAME);
	}
	usleep(SETTLE_US); /* so that one call finds them all */
	NEED(!receive(b, frames, rx));
	if (round >= 0)
		return transmit(b, frames, nobody, tx);
	NEED(!transmit(b, frames, b->peer, tx));
	for (int i = 0; i < BURST; i++) {
		frame_make(b, out, round, i);
		NEED(recv(b->raw, back, FRAME, 0) == FRAME);
		NEED(!memcmp(back, b->peer, 6) && !memcmp(back + 6, b->mac, 6));
		NEED(!memcmp(out + 12, back + 12, FRAME - 12));
	}
	return 0;
}

typedef int open_fn(struct demi_ctx *ctx, struct demi_pktdev **out);

/* @result: instructions per packet that is received and sent. */
static int run(void *arg, void *result)
{
	open_fn **open = arg;
	double *cost = result;
	static struct bench b;

	setenv("DEMI_LIBOS", "catmem", 1); /* no backend */
	setenv("DEMI_LOG", "warn", 1);
	NEED(!open_raw(&b));
	NEED(!(errno = demi_init(NULL)));
	NEED(!(errno = -(*open)(demi_ctx_self, &b.d)));
	for (int round = -WARM; round < ROUNDS; round++) {
		int i = round < 0 ? 0 : round;

		NEED(!one_round(&b, round, &b.rx[i], &b.tx[i]));
	}
	cost[0] = insns_median(b.rx, ROUNDS) / BURST;
	cost[1] = insns_median(b.tx, ROUNDS) / BURST;
	b.d->ops->destroy(b.d);
	return 0;
}

#define VFIO                                                                                                           \
	"cd /sys/bus/pci/devices/$DEMI_VIRTIO_PCI && echo vfio-pci >driver_override && "                               \
	"echo $DEMI_VIRTIO_PCI >driver/unbind && echo $DEMI_VIRTIO_PCI >/sys/bus/pci/drivers_probe && "                \
	"test -e /sys/bus/pci/drivers/vfio-pci/$DEMI_VIRTIO_PCI"
#define BACK                                                                                                           \
	"cd /sys/bus/pci/devices/$DEMI_VIRTIO_PCI && echo >driver_override && "                                        \
	"echo $DEMI_VIRTIO_PCI >driver/unbind && echo $DEMI_VIRTIO_PCI >/sys/bus/pci/drivers_probe"

TEST(frames)
{
	open_fn *ours = demi_virtio_open, *theirs = demi_dpdk_open;
	double mine[2], dpdk[2];
	char path[256], arguments[128];
	int status;

	if (kmod_debug_kernel())
		SKIP(return, "a kernel that checks itself: not what is to be counted");
	ASSERT_EQ(0, insns_forked(run, &ours, mine, sizeof(mine)));
	if (insns_are_counted())
		printf("# figure virtio_rx_insns %g\n# figure virtio_tx_insns %g\n", mine[0], mine[1]);
	fflush(stdout);
	snprintf(path, sizeof(path), "%s/libdemi-dpdk.so", getenv("BUILD"));
	if (!dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE))
		SKIP(return, "%s", dlerror());
	ASSERT_EQ(0, insns_device("unbind $DEMI_VIRTIO_PCI"));
	ASSERT_EQ(0, system(VFIO));
	snprintf(arguments, sizeof(arguments), "--no-huge -m 64 --no-shconf -a %s", getenv("DEMI_VIRTIO_PCI"));
	setenv("DEMI_DPDK_ARGS", arguments, 1);
	status = insns_forked(run, &theirs, dpdk, sizeof(dpdk));
	EXPECT_EQ(0, system(BACK));
	EXPECT_EQ(0, insns_device("bind $DEMI_VIRTIO_PCI --owner 65534"));
	ASSERT_EQ(0, status);
	if (!insns_are_counted())
		return;
	printf("# figure dpdk_rx_insns %g\n# figure dpdk_tx_insns %g\n", dpdk[0], dpdk[1]);
	printf("# figure virtio_insns_vs_dpdk %g\n", (mine[0] + mine[1]) / (dpdk[0] + dpdk[1]));
	fflush(stdout);
}

TEST_HARNESS_MAIN
