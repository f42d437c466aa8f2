/* SPDX-License-Identifier: MIT */
/* threads */
/*
 * Contexts that come and go while others post to them and wake them; wake-ups that are late; counters at the end;
 * demi_init() in a thread that had a context; exit() of a program whose other threads go on, and whom it tells the
 * counters.
 */
#include "lib/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

#define ROUNDS (SLOW ? 300 : 2000)

static int fd;
static _Atomic(demi_ctx_t *) target; /* of the thread that lives just now */
static atomic_bool stop;
static atomic_uint received, pushes;

/* Lives for a moment, with a pop pending most of the time; ends whatever is on its way to it. */
static void *mayfly(void *arg)
{
	demi_ctx_t *self;
	demi_qresult_t qr;
	int q, err;

	check_rng = (uintptr_t)arg * 2 + 1;
	init_memq();
	OK(demi_self(&self));
	atomic_store(&target, self);
	OK(demi_queue_import(&q, fd));
	for (uint32_t n = rnd_below(4); n > 0; n--) {
		struct timespec timeout = { 0, (long)rnd_below(200000) };
		demi_qtoken_t qt = pop_start(q);

		err = demi_wait(&qr, qt, &timeout);
		CHECK(err == 0 || err == ETIMEDOUT || err == EINTR);
		if (!err) {
			OK(demi_sgafree(&qr.qr_value.sga));
			atomic_fetch_add(&received, 1);
		}
	}
	return NULL;
}

static void *pusher(void *arg)
{
	demi_sgarray_t sga = sga_of("data", 4);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int q, err;

	init_memq();
	OK(demi_queue_import(&q, fd));
	while (!atomic_load(&stop)) {
		err = demi_push(&qt, q, &sga);
		CHECK(err == 0 || err == ENOBUFS);
		if (!err) {
			OK(demi_wait(&qr, qt, NULL));
			atomic_fetch_add(&pushes, 1);
		}
		sched_yield();
	}
	return NULL;
}

/* A context that ended may still be woken by a thread that was told of it before: nothing happens. */
static void *waker(void *arg)
{
	while (!atomic_load(&stop)) {
		demi_ctx_t *ctx = atomic_load(&target);

		if (ctx)
			OK(demi_wakeup(ctx));
		sched_yield();
	}
	return NULL;
}

static void test_mayflies(void)
{
	pthread_t p, w, t;
	int q = new_queue();

	OK(demi_queue_export(&fd, q));
	OK(pthread_create(&p, NULL, pusher, NULL));
	OK(pthread_create(&w, NULL, waker, NULL));
	for (int i = 0; i < ROUNDS; i++) {
		OK(pthread_create(&t, NULL, mayfly, (void *)(uintptr_t)i));
		pthread_join(t, NULL);
	}
	atomic_store(&stop, true);
	pthread_join(p, NULL);
	pthread_join(w, NULL);
	printf("%u pushed, %u received\n", atomic_load(&pushes), atomic_load(&received));
	CHECK(received > 0 && received <= pushes);
	close(fd);
	OK(demi_close(q));
}

/* ---- the counters at the end of a context ---- */

static uint64_t told_copied;
static unsigned int told;
static int in_callback;

static void counters(const char *name, uint32_t len, uint64_t value)
{
	CHECK_EQ(strlen(name), len);
	told++;
	if (!strcmp(name, "copied_bytes"))
		told_copied = value;
	in_callback = demi_queue(&(int){ 0 });
}

static void *with_callback(void *arg)
{
	struct demi_args args = { .callback = counters };
	int q;

	OK(demi_init(&args));
	q = new_queue();
	push_bytes(q, "0123456789", 10);
	CHECK_EQ(counter("copied_bytes"), 10);
	return NULL;
}

static void test_callback(void)
{
	pthread_t t;

	OK(pthread_create(&t, NULL, with_callback, NULL));
	pthread_join(t, NULL);
	CHECK(told >= 8);
	CHECK_EQ(told_copied, 10);
	CHECK_EQ(in_callback, EDEADLK);
}

/* ---- the counters at exit(): after the handlers that are younger than the context, before the older ones ---- */

static unsigned int told_before;

static void older_handler(void)
{
	_exit(told >= 8 && told_copied == 10 && in_callback == EDEADLK && !told_before ? 5 : 6);
}

static void younger_handler(void)
{
	told_before = told;
}

static int exit_with_callback(void)
{
	OK(atexit(older_handler));
	setenv("DEMI_LIBOS", "memq", 1);
	with_callback(NULL);
	OK(atexit(younger_handler));
	return 0;
}

static void nobody_told(void)
{
	_exit(told ? 6 : 5);
}

static void exit_if_inside(int sig)
{
	static int signals;
	uint64_t v;

	if (demi_counter(&v, "polls") == EDEADLK)
		exit(7);
	if (++signals == 5000) /* the timer has taken the place of alarm() */
		_exit(8);
}

/* exit() inside the library: no structure can be trusted, and nobody is told. */
static int exit_inside(void)
{
	struct itimerval often = { { 0, 10000 }, { 0, 10000 } };
	struct demi_args args = { .callback = counters };
	demi_qresult_t qr;
	demi_qtoken_t qt;

	OK(atexit(nobody_told));
	setenv("DEMI_LIBOS", "memq", 1);
	OK(demi_init(&args));
	qt = pop_start(new_queue());
	CHECK(signal(SIGALRM, exit_if_inside) != SIG_ERR);
	OK(setitimer(ITIMER_REAL, &often, NULL));
	while (demi_wait(&qr, qt, NULL) == EINTR)
		;
	return 9;
}

/* ---- the main thread ends the process while others wait, push and free ---- */

static void *busy(void *arg)
{
	int q;

	init_memq();
	OK(demi_queue_import(&q, fd));
	for (;;) {
		void *p = demi_malloc(2000);

		push_bytes(q, p, 2000);
		demi_free(p);
		demi_qresult_t qr = wait_result(pop_start(q));

		demi_sgafree(&qr.qr_value.sga); /* somebody's */
	}
}

static void *idle(void *arg)
{
	init_memq();
	wait_result(pop_start(new_queue()));
	return NULL;
}

static int exit_with_threads(void)
{
	pthread_t t;
	int q;

	init_memq();
	q = new_queue();
	OK(demi_queue_export(&fd, q));
	for (int k = 0; k < 3; k++)
		OK(pthread_create(&t, NULL, k ? busy : idle, NULL));
	pop_start(q);
	sleep_ms(5);
	exit(7);
}

static void test_exit(const char *self, const char *how, int rounds, int expected)
{
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (!pid) {
			alarm(60);
			execl(self, self, how, NULL);
			_exit(9);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK_EQ(status, expected << 8);
	}
}

int main(int argc, char **argv)
{
	alarm(100);
	setenv("DEMI_SPIN_US", "0", 1);
	if (argc > 1 && !strcmp(argv[1], "callback"))
		return exit_with_callback();
	if (argc > 1 && !strcmp(argv[1], "inside"))
		return exit_inside();
	if (argc > 1)
		return exit_with_threads();
	test_exit(argv[0], "threads", 5, 7);
	test_exit(argv[0], "callback", 1, 5);
	if (!SLOW) /* a sanitizer's own exit handlers take locks in which the signal may hit */
		test_exit(argv[0], "inside", 1, 5);
	init_memq();
	test_mayflies();
	test_callback();
	return 0;
}
