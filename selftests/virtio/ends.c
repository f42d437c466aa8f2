// SPDX-License-Identifier: MIT
/* timeout: 1600 */
/*
 * Ends: the owner dies, the device is revoked or given back to its own driver, all while it receives; and then
 * somebody else has it, or the kernel.
 */
#include "kselftest_harness.h"

#include "virtio_test.h"

/* DEMI_VIRTIO_KILLS */
#define KILLS 20

FIXTURE(ends)
{
	int peer, noise;
	uint16_t port;
	pid_t owner;
	int told; /* by the owner: one byte when it receives, one when its device has gone */
};

/* Receives until the device goes, or it is killed. */
static int own(int tell)
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
		if (first && write(tell, "r", 1) != 1)
			return 2;
		for (int n = 0; n < 32 && vt_used(&v.rx); n++) {
			uint16_t i = vt_take(&v.rx).id % 32;

			vt_post(&v.rx, i, v.iova + i * VT_BUFFER, VT_BUFFER, VRING_DESC_F_WRITE);
		}
		vt_kick(&v.rx);
	}
	/* doorbells may be rung for ever */
	vt_kick(&v.tx);
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLHUP) || !vt_queue(&v, 64))
		return 3;
	return write(tell, "g", 1) != 1;
}

static bool said(int fd, char what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c = 0;

	return poll(&p, 1, VT_PATIENCE_MS) == 1 && read(fd, &c, 1) == 1 && c == what;
}

/* An owner that receives. */
static bool begin(int *told, pid_t *owner)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return false;
	*owner = fork();
	if (!*owner) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(own(ends[1]));
	}
	close(ends[1]);
	*told = ends[0];
	return *owner > 0 && said(*told, 'r');
}

FIXTURE_SETUP(ends)
{
	self->peer = vt_peer(&self->port);
	ASSERT_LE(0, self->peer);
	self->noise = fork();
	if (!self->noise) { /* frames without end */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			for (int i = 0; i < 16; i++)
				send(self->peer, "noise", 5, 0);
			usleep(200);
		}
	}
}

FIXTURE_TEARDOWN(ends)
{
	kill(self->noise, SIGKILL);
	waitpid(self->noise, NULL, 0);
}

/* Whatever the module holds for somebody: tables of one line, the heading, and all pins given back. */
static bool nothing_left(void)
{
	for (int waited = 0; waited < VT_PATIENCE_MS; waited += 100) {
		if (!system("cd /sys/kernel/debug/demi && test $(cat contexts queues users | wc -l) = 3 && "
			    "awk '/^nr_foll_pin_/ { n[$1] = $2 } END { exit n[\"nr_foll_pin_acquired\"] != "
			    "n[\"nr_foll_pin_released\"] }' /proc/vmstat"))
			return true;
		usleep(100000);
	}
	return false;
}

TEST_F_TIMEOUT(ends, killed, 1500)
{
	const char *s = getenv("DEMI_VIRTIO_KILLS");
	int status, kills = s ? atoi(s) : KILLS;
	unsigned int seed = (unsigned int)getpid();

	printf("# seed %u\n", seed);
	for (int i = 0; i < kills; i++) {
		ASSERT_TRUE(begin(&self->told, &self->owner));
		usleep((useconds_t)rand_r(&seed) % 20000);
		ASSERT_EQ(0, kill(self->owner, SIGKILL));
		ASSERT_EQ(self->owner, waitpid(self->owner, &status, 0));
		close(self->told);
	}
	printf("# figure virtio_kills %d\n", kills);
	fflush(stdout);
	EXPECT_TRUE(nothing_left());
}

TEST_F(ends, revoked)
{
	struct demi_device_grant revoke = { .size = sizeof(revoke) };
	int fd = open("/dev/demi", O_RDWR | O_CLOEXEC), status;

	ASSERT_LE(0, fd);
	revoke.device_id = (uint32_t)vt_device(fd);
	ASSERT_TRUE(begin(&self->told, &self->owner));
	ASSERT_EQ(0, vt_ioctl(fd, DEMI_DEVICE_REVOKE, &revoke));
	EXPECT_TRUE(said(self->told, 'g'));
	ASSERT_EQ(self->owner, waitpid(self->owner, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, vt_grant(VT_OWNER));
	ASSERT_TRUE(begin(&self->told, &self->owner));
	kill(self->owner, SIGKILL);
	waitpid(self->owner, &status, 0);
}

static int demictl(const char *arguments)
{
	char line[512];

	snprintf(line, sizeof(line), "\"$BUILD/tools/demictl\" %s", arguments);
	return system(line);
}

TEST_F(ends, given_back)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
				    .sin_addr.s_addr = inet_addr(VT_THERE),
				    .sin_port = htons(5555) };
	int status, hears = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char line[128];

	ASSERT_EQ(0, bind(hears, (void *)&here, sizeof(here)));
	ASSERT_TRUE(begin(&self->told, &self->owner));
	snprintf(line, sizeof(line), "device unbind %s", getenv("DEMI_VIRTIO_PCI"));
	ASSERT_EQ(0, demictl(line));
	EXPECT_TRUE(said(self->told, 'g'));
	ASSERT_EQ(self->owner, waitpid(self->owner, &status, 0));
	/* its own driver drives it */
	EXPECT_EQ(0, system("test -e /sys/bus/pci/devices/$DEMI_VIRTIO_PCI/virtio*/net/*/address"));
	EXPECT_EQ(0, system("i=$(basename /sys/bus/pci/devices/$DEMI_VIRTIO_PCI/virtio*/net/*) && ip netns add ends && "
			    "ip link set $i netns ends && ip -n ends address add 10.9.0.1/24 dev $i && "
			    "ip -n ends link set $i up && "
			    "ip netns exec ends bash -c 'echo hello >/dev/udp/10.9.0.2/5555' && "
			    "ip -n ends link set $i down && ip -n ends link set $i netns 1; ok=$?; ip netns del ends; "
			    "exit $ok"));
	EXPECT_EQ(6, recv(hears, line, sizeof(line), 0));
	snprintf(line, sizeof(line), "device bind %s --owner %u", getenv("DEMI_VIRTIO_PCI"), VT_OWNER);
	ASSERT_EQ(0, demictl(line));
	ASSERT_TRUE(begin(&self->told, &self->owner));
	kill(self->owner, SIGKILL);
	waitpid(self->owner, &status, 0);
}

TEST_HARNESS_MAIN
