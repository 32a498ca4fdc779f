"""What the lab says when it cannot go on."""

from __future__ import annotations


class LabError(Exception):
    """One line for people: what is wrong, where, and what to do."""
