/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_HTTP_H
#define DEMI_SELFTESTS_INET_HTTP_H

/*
 * Other people's programs as peers: curl fetches from and sends to a small HTTP server on queues, and a client on
 * queues does so with nginx. Files are compared by their SHA-256, which coreutils computes. They live in a folder of
 * their own, which is removed.
 *
 * The server answers GET of the one body that there is, whatever the path, and PUT to anything, with the bytes kept in
 * the file "up"; HTTP/1.1 with connections that stay open, and HTTP/1.0. Just enough of RFC 9112 for these two.
 */

#include "../lib/check.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define HTTP_BODY (SLOW ? 1000003U : 5000011U)
#define HTTP_PIECE 65536U /* of one push */
#define HTTP_CONNS 16
#define HTTP_HEAD 4096
#define HTTP_PATH 200

/* Where the two are, as addresses are written. */
struct http_hosts {
	int domain;
	const char *kernel, *own;
};

static char http_dir[HTTP_PATH];
static uint8_t *http_body; /* of the heap: pieces of it are sent in place where that is possible */

/* ---- files ---- */

static inline char *http_path(const char *name)
{
	static char path[4][HTTP_PATH + 64];
	static int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", http_dir, name);
	return p;
}

static inline void http_sha256(const char *name, char hex[65])
{
	char cmd[HTTP_PATH + 100];
	FILE *f;

	snprintf(cmd, sizeof(cmd), "sha256sum <%s", http_path(name));
	f = popen(cmd, "r");
	CHECK(f && fread(hex, 1, 64, f) == 64);
	hex[64] = '\0';
	while (fgetc(f) != EOF)
		;
	CHECK_EQ(pclose(f), 0);
}

static inline void http_same(const char *a, const char *b)
{
	char ha[65], hb[65];

	http_sha256(a, ha);
	http_sha256(b, hb);
	if (strcmp(ha, hb))
		printf("%s has SHA-256 %s, %s has %s\n", a, ha, b, hb);
	CHECK(!strcmp(ha, hb));
}

static inline void http_write(const char *name, const void *p, size_t len)
{
	int fd = open(http_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0 && write(fd, p, len) == (ssize_t)len);
	close(fd);
}

static inline void http_begin(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(http_dir, sizeof(http_dir), "%s/http-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(http_dir));
	http_body = demi_malloc(HTTP_BODY);
	CHECK(http_body);
	for (uint32_t i = 0; i < HTTP_BODY; i++)
		http_body[i] = (uint8_t)(rnd() >> 56);
	http_write("body", http_body, HTTP_BODY);
}

static inline void http_end(void)
{
	char cmd[HTTP_PATH + 20];

	demi_free(http_body);
	snprintf(cmd, sizeof(cmd), "rm -r %s", http_dir);
	OK(system(cmd));
}

/* The program @name, the system's or one that came with the tests' build; false: there is none. */
static inline bool http_program(const char *name, char path[HTTP_PATH])
{
	static const char *const dirs[] = { "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin" };
	char self[HTTP_PATH - 40] = "";
	ssize_t n;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, HTTP_PATH, "%s/%s", dirs[i], name);
		if (!access(path, X_OK))
			return true;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	CHECK(n > 0 && n < (ssize_t)sizeof(self) - 1);
	for (int up = 0; up < 2; up++) /* BUILD/selftests/lib/NAME */
		*strrchr(self, '/') = '\0';
	snprintf(path, HTTP_PATH, "%s/peers/%s", self, name);
	return !access(path, X_OK);
}

/* ---- the server ---- */

static struct http_conn {
	int qd; /* 0: free */
	char head[HTTP_HEAD + 1];
	uint32_t nhead;
	uint64_t up_left; /* of a PUT */
	int up_fd;
	uint32_t out_at, out_end; /* of the body */
	uint32_t pushes; /* under way */
	bool last; /* the connection ends with this answer */
} http_conns[HTTP_CONNS];
static uint32_t http_served; /* answers */

static inline struct http_conn *http_conn_of(int qd)
{
	for (int i = 0; i < HTTP_CONNS; i++) {
		if (http_conns[i].qd == qd)
			return &http_conns[i];
	}
	return NULL;
}

static inline void http_say(struct http_conn *c, const char *text)
{
	push_start(c->qd, text, strlen(text));
	c->pushes++;
}

static inline void http_close(struct http_conn *c)
{
	OK(demi_close(c->qd));
	memset(c, 0, sizeof(*c));
}

/* At most two pieces of the body are under way. The end: the next request, or the connection's end. */
static inline void http_more(struct http_conn *c)
{
	while (c->out_at < c->out_end && c->pushes < 2) {
		uint32_t n = c->out_end - c->out_at < HTTP_PIECE ? c->out_end - c->out_at : HTTP_PIECE;

		push_start(c->qd, http_body + c->out_at, n);
		c->out_at += n;
		c->pushes++;
	}
	if (c->out_at == c->out_end && !c->pushes && !c->up_left && c->last)
		http_close(c);
}

static inline uint64_t http_length(const char *head)
{
	const char *s = strcasestr(head, "\r\nContent-Length:");

	return s ? strtoull(s + 17, NULL, 10) : 0;
}

static inline void http_request(struct http_conn *c)
{
	char text[120];

	CHECK(c->out_at == c->out_end);
	c->last = strstr(c->head, " HTTP/1.0\r\n") || strcasestr(c->head, "\r\nConnection: close\r\n");
	http_served++;
	if (!strncmp(c->head, "PUT ", 4)) {
		c->up_left = http_length(c->head);
		CHECK(c->up_left > 0);
		c->up_fd = open(http_path("up"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		CHECK(c->up_fd >= 0);
		if (strcasestr(c->head, "\r\nExpect: 100-continue\r\n"))
			http_say(c, "HTTP/1.1 100 Continue\r\n\r\n");
		return;
	}
	CHECK(!strncmp(c->head, "GET /", 5));
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n%s\r\n", HTTP_BODY,
		 c->last ? "Connection: close\r\n" : "");
	http_say(c, text);
	c->out_at = 0;
	c->out_end = HTTP_BODY;
	http_more(c);
}

/* Bytes of a body that the peer sends; how many of them belong to it. */
static inline uint32_t http_upload(struct http_conn *c, const char *p, uint32_t len)
{
	uint32_t n = c->up_left < len ? (uint32_t)c->up_left : len;

	CHECK_EQ(write(c->up_fd, p, n), n);
	c->up_left -= n;
	if (!c->up_left) {
		close(c->up_fd);
		http_say(c, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
	}
	return n;
}

static inline void http_input(struct http_conn *c, const char *p, uint32_t len)
{
	while (len) {
		if (c->up_left) {
			uint32_t n = http_upload(c, p, len);

			p += n;
			len -= n;
			continue;
		}
		CHECK(c->nhead < HTTP_HEAD);
		c->head[c->nhead++] = *p++;
		len--;
		if (c->nhead < 4 || memcmp(c->head + c->nhead - 4, "\r\n\r\n", 4))
			continue;
		c->head[c->nhead] = '\0';
		c->nhead = 0;
		http_request(c);
	}
}

static inline void http_event(int listener, demi_qresult_t *qr)
{
	struct http_conn *c = qr->qr_qd == listener ? http_conn_of(0) : http_conn_of(qr->qr_qd);

	switch (qr->qr_opcode) {
	case DEMI_OPC_ACCEPT:
		CHECK(c);
		c->qd = qr->qr_value.ares.qd;
		pop_start(c->qd);
		OK(demi_accept(&qr->qr_qt, listener));
		return;
	case DEMI_OPC_PUSH:
		CHECK(c);
		c->pushes--;
		http_more(c);
		return;
	case DEMI_OPC_POP:
		if (!c) { /* it had come when the connection was closed at the end of its answer */
			CHECK_EQ(qr->qr_value.sga.sga_segs[0].sgaseg_len, 0);
		} else if (qr->qr_value.sga.sga_segs[0].sgaseg_len) {
			http_input(c, qr->qr_value.sga.sga_segs[0].sgaseg_buf, qr->qr_value.sga.sga_segs[0].sgaseg_len);
			pop_start(c->qd);
		} else { /* nobody leaves in the middle; a frame of the end may still be the device's */
			CHECK(!c->up_left && c->out_at == c->out_end);
			c->last = true;
			http_more(c);
		}
		OK(demi_sgafree(&qr->qr_value.sga));
		return;
	default: /* of a connection that was closed at the end of the answer */
		check_failed(qr, ECANCELED);
		CHECK(!c || qr->qr_qd == listener);
	}
}

/* Serve until the process @pid has ended: well. */
static inline void http_serve(int listener, pid_t pid)
{
	static const struct timespec moment = { .tv_nsec = 10000000 };
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int status, n;

	OK(demi_accept(&qt, listener));
	while (!waitpid(pid, &status, WNOHANG)) {
		int err = demi_wait_next_n(&qr, 1, &n, &moment);

		CHECK(!err || err == ETIMEDOUT);
		if (!err)
			http_event(listener, &qr);
	}
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
	for (int i = 0; i < HTTP_CONNS; i++) {
		if (http_conns[i].qd)
			http_close(&http_conns[i]);
	}
	OK(demi_close(listener));
	while (!demi_wait_next_n(&qr, 1, &n, &check_now))
		CHECK(qr.qr_opcode != DEMI_OPC_POP || !demi_sgafree(&qr.qr_value.sga));
}

/* A command of the shell's, which ends with this process. */
static inline pid_t http_shell(const char *cmd)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/bin/sh", "sh", "-ec", cmd, NULL);
		_exit(127);
	}
	return pid;
}

static inline socklen_t http_sockaddr(struct sockaddr_storage *ss, int domain, const char *ip, uint16_t port)
{
	struct sockaddr_in *a4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)domain;
	if (domain == AF_INET) {
		a4->sin_port = htons(port);
		CHECK_EQ(inet_pton(AF_INET, ip, &a4->sin_addr), 1);
		return sizeof(*a4);
	}
	a6->sin6_port = htons(port);
	CHECK_EQ(inet_pton(AF_INET6, ip, &a6->sin6_addr), 1);
	return sizeof(*a6);
}

static inline void http_url(char url[80], const struct http_hosts *h, bool own, uint16_t port)
{
	bool six = h->domain == AF_INET6;

	snprintf(url, 80, "http://%s%s%s:%u", six ? "[" : "", own ? h->own : h->kernel, six ? "]" : "", port);
}

/*
 * curl: several files over one connection, four connections at once, HTTP/1.0, whose connection the server ends, and a
 * file to the server.
 */
static inline void http_curl(const char *curl, const struct http_hosts *h)
{
	static const char *const got[] = { "one", "two", "p1", "p2", "p3", "p4", "old" };
	struct sockaddr_storage ss;
	socklen_t len = http_sockaddr(&ss, h->domain, h->own, 0);
	char cmd[2000], url[80];
	int listener = -1;

	OK(demi_socket(&listener, h->domain, SOCK_STREAM, 0));
	OK(demi_bind(listener, (struct sockaddr *)&ss, len));
	OK(demi_listen(listener, 16));
	OK(demi_getsockname(listener, (struct sockaddr *)&ss, &len));
	http_url(url, h, true, ntohs(((struct sockaddr_in *)&ss)->sin_port));
	snprintf(cmd, sizeof(cmd),
		 "cd %s; unset http_proxy all_proxy ALL_PROXY; get='%s -gsSf --no-progress-meter -m 100'; $get -o one "
		 "-o two %s/1 %s/2;"
		 " $get -Z --parallel-immediate -o p1 -o p2 -o p3 -o p4 %s/1 %s/2 %s/3 %s/4;"
		 " $get -0 -o old %s/1; $get -T body %s/up",
		 http_dir, curl, url, url, url, url, url, url, url, url);
	http_served = 0;
	http_serve(listener, http_shell(cmd));
	CHECK_EQ(http_served, 8);
	for (size_t i = 0; i < sizeof(got) / sizeof(got[0]); i++)
		http_same("body", got[i]);
	http_same("body", "up");
}

/* ---- the client ---- */

/* Bytes of a stream, as many as are asked for. */
struct http_stream {
	int qd;
	demi_sgarray_t sga;
	uint32_t at, len; /* of what is in sga */
	bool end;
};

/* At least one byte, at most @max; 0: the end. They are there until the next call. */
static inline uint32_t http_some(struct http_stream *s, const uint8_t **p, uint32_t max)
{
	demi_qresult_t qr;

	if (s->at == s->len && !s->end) {
		if (s->len)
			OK(demi_sgafree(&s->sga));
		qr = wait_result(pop_start(s->qd));
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		s->sga = qr.qr_value.sga;
		s->at = 0;
		s->len = s->sga.sga_segs[0].sgaseg_len;
		s->end = !s->len;
		if (s->end)
			OK(demi_sgafree(&s->sga));
	}
	if (max > s->len - s->at)
		max = s->len - s->at;
	*p = (uint8_t *)s->sga.sga_segs[0].sgaseg_buf + s->at;
	s->at += max;
	return max;
}

/* The head of an answer, whose status must be @status; the length of its body. */
static inline uint64_t http_answer(struct http_stream *s, const char *status)
{
	char head[HTTP_HEAD + 1];
	uint32_t n = 0;
	const uint8_t *p;

	do {
		CHECK(n < HTTP_HEAD);
		CHECK_EQ(http_some(s, &p, 1), 1);
		head[n++] = (char)*p;
	} while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4));
	head[n] = '\0';
	if (strncmp(head, "HTTP/1.1 ", 9) || strncmp(head + 9, status, 3))
		printf("%s", head);
	CHECK(!strncmp(head, "HTTP/1.1 ", 9) && !strncmp(head + 9, status, 3));
	return http_length(head);
}

/* The body of an answer, of @len bytes, into a file. */
static inline void http_save(struct http_stream *s, uint64_t len, const char *name)
{
	int fd = open(http_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	const uint8_t *p;

	CHECK(fd >= 0);
	while (len) {
		uint32_t n = http_some(s, &p, len < UINT32_MAX ? (uint32_t)len : UINT32_MAX);

		CHECK(n > 0);
		CHECK_EQ(write(fd, p, n), n);
		len -= n;
	}
	close(fd);
}

static inline void http_send(int qd, const char *fmt, const char *host)
{
	char text[400];

	snprintf(text, sizeof(text), fmt, host);
	push_bytes(qd, text, strlen(text));
}

static inline void http_put(int qd)
{
	demi_qtoken_t qts[2] = { 0, 0 };

	for (uint32_t at = 0, i = 0, n; at < HTTP_BODY; at += n, i++) {
		n = HTTP_BODY - at < HTTP_PIECE ? HTTP_BODY - at : HTTP_PIECE;
		if (qts[i % 2])
			CHECK_EQ(wait_result(qts[i % 2]).qr_opcode, DEMI_OPC_PUSH);
		qts[i % 2] = push_start(qd, http_body + at, n);
	}
	for (int i = 0; i < 2; i++) {
		if (qts[i])
			CHECK_EQ(wait_result(qts[i]).qr_opcode, DEMI_OPC_PUSH);
	}
}

/*
 * With a web server: a file, three of them asked for at once (RFC 9112 9.3.2), a file to it, and one more, after which
 * it ends the connection.
 */
static inline void http_client(const struct http_hosts *h, uint16_t port)
{
	static const char get[] = "GET /body HTTP/1.1\r\nHost: %s\r\n\r\n";
	static const char *const got[] = { "down1", "down2", "down3", "down4", "dav/up", "last" };
	struct http_stream s = { .qd = -1 };
	struct sockaddr_storage ss;
	socklen_t len = http_sockaddr(&ss, h->domain, h->kernel, port);
	char text[120];
	demi_qresult_t qr;
	demi_qtoken_t qt;
	const uint8_t *p;

	OK(demi_socket(&s.qd, h->domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, s.qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	http_send(s.qd, get, "demi");
	http_save(&s, http_answer(&s, "200"), "down1");
	for (int i = 0; i < 3; i++)
		http_send(s.qd, get, "demi");
	for (int i = 1; i < 4; i++)
		http_save(&s, http_answer(&s, "200"), got[i]);
	snprintf(text, sizeof(text), "PUT /dav/up HTTP/1.1\r\nHost: %%s\r\nContent-Length: %u\r\n\r\n", HTTP_BODY);
	http_send(s.qd, text, "demi");
	http_put(s.qd);
	http_save(&s, http_answer(&s, "201"), "nothing");
	http_send(s.qd, "GET /nowhere HTTP/1.1\r\nHost: %s\r\n\r\n", "demi");
	http_save(&s, http_answer(&s, "404"), "nothing");
	http_send(s.qd, "GET /body HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", "demi");
	http_save(&s, http_answer(&s, "200"), "last");
	CHECK_EQ(http_some(&s, &p, 1), 0);
	OK(demi_close(s.qd));
	for (size_t i = 0; i < sizeof(got) / sizeof(got[0]); i++)
		http_same("body", got[i]);
	OK(unlink(http_path("dav/up"))); /* else it is no new one next time: 204 */
}

/* ---- nginx ---- */

/* A port that nobody has on either address, now. */
static inline uint16_t http_free_port(const struct http_hosts *h)
{
	struct sockaddr_storage ss;
	socklen_t len = http_sockaddr(&ss, h->domain, h->kernel, 0);
	int fd = socket(h->domain, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	CHECK(fd >= 0);
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	while (bind(fd, (struct sockaddr *)&ss, len)) { /* IPv6 addresses take a moment */
		CHECK_EQ(errno, EADDRNOTAVAIL);
		sleep_ms(50);
	}
	OK(getsockname(fd, (struct sockaddr *)&ss, &len));
	close(fd);
	return ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

/* Until it listens. */
static inline void http_await(const struct http_hosts *h, uint16_t port, pid_t pid)
{
	struct sockaddr_storage ss;
	socklen_t len = http_sockaddr(&ss, h->domain, h->kernel, port);

	for (;;) {
		int fd = socket(h->domain, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

		CHECK(fd >= 0);
		err = connect(fd, (struct sockaddr *)&ss, len);
		close(fd);
		if (!err)
			return;
		CHECK(!waitpid(pid, NULL, WNOHANG));
		sleep_ms(20);
	}
}

static inline void http_nginx(const char *nginx, const struct http_hosts *h)
{
	uint16_t port = http_free_port(h);
	char conf[2000], url[80], cmd[2 * HTTP_PATH + 100];
	const char *listen_on = url + strlen("http://");
	int status;
	pid_t pid;

	http_url(url, h, false, port);
	snprintf(conf, sizeof(conf),
		 "daemon off; master_process off; pid nginx.pid; error_log stderr crit; events { }\n"
		 "http { access_log off; sendfile on; client_max_body_size 0; client_body_temp_path temp;\n"
		 "proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;\n"
		 "server { listen %s; root .; location /dav/ { dav_methods PUT; } } }\n",
		 listen_on);
	http_write("nginx.conf", conf, strlen(conf));
	CHECK(!mkdir(http_path("dav"), 0755) || errno == EEXIST);
	snprintf(cmd, sizeof(cmd), "exec %s -p %s -c nginx.conf -e stderr", nginx, http_dir);
	pid = http_shell(cmd);
	http_await(h, port, pid);
	http_client(h, port);
	OK(kill(pid, SIGTERM));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

#endif /* DEMI_SELFTESTS_INET_HTTP_H */
