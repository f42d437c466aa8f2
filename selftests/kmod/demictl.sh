#!/usr/bin/env bash
# timeout: 400
# SPDX-License-Identifier: MIT
#
# demictl with the module: a UDP server of an ordinary user on the ring device, talked to by kernel sockets; what
# demictl tells of it, filters that drop what they should, captures that tcpdump reads.
set -u

ctl=$BUILD/tools/demictl echo=$BUILD/samples/udp-echo
dir=$(mktemp -d /tmp/demi-demictl-test.XXXXXX)
pids=()
cleanup() {
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap cleanup EXIT
fail() {
	echo "FAIL: $*"
	head -n 30 "$dir"/*.err "$dir/out" 2>/dev/null
	exit 1
}
# Run a command that has to succeed, or to fail; its output is in $dir/out.
good() { "$@" >"$dir/out" 2>&1 || fail "$*"; }
refused() {
	if "$@" >"$dir/out" 2>&1; then fail "accepted: $*"; fi
}
# All of these patterns are in it.
says() {
	local pattern
	for pattern in "$@"; do grep -qE -e "$pattern" "$dir/out" || fail "it does not say: $pattern"; done
}
for f in "$ctl" "$echo"; do
	[ -x "$f" ] || { echo "$f is not built" && exit 4; }
done

# ---- who may open it ----
chmod 660 /dev/demi
user=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
refused "${user[@]}" "$ctl" info
says 'adduser USER demi'
chmod 666 /dev/demi
good "${user[@]}" "$ctl" info
says '^features *flow'
good "$ctl" device list
says '^ *[0-9]+  host '
good "$ctl" device show host
says '^mtu_bytes +65535'
refused "$ctl" grant host root
says 'only dedicated devices'

# ---- a server ----
ulimit -l 8192
DEMI_LIBOS=ring DEMI_LOG=warn "${user[@]}" "$echo" server 127.0.0.1 0 >"$dir/server" 2>"$dir/server.err" &
pid=$!
pids+=("$pid")
for _ in $(seq 600); do
	[ ! -s "$dir/server" ] || break
	kill -0 "$pid" 2>/dev/null || fail "the server has ended"
	sleep 0.05
done
port=$(sed -n 's/.*port //p' "$dir/server")
[ -n "$port" ] || fail "the server does not get ready"

# Send each word as a datagram; the first that comes back is in $got.
ask() {
	local word
	exec 3<>"/dev/udp/127.0.0.1/$port"
	for word in "$@"; do echo "$word" >&3; done
	got=$(timeout 60 dd bs=65536 count=1 status=none <&3) # read(1) takes a byte at a time
	exec 3>&-
}
ask hello
[ "$got" = hello ] || fail "echo: \"$got\""

# ---- what there is to see ----
good "${user[@]}" "$ctl" queue list
id=$(awk -v pid="$pid" '$2 == "flow" && $5 == pid && $6 == "udp-echo" && $7 == 1 { print $1 }' "$dir/out")
[ -n "$id" ] || fail "queue list"
for name in "$id" "pid:$pid" udp-echo; do
	good "$ctl" queue show "$name"
	says "^id +$id$"
done
says '^  rx_frames +1$' '^  tx_frames +1$'
refused "$ctl" queue show pid:1
says 'no queue of "pid:1"'
good "$ctl" flow list
says "udp +127.0.0.1:$port +[*] +$id "
good "$ctl" stats
good "$ctl" stats --watch=0.2 -c 2
[ "$(grep -c RECEIVED/s "$dir/out")" = 2 ] || fail "stats --watch"
{
	"$ctl" queue list --json && "$ctl" queue show "$id" --json && "$ctl" flow list --json &&
		"$ctl" stats --json && "$ctl" stats --watch=0.2 -c 2 --json && "$ctl" device list --json &&
		"$ctl" info --json
} >"$dir/json" || fail "--json"
python3 - "$dir/json" "$id" "$pid" "$port" <<-'EOF2' >"$dir/out" 2>&1 || fail "--json: $(cat "$dir/json")"
	import json, sys
	text, values = open(sys.argv[1]).read(), []
	while text.strip():
	    v, n = json.JSONDecoder().raw_decode(text.lstrip())
	    text = text.lstrip()[n:]
	    values.append(v)
	queue, pid, port = map(int, sys.argv[2:])
	queues, show, flows, stats, watch1, watch2, devices, info = values
	assert [q for q in queues if q["id"] == queue] == [show]
	assert show["pid"] == pid and show["uid"] == 65534 and show["rings"]["rx"]["entries"] > 0
	assert show["counters"]["rx_frames"] == 1 and show["counters"]["rx_bytes"] == 20 + 8 + len("hello\n")
	assert [f for f in flows if f["queue"] == queue and f["local"] == "127.0.0.1:%d" % port and f["remote"] == "*"]
	assert [s for s in stats if s["id"] == queue and "rates" not in s]
	assert [s for s in watch2 if s["id"] == queue and s["rates"]["rx_frames"] == 0]
	assert [d for d in devices if d["name"] == "host" and d["kind"] == "host"] and "flow" in info["features"]
EOF2

# ---- filters ----
refused "${user[@]}" "$ctl" filter attach "$id" udp
says CAP_NET_ADMIN
refused "$ctl" filter attach "$id" 'ether src 1:2:3:4:5:6'
says 'pcap-filter'
good "$ctl" filter attach udp-echo 'udp and src net 127.0.0.0/8 and udp[8] != 0x78'
ask x1 x2 y
[ "$got" = y ] || fail "filtered: \"$got\""
good "$ctl" filter show "$id"
says '^kind +cbpf' '^passed +1$' '^dropped +2$' '^\([0-9]+\) ret +#0$'
# another one takes its place
good "$ctl" filter attach "$id" udp
ask x
[ "$got" = x ] || fail "replaced: \"$got\""
good "$ctl" filter detach "$id"
refused "$ctl" filter detach "$id"
says 'has no filter'
good "$ctl" filter show "$id" --json
says '"none"'
good "$ctl" queue show "$id"
says '^  rx_filtered +2$'

object=$BUILD/selftests/kmod/first_byte.bpf.o
if [ -e "$object" ]; then
	refused "$ctl" filter attach "$id" --object "$object"
	says 'not_e \(section socket/not-e\)'
	good "$ctl" filter attach "$id" --object "$object" --program not_e
	ask e f
	[ "$got" = f ] || fail "eBPF: \"$got\""
	good "$ctl" filter show "$id"
	says '^kind +ebpf' '^dropped +1$'
	good "$ctl" filter attach "$id" --object "$object" --section socket/nothing
	good "$ctl" filter detach "$id"
else
	echo "no clang: eBPF object files were not tried"
fi

# ---- capture ----
refused "${user[@]}" "$ctl" capture "$id" -w "$dir/no"
says CAP_NET_RAW
[ ! -e "$dir/no" ] || fail "a file of nothing"
start_capture() { # arguments
	"$ctl" capture "$id" "$@" 2>"$dir/capture.err" &
	capture=$!
	pids+=("$capture")
	for _ in $(seq 600); do
		"$ctl" queue show "$id" | grep -q '^state.*captured' && return
		kill -0 "$capture" 2>/dev/null || fail "capture has ended"
	done
	fail "capture does not start"
}
start_capture -w "$dir/a.pcap" -c 4
refused "$ctl" capture "$id" -w "$dir/no"
says 'one capturer'
ask first
ask second
wait "$capture" || fail "capture"
grep -q '^4 packets captured, 0 lost$' "$dir/capture.err" || fail "capture"
good tcpdump --nano -n -tt -A -r "$dir/a.pcap"
says 'link-type RAW'
[ "$(grep -c "127.0.0.1.$port: UDP, length" "$dir/out")" = 2 ] || fail "received"
[ "$(grep -c "127.0.0.1.$port > 127.0.0.1" "$dir/out")" = 2 ] || fail "sent"
[ "$(grep -c 'second' "$dir/out")" = 2 ] || fail "payload"
[ "$(grep -cE '^[0-9]+[.][0-9]{9} IP ' "$dir/out")" = 4 ] || fail "no nanoseconds"
age=$(($(date +%s) - $(sed -n 's/^\([0-9]*\)[.].* IP .*/\1/p' "$dir/out" | head -n 1)))
case $age in
-1 | ? | ?? | ???) ;;
*) fail "captured $age seconds ago" ;;
esac
# one direction, cut, through a pipe; ended by a signal
start_capture -w - -d tx -s 30 >"$dir/b.pcap"
ask third
for _ in $(seq 600); do
	"$ctl" queue show "$id" | grep -q '^  captured  *5$' && break
done
kill -INT "$capture"
wait "$capture" || fail "capture after SIGINT"
good tcpdump -n -r - <"$dir/b.pcap"
[ "$(grep -c ' > ' "$dir/out")" = 1 ] || fail "direction"
says "127.0.0.1.$port > 127.0.0.1"
good "$ctl" queue show "$id"
if grep -q '^state.*captured' "$dir/out"; then fail "still captured"; fi
# it ends with the queue
start_capture -w "$dir/c.pcap"
kill "$pid"
wait "$pid" 2>/dev/null
wait "$capture" || fail "capture of a queue that ends"
pids=()
refused "$ctl" queue show "$id"
