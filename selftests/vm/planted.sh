#!/usr/bin/env bash
# timeout: 900
# SPDX-License-Identifier: MIT
#
# Bugs that the module's debug build plants on demand are found on the debug kernel, each.

set -u
cd "$(dirname "$0")" || exit 1
: "${BUILD:?}"
log=${TMPDIR:-/tmp}/planted
# the report about locks first: lockdep ends with the first of the others
# shellcheck disable=SC2016 # for the guest's shell
./run --kernel debug --timeout 800 -- sh -ec '
	insmod "$BUILD/kmod/debug-mock/demi.ko"
	for bug in lock-order leak out-of-bounds use-after-free; do
		echo $bug >/sys/kernel/debug/demi/mock/bug
	done
	echo planted' >"$log" 2>&1
rc=$?
bad=0
[ $rc = 125 ] || { bad=1 && echo "status $rc instead of 125"; }
for what in '^planted' 'possible circular locking' 'KASAN: .*out-of-bounds' 'KASAN: .*use-after-free' \
	'kmemleak: unreferenced'; do
	grep -q "$what" "$log" || { bad=1 && echo "not found: $what"; }
done
[ $bad = 0 ] || cat "$log"
exit $bad
