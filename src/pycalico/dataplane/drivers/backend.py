"""Which iptables: the legacy or the nft one, and its programs."""

from __future__ import annotations

import logging
import shutil

import msgspec

from pycalico.kernel import command

log = logging.getLogger(__name__)

_KUBELET_CHAINS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")


class Programs(msgspec.Struct, frozen=True):
    """``family`` is 4 or 6, ``variant`` legacy or nft."""

    family: int
    variant: str
    save: str
    restore: str


def _program(family: int, variant: str, verb: str) -> str:
    stem = "iptables" if family == 4 else "ip6tables"
    named = f"{stem}-{variant}-{verb}"
    return named if shutil.which(named) else f"{stem}-{verb}"


def programs(family: int, variant: str) -> Programs:
    return Programs(family, variant, _program(family, variant, "save"), _program(family, variant, "restore"))


def choose(configured: str, families: tuple[int, ...]) -> str:
    """``legacy`` or ``nft``: as configured, else kubelet's choice, else where the more rules are (tie: legacy)."""
    if configured.lower() in {"legacy", "nft"}:
        return configured.lower()
    for variant in ("nft", "legacy"):
        if any(_has_kubelet_chain(family, variant) for family in families):
            log.info("iptables backend %s: kubelet's chains are there", variant)
            return variant
    lines = {
        variant: sum(_rule_lines(family, variant) for family in families) for variant in ("legacy", "nft")
    }
    variant = "nft" if lines["nft"] > lines["legacy"] else "legacy"
    log.info(
        "iptables backend %s: %d rules there, %d in the other", variant, lines[variant], min(lines.values())
    )
    return variant


def _dump(family: int, variant: str, *arguments: str) -> str:
    try:
        return command.run([_program(family, variant, "save"), *arguments]).out
    except command.CommandError:
        return ""


def _has_kubelet_chain(family: int, variant: str) -> bool:
    dump = _dump(family, variant, "-t", "mangle")
    return any(chain in dump for chain in _KUBELET_CHAINS)


def _rule_lines(family: int, variant: str) -> int:
    return sum(line.startswith("-A") for line in _dump(family, variant).splitlines())
