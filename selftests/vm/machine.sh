#!/usr/bin/env bash
# timeout: 300
# SPDX-License-Identifier: MIT
#
# The virtual machine hands back output, status and files, and fails when the kernel does.

set -u
run=$(cd "$(dirname "$0")" && pwd)/run
out=${TMPDIR:-/tmp}/machine
mkdir -p "$out"
cd "$out" || exit 1
fail() {
	echo "$*"
	cat got err 2>/dev/null
	exit 1
}

# What a command finds: the folder, the environment, a root that takes writes and keeps none, modules, the network.
export MACHINE_TEST="two words"
# shellcheck disable=SC2016 # for the guest's shell
"$run" --timeout 120 --out "$out/files" -- sh -c '
	set -e
	echo "$PWD|$MACHINE_TEST|$(id -u)|$*"
	echo kept >"$DEMI_VM_OUT/kept"
	echo gone >gone
	modprobe dummy
	ip link show lo | grep -q UP
	test -d /sys/kernel/tracing/events
	test -e /sys/fs/cgroup/cgroup.procs
	exit 7' sh 'a  b' "c'd" >got 2>err
rc=$?
[ $rc = 7 ] || fail "status $rc instead of 7"
[ "$(cat got)" = "$out|two words|0|a  b c'd" ] || fail "output"
[ "$(cat files/kept)" = kept ] || fail "no file came out"
[ ! -e gone ] || fail "a file was written through"

# Reports, a panic and a hang fail whatever the command says. A report before a status of 0 is still one.
"$run" --timeout 120 -- sh -c 'echo "<4>BUG: sleeping function called from here" >/dev/kmsg' >got 2>err
rc=$?
[ $rc = 125 ] || fail "status $rc instead of 125 for a report"
grep -q 'BUG: sleeping function' err || fail "the report is not shown"

"$run" --timeout 120 -- sh -c 'echo c >/proc/sysrq-trigger' >got 2>err
rc=$?
[ $rc = 125 ] || fail "status $rc instead of 125 for a panic"
grep -q 'Kernel panic' err || fail "the panic is not shown"

"$run" --timeout 15 -- sleep 1000 >got 2>err
rc=$?
[ $rc = 125 ] || fail "status $rc instead of 125 for a hang"
grep -q 'did not end in 15 s' err || fail "the hang is not told"
