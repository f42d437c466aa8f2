#!/bin/bash
# SPDX-License-Identifier: MIT
#
# demi-bench over both functions, an end of the link each: echoes by UDP and by TCP, and a stream.

cd "$(dirname "$0")" || exit 1
bench=$BUILD/tools/demi-bench
out=$(mktemp)
# shellcheck disable=SC2317 # called by trap
cleanup() {
	rm -f "$out"
	./peer back
}
./peer take || exit 1
trap cleanup EXIT

# A value of the JSON output is more than nothing.
positive() { # metric
	python3 -c 'import json, sys
side = json.load(open(sys.argv[1]))["sides"][0]
sys.exit(not side["values"][sys.argv[2]]["median"] > 0)' "$out" "$1"
}

quick="--device virtio -d 0.1 --pairs 2 --warmup 1 --spin-us 1000 --json"
export DEMI_LOG=warn
for over in udp tcp; do
	# shellcheck disable=SC2086 # several words
	"$bench" echo -o $over $quick >"$out" || { echo "no echo over $over" && exit 1; }
	positive rtt_p50_us || { echo "no round trip over $over" && exit 1; }
done
# shellcheck disable=SC2086
"$bench" stream -o tcp -s 4096 $quick >"$out" || { echo "no stream" && exit 1; }
positive mib_per_s || { echo "no throughput" && exit 1; }
