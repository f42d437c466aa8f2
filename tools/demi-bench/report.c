/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int report_init(struct report *r, const char *command, unsigned int sides, unsigned int rounds)
{
	memset(r, 0, sizeof(*r));
	if (sides < 1 || sides > MAX_SIDES || rounds < 1 || rounds > STAT_MAX)
		return -EINVAL;
	r->command = command;
	r->sides = sides;
	r->rounds = rounds;
	return 0;
}

void report_free(struct report *r)
{
	unsigned int m, s;

	for (m = 0; m < r->nmetrics; m++)
		for (s = 0; s < r->sides; s++)
			free(r->metrics[m].v[s]);
}

int report_metric(struct report *r, const char *key, const char *label, enum metric_sense sense)
{
	struct metric *m = &r->metrics[r->nmetrics];
	unsigned int s, i;

	if (r->nmetrics == MAX_METRICS)
		return -ENOMEM;
	*m = (struct metric){ .key = key, .label = label, .sense = sense };
	for (s = 0; s < r->sides; s++) {
		m->v[s] = calloc(r->rounds, sizeof(double));
		if (!m->v[s])
			goto err_free;
		for (i = 0; i < r->rounds; i++)
			m->v[s][i] = NAN;
	}
	return (int)r->nmetrics++;

err_free:
	while (s--)
		free(m->v[s]);
	return -ENOMEM;
}

static void print_number(FILE *f, int width, double v)
{
	int digits = fabs(v) >= 1000 ? 0 : fabs(v) >= 100 ? 1 : fabs(v) >= 1 ? 2 : 3;

	if (isnan(v))
		fprintf(f, "%*s", width, "-");
	else
		fprintf(f, "%*.*f", width, digits, v);
}

static void print_ratio(FILE *f, const struct metric *m, unsigned int peer, unsigned int rounds)
{
	struct quartiles q = stat_ratio(m->v[0], m->v[peer], rounds);

	if (isnan(q.median))
		fprintf(f, "  %22s", "-");
	else
		fprintf(f, "  %7.3f [%5.3f…%5.3f]", q.median, q.q1, q.q3);
}

int report_table(const struct report *r, FILE *f)
{
	unsigned int m, s;

	fprintf(f, "%s\n", r->title);
	if (!r->done) {
		fputs("nothing was measured\n", f);
		return 0;
	}
	fprintf(f, "%-30s", r->done > 1 ? "(medians)" : "");
	for (s = 0; s < r->sides; s++)
		fprintf(f, " %14s", r->side[s]);
	for (s = 1; s < r->sides; s++) {
		char head[64];

		snprintf(head, sizeof(head), "/ %s", r->side[s]);
		fprintf(f, "  %22s", head);
	}
	fputc('\n', f);
	for (m = 0; m < r->nmetrics; m++) {
		fprintf(f, "%-30s", r->metrics[m].label);
		for (s = 0; s < r->sides; s++) {
			fputc(' ', f);
			print_number(f, 14, stat_quartiles(r->metrics[m].v[s], r->done).median);
		}
		for (s = 1; s < r->sides; s++)
			print_ratio(f, &r->metrics[m], s, r->done);
		fputc('\n', f);
	}
	return ferror(f) || fflush(f) ? -EIO : 0;
}

/* The median of metric @key of side @s; @also: plus that one. NaN if it was not measured. */
static double median_of(const struct report *r, unsigned int s, const char *key, const char *also)
{
	double sum = NAN;
	unsigned int m;

	for (m = 0; m < r->nmetrics; m++) {
		const struct metric *me = &r->metrics[m];

		if (strcmp(me->key, key) && (!also || strcmp(me->key, also)))
			continue;
		sum = (isnan(sum) ? 0 : sum) + stat_quartiles(me->v[s], r->done).median;
	}
	return sum;
}

int report_brief(const struct report *r, FILE *f)
{
	static const struct {
		const char *above, *head, *key, *also;
		int width;
		double scale;
	} columns[] = {
		{ "round trip", "p50, us", "rtt_p50_us", NULL, 11, 1 },
		{ "round trip", "p99, us", "rtt_p99_us", NULL, 11, 1 },
		{ "", "echoes/s", "kops_per_s", NULL, 11, 1000 },
		{ "per echo:", "system calls", "server_calls_per_op", "client_calls_per_op", 13, 1 },
		{ "", "CPU, us", "server_cpu_us_per_op", "client_cpu_us_per_op", 9, 1 },
	};
	const size_t n = sizeof(columns) / sizeof(columns[0]);
	unsigned int s;
	size_t c;

	fprintf(f, "%-16s", "");
	for (c = 0; c < n; c++)
		fprintf(f, " %*s", columns[c].width, columns[c].above);
	fprintf(f, "\n%-16s", "");
	for (c = 0; c < n; c++)
		fprintf(f, " %*s", columns[c].width, columns[c].head);
	fputc('\n', f);
	for (s = 0; s < r->sides; s++) {
		fprintf(f, "%-16s", r->side[s]);
		for (c = 0; c < n; c++) {
			fputc(' ', f);
			print_number(f, columns[c].width,
				     median_of(r, s, columns[c].key, columns[c].also) * columns[c].scale);
		}
		fputc('\n', f);
	}
	return ferror(f) || fflush(f) ? -EIO : 0;
}

static json_t *json_quartiles(struct quartiles q)
{
	if (isnan(q.median))
		return json_null();
	return json_pack("{s:f, s:f, s:f}", "median", q.median, "q1", q.q1, "q3", q.q3);
}

/* The side's metrics, and as "ratio" those of the first side to it. */
static json_t *json_side(const struct report *r, unsigned int s)
{
	json_t *values = json_object(), *ratios = json_object(), *o;
	unsigned int m;

	for (m = 0; m < r->nmetrics; m++) {
		const struct metric *me = &r->metrics[m];

		json_object_set_new(values, me->key, json_quartiles(stat_quartiles(me->v[s], r->done)));
		if (s)
			json_object_set_new(ratios, me->key, json_quartiles(stat_ratio(me->v[0], me->v[s], r->done)));
	}
	o = json_pack("{s:s, s:o}", "name", r->side[s], "values", values);
	if (s)
		json_object_set_new(o, "ratio_of_first", ratios);
	else
		json_decref(ratios);
	return o;
}

int report_json(const struct report *r, FILE *f)
{
	json_t *sides = json_array(), *root;
	unsigned int s;
	int ret;

	for (s = 0; s < r->sides; s++)
		json_array_append_new(sides, json_side(r, s));
	root = json_pack("{s:s, s:s, s:i, s:o}", "command", r->command, "title", r->title, "rounds", (int)r->done,
			 "sides", sides);
	if (!root)
		return -ENOMEM;
	ret = json_dumpf(root, f, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) || fputc('\n', f) == EOF ? -EIO : 0;
	json_decref(root);
	return ret;
}

int report_csv(const struct report *r, const char *path)
{
	FILE *f = fopen(path, "we");
	unsigned int m, s, i;
	int bad;

	if (!f)
		return -errno;
	fputs("round,side,metric,value\n", f);
	for (i = 0; i < r->done; i++)
		for (s = 0; s < r->sides; s++)
			for (m = 0; m < r->nmetrics; m++)
				if (!isnan(r->metrics[m].v[s][i]))
					fprintf(f, "%u,%s,%s,%.6g\n", i + 1, r->side[s], r->metrics[m].key,
						r->metrics[m].v[s][i]);
	bad = ferror(f);
	return fclose(f) || bad ? -EIO : 0;
}
