/* SPDX-License-Identifier: MIT */
/* threads */
/*
 * Design, statement 7: contexts and threads. Descriptors and tokens belong to one thread; a memory queue is shared by
 * export and import: each element completes one pop, in order, and wakes one thread. Contexts may end at any time.
 */
#include "lib/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int fd;

static int import(void)
{
	int qd = -1;

	OK(demi_queue_import(&qd, fd));
	return qd;
}

static void join(pthread_t t)
{
	void *ret;

	OK(pthread_join(t, &ret));
	CHECK(!ret);
}

/* ---- one producer, one consumer with several pops outstanding: the order is kept ---- */

#define ORDERED (SLOW ? 20000u : 200000u)

static void *produce(void *arg)
{
	int q;

	init_memq();
	q = import();
	for (unsigned int i = 0; i < ORDERED; i++) {
		push_bytes(q, &i, sizeof(i));
		if (rnd_below(64) == 0)
			sched_yield();
	}
	OK(demi_shutdown(q, SHUT_WR));
	return NULL;
}

static void test_order(void)
{
	demi_qtoken_t qts[5];
	unsigned int want = 0;
	demi_qresult_t qr;
	int q = new_queue(), off;
	pthread_t t;

	OK(demi_queue_export(&fd, q));
	OK(pthread_create(&t, NULL, produce, NULL));
	for (int i = 0; i < 5; i++)
		qts[i] = pop_start(q);
	for (;;) {
		OK(demi_wait_any(&qr, &off, qts, 5, NULL));
		if (!qr.qr_value.sga.sga_segs[0].sgaseg_len)
			break;
		check_popped(&qr, &want, sizeof(want));
		want++;
		qts[off] = pop_start(q);
	}
	CHECK_EQ(want, ORDERED);
	join(t);
	close(fd);
	OK(demi_close(q));
	for (int i = 0; i < 5; i++) {
		if (i != off) {
			qr = wait_result(qts[i]);
			check_popped(&qr, "", 0);
		}
	}
}

/* ---- one element wakes one thread ---- */

#define SLEEPERS 4
#define SINGLE 200u

static atomic_uint asleep, taken;
static uint64_t wakes[SLEEPERS];

static void *sleeper(void *arg)
{
	uint64_t *w = arg;
	int q;

	init_memq();
	q = import();
	for (;;) {
		demi_qtoken_t qt = pop_start(q);
		demi_qresult_t qr;

		atomic_fetch_add(&asleep, 1);
		qr = wait_result(qt);
		if (!qr.qr_value.sga.sga_segs[0].sgaseg_len)
			break;
		atomic_fetch_sub(&asleep, 1);
		check_popped(&qr, "one", 3);
		atomic_fetch_add(&taken, 1);
	}
	*w = counter("wakes");
	OK(demi_close(q));
	return NULL;
}

static void test_one_wakes(void)
{
	pthread_t t[SLEEPERS];
	uint64_t sum = 0;
	int q = new_queue();

	OK(demi_queue_export(&fd, q));
	for (int i = 0; i < SLEEPERS; i++)
		OK(pthread_create(&t[i], NULL, sleeper, &wakes[i]));
	for (unsigned int i = 0; i < SINGLE; i++) {
		while (atomic_load(&asleep) < SLEEPERS)
			sched_yield();
		push_bytes(q, "one", 3);
		while (atomic_load(&taken) <= i)
			sched_yield();
	}
	OK(demi_shutdown(q, SHUT_WR));
	for (int i = 0; i < SLEEPERS; i++) {
		join(t[i]);
		sum += wakes[i];
	}
	printf("%u elements, %llu wakes\n", SINGLE, (unsigned long long)sum);
	CHECK(sum <= SINGLE + SLEEPERS);
	close(fd);
	OK(demi_close(q));
}

/* ---- contexts that end with pops pending, elements pushed, results unconsumed ---- */

static void *passer_by(void *arg)
{
	unsigned int nr = (unsigned int)(uintptr_t)arg;
	int q, n;

	check_rng = nr * 2654435761u + 1;
	init_memq();
	q = import();
	for (n = (int)rnd_below(4); n > 0; n--)
		pop_start(q);
	for (n = (int)rnd_below(8); n > 0; n--) {
		char *p = demi_malloc(3000);

		memset(p, (int)nr, 3000);
		push_start(q, p, 3000);
		demi_free(p);
	}
	if (rnd_below(2))
		OK(demi_close(q));
	return NULL; /* without a word: the context ends with the thread */
}

static void test_contexts_end(void)
{
	uint64_t seen = 0;
	int q = new_queue();

	OK(demi_queue_export(&fd, q));
	for (unsigned int round = 0; round < (SLOW ? 100 : 500); round++) {
		demi_qtoken_t qt = pop_start(q);
		pthread_t t[4];
		demi_qresult_t qr;

		for (unsigned int i = 0; i < 4; i++)
			OK(pthread_create(&t[i], NULL, passer_by, (void *)(uintptr_t)(round * 4 + i)));
		for (unsigned int i = 0; i < 10; i++)
			push_start(q, &i, sizeof(i));
		for (unsigned int i = 0; i < 4; i++)
			join(t[i]);
		if (demi_cancel(qt) == 0) {
			qr = wait_result(qt);
			check_failed(&qr, ECANCELED);
		}
		for (;;) {
			int n, err = demi_wait_next_n(&qr, 1, &n, &check_now);

			if (err) {
				CHECK_EQ(err, ENOENT);
				break;
			}
			if (qr.qr_opcode != DEMI_OPC_POP)
				continue;
			demi_sgaseg_t *seg = &qr.qr_value.sga.sga_segs[0];
			const char *p = seg->sgaseg_buf;

			CHECK(seg->sgaseg_len == 3000 || seg->sgaseg_len == 4);
			if (seg->sgaseg_len == 3000)
				CHECK(p[0] == p[2999] && !memcmp(p, p + 1, 2999));
			OK(demi_sgafree(&qr.qr_value.sga)); /* the thread that made it is gone */
			seen++;
		}
		/* nothing is left: the next round begins with an empty queue */
		for (;;) {
			qt = pop_start(q);
			if (demi_wait(&qr, qt, &check_now)) {
				OK(demi_cancel(qt));
				wait_result(qt);
				break;
			}
			OK(demi_sgafree(&qr.qr_value.sga));
			seen++;
		}
	}
	CHECK(seen > 0);
	close(fd);
	OK(demi_close(q));
}

/* ---- descriptors and tokens mean nothing elsewhere; errors of export and import ---- */

static demi_qtoken_t token;
static int number;

static void *stranger(void *arg)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;

	CHECK_EQ(demi_pop(&qt, number), ENOSYS);
	init_memq();
	CHECK_EQ(demi_pop(&qt, number), EBADF);
	CHECK_EQ(demi_close(number), EBADF);
	CHECK_EQ(demi_wait(&qr, token, NULL), EINVAL);
	CHECK_EQ(demi_cancel(token), EINVAL);
	CHECK_EQ(demi_init(NULL), EEXIST);
	return NULL;
}

static void test_belongs(void)
{
	demi_qresult_t qr;
	pthread_t t;

	for (int i = 0; i < 100; i++) /* a number that a new context does not have */
		number = new_queue();
	token = pop_start(number);
	OK(pthread_create(&t, NULL, stranger, NULL));
	join(t);
	CHECK_EQ(demi_wait(&qr, token, &check_now), ETIMEDOUT);
	for (int i = number; i > 0; i--)
		demi_close(i);
	qr = wait_result(token);
	check_failed(&qr, ECANCELED);
}

/* In another process: it is told so. Its own thread is where the check must be made, after an exec. */
static int other_process(int inherited)
{
	int qd;

	init_memq();
	CHECK_EQ(demi_queue_import(&qd, inherited), EXDEV);
	return 0;
}

static void test_import_errors(const char *self)
{
	char path[] = "/tmp/demi-import.XXXXXX", arg[16];
	int q = new_queue(), p, pipes[2], f, again, status;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	pid_t pid;

	CHECK_EQ(demi_queue_export(NULL, q), EINVAL);
	CHECK_EQ(demi_queue_export(&f, 9999), EBADF);
	CHECK_EQ(demi_queue_export(&f, -1), EBADF);
	CHECK_EQ(demi_queue_import(NULL, 0), EINVAL);
	CHECK_EQ(demi_queue_import(&p, -1), EINVAL);
	CHECK_EQ(demi_queue_import(&p, 9999), EINVAL);
	OK(pipe(pipes));
	CHECK_EQ(demi_queue_import(&p, pipes[0]), EINVAL);
	f = mkstemp(path);
	CHECK(f >= 0);
	unlink(path);
	CHECK_EQ(demi_queue_import(&p, f), EINVAL);
	CHECK(write(f, path, sizeof(path)) == sizeof(path));
	CHECK_EQ(demi_queue_import(&p, f), EINVAL);
	close(f);
	f = memfd_create("other", MFD_CLOEXEC);
	CHECK(f >= 0);
	CHECK_EQ(demi_queue_import(&p, f), EINVAL);
	close(f);
	close(pipes[0]);
	close(pipes[1]);

	OK(demi_queue_export(&fd, q));
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	OK(demi_queue_export(&again, q)); /* as often as one likes */
	CHECK(again != fd);
	close(fd);
	fd = again;
	p = import();
	CHECK(p != q);
	push_bytes(q, "there", 5);
	pop_bytes(p, "there", 5);
	/* a descriptor's own pops end with it, and only these */
	qt = pop_start(p);
	token = pop_start(q);
	OK(demi_close(q));
	qr = wait_result(token);
	check_failed(&qr, ECANCELED);
	CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
	q = import();
	push_bytes(q, "still", 5);
	qr = wait_result(qt);
	check_popped(&qr, "still", 5);

	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		fcntl(fd, F_SETFD, 0);
		snprintf(arg, sizeof(arg), "%d", fd);
		execl(self, self, arg, NULL);
		_exit(9);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
	OK(demi_close(p));
	OK(demi_close(q));
	CHECK_EQ(demi_queue_import(&p, fd), EINVAL); /* gone */
	close(fd);
}

int main(int argc, char **argv)
{
	alarm(110);
	if (argc > 1)
		return other_process(atoi(argv[1]));
	check_seed();
	setenv("DEMI_SPIN_US", "0", 1);
	init_memq();
	test_order();
	test_one_wakes();
	test_contexts_end();
	test_belongs();
	test_import_errors(argv[0]);
	return 0;
}
