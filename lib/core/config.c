/* SPDX-License-Identifier: MIT */
#include "core/config.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>
#include <unistd.h>

#define NAME_MAX_LEN 48

struct demi_config demi_config;

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;

enum option_type {
	OPTION_WORD, /* one of a list, into an int or an enum */
	OPTION_BOOL,
	OPTION_U32,
	OPTION_U64,
	OPTION_PATH, /* an absolute path, into an array of PIPE_DIR_BYTES */
	OPTION_TEXT, /* into an array of max bytes */
	OPTION_ARGS, /* words with white space between them, into an array of max bytes: one a line */
};

struct option_word {
	const char *name;
	int value;
};

/*
 * One line an option. @name is spelled DEMI_NAME in the environment, --demi-name in arguments (with dashes)
 * and name in the YAML section demi. libdemi(7) describes each: scripts/check-man compares.
 */
struct option {
	const char *section, *name;
	enum option_type type;
	size_t offset;
	uint64_t min, max;
	const char *dflt;
	const struct option_word *words;
	const char *doc;
};

/* The library OSes of Demikernel, and this library's own names. */
static const struct option_word backend_words[] = {
	{ "uring", DEMI_BACKEND_URING },   { "memq", DEMI_BACKEND_MEMQ },    { "ring", DEMI_BACKEND_RING },
	{ "dpdk", DEMI_BACKEND_DPDK },	   { "xsk", DEMI_BACKEND_XSK },	     { "rdma", DEMI_BACKEND_RDMA },
	{ "virtio", DEMI_BACKEND_VIRTIO }, { "catnap", DEMI_BACKEND_URING }, { "catcollar", DEMI_BACKEND_URING },
	{ "catloop", DEMI_BACKEND_URING }, { "catmem", DEMI_BACKEND_MEMQ },  { "catnip", DEMI_BACKEND_DPDK },
	{ "catpowder", DEMI_BACKEND_XSK }, { "catmint", DEMI_BACKEND_RDMA }, { NULL, 0 },
};

static const struct option_word engine_words[] = {
	{ "auto", DEMI_ENGINE_AUTO },
	{ "uring", DEMI_ENGINE_URING },
	{ "epoll", DEMI_ENGINE_EPOLL },
	{ NULL, 0 },
};

static const struct option_word log_words[] = {
	{ "off", DEMI_LOG_OFF },
	{ "warn", DEMI_LOG_WARN },
	{ "info", DEMI_LOG_INFO },
	{ "debug", DEMI_LOG_DEBUG },
	{ NULL, 0 },
};

static const struct option_word dad_words[] = {
	{ "optimistic", DEMI_INET_DAD_OPTIMISTIC },
	{ "on", DEMI_INET_DAD_ON },
	{ "off", DEMI_INET_DAD_OFF },
	{ NULL, 0 },
};

static const struct option_word bool_words[] = {
	{ "on", 1 },	{ "true", 1 }, { "yes", 1 }, { "1", 1 },  { "off", 0 },
	{ "false", 0 }, { "no", 0 },   { "0", 0 },   { NULL, 0 },
};

#define AT(field) offsetof(struct demi_config, field)
#define PIPE_DIR_BYTES sizeof(((struct demi_config *)0)->pipe_dir)
#define KIB 1024ULL
#define MIB (1024ULL * KIB)
#define GIB (1024ULL * MIB)
#define ROOM(field) sizeof(((struct demi_config *)0)->field)
#define TCP "tcp_socket_options"
#define DPDK "dpdk"

/* clang-format off */
static const struct option options[] = {
	{ "demi", "log", OPTION_WORD, AT(log), 0, 0, NULL, log_words, "what is written to standard error" },
	{ "demi", "libos", OPTION_WORD, AT(backend), 0, 0, "uring", backend_words,
	  "the backend of sockets and files" },
	{ "demi", "engine", OPTION_WORD, AT(engine), 0, 0, "auto", engine_words,
	  "how the uring backend reaches the kernel" },
	{ "demi", "spin_us", OPTION_U32, AT(spin_us), 0, 1000000, "100", NULL,
	  "microseconds a wait spins at most before it sleeps" },
	{ "demi", "exit_linger_ms", OPTION_U32, AT(exit_linger_ms), 0, 3600000, "1000", NULL,
	  "milliseconds that exit waits for pushes" },
	{ "demi", "push_limit", OPTION_U64, AT(push_limit_bytes), 4 * KIB, 1024 * GIB, "64M", NULL,
	  "bytes of queued pushes of a context" },
	{ "demi", "readahead", OPTION_U32, AT(readahead_bytes), 4 * KIB, GIB, "64K", NULL,
	  "bytes a socket receives ahead of pops" },
	{ "demi", "zerocopy", OPTION_BOOL, AT(zerocopy), 0, 0, "on", NULL, "whether heap memory is sent in place" },
	{ "demi", "zc_min", OPTION_U32, AT(zc_min_bytes), 0, GIB, "0", NULL,
	  "bytes of the least segment sent in place, 0: the backend's choice" },
	{ "demi", "pipe_bytes", OPTION_U32, AT(pipe_bytes), 64 * KIB, GIB, "1M", NULL,
	  "bytes of a new pipe's ring, each way" },
	{ "demi", "pipe_dir", OPTION_PATH, AT(pipe_dir), 0, 0, NULL, NULL, "the folder of pipes with a plain name" },
	{ "demi", "pcap", OPTION_TEXT, AT(pcap), 0, ROOM(pcap), NULL, NULL,
	  "the file for the packets of the network stack" },
	{ "demi", "dpdk_args", OPTION_ARGS, AT(dpdk_args), 0, ROOM(dpdk_args), NULL, NULL,
	  "the arguments of DPDK's EAL" },
	{ "demi", "dpdk_port", OPTION_TEXT, AT(dpdk_port), 0, ROOM(dpdk_port), NULL, NULL,
	  "the ports of contexts, by name or number" },
	{ "demi", "dpdk_rx_ring", OPTION_U32, AT(dpdk_rx_ring), 0, 32768, "0", NULL,
	  "entries of the receive ring, 0: the device's choice" },
	{ "demi", "dpdk_tx_ring", OPTION_U32, AT(dpdk_tx_ring), 0, 32768, "0", NULL,
	  "entries of the transmit ring, 0: the device's choice" },

	{ "demi", "virtio_pairs", OPTION_U32, AT(virtio_pairs), 1, 16, "16", NULL,
	  "contexts that may share a function of virtio-net, at most" },

	/* Demikernel's name of dpdk_args, in YAML only. */
	{ DPDK, "eal_init", OPTION_ARGS, AT(dpdk_args), 0, ROOM(dpdk_args), NULL, NULL, "the arguments of DPDK's EAL" },
	{ "demi", "inet_addr", OPTION_TEXT, AT(inet_addr), 0, ROOM(inet_addr), NULL, NULL,
	  "own addresses on devices of layer 2" },
	{ "demi", "inet_gateway", OPTION_TEXT, AT(inet_gateway), 0, ROOM(inet_gateway), NULL, NULL,
	  "routers of devices of layer 2" },
	{ "demi", "inet_mtu", OPTION_U32, AT(inet_mtu), 0, 65535, "0", NULL,
	  "bytes of the longest IP packet on devices of layer 2, 0: the device's" },
	{ "demi", "inet_dad", OPTION_WORD, AT(inet_dad), 0, 0, "optimistic", dad_words,
	  "whether others are asked for an address before it is used" },

	/* Demikernel's own names of the same */
	{ "demikernel", "local_ipv4_addr", OPTION_TEXT, AT(inet_addr), 0, ROOM(inet_addr), NULL, NULL,
	  "own address, all others being neighbours" },
	{ "inetstack_config", "mtu", OPTION_U32, AT(inet_mtu), 0, 65535, NULL, NULL, "see inet_mtu" },

	/* Demikernel's: defaults of new TCP sockets, in YAML only. */
	{ TCP, "nodelay", OPTION_BOOL, AT(tcp_nodelay), 0, 0, "on", NULL, "TCP_NODELAY" },
	{ TCP, "keepalive.enabled", OPTION_BOOL, AT(tcp_keepalive), 0, 0, "off", NULL, "SO_KEEPALIVE" },
	{ TCP, "keepalive.time_millis", OPTION_U32, AT(tcp_keepalive_ms), 0, INT_MAX, "7200000", NULL,
	  "TCP_KEEPIDLE in milliseconds" },
	{ TCP, "keepalive.interval", OPTION_U32, AT(tcp_keepalive_interval_ms), 0, INT_MAX, "75000", NULL,
	  "TCP_KEEPINTVL in milliseconds" },
	{ TCP, "linger.enabled", OPTION_BOOL, AT(tcp_linger), 0, 0, "off", NULL, "SO_LINGER" },
	{ TCP, "linger.time_seconds", OPTION_U32, AT(tcp_linger_s), 0, 65535, "0", NULL, "SO_LINGER in seconds" },
};
/* clang-format on */

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

static const struct option *option_find(const char *section, const char *name)
{
	size_t i;

	for (i = 0; i < NOPTIONS; i++)
		if (!strcmp(options[i].section, section) && !strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

static int word_find(const struct option_word *words, const char *name, int *value)
{
	for (; words->name; words++) {
		if (!strcasecmp(words->name, name)) {
			*value = words->value;
			return 0;
		}
	}
	return -EINVAL;
}

/* Digits with an optional binary unit K, M or G. No sign, no space, no other base, no overflow. */
static int number_parse(const char *s, uint64_t *out)
{
	uint64_t n = 0;
	unsigned int shift = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return -EINVAL;
	switch (*s) {
	case 'G':
	case 'g':
		shift += 10; /* fall through */
	case 'M':
	case 'm':
		shift += 10; /* fall through */
	case 'K':
	case 'k':
		shift += 10;
		s++;
	}
	if (*s || (n << shift) >> shift != n)
		return -EINVAL;
	*out = n << shift;
	return 0;
}

static int path_set(char *to, const char *value)
{
	size_t len = strlen(value);

	if (value[0] != '/' || len >= PIPE_DIR_BYTES)
		return -EINVAL;
	memcpy(to, value, len + 1);
	return 0;
}

static int text_set(char *to, size_t room, const char *value)
{
	size_t len = strlen(value);

	if (len >= room)
		return -EINVAL;
	memcpy(to, value, len + 1);
	return 0;
}

/* Demikernel's list begins with the name of the program: a first word that is no option is left out. */
static int args_set(char *to, size_t room, const char *value)
{
	static const char space[] = " \t\r\n";
	size_t n = 0, len;

	if (strlen(value) >= room)
		return -EINVAL;
	for (value += strspn(value, space); *value; value += len, value += strspn(value, space)) {
		len = strcspn(value, space);
		if (!n && *value != '-')
			continue;
		if (n)
			to[n++] = '\n';
		memcpy(to + n, value, len);
		n += len;
	}
	to[n] = '\0';
	return 0;
}

static int option_store(struct demi_config *c, const struct option *o, const char *value)
{
	void *to = (char *)c + o->offset;
	uint64_t n;
	int word;

	switch (o->type) {
	case OPTION_WORD:
		return word_find(o->words, value, (int *)to);
	case OPTION_BOOL:
		if (word_find(bool_words, value, &word))
			return -EINVAL;
		*(bool *)to = word;
		return 0;
	case OPTION_PATH:
		return path_set(to, value);
	case OPTION_TEXT:
		return text_set(to, o->max, value);
	case OPTION_ARGS:
		return args_set(to, o->max, value);
	case OPTION_U32:
	case OPTION_U64:
		if (number_parse(value, &n) || n < o->min || n > o->max)
			return -EINVAL;
		if (o->type == OPTION_U64)
			*(uint64_t *)to = n;
		else
			*(uint32_t *)to = (uint32_t)n;
		return 0;
	}
	return -EINVAL;
}

/* Say what would have been right. */
static void option_explain(const struct option *o, const char *value, const char *where)
{
	char names[256] = "on off";
	const struct option_word *w;
	size_t n = 0;

	switch (o->type) {
	case OPTION_U32:
	case OPTION_U64:
		demi_warn("%s: \"%.64s\" is not a number from %llu to %llu (%s)", where, value,
			  (unsigned long long)o->min, (unsigned long long)o->max, o->doc);
		return;
	case OPTION_PATH:
		demi_warn("%s: \"%.64s\" is not an absolute path of at most %zu bytes (%s)", where, value,
			  PIPE_DIR_BYTES - 1, o->doc);
		return;
	case OPTION_TEXT:
	case OPTION_ARGS:
		demi_warn("%s: longer than %llu bytes (%s)", where, (unsigned long long)o->max - 1, o->doc);
		return;
	case OPTION_WORD:
		for (w = o->words; w->name && n < sizeof(names); w++)
			n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? " " : "", w->name);
		break;
	case OPTION_BOOL:
		break;
	}
	demi_warn("%s: \"%.64s\" is none of: %s (%s)", where, value, names, o->doc);
}

int demi_config_set(struct demi_config *c, const char *section, const char *name, const char *value, const char *where)
{
	const struct option *o = option_find(section, name);

	if (!o) {
		demi_warn("%s: there is no such option", where);
		return -ENOENT;
	}
	if (option_store(c, o, value)) {
		option_explain(o, value, where);
		return -EINVAL;
	}
	demi_log_level = c->log; /* for the messages about the options after this one */
	return 0;
}

/* $XDG_RUNTIME_DIR, or a folder that carries the user's number so that users do not meet. */
static void default_pipe_dir(struct demi_config *c)
{
	const char *dir = secure_getenv("XDG_RUNTIME_DIR");

	if (!dir || path_set(c->pipe_dir, dir))
		snprintf(c->pipe_dir, sizeof(c->pipe_dir), "/tmp/demi-%u", (unsigned int)geteuid());
}

static void set_defaults(struct demi_config *c)
{
	size_t i;

	memset(c, 0, sizeof(*c));
	c->log = demi_log_level; /* demi_log_init() has read it from the environment */
	default_pipe_dir(c);
	for (i = 0; i < NOPTIONS; i++)
		if (options[i].dflt)
			option_store(c, &options[i], options[i].dflt);
}

/* An empty variable counts as one that is not set. */
static const char *env_get(const char *name)
{
	const char *value = secure_getenv(name);

	return value && *value ? value : NULL;
}

static int set_from_environment(struct demi_config *c)
{
	char name[NAME_MAX_LEN] = "DEMI_";
	const char *value;
	size_t i, k;
	int rc;

	for (i = 0; i < NOPTIONS; i++) {
		if (strcmp(options[i].section, "demi"))
			continue;
		for (k = 0; options[i].name[k]; k++)
			name[5 + k] = (char)(options[i].name[k] >= 'a' && options[i].name[k] <= 'z'
						     ? options[i].name[k] - 'a' + 'A'
						     : options[i].name[k]);
		name[5 + k] = '\0';
		value = env_get(name);
		if (!value && options[i].offset == AT(backend)) {
			strcpy(name, "LIBOS"); /* Demikernel's name of it */
			value = env_get(name);
		}
		rc = value ? demi_config_set(c, "demi", options[i].name, value, name) : 0;
		strcpy(name, "DEMI_");
		if (rc)
			return -EINVAL;
	}
	return 0;
}

static int set_from_argument(struct demi_config *c, const char *arg)
{
	static const char prefix[] = "--demi-";
	char name[NAME_MAX_LEN], where[NAME_MAX_LEN + sizeof(prefix)];
	const char *value;
	size_t len, i;

	if (strncmp(arg, prefix, sizeof(prefix) - 1))
		return 0;
	arg += sizeof(prefix) - 1;
	value = strchr(arg, '=');
	len = value ? (size_t)(value - arg) : strlen(arg);
	if (!value || len >= sizeof(name)) {
		demi_warn("%s%.64s: not of the form --demi-name=value", prefix, arg);
		return -EINVAL;
	}
	for (i = 0; i < len; i++)
		name[i] = (char)(arg[i] == '-' ? '_' : arg[i]);
	name[len] = '\0';
	snprintf(where, sizeof(where), "%s%.*s", prefix, (int)len, arg);
	return demi_config_set(c, "demi", name, value + 1, where) ? -EINVAL : 0;
}

static int set_from_arguments(struct demi_config *c, const struct demi_args *args)
{
	int i, rc = 0;

	if (!args || args->argc == 0)
		return 0;
	if (args->argc < 0 || !args->argv) {
		demi_warn("demi_args: argc is %d, argv is %p", args->argc, (const void *)args->argv);
		return -EINVAL;
	}
	for (i = 0; i < args->argc && args->argv[i] && !rc; i++)
		rc = set_from_argument(c, args->argv[i]);
	return rc;
}

/* Demikernel has no prefix lengths: everybody is a neighbour. What was set under this library's names stays. */
static int load_inet(struct demi_config *c, struct demi_config_yaml *y)
{
	size_t len;
	int rc = 0;

	if (!*c->inet_addr) {
		rc = demi_config_yaml_section(y, c, "demikernel", true);
		len = strlen(c->inet_addr);
		if (!rc && len && !strchr(c->inet_addr, '/') && len + 3 <= ROOM(inet_addr))
			memcpy(c->inet_addr + len, "/0", 3);
	}
	if (!rc && !c->inet_mtu)
		rc = demi_config_yaml_section(y, c, "inetstack_config", true);
	return rc;
}

/* Demikernel's own sections are read last: which of them matters depends on the backend. */
static int load(struct demi_config *c, const struct demi_args *args)
{
	const char *path = env_get("CONFIG_PATH");
	struct demi_config_yaml *y = NULL;
	int rc = 0;

	set_defaults(c);
	if (path)
		rc = demi_config_yaml_open(&y, path);
	if (!rc && y)
		rc = demi_config_yaml_section(y, c, "demi", false);
	if (!rc)
		rc = set_from_environment(c);
	if (!rc)
		rc = set_from_arguments(c, args);
	if (!rc && y && c->backend == DEMI_BACKEND_DPDK && !*c->dpdk_args)
		rc = demi_config_yaml_section(y, c, DPDK, true);
	if (!rc && y && c->backend != DEMI_BACKEND_MEMQ)
		rc = demi_config_yaml_section(y, c, TCP, true);
	if (!rc && y &&
	    (c->backend == DEMI_BACKEND_DPDK || c->backend == DEMI_BACKEND_XSK || c->backend == DEMI_BACKEND_VIRTIO))
		rc = load_inet(c, y);
	demi_config_yaml_close(y);
	return rc;
}

int demi_config_load(const struct demi_args *args)
{
	struct demi_config c;
	int rc = 0;

	pthread_mutex_lock(&load_lock);
	if (!loaded) {
		enum demi_log_level level = demi_log_level;

		rc = load(&c, args);
		if (!rc) {
			demi_config = c;
			loaded = true;
		} else {
			demi_log_level = level;
		}
	}
	pthread_mutex_unlock(&load_lock);
	return rc;
}
