/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_FORK_H
#define DEMI_MEMQ_PIPE_FORK_H

/*
 * The child of a fork inherits fds. It may use none of the library, but while it has a pipe's control socket
 * open nobody learns that its parent was killed, and while it has a name's listening socket the name
 * looks alive. So the child closes what is registered here. Any thread.
 */

/* @fd is to be closed in children. Without memory for that it is not. */
void demi_pipe_fork_add(int fd);

/* close(2) @fd, and forget it. */
void demi_pipe_fork_close(int fd);

#endif /* DEMI_MEMQ_PIPE_FORK_H */
