"""The native nftables dataplane: rules' text compiled to expressions, one table per family as a reconcile target.

Holds nothing that iptables needs; nothing outside `dataplane.assembly` needs it.
"""
