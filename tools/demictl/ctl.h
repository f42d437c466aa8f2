/* SPDX-License-Identifier: MIT */
#ifndef DEMICTL_CTL_H
#define DEMICTL_CTL_H

/*
 * What the commands share. A command makes a JSON value of what it found; it is printed as it is (--json), or as
 * a table of some of its fields.
 */

#include "kdev/kdev.h"
#include "opts.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct ctl {
	struct opts o;
	int fd; /* of /dev/demi */
	struct demi_get_info info;
};

extern const struct command cmd_info, cmd_device_list, cmd_device_show, cmd_device_bind, cmd_device_unbind, cmd_grant,
	cmd_revoke, cmd_queue_list, cmd_queue_show, cmd_flow_list, cmd_filter_attach, cmd_filter_detach,
	cmd_filter_show, cmd_stats, cmd_capture;

/* ---- out.c ---- */

/* Say what failed, why (-errno, or 0) and what to do about it (or NULL). Returns the exit status 1. */
int ctl_fail(const struct ctl *c, int err, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

struct column {
	const char *key; /* of the object; "a.b" looks deeper */
	const char *title;
	bool right; /* flush right: numbers */
};

/* Prints and frees @rows, an array of objects. Returns the exit status. */
int ctl_table(const struct ctl *c, json_t *rows, const struct column *columns, size_t n);

/* The same for one object: a line a field, deeper ones too. */
int ctl_object(const struct ctl *c, json_t *object);

/* Prints and frees a value as JSON; @flags as for json_dumpf(). */
int ctl_json(json_t *value, size_t flags);

/* Set a field; the value is freed if that fails: then the output lacks it. */
void ctl_set(json_t *object, const char *key, json_t *value);

/* The names of the bits that are set, as an array. */
struct bit_name {
	uint64_t bit;
	const char *name;
};
json_t *ctl_bits(uint64_t bits, const struct bit_name *names, size_t n);

/* ---- names.c ---- */

/* A queue by id, pid:PID or process name: 0, or the exit status after saying what is wrong. */
int ctl_queue(const struct ctl *c, const char *name, struct demi_queue_info *info);
/* A device by id or name. */
int ctl_device(const struct ctl *c, const char *name, struct demi_device_info *info);
/* A user by name or uid. */
int ctl_user(const struct ctl *c, const char *name, uint32_t *uid);

const char *ctl_queue_kind(uint32_t kind);
/* "192.0.2.1:53", "[2001:db8::1]:53", "*:53", "*". */
void ctl_addr(char *buf, size_t size, const struct demi_addr *a, bool any_port);

/* ---- queue.c ---- */

/* All queues that can be seen. 0, or the exit status after saying what is wrong. */
int ctl_queues(const struct ctl *c, struct demi_queue_info **infos, uint32_t *count);
json_t *ctl_counters(const struct demi_queue_counters *counters);

/* ---- filter_object.c ---- */

/* A socket filter of an object file, or a pinned one, as a file descriptor; or -1 after saying what is wrong. */
int ctl_filter_load(const struct ctl *c);

#endif /* DEMICTL_CTL_H */
