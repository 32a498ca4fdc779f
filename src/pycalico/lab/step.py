"""A command of the walkthrough: what to say about it, and what its output must be.

``{name}`` in a command stands for something an earlier step found, or for the encapsulation's own words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pycalico.lab.checks import Check

#: output → facts for later steps.
Finder = Callable[[str], dict[str, str]]

M, W0, W1, W2 = "k8s-m", "k8s-w0", "k8s-w1", "k8s-w2"
#: How BIRD writes a time.
CLOCK = r"\d\d:\d\d:\d\d(\.\d+)?"
BLOCKS = {M: "172.16.116.0", W0: "172.16.34.0", W1: "172.16.158.0", W2: "172.16.184.0"}


@dataclass(frozen=True)
class Step:
    """``within_s``: the output may need that long to become right. ``background``: started and left running."""

    name: str
    node: str
    command: str
    checks: tuple[Check, ...] = ()
    say: str = ""
    find: Finder | None = None
    within_s: float = 5.0
    background: bool = False
    shown_lines: int = 60


@dataclass
class Outcome:
    """What a step gave, after as many tries as it took."""

    step: Step
    command: str
    output: str
    problems: list[str] = field(default_factory=list)


def remember(key: str) -> Finder:
    return lambda output: {key: output.strip()}
