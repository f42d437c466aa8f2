/* SPDX-License-Identifier: MIT */
/* engines: both */
/*
 * What runs out: file descriptors during demi_init(), queue descriptors, slots for operations. And what must not grow:
 * 100,000 queues made and closed, 1,000 contexts one after the other.
 */
#include "lib/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static size_t resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size, resident;

	CHECK(f && fscanf(f, "%lu %lu", &size, &resident) == 2);
	fclose(f);
	return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* With room for each number of descriptors from none up: an error that says so and leaves nothing open, or success. */
static void test_init_descriptors(void)
{
	struct rlimit was, lim;
	int used = 0, done = 0, before, err;

	OK(getrlimit(RLIMIT_NOFILE, &was));
	before = count_fds();
	while (fcntl(used, F_GETFD) >= 0)
		used++;
	lim = was;
	for (int room = 0; room < 40 && !done; room++) {
		lim.rlim_cur = (rlim_t)(used + room);
		OK(setrlimit(RLIMIT_NOFILE, &lim));
		err = demi_init(NULL);
		OK(setrlimit(RLIMIT_NOFILE, &was));
		if (err) {
			CHECK(err == EMFILE || err == ENODEV);
			CHECK_EQ(count_fds(), before);
			CHECK_EQ(demi_queue(&(int){ 0 }), ENOSYS);
		} else {
			done = room + 1;
		}
	}
	CHECK(done > 1);
}

static void test_socket_descriptors(void)
{
	struct rlimit was, lim;
	int used = 0, qd, fd, q = new_queue();

	OK(getrlimit(RLIMIT_NOFILE, &was));
	while (fcntl(used, F_GETFD) >= 0)
		used++;
	lim = was;
	lim.rlim_cur = (rlim_t)used;
	OK(setrlimit(RLIMIT_NOFILE, &lim));
	qd = fd = 77;
	CHECK_EQ(demi_socket(&qd, AF_INET, SOCK_STREAM, 0), EMFILE);
	CHECK_EQ(demi_queue_export(&fd, q), EMFILE);
	CHECK_EQ(demi_open(&qd, "/dev/null", O_RDWR, 0), EMFILE);
	CHECK(qd == 77 && fd == 77);
	push_bytes(q, "needs none", 10);
	pop_bytes(q, "needs none", 10);
	OK(setrlimit(RLIMIT_NOFILE, &was));
	OK(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	OK(demi_close(qd));
	OK(demi_close(q));
}

static void test_queues_do_not_grow(void)
{
	size_t kib = 0;

	for (int i = 0; i < 100000; i++) {
		int q = new_queue();

		CHECK(q < 64);
		if (i % 3 == 0)
			push_bytes(q, &i, sizeof(i));
		OK(demi_close(q));
		if (i == 1000)
			kib = resident_kib();
	}
	if (!SLOW)
		CHECK(resident_kib() < kib + 512);
}

/* Twenty bits of slots: the next operation is refused, the others live, and one that is given up makes room. */
static void test_operations(void)
{
	enum { SLOTS = 1 << 20 };
	demi_qtoken_t *qts = malloc(SLOTS * sizeof(*qts)), qt = 77;
	int q = new_queue(), err = 0, n;
	demi_qresult_t qr;

	CHECK(qts);
	for (n = 0; n < SLOTS; n++) {
		err = demi_pop(&qts[n], q);
		if (err)
			break;
	}
	CHECK(n > SLOTS / 2);
	CHECK_EQ(demi_pop(&qt, q), ENOMEM);
	CHECK_EQ(qt, 77);
	for (int i = 0; i < 1000; i++) {
		OK(demi_cancel(qts[n - 1]));
		qr = wait_result(qts[n - 1]);
		check_failed(&qr, ECANCELED);
		qts[n - 1] = pop_start(q);
		CHECK_EQ(demi_pop(&qt, q), ENOMEM);
	}
	OK(demi_close(q));
	for (int i = 0; i < n; i++) {
		qr = wait_result(qts[i]);
		check_failed(&qr, ECANCELED);
	}
	free(qts);
}

static void *context(void *arg)
{
	int q;

	init_sockets();
	q = new_queue();
	pop_start(q);
	push_start(new_queue(), "x", 1);
	return NULL;
}

static void test_contexts_do_not_grow(void)
{
	int fds = 0, rounds = SLOW ? 50 : 500;
	size_t kib = 0;
	pthread_t t;

	for (int i = 0; i < rounds; i++) {
		OK(pthread_create(&t, NULL, context, NULL));
		pthread_join(t, NULL);
		if (i == rounds / 10) {
			fds = count_fds();
			kib = resident_kib();
		}
	}
	CHECK_EQ(count_fds(), fds);
	if (!SLOW)
		CHECK(resident_kib() < kib + 2048);
}

int main(void)
{
	alarm(100);
	test_init_descriptors();
	test_socket_descriptors();
	test_queues_do_not_grow();
	test_operations();
	test_contexts_do_not_grow();
	return 0;
}
