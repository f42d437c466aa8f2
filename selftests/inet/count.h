/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_COUNT_H
#define DEMI_SELFTESTS_INET_COUNT_H

/* Each counter of the stack, by the event that it counts: one such event, one more. */

#include "script.h"

static struct demi_inet_counters before, after;
static uint8_t pkt[4000];
static int qd;

/* Between the two something happens, once. */
static void mark(void)
{
	node_pump(sn);
	before = sn->in.count;
}

static void done(void)
{
	node_pump(sn);
	after = sn->in.count;
}

static inline void reset_to_nobody(void)
{
	mark();
	in("R 5");
	done();
}

static inline void answer_to_nobody(void)
{
	mark();
	in(". 5 ack 9");
	out("R 9");
	done();
}

#define COUNT(name) static void count_##name(void)

struct counted {
	const char *name;
	void (*fn)(void);
};

#define COUNTED(name) { #name, count_##name },

#define COUNT_FIELD(name) { #name, offsetof(struct demi_inet_counters, name) },

static uint64_t count_of(const struct demi_inet_counters *c, size_t off)
{
	return *(const uint64_t *)((const char *)c + off);
}

/* Every counter for whose name @mine holds must be in the table. */
static inline int count_all(const struct counted *t, size_t n, bool (*mine)(const char *name))
{
	static const struct {
		const char *name;
		size_t off;
	} all[] = { DEMI_INET_COUNTERS(COUNT_FIELD) };
	size_t found = 0;

	alarm(110);
	init_memq();
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		size_t k = 0;

		if (!mine(all[i].name))
			continue;
		while (k < n && strcmp(t[k].name, all[i].name))
			k++;
		script_six = !strncmp(all[i].name, "Ip6", 3) || !strncmp(all[i].name, "Icmp6", 5);
		if (k < n)
			run_case(t[k].name, t[k].fn);
		if (k == n || count_of(&after, all[i].off) != count_of(&before, all[i].off) + 1) {
			printf("%s: %s\n", all[i].name, k == n ? "no case" : "it did not grow by one");
			return 1;
		}
		found++;
	}
	CHECK_EQ(found, n);
	printf("%zu counters\n", found);
	return 0;
}

#endif /* DEMI_SELFTESTS_INET_COUNT_H */
