/* SPDX-License-Identifier: MIT */
/* threads */
/*
 * A memory queue that several contexts know, beside a model of it: random pushes, pops, limits, cancels, closes,
 * shutdowns and segments, contents checked. The threads take turns, so that the model knows the order; what one does
 * completes the others' pops all the same.
 */
#include "lib/check.h"

#include <pthread.h>

#define THREADS 3
#define DESCS 2 /* each thread's descriptors of the queue */
#define MAX_OPS 20000
#define STEPS (SLOW ? 2000 : 12000)

enum kind { WAITING, DATA, END, CANCELED, TOO_LARGE };

struct op {
	demi_qtoken_t qt;
	int thread, desc; /* desc: which number it was issued on */
	size_t limit;
	enum kind kind;
	uint32_t elem; /* DATA: which */
	bool done; /* consumed */
};

struct elem {
	size_t len;
	uint32_t segs;
};

/* The model; the turn protects it. */
static struct op ops[MAX_OPS]; /* pops, in the order of issue */
static uint32_t nops, first_waiting;
static struct elem elems[MAX_OPS];
static uint32_t head, tail; /* elements in the queue: [head, tail) */
static bool ended;
static int maxsegs = 1;
static int qds[THREADS][DESCS];
static int open_descs;

static int fd;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn, steps;
static uint64_t seed;

static uint8_t byte_at(uint32_t elem, size_t i)
{
	return (uint8_t)(elem * 167 + i * 13 + i / 251);
}

/* A push of the model: who gets it? */
static void model_push(uint32_t e)
{
	for (uint32_t i = first_waiting; i < nops; i++) {
		if (ops[i].kind != WAITING)
			continue;
		if (elems[e].len <= ops[i].limit) {
			ops[i].kind = DATA;
			ops[i].elem = e;
			if (head == e)
				head++;
			return;
		}
		ops[i].kind = TOO_LARGE;
	}
}

static void model_pop(struct op *op)
{
	if (head == tail) {
		op->kind = ended ? END : WAITING;
	} else if (elems[head].len > op->limit) {
		op->kind = TOO_LARGE;
	} else {
		op->kind = DATA;
		op->elem = head++;
	}
}

static void do_push(int me, int d)
{
	static uint8_t outside[9000];
	struct elem *e = &elems[tail];
	demi_sgarray_t sga;
	uint8_t *p = outside;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	size_t at = 0;
	bool heap = rnd_below(2);
	int err;

	if (tail == MAX_OPS)
		return;
	e->len = rnd_below(2) ? rnd_below(100) : rnd_below(8000);
	e->segs = 1 + rnd_below(DEMI_SGARRAY_MAXSIZE);
	if (heap) {
		p = demi_malloc(e->len + 1);
		CHECK(p);
	}
	for (size_t i = 0; i < e->len; i++)
		p[i] = byte_at(tail, i);
	memset(&sga, 0, sizeof(sga));
	sga.sga_numsegs = e->segs;
	for (uint32_t s = 0; s < e->segs; s++) {
		size_t n = s + 1 == e->segs ? e->len - at : rnd_below((uint32_t)(e->len - at + 1));

		sga.sga_segs[s].sgaseg_buf = n ? p + at : NULL;
		sga.sga_segs[s].sgaseg_len = (uint32_t)n;
		at += n;
	}
	err = demi_push(&qt, qds[me][d], &sga);
	if (heap)
		demi_free(p);
	else
		memset(outside, 0xdd, sizeof(outside));
	CHECK_EQ(err, ended ? EPIPE : 0);
	if (err)
		return;
	if (e->segs > (uint32_t)maxsegs)
		e->segs = 1;
	OK(demi_wait(&qr, qt, &check_now));
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	model_push(tail++);
}

static void do_pop(int me, int d)
{
	struct op *op = &ops[nops];

	if (nops == MAX_OPS)
		return;
	op->thread = me;
	op->desc = qds[me][d];
	op->limit = rnd_below(4) ? SIZE_MAX : 1 + rnd_below(6000);
	OK(demi_pop_n(&op->qt, op->desc, op->limit));
	model_pop(op);
	nops++;
}

static void check_op(struct op *op)
{
	size_t at = 0;
	demi_qresult_t qr;
	int err = demi_wait(&qr, op->qt, &check_now);

	if (op->kind == WAITING) {
		CHECK_EQ(err, ETIMEDOUT);
		return;
	}
	OK(err);
	op->done = true;
	CHECK_EQ(qr.qr_qd, op->desc);
	switch (op->kind) {
	case DATA:
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK_EQ(qr.qr_value.sga.sga_numsegs, elems[op->elem].segs);
		for (uint32_t s = 0; s < qr.qr_value.sga.sga_numsegs; s++) {
			const uint8_t *p = qr.qr_value.sga.sga_segs[s].sgaseg_buf;

			for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[s].sgaseg_len; i++)
				CHECK(p[i] == byte_at(op->elem, at++));
		}
		CHECK_EQ(at, elems[op->elem].len);
		break;
	case END:
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
		break;
	default:
		check_failed(&qr, op->kind == CANCELED ? ECANCELED : EMSGSIZE);
		return;
	}
	OK(demi_sgafree(&qr.qr_value.sga));
}

static struct op *some_op(int me)
{
	for (int i = 0; nops && i < 50; i++) {
		uint32_t k = rnd_below(4) ? nops - 1 - rnd_below(nops < 30 ? nops : 30) : rnd_below(nops);

		if (ops[k].thread == me && !ops[k].done)
			return &ops[k];
	}
	return NULL;
}

static void do_cancel(struct op *op)
{
	int err = demi_cancel(op->qt);

	CHECK_EQ(err, op->kind == WAITING ? 0 : EALREADY);
	if (!err)
		op->kind = CANCELED;
}

static void do_reopen(int me, int d)
{
	int was = qds[me][d];

	for (uint32_t i = first_waiting; i < nops; i++) {
		if (ops[i].thread == me && ops[i].desc == was && ops[i].kind == WAITING && !ops[i].done)
			ops[i].kind = CANCELED;
	}
	OK(demi_close(was));
	OK(demi_queue_import(&qds[me][d], fd));
}

static void step(int me)
{
	int d = (int)rnd_below(DESCS);
	struct op *op;

	while (first_waiting < nops && ops[first_waiting].kind != WAITING)
		first_waiting++;
	switch (rnd_below(16)) {
	case 0 ... 4:
		do_push(me, d);
		break;
	case 5 ... 9:
		do_pop(me, d);
		break;
	case 10 ... 12:
		op = some_op(me);
		if (op)
			check_op(op);
		break;
	case 13:
		op = some_op(me);
		if (op)
			do_cancel(op);
		break;
	case 14:
		if (rnd_below(8) == 0) {
			maxsegs = 1 + (int)rnd_below(DEMI_SGARRAY_MAXSIZE);
			OK(demi_setsockopt(qds[me][d], DEMI_SOL, DEMI_SO_MAXSEGS, &maxsegs, sizeof(maxsegs)));
		}
		break;
	default:
		if (rnd_below(8) == 0)
			do_reopen(me, d);
		if (!ended && steps < STEPS / 50 && rnd_below(4) == 0) {
			OK(demi_shutdown(qds[me][d], SHUT_WR));
			ended = true;
			for (uint32_t i = first_waiting; i < nops; i++)
				ops[i].kind = ops[i].kind == WAITING ? END : ops[i].kind;
		}
	}
}

static void *thread(void *arg)
{
	int me = (int)(uintptr_t)arg;

	if (me)
		init_memq();
	pthread_mutex_lock(&lock);
	for (int d = 0; d < DESCS; d++)
		OK(demi_queue_import(&qds[me][d], fd));
	open_descs += DESCS;
	check_rng = seed + (uint64_t)me * 2; /* odd */
	while (steps > 0) {
		while (turn != me)
			pthread_cond_wait(&cond, &lock);
		if (steps > 0 && open_descs == THREADS * DESCS) {
			for (uint32_t n = rnd_below(5); n > 0; n--)
				step(me);
			steps--;
		}
		turn = (int)rnd_below(THREADS);
		if (turn == me)
			turn = (turn + 1) % THREADS;
		pthread_cond_broadcast(&cond);
	}
	for (uint32_t i = 0; i < nops; i++) {
		if (ops[i].thread == me && !ops[i].done)
			check_op(&ops[i]);
	}
	turn = (me + 1) % THREADS;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	uint32_t data = 0;
	int q;

	alarm(110);
	seed = check_seed();
	init_memq();
	for (int round = 0; round < 3; round++) {
		nops = first_waiting = head = tail = 0;
		memset(ops, 0, sizeof(ops));
		ended = false;
		maxsegs = 1;
		open_descs = turn = 0;
		steps = STEPS;
		q = new_queue();
		OK(demi_queue_export(&fd, q));
		for (int i = 1; i < THREADS; i++)
			OK(pthread_create(&t[i], NULL, thread, (void *)(uintptr_t)i));
		thread(NULL);
		for (int i = 1; i < THREADS; i++)
			pthread_join(t[i], NULL);
		for (uint32_t i = 0; i < nops; i++)
			data += ops[i].kind == DATA;
		for (int d = 0; d < DESCS; d++)
			OK(demi_close(qds[0][d]));
		OK(demi_close(q));
		close(fd);
		seed += 1000;
		printf("%u pops, %u elements, %u of them left\n", nops, tail, tail - head);
	}
	CHECK(data > 100);
	return 0;
}
