"""``calicoctl node``: a module per command; ``commands`` lists them."""
