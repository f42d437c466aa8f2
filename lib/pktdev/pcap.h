/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_PCAP_H
#define DEMI_PKTDEV_PCAP_H

#include "pktdev/pktdev.h"

/*
 * A device that is @inner and writes every packet that is received or taken for sending to @path, which the first such
 * device of the process creates or empties. Destroys @inner with itself. -errno: @inner is as it was.
 */
int demi_pcap_open(struct demi_pktdev *inner, const char *path, struct demi_pktdev **out);

#endif /* DEMI_PKTDEV_PCAP_H */
