// SPDX-License-Identifier: MIT
/* timeout: 1600 */
/*
 * Ends: the owner dies, the device is revoked or given back to its own driver, all while it receives; and then
 * somebody else has it, or the kernel.
 */
#include "kselftest_harness.h"

#include <glob.h>

#include "virtio_test.h"

#include "owner.h"

#include "../kmod/machine.h"

/* DEMI_VIRTIO_KILLS, DEMI_VIRTIO_BINDS */
#define KILLS 20
#define BINDS 3

FIXTURE(ends)
{
	int peer;
	uint16_t port;
	pid_t noise;
	struct owner owner;
};

FIXTURE_SETUP(ends)
{
	self->peer = vt_peer(&self->port);
	ASSERT_LE(0, self->peer);
	self->noise = owner_noise(self->peer);
}

FIXTURE_TEARDOWN(ends)
{
	kill(self->noise, SIGKILL);
	waitpid(self->noise, NULL, 0);
}

TEST_F_TIMEOUT(ends, killed, 1500)
{
	unsigned int kills = kmod_amount("DEMI_VIRTIO_KILLS", KILLS, KILLS / 4);
	unsigned int seed = (unsigned int)getpid();

	printf("# seed %u\n", seed);
	for (unsigned int i = 0; i < kills; i++) {
		ASSERT_TRUE(owner_begin(&self->owner, owner_of_rings));
		usleep((useconds_t)rand_r(&seed) % 20000);
		owner_end(&self->owner);
	}
	printf("# figure virtio_kills %u\n", kills);
	fflush(stdout);
	EXPECT_TRUE(module_holds_nothing(VT_PATIENCE_MS));
}

TEST_F(ends, revoked)
{
	struct demi_device_grant revoke = { .size = sizeof(revoke) };
	int fd = open("/dev/demi", O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	revoke.device_id = (uint32_t)vt_device(fd);
	ASSERT_TRUE(owner_begin(&self->owner, owner_of_rings));
	ASSERT_EQ(0, vt_ioctl(fd, DEMI_DEVICE_REVOKE, &revoke));
	EXPECT_TRUE(owner_said(&self->owner, OWNER_LOST_IT));
	owner_end(&self->owner);
	ASSERT_EQ(0, vt_grant(VT_OWNER));
	ASSERT_TRUE(owner_begin(&self->owner, owner_of_rings));
	owner_end(&self->owner);
}

static int demictl(const char *arguments)
{
	char line[512];

	snprintf(line, sizeof(line), "\"$BUILD/tools/demictl\" %s", arguments);
	return system(line);
}

/* The function as its own driver's: $INTERFACE from now on. */
static bool find_interface(void)
{
	char pattern[128];
	glob_t found;
	bool one;

	snprintf(pattern, sizeof(pattern), "/sys/bus/pci/devices/%s/virtio*/net/*", getenv("DEMI_VIRTIO_PCI"));
	if (glob(pattern, 0, NULL, &found))
		return false;
	one = found.gl_pathc == 1 && !setenv("INTERFACE", strrchr(found.gl_pathv[0], '/') + 1, 1);
	globfree(&found);
	return one;
}

/* Sent again until it is heard: the first of a new link may be lost. */
static bool hears_hello(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char line[16];

	for (int waited = 0; waited < VT_PATIENCE_MS; waited += 1000) {
		if (system("ip netns exec ends bash -c 'echo hello >/dev/udp/10.9.0.2/5555'"))
			return false;
		if (poll(&p, 1, 1000) == 1)
			return recv(fd, line, sizeof(line), 0) == 6 && !memcmp(line, "hello\n", 6);
	}
	return false;
}

TEST_F(ends, given_back)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
				    .sin_addr.s_addr = inet_addr(VT_THERE),
				    .sin_port = htons(5555) };
	int hears = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char line[128];

	ASSERT_EQ(0, bind(hears, (void *)&here, sizeof(here)));
	ASSERT_TRUE(owner_begin(&self->owner, owner_of_rings));
	snprintf(line, sizeof(line), "device unbind %s", getenv("DEMI_VIRTIO_PCI"));
	ASSERT_EQ(0, demictl(line));
	EXPECT_TRUE(owner_said(&self->owner, OWNER_LOST_IT));
	owner_end(&self->owner);
	/* its own driver drives it */
	ASSERT_TRUE(find_interface());
	EXPECT_EQ(0, system("ip netns add ends && ip link set $INTERFACE netns ends && "
			    "ip -n ends address add 10.9.0.1/24 dev $INTERFACE && ip -n ends link set $INTERFACE up"));
	EXPECT_TRUE(hears_hello(hears));
	EXPECT_EQ(0, system("ip -n ends link set $INTERFACE down && ip -n ends link set $INTERFACE netns 1; ok=$?; "
			    "ip netns del ends; exit $ok"));
	snprintf(line, sizeof(line), "device bind %s --owner %u", getenv("DEMI_VIRTIO_PCI"), VT_OWNER);
	ASSERT_EQ(0, demictl(line));
	ASSERT_TRUE(owner_begin(&self->owner, owner_of_rings));
	owner_end(&self->owner);
}

/* To its own driver and back, each time while it receives. */
TEST_F_TIMEOUT(ends, bound_and_unbound, 1500)
{
	char unbind[128], bind[128];

	snprintf(unbind, sizeof(unbind), "device unbind %s", getenv("DEMI_VIRTIO_PCI"));
	snprintf(bind, sizeof(bind), "device bind %s --owner %u", getenv("DEMI_VIRTIO_PCI"), VT_OWNER);
	for (unsigned int i = 0; i < kmod_amount("DEMI_VIRTIO_BINDS", BINDS, 1); i++) {
		ASSERT_TRUE(owner_begin(&self->owner, owner_of_rings));
		ASSERT_EQ(0, demictl(unbind));
		EXPECT_TRUE(owner_said(&self->owner, OWNER_LOST_IT));
		ASSERT_EQ(0, demictl(bind));
		owner_end(&self->owner);
	}
	EXPECT_TRUE(module_holds_nothing(VT_PATIENCE_MS));
}

TEST_HARNESS_MAIN
