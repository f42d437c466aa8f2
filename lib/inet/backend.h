/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_BACKEND_H
#define DEMI_INET_BACKEND_H

/* The network stack on a packet device, as a context's backend for sockets. */

#include "core/backend.h"
#include "pktdev/pktdev.h"

/* The backend takes @dev over when this succeeds. -EOPNOTSUPP: not a device that the stack can drive. */
int demi_inet_create(struct demi_ctx *ctx, struct demi_pktdev *dev, struct demi_backend **out);

#endif /* DEMI_INET_BACKEND_H */
