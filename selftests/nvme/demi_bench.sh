#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# demi-bench on a controller's own rings, as its owner; beside a disk of the kernel's, which is memory here.
set -eu

bench=$BUILD/tools/demi-bench
dir=$(mktemp -d)
loop=
trap '[ -z "$loop" ] || losetup -d "$loop"; rm -rf "$dir"' EXIT
chmod 666 /dev/demi
modprobe loop
truncate -s 8M "$dir/disk"
loop=$(losetup -f --show "$dir/disk")
chmod 666 "$loop"
ulimit -l unlimited

owner() {
	setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$bench" file --device nvme --pairs 2 --warmup 0 --json "$@" >"$dir/out.json"
	python3 -c 'import json, sys
for side in json.load(open(sys.argv[1]))["sides"]:
    assert side["values"]["mib_per_s"]["median"] > 0, side
    print(side["name"], end=" ")' "$dir/out.json"
}

[ "$(owner --read -n 500)" = "demi:nvme " ]
[ "$(owner --file "$DEMI_NVME_PCI/2" -n 500 -w 64 --vs kernel --disk "$loop")" = "demi:nvme kernel " ]
[ "$(owner --file "$DEMI_NVME_PCI/1" -n 100 -s 512 --durable)" = "demi:nvme " ]
[ "$(tr -d f <"$dir/disk" | tr -d '\0' | wc -c)" = 0 ] && [ "$(head -c 1 "$dir/disk")" = f ]
# more than there is
! owner --read -s 1048576 -w 64 --file "$DEMI_NVME_PCI/2"
