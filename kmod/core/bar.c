// SPDX-License-Identifier: GPL-2.0
/* Pages of a function's registers: which of them may be a process's. */
#include <linux/export.h>
#include <linux/pci.h>

#include "bar.h"

/* By whose table interrupts could be sent anywhere, if there were no remapping. */
static bool demi_bar_page_has_msix(struct pci_dev *pdev, phys_addr_t page, int where,
				   u32 entry_bits)
{
	u32 at;
	u16 flags;
	u8 bar;

	if (!pdev->msix_cap)
		return false;
	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &flags);
	pci_read_config_dword(pdev, pdev->msix_cap + where, &at);
	bar = at & PCI_MSIX_TABLE_BIR;
	if (bar >= PCI_STD_NUM_BARS)
		return false;
	return demi_bar_overlap(page, PAGE_SIZE,
				pci_resource_start(pdev, bar) + (at & PCI_MSIX_TABLE_OFFSET),
				ALIGN(((flags & PCI_MSIX_FLAGS_QSIZE) + 1) * entry_bits, 64) / 8);
}

static bool demi_bar_page_is_own(struct pci_dev *pdev, phys_addr_t page)
{
	int bar;

	for (bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		if (pci_resource_flags(pdev, bar) & IORESOURCE_MEM &&
		    page >= pci_resource_start(pdev, bar) &&
		    page + PAGE_SIZE - 1 <= pci_resource_end(pdev, bar))
			return true;
	}
	return false;
}

bool demi_bar_page_is_free(struct pci_dev *pdev, phys_addr_t page)
{
	return demi_bar_page_is_own(pdev, page) &&
	       !demi_bar_page_has_msix(pdev, page, PCI_MSIX_TABLE, PCI_MSIX_ENTRY_SIZE * 8) &&
	       !demi_bar_page_has_msix(pdev, page, PCI_MSIX_PBA, 1);
}
EXPORT_SYMBOL_GPL(demi_bar_page_is_free);
