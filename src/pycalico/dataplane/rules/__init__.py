"""Rendering of iptables rules: text in, text out; no kernel, no threads, no clock.

A rule is its own text as upstream's Felix v3.28.1 spells it, because a hash of that spelling is written into
the rule's comment and decides whether a rule is already there. The hash vectors in the tests pin each spelling.
"""
