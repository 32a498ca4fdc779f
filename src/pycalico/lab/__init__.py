"""The multi-node lab: a cluster of four nodes on one machine.

Here live the topology (network namespaces), the nodes (one process tree each), a scheduler, a kubelet and small
workload controllers, the boot of a User-Mode Linux kernel, and the walkthrough. Programs of the node are started
as programs, with their flags and environment; nothing here reaches into them. This room uses everything and
nothing but the command line enters it.
"""
