// SPDX-License-Identifier: MIT
#include "memq/pipe_hello.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define MAGIC "demipipe"
#define ASK_MAGIC "demiopen"
#define FDS_MAX 8 /* that are received, to be closed if there are too many */

struct hello {
	char magic[8];
	uint32_t version;
	uint32_t error; /* errno: there is no offer; 0: two fds come with it */
	uint64_t ring_bytes, arena_bytes;
};

struct ask {
	char magic[8];
	uint32_t version;
};

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static void close_fds(int *fds, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
}

void demi_pipe_offer_close(struct demi_pipe_offer *offer)
{
	close_fds(offer->fds, DEMI_PIPE_FDS);
}

int demi_pipe_ask_send(int sock)
{
	static const struct ask a = { .magic = ASK_MAGIC, .version = DEMI_PIPE_VERSION };

	return send(sock, &a, sizeof(a), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int demi_pipe_ask_recv(int sock)
{
	struct ask a;
	ssize_t n;

	n = recv(sock, &a, sizeof(a), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	if (n != sizeof(a) || memcmp(a.magic, ASK_MAGIC, sizeof(a.magic)) || a.version != DEMI_PIPE_VERSION)
		return -EPROTO;
	return 0;
}

int demi_pipe_hello_send(int sock, const struct demi_pipe_offer *offer)
{
	struct hello h = { .magic = MAGIC, .version = DEMI_PIPE_VERSION, .error = offer ? 0 : EBUSY };
	struct iovec iov = { .iov_base = &h, .iov_len = sizeof(h) };
	union control c = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (offer) {
		h.ring_bytes = offer->sizes.ring_bytes;
		h.arena_bytes = offer->sizes.arena_bytes;
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(offer->fds));
		c.align.cmsg_level = SOL_SOCKET;
		c.align.cmsg_type = SCM_RIGHTS;
		c.align.cmsg_len = CMSG_LEN(sizeof(offer->fds));
		memcpy(CMSG_DATA(&c.align), offer->fds, sizeof(offer->fds));
	}
	return sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* All fds that came with a message, at most FDS_MAX: the kernel drops what does not fit. */
static unsigned int received_fds(struct msghdr *m, int *fds)
{
	unsigned int n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds + n, CMSG_DATA(c), bytes);
		n += (unsigned int)(bytes / sizeof(int));
	}
	return n;
}

static int check(const struct hello *h, ssize_t bytes, const struct msghdr *m, unsigned int nfds)
{
	if (bytes < (ssize_t)offsetof(struct hello, ring_bytes) || memcmp(h->magic, MAGIC, sizeof(h->magic)) ||
	    h->version != DEMI_PIPE_VERSION || bytes != sizeof(*h) || m->msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return -EPROTO;
	if (h->error)
		return h->error == EBUSY ? -EBUSY : -EPROTO;
	return nfds == DEMI_PIPE_FDS ? 0 : -EPROTO;
}

static bool is_seqpacket(int fd)
{
	int domain, type, listening;
	socklen_t len = sizeof(int);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET &&
	       !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) && !listening;
}

int demi_pipe_hello_recv(int sock, struct demi_pipe_offer *offer)
{
	struct hello h = { 0 };
	struct iovec iov = { .iov_base = &h, .iov_len = sizeof(h) };
	union control c = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf) };
	int fds[FDS_MAX], err;
	unsigned int nfds;
	ssize_t n;

	n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	nfds = received_fds(&m, fds);
	err = check(&h, n, &m, nfds);
	if (!err && !is_seqpacket(fds[DEMI_PIPE_FD_CONTROL]))
		err = -EPROTO;
	if (err) {
		close_fds(fds, nfds);
		return err;
	}
	offer->sizes.ring_bytes = h.ring_bytes;
	offer->sizes.arena_bytes = h.arena_bytes;
	memcpy(offer->fds, fds, sizeof(offer->fds));
	return 0;
}

int demi_pipe_hello_probe(int fd)
{
	char magic[8];
	ssize_t n;

	if (!is_seqpacket(fd))
		return -EINVAL;
	n = recv(fd, magic, sizeof(magic), MSG_PEEK | MSG_DONTWAIT);
	if (n == 0)
		return -EBUSY;
	return n == sizeof(magic) && !memcmp(magic, MAGIC, sizeof(magic)) ? 0 : -EINVAL;
}
