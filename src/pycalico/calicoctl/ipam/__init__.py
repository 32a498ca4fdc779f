"""``calicoctl ipam``: a module per command; ``commands`` lists them."""
