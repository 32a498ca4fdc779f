"""Which object or rule a refused transaction is refused for, and what stands in its place."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from pycalico.dataplane.drivers.nft import compiler
from pycalico.dataplane.drivers.nft.changes import Changes
from pycalico.dataplane.drivers.nft.objects import Content, NativeChain
from pycalico.kernel.nfnetlink import Refusal

log = logging.getLogger(__name__)

_OF_POLICY = re.compile("(Policy|Profile) ")
_LOOPS = (errno.EMLINK, errno.ELOOP)
#: Refused rules, by key of their chain.
Denied = dict[str, set[str]]
#: By key, the reason and which rules, as wished.
Culprits = dict[str, tuple[str, set[str]]]


def standing_in(want: NativeChain, denied: AbstractSet[str] | None) -> NativeChain:
    """With rules that drop all in place of those that cannot be."""
    if not denied:
        return want
    rules = tuple(_denial(text) if text in denied else text for text in want.rules)
    return NativeChain(rules, tuple(compiler.rule_id(text) for text in rules), want.hook)


def _denial(text: str) -> str:
    notes = compiler.notes_of(text)
    return f'-m comment --comment "Drop: the kernel refused {notes or "this rule"}" --jump DROP'


def named(changes: Changes, refusals: tuple[Refusal, ...], doing: Mapping[str, Content]) -> Culprits:
    """Those that the kernel named; none where it only says that the whole cannot be.

    What is refused for want of another object is not at fault if another is; what closes a loop is not what should
    not be in it.
    """
    told = [
        (*changes.owner_of(refusal.index), refusal)
        for refusal in refusals
        if refusal.index >= 0 and refusal.code not in _LOOPS
    ]
    roots = [item for item in told if item[2].code != errno.ENOENT] or told[:1]
    found: Culprits = {}
    for key, rule, refusal in roots:
        if key:
            found.setdefault(key, (refusal.reason, set()))[1].add(rule)
    for key, (_, rules) in found.items():
        want = doing.get(key)
        if isinstance(want, NativeChain) and not rules <= set(want.rules):
            rules.update(want.rules)
    return found


def halved(
    doing: Mapping[str, Content],
    denied: Denied,
    lands_without: Callable[[list[tuple[str, str]]], bool],
) -> tuple[str, str] | None:
    """The key and the rule at fault: half of the rules deny until one is left. None where there is no rule.

    What loops or nests too deeply shows at a transaction's end only, which cannot be rehearsed, so halves that the
    kernel takes are there until the next step.
    """
    suspects = sorted(
        {
            (key, text)
            for key, want in doing.items()
            if isinstance(want, NativeChain) and not want.hook
            for text in want.rules
            if text not in denied.get(key, ())
        }
    )
    # What users wrote is at fault rather than what leads there.
    theirs = [pair for pair in suspects if _OF_POLICY.search(compiler.notes_of(pair[1]))]
    if theirs and lands_without(theirs):
        suspects = theirs
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        suspects = half if lands_without(half) else suspects[len(half) :]
    return suspects[0] if suspects else None


def set_aside(
    culprits: Culprits, doing: dict[str, Content], going: set[str], refused: dict[str, str], denied: Denied
) -> None:
    """Takes what is at fault out of what is done: out of ``doing`` and ``going``, or into ``denied``."""
    for key, (reason, rules) in culprits.items():
        want = doing.get(key)
        if key in going:
            refused[key] = reason
            going.discard(key)
            log.error("nftables: the kernel does not remove %s: %s", key, reason)
        elif isinstance(want, NativeChain) and want.hook is None and not rules <= denied.get(key, set()):
            notes = "; ".join(sorted(filter(None, map(compiler.notes_of, rules))))
            refused[key] = f"{reason}: {notes}" if notes else reason
            denied.setdefault(key, set()).update(rules)
            log.error("nftables: the kernel refuses %s: %s; nothing passes it", key, refused[key])
        else:
            # Even what stands in for it is refused, or nothing can.
            refused.setdefault(key, reason)
            log.error("nftables: the kernel refuses %s: %s; it stays as it was", key, reason)
            doing.pop(key, None)
