/* SPDX-License-Identifier: MIT */
/* JSON, tables and error messages. */
#include "ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELL 256

void ctl_set(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value); /* frees the value if it fails */
}

json_t *ctl_bits(uint64_t bits, const struct bit_name *names, size_t n)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n; i++)
		if (bits & names[i].bit)
			(void)json_array_append_new(list, json_string(names[i].name));
	return list;
}

int ctl_json(json_t *value, size_t flags)
{
	int ret =
		!value || json_dumpf(value, stdout, flags | JSON_ENCODE_ANY) || putchar('\n') == EOF || fflush(stdout);

	json_decref(value);
	return ret;
}

int ctl_fail(const struct ctl *c, int err, const char *hint, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (c->o.json) {
		json_t *e = json_object();

		ctl_set(e, "what", json_string(what));
		if (err) {
			ctl_set(e, "errno", json_integer(-err));
			ctl_set(e, "message", json_string(strerror(-err)));
		}
		if (hint)
			ctl_set(e, "hint", json_string(hint));
		ctl_json(json_pack("{s:o}", "error", e), JSON_INDENT(2));
		return 1;
	}
	fprintf(stderr, "demictl: %s%s%s\n", what, err ? ": " : "", err ? strerror(-err) : "");
	if (hint)
		fprintf(stderr, "  %s\n", hint);
	return 1;
}

static void cell(char *buf, const json_t *v)
{
	size_t i, at = 0;
	json_t *e;

	buf[0] = 0;
	switch (json_typeof(v)) {
	case JSON_STRING:
		snprintf(buf, CELL, "%s", json_string_value(v));
		break;
	case JSON_INTEGER:
		snprintf(buf, CELL, "%lld", (long long)json_integer_value(v));
		break;
	case JSON_REAL:
		snprintf(buf, CELL, "%.0f", json_real_value(v));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(buf, CELL, "%s", json_is_true(v) ? "yes" : "no");
		break;
	case JSON_ARRAY:
		json_array_foreach(v, i, e)
		{
			int n = snprintf(buf + at, CELL - at, "%s%s", i ? "," : "", json_string_value(e));

			if (n < 0 || (at += (size_t)n) >= CELL)
				break;
		}
		break;
	default:
		break;
	}
	if (!buf[0])
		snprintf(buf, CELL, "-");
}

static void cell_of(char *buf, const json_t *row, const char *path)
{
	const char *dot;
	char key[64];

	while (row && (dot = strchr(path, '.'))) {
		snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
		row = json_object_get(row, key);
		path = dot + 1;
	}
	row = json_object_get(row, path);
	if (row)
		cell(buf, row);
	else
		snprintf(buf, CELL, "-");
}

int ctl_table(const struct ctl *c, json_t *rows, const struct column *columns, size_t n)
{
	size_t i, k, width[32] = { 0 };
	char buf[CELL];
	json_t *row;

	if (!rows)
		return ctl_fail(c, -ENOMEM, NULL, "output");
	if (c->o.json)
		return ctl_json(rows, JSON_INDENT(2));
	for (k = 0; k < n && k < 32; k++) {
		width[k] = strlen(columns[k].title);
		json_array_foreach(rows, i, row)
		{
			cell_of(buf, row, columns[k].key);
			if (strlen(buf) > width[k])
				width[k] = strlen(buf);
		}
	}
	for (i = 0; i <= json_array_size(rows); i++) {
		for (k = 0; k < n && k < 32; k++) {
			int w = columns[k].right ? (int)width[k] : k + 1 < n ? -(int)width[k] : 0;

			if (i)
				cell_of(buf, json_array_get(rows, i - 1), columns[k].key);
			printf("%*s%s", w, i ? buf : columns[k].title, k + 1 < n ? "  " : "\n");
		}
	}
	json_decref(rows);
	return 0;
}

static void fields(json_t *object, int indent)
{
	const char *key;
	char buf[CELL];
	json_t *v;

	json_object_foreach(object, key, v)
	{
		if (json_is_object(v)) {
			printf("%*s%s:\n", indent, "", key);
			fields(v, indent + 2);
			continue;
		}
		cell(buf, v);
		printf("%*s%-*s %s\n", indent, "", 18 - indent, key, buf);
	}
}

int ctl_object(const struct ctl *c, json_t *object)
{
	if (!object)
		return ctl_fail(c, -ENOMEM, NULL, "output");
	if (c->o.json)
		return ctl_json(object, JSON_INDENT(2));
	fields(object, 0);
	json_decref(object);
	return 0;
}
