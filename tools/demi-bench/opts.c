/* SPDX-License-Identifier: MIT */
#include "opts.h"

#include "device.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_VS = 256,
	OPT_DEVICE,
	OPT_AS,
	OPT_LOAD,
	OPT_PAIRS,
	OPT_SLICE,
	OPT_CPUS,
	OPT_WARMUP,
	OPT_FRAMED,
	OPT_SPIN,
	OPT_JSON,
	OPT_BRIEF,
	OPT_CSV,
	OPT_PLOT,
	OPT_OUTSTANDING,
	OPT_ACTIVE,
	OPT_THREADS,
	OPT_HOW,
	OPT_FILE,
	OPT_DURABLE,
	OPT_READ,
};

/*
 * Which command an option is for is said by one letter, looked up in struct command: 'o' over,
 * 's' size, 'c' connections, 'w' window, 'l' load, 'f' framed, 't' tokens, 'h' how, 'q' threads, 'F' file,
 * 'p' plot and brief, 'd' device. Everything else is common to all.
 */
static const struct {
	int key;
	char letter;
} belongs[] = {
	{ 'o', 'o' },	      { 's', 's' },
	{ 'c', 'c' },	      { 'w', 'w' },
	{ OPT_LOAD, 'l' },    { OPT_FRAMED, 'f' },
	{ OPT_HOW, 'h' },     { OPT_FILE, 'F' },
	{ OPT_DURABLE, 'F' }, { OPT_READ, 'F' },
	{ OPT_THREADS, 'q' }, { OPT_PLOT, 'p' },
	{ OPT_BRIEF, 'p' },   { OPT_OUTSTANDING, 't' },
	{ OPT_ACTIVE, 't' },  { OPT_DEVICE, 'd' },
};

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "What is measured:", 1 },
	{ "vs", OPT_VS, "KIND[:OVER][@WHERE]", 0,
	  "a peer, measured interleaved with the first side, on a disk or two PCI functions of its own; may be "
	  "repeated",
	  0 },
	{ "as", OPT_AS, "KIND[:OVER][@WHERE]", 0,
	  "what to measure as the first side instead of libdemi (kind \"demi\")", 0 },
	{ "over", 'o', "tcp|udp|unix|pipe", 0, "what it runs over (default tcp)", 0 },
	{ "device", OPT_DEVICE, "ring|dpdk|virtio|nvme", 0, "libdemi's own stack on this device; file: nvme", 0 },
	{ "size", 's', "BYTES", 0, "of a message (default 64; 16384 for stream and file)", 0 },
	{ "connections", 'c', "N", 0, "default 1", 0 },
	{ "window", 'w', "N", 0, "messages under way on each connection (default 1; stream: 16)", 0 },
	{ "load", OPT_LOAD, "KIND", 0, "the same client for all sides, so that only the servers differ", 0 },
	{ "framed", OPT_FRAMED, NULL, 0, "message framing on libdemi's stream (DEMI_SO_FRAMED)", 0 },
	{ "outstanding", OPT_OUTSTANDING, "N", 0, "tokens that are waited for (default 65536)", 0 },
	{ "active", OPT_ACTIVE, "N", 0, "tokens that complete in turn, the others stay blocked (default 8)", 0 },
	{ "how", OPT_HOW, "any|next", 0, "demi_wait_any() or demi_wait_next_n() (default any)", 0 },
	{ "threads", OPT_THREADS, "1|2", 0, "default 1", 0 },
	{ "file", OPT_FILE, "PATH", 0,
	  "a file to make, use and remove (default: in the working directory); a namespace", 0 },
	{ "durable", OPT_DURABLE, NULL, 0, "every write on stable storage before it counts", 0 },
	{ "read", OPT_READ, NULL, 0, "read a file of 64 MiB again and again instead of appending", 0 },
	{ NULL, 0, NULL, 0, "How it is measured:", 2 },
	{ "duration", 'd', "SECONDS", 0, "measured time of each side (default 1.5)", 0 },
	{ "count", 'n', "N", 0, "operations of a slice, instead of a duration", 0 },
	{ "pairs", OPT_PAIRS, "N", 0, "slices of each side, taken in turn (default 15)", 0 },
	{ "warmup", OPT_WARMUP, "MS", 0, "unmeasured run of each side before the first slice (default 100)", 0 },
	{ "cpus", OPT_CPUS, "A,B", 0, "pin the server to CPU A and the client to CPU B", 0 },
	{ "spin-us", OPT_SPIN, "US", 0, "DEMI_SPIN_US for libdemi: how long its waits spin before they sleep", 0 },
	{ NULL, 0, NULL, 0, "Output:", 3 },
	{ "json", OPT_JSON, NULL, 0, "JSON on standard output instead of the table", 0 },
	{ "brief", OPT_BRIEF, NULL, 0, "a table with one line for each side", 0 },
	{ "csv", OPT_CSV, "FILE", 0, "every slice's values as CSV", 0 },
	{ "plot", OPT_PLOT, "FILE.svg", 0, "the distribution of the latencies, drawn by gnuplot", 0 },
	{ "quiet", 'q', NULL, 0, "no progress line", 0 },
	{ NULL, 0, NULL, 0, NULL, 0 },
};

static const char *const over_names[] = { "tcp", "udp", "unix", "pipe", "" };

const char *over_name(enum over over)
{
	return over_names[over];
}

static double number(struct argp_state *st, const char *arg, const char *what, double min, double max)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(arg, &end);
	if (errno || end == arg || *end || isnan(v) || v < min || v > max)
		argp_error(st, "%s is %s, but has to be from %.12g to %.12g", what, arg, min, max);
	return v;
}

static uint32_t integer(struct argp_state *st, const char *arg, const char *what, double min, double max)
{
	double v = number(st, arg, what, min, max);

	if (v != floor(v))
		argp_error(st, "%s is %s, but has to be a whole number", what, arg);
	return (uint32_t)v;
}

static enum over parse_over(struct argp_state *st, const char *arg)
{
	unsigned int i;

	for (i = 0; i < OVER_NONE; i++)
		if (!strcmp(arg, over_names[i]))
			return (enum over)i;
	argp_error(st, "--over is tcp, udp, unix or pipe, not %s", arg);
	return OVER_TCP;
}

/* Is @name one of the words of @list? */
static bool word_in(const char *list, const char *name, size_t len)
{
	const char *p;

	for (p = list; p && *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == len && !strncmp(p, name, len))
			return true;
	return false;
}

static void parse_kind(struct argp_state *st, char *kind, const char *arg, size_t len)
{
	struct opts *o = st->input;

	if (!word_in(o->command->kinds, arg, len))
		argp_error(st, "\"%s\" knows no side \"%.*s\"; there is: %s", o->command->name, (int)len, arg,
			   o->command->kinds);
	snprintf(kind, sizeof(o->load), "%.*s", (int)len, arg);
}

static void parse_side(struct argp_state *st, struct side_spec *side, const char *arg)
{
	struct opts *o = st->input;
	size_t len = strcspn(arg, ":@"), end = strcspn(arg, "@");
	char over[8];

	parse_kind(st, side->kind, arg, len);
	snprintf(over, sizeof(over), "%.*s", len < end ? (int)(end - len - 1) : 0, arg + len + 1);
	side->over = len < end ? parse_over(st, over) : OVER_NONE;
	side->on = arg[end] ? arg + end + 1 : NULL;
	if (side->on && !strchr(o->command->options, 'd'))
		argp_error(st, "\"%s\" has no sides on devices of their own: leave @%s away", o->command->name,
			   side->on);
}

static void parse_cpus(struct argp_state *st, struct opts *o, const char *arg)
{
	char *end, *end2;
	long a = strtol(arg, &end, 10), b;

	b = *end == ',' ? strtol(end + 1, &end2, 10) : -1;
	if (end == arg || *end != ',' || end2 == end + 1 || *end2 || a < 0 || b < 0 || a > 4095 || b > 4095)
		argp_error(st, "--cpus takes two CPU numbers, as in --cpus 0,1");
	o->cpus[0] = (int)a;
	o->cpus[1] = (int)b;
}

static void check_belongs(struct argp_state *st, int key)
{
	struct opts *o = st->input;
	unsigned int i;

	for (i = 0; i < sizeof(belongs) / sizeof(belongs[0]); i++)
		if (belongs[i].key == key && !strchr(o->command->options, belongs[i].letter))
			argp_error(st, "\"%s\" does not know this option; see demi-bench %s --help", o->command->name,
				   o->command->name);
}

static error_t parse_measure(int key, char *arg, struct argp_state *st)
{
	struct opts *o = st->input;

	switch (key) {
	case 'd':
		o->slice_ns = (uint64_t)(number(st, arg, "--duration", 0.001, 86400) * 1e9);
		break;
	case 'n':
		o->count = (uint64_t)number(st, arg, "--count", 1, 1e15);
		break;
	case OPT_PAIRS:
		o->rounds = integer(st, arg, "--pairs", 1, STAT_MAX);
		break;
	case OPT_WARMUP:
		o->warmup_ns = (uint64_t)(number(st, arg, "--warmup", 0, 60000) * 1e6);
		break;
	case OPT_CPUS:
		parse_cpus(st, o, arg);
		break;
	case OPT_SPIN:
		o->spin_us = integer(st, arg, "--spin-us", 0, 4e9);
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_BRIEF:
		o->brief = true;
		break;
	case OPT_CSV:
		o->csv = arg;
		break;
	case OPT_PLOT:
		o->plot = arg;
		break;
	case 'q':
		o->quiet = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t parse_what(int key, char *arg, struct argp_state *st)
{
	struct opts *o = st->input;

	switch (key) {
	case OPT_VS:
		if (o->nsides == MAX_SIDES)
			argp_error(st, "at most %d peers in one run", MAX_SIDES - 1);
		parse_side(st, &o->sides[o->nsides++], arg);
		break;
	case OPT_AS:
		parse_side(st, &o->sides[0], arg);
		break;
	case OPT_DEVICE:
		o->device = device_find(arg);
		if (!o->device)
			argp_error(st, "--device is ring, dpdk, virtio or nvme, not %s", arg);
		if (device_has_blocks(o->device) != !!strchr(o->command->options, 'F'))
			argp_error(st, "\"%s\" is not for --device %s", o->command->name, arg);
		break;
	case 's':
		o->size = integer(st, arg, "--size", 1, 1 << 30);
		break;
	case 'c':
		o->connections = integer(st, arg, "--connections", 1, 100000);
		break;
	case 'w':
		o->window = integer(st, arg, "--window", 1, 65536);
		break;
	case OPT_LOAD:
		parse_kind(st, o->load, arg, strlen(arg));
		break;
	case OPT_FRAMED:
		o->framed = true;
		break;
	case OPT_OUTSTANDING:
		o->outstanding = integer(st, arg, "--outstanding", 1, 1 << 19);
		break;
	case OPT_ACTIVE:
		o->active = integer(st, arg, "--active", 1, 1 << 19);
		break;
	case OPT_HOW:
		if (strcmp(arg, "any") && strcmp(arg, "next"))
			argp_error(st, "--how is any or next, not %s", arg);
		o->how = arg;
		break;
	case OPT_THREADS:
		o->threads = integer(st, arg, "--threads", 1, 2);
		break;
	case OPT_FILE:
		o->file = arg;
		break;
	case OPT_DURABLE:
		o->durable = true;
		break;
	case OPT_READ:
		o->read = true;
		break;
	default:
		return parse_measure(key, arg, st);
	}
	return 0;
}

static error_t parse_opt(int key, char *arg, struct argp_state *st)
{
	struct opts *o = st->input;
	unsigned int i;

	check_belongs(st, key);
	switch (key) {
	case 'o':
		o->over = parse_over(st, arg);
		return 0;
	case ARGP_KEY_ARG:
		if (!strchr(o->command->options, 'a'))
			argp_error(st, "\"%s\" is too much; options begin with --", arg);
		if (!o->nargs)
			o->args = &st->argv[st->next - 1];
		o->nargs++;
		return 0;
	case ARGP_KEY_END:
		for (i = 0; i < o->nsides; i++)
			if (o->sides[i].over == OVER_NONE)
				o->sides[i].over = o->over;
		if (o->durable && o->read)
			argp_error(st, "--durable is about writing, --read reads: choose one");
		return 0;
	default:
		return parse_what(key, arg, st);
	}
}

void opts_parse(struct opts *o, const struct command *cmd, int argc, char **argv)
{
	char doc[768], name[64];
	struct argp argp = { .options = options, .parser = parse_opt, .doc = doc };

	memset(o, 0, sizeof(*o));
	o->command = cmd;
	o->nsides = 1;
	snprintf(o->sides[0].kind, sizeof(o->sides[0].kind), "demi");
	o->sides[0].over = OVER_NONE;
	o->over = OVER_TCP;
	o->rounds = 15;
	o->slice_ns = 1500000000;
	o->warmup_ns = 100000000;
	o->connections = 1;
	o->outstanding = 65536;
	o->active = 8;
	o->threads = 1;
	o->how = "any";
	o->cpus[0] = o->cpus[1] = -1;
	o->spin_us = -1;

	if (cmd->kinds[0])
		snprintf(doc, sizeof(doc), "demi-bench %s: %s\n\nKIND: %s", cmd->name, cmd->doc, cmd->kinds);
	else
		snprintf(doc, sizeof(doc), "demi-bench %s: %s", cmd->name, cmd->doc);
	if (strchr(cmd->options, 'a'))
		argp.args_doc = "WHAT [N]";
	snprintf(name, sizeof(name), "demi-bench %s", cmd->name);
	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, o);
	o->slice_ns /= o->rounds;
	if (o->count)
		o->slice_ns = 0;
}
