/* SPDX-License-Identifier: MIT */
/*
 * The configuration file. It may be hostile: its size is limited, because libyaml's work on nested or anchored
 * nodes grows with the square of their number; and nothing here recurses, so that an alias may lead back to
 * a node that contains it.
 */
#include "core/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#define FILE_MAX_BYTES (16U << 10)
#define KEY_MAX_BYTES 64U
#define VALUE_MAX_BYTES 1024U

struct demi_config_yaml {
	yaml_document_t doc;
	const char *path;
};

static int read_file(const char *path, unsigned char *buf, size_t room, size_t *len_out)
{
	size_t len = 0;
	ssize_t n;
	int fd, err;

	/* O_NONBLOCK: a FIFO without a writer is an empty file. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		err = errno;
		demi_warn("CONFIG_PATH=%s: %s", path, strerror(err));
		return -EINVAL;
	}
	do {
		n = read(fd, buf + len, room - len);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len < room) || (n < 0 && errno == EINTR));
	err = n < 0 ? errno : 0;
	close(fd);
	if (err) {
		demi_warn("CONFIG_PATH=%s: %s", path, strerror(err));
		return -EINVAL;
	}
	if (len == room) {
		demi_warn("CONFIG_PATH=%s: larger than %zu bytes", path, room - 1);
		return -EINVAL;
	}
	*len_out = len;
	return 0;
}

static int parse(yaml_document_t *doc, const char *path, const unsigned char *buf, size_t len)
{
	yaml_parser_t parser;
	int rc = 0;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, buf, len);
	if (!yaml_parser_load(&parser, doc)) {
		demi_warn("%s:%zu: %s", path, parser.problem_mark.line + 1,
			  parser.problem ? parser.problem : "no memory");
		rc = parser.error == YAML_MEMORY_ERROR ? -ENOMEM : -EINVAL;
	}
	yaml_parser_delete(&parser);
	return rc;
}

/* A scalar as a string; false if @n is none, holds a NUL, or is longer than fits. */
static bool scalar(const yaml_node_t *n, char *buf, size_t room)
{
	if (!n || n->type != YAML_SCALAR_NODE || n->data.scalar.length >= room ||
	    memchr(n->data.scalar.value, '\0', n->data.scalar.length))
		return false;
	memcpy(buf, n->data.scalar.value, n->data.scalar.length);
	buf[n->data.scalar.length] = '\0';
	return true;
}

/* `section:` with nothing behind it. */
static bool is_null(const yaml_node_t *n)
{
	char text[8];

	return scalar(n, text, sizeof(text)) && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*text || !strcmp(text, "~") || !strcasecmp(text, "null"));
}

int demi_config_yaml_open(struct demi_config_yaml **out, const char *path)
{
	unsigned char *buf = malloc(FILE_MAX_BYTES + 1);
	struct demi_config_yaml *y = calloc(1, sizeof(*y));
	yaml_node_t *root;
	size_t len = 0;
	int rc;

	rc = buf && y ? read_file(path, buf, FILE_MAX_BYTES + 1, &len) : -ENOMEM;
	if (!rc)
		rc = parse(&y->doc, path, buf, len);
	free(buf);
	if (rc) {
		free(y);
		return rc;
	}
	y->path = path;
	root = yaml_document_get_root_node(&y->doc);
	if (root && root->type != YAML_MAPPING_NODE && !is_null(root)) {
		demi_warn("%s: the top level is not a mapping", path);
		demi_config_yaml_close(y);
		return -EINVAL;
	}
	*out = y;
	return 0;
}

void demi_config_yaml_close(struct demi_config_yaml *y)
{
	if (!y)
		return;
	yaml_document_delete(&y->doc);
	free(y);
}

/* Is @p's key in the same mapping once more, before it? Files are short: the square does not matter. */
static bool is_repeated(struct demi_config_yaml *y, const yaml_node_t *map, const yaml_node_pair_t *p, const char *key)
{
	char other[KEY_MAX_BYTES];
	yaml_node_pair_t *o;

	for (o = map->data.mapping.pairs.start; o < p; o++)
		if (scalar(yaml_document_get_node(&y->doc, o->key), other, sizeof(other)) && !strcmp(other, key))
			return true;
	return false;
}

struct cursor {
	struct demi_config_yaml *y;
	struct demi_config *c;
	const char *section;
	bool tolerant; /* of options that this library does not have */
};

/* The name of @p's option into @name: its key behind @prefix. */
static int pair_name(const struct cursor *at, const yaml_node_t *map, const yaml_node_pair_t *p, const char *prefix,
		     char *name, size_t room)
{
	char key[KEY_MAX_BYTES];

	if (!scalar(yaml_document_get_node(&at->y->doc, p->key), key, sizeof(key))) {
		demi_warn("%s: a key of %s is not a short word", at->y->path, at->section);
		return -EINVAL;
	}
	if (is_repeated(at->y, map, p, key)) {
		demi_warn("%s: %s.%s%s stands there twice", at->y->path, at->section, prefix, key);
		return -EINVAL;
	}
	snprintf(name, room, "%s%s", prefix, key);
	return 0;
}

/* A list of words: a line each. No option of another type takes a value that ends with a line. */
static bool words(const struct demi_config_yaml *y, const yaml_node_t *n, char *buf, size_t room)
{
	yaml_document_t *doc = (yaml_document_t *)&y->doc;
	yaml_node_item_t *i;
	size_t len = 0;

	if (!n || n->type != YAML_SEQUENCE_NODE)
		return false;
	for (i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		if (!scalar(yaml_document_get_node(doc, *i), buf + len, room - len))
			return false;
		len += strlen(buf + len);
		if (len + 2 > room)
			return false;
		buf[len++] = '\n';
		buf[len] = '\0';
	}
	return len != 0;
}

static int pair_set(const struct cursor *at, const char *name, const yaml_node_t *node)
{
	char value[VALUE_MAX_BYTES], where[400];
	int rc;

	snprintf(where, sizeof(where), "%.200s: %s.%s", at->y->path, at->section, name);
	if (!scalar(node, value, sizeof(value)) && !words(at->y, node, value, sizeof(value))) {
		demi_warn("%s: the value is not a short word", where);
		return -EINVAL;
	}
	rc = demi_config_set(at->c, at->section, name, value, where);
	if (rc == -ENOENT)
		return at->tolerant ? 0 : -EINVAL;
	return rc;
}

/* The options of a mapping inside a section: their names have the mapping's before them. */
static int inner_mapping(const struct cursor *at, const yaml_node_t *map, const char *outer)
{
	char prefix[KEY_MAX_BYTES + 1], name[2 * KEY_MAX_BYTES + 1];
	yaml_node_pair_t *p;
	int rc = 0;

	snprintf(prefix, sizeof(prefix), "%.*s.", (int)KEY_MAX_BYTES - 1, outer);
	for (p = map->data.mapping.pairs.start; !rc && p < map->data.mapping.pairs.top; p++) {
		rc = pair_name(at, map, p, prefix, name, sizeof(name));
		if (!rc)
			rc = pair_set(at, name, yaml_document_get_node(&at->y->doc, p->value));
	}
	return rc;
}

static int outer_mapping(const struct cursor *at, const yaml_node_t *map)
{
	char name[KEY_MAX_BYTES];
	yaml_node_pair_t *p;
	yaml_node_t *value;
	int rc = 0;

	for (p = map->data.mapping.pairs.start; !rc && p < map->data.mapping.pairs.top; p++) {
		rc = pair_name(at, map, p, "", name, sizeof(name));
		if (rc)
			break;
		value = yaml_document_get_node(&at->y->doc, p->value);
		if (value && value->type == YAML_MAPPING_NODE)
			rc = inner_mapping(at, value, name);
		else
			rc = pair_set(at, name, value);
	}
	return rc;
}

int demi_config_yaml_section(struct demi_config_yaml *y, struct demi_config *c, const char *section, bool tolerant)
{
	struct cursor at = { .y = y, .c = c, .section = section, .tolerant = tolerant };
	yaml_node_t *root = yaml_document_get_root_node(&y->doc), *value;
	bool seen = false;
	yaml_node_pair_t *p;
	char key[KEY_MAX_BYTES];
	int rc = 0;

	if (!root || root->type != YAML_MAPPING_NODE)
		return 0;
	for (p = root->data.mapping.pairs.start; !rc && p < root->data.mapping.pairs.top; p++) {
		if (!scalar(yaml_document_get_node(&y->doc, p->key), key, sizeof(key)) || strcmp(key, section))
			continue;
		value = yaml_document_get_node(&y->doc, p->value);
		if (seen || !value || (value->type != YAML_MAPPING_NODE && !is_null(value))) {
			demi_warn("%s: %s is not one mapping", y->path, section);
			return -EINVAL;
		}
		seen = true;
		if (value->type == YAML_MAPPING_NODE)
			rc = outer_mapping(&at, value);
	}
	return rc;
}
