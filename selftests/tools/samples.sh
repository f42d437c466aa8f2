#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every sample does what it says, against itself and against plain sockets; and the folder builds by itself.
set -eu

bin=$BUILD/samples
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d /tmp/demi-samples-test.XXXXXX)
pids=()
cleanup() {
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

fail() {
	echo "FAIL: $*"
	exit 1
}

[ -x "$bin/tcp-echo" ] || {
	echo "the samples are not built"
	exit 77
}
cd "$dir"

# Start a server whose output goes to NAME.out, and wait for its first line: start NAME COMMAND...
start() {
	local name=$1
	shift
	"$@" <&0 >"$name.out" 2>"$name.err" & # without the redirection a background job has no input
	pids+=($!)
	for _ in $(seq 200); do
		[ -s "$name.out" ] && return
		kill -0 $! 2>/dev/null || fail "$name ended: $(cat "$name.err")"
		sleep 0.05
	done
	fail "$name does not get ready"
}

port() { sed -n 's/.*port //p' "$1.out" | head -n 1; }

# A plain peer: many connections, pieces of odd sizes, everything has to come back: plain_tcp PORT
plain_tcp() {
	timeout 60 python3 - "$1" <<-'EOF'
		import random, socket, sys, threading
		def one(seed):
		    rnd = random.Random(seed)
		    data = rnd.randbytes(200000)
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
		    def send():
		        at = 0
		        while at < len(data):
		            n = rnd.choice((1, 7, 64, 1000, 40000))
		            s.sendall(data[at:at + n])
		            at += n
		        s.shutdown(socket.SHUT_WR)
		    t = threading.Thread(target=send)
		    t.start()
		    got = b""
		    while len(got) < len(data):
		        piece = s.recv(65536)
		        assert piece, f"connection {seed} ended after {len(got)} bytes"
		        got += piece
		    t.join()
		    assert got == data, "other bytes came back"
		    s.close()
		errors = []
		def run(seed):
		    try:
		        one(seed)
		    except BaseException as e:
		        errors.append(e)
		threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
		[t.start() for t in threads]
		[t.join() for t in threads]
		if errors:
		    sys.exit(str(errors[0]))
	EOF
}

# tcp-echo against itself and against plain sockets
start tcp-echo "$bin/tcp-echo" server 127.0.0.1 0
p=$(port tcp-echo)
for i in 1 2 3; do
	out=$(timeout 20 "$bin/tcp-echo" client 127.0.0.1 "$p" "words, number $i")
	[ "$out" = "words, number $i" ] || fail "tcp-echo said: $out"
done
plain_tcp "$p" || fail "tcp-echo and plain sockets"

# udp-echo: itself, and a plain socket with datagrams of several sizes
start udp-echo "$bin/udp-echo" server 127.0.0.1 0
p=$(port udp-echo)
out=$(timeout 20 "$bin/udp-echo" client 127.0.0.1 "$p" "a datagram")
[ "$out" = "a datagram" ] || fail "udp-echo said: $out"
timeout 30 python3 - "$p" <<'EOF' || fail "udp-echo and a plain socket"
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(("127.0.0.1", int(sys.argv[1])))
for size in (1, 64, 1400, 9000, 60000):
    data = os.urandom(size)
    s.send(data)
    assert s.recv(65536) == data, size
EOF

# udp-relay between two plain sockets
start udp-relay "$bin/udp-relay" 127.0.0.1 0
timeout 30 python3 - "$(port udp-relay)" <<'EOF' || fail "udp-relay"
import socket, sys
relay = ("127.0.0.1", int(sys.argv[1]))
a, b, c = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3))
for s in (a, b, c):
    s.settimeout(10)
    s.bind(("127.0.0.1", 0))
a.sendto(b"first", relay)        # nobody there yet: lost
for i in range(50):
    b.sendto(b"to a %d" % i, relay)
    assert a.recv(2000) == b"to a %d" % i
    c.sendto(b"a third is not relayed", relay)
    a.sendto(b"to b %d" % i, relay)
    assert b.recv(2000) == b"to b %d" % i
c.setblocking(False)
try:
    c.recv(2000)
    sys.exit("the third got something")
except BlockingIOError:
    pass
EOF

# pipe: a plain name would lie in the user's own folder
start pipe "$bin/pipe" server "$dir/a-pipe"
out=$(printf 'abc\nx\n%s\n' "$(head -c 5000 /dev/zero | tr '\0' q)z" | timeout 20 "$bin/pipe" client "$dir/a-pipe")
[ "$out" = "$(printf 'cba\nx\n%s' "z$(head -c 5000 /dev/zero | tr '\0' q)")" ] || fail "pipe said: ${out:0:200}"
wait "${pids[3]}" || fail "the pipe's server did not end well: $(cat pipe.err)"
unset 'pids[3]'

# file-log: adds up over runs, in order
seq 1 200 >lines
out=$(timeout 60 "$bin/file-log" add log <lines)
[ "$out" = "200 lines are on stable storage" ] || fail "file-log said: $out"
seq 201 300 | timeout 60 "$bin/file-log" add log >/dev/null
timeout 20 "$bin/file-log" show log | cmp - <(seq 1 300) || fail "file-log show"
seq 1 300 | cmp - log || fail "the log file"

# block: on a file as on a disk
out=$(timeout 60 "$bin/block" write disk some words)
[ "$out" = "10 bytes are on stable storage" ] || fail "block said: $out"
[ "$(timeout 60 "$bin/block" read disk)" = "some words" ] || fail "block read"

# libevent-loop: plain sockets, and standard input in the same loop
if [ -x "$bin/libevent-loop" ]; then
	mkfifo input
	start libevent-loop "$bin/libevent-loop" 0 <>input
	p=$(port libevent-loop)
	plain_tcp "$p" || fail "libevent-loop and plain sockets"
	out=$(timeout 20 "$bin/tcp-echo" client 127.0.0.1 "$p" "from demi to demi")
	[ "$out" = "from demi to demi" ] || fail "libevent-loop said: $out"
	echo quit >input
	wait $! || fail "libevent-loop did not end well: $(cat libevent-loop.err)"
fi

# A copy of the folder builds with nothing but pkg-config.
if command -v pkg-config >/dev/null; then
	mkdir -p pc copy
	cat >pc/demi.pc <<-EOF
		Name: demi
		Description: libdemi in its build folder
		Version: 0
		Cflags: -I$top/include
		Libs: -L$BUILD -ldemi -Wl,-rpath,$BUILD
	EOF
	cp "$top"/samples/*.c "$top"/samples/Makefile copy/
	PKG_CONFIG_PATH=$dir/pc MAKEFLAGS='' make -s -C copy EVENT_SAMPLES= >make.out 2>&1 ||
		fail "the samples do not build by themselves: $(tail -n 5 make.out)"
	out=$(timeout 20 copy/tcp-echo client 127.0.0.1 "$(port tcp-echo)" copied)
	[ "$out" = copied ] || fail "the copied sample said: $out"
fi
