#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A function that would go around the IOMMU (QEMU's iommu_platform=off) is not given away, and goes back to its own
# driver, which has it as before.

f=${1:-$DEMI_VIRTIO_AROUND_PCI} why=${2:-offers no VIRTIO_F_ACCESS_PLATFORM}
fail() {
	echo "$*"
	exit 1
}
echo "<6>demi-test: refused" >/dev/kmsg
said=$("$BUILD/tools/demictl" device bind "$f" --owner 65534 2>&1) && fail "$f was given away"
[ -n "$said" ] || fail "and nobody says why"
dmesg | sed '1,/demi-test: refused/d' | grep -q "demi_virtio $f: .*$why" || fail "the kernel's log does not say: $why"
"$BUILD/tools/demictl" device list --json | grep -q "$f" && fail "$f is a device of demi's"
"$BUILD/tools/demictl" device unbind "$f" >/dev/null 2>&1
[ -d "/sys/bus/pci/drivers/virtio-pci/$f" ] || fail "$f is not its own driver's"
exit 0
