/* SPDX-License-Identifier: MIT */
#include "inet/demux.h"

#include "inet/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINES 16
#define MAX_LINES (1U << 22)

/* NH (Black et al., UMAC): two different keys meet with probability 2^-32 for who does not know the secret. */
static inline uint32_t hash(const struct demi_demux *d, const struct demi_demux_key *k)
{
	uint64_t ports = (uint64_t)k->lport << 16 | k->rport;
	uint64_t h = (k->local.q[0] + d->key[0]) * (k->local.q[1] + d->key[1]);

	h += (k->remote.q[0] + d->key[2]) * (k->remote.q[1] + d->key[3]);
	h += (ports + d->key[4]) * d->key[5];
	return (uint32_t)(h >> 32);
}

uint32_t demi_demux_hash(const struct demi_demux *d, const struct demi_demux_key *k)
{
	return hash(d, k);
}

static bool key_equal(const struct demi_demux_key *a, const struct demi_demux_key *b)
{
	return a->lport == b->lport && a->rport == b->rport && demi_ip_equal(&a->local, &b->local) &&
	       demi_ip_equal(&a->remote, &b->remote);
}

static uint32_t *kind_count(struct demi_demux *d, const struct demi_inet_sock *s)
{
	if (s->key.rport || s->key.remote.q[0] || s->key.remote.q[1])
		return &d->connected;
	return s->key.local.q[0] || s->key.local.q[1] ? &d->specific : &d->any;
}

static struct demi_demux_line *lines_alloc(uint32_t n)
{
	struct demi_demux_line *lines = aligned_alloc(64, n * sizeof(*lines));

	if (lines)
		memset(lines, 0, n * sizeof(*lines));
	return lines;
}

static int insert(struct demi_demux_line *line, uint32_t tag, struct demi_inet_sock *s)
{
	for (;; line = line->more) {
		for (unsigned int i = 0; i < DEMI_DEMUX_SLOTS; i++) {
			if (line->socks[i])
				continue;
			line->tags[i] = tag;
			line->socks[i] = s;
			return 0;
		}
		if (!line->more) {
			line->more = lines_alloc(1);
			if (!line->more)
				return -ENOMEM;
		}
	}
}

static void lines_free(struct demi_demux_line *lines, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct demi_demux_line *line = lines[i].more, *more;

		for (; line; line = more) {
			more = line->more;
			free(line);
		}
	}
	free(lines);
}

/* Without memory the table stays as it is: longer chains, no failure. */
static void grow(struct demi_demux *d)
{
	uint32_t n = d->mask + 1;
	struct demi_demux_line *lines = lines_alloc(2 * n);

	if (!lines)
		return;
	for (uint32_t i = 0; i < n; i++) {
		for (struct demi_demux_line *line = &d->lines[i]; line; line = line->more) {
			for (unsigned int k = 0; k < DEMI_DEMUX_SLOTS; k++) {
				uint32_t tag = line->tags[k];

				if (line->socks[k] && insert(&lines[tag & (2 * n - 1)], tag, line->socks[k])) {
					lines_free(lines, 2 * n);
					return;
				}
			}
		}
	}
	lines_free(d->lines, n);
	d->lines = lines;
	d->mask = 2 * n - 1;
}

int demi_demux_init(struct demi_demux *d, const uint64_t key[6])
{
	memcpy(d->key, key, sizeof(d->key));
	d->connected = d->specific = d->any = 0;
	d->mask = FIRST_LINES - 1;
	d->lines = lines_alloc(FIRST_LINES);
	return d->lines ? 0 : -ENOMEM;
}

void demi_demux_destroy(struct demi_demux *d)
{
	if (d->lines)
		lines_free(d->lines, d->mask + 1);
	d->lines = NULL;
}

/* Slots are never moved, so that an empty one does not end the search. */
static struct demi_inet_sock *find(const struct demi_demux *d, const struct demi_demux_key *k, uint8_t families)
{
	uint32_t tag = hash(d, k);

	for (const struct demi_demux_line *line = &d->lines[tag & d->mask]; line; line = line->more) {
		for (unsigned int i = 0; i < DEMI_DEMUX_SLOTS; i++) {
			struct demi_inet_sock *s = line->socks[i];

			if (line->tags[i] == tag && s && s->families & families && key_equal(&s->key, k))
				return s;
		}
	}
	return NULL;
}

int demi_demux_add(struct demi_demux *d, struct demi_inet_sock *s)
{
	uint32_t tag, n = d->connected + d->specific + d->any;
	int err;

	if (find(d, &s->key, s->families))
		return -EADDRINUSE;
	if (n >= 2 * (d->mask + 1) && d->mask + 1 < MAX_LINES)
		grow(d);
	tag = hash(d, &s->key);
	err = insert(&d->lines[tag & d->mask], tag, s);
	if (!err)
		++*kind_count(d, s);
	return err;
}

void demi_demux_del(struct demi_demux *d, struct demi_inet_sock *s)
{
	uint32_t tag = hash(d, &s->key);

	for (struct demi_demux_line *line = &d->lines[tag & d->mask]; line; line = line->more) {
		for (unsigned int i = 0; i < DEMI_DEMUX_SLOTS; i++) {
			if (line->socks[i] != s)
				continue;
			line->socks[i] = NULL;
			--*kind_count(d, s);
			return;
		}
	}
}

struct demi_inet_sock *demi_demux_find(const struct demi_demux *d, const struct demi_demux_key *k)
{
	uint8_t family = demi_ip_is4(&k->local) ? DEMI_SOCK_4 : DEMI_SOCK_6;
	struct demi_demux_key w = { .lport = k->lport };
	struct demi_inet_sock *s;

	if (d->connected) {
		s = find(d, k, family);
		if (s)
			return s;
	}
	if (d->specific) {
		w.local = k->local;
		s = find(d, &w, family);
		if (s)
			return s;
	}
	if (!d->any)
		return NULL;
	w.local = (struct demi_ip){ 0 };
	return find(d, &w, family);
}
