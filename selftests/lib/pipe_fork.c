// SPDX-License-Identifier: MIT
// timeout: 60
/*
 * A process with pipes forks: the child may not use them, and it hides nothing. The end and the death of its
 * parent are seen although it lives on, and the names are free again. And a process with pipes exits: by itself,
 * and in a signal handler that interrupted the library.
 */
#include "pipe_test.h"

#include <signal.h>

static int ready[2], children[2];

static void say(int fd, pid_t pid)
{
	CHECK_EQ(write(fd, &pid, sizeof(pid)), (long)sizeof(pid));
}

static pid_t hear(int fd)
{
	pid_t pid;

	CHECK_EQ(read(fd, &pid, sizeof(pid)), (long)sizeof(pid));
	return pid;
}

/* Lives until it is killed. */
static void child(int qd)
{
	demi_sgarray_t sga = pipe_test_sga("x", 1);
	demi_qtoken_t qt;
	int other;

	alarm(50);
	CHECK_EQ(demi_push(&qt, qd, &sga), EPERM);
	CHECK_EQ(demi_close(qd), EPERM);
	CHECK_EQ(demi_create_pipe(&other, "child"), EPERM);
	say(children[1], getpid());
	for (;;)
		pause();
}

static void parent(void *arg)
{
	int killed, closed, unopened, opened;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&killed, "killed"), 0);
	CHECK_EQ(demi_create_pipe(&closed, "closed"), 0);
	CHECK_EQ(demi_create_pipe(&unopened, "unopened"), 0);
	opened = pipe_test_open("other-way");
	if (!fork())
		child(killed);
	pipe_test_pop(killed, 10, 1); /* both are open now */
	pipe_test_pop(closed, 10, 2);
	pipe_test_push(killed, 20, 3);
	pipe_test_push(closed, 20, 4);
	pipe_test_push(opened, 20, 5);
	CHECK_EQ(demi_close(closed), 0);
	/* what was the closed pipe's is gone from the set that this sleep looks at */
	pipe_test_pop(killed, 10, 6);
	pipe_test_pop(opened, 10, 7);
	say(ready[1], getpid());
	pipe_test_pop(killed, 1, 1); /* does not come */
}

static void exit_at_once(int sig)
{
	uint64_t unused;

	if (demi_counter(&unused, "polls") == EDEADLK) /* else the library was not interrupted: the next one will do */
		exit(0);
}

/* Ends without closing its pipe: in the handler while a wait is under way, or by returning. */
static void quitter(void *arg)
{
	bool in_handler = *(bool *)arg;
	int qd;

	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&qd, "quitter"), 0);
	pipe_test_pop(qd, 10, 1);
	pipe_test_push(qd, 5000, 2);
	if (!in_handler)
		return;
	signal(SIGUSR1, exit_at_once);
	say(ready[1], getpid());
	pipe_test_pop(qd, 1, 1); /* does not come */
}

static void test_exit(pid_t pid, bool in_handler)
{
	int qd = pipe_test_open("quitter"), status;

	pipe_test_push(qd, 10, 1);
	if (in_handler) {
		CHECK_EQ(hear(ready[0]), pid);
		while (!kill(pid, SIGUSR1) && !waitpid(pid, &status, WNOHANG))
			usleep(1000);
		CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	} else {
		pipe_test_join(pid);
	}
	pipe_test_pop(qd, 5000, 2);
	pipe_test_pop_ends(qd, in_handler ? ECONNRESET : 0);
	CHECK_EQ(demi_close(qd), 0);
	CHECK_EQ(demi_open_pipe(&qd, "quitter"), ENOENT); /* it has removed the name */
}

/* A child that begins when it is told to: they are all made before this process uses the library. */
struct actor {
	int go[2];
	pid_t pid;
};

static struct actor cast(void (*fn)(void *), void *arg)
{
	struct actor a;

	CHECK(!pipe(a.go));
	a.pid = fork();
	CHECK(a.pid >= 0);
	if (a.pid)
		return a;
	alarm(50);
	hear(a.go[0]);
	fn(arg);
	exit(0);
}

static void test_fork(pid_t pid)
{
	int killed, closed, other_way, unopened;
	pid_t grandchild;

	CHECK_EQ(demi_create_pipe(&other_way, "other-way"), 0);
	killed = pipe_test_open("killed");
	closed = pipe_test_open("closed");
	grandchild = hear(children[0]);
	pipe_test_push(killed, 10, 1);
	pipe_test_push(closed, 10, 2);
	pipe_test_pop(closed, 20, 4);
	pipe_test_pop_ends(closed, 0); /* the grandchild does not hide it */
	pipe_test_push(killed, 10, 6);
	pipe_test_push(other_way, 10, 7);
	CHECK_EQ(hear(ready[0]), pid);
	CHECK(!kill(pid, SIGKILL));
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	pipe_test_pop(killed, 20, 3);
	pipe_test_pop_ends(killed, ECONNRESET);
	pipe_test_pop(other_way, 20, 5);
	pipe_test_pop_ends(other_way, ECONNRESET);
	CHECK_EQ(demi_open_pipe(&unopened, "unopened"), ECONNREFUSED);
	CHECK_EQ(demi_create_pipe(&unopened, "unopened"), 0);
	CHECK(!kill(grandchild, SIGKILL)); /* it was there all the time */
	CHECK_EQ(demi_close(unopened), 0);
	CHECK_EQ(demi_close(killed), 0);
	CHECK_EQ(demi_close(closed), 0);
	CHECK_EQ(demi_close(other_way), 0);
	CHECK_EQ(demi_create_pipe(&killed, "killed"), 0); /* in place of the dead one's */
	CHECK_EQ(demi_close(killed), 0);
}

int main(void)
{
	static bool yes = true, no;
	struct actor a[3];

	pipe_test_setup(55);
	CHECK(!setenv("DEMI_SPIN_US", "0", 1));
	CHECK(!pipe(ready) && !pipe(children));
	a[0] = cast(parent, NULL);
	a[1] = cast(quitter, &yes);
	a[2] = cast(quitter, &no);
	CHECK_EQ(demi_init(NULL), 0);
	say(a[0].go[1], 0);
	test_fork(a[0].pid);
	say(a[1].go[1], 0);
	test_exit(a[1].pid, true);
	say(a[2].go[1], 0);
	test_exit(a[2].pid, false);
	pipe_test_cleanup();
	return 0;
}
