#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# demi-bench: its histogram, every command, every form of output, and that it takes its children along.
set -eu

bench=$BUILD/tools/demi-bench
dir=$(mktemp -d /tmp/demi-bench-test.XXXXXX)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export TMPDIR=$dir

fail() {
	echo "FAIL: $*"
	exit 1
}

[ -x "$bench" ] || {
	echo "demi-bench is not built"
	exit 77
}

"$BUILD/tools/hist-test" || fail "histogram"

# A value of the JSON output: value SIDE METRIC
value() {
	python3 -c 'import json, sys
s = [s for s in json.load(open("out.json"))["sides"] if s["name"] == sys.argv[1]][0]
print(s["values"][sys.argv[2]]["median"])' "$1" "$2"
}

positive() {
	python3 -c 'import sys; sys.exit(not float(sys.argv[1]) > 0)' "$1"
}

plot=()
command -v gnuplot >/dev/null && plot=(--plot out.svg)
quick="-d 0.02 --pairs 2 --warmup 1"

# The peers, over everything they know, with one and with several connections.
for over in tcp udp unix; do
	peers="--vs busy --vs uring-raw"
	[ $over = udp ] && peers="--vs busy"
	# shellcheck disable=SC2086
	for n in 1 5; do
		"$bench" echo --as epoll $peers -o $over -c $n $quick --json >out.json || fail "echo $over $n"
		positive "$(value epoll:$over rtt_p50_us)" || fail "no round trip over $over"
		positive "$(value busy:$over kops_per_s)" || fail "no rate over $over"
	done
done
# libdemi itself, over everything, with one message and with several under way.
for over in tcp udp unix pipe; do
	# shellcheck disable=SC2086
	for w in 1 4; do
		"$bench" echo -o $over -w $w $quick --json >out.json || fail "echo demi $over $w"
		positive "$(value demi:$over rtt_p99_us)" || fail "no round trip of libdemi over $over"
	done
	# shellcheck disable=SC2086
	"$bench" stream -o $over -s 4096 $quick --json >out.json || fail "stream demi $over"
	positive "$(value demi:$over mib_per_s)" || fail "no throughput of libdemi over $over"
done
# shellcheck disable=SC2086
{
	"$bench" echo --framed -s 1000 -c 3 $quick >/dev/null || fail "framed"
	"$bench" echo --load epoll --vs epoll -c 3 $quick --brief >out.txt || fail "one load for two servers"
	grep -q '^demi<epoll:tcp' out.txt || fail "--brief: $(cat out.txt)"
	"$bench" queue --vs ring-raw $quick >/dev/null || fail "queue"
	"$bench" queue --threads 2 --vs ring-raw $quick >/dev/null || fail "queue of two threads"
	"$bench" wait --outstanding 100 $quick >/dev/null || fail "wait any"
	"$bench" wait --outstanding 100 --how next $quick >/dev/null || fail "wait next"
	"$bench" heap --vs libc $quick >/dev/null || fail "heap"
	"$bench" file --vs sync $quick >/dev/null || fail "file"
	"$bench" file --read --vs sync $quick >/dev/null || fail "file read"
	"$bench" file --durable -w 2 $quick >/dev/null || fail "file durable"
}
[ -z "$(find . -name 'demi-bench.tmp*')" ] || fail "a file was left behind"
for what in memq heap wait-any-many wait-next-one dispatch polls; do
	"$bench" insns $what 10 >/dev/null || fail "insns $what"
done
[ "$("$bench" probe sleepwake 2000 | tr -dc 0-9)" -ge 2000 ] || fail "sleepwake"
[ "$("$bench" probe ctx | tr -dc 0-9)" -gt 0 ] || fail "ctx"

# shellcheck disable=SC2086
{
	"$bench" stream --as epoll --vs busy --vs uring-raw $quick --json >out.json || fail "stream"
	positive "$(value uring-raw:tcp mib_per_s)" || fail "no throughput"
	"$bench" echo --as ring-raw:pipe $quick --json --csv out.csv "${plot[@]}" >out.json || fail "ring-raw"
}
grep -q '^2,ring-raw:pipe,rtt_p99_us,' out.csv || fail "CSV: $(head -3 out.csv)"
! command -v gnuplot >/dev/null || grep -q "<svg" out.svg || fail "plot"

# A count of operations instead of a time; an epoll server makes three system calls for an echo.
"$bench" echo --as epoll -n 500 --pairs 2 --warmup 0 --json >out.json
python3 -c 'import json
v = json.load(open("out.json"))["sides"][0]["values"]
assert 2.9 < v["server_calls_per_op"]["median"] < 3.2, v' || fail "system calls of an epoll server per echo"

# Mistakes are refused, with a word on what to do.
for bad in "nothing" "echo --vs nobody" "echo --size 0" "echo --over pipe --connections 2" "heap --window 3" \
	"echo --cpus 0" "insns memq x" "stream --as ring-raw" "echo --device nvme" "file --device dpdk" \
	"file --device nvme" "file --vs kernel" "file --vs kernel@x" "file --device nvme --read --vs kernel" \
	"file --as demi@x --device nvme --read" "heap --vs libc@x" "echo --vs dpdk" "echo --vs epoll@0:0,0:1" \
	"echo --vs kernel@0000:ff:1f.6,0000:ff:1f.7" "echo --vs kernel:unix@0000:ff:1f.6,0000:ff:1f.7" \
	"echo --device virtio" "echo --device virtio --vs kernel"; do
	# shellcheck disable=SC2086
	if "$bench" $bad >out.txt 2>&1; then
		fail "accepted: $bad"
	fi
	[ -s out.txt ] || fail "said nothing: $bad"
done
"$bench" echo --help | grep -q -- --plot || fail "--help"

# ^C ends it in good order, with what it has so far, and no process stays. A terminal is told how far it is: the
# signal comes once there is a round to print. Without one it would end by itself, with another status.
python3 - "$bench" >out.txt <<'EOF' || fail "SIGINT: $(cat out.txt)"
import os, pty, re, signal, subprocess, sys

terminal, stderr = pty.openpty()
options = "echo --as epoll --vs busy -d 60 --warmup 1 --pairs 1000"
bench = subprocess.Popen([sys.argv[1]] + options.split(), stderr=stderr)
os.close(stderr)
said = b""
while not re.search(rb": ([2-9]|[0-9]{2,}) of 2000", said):
    try:
        said += os.read(terminal, 4096)
    except OSError:
        sys.exit("no progress: %s" % said)
bench.send_signal(signal.SIGINT)
sys.exit(bench.wait() != 128 + signal.SIGINT)
EOF
grep -q 'round trip p50' out.txt || fail "nothing printed after SIGINT"
# Killed hard, its children end by themselves.
"$bench" echo --as busy -d 60 -q >out.txt 2>&1 &
pid=$!
for _ in $(seq 600); do
	children=$(cat /proc/$pid/task/$pid/children 2>/dev/null || true)
	[ "$(wc -w <<<"$children")" = 2 ] && break # a server and a client
	sleep 0.1
done
[ "$(wc -w <<<"$children")" = 2 ] || fail "children: $children"
kill -KILL $pid
wait $pid 2>/dev/null || true
for _ in $(seq 600); do
	alive=0
	for c in $children; do
		[ -d "/proc/$c" ] && grep -q '^State:.[^Z]' "/proc/$c/status" 2>/dev/null && alive=1
	done
	[ $alive = 0 ] && break
	sleep 0.1
done
[ "$alive" = 0 ] || fail "processes stayed: $children"
