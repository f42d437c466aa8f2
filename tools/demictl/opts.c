/* SPDX-License-Identifier: MIT */
#include "opts.h"

#include <argp.h>
#include <errno.h>
#include <linux/demi.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_JSON = 256,
	OPT_WATCH,
	OPT_OBJECT,
	OPT_SECTION,
	OPT_PROGRAM,
	OPT_PINNED,
	OPT_OWNER,
};

/* Which command an option is for is said by one letter in struct command. Those without one are common to all. */
static const struct {
	int key;
	char letter;
} belongs[] = {
	{ OPT_WATCH, 'W' },  { 'c', 'c' },	   { 'w', 'w' },	 { 's', 'w' },	      { 'd', 'w' },
	{ OPT_OBJECT, 'o' }, { OPT_SECTION, 'o' }, { OPT_PROGRAM, 'o' }, { OPT_PINNED, 'o' }, { OPT_OWNER, 'O' },
};

#define NBELONGS (sizeof(belongs) / sizeof(belongs[0]))

static const struct argp_option options[] = {
	{ "watch", OPT_WATCH, "SECONDS", OPTION_ARG_OPTIONAL, "again and again, with rates (default every second)", 0 },
	{ "write", 'w', "FILE", 0, "where the packets go, - for standard output", 0 },
	{ "count", 'c', "N", 0, "end after so many packets, or tables", 0 },
	{ "snap", 's', "BYTES", 0, "at most so much of each packet", 0 },
	{ "direction", 'd', "rx|tx|both", 0, "what the queue receives, sends, or both (default)", 0 },
	{ "object", OPT_OBJECT, "FILE", 0, "an eBPF object file instead of an expression", 0 },
	{ "section", OPT_SECTION, "NAME", 0, "the program in this section of the object file", 0 },
	{ "program", OPT_PROGRAM, "NAME", 0, "the program (function) with this name", 0 },
	{ "pinned", OPT_PINNED, "PATH", 0, "a program that is loaded and pinned in a bpf file system", 0 },
	{ "owner", OPT_OWNER, "USER", 0, "who may have it", 0 },
	{ "json", OPT_JSON, NULL, 0, "JSON on standard output, errors too", 0 },
	{ NULL, 0, NULL, 0, NULL, 0 },
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

static bool is_for(const struct command *cmd, int key)
{
	unsigned int i;

	for (i = 0; i < NBELONGS; i++)
		if (belongs[i].key == key)
			return strchr(cmd->options, belongs[i].letter) != NULL;
	return true;
}

static double number(struct argp_state *st, const char *arg, const char *what, double min, double max, bool whole)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(arg, &end);
	if (errno || end == arg || *end || !(v >= min && v <= max) || (whole && v != floor(v)))
		argp_error(st, "%s is a %snumber from %.12g to %.12g, not %s", what, whole ? "whole " : "", min, max,
			   arg);
	return v;
}

static uint32_t direction(struct argp_state *st, const char *arg)
{
	if (!strcmp(arg, "rx"))
		return DEMI_CAPTURE_F_RX;
	if (!strcmp(arg, "tx"))
		return DEMI_CAPTURE_F_TX;
	if (strcmp(arg, "both"))
		argp_error(st, "--direction is rx, tx or both, not %s", arg);
	return DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_TX;
}

static void check_args(struct argp_state *st, const struct opts *o)
{
	const struct command *cmd = o->command;

	if (o->nargs < cmd->min_args)
		argp_error(st, "what? The arguments are: %s", cmd->args);
	if (o->nargs > cmd->max_args)
		argp_error(st, "\"%s\" is too much%s%s", o->args[cmd->max_args],
			   cmd->args ? "; the arguments are: " : "", cmd->args ? cmd->args : "");
	if ((o->section || o->program) && !o->object)
		argp_error(st, "--section and --program choose from an object file: name it with --object");
	if (!!o->object + !!o->pinned + (o->nargs > 1) > 1 && strchr(cmd->options, 'o'))
		argp_error(st, "an expression, --object or --pinned: choose one");
	if (strchr(cmd->options, 'o') && !o->object && !o->pinned && o->nargs < 2)
		argp_error(st, "which filter? An expression as for tcpdump, --object FILE or --pinned PATH");
	if (strchr(cmd->options, 'O') && !o->owner)
		argp_error(st, "whose? --owner USER");
	if (strchr(cmd->options, 'w') && !o->file)
		argp_error(st, "where to? -w FILE, or -w - to pipe it into: tcpdump -r -");
}

static error_t parse_opt(int key, char *arg, struct argp_state *st)
{
	struct opts *o = st->input;

	switch (key) {
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_WATCH:
		o->watch_s = arg ? number(st, arg, "--watch", 0.01, 86400, false) : 1;
		return 0;
	case 'c':
		o->count = (uint64_t)number(st, arg, "--count", 1, 1e15, true);
		return 0;
	case 'w':
		o->file = arg;
		return 0;
	case 's':
		o->snap_bytes = (uint32_t)number(st, arg, "--snap", 1, 262144, true);
		return 0;
	case 'd':
		o->direction = direction(st, arg);
		return 0;
	case OPT_OBJECT:
		o->object = arg;
		return 0;
	case OPT_SECTION:
		o->section = arg;
		return 0;
	case OPT_PROGRAM:
		o->program = arg;
		return 0;
	case OPT_PINNED:
		o->pinned = arg;
		return 0;
	case OPT_OWNER:
		o->owner = arg;
		return 0;
	case ARGP_KEY_ARGS:
		o->args = st->argv + st->next;
		o->nargs = st->argc - st->next;
		return 0;
	case ARGP_KEY_END:
		check_args(st, o);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void opts_parse(struct opts *o, const struct command *cmd, int argc, char **argv)
{
	struct argp_option mine[NOPTIONS];
	struct argp argp = { .options = mine, .parser = parse_opt, .args_doc = cmd->args };
	char doc[256], name[64];
	unsigned int i, n = 0;

	memset(o, 0, sizeof(*o));
	o->command = cmd;
	o->direction = DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_TX;
	for (i = 0; i < NOPTIONS; i++)
		if (!options[i].name || is_for(cmd, options[i].key))
			mine[n++] = options[i];
	snprintf(doc, sizeof(doc), "demictl %s: %s\n\nQUEUE: an id, pid:PID, or the name of a process", cmd->name,
		 cmd->doc);
	if (!cmd->args || strncmp(cmd->args, "QUEUE", 5))
		*strchr(doc, '\n') = 0;
	argp.doc = doc;
	snprintf(name, sizeof(name), "demictl %s", cmd->name);
	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, o);
}
