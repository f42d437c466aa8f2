#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The build itself: another flag compiles again, an unchanged tree does not; a relative BUILD is relative to
# the top; headers stand alone in C99, C11 and C++; the list of packages is used as scripts/deps says.

set -u
top=$(cd .. && pwd)
unset MAKEFLAGS MAKELEVEL MFLAGS DEPS
fail() {
	echo "$*"
	exit 1
}

out=$TMPDIR/build
make -C "$top" BUILD="$out" OPT=-O0 lib >/dev/null || fail "make lib"
again=$(make -C "$top" BUILD="$out" OPT=-O0 lib)
[[ $again != *" CC "* && $again != *" LD "* ]] || fail "built twice: $again"
again=$(make -C "$top" BUILD="$out" OPT=-Og -n lib)
[[ $again == *"-Og"*"log.o"* ]] || fail "another flag changed nothing"

for h in "$top"/include/demi/*.h; do
	name=demi/${h##*/}
	for lang in "gcc -std=c99 -pedantic" "gcc -std=c11 -D_GNU_SOURCE" "g++ -x c++ -std=c++11 -pedantic"; do
		printf '#include <%s>\ntypedef int not_empty;\n' "$name" >"$TMPDIR/one.c"
		$lang -Wall -Wextra -Werror -I"$top/include" -c -o /dev/null "$TMPDIR/one.c" || fail "$lang: $name"
	done
done

[ -z "$("$top/scripts/deps" build)" ] || fail "scripts/deps is not silent"
mkdir -p "$TMPDIR/scripts"
cp "$top/scripts/deps" "$TMPDIR/scripts/"
echo "no-such-package-here build # a test" >"$TMPDIR/scripts/packages.txt"
DEPS=no "$TMPDIR/scripts/deps" build || fail "DEPS=no looked"
"$TMPDIR/scripts/deps" check || fail "a package that no purpose wants was looked for"
# A stranger is told the command, and nothing is tried: who runs it is said by an id(1) in front of the real one.
mkdir -p "$TMPDIR/bin"
printf '#!/bin/sh\necho 1000\n' >"$TMPDIR/bin/id"
printf '#!/bin/sh\ntouch "%s/tried"\n' "$TMPDIR" >"$TMPDIR/bin/apt-get"
chmod 755 "$TMPDIR/bin/id" "$TMPDIR/bin/apt-get"
said=$(PATH=$TMPDIR/bin:$PATH "$TMPDIR/scripts/deps" build 2>&1) && fail "no failure"
[ ! -e "$TMPDIR/tried" ] || fail "a stranger's apt-get was run"
[[ $said == *"sudo apt-get install --no-install-recommends no-such-package-here"* ]] || fail "said: $said"
exit 0
