"""calico-node: what runs on every node.

``main`` maps flags to actions, each in a module of its own that is imported only when asked for, so that a
service pays for what it needs. ``tree`` brings up the supervised processes.
"""
