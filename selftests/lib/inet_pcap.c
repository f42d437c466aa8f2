/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* DEMI_PCAP: the file holds every packet, byte for byte, with its direction; the reader here is not the library's. */
#include "inet_test.h"

#include <fcntl.h>
#include <sys/stat.h>

struct record {
	const uint8_t *data;
	uint32_t len, direction;
	uint64_t ns;
	char comment[64];
};

static uint8_t bytes[200000];
static struct record records[64];
static uint32_t nrecords;
static char path[200];

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t le16(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8;
}

/* draft-ietf-opsawg-pcapng 4.3 */
static void read_packet(const uint8_t *b, uint32_t len)
{
	struct record *r = &records[nrecords++];
	uint32_t at;

	CHECK(nrecords <= 64);
	CHECK_EQ(le32(b + 8), 0); /* the interface */
	r->ns = (uint64_t)le32(b + 12) << 32 | le32(b + 16);
	r->len = le32(b + 20);
	CHECK_EQ(le32(b + 24), r->len);
	r->data = b + 28;
	r->comment[0] = '\0';
	for (at = 28 + ((r->len + 3) & ~3U); le16(b + at); at += 4 + ((le16(b + at + 2) + 3) & ~3U)) {
		CHECK(at + 4 + le16(b + at + 2) <= len - 4);
		if (le16(b + at) == 2)
			r->direction = le32(b + at + 4);
		else if (le16(b + at) == 1)
			memcpy(r->comment, b + at + 4, le16(b + at + 2) + 1U);
	}
	CHECK_EQ(at + 4, len - 4);
}

static void read_file(uint32_t linktype)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	ssize_t n = read(fd, bytes, sizeof(bytes));
	uint32_t at, len, blocks = 0;

	CHECK(fd >= 0 && n > 0 && !fstat(fd, &st));
	CHECK_EQ(st.st_mode & 0777, 0600); /* what somebody sends is not everybody's to read */
	close(fd);
	nrecords = 0;
	for (at = 0; at < n; at += len, blocks++) {
		len = le32(bytes + at + 4);
		CHECK(len % 4 == 0 && len >= 12 && at + len <= n);
		CHECK_EQ(le32(bytes + at + len - 4), len);
		if (blocks == 0) {
			CHECK_EQ(le32(bytes + at), 0x0a0d0d0a);
			CHECK_EQ(le32(bytes + at + 8), 0x1a2b3c4d);
			CHECK_EQ(le16(bytes + at + 12), 1);
		} else if (blocks == 1) {
			CHECK_EQ(le32(bytes + at), 1);
			CHECK_EQ(le16(bytes + at + 8), linktype);
		} else {
			CHECK_EQ(le32(bytes + at), 6);
			read_packet(bytes + at, len);
		}
	}
	CHECK_EQ(at, n);
}

static void is(uint32_t i, uint32_t direction, const uint8_t *p, uint32_t len)
{
	CHECK(i < nrecords);
	CHECK_EQ(records[i].direction, direction);
	CHECK_EQ(records[i].len, len);
	CHECK(!memcmp(records[i].data, p, len));
	CHECK(records[i].ns > 1600000000ULL * 1000000000 && (!i || records[i].ns >= records[i - 1].ns));
}

#define IN 1
#define OUT 2

/* A datagram in three buffers, an answer, an odd one, one that nobody wants. */
static void both_ways(void)
{
	int qd = bound4(7);
	uint8_t one[3000], two[40], three[40];
	uint32_t n1, n2, n3;
	static char text[2500];
	demi_qtoken_t qt;
	struct sent *s;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	n1 = udp4(one, 9, 7, text, 2500);
	inject_meta(one, n1, 1000, NULL);
	n2 = udp4(two, 9, 7, "abcde", 5);
	inject(two, n2);
	n3 = udp4(three, 9, 8, "x", 1); /* no such port */
	inject(three, n3);
	turn();
	OK(pushto4(&qt, qd, "hello, world", 12, PEER4, 9));
	s = next_sent();
	CHECK(s);
	read_file(101);
	CHECK_EQ(nrecords, 4);
	is(0, IN, one, n1);
	is(1, IN, two, n2);
	is(2, IN, three, n3);
	is(3, OUT, s->data, s->len);
	CHECK(!*records[0].comment && !*records[3].comment);
	free(s);
	OK(demi_close(qd));
	turn();
	forget_sent();
}

/* What the device is left to do is noted. */
static void offloads(void)
{
	struct demi_pkt meta = { .flags = DEMI_PKT_F_GSO_UDP | DEMI_PKT_F_CSUM_PARTIAL, .gso_size = 5 };
	int qd = bound4(7);
	uint8_t p[100];
	demi_qtoken_t qt;
	uint32_t n;

	n = udp4(p, 9, 7, "abcdefghijkl", 12);
	inject_meta(p, n, 1000, &meta);
	turn();
	OK(pushto4(&qt, qd, "hello, world", 12, PEER4, 9));
	forget_sent();
	read_file(101);
	CHECK_EQ(nrecords, 2);
	CHECK(!strcmp(records[0].comment, "5 bytes a segment, checksum not filled in"));
	CHECK(!strcmp(records[1].comment, "checksum not filled in"));
	OK(demi_close(qd));
	turn();
}

/* What the device does not take is not written, and only once it is taken. */
static void what_is_taken(void)
{
	int qd = bound4(7);
	demi_qtoken_t qt;

	dev->tx_room = 0;
	OK(pushto4(&qt, qd, "one", 3, PEER4, 9));
	turn();
	read_file(101);
	CHECK_EQ(nrecords, 0);
	dev->tx_room = UINT32_MAX;
	forget_sent();
	read_file(101);
	CHECK_EQ(nrecords, 1);
	OK(demi_close(qd));
	turn();
}

/* tcpdump reads it, where there is one. */
static void read_by_tcpdump(void)
{
	char line[400], command[300];
	bool out = false;
	FILE *f;

	if (system("command -v tcpdump >/dev/null 2>&1"))
		return;
	snprintf(command, sizeof(command), "tcpdump -n -r %s 2>&1", path);
	f = popen(command, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		out |= strstr(line, "IP 10.0.0.1.7 > 10.0.0.2.9: UDP, length 3") != NULL;
	CHECK_EQ(pclose(f), 0);
	CHECK(out);
}

static void refused(void)
{
	struct demi_pktdev d = { .caps = 0 }, *out = NULL;

	CHECK_EQ(demi_pcap_open(&d, "/nowhere/at/all", &out), -ENOENT);
	CHECK(!out);
}

int main(void)
{
	const char *dir = getenv("TMPDIR");

	alarm(60);
	snprintf(path, sizeof(path), "%s/demi-pcap-%d", dir ? dir : "/tmp", (int)getpid());
	dev_pcap = path;
	inet_run(both_ways, 0);
	inet_run(offloads, DEMI_PKTDEV_C_TX_CSUM);
	inet_run(what_is_taken, 0);
	read_by_tcpdump();
	refused();
	unlink(path);
	return 0;
}
