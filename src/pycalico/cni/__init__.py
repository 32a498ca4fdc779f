"""The CNI plugins ``calico`` and ``calico-ipam``: what a container runtime executes for every pod.

A plugin is a process of its own per call, so every import counts; it talks to the datastore itself, holds no
state, and leaves nothing half-made. Formats, texts and codes: Calico v3.28.1's plugins, as recorded.
"""
