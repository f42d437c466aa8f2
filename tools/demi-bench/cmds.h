/* SPDX-License-Identifier: MIT */
#ifndef BENCH_CMDS_H
#define BENCH_CMDS_H

#include "opts.h"

extern const struct command cmd_echo, cmd_stream, cmd_queue, cmd_wait, cmd_heap, cmd_file, cmd_insns, cmd_probe;

/* Print the report in the way the options ask for. The program's exit status. */
int finish(const struct opts *o, const struct report *r, int ret);

#endif /* BENCH_CMDS_H */
