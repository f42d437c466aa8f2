/* SPDX-License-Identifier: MIT */
/* valgrind */
/* The sizes and the places of the fields are part of the interface: programs measure them. */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void is(const char *what, size_t got, size_t wanted)
{
	if (got == wanted)
		return;
	printf("%s is %lu, not %lu\n", what, (unsigned long)got, (unsigned long)wanted);
	failures++;
}

#define IS(x, wanted) is(#x, (size_t)(x), (size_t)(wanted))

int main(int argc, char *const argv[])
{
	struct demi_args args;
	demi_qresult_t qr;

	memset(&args, 0, sizeof(args));
	args.argc = argc;
	args.argv = argv;
	IS(DEMI_SGARRAY_MAXSIZE, 4);
	IS(sizeof(demi_qtoken_t), 8);
	IS(sizeof(enum demi_opcode), 4);
	IS(sizeof(demi_sgaseg_t), 8 + 4);
	IS(sizeof(demi_sgarray_t), 8 + 4 + 4 * 12 + 16);
	IS(sizeof(demi_accept_result_t), 4 + 16);
	IS(sizeof(demi_qresult_t), 4 + 4 + 8 + 8 + 76);
	IS(sizeof(qr.qr_value), 76);
	IS(sizeof(args), 4 + 8 + 8);

	IS(offsetof(struct demi_sgaseg, sgaseg_buf), 0);
	IS(offsetof(struct demi_sgaseg, sgaseg_len), 8);
	IS(offsetof(struct demi_sgarray, sga_buf), 0);
	IS(offsetof(struct demi_sgarray, sga_numsegs), 8);
	IS(offsetof(struct demi_sgarray, sga_segs), 12);
	IS(offsetof(struct demi_sgarray, sga_addr), 60);
	IS(offsetof(struct demi_accept_result, qd), 0);
	IS(offsetof(struct demi_accept_result, addr), 4);
	IS(offsetof(struct demi_qresult, qr_opcode), 0);
	IS(offsetof(struct demi_qresult, qr_qd), 4);
	IS(offsetof(struct demi_qresult, qr_qt), 8);
	IS(offsetof(struct demi_qresult, qr_ret), 16);
	IS(offsetof(struct demi_qresult, qr_value), 24);
	IS(offsetof(struct demi_args, argc), 0);
	IS(offsetof(struct demi_args, argv), 4);
	IS(offsetof(struct demi_args, callback), 12);

	IS(DEMI_OPC_INVALID, 0);
	IS(DEMI_OPC_PUSH, 1);
	IS(DEMI_OPC_POP, 2);
	IS(DEMI_OPC_ACCEPT, 3);
	IS(DEMI_OPC_CONNECT, 4);
	IS(DEMI_OPC_CLOSE, 5);
	IS(DEMI_OPC_FAILED, 6);
	return failures != 0;
}
