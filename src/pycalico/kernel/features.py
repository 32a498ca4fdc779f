"""What this machine's iptables and kernel can do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from pycalico.kernel import command

Version = tuple[int, ...]


class Features(msgspec.Struct, frozen=True):
    """``restore_waits``: iptables-restore takes ``--wait``."""

    snat_fully_random: bool
    masquerade_fully_random: bool
    restore_waits: bool


_FIELDS = {
    "SNATFullyRandom": "snat_fully_random",
    "MASQFullyRandom": "masquerade_fully_random",
    "RestoreSupportsLock": "restore_waits",
}


def version(text: str) -> Version:
    """The first dotted number in ``text``; empty when there is none."""
    found = re.search(r"(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def detect(overrides: Mapping[str, bool]) -> Features:
    """``overrides`` by upstream's names (FeatureDetectOverride) win over what is found."""
    try:
        iptables = version(command.run(["iptables", "--version"]).out)
    except command.CommandError:
        iptables = ()
    return decide(iptables, version(os.uname().release), overrides)


def decide(iptables: Version, kernel: Version, overrides: Mapping[str, bool]) -> Features:
    """Limits as upstream's: SNAT --random-fully 1.6.0, MASQUERADE and --wait 1.6.2, both with kernel 3.14."""
    kernel_ok = kernel >= (3, 14)
    found = Features(
        snat_fully_random=kernel_ok and iptables >= (1, 6, 0),
        masquerade_fully_random=kernel_ok and iptables >= (1, 6, 2),
        restore_waits=iptables >= (1, 6, 2),
    )
    known = {_FIELDS[key]: value for key, value in overrides.items() if key in _FIELDS}
    return msgspec.structs.replace(found, **known)
