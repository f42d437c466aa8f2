/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CC_H
#define DEMI_CC_H

/*
 * Annotations that programs written for Demikernel's C API expect to find. The direction
 * markers (SAL) mean nothing to gcc and clang.
 */
#ifndef _In_
#define _In_
#define _In_z_
#define _In_opt_
#define _Inout_
#define _In_reads_(s)
#define _In_reads_bytes_(b)
#define _Out_
#define _Out_writes_to_(s, c)
#define _Out_writes_to_opt_(s, c)
#define _Deref_pre_z_
#endif

/*
 * NULL is answered with EINVAL by every call. A compiler that is told "nonnull" would remove
 * those checks while it builds the library, and warn in tests that pass NULL on purpose, so the
 * attribute is given only to a program that asks for it by defining DEMI_NONNULL.
 */
#if defined(__GNUC__) && defined(DEMI_NONNULL) && !defined(DEMI_BUILD)
#define ATTR_NONNULL(...) __attribute__((nonnull(__VA_ARGS__)))
#else
#define ATTR_NONNULL(...)
#endif

#if defined(__GNUC__)
#define ATTR_NODISCARD __attribute__((warn_unused_result))
#define DEMI_PACKED __attribute__((__packed__))
#else
#define ATTR_NODISCARD
#define DEMI_PACKED
#endif

#endif /* DEMI_CC_H */
