#!/bin/bash
# SPDX-License-Identifier: MIT
#
# demi-bench over both functions, an end of the link each: echoes by UDP and by TCP, and a stream. Beside it, on the
# other link, the kernel's sockets and then DPDK; what it says to be done before they can run there is done.

cd "$(dirname "$0")" || exit 1
[ "${DEMI_VM_KERNEL-}" != debug ] || { echo "a kernel that checks itself: not what is to be timed" && exit 4; }
bench=$BUILD/tools/demi-bench
ends=("${DEMI_VIRTIO_PAIR%,*}" "${DEMI_VIRTIO_PAIR#*,}")
dir=$(mktemp -d)
interface() { # function
	local found
	found=$(echo "/sys/bus/pci/devices/$1"/virtio*/net/*)
	[ -e "$found" ] && echo "${found##*/}"
}
names=("$(interface "${ends[0]}")" "$(interface "${ends[1]}")")
# shellcheck disable=SC2317 # called by trap
cleanup() {
	local i now
	rm -rf "$dir"
	for i in 0 1; do # who comes back gets the first name that is free
		now=$(interface "${ends[i]}")
		[ -z "$now" ] || [ "$now" = "${names[i]}" ] || ip link set "$now" name "${names[i]}"
	done
	./peer back
}
./peer take || exit 1
trap cleanup EXIT

fail() {
	echo "$*"
	exit 1
}
quick=(--device virtio --pairs 2 --warmup 1 --spin-us 1000 --json)
export DEMI_LOG=warn
run() { # file, arguments
	"$bench" "${@:2}" "${quick[@]}" >"$dir/$1" || fail "demi-bench ${*:2}"
}
# Refused, with the commands that help, each in a line of its own.
mend() { # side
	local said
	said=$("$bench" echo "${quick[@]}" --vs "$1" 2>&1) && fail "not refused: $1"
	grep -q '^    ' <<<"$said" || fail "no help: $said"
	grep '^    ' <<<"$said" | bash -e || fail "that did not help: $said"
}

kernel=kernel@$DEMI_VIRTIO_PAIR dpdk=dpdk@$DEMI_VIRTIO_PAIR
ip link set "${names[0]}" up
mend "$kernel"
run udp echo -n 20 -o udp --vs "${kernel/@/:tcp@}"
read -r echoes <"/sys/class/net/${names[0]}/statistics/rx_packets"
[ "$echoes" -ge 40 ] || fail "the kernel's echoes did not come by ${names[0]}: $echoes"
run stream stream -d 0.1 -s 4096
if [ -e "$BUILD/libdemi-dpdk.so" ]; then
	mend "$dpdk" # its first function,
	mend "$dpdk" # and the other
	run tcp echo -n 20 --vs "$dpdk"
	mend "$kernel"
	mend "$kernel"
	for f in "${ends[@]}"; do
		[ "$(interface "$f")" ] || fail "the kernel does not have $f again"
	done
else
	run tcp echo -n 20
fi

python3 - "$dir" <<'EOT' || fail "that is not what was measured"
import json, os, sys
for name, metric, *who in (("udp", "rtt_p50_us", "demi:udp", "kernel:tcp"), ("stream", "mib_per_s", "demi:tcp"),
                           ("tcp", "kops_per_s", "demi:tcp", "dpdk:tcp")):
    with open(os.path.join(sys.argv[1], name)) as f:
        sides = json.load(f)["sides"]
    assert [side["name"] for side in sides] in (who, ["demi:tcp"]), sides
    for side in sides:
        assert side["values"][metric]["median"] > 0, side
EOT
