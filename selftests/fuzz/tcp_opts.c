// SPDX-License-Identifier: MIT
/* TCP's options: what is read is what a second reader of RFC 9293 3.1 sees, and the writers' output is read back. */
#include "input.h"

#include "lib/check.h"

#include "inet/tcp_opts.h"

/* The value of the last option @kind before anything malformed, with @len bytes, 0: pairs of 32 bits; or NULL. */
static const uint8_t *find(const uint8_t *o, uint32_t n, uint8_t kind, uint32_t len)
{
	const uint8_t *found = NULL;
	uint32_t i = 0;

	while (i < n && o[i]) {
		uint32_t k = o[i] == 1 ? 1 : n - i < 2 ? 0 : o[i + 1];

		if (o[i] != 1 && (k < 2 || k > n - i))
			break;
		if (o[i] == kind && (len ? k == len : (k - 2) % 8 == 0))
			found = o + i + 2;
		i += k;
	}
	return found;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void compare(const struct demi_tcp_opts *o, const uint8_t *p, uint32_t n, bool syn)
{
	const uint8_t *v = find(p, n, 8, 10);

	CHECK_EQ(o->ts, v != NULL);
	if (v) {
		CHECK_EQ(o->tsval, be32(v));
		CHECK_EQ(o->tsecr, be32(v + 4));
	}
	v = find(p, n, 2, 4);
	CHECK_EQ(o->mss, syn && v ? v[0] << 8 | v[1] : 0);
	v = find(p, n, 3, 3);
	CHECK_EQ(o->ws, syn && v);
	if (o->ws)
		CHECK_EQ(o->wscale, *v > 14 ? 14 : *v);
	CHECK_EQ(o->sack_ok, syn && find(p, n, 4, 2));
	v = syn ? NULL : find(p, n, 5, 0);
	CHECK_EQ(o->nsacks, v ? (v[-1] - 2) / 8 : 0);
	for (uint32_t i = 0; i < o->nsacks; i++)
		CHECK(o->sacks[i].start == be32(v + 8 * i) && o->sacks[i].end == be32(v + 8 * i + 4));
}

static void read_back(struct demi_tcp_opts *o)
{
	uint8_t p[DEMI_TCP_OPTS_MAX], len = 0;
	struct demi_tcp_opts again;
	uint32_t ranges[4][2];

	if (o->mss)
		len = demi_tcp_put_mss(p, len, o->mss);
	if (o->sack_ok)
		len = demi_tcp_put_sack_ok(p, len);
	if (o->ts)
		len = demi_tcp_put_ts(p, len, o->tsval, o->tsecr);
	if (o->ws)
		len = demi_tcp_put_wscale(p, len, o->wscale);
	CHECK(len <= sizeof(p) && len % 4 == 0);
	demi_tcp_opts_parse(&again, p, len, true);
	CHECK(again.mss == o->mss && again.sack_ok == o->sack_ok && again.ts == o->ts && again.ws == o->ws);
	CHECK(again.tsval == o->tsval && again.tsecr == o->tsecr && again.wscale == o->wscale);
	for (uint32_t i = 0; i < o->nsacks; i++) {
		ranges[i][0] = o->sacks[i].start;
		ranges[i][1] = o->sacks[i].end;
	}
	len = o->ts ? demi_tcp_put_ts(p, 0, 1, 2) : 0;
	len = demi_tcp_put_sacks(p, len, (const uint32_t(*)[2])ranges, o->nsacks);
	CHECK(len <= sizeof(p));
	demi_tcp_opts_parse(&again, p, len, false);
	CHECK_EQ(again.nsacks, o->ts && o->nsacks == 4 ? 3 : o->nsacks);
	CHECK(!memcmp(again.sacks, o->sacks, again.nsacks * sizeof(o->sacks[0])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };
	bool syn = take8(&i) & 1;
	uint32_t n = i.n < DEMI_TCP_OPTS_MAX ? (uint32_t)i.n : DEMI_TCP_OPTS_MAX;
	uint8_t *exact = malloc(n ? n : 1); /* so that a byte behind the end is seen */
	struct demi_tcp_opts o;

	CHECK(exact);
	take_bytes(&i, exact, n);
	demi_tcp_opts_parse(&o, exact, n, syn);
	compare(&o, exact, n, syn);
	read_back(&o);
	free(exact);
	return 0;
}
