#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# demi-bench on a controller's own rings, as its owner; beside the kernel's driver of another controller.
set -eu

[ "${DEMI_VM_KERNEL-}" != debug ] || { echo "a kernel that checks itself: not what is to be timed" && exit 4; }
bench=$BUILD/tools/demi-bench
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 666 /dev/demi
# the path of a controller with several is hidden: nvme1c1n1 for nvme1n1
[[ $(echo "/sys/bus/pci/devices/$DEMI_NVME_OTHER_PCI"/nvme/nvme*/nvme*n*) =~ (nvme[0-9]+)(c[0-9]+)?(n[0-9]+)$ ]]
disk=/dev/${BASH_REMATCH[1]}${BASH_REMATCH[3]}
[ -b "$disk" ]
chmod 666 "$disk"
ulimit -l unlimited

owner() {
	setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$bench" file --device nvme --pairs 2 --warmup 0 --json "$@" >"$dir/out.json"
	python3 -c 'import json, sys
for side in json.load(open(sys.argv[1]))["sides"]:
    assert side["values"]["mib_per_s"]["median"] > 0, side
    print(side["name"], end=" ")' "$dir/out.json"
}

[ "$(owner --read -n 100)" = "demi:nvme " ]
[ "$(owner --file "$DEMI_NVME_PCI/2" -s 65536 -n 64 -w 64 --vs "kernel@$disk")" = "demi:nvme kernel " ]
[ "$(head -c 8388608 "$disk" | tr -d f | wc -c)" = 0 ] # written to its end
[ "$(owner --file "$DEMI_NVME_PCI/1" -n 4 -w 4 -s 512 --durable)" = "demi:nvme " ]
# more than there is
! owner --read -s 1048576 -w 64 --file "$DEMI_NVME_PCI/2"
