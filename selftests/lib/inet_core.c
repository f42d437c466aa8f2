/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/* The stack's own pieces against models that are slow and obvious: the checksum, the table of sockets. */
#include "check.h"

#include "inet/cksum.h"
#include "inet/demux.h"
#include "inet/sock.h"

#define NSOCK 400

/* RFC 1071, word by word. */
static uint16_t naive(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;
	uint8_t bytes[2];
	uint16_t out;

	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	bytes[0] = (uint8_t)(sum >> 8);
	bytes[1] = (uint8_t)sum;
	memcpy(&out, bytes, 2);
	return out;
}

/* 0 and 0xffff are the same number. */
static bool same(uint16_t a, uint16_t b)
{
	return a == b || (a == 0xffff && !b) || (!a && b == 0xffff);
}

static void test_cksum(void)
{
	static uint8_t buf[70000];
	struct demi_pkt p[6];

	for (int round = 0; round < (SLOW ? 300 : 3000); round++) {
		uint32_t n = rnd_below(4) ? rnd_below(200) : rnd_below(65536), off = rnd_below(16), at = 0;
		uint32_t skip, segs = rnd_below(6) + 1;

		for (uint32_t i = 0; i < n; i++)
			buf[off + i] = round % 3 ? (uint8_t)rnd() : 0xff;
		CHECK(same(demi_cksum_fold(demi_cksum_add(0, buf + off, n)), naive(buf + off, n)));
		for (uint32_t i = 0; i < segs; i++) { /* cut anywhere, also into nothing */
			uint32_t len = i + 1 == segs ? n - at : rnd_below(n - at + 1);

			p[i] = (struct demi_pkt){ .data = buf + off + at, .len = len };
			at += len;
		}
		skip = rnd_below(n + 1);
		CHECK(same(demi_cksum_fold(demi_cksum_pkt(0, p, skip, n - skip)), naive(buf + off + skip, n - skip)));
	}
}

static bool equal(const struct demi_ip *a, const struct demi_ip *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* Addresses and ports from small sets, so that keys meet. */
static struct demi_ip random_ip(bool any)
{
	static const struct demi_ip none;
	struct demi_ip ip = { .b = { 0xfd, [15] = (uint8_t)rnd_below(3) } };

	if (any && rnd_below(3) == 0)
		return none;
	return rnd_below(2) ? demi_ip_from4(htonl(0x0a000000 + rnd_below(3))) : ip;
}

static struct demi_inet_sock *model_find(struct demi_inet_sock *s, uint32_t n, const struct demi_demux_key *k)
{
	static const struct demi_ip none;
	uint8_t family = demi_ip_is4(&k->local) ? DEMI_SOCK_4 : DEMI_SOCK_6;

	for (int kind = 0; kind < 3; kind++) { /* connected, specific, any */
		for (uint32_t i = 0; i < n; i++) {
			const struct demi_demux_key *w = &s[i].key;

			if (!s[i].hashed || w->lport != k->lport || !(s[i].families & family))
				continue;
			if (kind == 0 && w->rport && w->rport == k->rport && equal(&w->local, &k->local) &&
			    equal(&w->remote, &k->remote))
				return &s[i];
			if (kind == 1 && !w->rport && equal(&w->local, &k->local))
				return &s[i];
			if (kind == 2 && !w->rport && equal(&w->local, &none))
				return &s[i];
		}
	}
	return NULL;
}

static void random_key(struct demi_inet_sock *s)
{
	memset(&s->key, 0, sizeof(s->key));
	s->key.lport = (uint16_t)(rnd_below(40) + 1);
	s->key.local = random_ip(true);
	s->families = demi_ip_is4(&s->key.local) ? DEMI_SOCK_4 : DEMI_SOCK_6;
	if (demi_ip_is_any(&s->key.local))
		s->families = (uint8_t)(rnd_below(3) + 1);
	else if (rnd_below(2)) {
		do
			s->key.remote = random_ip(false);
		while (demi_ip_is4(&s->key.remote) != demi_ip_is4(&s->key.local));
		s->key.rport = (uint16_t)(rnd_below(3) + 1);
	}
}

static bool taken(const struct demi_inet_sock *s, uint32_t n, const struct demi_inet_sock *me)
{
	for (uint32_t i = 0; i < n; i++)
		if (s[i].hashed && s[i].families & me->families && !memcmp(&s[i].key, &me->key, sizeof(me->key)))
			return true;
	return false;
}

static void test_demux(void)
{
	struct demi_inet_sock *s = calloc(NSOCK, sizeof(*s));
	struct demi_demux d;
	uint64_t key[6];
	uint32_t found = 0;

	CHECK(s);
	for (int i = 0; i < 6; i++)
		key[i] = rnd();
	CHECK_EQ(demi_demux_init(&d, key), 0);
	for (int round = 0; round < (SLOW ? 3000 : 30000); round++) {
		struct demi_inet_sock *one = &s[rnd_below(NSOCK)];
		struct demi_demux_key k = { .lport = (uint16_t)(rnd_below(40) + 1),
					    .rport = (uint16_t)(rnd_below(3) + 1) };

		if (one->hashed) {
			demi_demux_del(&d, one);
			one->hashed = false;
		} else {
			random_key(one);
			if (taken(s, NSOCK, one)) {
				CHECK_EQ(demi_demux_add(&d, one), -EADDRINUSE);
			} else {
				CHECK_EQ(demi_demux_add(&d, one), 0);
				one->hashed = true;
			}
		}
		k.local = random_ip(false);
		do
			k.remote = random_ip(false);
		while (demi_ip_is4(&k.remote) != demi_ip_is4(&k.local));
		CHECK(demi_demux_find(&d, &k) == model_find(s, NSOCK, &k));
		found += demi_demux_find(&d, &k) != NULL;
	}
	CHECK(found > 100);
	for (uint32_t i = 0; i < NSOCK; i++)
		if (s[i].hashed)
			demi_demux_del(&d, &s[i]);
	CHECK(!d.connected && !d.specific && !d.any);
	demi_demux_destroy(&d);
	free(s);
}

int main(void)
{
	check_seed();
	test_cksum();
	test_demux();
	return 0;
}
