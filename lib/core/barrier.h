/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_BARRIER_H
#define DEMI_CORE_BARRIER_H

#include <stdatomic.h>

#if defined(__SANITIZE_THREAD__)
#define DEMI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DEMI_TSAN 1
#endif
#endif

/*
 * A full barrier between a store and a load of different words, as every sleeper and whoever wakes it
 * need (core/backend.h). ThreadSanitizer does not know fences: it is given a locked instruction.
 */
static inline void demi_full_barrier(void)
{
#ifdef DEMI_TSAN
	static atomic_int word;

	atomic_fetch_add(&word, 1);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif /* DEMI_CORE_BARRIER_H */
