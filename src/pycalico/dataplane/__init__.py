"""Makes the kernel equal to what the calculation says: rules, IP sets, routes, links, per-interface settings.

``rules`` renders text and is pure; ``managers`` turn messages into wishes; ``drivers`` read and write the
kernel, each as a target of the one reconciler; ``engine`` runs them in a safe order.
"""
