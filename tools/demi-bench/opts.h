/* SPDX-License-Identifier: MIT */
#ifndef BENCH_OPTS_H
#define BENCH_OPTS_H

#include "report.h"

#include <stdbool.h>
#include <stdint.h>

enum over {
	OVER_TCP,
	OVER_UDP,
	OVER_UNIX,
	OVER_PIPE, /* libdemi's pipes; the same processes and shared memory for ring-raw */
	OVER_NONE,
};

/* What is run on one side: "KIND[:OVER][@WHERE]". */
struct side_spec {
	char kind[16];
	enum over over;
	const char *on; /* what it has to itself, a disk or two PCI functions; NULL: nothing */
};

struct device;

struct opts {
	const struct command *command;
	const struct device *device; /* NULL: the kernel's sockets */
	struct side_spec sides[MAX_SIDES]; /* the first is what is measured, the others its peers */
	unsigned int nsides;
	enum over over; /* of those sides that name none */
	char load[16]; /* kind of every side's client; empty: the side's own */
	uint32_t size; /* bytes of a message */
	uint32_t connections, window; /* window: messages under way per connection */
	uint32_t rounds;
	uint64_t slice_ns, warmup_ns;
	uint64_t count; /* operations of a slice; 0: as many as fit */
	uint32_t outstanding; /* wait: tokens */
	uint32_t active; /* wait: of them so many complete in turn */
	uint32_t threads; /* queue: 1 or 2 */
	const char *how; /* wait: any, next */
	const char *file; /* file: path, or NULL */
	bool durable; /* file */
	bool framed;
	bool read; /* file */
	int cpus[2]; /* server, client; -1: not pinned */
	int64_t spin_us; /* DEMI_SPIN_US for libdemi; -1: its own choice */
	bool json, brief, quiet;
	const char *csv, *plot;
	char **args; /* what follows the options */
	int nargs;
};

struct command {
	const char *name;
	const char *doc; /* one line */
	const char *options; /* short names of those it knows beyond the common ones */
	const char *kinds; /* what --vs may name */
	int (*run)(struct opts *o);
};

const char *over_name(enum over over);

/* Fill in @o from the arguments after the command's name; ends the process on --help and on mistakes. */
void opts_parse(struct opts *o, const struct command *cmd, int argc, char **argv);

#endif /* BENCH_OPTS_H */
