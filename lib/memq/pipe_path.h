/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_PATH_H
#define DEMI_MEMQ_PIPE_PATH_H

/* Where the name of a pipe lies in the file system, and the listening socket there. */

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

struct demi_pipe_path {
	struct sockaddr_un addr;
	dev_t dev; /* of the socket that was made */
	ino_t ino;
};

/* -EINVAL, -ENAMETOOLONG; -EACCES: the default folder is somebody else's. */
int demi_pipe_path_make(struct demi_pipe_path *p, const char *name);

/* A listening socket at @p, in place of one whose maker is dead: its fd, or -EEXIST and those of bind(2). */
int demi_pipe_path_listen(struct demi_pipe_path *p);

/* Unlink the socket, unless another has taken its place. Async-signal-safe. */
void demi_pipe_path_unlink(const struct demi_pipe_path *p);

#endif /* DEMI_MEMQ_PIPE_PATH_H */
