// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 400 */
/*
 * The function is unplugged while a process pushes and pops on its rings: by a request of QEMU's monitor, which the
 * kernel obeys, or pulled out of its slot, so that all there is to be read are ones. The owner is told, by itself or by
 * the library, nothing is left, and the function that is plugged in next is anybody's.
 */
#include <demi/demi.h>

#include <sys/resource.h>
#include <time.h>

#include "kselftest_harness.h"

#include "virtio_test.h"

#include "owner.h"

#include "../kmod/machine.h"

#define MINE "10.9.0.3"
#define PORT 5001

/* As selftests/vm/devices has it. */
#define PLUG                                                                                                           \
	"../vm/plug $DEMI_VIRTIO_PCI virtio-net-pci,id=card0,bus=net0,netdev=hub0,disable-legacy=on,mq=on,vectors=10," \
	"iommu_platform=on,ats=on,page-per-vq=on,mac=$DEMI_VIRTIO_MAC"

FIXTURE(unplug)
{
	int peer, library; /* sockets of the kernel's, to the rings' owner and to the library's */
	struct owner owner;
};

/* A socket of the kernel's that sends to the library's. */
static int to_library(void)
{
	struct sockaddr_in there = { .sin_family = AF_INET,
				     .sin_addr.s_addr = inet_addr(MINE),
				     .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !connect(fd, (void *)&there, sizeof(there)) ? fd : -errno;
}

FIXTURE_SETUP(unplug)
{
	int status = system("../vm/monitor info status >/dev/null");
	uint16_t port;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 4)
		SKIP(return, "no monitor");
	ASSERT_EQ(0, status);
	self->peer = vt_peer(&port);
	ASSERT_LE(0, self->peer);
	self->library = to_library();
	ASSERT_LE(0, self->library);
	kmod_prove_locking(false);
}

FIXTURE_TEARDOWN(unplug)
{
	kmod_prove_locking(true);
}

/* ---- owners with the library ---- */

/* A wait that sleeps, or one that does not. The operation's error, or the wait's. */
static int wait_for(demi_qresult_t *r, demi_qtoken_t qt, bool sleeps)
{
	static const struct timespec once;
	int err;

	do {
		err = demi_wait(r, qt, sleeps ? NULL : &once);
	} while (err == ETIMEDOUT);
	if (!err && r->qr_opcode == DEMI_OPC_FAILED)
		err = (int)r->qr_ret;
	return err;
}

/* Sends back what comes, until something fails: that error. */
static int echo(int qd, int tell, bool sleeps)
{
	demi_qresult_t r, pushed;
	struct sockaddr_in from;
	demi_qtoken_t qt;
	int err;

	for (int n = 0;; n++) {
		err = demi_pop(&qt, qd);
		if (!err)
			err = wait_for(&r, qt, sleeps);
		if (err)
			return err;
		if (n == 16 && !owner_tells(tell, OWNER_RUNS))
			return EPIPE;
		memcpy(&from, &r.qr_value.sga.sga_addr, sizeof(from));
		err = demi_pushto(&qt, qd, &r.qr_value.sga, (void *)&from, sizeof(from));
		if (!err)
			err = wait_for(&pushed, qt, sleeps);
		demi_sgafree(&r.qr_value.sga);
		if (err)
			return err;
	}
}

/* What had been received is still to be had: how the first pop after it ends. */
static int last_pops(int qd, bool sleeps)
{
	demi_qresult_t r;
	demi_qtoken_t qt;
	int err;

	for (;;) {
		err = demi_pop(&qt, qd);
		if (!err)
			err = wait_for(&r, qt, sleeps);
		if (err)
			return err;
		demi_sgafree(&r.qr_value.sga);
	}
}

/* All that was under way has ended with ENODEV, and what begins now does. */
static int owner_of_queue(int tell, bool sleeps)
{
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(MINE), .sin_port = htons(PORT) };
	struct rlimit memlock = { 8 << 20, 8 << 20 };
	demi_qresult_t r;
	demi_qtoken_t other;
	int qd, stream;

	setenv("DEMI_LIBOS", "virtio", 1);
	setenv("DEMI_LOG", "warn", 1);
	setenv("DEMI_INET_ADDR", MINE "/24", 1);
	if (setrlimit(RLIMIT_MEMLOCK, &memlock) || vt_become_owner() || demi_init(NULL))
		return 1;
	if (demi_socket(&qd, AF_INET, SOCK_DGRAM, 0) || demi_bind(qd, (void *)&me, sizeof(me)) ||
	    demi_socket(&stream, AF_INET, SOCK_STREAM, 0) || demi_bind(stream, (void *)&me, sizeof(me)) ||
	    demi_listen(stream, 4) || demi_accept(&other, stream))
		return 2;
	if (echo(qd, tell, sleeps) != ENODEV)
		return 3;
	if (wait_for(&r, other, sleeps) != ENODEV)
		return 4;
	if (last_pops(qd, sleeps) != ENODEV)
		return 5;
	if (demi_close(qd) || demi_close(stream))
		return 6;
	return owner_tells(tell, OWNER_LOST_IT) ? pause() : 7;
}

static int owner_that_sleeps(int tell)
{
	return owner_of_queue(tell, true);
}

static int owner_that_polls(int tell)
{
	return owner_of_queue(tell, false);
}

/* ---- tests ---- */

/* Plugged in, its own driver's, bound again: by its name it is the function that it was. */
static bool plugged_in(void)
{
	return !system(PLUG) && !system("\"$BUILD/tools/demictl\" device bind $DEMI_VIRTIO_PCI --owner 65534");
}

/* With frames for it all the time, until the end. */
static bool begins(struct owner *o, int (*own)(int tell), int peer, pid_t *noise)
{
	*noise = owner_noise(peer);
	return owner_begin(o, own);
}

static void quiet(pid_t noise)
{
	kill(noise, SIGKILL);
	waitpid(noise, NULL, 0);
}

/* Unplugged by @how while @own has it. The old owner is still there when the next one comes. */
#define UNPLUG(_how, _own, _socket)                                                                                    \
	do {                                                                                                           \
		int fd = open("/dev/demi", O_RDWR | O_CLOEXEC);                                                        \
		struct owner next;                                                                                     \
		pid_t noise;                                                                                           \
                                                                                                                       \
		ASSERT_TRUE(begins(&self->owner, (_own), (_socket), &noise));                                          \
		ASSERT_EQ(0, system(_how));                                                                            \
		EXPECT_TRUE(owner_said(&self->owner, OWNER_LOST_IT));                                                  \
		EXPECT_EQ(-ENOENT, vt_device(fd));                                                                     \
		quiet(noise);                                                                                          \
		ASSERT_TRUE(plugged_in());                                                                             \
		ASSERT_TRUE(begins(&next, owner_of_rings, self->peer, &noise));                                        \
		quiet(noise);                                                                                          \
		owner_end(&self->owner);                                                                               \
		owner_end(&next);                                                                                      \
		close(fd);                                                                                             \
		EXPECT_TRUE(module_holds_nothing(VT_PATIENCE_MS));                                                     \
	} while (0)

#define REQUEST "../vm/monitor device_del card0"
#define PULL "../vm/pull $DEMI_VIRTIO_PCI"

TEST_F(unplug, requested)
{
	UNPLUG(REQUEST, owner_of_rings, self->peer);
}

TEST_F(unplug, pulled)
{
	UNPLUG(PULL, owner_of_rings, self->peer);
}

TEST_F(unplug, pulled_from_one_who_sleeps)
{
	UNPLUG(PULL, owner_that_sleeps, self->library);
}

TEST_F(unplug, pulled_from_one_who_polls)
{
	UNPLUG(PULL, owner_that_polls, self->library);
}

TEST_HARNESS_MAIN
