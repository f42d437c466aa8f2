// SPDX-License-Identifier: MIT
#include "memq/pipe_path.h"
#include "core/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64
#define BACKLOG 16
#define LOCK_TRIES 200 /* 10 ms apart: others hold the lock for microseconds */

/* The folder of last resort lies in /tmp, where anybody could have made it. */
static int check_default_dir(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	if (lstat(dir, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return -EACCES;
	return 0;
}

static int make_default_dir(void)
{
	char dir[32];

	snprintf(dir, sizeof(dir), "/tmp/demi-%u", (unsigned int)geteuid());
	return strcmp(demi_config.pipe_dir, dir) ? 0 : check_default_dir(dir);
}

int demi_pipe_path_make(struct demi_pipe_path *p, const char *name)
{
	size_t size = sizeof(p->addr.sun_path);
	bool plain = name[0] != '/';
	int err, n;

	memset(p, 0, sizeof(*p));
	p->addr.sun_family = AF_UNIX;
	if (plain) {
		if (!name[0] || name[0] == '.' || strchr(name, '/'))
			return -EINVAL;
		if (strlen(name) > NAME_MAX_BYTES)
			return -ENAMETOOLONG;
		err = make_default_dir();
		if (err)
			return err;
	}
	n = snprintf(p->addr.sun_path, size, plain ? "%s/%s" : "%s%s", plain ? demi_config.pipe_dir : "", name);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/*
 * Between finding a dead socket and replacing it, and between bind and listen, nobody else may do the same:
 * the folder's lock says whose turn it is. Anybody who can read the folder can hold it, so the wait has an end.
 */
static int lock_dir(const struct demi_pipe_path *p)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	char dir[sizeof(p->addr.sun_path)];
	char *slash;
	int fd, err;

	memcpy(dir, p->addr.sun_path, sizeof(dir));
	slash = strrchr(dir, '/');
	slash[slash == dir] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
		err = errno;
		if (err != EWOULDBLOCK || i == LOCK_TRIES) {
			close(fd);
			return err == EWOULDBLOCK ? -ETIMEDOUT : -err;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

/*
 * Is the socket at @p one that nobody has open any more? Something that is no socket is never dead. Asked with
 * a datagram socket: the kernel says that it finds none, or that it is of another type, and whoever listens
 * there sees no connection.
 */
static bool is_dead(const struct demi_pipe_path *p)
{
	struct stat st;
	bool dead;
	int fd;

	if (lstat(p->addr.sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	dead = connect(fd, (const struct sockaddr *)&p->addr, sizeof(p->addr)) && errno == ECONNREFUSED;
	close(fd);
	return dead;
}

static int bind_at(int fd, const struct demi_pipe_path *p)
{
	const struct sockaddr *addr = (const struct sockaddr *)&p->addr;

	if (!bind(fd, addr, sizeof(p->addr)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (!is_dead(p))
		return -EEXIST;
	if (unlink(p->addr.sun_path) && errno != ENOENT)
		return -errno;
	return bind(fd, addr, sizeof(p->addr)) ? -errno : 0;
}

int demi_pipe_path_listen(struct demi_pipe_path *p)
{
	struct stat st;
	int fd, lock, err;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	lock = lock_dir(p);
	if (lock < 0) {
		close(fd);
		return lock;
	}
	err = bind_at(fd, p);
	if (!err && (lstat(p->addr.sun_path, &st) || listen(fd, BACKLOG))) {
		err = -errno;
		unlink(p->addr.sun_path);
	}
	close(lock);
	if (err) {
		close(fd);
		return err;
	}
	p->dev = st.st_dev;
	p->ino = st.st_ino;
	return fd;
}

void demi_pipe_path_unlink(const struct demi_pipe_path *p)
{
	struct stat st;

	if (!lstat(p->addr.sun_path, &st) && st.st_dev == p->dev && st.st_ino == p->ino)
		unlink(p->addr.sun_path);
}
