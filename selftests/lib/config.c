/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * The configuration: every source, their order, ranges, names of backends, Demikernel's YAML, files that are
 * wrong or hostile. Each load happens in a process of its own because it succeeds only once.
 */
#include "core/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct result {
	int rc;
	struct demi_config c;
	char log[8192];
} * res;

static char yaml_path[256];
static const char *yaml; /* contents of the file of the next load, or NULL */
static size_t yaml_len; /* 0: a string */
static int failures;

#define MAX_WORDS 8

/* In the child. Words of the form NAME=VALUE go to the environment, those with a dash to the arguments. */
static void load(const char *const *words)
{
	char *argv[MAX_WORDS + 1] = { (char *)"program" };
	struct demi_args args = { .argc = 1, .argv = argv };
	int fds[2], fd;
	ssize_t n;

	if (yaml) {
		size_t len = yaml_len ? yaml_len : strlen(yaml);

		fd = open(yaml_path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
		if (fd < 0 || write(fd, yaml, len) != (ssize_t)len || close(fd))
			_exit(2);
		setenv("CONFIG_PATH", yaml_path, 1);
	}
	for (; *words; words++) {
		if (**words == '-')
			argv[args.argc++] = (char *)*words;
		else
			putenv((char *)*words);
	}
	if (pipe2(fds, O_NONBLOCK) || dup2(fds[1], STDERR_FILENO) < 0)
		_exit(2);
	demi_log_init();
	res->rc = demi_config_load(&args);
	res->c = demi_config;
	n = read(fds[0], res->log, sizeof(res->log) - 1);
	res->log[n > 0 ? n : 0] = '\0';
	exit(0); /* not _exit(2): coverage is written then */
}

static void run(int line, const char *const *words)
{
	int status = 0;
	pid_t pid;

	memset(res, 0, sizeof(*res));
	res->rc = 1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		load(words);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		printf("line %d: the child ended with status %#x\n", line, status);
		failures++;
	}
}

#define LOAD(...) run(__LINE__, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#define CHECK(x)                                                                                                       \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			printf("line %d: %s (rc %d, log: %s)\n", __LINE__, #x, res->rc, res->log);                     \
			failures++;                                                                                    \
		}                                                                                                      \
	} while (0)
/* Refused, and the message names what is wrong. */
#define REFUSED(needle) CHECK(res->rc == -EINVAL && strstr(res->log, needle))
#define ACCEPTED(x) CHECK(res->rc == 0 && (x))

static void test_defaults(void)
{
	LOAD("XDG_RUNTIME_DIR=/run/somewhere");
	ACCEPTED(res->c.backend == DEMI_BACKEND_URING && res->c.engine == DEMI_ENGINE_AUTO);
	CHECK(res->c.exit_linger_ms == 1000 && res->c.push_limit_bytes == 64 << 20 &&
	      res->c.readahead_bytes == 64 << 10);
	CHECK(res->c.zerocopy && res->c.zc_min_bytes == 0 && res->c.tcp_nodelay && !res->c.tcp_keepalive);
	CHECK(!strcmp(res->c.pipe_dir, "/run/somewhere") && !*res->log);
	LOAD("XDG_RUNTIME_DIR=");
	ACCEPTED(!strncmp(res->c.pipe_dir, "/tmp/demi-", 10));
	LOAD("XDG_RUNTIME_DIR=relative");
	ACCEPTED(!strncmp(res->c.pipe_dir, "/tmp/demi-", 10));
}

static void test_values(void)
{
	LOAD("DEMI_SPIN_US=0", "DEMI_PUSH_LIMIT=1G", "DEMI_READAHEAD=128k", "DEMI_ZEROCOPY=Off", "DEMI_ENGINE=EPOLL");
	ACCEPTED(res->c.spin_us == 0 && res->c.push_limit_bytes == 1 << 30 && res->c.readahead_bytes == 128 << 10);
	CHECK(!res->c.zerocopy && res->c.engine == DEMI_ENGINE_EPOLL);
	LOAD("DEMI_PCAP=packets.pcapng");
	ACCEPTED(!strcmp(res->c.pcap, "packets.pcapng"));
	LOAD("DEMI_SPIN_US=", "DEMI_ENGINE=");
	ACCEPTED(res->c.engine == DEMI_ENGINE_AUTO);
	LOAD("DEMI_LOG=warn", "DEMI_SPIN_US=1000001");
	REFUSED("DEMI_SPIN_US: \"1000001\" is not a number from 0 to 1000000");
	LOAD("DEMI_SPIN_US=1000001");
	CHECK(res->rc == -EINVAL && !*res->log);
	LOAD("DEMI_LOG=warn", "DEMI_SPIN_US=-1");
	REFUSED("DEMI_SPIN_US");
	LOAD("DEMI_LOG=warn", "DEMI_SPIN_US=1x");
	REFUSED("DEMI_SPIN_US");
	LOAD("DEMI_LOG=warn", "DEMI_PUSH_LIMIT=18446744073709551616");
	REFUSED("DEMI_PUSH_LIMIT");
	LOAD("DEMI_LOG=warn", "DEMI_PUSH_LIMIT=18014398509481985K"); /* 2^64 + 1 KiB */
	REFUSED("DEMI_PUSH_LIMIT");
	LOAD("DEMI_LOG=warn", "DEMI_ZEROCOPY=maybe");
	REFUSED("on off");
	LOAD("DEMI_LOG=warn", "DEMI_ENGINE=kqueue");
	REFUSED("auto uring epoll");
	LOAD("DEMI_LOG=warn", "DEMI_PIPE_DIR=here");
	REFUSED("DEMI_PIPE_DIR");
	LOAD("DEMI_LOG=loud");
	CHECK(res->rc == -EINVAL);
}

static void test_backends(void)
{
	static const struct {
		const char *name;
		enum demi_backend_kind kind;
	} names[] = {
		{ "LIBOS=catnap", DEMI_BACKEND_URING },	  { "LIBOS=CatCollar", DEMI_BACKEND_URING },
		{ "LIBOS=catloop", DEMI_BACKEND_URING },  { "LIBOS=catmem", DEMI_BACKEND_MEMQ },
		{ "LIBOS=catnip", DEMI_BACKEND_DPDK },	  { "LIBOS=CATPOWDER", DEMI_BACKEND_XSK },
		{ "LIBOS=catmint", DEMI_BACKEND_RDMA },	  { "DEMI_LIBOS=uring", DEMI_BACKEND_URING },
		{ "DEMI_LIBOS=memq", DEMI_BACKEND_MEMQ }, { "DEMI_LIBOS=ring", DEMI_BACKEND_RING },
		{ "DEMI_LIBOS=dpdk", DEMI_BACKEND_DPDK }, { "DEMI_LIBOS=xsk", DEMI_BACKEND_XSK },
		{ "DEMI_LIBOS=rdma", DEMI_BACKEND_RDMA }, { "DEMI_LIBOS=virtio", DEMI_BACKEND_VIRTIO },
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		LOAD(names[i].name);
		ACCEPTED(res->c.backend == names[i].kind);
	}
	LOAD("LIBOS=catnip", "DEMI_LIBOS=memq");
	ACCEPTED(res->c.backend == DEMI_BACKEND_MEMQ);
	LOAD("DEMI_LOG=warn", "LIBOS=catfish");
	REFUSED("LIBOS: \"catfish\"");
}

/* DPDK's arguments: words of the environment, Demikernel's list in the file, of which the environment has more say. */
static void test_dpdk(void)
{
	char long_args[1100] = "DEMI_DPDK_ARGS=",
	     list[] = "dpdk:\n  eal_init: [\"\", \"-c\", \"0xff\", '--vdev=a,b=c']\n";

	LOAD("LIBOS=catnip", "DEMI_DPDK_ARGS= --no-huge  -m\t64 ", "DEMI_DPDK_PORT=net_tap0,1", "DEMI_DPDK_RX_RING=1k");
	ACCEPTED(!strcmp(res->c.dpdk_args, "--no-huge\n-m\n64") && !strcmp(res->c.dpdk_port, "net_tap0,1") &&
		 res->c.dpdk_rx_ring == 1024 && !res->c.dpdk_tx_ring);
	LOAD("LIBOS=catnip", "DEMI_DPDK_ARGS=program -l 1");
	ACCEPTED(!strcmp(res->c.dpdk_args, "-l\n1"));
	memset(long_args + 15, '-', sizeof(long_args) - 16);
	LOAD("DEMI_LOG=warn", "LIBOS=catnip", long_args);
	REFUSED("DEMI_DPDK_ARGS");
	yaml = list;
	LOAD("LIBOS=catnip");
	ACCEPTED(!strcmp(res->c.dpdk_args, "-c\n0xff\n--vdev=a,b=c"));
	LOAD("LIBOS=catnip", "DEMI_DPDK_ARGS=--no-huge");
	ACCEPTED(!strcmp(res->c.dpdk_args, "--no-huge"));
	LOAD("LIBOS=catnap");
	ACCEPTED(!*res->c.dpdk_args);
	yaml = "dpdk:\n  eal_init: [[a]]\n";
	LOAD("DEMI_LOG=warn", "LIBOS=catnip");
	REFUSED("dpdk.eal_init");
	yaml = NULL;
}

static void test_inet(void)
{
	LOAD("X=1");
	ACCEPTED(!*res->c.inet_addr && !*res->c.inet_gateway && !res->c.inet_mtu &&
		 res->c.inet_dad == DEMI_INET_DAD_OPTIMISTIC);
	LOAD("DEMI_INET_ADDR=10.0.0.1/24,auto", "DEMI_INET_GATEWAY=10.0.0.2", "DEMI_INET_MTU=9000",
	     "DEMI_INET_DAD=off");
	ACCEPTED(!strcmp(res->c.inet_addr, "10.0.0.1/24,auto") && !strcmp(res->c.inet_gateway, "10.0.0.2") &&
		 res->c.inet_mtu == 9000 && res->c.inet_dad == DEMI_INET_DAD_OFF);
	LOAD("DEMI_LOG=warn", "DEMI_INET_MTU=65536");
	REFUSED("DEMI_INET_MTU");
	LOAD("DEMI_LOG=warn", "DEMI_INET_DAD=perhaps");
	REFUSED("optimistic on off");
	/* Demikernel's names: everybody is a neighbour; of layer 2 only, and where these are not set */
	yaml = "demikernel:\n  local_ipv4_addr: 10.0.0.7\ninetstack_config:\n  mtu: 1400\n  mss: 1360\n";
	LOAD("LIBOS=catnip");
	ACCEPTED(!strcmp(res->c.inet_addr, "10.0.0.7/0") && res->c.inet_mtu == 1400);
	LOAD("LIBOS=catnip", "DEMI_INET_ADDR=10.0.0.8/16", "DEMI_INET_MTU=1300");
	ACCEPTED(!strcmp(res->c.inet_addr, "10.0.0.8/16") && res->c.inet_mtu == 1300);
	LOAD("LIBOS=catnap");
	ACCEPTED(!*res->c.inet_addr && !res->c.inet_mtu);
	yaml = NULL;
}

static void test_arguments(void)
{
	struct demi_args bad = { .argc = -1, .argv = NULL };

	LOAD("--demi-spin-us=7", "--demi-libos=catmem", "--other", "x", "--demi-log=off");
	ACCEPTED(res->c.spin_us == 7 && res->c.backend == DEMI_BACKEND_MEMQ);
	LOAD("DEMI_SPIN_US=5", "--demi-spin-us=7");
	ACCEPTED(res->c.spin_us == 7);
	LOAD("DEMI_LOG=warn", "--demi-spin-us");
	REFUSED("--demi-spin-us");
	LOAD("DEMI_LOG=warn", "--demi-warp=9");
	REFUSED("no such option");
	LOAD("DEMI_LOG=warn", "--demi-=");
	REFUSED("no such option");
	LOAD("DEMI_LOG=warn", "--demi-nodelay=on");
	REFUSED("no such option");
	/* What failed leaves nothing behind. */
	CHECK(demi_config_load(&bad) == -EINVAL);
	bad.argc = 3;
	CHECK(demi_config_load(&bad) == -EINVAL && demi_config.spin_us == 0);
}

static void test_yaml(void)
{
	yaml = "demi:\n  spin_us: 3\n  readahead: 1M\n  zerocopy: false\n  libos: catnap\n";
	LOAD("DEMI_LOG=warn");
	ACCEPTED(res->c.spin_us == 3 && res->c.readahead_bytes == 1 << 20 && !res->c.zerocopy && !*res->log);
	LOAD("DEMI_SPIN_US=4");
	ACCEPTED(res->c.spin_us == 4 && res->c.readahead_bytes == 1 << 20);
	LOAD("DEMI_SPIN_US=4", "--demi-spin-us=5");
	ACCEPTED(res->c.spin_us == 5);

	yaml = "tcp_socket_options:\n  keepalive:\n    enabled: true\n    time_millis: 1500\n    interval: 250\n"
	       "  linger: { enabled: true, time_seconds: 2 }\n  nodelay: false\n"
	       "catnip:\n  my_ipv4_addr: 10.0.0.1\nraw_socket: [1, 2]\ninetstack_config:\ndpdk: x\n"
	       "client: {connect_to: {host: a, port: 1}}\nserver: 3\n";
	LOAD("DEMI_LOG=warn", "LIBOS=catnap");
	ACCEPTED(res->c.tcp_keepalive && res->c.tcp_keepalive_ms == 1500 && res->c.tcp_keepalive_interval_ms == 250);
	CHECK(res->c.tcp_linger && res->c.tcp_linger_s == 2 && !res->c.tcp_nodelay && !*res->log);

	/* Only the section of the active backend counts, whoever names that. */
	yaml = "tcp_socket_options: {linger: {enabled: perhaps}}\n";
	LOAD("LIBOS=catmem");
	ACCEPTED(1);
	LOAD("DEMI_LOG=warn", "LIBOS=catnap");
	REFUSED("tcp_socket_options.linger.enabled");
	yaml = "tcp_socket_options: {linger: {enabled: perhaps}}\ndemi: {libos: memq}\n";
	LOAD();
	ACCEPTED(res->c.backend == DEMI_BACKEND_MEMQ);
	LOAD("DEMI_LOG=warn", "--demi-libos=uring");
	REFUSED("tcp_socket_options.linger.enabled");
	yaml = "tcp_socket_options: {backlog: 3}\n"; /* Demikernel may have more than this library */
	LOAD();
	ACCEPTED(1);
}

static void test_yaml_wrong(void)
{
	static const struct {
		const char *text, *needle;
	} wrong[] = {
		{ "demi: {warp: 9}", "no such option" },
		{ "demi: {nodelay: on}", "no such option" },
		{ "demi: {keepalive: {enabled: on}}", "no such option" },
		{ "demi: {spin_us: fast}", "demi.spin_us" },
		{ "demi: {spin_us: 1, spin_us: 2}", "twice" },
		{ "demi: {spin_us: [1]}", "demi.spin_us" },
		{ "demi: {[a]: 1}", "key" },
		{ "demi: {\"spin_us\\0x\": 1}", "key" },
		{ "demi: {spin_us: \"1\\0\"}", "demi.spin_us" },
		{ "demi: 5", "mapping" },
		{ "demi: [spin_us]", "mapping" },
		{ "demi: {spin_us: 1}\ndemi: {spin_us: 2}", "mapping" },
		{ "- demi", "top level" },
		{ "demi", "top level" },
		{ "demi: {spin_us: 1", "" },
		{ "demi: &a {spin_us: *a}", "demi.spin_us" },
		{ "demi: &a {b: *a}", "not a short word" },
		{ "demi: &a\n  *a : 1\n", "key" },
		{ "demi: *nowhere", "" },
		{ "tcp_socket_options: &a {linger: *a}", "" },
		{ "\xff\xfe\xff", "" },
		{ "demi: {spin_us: !!binary x}", "demi.spin_us" },
	};
	static const char *const empty[] = { "", "# nothing", "---\n", "demi:\n", "demi: ~\n", "demi: {}\n" };
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		yaml = wrong[i].text;
		LOAD("DEMI_LOG=warn");
		if (res->rc != -EINVAL || !strstr(res->log, wrong[i].needle) || !*res->log) {
			printf("\"%s\": rc %d, log \"%s\"\n", yaml, res->rc, res->log);
			failures++;
		}
	}
	for (i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		yaml = empty[i];
		LOAD("DEMI_LOG=warn");
		ACCEPTED(!*res->log);
	}
}

/* Deep, wide and knotted files, as large as is read and larger; then what is no file at all. */
static void test_yaml_hostile(void)
{
	size_t room = 1 << 20, i, n = 0;
	char *text = malloc(room);

	if (!text)
		exit(2);
	yaml = text;
	memset(text, '[', room);
	yaml_len = 16000;
	LOAD("DEMI_LOG=warn");
	REFUSED("");
	yaml_len = room;
	LOAD("DEMI_LOG=warn");
	REFUSED("larger than");
	for (i = 0; n < 8000; i++)
		n += (size_t)sprintf(text + n, "a%zu: &x%zu {}\n", i, i);
	for (; i-- && n < 16000;)
		n += (size_t)sprintf(text + n, "b%zu: *x%zu\n", i, i);
	yaml_len = n;
	LOAD("DEMI_LOG=warn");
	ACCEPTED(1);
	/* The billion laughs: nothing here expands an alias. */
	n = (size_t)sprintf(text, "l0: &l0 [x]\n");
	for (i = 1; i < 60; i++)
		n += (size_t)sprintf(text + n, "l%zu: &l%zu [*l%zu,*l%zu,*l%zu]\n", i, i, i - 1, i - 1, i - 1);
	n += (size_t)sprintf(text + n, "demi: {spin_us: *l59}\n");
	yaml_len = n;
	LOAD("DEMI_LOG=warn");
	REFUSED("demi.spin_us");
	free(text);
	yaml = NULL;
	yaml_len = 0;

	LOAD("DEMI_LOG=warn", "CONFIG_PATH=/nowhere/at/all");
	REFUSED("No such file");
	LOAD("DEMI_LOG=warn", "CONFIG_PATH=/");
	REFUSED("directory");
	LOAD("DEMI_LOG=warn", "CONFIG_PATH=/dev/zero");
	REFUSED("larger than");
	LOAD("CONFIG_PATH=");
	ACCEPTED(1);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");

	res = mmap(NULL, sizeof(*res), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (res == MAP_FAILED)
		return 2;
	snprintf(yaml_path, sizeof(yaml_path), "%s/demi-config-%d.yaml", tmp ? tmp : "/tmp", (int)getpid());
	test_defaults();
	test_values();
	test_backends();
	test_arguments();
	test_yaml();
	test_yaml_wrong();
	test_yaml_hostile();
	test_dpdk();
	test_inet();
	unlink(yaml_path);
	return failures != 0;
}
