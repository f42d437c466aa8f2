/* SPDX-License-Identifier: MIT */
/* engines: both */
/*
 * Design, statement 6: in the child after fork every call is EPERM and the heap's memory is readable, the parent's
 * traffic goes on, and no descriptor survives an exec. system() under traffic.
 */
#include "lib/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

static int tcp[2], mq;
static uint32_t sent, received;

/* A few elements each way, checked. */
static void traffic(void)
{
	for (int i = 0; i < 20; i++) {
		push_bytes(tcp[0], &sent, sizeof(sent));
		sent++;
		demi_qresult_t qr = wait_result(pop_start(tcp[1]));

		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, sizeof(received));
		check_popped(&qr, &received, sizeof(received));
		received++;
		push_bytes(mq, &sent, sizeof(sent));
		pop_bytes(mq, &sent, sizeof(sent));
	}
}

static int finish(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void every_call(demi_qtoken_t pending, demi_ctx_t *self)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct sockaddr *sa = (struct sockaddr *)&addr;
	demi_sgarray_t sga = sga_of("x", 1);
	socklen_t len = sizeof(addr);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	demi_ctx_t *c;
	uint64_t v;
	int n, off;

	CHECK_EQ(demi_init(NULL), EPERM);
	CHECK_EQ(demi_socket(&n, AF_INET, SOCK_STREAM, 0), EPERM);
	CHECK_EQ(demi_bind(tcp[0], sa, len), EPERM);
	CHECK_EQ(demi_listen(tcp[0], 1), EPERM);
	CHECK_EQ(demi_accept(&qt, tcp[0]), EPERM);
	CHECK_EQ(demi_connect(&qt, tcp[0], sa, len), EPERM);
	CHECK_EQ(demi_close(tcp[0]), EPERM);
	CHECK_EQ(demi_shutdown(tcp[0], SHUT_WR), EPERM);
	CHECK_EQ(demi_push(&qt, tcp[0], &sga), EPERM);
	CHECK_EQ(demi_pushto(&qt, tcp[0], &sga, sa, len), EPERM);
	CHECK_EQ(demi_pop(&qt, tcp[0]), EPERM);
	CHECK_EQ(demi_pop_n(&qt, tcp[0], 1), EPERM);
	CHECK_EQ(demi_blocking_push(tcp[0], &sga), EPERM);
	CHECK_EQ(demi_blocking_pop(&sga, tcp[0]), EPERM);
	CHECK_EQ(demi_setsockopt(tcp[0], SOL_SOCKET, SO_SNDBUF, &n, sizeof(n)), EPERM);
	CHECK_EQ(demi_getsockopt(tcp[0], SOL_SOCKET, SO_SNDBUF, &n, &len), EPERM);
	CHECK_EQ(demi_getpeername(tcp[0], sa, &len), EPERM);
	CHECK_EQ(demi_getsockname(tcp[0], sa, &len), EPERM);
	CHECK_EQ(demi_create_pipe(&n, "fork"), EPERM);
	CHECK_EQ(demi_open_pipe(&n, "fork"), EPERM);
	CHECK_EQ(demi_counter(&v, "polls"), EPERM);
	CHECK_EQ(demi_queue(&n), EPERM);
	CHECK_EQ(demi_queue_export(&n, mq), EPERM);
	CHECK_EQ(demi_queue_import(&n, 0), EPERM);
	CHECK_EQ(demi_open(&n, "/dev/null", O_RDONLY, 0), EPERM);
	CHECK_EQ(demi_creat(&n, "/dev/null", 0), EPERM);
	CHECK_EQ(demi_lseek(NULL, mq, 0, SEEK_SET), EPERM);
	CHECK_EQ(demi_truncate(mq, 0), EPERM);
	CHECK_EQ(demi_wait(&qr, pending, NULL), EPERM);
	CHECK_EQ(demi_wait_any(&qr, &off, &pending, 1, NULL), EPERM);
	CHECK_EQ(demi_wait_all(&qr, &pending, 1, NULL), EPERM);
	CHECK_EQ(demi_wait_some(&qr, &off, 1, &n, &pending, 1, NULL), EPERM);
	CHECK_EQ(demi_wait_next_n(&qr, 1, &n, NULL), EPERM);
	CHECK_EQ(demi_cancel(pending), EPERM);
	CHECK_EQ(demi_wait_fd(&n), EPERM);
	CHECK_EQ(demi_wait_arm(), EPERM);
	CHECK_EQ(demi_self(&c), EPERM);
	CHECK_EQ(demi_wakeup(self), EPERM);
}

static void test_child(void)
{
	demi_qtoken_t pending = pop_start(tcp[1]), unread;
	char *object = demi_malloc(100000), *lent = demi_malloc(5000);
	demi_ctx_t *self;
	demi_qresult_t qr;
	int q = new_queue();
	pid_t pid;

	OK(demi_self(&self));
	memset(object, 7, 100000);
	memset(lent, 9, 5000);
	unread = push_start(q, lent, 5000);
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(20);
		for (int round = 0; round < 2; round++) {
			demi_sgarray_t sga;

			every_call(pending, self);
			/* a private copy of the heap */
			for (int i = 0; i < 100000; i++)
				CHECK(object[i] == 7);
			CHECK(lent[0] == 9 && lent[4999] == 9);
			sga = demi_sgaalloc(3000);
			CHECK(sga.sga_numsegs == 1);
			memset(sga.sga_segs[0].sgaseg_buf, 1, 3000);
			OK(demi_sgafree(&sga));
		}
		memset(object, 8, 100000);
		memset(lent, 8, 5000);
		demi_free(object);
		demi_free(lent);
		exit(0); /* with the parent's atexit() handlers */
	}
	for (int i = 0; i < 5; i++) {
		push_bytes(tcp[0], &i, sizeof(i));
		qr = wait_result(pending);
		check_popped(&qr, &i, sizeof(i));
		pending = pop_start(tcp[1]);
	}
	CHECK_EQ(finish(pid), 0);
	CHECK_EQ(demi_wait(&qr, pending, &check_now), ETIMEDOUT); /* the connection lives */
	OK(demi_cancel(pending));
	wait_result(pending);
	traffic();
	for (int i = 0; i < 100000; i++)
		CHECK(object[i] == 7);
	demi_free(object);
	wait_result(unread);
	qr = wait_result(pop_start(q));
	CHECK(((char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf)[4999] == 9);
	OK(demi_sgafree(&qr.qr_value.sga));
	demi_free(lent);
	OK(demi_close(q));
}

/* All but the standard ones are closed by an exec. */
static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	int n = 0;

	CHECK(d);
	while ((e = readdir(d))) {
		int fd = atoi(e->d_name);

		if (fd <= STDERR_FILENO || fd == dirfd(d))
			continue;
		n++;
		if (!(fcntl(fd, F_GETFD) & FD_CLOEXEC)) {
			printf("fd %d survives an exec\n", fd);
			abort();
		}
	}
	closedir(d);
	return n;
}

static void test_cloexec(void)
{
	char path[] = "/tmp/demi-fork.XXXXXX";
	int fd, export, udp, file;

	OK(demi_wait_fd(&fd));
	OK(demi_queue_export(&export, mq));
	OK(demi_socket(&udp, AF_INET6, SOCK_DGRAM, 0));
	fd = mkstemp(path);
	CHECK(fd >= 0);
	close(fd);
	OK(demi_open(&file, path, O_RDWR, 0));
	unlink(path);
	traffic();
	CHECK(open_fds() >= 6);
	OK(demi_close(udp));
	OK(demi_close(file));
	close(export);
}

static void test_system(void)
{
	for (int i = 0; i < 10; i++) {
		push_start(tcp[0], &sent, sizeof(sent)); /* under way */
		sent++;
		CHECK_EQ(system("true"), 0);
		demi_qresult_t qr = wait_result(pop_start(tcp[1]));

		check_popped(&qr, &received, sizeof(received));
		received++;
		traffic();
		int n;

		while (!demi_wait_next_n(&qr, 1, &n, &check_now))
			CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	}
}

int main(void)
{
	alarm(100);
	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) /* what whoever started this has left open */
		close(fd);
	CHECK_EQ(open_fds(), 0);
	init_sockets();
	tcp_pair(tcp);
	mq = new_queue();
	traffic();
	test_child();
	test_cloexec();
	test_system();
	return 0;
}
