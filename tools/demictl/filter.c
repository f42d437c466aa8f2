/* SPDX-License-Identifier: MIT */
/* demictl filter attach|detach|show */
#include "ctl.h"

#include <errno.h>
#include <linux/filter.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(struct bpf_insn) == sizeof(struct sock_filter), "libpcap's instructions are the kernel's");

static const char *hint_of(int err)
{
	switch (-err) {
	case EPERM:
	case EACCES:
		return "a queue of another process: this takes root (CAP_NET_ADMIN)";
	case ENODATA:
		return "demictl filter show tells which filter a queue has";
	case EOPNOTSUPP:
		return "demictl info shows what the module can do (filter-cbpf, filter-ebpf)";
	case ENODEV:
		return "the queue has been shut down";
	case EINVAL:
		return "the kernel refuses the program: a socket filter is wanted that returns 0 to drop";
	default:
		return NULL;
	}
}

/* The words that follow the queue, as one. NULL without memory. */
static char *join(char **words, int n)
{
	size_t len = 1;
	char *s;
	int i;

	for (i = 0; i < n; i++)
		len += strlen(words[i]) + 1;
	s = calloc(1, len);
	for (i = 0; s && i < n; i++) {
		strcat(s, i ? " " : "");
		strcat(s, words[i]);
	}
	return s;
}

/* Fills in @arg from the expression. 0, or the exit status after saying what is wrong. */
static int compile(const struct ctl *c, const struct demi_queue_info *q, struct bpf_program *prog)
{
	pcap_t *p = pcap_open_dead(q->kind == DEMI_QUEUE_RAW ? DLT_EN10MB : DLT_RAW, DEMI_FRAME_MAX);
	char *text = join(c->o.args + 1, c->o.nargs - 1);
	int ret = 0;

	if (!p || !text)
		ret = ctl_fail(c, -ENOMEM, NULL, "filter");
	else if (pcap_compile(p, prog, text, 1, PCAP_NETMASK_UNKNOWN))
		ret = ctl_fail(c, 0,
			       q->kind == DEMI_QUEUE_RAW ? "an expression as for tcpdump: see pcap-filter(7)"
							 : "an expression as for tcpdump, of packets without an "
							   "Ethernet header: see pcap-filter(7)",
			       "\"%s\": %s", text, pcap_geterr(p));
	free(text);
	if (p)
		pcap_close(p);
	return ret;
}

static int attach(const struct ctl *c, struct demi_filter_attach *arg)
{
	int ret = demi_kdev_call(c->fd, DEMI_FILTER_ATTACH, arg);

	return ret ? ctl_fail(c, ret, hint_of(ret), "attach a filter to queue %u", arg->queue_id) : 0;
}

static int run_attach(struct ctl *c)
{
	struct demi_filter_attach arg = { .size = sizeof(arg) };
	struct demi_queue_info q;
	struct bpf_program prog;
	int ret;

	ret = ctl_queue(c, c->o.args[0], &q);
	if (ret)
		return ret;
	arg.queue_id = q.queue_id;
	if (c->o.object || c->o.pinned) {
		arg.kind = DEMI_FILTER_EBPF;
		arg.prog_fd = ctl_filter_load(c);
		if (arg.prog_fd < 0)
			return 1;
		ret = attach(c, &arg);
		close(arg.prog_fd);
		return ret;
	}
	ret = compile(c, &q, &prog);
	if (ret)
		return ret;
	arg.kind = DEMI_FILTER_CBPF;
	arg.insn_count = prog.bf_len;
	arg.insns = (uintptr_t)prog.bf_insns;
	ret = attach(c, &arg);
	pcap_freecode(&prog);
	return ret;
}

static int run_detach(struct ctl *c)
{
	struct demi_filter_detach arg = { .size = sizeof(arg) };
	struct demi_queue_info q;
	int ret = ctl_queue(c, c->o.args[0], &q);

	if (ret)
		return ret;
	arg.queue_id = q.queue_id;
	ret = demi_kdev_call(c->fd, DEMI_FILTER_DETACH, &arg);
	if (ret == -ENODATA)
		return ctl_fail(c, 0, hint_of(ret), "queue %u has no filter", q.queue_id);
	return ret ? ctl_fail(c, ret, hint_of(ret), "detach the filter of queue %u", q.queue_id) : 0;
}

static json_t *disassemble(const struct sock_filter *insns, uint32_t n)
{
	json_t *lines = json_array();
	uint32_t i;

	for (i = 0; i < n; i++) {
		const struct bpf_insn insn = {
			.code = insns[i].code, .jt = insns[i].jt, .jf = insns[i].jf, .k = insns[i].k
		};

		(void)json_array_append_new(lines, json_string(bpf_image(&insn, (int)i)));
	}
	return lines;
}

static json_t *describe(const struct demi_queue_info *q, const struct demi_filter_info *f,
			const struct sock_filter *insns)
{
	static const char *const kinds[] = { "none", "cbpf", "ebpf" };
	json_t *o = json_object();

	ctl_set(o, "queue", json_integer(q->queue_id));
	ctl_set(o, "kind", json_string(f->kind < 3 ? kinds[f->kind] : "?"));
	if (f->kind == DEMI_FILTER_NONE)
		return o;
	ctl_set(o, "passed", json_integer((json_int_t)f->passed));
	ctl_set(o, "dropped", json_integer((json_int_t)f->dropped));
	ctl_set(o, "attached_ns", json_integer((json_int_t)f->attached_ns));
	if (f->kind == DEMI_FILTER_EBPF)
		ctl_set(o, "prog_id", json_integer(f->prog_id));
	if (insns)
		ctl_set(o, "program", disassemble(insns, f->insn_count));
	return o;
}

static int run_show(struct ctl *c)
{
	struct sock_filter *insns;
	struct demi_queue_info q;
	struct demi_filter_info f;
	json_t *o, *line, *program;
	size_t i;
	int ret;

	ret = ctl_queue(c, c->o.args[0], &q);
	if (ret)
		return ret;
	ret = demi_kdev_filter_info(c->fd, q.queue_id, &f, &insns);
	if (ret)
		return ctl_fail(c, ret, hint_of(ret), "filter of queue %u", q.queue_id);
	o = describe(&q, &f, insns);
	free(insns);
	if (c->o.json)
		return ctl_object(c, o);
	/* one line an instruction, behind the rest */
	program = json_incref(json_object_get(o, "program"));
	json_object_del(o, "program");
	ret = ctl_object(c, o);
	json_array_foreach(program, i, line) printf("%s\n", json_string_value(line));
	json_decref(program);
	if (f.kind == DEMI_FILTER_EBPF)
		printf("bpftool prog dump xlated id %u shows the program\n", f.prog_id);
	return ret;
}

const struct command cmd_filter_attach = {
	.name = "filter attach",
	.args = "QUEUE [EXPRESSION...]",
	.doc = "let a queue receive only what a tcpdump expression or an eBPF program passes",
	.options = "o",
	.min_args = 1,
	.max_args = 1000,
	.run = run_attach,
};

const struct command cmd_filter_detach = {
	.name = "filter detach",
	.args = "QUEUE",
	.doc = "remove a queue's filter",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_detach,
};

const struct command cmd_filter_show = {
	.name = "filter show",
	.args = "QUEUE",
	.doc = "a queue's filter, what it passed and what it dropped",
	.options = "",
	.min_args = 1,
	.max_args = 1,
	.run = run_show,
};
