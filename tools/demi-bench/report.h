/* SPDX-License-Identifier: MIT */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

/*
 * What a run found: for each metric and side one value per round. The first side is what is measured, the
 * others are its peers; a ratio is the median over the rounds of first / peer, each pair measured within
 * the same fraction of a second.
 */

#include "hist.h"
#include "stat.h"

#include <stdio.h>

#define MAX_SIDES 6
#define MAX_METRICS 24

enum metric_sense {
	METRIC_LESS, /* less is better */
	METRIC_MORE,
	METRIC_NEUTRAL,
};

struct metric {
	const char *key; /* in JSON and CSV, with its unit */
	const char *label; /* in the table */
	enum metric_sense sense;
	double *v[MAX_SIDES]; /* rounds values each */
};

struct report {
	const char *command;
	char title[256];
	unsigned int sides, rounds, done; /* done: rounds that are complete */
	char side[MAX_SIDES][48];
	const struct hist *hist[MAX_SIDES]; /* latencies in ns, or NULL */
	struct metric metrics[MAX_METRICS];
	unsigned int nmetrics;
};

/* 0 or -errno. */
int report_init(struct report *r, const char *command, unsigned int sides, unsigned int rounds);
void report_free(struct report *r);

/* A new metric's number; its values start as NaN, "not measured". -ENOMEM. */
int report_metric(struct report *r, const char *key, const char *label, enum metric_sense sense);

static inline void report_set(struct report *r, int metric, unsigned int side, unsigned int round, double value)
{
	r->metrics[metric].v[side][round] = value;
}

/* 0 or -errno. */
int report_table(const struct report *r, FILE *f);
int report_brief(const struct report *r, FILE *f); /* echo: a line for each side */
int report_json(const struct report *r, FILE *f);
int report_csv(const struct report *r, const char *path);

/* Latency distribution of all sides as SVG, drawn by gnuplot. 0 or -errno; says itself what went wrong. */
int report_plot(const struct report *r, const char *path);

#endif /* BENCH_REPORT_H */
