/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* Once the process ends nothing is freed: what queues still need at that time stays what it is. */

#include <demi/heap.h>

#include "core/ctx.h"
#include "heap/heap.h"
#include "heap_check.h"

#include <string.h>

int main(void)
{
	char *p[100], *big, *lent, *more[500];
	unsigned int i, k;

	alarm(20);
	for (i = 0; i < 100; i++) {
		p[i] = demi_malloc(200);
		CHECK(p[i]);
		memset(p[i], (int)i, 200);
	}
	big = demi_malloc(1000000);
	lent = demi_malloc(200);
	CHECK(big && lent && !demi_heap_lend(lent, 200));
	strcpy(big, "big");
	strcpy(lent, "lent");
	demi_free(lent);

	demi_exiting = true;
	demi_heap_stop();
	for (i = 0; i < 100; i++)
		demi_free(p[i]);
	CHECK(demi_heap_free(big) == 0);
	demi_heap_unlend(lent);
	/* other handlers of exit() may allocate, and get other memory */
	for (i = 0; i < 500; i++) {
		more[i] = demi_malloc(200);
		CHECK(more[i]);
		memset(more[i], 0xee, 200);
		demi_free(more[i]);
	}
	more[0] = demi_malloc(1000000);
	CHECK(more[0]);
	memset(more[0], 0xee, 1000000);
	for (i = 0; i < 100; i++)
		for (k = 0; k < 200; k++)
			CHECK(p[i][k] == (char)i);
	CHECK(!strcmp(big, "big") && !strcmp(lent, "lent"));
	return 0;
}
