/* SPDX-License-Identifier: MIT */
#ifndef DEMICTL_OPTS_H
#define DEMICTL_OPTS_H

#include <stdbool.h>
#include <stdint.h>

struct opts {
	const struct command *command;
	bool json;
	double watch_s; /* stats: between two tables; 0: one table */
	uint64_t count; /* stats: tables; capture: packets; 0: no end */
	const char *file; /* capture: "-" is standard output */
	uint32_t snap_bytes; /* capture; 0: all */
	uint32_t direction; /* capture: DEMI_CAPTURE_F_* */
	const char *owner; /* device bind: a user */
	const char *object, *section, *program, *pinned; /* filter attach */
	char **args; /* what is no option */
	int nargs;
};

struct ctl;

struct command {
	const char *name; /* one or two words */
	const char *args; /* for the usage line, or NULL */
	const char *doc; /* one line */
	const char *options; /* letters of those it knows beyond the common ones, see opts.c */
	int min_args, max_args;
	int (*run)(struct ctl *c); /* an exit status */
};

/* @argv: what follows the command's words. Ends the process on --help and on mistakes. */
void opts_parse(struct opts *o, const struct command *cmd, int argc, char **argv);

#endif /* DEMICTL_OPTS_H */
