// SPDX-License-Identifier: MIT
#include "memq/pipe_shm.h"
#include "core/config.h"
#include "heap/heap.h"

#include <demi/sga.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define ARENA_RINGS 4 /* the arena's size in rings; memory that is never touched costs nothing */

void demi_pipe_sizes_get(struct demi_pipe_sizes *sizes)
{
	uint64_t bytes = DEMI_PIPE_RING_MIN;

	while (bytes < demi_config.pipe_bytes && bytes < DEMI_PIPE_RING_MAX)
		bytes *= 2;
	sizes->ring_bytes = bytes;
	bytes *= ARENA_RINGS;
	sizes->arena_bytes = bytes < DEMI_PIPE_ARENA_MAX ? bytes : DEMI_PIPE_ARENA_MAX;
}

uint32_t demi_pipe_element_max(void)
{
	return demi_config.push_limit_bytes < DEMI_SGA_MAXBYTES ? (uint32_t)demi_config.push_limit_bytes
								: (uint32_t)DEMI_SGA_MAXBYTES;
}

static size_t total_bytes(const struct demi_pipe_sizes *s)
{
	return DEMI_PIPE_RINGS_OFF + 2 * (s->ring_bytes + s->arena_bytes);
}

static bool sizes_ok(const struct demi_pipe_sizes *s)
{
	return s->ring_bytes >= DEMI_PIPE_RING_MIN && s->ring_bytes <= DEMI_PIPE_RING_MAX &&
	       !(s->ring_bytes & (s->ring_bytes - 1)) && s->arena_bytes >= DEMI_PIPE_RING_MIN &&
	       s->arena_bytes <= DEMI_PIPE_ARENA_MAX && s->arena_bytes % DEMI_PIPE_RING_MIN == 0;
}

/*
 * Without the seals a peer could shrink the file and kill this process by SIGBUS. Files of
 * hugetlbfs have seals, too, but fault with SIGBUS when no huge page is left.
 */
static bool memfd_ok(int fd, const struct demi_pipe_sizes *s)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	return seals >= 0 && (seals & SEALS) == SEALS && !fstat(fd, &st) && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == total_bytes(s) && !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC;
}

static void shm_unref(struct demi_pipe_shm *shm)
{
	if (atomic_fetch_sub_explicit(&shm->refs, 1, memory_order_acq_rel) != 1)
		return;
	demi_heap_extern_unmap(shm->ext);
	free((void *)shm->held);
	free(shm->spans);
	free(shm);
}

void demi_pipe_shm_put(struct demi_pipe_shm *shm)
{
	shm_unref(shm);
}

static void set_free(struct demi_pipe_shm *shm, uint32_t block)
{
	uint32_t n = shm->spans[block];

	for (uint32_t b = block; b < block + n; b++)
		atomic_store_explicit(&shm->held[b], 0, memory_order_release);
	demi_pipe_shm_free_block(shm, block);
}

/* Any thread: the application freed an element that it held in the arena. */
static void released(void *arg, void *p)
{
	struct demi_pipe_shm *shm = arg;
	size_t off = (size_t)((uint8_t *)p - demi_pipe_shm_arena(shm, 1 - shm->side));

	set_free(shm, (uint32_t)(off / DEMI_PIPE_BLOCK));
	shm_unref(shm);
}

static int shm_map(struct demi_pipe_shm **out, const struct demi_pipe_sizes *sizes, int memfd, unsigned int side)
{
	size_t nblocks = sizes->arena_bytes / DEMI_PIPE_BLOCK;
	struct demi_pipe_shm *shm = calloc(1, sizeof(*shm));
	void *base;
	int err = -ENOMEM;

	if (!shm)
		return -ENOMEM;
	shm->sizes = *sizes;
	shm->side = side;
	atomic_init(&shm->refs, 1);
	shm->held = calloc(nblocks, sizeof(*shm->held));
	shm->spans = calloc(nblocks, sizeof(*shm->spans));
	if (!shm->held || !shm->spans)
		goto err_free;
	err = demi_heap_extern_map(&shm->ext, &base, memfd, 0, total_bytes(sizes), released, shm);
	if (err)
		goto err_free;
	shm->base = base;
	*out = shm;
	return 0;

err_free:
	free((void *)shm->held);
	free(shm->spans);
	free(shm);
	return err;
}

int demi_pipe_shm_create(struct demi_pipe_shm **out, const struct demi_pipe_sizes *sizes, int *memfd)
{
	int fd, err;

	fd = memfd_create("demi-pipe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)total_bytes(sizes)) || fcntl(fd, F_ADD_SEALS, SEALS))
		err = -errno;
	else
		err = shm_map(out, sizes, fd, 0);
	if (err)
		close(fd);
	else
		*memfd = fd;
	return err;
}

int demi_pipe_shm_open(struct demi_pipe_shm **out, const struct demi_pipe_sizes *sizes, int memfd)
{
	int err;

	if (!sizes_ok(sizes) || !memfd_ok(memfd, sizes))
		return -EPROTO;
	err = shm_map(out, sizes, memfd, 1);
	return err == -EPERM || err == -EACCES ? -EPROTO : err; /* sealed against writing, or opened to be read */
}

int demi_pipe_shm_take(struct demi_pipe_shm *shm, uint32_t block, uint32_t len, void **p)
{
	uint32_t nblocks = (uint32_t)(shm->sizes.arena_bytes / DEMI_PIPE_BLOCK);
	uint32_t n = (uint32_t)(((uint64_t)len + DEMI_PIPE_BLOCK - 1) / DEMI_PIPE_BLOCK);
	int err;

	if (!n || n > nblocks || block > nblocks - n)
		return -EBADMSG;
	for (uint32_t b = block; b < block + n; b++) {
		if (atomic_load_explicit(&shm->held[b], memory_order_acquire))
			return -EBADMSG;
	}
	*p = demi_pipe_shm_arena(shm, 1 - shm->side) + (size_t)block * DEMI_PIPE_BLOCK;
	for (uint32_t b = block; b < block + n; b++)
		atomic_store_explicit(&shm->held[b], 1, memory_order_relaxed);
	shm->spans[block] = n;
	atomic_fetch_add_explicit(&shm->refs, 1, memory_order_relaxed);
	err = demi_heap_extern_object(shm->ext, *p, len);
	if (!err)
		return 0;
	for (uint32_t b = block; b < block + n; b++)
		atomic_store_explicit(&shm->held[b], 0, memory_order_relaxed);
	atomic_fetch_sub_explicit(&shm->refs, 1, memory_order_relaxed);
	return -ENOMEM;
}

void demi_pipe_shm_free_block(struct demi_pipe_shm *shm, uint32_t block)
{
	/* release: the application's last read of the element comes before the producer's next write */
	atomic_store_explicit(&demi_pipe_shm_in_use(shm, 1 - shm->side)[block], 0, memory_order_release);
}
