/* SPDX-License-Identifier: MIT */
#include "clock.h"

double ns_per_tick = 1;

void ticks_calibrate(void)
{
	uint64_t ns0 = now_ns(), t0 = ticks(), ns1, t1;

	do {
		ns1 = now_ns();
		t1 = ticks();
	} while (ns1 - ns0 < 20000000);
	ns_per_tick = (double)(ns1 - ns0) / (double)(t1 - t0);
}
