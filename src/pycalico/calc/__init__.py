"""From resources to what one node's dataplane must hold. Pure: no socket, clock, thread or process.

``messages`` is the one door to the dataplane: either side can be replaced.
"""
