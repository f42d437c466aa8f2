#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The README's program, as it stands there, is compiled as the README says against an installation below a
# temporary folder, and echoes. Afterwards uninstall leaves nothing behind.

set -u
top=$(cd .. && pwd)
dest=$TMPDIR/dest
fail() {
	echo "$*"
	exit 1
}
unset MAKEFLAGS MAKELEVEL MFLAGS DEPS
command -v pkg-config >/dev/null || { echo "no pkg-config" && exit 77; }

run_make() { make -C "$top" -o all DEPS=no BUILD="$BUILD" DESTDIR="$dest" PREFIX=/usr "$@" >"$TMPDIR/log" 2>&1; }
run_make install || { cat "$TMPDIR/log" && fail "make install"; }
for f in include/demi/demi.h lib/libdemi.so lib/libdemi.so.0 lib/libdemi.a lib/libdemi-malloc.so \
	lib/pkgconfig/demi.pc share/man/man3/demi_push.3 share/man/man7/libdemi.7 share/doc/demi/README.md; do
	[ -e "$dest/usr/$f" ] || fail "not installed: $f"
done

export PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_PATH=$dest/usr/lib/pkgconfig LD_LIBRARY_PATH=$dest/usr/lib
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$top/README.md" >"$TMPDIR/echo.c"
# shellcheck disable=SC2046 # words
cc -Wall -Wextra -Werror -o "$TMPDIR/echo" "$TMPDIR/echo.c" $(pkg-config --cflags --libs demi) || fail "the program"
# shellcheck disable=SC2046
cc -Wall -o "$TMPDIR/static" "$TMPDIR/echo.c" $(pkg-config --cflags demi) "$dest/usr/lib/libdemi.a" \
	$(pkg-config --libs-only-l liburing yaml-0.1) -pthread || fail "the program, with the archive"
ldd "$TMPDIR/echo" | grep -q "$dest/usr/lib/libdemi.so.0 " || fail "not the installed library: $(ldd "$TMPDIR/echo")"

# A port that is free: the program ends at once if it is not.
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do
	port=$((20000 + RANDOM % 10000))
	"$TMPDIR/echo" "$port" &
	server=$!
	for _ in {1..50}; do
		{ exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null && break 2
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
done
exec 4<>"/dev/tcp/127.0.0.1/$port" || fail "no second connection"
echo "first $port" >&3
echo "second $port" >&4
read -r -t 20 -u 4 line
[ "$line" = "second $port" ] || fail "second: $line"
read -r -t 20 -u 3 line
[ "$line" = "first $port" ] || fail "first: $line"
kill "$server"
wait "$server" 2>/dev/null
server=

run_make uninstall || { cat "$TMPDIR/log" && fail "make uninstall"; }
left=$(find "$dest" ! -type d)
[ -z "$left" ] || fail "left behind: $left"
left=$(find "$dest" -path '*/demi' -o -path '*/demi/*')
[ -z "$left" ] || fail "empty folders left behind: $left"
