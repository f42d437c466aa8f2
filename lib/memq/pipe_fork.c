// SPDX-License-Identifier: MIT
#include "memq/pipe_fork.h"
#include "core/log.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the innermost: nothing is locked under it */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t *bits; /* by fd */
static unsigned int words;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
	for (unsigned int w = 0; w < words; w++) {
		for (; bits[w]; bits[w] &= bits[w] - 1)
			close((int)(w * 64 + (unsigned int)__builtin_ctzll(bits[w])));
	}
	pthread_mutex_unlock(&lock);
}

static void set_up(void)
{
	if (pthread_atfork(before_fork, in_parent, in_child))
		demi_warn("pipes: children of this process will keep its sockets");
}

static bool grow(unsigned int need)
{
	unsigned int size = words ? words : 4;
	uint64_t *new;

	while (size < need)
		size *= 2;
	new = realloc(bits, size * sizeof(*bits));
	if (!new)
		return false;
	memset(new + words, 0, (size - words) * sizeof(*bits));
	bits = new;
	words = size;
	return true;
}

void demi_pipe_fork_add(int fd)
{
	unsigned int w = (unsigned int)fd / 64;

	pthread_once(&once, set_up);
	pthread_mutex_lock(&lock);
	if (w < words || grow(w + 1))
		bits[w] |= 1ULL << (fd % 64);
	else
		demi_warn("pipes: no memory to close fd %d in children", fd);
	pthread_mutex_unlock(&lock);
}

void demi_pipe_fork_close(int fd)
{
	unsigned int w = (unsigned int)fd / 64;

	pthread_mutex_lock(&lock);
	if (w < words)
		bits[w] &= ~(1ULL << (fd % 64));
	close(fd);
	pthread_mutex_unlock(&lock);
}
