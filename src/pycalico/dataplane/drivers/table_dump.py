"""Reads what iptables-save prints."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from pycalico.reconcile.target import TargetError

_HASH = re.compile(r'--comment "?cali:([a-zA-Z0-9_-]+)"?')
#: What very old versions of Felix inserted, without a hash.
_JUMP_TO_OURS = re.compile(
    r"(?:-j|--jump|-g|--goto) (?:cali-|califw-|calitw-|califh-|calith-|calipi-|calipo-|felix-)"
)
_OLD_NAT = re.compile(
    r"-A POSTROUTING .* felix-masq-ipam-pools .*"
    r"|-A POSTROUTING -o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE"
)
_INCOMPATIBLE = "# Table `"
FOREIGN = ""
OLD = "(old)"


class SeenChain(msgspec.Struct, frozen=True):
    """``ids`` holds a hash for each rule, FOREIGN for others' rules. ``lines`` holds, for chains that are not
    ours, the full text of our rules by position, which deleting them needs.
    """

    ids: tuple[str, ...]
    lines: dict[int, str] = {}


def parse(text: str, table: str, is_ours: Callable[[str], bool]) -> dict[str, SeenChain]:
    """All chains of ``table``. Raises TargetError when the dump is cut off or of rules that it cannot express."""
    ids: dict[str, list[str]] = {}
    lines: dict[str, dict[int, str]] = {}
    inside = complete = False
    for line in text.splitlines():
        if line.startswith("-A ") and inside:
            chain = line.split(" ", 2)[1]
            rule_id = _identify(line, table)
            chain_ids = ids.setdefault(chain, [])
            if rule_id and not is_ours(chain):
                lines.setdefault(chain, {})[len(chain_ids)] = line
            chain_ids.append(rule_id)
        elif line.startswith(":") and inside:
            ids.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("*"):
            inside = line[1:].strip() == table
        elif line == "COMMIT":
            complete = complete or inside
            inside = False
        elif line.startswith(_INCOMPATIBLE) and "incompatible" in line:
            raise TargetError(
                f"table {table} holds nft rules that iptables cannot express: remove them with nft"
            )
    if text.strip() and not complete and inside:
        raise TargetError(f"the dump of table {table} is cut off")
    return {chain: SeenChain(tuple(ids[chain]), lines.get(chain, {})) for chain in ids}


def _identify(line: str, table: str) -> str:
    found = _HASH.search(line)
    if found:
        return found.group(1)
    if _JUMP_TO_OURS.search(line) or (table == "nat" and _OLD_NAT.search(line)):
        return OLD
    return FOREIGN
