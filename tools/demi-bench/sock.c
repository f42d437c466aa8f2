/* SPDX-License-Identifier: MIT */
#include "sock.h"

#include "device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

void sock_local(struct side *s, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_un *un = (struct sockaddr_un *)ss;

	memset(ss, 0, sizeof(*ss));
	if (s->over == OVER_UNIX) {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s", s->path);
		*len = sizeof(*un);
	} else {
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*len = sizeof(*in);
	}
}

static int sock_make(const struct side *s)
{
	int domain = s->over == OVER_UNIX ? AF_UNIX : AF_INET, one = 1;
	int fd = socket(domain, (s->over == OVER_UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (s->over == OVER_TCP && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

int sock_serve(struct side *s, int *fd_out)
{
	int ret = device_network(s, true), fd;

	if (ret)
		return ret;
	fd = sock_make(s);
	if (fd < 0)
		return fd;
	if (!device_address(s, &s->addr, &s->addrlen))
		sock_local(s, &s->addr, &s->addrlen);
	if (bind(fd, (struct sockaddr *)&s->addr, s->addrlen) ||
	    getsockname(fd, (struct sockaddr *)&s->addr, &s->addrlen) || (s->over != OVER_UDP && listen(fd, 4096))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*fd_out = fd;
	return 0;
}

int sock_accept_all(struct side *s, int **fds_out, unsigned int *n)
{
	unsigned int want = s->opts->connections, i, one = 1;
	int *fds = calloc(want, sizeof(int)), listener = -1, ret;

	if (!fds)
		return -ENOMEM;
	ret = sock_serve(s, &listener);
	if (ret) {
		free(fds);
		return ret;
	}
	side_ready(s);
	if (s->over == OVER_UDP) {
		fds[0] = listener;
		*n = 1;
		*fds_out = fds;
		return 0;
	}
	for (i = 0; i < want; i++) {
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fds[i] < 0)
			goto err_close;
		if (s->over == OVER_TCP)
			setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	close(listener);
	*n = want;
	*fds_out = fds;
	return 0;

err_close:
	ret = -errno;
	close(listener);
	sock_close_all(fds, i);
	return ret;
}

int sock_connect_all(struct side *s, int **fds_out)
{
	unsigned int want = s->opts->connections, i;
	int ret = device_network(s, false), *fds;

	if (ret)
		return ret;
	fds = calloc(want, sizeof(int));
	if (!fds)
		return -ENOMEM;
	for (i = 0; i < want; i++) {
		fds[i] = sock_make(s);
		if (fds[i] < 0) {
			ret = fds[i];
			sock_close_all(fds, i);
			return ret;
		}
		if (connect(fds[i], (struct sockaddr *)&s->addr, s->addrlen)) {
			ret = -errno;
			sock_close_all(fds, i + 1);
			return ret;
		}
	}
	*fds_out = fds;
	return 0;
}

void sock_close_all(int *fds, unsigned int n)
{
	while (n--)
		close(fds[n]);
	free(fds);
}

int sock_nonblock(const int *fds, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (fcntl(fds[i], F_SETFL, O_NONBLOCK))
			return -errno;
	return 0;
}

int sock_send(int fd, const void *buf, size_t len, uint64_t *calls)
{
	const char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		++*calls;
		if (n >= 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			++*calls;
			if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
				return -errno;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}
