"""Actions of rules, spelled as Felix v3.28.1 spells them."""

from __future__ import annotations

import re

_LOG_UNSAFE = re.compile(r"[^\x20-\x7e]|[\"\\\\]")

ACCEPT = "--jump ACCEPT"
DROP = "--jump DROP"
REJECT = "--jump REJECT"
RETURN = "--jump RETURN"
NOTRACK = "--jump NOTRACK"


def named(word: str) -> str:
    """The action for a configured word: ACCEPT, DROP, REJECT or RETURN."""
    return f"--jump {word}"


def jump(chain: str) -> str:
    return f"--jump {chain}"


def goto(chain: str) -> str:
    return f"--goto {chain}"


def set_mark(bits: int) -> str:
    return f"--jump MARK --set-mark {bits:#x}/{bits:#x}"


def clear_mark(bits: int) -> str:
    """Reads back the same as ``set_masked_mark(0, bits)`` but hashes differently."""
    return f"--jump MARK --set-mark 0/{bits:#x}"


def set_masked_mark(value: int, mask: int) -> str:
    return f"--jump MARK --set-mark {value:#x}/{mask:#x}"


def log(prefix: str) -> str:
    """Characters that could leave the quotes become underscores. iptables cuts the prefix to 29 characters."""
    safe = _LOG_UNSAFE.sub("_", prefix)
    return f'--jump LOG --log-prefix "{safe}: " --log-level 5'


def masquerade(to_ports: str = "", fully_random: bool = False) -> str:
    return "--jump MASQUERADE" + (f" --to-ports {to_ports}" if to_ports else "") + _random(fully_random)


def snat(to: str, fully_random: bool = False) -> str:
    return f"--jump SNAT --to-source {to}" + _random(fully_random)


def dnat(to: str) -> str:
    return f"--jump DNAT --to-destination {to}"


def _random(fully: bool) -> str:
    return " --random-fully" if fully else ""
