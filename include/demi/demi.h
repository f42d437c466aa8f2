/* SPDX-License-Identifier: MIT */
#ifndef DEMI_DEMI_H
#define DEMI_DEMI_H

/* Everything. Programs written for Demikernel include the first three by themselves. */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <demi/file.h>
#include <demi/heap.h>
#include <demi/queue.h>
#include <demi/sockopt.h>

#endif /* DEMI_DEMI_H */
