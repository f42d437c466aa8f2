/* SPDX-License-Identifier: GPL-2.0 */
/* What lies where in a function's registers. For the modules of devices. */
#ifndef _DEMI_BAR_H
#define _DEMI_BAR_H

#include <linux/types.h>

struct pci_dev;

/* Do @bytes from @start of the host's addresses meet @other_bytes from @other? */
static inline bool demi_bar_overlap(u64 start, u64 bytes, u64 other, u64 other_bytes)
{
	return start < other + other_bytes && other < start + bytes;
}

/*
 * Can the page at this physical address be given to a process, as far as PCI knows: is it the
 * function's alone, and holds it nothing of its MSI-X tables?
 */
bool demi_bar_page_is_free(struct pci_dev *pdev, phys_addr_t page);

#endif
