// SPDX-License-Identifier: MIT
// threads timeout: 60
/* The two ends in two threads, elements freed in a third, also after the pipes are closed; a foreign loop. */
#include "pipe_test.h"

#include <poll.h>
#include <pthread.h>

enum { PIPES = 4, ELEMENTS = 3000, LEN = 9000, SLOTS = 256 };

/* Elements on their way to the thread that frees them. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	demi_sgarray_t sga[SLOTS];
	uint32_t nr[SLOTS];
	unsigned int head, tail;
} bin = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static void throw_away(const demi_sgarray_t *sga, uint32_t nr)
{
	pthread_mutex_lock(&bin.lock);
	while (bin.tail - bin.head == SLOTS)
		pthread_cond_wait(&bin.cond, &bin.lock);
	bin.sga[bin.tail % SLOTS] = *sga;
	bin.nr[bin.tail++ % SLOTS] = nr;
	pthread_cond_broadcast(&bin.cond);
	pthread_mutex_unlock(&bin.lock);
}

static void *freer(void *arg)
{
	demi_sgarray_t sga;
	uint32_t nr;

	for (unsigned int i = 0; i < PIPES * ELEMENTS; i++) {
		pthread_mutex_lock(&bin.lock);
		while (bin.head == bin.tail)
			pthread_cond_wait(&bin.cond, &bin.lock);
		sga = bin.sga[bin.head % SLOTS];
		nr = bin.nr[bin.head++ % SLOTS];
		pthread_cond_broadcast(&bin.cond);
		pthread_mutex_unlock(&bin.lock);
		pipe_test_element(&sga, LEN, nr);
	}
	return NULL;
}

static void *pusher(void *arg)
{
	char name[16];
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	for (unsigned int p = 0; p < PIPES; p++) {
		snprintf(name, sizeof(name), "threads%u", p);
		qd = pipe_test_open(name);
		for (unsigned int i = 0; i < ELEMENTS; i++)
			pipe_test_push(qd, LEN, i);
		CHECK_EQ(demi_close(qd), 0);
	}
	return NULL;
}

static void *popper(void *arg)
{
	demi_sgarray_t sga;
	char name[16];
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	for (unsigned int p = 0; p < PIPES; p++) {
		snprintf(name, sizeof(name), "threads%u", p);
		CHECK_EQ(demi_create_pipe(&qd, name), 0);
		for (unsigned int i = 0; i < ELEMENTS; i++) {
			CHECK_EQ(demi_blocking_pop(&sga, qd), 0);
			throw_away(&sga, i);
		}
		CHECK_EQ(demi_close(qd), 0);
	}
	return NULL;
}

static void test_free_elsewhere(void)
{
	pthread_t t[3];

	CHECK(!pthread_create(&t[0], NULL, freer, NULL));
	CHECK(!pthread_create(&t[1], NULL, popper, NULL));
	CHECK(!pthread_create(&t[2], NULL, pusher, NULL));
	for (unsigned int i = 0; i < 3; i++)
		CHECK(!pthread_join(t[i], NULL));
}

/* ---- a foreign loop: poll(2) on the wait fd ---- */

enum { ROUNDS = 2000 };

static void *looper(void *arg)
{
	static const struct timespec now;
	demi_qtoken_t qt;
	demi_qresult_t qr;
	struct pollfd pfd = { .events = POLLIN };
	int qd, err;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&qd, "loop"), 0);
	CHECK_EQ(demi_wait_fd(&pfd.fd), 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		if (i % 2)
			CHECK_EQ(demi_pop(&qt, qd), 0);
		err = demi_wait_arm();
		if (i % 2 == 0) { /* issued when the fd is armed already */
			CHECK_EQ(err, 0);
			CHECK_EQ(demi_pop(&qt, qd), 0);
		}
		if (!err)
			CHECK_EQ(poll(&pfd, 1, -1), 1);
		while ((err = demi_wait(&qr, qt, &now)) == ETIMEDOUT) { /* it may have been told too early */
			if (!demi_wait_arm())
				CHECK_EQ(poll(&pfd, 1, -1), 1);
		}
		CHECK_EQ(err, 0);
		pipe_test_element(&qr.qr_value.sga, 10, i);
		pipe_test_push(qd, 20, i);
	}
	pipe_test_pop_ends(qd, 0);
	CHECK_EQ(demi_close(qd), 0);
	return NULL;
}

static void *caller(void *arg)
{
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	qd = pipe_test_open("loop");
	for (unsigned int i = 0; i < ROUNDS; i++) {
		pipe_test_push(qd, 10, i);
		pipe_test_pop(qd, 20, i);
	}
	CHECK_EQ(demi_close(qd), 0);
	return NULL;
}

static void test_foreign_loop(void)
{
	pthread_t t[2];

	CHECK(!pthread_create(&t[0], NULL, looper, NULL));
	CHECK(!pthread_create(&t[1], NULL, caller, NULL));
	CHECK(!pthread_join(t[0], NULL));
	CHECK(!pthread_join(t[1], NULL));
}

int main(void)
{
	pipe_test_setup(55);
	test_free_elsewhere();
	test_foreign_loop();
	pipe_test_cleanup();
	return 0;
}
