/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/* The reader of framed streams: any cutting into pieces gives the same messages; garbage is refused. */
#include "core/frame.h"
#include "heap_check.h"

#include <errno.h>
#include <string.h>

#define MAX 5000

static unsigned char stream[400000];
static uint32_t ends[200], nsegs[200];
static uint32_t nmsgs;
static size_t length;

static void make_stream(uint64_t *seed)
{
	unsigned char v = 0;

	length = nmsgs = 0;
	while (nmsgs < 100) {
		uint32_t lens[DEMI_SGARRAY_MAXSIZE], n = 1 + (uint32_t)(test_random(seed) % DEMI_SGARRAY_MAXSIZE),
						     total = 0;

		for (uint32_t i = 0; i < n; i++)
			total += lens[i] = 1 + (uint32_t)(test_random(seed) % (test_random(seed) % 4 ? 50 : MAX / 4));
		length += demi_frame_head(stream + length, lens, n);
		for (uint32_t i = 0; i < total; i++)
			stream[length++] = v++;
		nsegs[nmsgs] = n;
		ends[nmsgs++] = total;
	}
}

/* Read it in pieces of up to @most bytes; each from memory of its own, so that overruns show. */
static void read_in_pieces(uint64_t *seed, uint32_t most)
{
	struct demi_frame_reader r = { .max = MAX };
	struct demi_frame_piece p;
	uint32_t msg = 0, got = 0;
	unsigned char v = 0;
	size_t pos = 0;

	while (pos < length) {
		uint32_t len = 1 + (uint32_t)(test_random(seed) % most), off = 0;
		char *part;

		if (len > length - pos)
			len = (uint32_t)(length - pos);
		part = malloc(len);
		CHECK(part);
		memcpy(part, stream + pos, len);
		while (off < len) {
			int n = demi_frame_read(&r, part + off, len - off, &p);

			CHECK(n > 0 && (uint32_t)n <= len - off);
			if (p.len) {
				CHECK(p.data == part + off && p.len == (uint32_t)n && p.off == got);
				for (uint32_t i = 0; i < p.len; i++)
					CHECK((unsigned char)p.data[i] == v++);
				got += p.len;
				CHECK(p.last == (got == ends[msg]));
			}
			if (p.last) {
				CHECK(r.frame.total == ends[msg] && r.frame.nsegs == nsegs[msg]);
				msg++;
				got = 0;
			}
			off += (uint32_t)n;
		}
		pos += len;
		free(part);
	}
	CHECK(msg == nmsgs);
}

static void test_heads(void)
{
	static const uint32_t lens[] = { 3, 4 };
	unsigned char good[DEMI_FRAME_MAX_HEAD], bad[DEMI_FRAME_MAX_HEAD];
	struct demi_frame f;
	size_t n = demi_frame_head(good, lens, 2);

	CHECK(n == 16);
	CHECK(!memcmp(good, "\xd3\xf1\x01\x02\0\0\0\x07\0\0\0\x03\0\0\0\x04", 16));
	for (size_t i = 0; i < n; i++)
		CHECK(demi_frame_parse(&f, good, i, 7) == 0);
	CHECK(demi_frame_parse(&f, good, n, 7) == 16 && f.total == 7 && f.nsegs == 2 && f.lens[1] == 4);
	CHECK(demi_frame_parse(&f, good, n, 6) == -EMSGSIZE);
	/* each byte matters */
	for (size_t i = 0; i < n; i++) {
		memcpy(bad, good, n);
		bad[i] ^= 0x10;
		CHECK(demi_frame_parse(&f, bad, n, UINT32_MAX) < 0 || i == 3);
	}
	memcpy(bad, good, n);
	bad[3] = 0; /* no segments */
	CHECK(demi_frame_parse(&f, bad, n, 7) == -EBADMSG);
	bad[3] = 5; /* too many */
	CHECK(demi_frame_parse(&f, bad, n, 7) == -EBADMSG);
	/* an empty segment; lengths that overflow to the right sum */
	CHECK(demi_frame_parse(&f, "\xd3\xf1\x01\x02\0\0\0\x07\0\0\0\x07\0\0\0\0", 16, 7) == -EBADMSG);
	CHECK(demi_frame_parse(&f, "\xd3\xf1\x01\x02\0\0\0\x07\xff\xff\xff\xff\0\0\0\x08", 16, 7) == -EBADMSG);
}

/* Whatever comes, the reader goes on or refuses; it never reads or claims more than there is. */
static void test_garbage(uint64_t *seed)
{
	for (int round = 0; round < 2000; round++) {
		struct demi_frame_reader r = { .max = 1 + (uint32_t)(test_random(seed) % MAX) };
		struct demi_frame_piece p;
		unsigned char buf[600];
		uint32_t off = 0;

		memcpy(buf, stream + test_random(seed) % (length - sizeof(buf)), sizeof(buf));
		if (round % 2)
			memcpy(buf, stream, sizeof(buf));
		for (uint64_t n = test_random(seed) % 8; n; n--)
			buf[test_random(seed) % sizeof(buf)] = (unsigned char)test_random(seed);
		while (off < sizeof(buf)) {
			uint32_t len = 1 + (uint32_t)(test_random(seed) % (sizeof(buf) - off));
			int n = demi_frame_read(&r, (char *)buf + off, len, &p);

			if (n < 0) {
				CHECK(n == -EBADMSG || n == -EMSGSIZE);
				break;
			}
			CHECK(n > 0 && (uint32_t)n <= len);
			CHECK(!p.len || (p.off + p.len <= r.max && p.len <= len));
			off += (uint32_t)n;
		}
	}
}

int main(void)
{
	uint64_t seed = test_seed();

	test_heads();
	for (int i = 0; i < 5; i++) {
		make_stream(&seed);
		read_in_pieces(&seed, 1);
		read_in_pieces(&seed, 7);
		read_in_pieces(&seed, 100);
		read_in_pieces(&seed, 10000);
	}
	test_garbage(&seed);
	return 0;
}
