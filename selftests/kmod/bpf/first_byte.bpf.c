// SPDX-License-Identifier: GPL-2.0
/* Two filters of UDP over IPv4: by the payload's first byte, and by nothing at all. */
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_helpers.h>

SEC("socket/not-e")
int not_e(struct __sk_buff *skb)
{
	char first;

	if (bpf_skb_load_bytes(skb, sizeof(struct iphdr) + sizeof(struct udphdr), &first, 1))
		return 0;
	return first != 'e';
}

SEC("socket/nothing")
int nothing(struct __sk_buff *skb)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
