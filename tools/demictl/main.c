/* SPDX-License-Identifier: MIT */
/* demictl: what the queues of demi.ko are, who has them, what passes them. */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
	&cmd_info,	    &cmd_device_list,	&cmd_device_show, &cmd_device_bind, &cmd_device_unbind,
	&cmd_grant,	    &cmd_revoke,	&cmd_queue_list,  &cmd_queue_show,  &cmd_flow_list,
	&cmd_filter_attach, &cmd_filter_detach, &cmd_filter_show, &cmd_stats,	    &cmd_capture,
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	size_t i;

	fputs("usage: demictl COMMAND [OPTION...] [ARGUMENT...]\n\n", f);
	for (i = 0; i < NCOMMANDS; i++)
		fprintf(f, "  %-14s  %s\n", commands[i]->name, commands[i]->doc);
	fputs("\nEach command has its own --help, and --json for programs. Examples:\n\n"
	      "  demictl stats --watch\n"
	      "  demictl filter attach pid:4711 'udp and src net 10.0.0.0/8'\n"
	      "  demictl capture my-server -w - | tcpdump -r -\n",
	      f);
}

/* How many words of @argv name @cmd; 0: they do not. */
static int words_of(const struct command *cmd, int argc, char **argv)
{
	const char *second = strchr(cmd->name, ' ');
	size_t len = second ? (size_t)(second - cmd->name) : strlen(cmd->name);

	if (argc < 2 || strlen(argv[1]) != len || memcmp(argv[1], cmd->name, len))
		return 0;
	if (!second)
		return 1;
	return argc > 2 && !strcmp(argv[2], second + 1) ? 2 : 0;
}

static int unknown(int argc, char **argv)
{
	size_t i, len = strlen(argv[1]);
	bool begun = false;

	for (i = 0; i < NCOMMANDS; i++)
		begun = begun || (!strncmp(commands[i]->name, argv[1], len) && commands[i]->name[len] == ' ');
	if (!begun)
		fprintf(stderr, "demictl: there is no command \"%s\"\n", argv[1]);
	else if (argc > 2)
		fprintf(stderr, "demictl: there is no command \"%s %s\"\n", argv[1], argv[2]);
	else
		fprintf(stderr, "demictl: \"%s\" wants a second word\n", argv[1]);
	usage(stderr);
	return 64;
}

int main(int argc, char **argv)
{
	struct ctl c = { .fd = -1 };
	int words = 0, ret;
	size_t i;

	if (argc < 2) {
		usage(stderr);
		return 64;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	for (i = 0; i < NCOMMANDS && !words; i++)
		words = words_of(commands[i], argc, argv);
	if (!words)
		return unknown(argc, argv);
	opts_parse(&c.o, commands[i - 1], argc - words, argv + words);
	c.fd = demi_kdev_open(&c.info);
	if (c.fd < 0)
		return ctl_fail(&c, c.fd, demi_kdev_hint(c.fd), "%s", DEMI_KDEV_PATH);
	ret = c.o.command->run(&c);
	close(c.fd);
	if (fflush(stdout) || ferror(stdout))
		return ctl_fail(&c, -errno, NULL, "standard output");
	return ret;
}
