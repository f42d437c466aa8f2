// SPDX-License-Identifier: MIT
/* Messages on a stream (DEMI_SO_FRAMED): bytes of anybody in pieces of any size, and the library's own read back. */
#include "input.h"

#include "lib/check.h"

#include "core/frame.h"

#define MAX 300

/* What pieces say of the same stream must not depend on where it was cut. */
static uint64_t read_all(const uint8_t *p, uint32_t len, uint32_t step)
{
	struct demi_frame_reader r = { .max = MAX };
	uint64_t sum = 1;
	uint32_t at = 0;

	while (at < len) {
		uint32_t n = len - at < step ? len - at : step;
		char *exact = malloc(n);
		struct demi_frame_piece piece = { .data = NULL };
		uint32_t done = 0;
		int took = 0;

		CHECK(exact);
		memcpy(exact, p + at, n);
		while (done < n) {
			took = demi_frame_read(&r, exact + done, n - done, &piece);
			if (took < 0)
				break;
			CHECK(took > 0 && (uint32_t)took <= n - done);
			if (piece.len || piece.last) {
				CHECK(r.frame.total <= MAX && piece.off + piece.len <= r.frame.total);
				CHECK(piece.len <= (uint32_t)took);
				for (uint32_t k = 0; k < piece.len; k++)
					sum = sum * 31 + (uint8_t)piece.data[k] + piece.off + k;
				if (piece.last)
					CHECK_EQ(piece.off + piece.len, r.frame.total);
			}
			if (piece.last)
				sum = sum * 17 + r.frame.nsegs;
			done += (uint32_t)took;
		}
		free(exact);
		if (took < 0)
			return sum * 13 + (uint64_t)-took;
		at += n;
	}
	return sum;
}

static void head_back(struct input *i)
{
	uint32_t lens[DEMI_SGARRAY_MAXSIZE], n = 1 + take8(i) % DEMI_SGARRAY_MAXSIZE, total = 0;
	char head[DEMI_FRAME_MAX_HEAD];
	struct demi_frame f;
	size_t len;

	for (uint32_t k = 0; k < n; k++)
		total += lens[k] = 1 + take8(i);
	len = demi_frame_head(head, lens, n);
	for (size_t k = 0; k < len; k++)
		CHECK_EQ(demi_frame_parse(&f, head, k, total), 0);
	CHECK_EQ(demi_frame_parse(&f, head, len, total), len);
	CHECK(f.total == total && f.nsegs == n && !memcmp(f.lens, lens, n * sizeof(lens[0])));
	CHECK_EQ(demi_frame_parse(&f, head, len, total - 1), -EMSGSIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input i = { data, size };
	uint32_t step = 1 + take8(&i), len;
	uint8_t all[2000];
	uint64_t sum;

	head_back(&i);
	len = take_bytes(&i, all, sizeof(all));
	sum = read_all(all, len, sizeof(all));
	CHECK(read_all(all, len, step) == sum);
	CHECK(read_all(all, len, 1) == sum);
	return 0;
}
