#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What only the object code shows: the owner of an object allocates and frees it without a locked instruction,
# and the library stays when it is closed with dlclose(3), because threads run its destructor when they end.

set -u
so=$BUILD/libdemi.so
command -v objdump >/dev/null || { echo "no objdump"; exit 77; }

for f in demi_malloc demi_free demi_sgaalloc; do
	code=$(objdump -d --no-show-raw-insn --disassemble="$f" "$so")
	[ "$(grep -c "^ .*ret" <<<"$code")" -gt 0 ] || { echo "no code of $f"; exit 1; }
	if grep -E '\block\b|\bxchg .*\(' <<<"$code"; then
		echo "a locked instruction in $f"
		exit 1
	fi
done

readelf -d "$so" | grep -q NODELETE || { echo "dlclose() would unload the library"; exit 1; }
