#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# demictl without a module: help, mistakes, errors that say what to do, completion.
set -eu

ctl=$BUILD/tools/demictl
fail() {
	echo "FAIL: $*"
	exit 1
}
[ -x "$ctl" ] || {
	echo "demictl is not built"
	exit 77
}
dir=$(mktemp -d /tmp/demi-demictl-test.XXXXXX)
trap 'rm -rf "$dir"' EXIT

# Every command that --help lists has its own.
"$ctl" --help >"$dir/help"
mapfile -t commands < <(sed -n 's/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p' "$dir/help")
[ ${#commands[@]} -ge 13 ] || fail "commands: ${commands[*]}"
for c in "${commands[@]}"; do
	# shellcheck disable=SC2086 # one or two words
	"$ctl" $c --help >"$dir/out" || fail "$c --help"
	grep -q "demictl $c" "$dir/out" || fail "$c --help says: $(cat "$dir/out")"
	grep -q -- --json "$dir/out" || fail "$c has no --json"
done
"$ctl" filter attach --help | grep -q -- --object || fail "--object"
! "$ctl" queue list --help | grep -q -- --object || fail "--object in queue list"

# Mistakes: status 64 and a word on what is right.
mistake() { # what has to be said, arguments...
	local want=$1 rc=0
	shift
	"$ctl" "$@" >"$dir/out" 2>&1 || rc=$?
	[ $rc = 64 ] || fail "demictl $*: status $rc"
	grep -qe "$want" "$dir/out" || fail "demictl $*: $(cat "$dir/out")"
}
mistake "usage: demictl"
mistake 'no command "nothing"' nothing
mistake 'no command "queue nothing"' queue nothing
mistake 'a second word' queue
mistake '"7" is too much' queue list 7
mistake 'QUEUE' queue show
mistake 'which filter?' filter attach 7
mistake 'choose one' filter attach 7 udp --object x.o
mistake 'choose one' filter attach 7 --pinned x --object x.o
mistake '--object' filter attach 7 udp --section x
mistake '-w' capture 7
mistake 'rx, tx or both' capture 7 -w x -d up
mistake '--snap is a whole number' capture 7 -w x -s 0
mistake '--count is a whole number' capture 7 -w x -c 1.5
mistake '--watch is a number' stats --watch=0
mistake 'unrecognized option' queue list --object=x
mistake 'DEVICE USER' grant host

# Without the module: the error says how to load it, as text and as JSON.
if [ ! -e /dev/demi ]; then
	for c in info "device list" "queue show 7" "filter attach 7 udp" "capture 7 -w $dir/x.pcap" "stats --watch"; do
		rc=0
		# shellcheck disable=SC2086
		"$ctl" $c >"$dir/out" 2>"$dir/err" || rc=$?
		[ $rc = 1 ] || fail "$c: status $rc"
		[ ! -s "$dir/out" ] || fail "$c: output without a module"
		grep -q 'modprobe demi' "$dir/err" || fail "$c: $(cat "$dir/err")"
		rc=0
		# shellcheck disable=SC2086
		"$ctl" $c --json >"$dir/out" 2>"$dir/err" || rc=$?
		[ "$rc$(cat "$dir/err")" = 1 ] || fail "$c --json: status $rc, $(cat "$dir/err")"
		python3 - "$dir/out" <<-'EOF2' || fail "$c --json: $(cat "$dir/out")"
			import errno, json, sys
			e = json.load(open(sys.argv[1]))["error"]
			assert e["what"] == "/dev/demi" and e["errno"] == errno.ENOENT, e
			assert "modprobe demi" in e["hint"], e
		EOF2
	done
	[ ! -e "$dir/x.pcap" ] || fail "a file was made without a module"
fi

# The completion offers what the program itself lists.
# shellcheck source=/dev/null
. ../scripts/demictl.bash
complete_words() {
	COMP_WORDS=(demictl "$@") COMP_CWORD=$#
	_demictl "$ctl"
	echo "${COMPREPLY[*]}"
}
is() { # wanted, words...
	local wanted=$1 got
	shift
	got=$(complete_words "$@")
	[ "$got" = "$wanted" ] || fail "completion of demictl $*: \"$got\", not \"$wanted\""
}
is "filter flow" f
is "attach detach show" filter ""
is "list" queue l
is "--pinned= --program=" filter attach 7 --p
is "--watch" stats --w
is "rx" capture 7 -d r
is "root" grant host root
