/* SPDX-License-Identifier: MIT */
/* demi-bench: what libdemi's operations cost, beside peers that are measured in the same run. */
#include "cmds.h"
#include "clock.h"
#include "proc.h"
#include "progress.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct command *const commands[] = {
	&cmd_echo, &cmd_stream, &cmd_queue, &cmd_wait, &cmd_heap, &cmd_file, &cmd_insns, &cmd_probe,
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	size_t i;

	fputs("usage: demi-bench COMMAND [OPTION...]\n\n", f);
	for (i = 0; i < NCOMMANDS; i++)
		fprintf(f, "  %-8s %s\n", commands[i]->name, commands[i]->doc);
	fputs("\nEach command has its own --help. Examples:\n\n"
	      "  demi-bench echo --vs epoll --vs busy --cpus 0,1\n"
	      "  demi-bench echo --over pipe --vs ring-raw --vs epoll:tcp --plot cdf.svg\n"
	      "  demi-bench stream --size 65536 --vs uring-raw\n",
	      f);
}

int finish(const struct opts *o, const struct report *r, int ret)
{
	int bad = 0;

	progress_clear();
	if (r->done) {
		bad = o->json ? report_json(r, stdout) : o->brief ? report_brief(r, stdout) : report_table(r, stdout);
		if (bad)
			warnx("standard output: %s", strerror(-bad));
		if (o->csv && (bad = report_csv(r, o->csv)))
			warnx("%s: %s", o->csv, strerror(-bad));
		if (o->plot && !bad)
			bad = report_plot(r, o->plot);
	}
	if (interrupted)
		return 128 + interrupted;
	return ret || bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct opts o;
	size_t i;

	if (argc < 2) {
		usage(stderr);
		return 64;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	for (i = 0; i < NCOMMANDS; i++)
		if (!strcmp(argv[1], commands[i]->name))
			break;
	if (i == NCOMMANDS) {
		fprintf(stderr, "demi-bench: there is no command \"%s\"\n", argv[1]);
		usage(stderr);
		return 64;
	}
	opts_parse(&o, commands[i], argc - 1, argv + 1);
	catch_interrupts();
	progress_init(o.quiet || o.json);
	if (commands[i] != &cmd_insns) /* whose instructions are counted */
		ticks_calibrate();
	return commands[i]->run(&o);
}
