/* SPDX-License-Identifier: MIT */
#include "side.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int flow_init(struct flow *f, const struct opts *o)
{
	memset(f, 0, sizeof(*f));
	f->window = o->window;
	f->size = o->size;
	f->sent = calloc(o->window, sizeof(f->sent[0]));
	return f->sent ? 0 : -ENOMEM;
}

void flow_free(struct flow *f)
{
	free(f->sent);
}
