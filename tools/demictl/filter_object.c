/* SPDX-License-Identifier: MIT */
/* Socket filters from eBPF object files, and pinned ones. */
#include "ctl.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What libbpf and the verifier say is told only when loading fails. */
static char said[8192];
static size_t said_len;

static int remember(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	int n;

	if (level == LIBBPF_DEBUG || said_len >= sizeof(said) - 1)
		return 0;
	n = vsnprintf(said + said_len, sizeof(said) - said_len, fmt, ap);
	if (n > 0)
		said_len += (size_t)n;
	return 0;
}

static void tell(const struct ctl *c)
{
	if (!c->o.json)
		fputs(said, stderr);
}

static bool is_wanted(const struct ctl *c, const struct bpf_program *p)
{
	if (c->o.program && strcmp(bpf_program__name(p), c->o.program))
		return false;
	return !c->o.section || !strcmp(bpf_program__section_name(p), c->o.section);
}

/* The one program that is wanted; the others are not loaded. NULL after saying what is wrong. */
static struct bpf_program *choose(const struct ctl *c, struct bpf_object *obj)
{
	struct bpf_program *p, *found = NULL;
	char names[256] = "";
	int n = 0;

	bpf_object__for_each_program(p, obj)
	{
		size_t at = strlen(names);

		bpf_program__set_autoload(p, false);
		snprintf(names + at, sizeof(names) - at, "%s%s (section %s)", at ? ", " : "", bpf_program__name(p),
			 bpf_program__section_name(p));
		if (!is_wanted(c, p))
			continue;
		found = p;
		n++;
	}
	if (n == 1) {
		bpf_program__set_autoload(found, true);
		bpf_program__set_type(found, BPF_PROG_TYPE_SOCKET_FILTER);
		return found;
	}
	ctl_fail(c, 0, "choose one with --program or --section", "%s: %s program%s: %s", c->o.object,
		 n ? "more than one" : "no such", n ? "" : " among its", names[0] ? names : "there is none at all");
	return NULL;
}

static int load_object(const struct ctl *c)
{
	struct bpf_program *p;
	struct bpf_object *obj;
	int fd = -1, ret;

	obj = bpf_object__open_file(c->o.object, NULL);
	if (!obj) {
		ret = -errno;
		tell(c);
		ctl_fail(c, ret, "an object file as clang -O2 -g -target bpf -c makes it", "%s", c->o.object);
		return -1;
	}
	p = choose(c, obj);
	if (!p)
		goto out;
	ret = bpf_object__load(obj);
	if (ret) {
		tell(c);
		ctl_fail(c, ret,
			 ret == -EPERM ? "loading eBPF takes root (CAP_BPF); without it: a tcpdump expression, or "
					 "a program that root has pinned"
				       : "the verifier refuses it: what it said is above",
			 "%s: %s", c->o.object, bpf_program__name(p));
		goto out;
	}
	fd = fcntl(bpf_program__fd(p), F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		ctl_fail(c, -errno, NULL, "%s", c->o.object);
out:
	bpf_object__close(obj);
	return fd;
}

int ctl_filter_load(const struct ctl *c)
{
	int fd;

	libbpf_set_print(remember);
	if (c->o.object)
		return load_object(c);
	fd = bpf_obj_get(c->o.pinned);
	if (fd < 0)
		ctl_fail(c, -errno, "a file in a bpf file system (usually /sys/fs/bpf) that you may read", "%s",
			 c->o.pinned);
	return fd;
}
