/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_CC_RENO_H
#define DEMI_INET_CC_RENO_H

#include "inet/tcp.h"

/* Slow start and congestion avoidance; @rest: bytes acknowledged since the window last grew. */
void demi_reno_acked(struct demi_tcp *t, uint32_t bytes, uint32_t *rest);

#endif /* DEMI_INET_CC_RENO_H */
