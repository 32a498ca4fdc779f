"""From list and watch to one stream of updates: in sync once, then every change, none invented, none lost.

``feeds`` runs a thread per kind; ``cache`` knows what a consumer has been told; ``merge`` is the bounded,
coalescing queue between the two.
"""
