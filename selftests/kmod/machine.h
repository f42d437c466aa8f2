/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_KMOD_MACHINE_H
#define DEMI_SELFTESTS_KMOD_MACHINE_H

/* What tests ask of the machine. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A kernel that checks itself: many times slower, its structures larger, what is freed kept for a while. */
static inline bool kmod_debug_kernel(void)
{
	const char *kernel = getenv("DEMI_VM_KERNEL");

	return kernel && !strcmp(kernel, "debug");
}

/* How much a test does: as @variable says, or as much as the kernel is good for. */
static inline unsigned int kmod_amount(const char *variable, unsigned int usual, unsigned int debug)
{
	const char *s = getenv(variable);

	return s ? (unsigned int)strtoul(s, NULL, 10) : kmod_debug_kernel() ? debug : usual;
}

/* What the IOMMU says it can address. VT-d 11.4.2: MGAW. */
static inline unsigned int iommu_address_bits(void)
{
	FILE *f = fopen("/sys/class/iommu/dmar0/intel-iommu/cap", "re");
	unsigned long long cap = 0;

	if (f && fscanf(f, "%llx", &cap) != 1)
		cap = 0;
	if (f)
		fclose(f);
	return (cap >> 16 & 0x3f) + 1;
}

/* Whatever the module holds for somebody goes: tables of one line, the heading, and all pins given back. */
static inline bool module_holds_nothing(int patience_ms)
{
	for (int waited = 0; waited < patience_ms; waited += 100) {
		if (!system("cd /sys/kernel/debug/demi && test $(cat contexts queues users | wc -l) = 3 && "
			    "awk '/^nr_foll_pin_/ { n[$1] = $2 } END { exit n[\"nr_foll_pin_acquired\"] != "
			    "n[\"nr_foll_pin_released\"] }' /proc/vmstat"))
			return true;
		usleep(100000);
	}
	return false;
}

/*
 * Lockdep's proof of lock order (sysctl kernel.prove_locking), where there is one. Off while a card is unplugged: 6.1's
 * own pciehp takes its reset_lock and pci_rescan_remove_lock both ways (pciehp_unconfigure_device()): lockdep ends.
 */
static inline void kmod_prove_locking(bool on)
{
	FILE *f = fopen("/proc/sys/kernel/prove_locking", "we");

	if (!f)
		return;
	fputs(on ? "1" : "0", f);
	fclose(f);
}

#endif /* DEMI_SELFTESTS_KMOD_MACHINE_H */
