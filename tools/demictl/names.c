/* SPDX-License-Identifier: MIT */
/* What users call queues, devices, users and addresses. */
#include "ctl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *ctl_queue_kind(uint32_t kind)
{
	static const char *const names[] = { "?", "flow", "raw", "capture", "device" };

	return names[kind < sizeof(names) / sizeof(names[0]) ? kind : 0];
}

static bool number(const char *s, uint32_t *out)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (*s < '0' || *s > '9' || *end || errno || v > UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool matches(const struct demi_queue_info *q, const char *name, bool by_pid, uint32_t pid)
{
	char comm[sizeof(q->comm) + 1] = { 0 };

	if (by_pid)
		return q->pid == pid;
	memcpy(comm, q->comm, sizeof(q->comm));
	return !strcmp(comm, name);
}

int ctl_queue(const struct ctl *c, const char *name, struct demi_queue_info *info)
{
	struct demi_queue_info *all;
	uint32_t id, pid = 0, n, i;
	char ids[128] = "";
	size_t found = 0, at = 0;
	bool by_pid;
	int ret;

	if (number(name, &id)) {
		ret = demi_kdev_queue_info(c->fd, id, info);
		return ret ? ctl_fail(c, ret,
				      "demictl queue list shows the queues you may see; root sees all of its "
				      "network namespace",
				      "queue %u", id)
			   : 0;
	}
	by_pid = !strncmp(name, "pid:", 4);
	if (by_pid && !number(name + 4, &pid))
		return ctl_fail(c, 0, "as in pid:4711", "\"%s\" is no process id", name + 4);
	ret = ctl_queues(c, &all, &n);
	if (ret)
		return ret;
	for (i = 0; i < n; i++) {
		if (!matches(&all[i], name, by_pid, pid))
			continue;
		if (!found++)
			*info = all[i];
		if (at < sizeof(ids) - 16)
			at += (size_t)snprintf(ids + at, sizeof(ids) - at, "%s%u", at ? ", " : "", all[i].queue_id);
	}
	free(all);
	if (!found)
		return ctl_fail(
			c, 0, "a queue is named by its id, pid:PID or the name of its process: see demictl queue list",
			"no queue of \"%s\" that you may see", name);
	if (found > 1)
		return ctl_fail(c, 0, "name one by its id", "\"%s\" has several queues: %s", name, ids);
	return 0;
}

int ctl_device(const struct ctl *c, const char *name, struct demi_device_info *info)
{
	uint32_t *ids, n, i, id;
	bool found = false;
	int ret;

	ret = demi_kdev_ids(c->fd, DEMI_DEVICE_LIST, &ids, &n);
	if (ret)
		return ctl_fail(c, ret, NULL, "list of devices");
	for (i = 0; i < n && !found; i++) {
		if (demi_kdev_device_info(c->fd, ids[i], info))
			continue;
		info->name[sizeof(info->name) - 1] = 0;
		found = number(name, &id) ? ids[i] == id : !strcmp(info->name, name);
	}
	free(ids);
	return found ? 0 : ctl_fail(c, -ENOENT, "demictl device list shows the devices you may use", "device %s", name);
}

int ctl_user(const struct ctl *c, const char *name, uint32_t *uid)
{
	const struct passwd *p;

	if (number(name, uid))
		return 0;
	p = getpwnam(name);
	if (!p)
		return ctl_fail(c, 0, "name a user of this machine, or a uid", "there is no user \"%s\"", name);
	*uid = p->pw_uid;
	return 0;
}

void ctl_addr(char *buf, size_t size, const struct demi_addr *a, bool any_port)
{
	static const uint8_t zero[16];
	char ip[INET6_ADDRSTRLEN + IF_NAMESIZE + 1] = "*", port[8] = "";
	bool v6 = a->family == AF_INET6;

	if (a->family && memcmp(a->addr, zero, sizeof(zero)))
		inet_ntop(a->family, a->addr, ip, INET6_ADDRSTRLEN);
	if (a->scope_id) {
		char dev[IF_NAMESIZE];
		size_t at = strlen(ip);

		snprintf(ip + at, sizeof(ip) - at, "%%%s", if_indextoname(a->scope_id, dev) ? dev : "?");
	}
	if (a->port || !any_port)
		snprintf(port, sizeof(port), ":%u", ntohs(a->port));
	if (v6 && port[0])
		snprintf(buf, size, "[%s]%s", ip[0] == '*' ? "::" : ip, port);
	else
		snprintf(buf, size, "%s%s", ip, port);
}
