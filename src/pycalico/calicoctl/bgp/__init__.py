"""``calicoctl bgp``: sessions and routes of every node at once. Upstream has no such command."""
