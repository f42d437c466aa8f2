// SPDX-License-Identifier: GPL-2.0
/* demi's part of a network namespace. */
#include <net/netns/generic.h>

#include "flow.h"
#include "net.h"

static unsigned int demi_net_id __read_mostly;

struct demi_net *demi_net(const struct net *net)
{
	return net_generic(net, demi_net_id);
}

static int __net_init demi_net_create(struct net *net)
{
	struct demi_net *dn = demi_net(net);

	dn->net = net;
	mutex_init(&dn->lock);
	xa_init_flags(&dn->queues, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&dn->flow_list);
	INIT_LIST_HEAD(&dn->raw_queues);
	return rhltable_init(&dn->flows, &demi_flow_params);
}

/* Contexts hold their namespace, so none is left, nor anything of theirs. */
static void __net_exit demi_net_destroy(struct net *net)
{
	struct demi_net *dn = demi_net(net);

	WARN_ON_ONCE(dn->hooks || !xa_empty(&dn->queues) || !list_empty(&dn->flow_list));
	rhltable_destroy(&dn->flows);
	xa_destroy(&dn->queues);
	mutex_destroy(&dn->lock);
}

static struct pernet_operations demi_net_ops = {
	.init = demi_net_create,
	.exit = demi_net_destroy,
	.id = &demi_net_id,
	.size = sizeof(struct demi_net),
};

int demi_net_init(void)
{
	return register_pernet_subsys(&demi_net_ops);
}

void demi_net_exit(void)
{
	unregister_pernet_subsys(&demi_net_ops);
	/* a hook may still run that was unregistered with the last reservation */
	synchronize_net();
}
