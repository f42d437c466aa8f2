#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The completion of demi-bench offers what the program itself lists.

[ -x "$BUILD/tools/demi-bench" ] || { echo "demi-bench is not built" && exit 77; }
# shellcheck source=/dev/null
. ../scripts/demi-bench.bash
complete_words() {
	COMP_WORDS=(demi-bench "$@") COMP_CWORD=$#
	_demi_bench "$BUILD/tools/demi-bench"
	echo "${COMPREPLY[*]}"
}
is() { # wanted, words...
	local wanted=$1 got
	shift
	got=$(complete_words "$@")
	[ "$got" = "$wanted" ] || { echo "demi-bench $*: \"$got\", not \"$wanted\"" && exit 1; }
}
is "echo" ec
is "stream" s
is "--pairs=" echo --pa
is "uring-raw" echo --vs = ur
is "unix" echo --over = un
is "demi ring-raw" queue --vs =
