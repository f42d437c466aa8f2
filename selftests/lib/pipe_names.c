// SPDX-License-Identifier: MIT
// threads timeout: 60
/* Names of pipes: who gets which error, what the file system sees, what is left behind. Exported pipes. */
#include "pipe_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

static const char *path_of(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", pipe_test_dir, name);
	return path;
}

static void test_arguments(void)
{
	static char longest[65], too_long[66], long_path[200];
	int qd = -1;

	memset(longest, 'n', 64);
	memset(too_long, 'n', 65);
	memset(long_path, 'n', sizeof(long_path) - 1);
	long_path[0] = '/';
	CHECK_EQ(demi_create_pipe(NULL, "x"), EINVAL);
	CHECK_EQ(demi_create_pipe(&qd, NULL), EINVAL);
	CHECK_EQ(demi_open_pipe(NULL, "x"), EINVAL);
	CHECK_EQ(demi_open_pipe(&qd, NULL), EINVAL);
	CHECK_EQ(demi_create_pipe(&qd, ""), EINVAL);
	CHECK_EQ(demi_create_pipe(&qd, ".hidden"), EINVAL);
	CHECK_EQ(demi_create_pipe(&qd, "a/b"), EINVAL);
	CHECK_EQ(demi_create_pipe(&qd, too_long), ENAMETOOLONG);
	CHECK_EQ(demi_create_pipe(&qd, long_path), ENAMETOOLONG);
	CHECK_EQ(demi_create_pipe(&qd, "/nowhere/at/all"), ENOENT);
	CHECK_EQ(demi_open_pipe(&qd, "nobody"), ENOENT);
	CHECK_EQ(qd, -1);
	CHECK_EQ(demi_create_pipe(&qd, longest), 0);
	CHECK_EQ(demi_close(qd), 0);
}

static void test_busy_and_gone(void)
{
	struct stat st;
	int a, b, c;

	CHECK_EQ(demi_create_pipe(&a, "one"), 0);
	CHECK(!stat(path_of("one"), &st) && S_ISSOCK(st.st_mode));
	CHECK_EQ(demi_create_pipe(&b, "one"), EEXIST);
	CHECK_EQ(demi_open_pipe(&b, "one"), 0);
	CHECK_EQ(demi_open_pipe(&c, "one"), EBUSY);
	CHECK_EQ(demi_create_pipe(&c, "one"), EEXIST);
	CHECK_EQ(demi_create_pipe(&c, path_of("two")), 0); /* an absolute path */
	CHECK_EQ(demi_close(c), 0);
	CHECK_EQ(demi_close(a), 0);
	CHECK(stat(path_of("one"), &st) && errno == ENOENT);
	CHECK_EQ(demi_open_pipe(&c, "one"), ENOENT);
	CHECK_EQ(demi_close(b), 0);
}

/* Things that stand in the way of a name. */
static void test_other_files(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int qd, fd, other;
	struct stat st;

	fd = open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	CHECK_EQ(demi_create_pipe(&qd, "file"), EEXIST);
	CHECK_EQ(demi_open_pipe(&qd, "file"), ECONNREFUSED);
	CHECK(!unlink(path_of("file")));

	/* what took the place of the pipe's socket is not removed with it */
	CHECK_EQ(demi_create_pipe(&qd, "moved"), 0);
	CHECK(!unlink(path_of("moved")));
	fd = open(path_of("moved"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	CHECK_EQ(demi_close(qd), 0);
	CHECK(!stat(path_of("moved"), &st));
	CHECK(!unlink(path_of("moved")));

	/* a listener of another protocol: says something else, or nothing and goes */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	strcpy(addr.sun_path, path_of("other"));
	CHECK(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 1));
	if (fork() == 0) {
		other = accept(fd, NULL, NULL);
		if (recv(other, path, sizeof(path), 0) <= 0)
			_exit(1);
		_exit(send(other, "what do you want?", 17, 0) != 17);
	}
	CHECK_EQ(demi_open_pipe(&qd, "other"), EPROTO);
	if (fork() == 0)
		_exit(accept(fd, NULL, NULL) < 0);
	CHECK_EQ(demi_open_pipe(&qd, "other"), ECONNREFUSED);
	CHECK_EQ(demi_create_pipe(&qd, "other"), EEXIST);
	close(fd);
	while (wait(NULL) > 0)
		;
	CHECK_EQ(demi_open_pipe(&qd, "other"), ECONNREFUSED);
	CHECK_EQ(demi_create_pipe(&qd, "other"), 0); /* it is dead: its place is taken */
	CHECK_EQ(demi_close(qd), 0);
}

/* Connect to a pipe's socket by hand, and say @what if that is something. */
static int stranger(const char *name, const void *what, size_t len)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path_of(name));
	CHECK(fd >= 0);
	CHECK(!connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	CHECK_EQ(len ? send(fd, what, len, MSG_NOSIGNAL) : 0, (long)len);
	return fd;
}

static void await_answer(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	CHECK_EQ(poll(&pfd, 1, -1), 1);
}

/* Connections are answered in their order: none of these may take the end away from the opener after them. */
static void test_strangers(void)
{
	static const struct {
		char magic[8];
		uint32_t version;
	} ask = { "demiopen", 2 }, older = { "demiopen", 1 };
	int a, b, fd, silent[40];
	demi_qtoken_t qt;
	char buf[64];

	CHECK_EQ(demi_create_pipe(&a, "strange"), 0);
	for (int i = 0; i < 40; i++)
		silent[i] = stranger("strange", NULL, 0);
	CHECK_EQ(recv(silent[0], buf, sizeof(buf), 0), 0); /* there is no room for so many that say nothing */

	fd = stranger("strange", "give me that", 12);
	CHECK(recv(fd, buf, sizeof(buf), 0) > 12 && !memcmp(buf, "demipipe", 8));
	close(fd);
	fd = stranger("strange", &older, sizeof(older));
	CHECK(recv(fd, buf, sizeof(buf), 0) > 12 && !memcmp(buf, "demipipe", 8));
	close(fd);

	/* somebody who does not receive what he asked for */
	fd = stranger("strange", &ask, sizeof(ask));
	await_answer(fd);
	CHECK_EQ(demi_open_pipe(&b, "strange"), EBUSY);
	CHECK_EQ(demi_queue_export(&b, a), EBUSY);
	close(fd);
	CHECK_EQ(demi_open_pipe(&b, "strange"), 0);
	pipe_test_push(b, 1234, 5);
	pipe_test_pop(a, 1234, 5);
	for (int i = 0; i < 40; i++)
		close(silent[i]);
	CHECK_EQ(demi_close(b), 0);
	pipe_test_pop_ends(a, 0);
	CHECK_EQ(demi_close(a), 0);

	/* and who receives it and dies: it is gone with him */
	CHECK_EQ(demi_create_pipe(&a, "strange"), 0);
	fd = stranger("strange", &ask, sizeof(ask));
	CHECK(recv(fd, buf, sizeof(buf), 0) > 12);
	CHECK_EQ(demi_pop(&qt, a), 0);
	close(fd);
	CHECK_EQ(pipe_test_wait(qt).qr_ret, ECONNRESET);
	CHECK_EQ(demi_open_pipe(&b, "strange"), EBUSY);
	CHECK_EQ(demi_close(a), 0);

	/* the name goes while it is being given */
	CHECK_EQ(demi_create_pipe(&a, "strange"), 0);
	fd = stranger("strange", &ask, sizeof(ask));
	await_answer(fd);
	CHECK_EQ(demi_close(a), 0);
	CHECK(recv(fd, buf, sizeof(buf), 0) > 12);
	close(fd);
}

/* Whether a name is in use is found out without a connection, of which there is one for the opener. */
static void test_create_again(void)
{
	int a, b;

	for (int i = 0; i < 200; i++) {
		CHECK_EQ(demi_create_pipe(&a, "again"), 0);
		CHECK_EQ(demi_create_pipe(&b, "again"), EEXIST);
		CHECK_EQ(demi_open_pipe(&b, "again"), 0);
		CHECK_EQ(demi_close(b), 0);
		CHECK_EQ(demi_close(a), 0);
	}
}

/* A pipe that is closed before it is opened: what waits in it is lost, its pushes end. */
static void test_never_opened(void)
{
	static char buf[1000];
	demi_sgarray_t sga = pipe_test_sga(buf, sizeof(buf));
	demi_qtoken_t first, last, qt;
	int qd, n = 0;

	CHECK_EQ(demi_create_pipe(&qd, "lonely"), 0);
	CHECK_EQ(demi_push(&first, qd, &sga), 0);
	CHECK_EQ(pipe_test_wait(first).qr_opcode, DEMI_OPC_PUSH); /* it waits in the pipe */
	while (!demi_push(&last, qd, &sga) && ++n < 3000)
		;
	CHECK_EQ(demi_pop(&qt, qd), 0);
	CHECK_EQ(demi_close(qd), 0);
	CHECK_EQ(pipe_test_wait(qt).qr_ret, ECANCELED);
	CHECK_EQ(pipe_test_wait(last).qr_ret, EPIPE);
}

static void test_export(void)
{
	int a, b, c, fd, again, other[2];
	demi_qtoken_t qt;

	CHECK_EQ(demi_create_pipe(&a, "exported"), 0);
	pipe_test_push(a, 100, 1);
	CHECK_EQ(demi_queue_export(&fd, a), 0);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK_EQ(demi_queue_export(&again, a), EBUSY);
	CHECK_EQ(demi_open_pipe(&b, "exported"), EBUSY);
	CHECK_EQ(demi_queue_import(&b, fd), 0);
	CHECK_EQ(demi_queue_import(&c, fd), EBUSY);
	CHECK_EQ(demi_queue_export(&again, b), EBUSY);
	CHECK(!close(fd));
	pipe_test_pop(b, 100, 1);
	pipe_test_push(b, 9999, 2);
	pipe_test_pop(a, 9999, 2);
	CHECK_EQ(demi_close(b), 0);
	pipe_test_pop_ends(a, 0); /* that somebody once had the exported fd does not matter */
	CHECK_EQ(demi_close(a), 0);

	CHECK_EQ(demi_create_pipe(&a, "exported"), 0);
	CHECK_EQ(demi_open_pipe(&b, "exported"), 0);
	CHECK_EQ(demi_queue_export(&fd, a), EBUSY);
	CHECK_EQ(demi_close(b), 0);
	CHECK_EQ(demi_close(a), 0);

	CHECK_EQ(demi_create_pipe(&a, "exported"), 0);
	CHECK_EQ(demi_queue_export(&fd, a), 0);
	CHECK_EQ(demi_pop(&qt, a), 0);
	CHECK(!close(fd)); /* nobody can import it any more */
	CHECK_EQ(pipe_test_wait(qt).qr_ret, ECONNRESET);
	CHECK_EQ(demi_close(a), 0);

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, other));
	CHECK_EQ(demi_queue_import(&b, other[0]), EINVAL);
	CHECK_EQ(send(other[1], "mail", 4, 0), 4);
	CHECK_EQ(demi_queue_import(&b, other[0]), EINVAL);
	CHECK_EQ(recv(other[0], path, 5, MSG_DONTWAIT), 4); /* it is still there */
	close(other[0]);
	close(other[1]);
	CHECK_EQ(demi_queue_import(&b, 0), EINVAL);
	CHECK_EQ(demi_queue_import(&b, 12345), EINVAL);
}

/* The file system says who may open a pipe. */
static void nobody(int go)
{
	char c;
	int qd;

	CHECK_EQ(read(go, &c, 1), 1);
	if (geteuid())
		return; /* only root can become somebody else */
	CHECK(!setgid(65534) && !setuid(65534));
	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_open_pipe(&qd, "private"), EACCES);
	CHECK_EQ(demi_create_pipe(&qd, "mine"), EACCES);
	CHECK_EQ(demi_open_pipe(&qd, "public"), 0);
	pipe_test_push(qd, 77, 7);
	CHECK_EQ(demi_close(qd), 0);
}

static void test_permissions(pid_t pid, int go)
{
	mode_t old;
	int private, public;

	CHECK(!chmod(pipe_test_dir, 0755));
	old = umask(0077);
	CHECK_EQ(demi_create_pipe(&private, "private"), 0);
	umask(0);
	CHECK_EQ(demi_create_pipe(&public, "public"), 0);
	umask(old);
	CHECK_EQ(write(go, "", 1), 1);
	if (!geteuid()) {
		pipe_test_pop(public, 77, 7);
		pipe_test_pop_ends(public, 0);
	}
	pipe_test_join(pid);
	CHECK_EQ(demi_close(private), 0);
	CHECK_EQ(demi_close(public), 0);
}

static void *compute(void *arg)
{
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_open_pipe(&qd, "asleep"), 0);
	pipe_test_pop(qd, 10, 1);
	CHECK_EQ(demi_close(qd), 0);
	return NULL;
}

/* Opening does not need the maker's thread, which may wait for the very thread that opens. */
static void test_maker_away(void)
{
	pthread_t t;
	int qd;

	CHECK_EQ(demi_create_pipe(&qd, "asleep"), 0);
	pipe_test_push(qd, 10, 1);
	CHECK(!pthread_create(&t, NULL, compute, NULL));
	CHECK(!pthread_join(t, NULL));
	CHECK_EQ(demi_close(qd), 0);
}

static void make_and_die(void *arg)
{
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&qd, "stale"), 0);
	kill(getpid(), SIGKILL);
}

static void *create_stale(void *arg)
{
	int *won = arg, qd, err;

	CHECK_EQ(demi_init(NULL), 0);
	err = demi_create_pipe(&qd, "stale");
	CHECK(!err || err == EEXIST);
	*won = !err;
	pthread_barrier_wait((pthread_barrier_t *)(uintptr_t)strtoull(getenv("BARRIER"), NULL, 0));
	if (!err)
		CHECK_EQ(demi_close(qd), 0);
	return NULL;
}

/* Of many who find a dead maker's socket, one takes its place. */
static void test_stale(void)
{
	enum { MANY = 8 };
	int won[MANY], sum = 0, qd;
	pthread_barrier_t barrier;
	pthread_t t[MANY];
	char where[32];

	CHECK_EQ(demi_open_pipe(&qd, "stale"), ECONNREFUSED);
	CHECK(!pthread_barrier_init(&barrier, NULL, MANY));
	snprintf(where, sizeof(where), "%p", (void *)&barrier);
	CHECK(!setenv("BARRIER", where, 1));
	for (int i = 0; i < MANY; i++)
		CHECK(!pthread_create(&t[i], NULL, create_stale, &won[i]));
	for (int i = 0; i < MANY; i++) {
		CHECK(!pthread_join(t[i], NULL));
		sum += won[i];
	}
	CHECK_EQ(sum, 1);
	pthread_barrier_destroy(&barrier);
}

int main(void)
{
	pid_t pid, dead;
	int go[2];

	pipe_test_setup(50);
	dead = pipe_test_fork(make_and_die, NULL);
	CHECK_EQ(waitpid(dead, NULL, 0), dead);
	CHECK(!pipe(go));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(50);
		close(go[1]); /* so that it ends when its parent fails */
		nobody(go[0]);
		exit(0);
	}
	CHECK_EQ(demi_init(NULL), 0);
	test_arguments();
	test_busy_and_gone();
	test_strangers();
	test_create_again();
	test_never_opened();
	test_export();
	test_maker_away();
	test_stale();
	test_permissions(pid, go[1]);
	test_other_files();
	pipe_test_cleanup();
	return 0;
}
