"""What an output must be: small checks that a step of the walkthrough is given.

A check returns what is wrong, or an empty string. Patterns are regular expressions in which ``{name}`` stands for a fact
that an earlier step found; a brace of the expression itself is doubled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

#: (output, facts) → what is wrong, or an empty string.
Check = Callable[[str, Mapping[str, str]], str]


def words(text: str) -> list[str]:
    """The lines that say something, runs of blanks as one blank."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def lines(*patterns: str) -> Check:
    """Each pattern matches some whole line."""

    def check(output: str, facts: Mapping[str, str]) -> str:
        said = words(output)
        for pattern in patterns:
            wanted = pattern.format_map(_Facts(facts))
            if not any(re.fullmatch(wanted, line) for line in said):
                return f"no line matches {wanted!r}"
        return ""

    return check


def only(*patterns: str) -> Check:
    """The lines are these, in this order, and no others."""

    def check(output: str, facts: Mapping[str, str]) -> str:
        said = words(output)
        if len(said) != len(patterns):
            return f"{len(said)} lines instead of {len(patterns)}"
        for line, pattern in zip(said, patterns, strict=True):
            wanted = pattern.format_map(_Facts(facts))
            if not re.fullmatch(wanted, line):
                return f"{line!r} does not match {wanted!r}"
        return ""

    return check


def table(*rows: tuple[str, ...]) -> Check:
    """A ruled table with these cells, rows in any order after the heading."""

    def check(output: str, _: Mapping[str, str]) -> str:
        cells = [
            tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
            for line in output.splitlines()
            if line.strip().startswith("|")
        ]
        if not cells or cells[0] != rows[0]:
            return f"the heading is {cells[0] if cells else 'missing'}"
        for row in rows[1:]:
            if not any(
                len(row) == len(have)
                and all(re.fullmatch(want, cell) for want, cell in zip(row, have, strict=True))
                for have in cells[1:]
            ):
                return f"no row {row}"
        return "" if len(cells) == len(rows) else f"{len(cells) - 1} rows instead of {len(rows) - 1}"

    return check


def conflist(node: str) -> Check:
    expected: dict[str, Any] = {
        "type": "calico",
        "log_level": "info",
        "log_file_path": "/var/log/calico/cni/cni.log",
        "datastore_type": "kubernetes",
        "nodename": node,
        "mtu": 0,
        "ipam": {"type": "calico-ipam"},
        "policy": {"type": "k8s"},
    }

    def check(output: str, _: Mapping[str, str]) -> str:
        document = json.loads(output)
        have = document["plugins"][0]
        wrong = [key for key, value in expected.items() if have.get(key) != value]
        if document.get("name") != "k8s-pod-network":
            wrong.append("name")
        return f"differs in {', '.join(wrong)}" if wrong else ""

    return check


def grown(key: str, by: int, more: str = "") -> Check:
    """The number is the earlier one plus ``by``, and plus the fact ``more`` if one is named."""

    def check(output: str, facts: Mapping[str, str]) -> str:
        growth = by + (int(facts[more]) if more else 0)
        right = int(output) == int(facts[key]) + growth
        return "" if right else f"{output.strip()} instead of {facts[key]} + {growth}"

    return check


class _Facts(dict[str, str]):
    """Leaves the braces of regular expressions alone."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        super().__init__(facts)

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"
