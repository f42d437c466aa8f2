// SPDX-License-Identifier: MIT
// timeout: 120
/*
 * The peer is killed at a random moment, 1,000 times: what it had published can be popped, whole and in
 * order, then pops fail with ECONNRESET and pushes with EPIPE; nothing hangs, nothing leaks.
 */
#include "pipe_test.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#if defined(__SANITIZE_ADDRESS__) || defined(DEMI_COVERAGE)
enum { ROUNDS = 200, WINDOW = 8 };
#else
enum { ROUNDS = 1000, WINDOW = 8 };
#endif

static uint64_t seed;
static volatile uint32_t *completed; /* shared: pushes whose completion the victim has seen */
static int orders[2]; /* the survivor asks for victims, and is told when one is dead */

static size_t random_len(uint64_t *state)
{
	uint64_t r = pipe_test_random(state);

	switch (r % 16) {
	case 0:
		return (r >> 8) % (1U << 20);
	case 1 ... 3:
		return 4096 + (r >> 8) % 50000;
	default:
		return 1 + (r >> 8) % 300;
	}
}

struct end {
	int qd;
	uint64_t out, in;
	uint32_t pushed, done, popped;
	demi_qtoken_t qts[WINDOW + 1];
	int n; /* pushes under way */
	bool popping, push_ended, pop_ended, orderly;
};

static void start(struct end *e)
{
	while (e->n < WINDOW && !e->push_ended) {
		size_t len = random_len(&e->out);
		demi_sgarray_t sga = demi_sgaalloc(len);
		int err;

		CHECK_EQ(sga.sga_numsegs, 1);
		pipe_test_fill(sga.sga_segs[0].sgaseg_buf, len, e->pushed++);
		err = demi_push(&e->qts[e->n], e->qd, &sga);
		CHECK_EQ(demi_sgafree(&sga), 0);
		CHECK(!err || err == EPIPE);
		if (err)
			e->push_ended = true;
		else
			e->n++;
	}
	if (!e->popping && !e->pop_ended) {
		demi_qtoken_t qt;

		CHECK_EQ(demi_pop(&qt, e->qd), 0);
		e->popping = true;
		e->qts[WINDOW] = qt;
	}
}

static void finish(struct end *e, demi_qresult_t *qr, int at)
{
	if (at < e->n) {
		CHECK(qr->qr_opcode == DEMI_OPC_PUSH || qr->qr_ret == EPIPE);
		e->push_ended |= qr->qr_opcode != DEMI_OPC_PUSH;
		e->qts[at] = e->qts[--e->n];
		e->done++;
		return;
	}
	e->popping = false;
	if (qr->qr_opcode == DEMI_OPC_FAILED)
		CHECK_EQ(qr->qr_ret, ECONNRESET);
	if (qr->qr_opcode == DEMI_OPC_FAILED || !qr->qr_value.sga.sga_segs[0].sgaseg_len) {
		e->pop_ended = true;
		e->orderly = qr->qr_opcode == DEMI_OPC_POP;
		return;
	}
	pipe_test_element(&qr->qr_value.sga, random_len(&e->in), e->popped++);
}

/* One wait over all that is under way. */
static int step(struct end *e, const struct timespec *timeout)
{
	demi_qtoken_t qts[WINDOW + 1];
	demi_qresult_t qr;
	int at, err;

	start(e);
	memcpy(qts, e->qts, sizeof(qts[0]) * (size_t)e->n);
	if (e->popping)
		qts[e->n] = e->qts[WINDOW];
	if (!e->n && !e->popping)
		return ENOENT;
	err = demi_wait_any(&qr, &at, qts, e->n + e->popping, timeout);
	if (err) {
		CHECK_EQ(err, ETIMEDOUT);
		return err;
	}
	finish(e, &qr, at);
	return 0;
}

static bool makes(uint32_t round)
{
	return round % 2;
}

static void victim(uint32_t round)
{
	struct end e = { .out = seed + round, .in = ~seed + round };

	signal(SIGPIPE, SIG_DFL);
	alarm(20);
	CHECK_EQ(demi_init(NULL), 0);
	if (makes(round))
		CHECK_EQ(demi_create_pipe(&e.qd, "kill"), 0);
	else
		e.qd = pipe_test_open("kill");
	while (!step(&e, NULL))
		*completed = e.done; /* they are in the ring now */
	_exit(0);
}

/* Makes and kills the victims; never uses the library itself. */
static void executioner(void)
{
	uint64_t state = seed | 1;
	uint32_t round;
	pid_t pid;

	while (read(orders[1], &round, sizeof(round)) == sizeof(round)) {
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			victim(round);
		if (pipe_test_random(&state) % 4) { /* under traffic; else anywhere, mostly while it starts */
			while (!*completed)
				usleep(100);
		}
		usleep((useconds_t)(pipe_test_random(&state) % 3000));
		CHECK(!kill(pid, SIGKILL));
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
		CHECK_EQ(write(orders[1], &round, sizeof(round)), (long)sizeof(round));
	}
	_exit(0);
}

static bool is_dead(void)
{
	struct pollfd pfd = { .fd = orders[0], .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static unsigned int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Get the survivor's end; false: the victim died before there was a pipe. */
static bool get_end(uint32_t round, int *qd)
{
	int err;

	if (!makes(round)) {
		CHECK_EQ(demi_create_pipe(qd, "kill"), 0);
		return true;
	}
	for (;;) {
		bool dead = is_dead();

		err = demi_open_pipe(qd, "kill");
		if (!err)
			return true;
		CHECK(err == ENOENT || err == ECONNREFUSED);
		if (dead)
			return false;
		usleep(100);
	}
}

/* True: the pipe had both ends. */
static bool survive(uint32_t round)
{
	static const struct timespec soon = { .tv_nsec = 20000000 };
	struct end e = { .out = ~seed + round, .in = seed + round };
	int unused;

	if (!get_end(round, &e.qd))
		return false;
	for (;;) {
		int err = step(&e, &soon);

		if (err == ENOENT)
			break;
		/* dead before it opened the pipe: then the survivor can, and nobody else will */
		if (err == ETIMEDOUT && !makes(round) && is_dead() && !demi_open_pipe(&unused, "kill"))
			CHECK_EQ(demi_close(unused), 0);
	}
	CHECK(e.orderly || e.popped >= *completed);
	CHECK_EQ(demi_close(e.qd), 0);
	return !e.orderly;
}

int main(void)
{
	unsigned int fds = 0, both = 0;
	pid_t pid;

	seed = (uint64_t)getpid() << 20 | 1;
	if (getenv("SEED"))
		seed = strtoull(getenv("SEED"), NULL, 0);
	fprintf(stderr, "SEED=%#llx\n", (unsigned long long)seed);
	pipe_test_setup(115);
	completed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(completed != MAP_FAILED);
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, orders));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(115);
		close(orders[0]);
		executioner();
	}
	close(orders[1]);
	CHECK_EQ(demi_init(NULL), 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t answer;

		*completed = 0;
		CHECK_EQ(write(orders[0], &round, sizeof(round)), (long)sizeof(round));
		both += survive(round);
		CHECK_EQ(read(orders[0], &answer, sizeof(answer)), (long)sizeof(answer));
		if (round == 9)
			fds = open_fds();
	}
	while (open_fds() > fds) /* the thread that answers openers closes some, too; a leak is for ever */
		usleep(1000);
	fprintf(stderr, "%u of %u were killed with the pipe open\n", both, ROUNDS);
	CHECK(both > ROUNDS / 2);
	close(orders[0]);
	pipe_test_join(pid);
	{
		int qd; /* the last victim may have left its socket: it is replaced */

		CHECK_EQ(demi_create_pipe(&qd, "kill"), 0);
		CHECK_EQ(demi_close(qd), 0);
	}
	pipe_test_cleanup();
	return 0;
}
