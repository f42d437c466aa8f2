/* SPDX-License-Identifier: MIT */
#ifndef DEMI_HEAP_DEBUG_H
#define DEMI_HEAP_DEBUG_H

/*
 * DEMI_HEAP=debug: every object has a red zone before and behind it, its memory is poisoned and kept back for
 * a while when it is freed, and what is found wrong ends the process with a message that names the
 * object, who allocated and who freed it. All threads share one thread heap, under one lock, so that none of
 * this costs the fast paths anything: they find nothing in their caches and no span that is theirs.
 */

#include "heap/span.h"

#pragma GCC visibility push(hidden)

/* Taken before the heap's other locks. */
void demi_debug_lock(void);
void demi_debug_unlock(void);
void demi_debug_forked(void);

void *demi_debug_alloc(size_t align, size_t size);

/* From the place in the heap to the object that the program sees. False: @p is not inside it. */
bool demi_debug_find(const void *p, struct demi_object *o);

/* The last reference is gone. */
void demi_debug_release(struct demi_object *o);

/* The program does @what with a pointer into the heap that it must not. Returns if @p is nothing of the heap's. */
void demi_debug_misuse(const void *p, const char *what);

#pragma GCC visibility pop

#endif /* DEMI_HEAP_DEBUG_H */
