"""What ends an action of calico-node: said once, then exit 1, and the container starts again."""

from __future__ import annotations


class Fatal(Exception):
    """One line for a person: what, where, and what to do."""
