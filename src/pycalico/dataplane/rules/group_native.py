"""A group of policies for nf_tables: their rules in one row, cut so that a packet meets few of them.

Packets are told apart twice, and what may match keeps its order throughout:

- by protocol and the lowest bits of the destination port: a map leads to a chain of the rules that name such a port and
  those that may concern any;
- where many rules that follow each other each have a set of peers: runs of them are a chain that only packets enter
  whose peer is in one of the run's sets, which are united in a set for that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import msgspec

from pycalico.dataplane.rules import action, match
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.group import PolicyGroup
from pycalico.dataplane.rules.policy import policy_chain_name
from pycalico.dataplane.rules.units import PORTS_MOST, Unit

#: A policy of more rules than this has a chain of its own, that several groups may share.
_INLINE_MOST = 16
#: A row of fewer rules is not cut; one slot of the map is for so many rules.
_CUT_FROM, _SLOT_RULES, _SLOTS_MOST = 24, 8, 1024
#: Rules that the map may cost for each rule.
_COPIES_MOST = 4
#: Rules of a run: at least, at most, and one in so many begins the next.
_RUN_LEAST, _RUN_MOST, _RUN_ODDS = 6, 24, 8

T = TypeVar("T")


class Rendered(msgspec.Struct, frozen=True):
    """``unions`` are sets to be made of other sets: name -> names, as identifiers of IP sets."""

    chains: tuple[Chain, ...]
    unions: dict[str, tuple[str, ...]]


class _Item(msgspec.Struct, gc=False):
    """A unit of a policy; ``place`` is its number there."""

    unit: Unit
    policy: str
    place: int

    @property
    def seed(self) -> bytes:
        """Twenty-eight bytes, the same as long as the unit is the policy's at this place."""
        return hashlib.sha224(f"{self.policy} {self.place}".encode()).digest()


class _Run(msgspec.Struct):
    """Items, or runs of them, behind a guard. ``seed`` is the first item's."""

    seed: bytes
    peers: frozenset[str]
    level: int
    within: list[_Item] | list[_Run]


def render_native_group(
    context: RuleContext, given: PolicyGroup, units_of: Callable[[str], Sequence[Unit]]
) -> Rendered:
    """``units_of`` a policy's name, in the group's direction."""
    items = list(_items(context, given, units_of))
    rows = _Rows(context, "src" if given.inbound else "dst")
    name = given.chain_name
    slots = _slots([item.unit for item in items])
    if not slots:
        rows.put(name, items)
        return Rendered(tuple(rows.chains), rows.unions)
    keys = [_keys(item.unit, slots) for item in items]
    by_slot: dict[tuple[str, int], list[_Item]] = {key: [] for found in keys for key in found}
    for item, found in zip(items, keys, strict=True):
        for key in found or by_slot:
            by_slot[key].append(item)
    for (protocol, slot), concerned in by_slot.items():
        rows.put(f"{name}-{protocol}-{slot}", concerned)
    entries = tuple(
        match.rule(
            match.protocol(protocol), match.port("dst", slot), action.goto(f"{name}-{protocol}-{slot}")
        )
        for protocol, slot in sorted(by_slot)
    )
    rows.chains.append(Chain(f"@{name}", entries))
    anyway = [item for item, found in zip(items, keys, strict=True) if not found]
    rows.put(name, anyway, first=(match.in_port_map(slots - 1, f"@{name}"),))
    return Rendered(tuple(rows.chains), rows.unions)


def _items(
    context: RuleContext, given: PolicyGroup, units_of: Callable[[str], Sequence[Unit]]
) -> Iterator[_Item]:
    """What equals a rule before it that decides can match nothing any more, and is left out."""
    met: set[str] = set()
    for policy in given.policies:
        units = units_of(policy)
        if len(units) > _INLINE_MOST:
            units = _jump(context, given.inbound, policy, units)
        for index, unit in enumerate(units):
            if unit.body in met:
                continue
            if unit.decides:
                met.add(unit.body)
            yield _Item(unit, policy, index)


def _jump(context: RuleContext, inbound: bool, policy: str, units: Sequence[Unit]) -> tuple[Unit, ...]:
    """In place of the policy's own rules; only what concerns them all is needed here."""
    target = action.jump(policy_chain_name(inbound, policy))
    verdict = match.rule(
        match.comment("Return on verdict"),
        match.mark_not_clear(context.marks.accept | context.marks.passed),
        action.RETURN,
    )
    protocols = {unit.protocol for unit in units}
    ports = tuple(dict.fromkeys(item for unit in units for item in unit.ports))
    keyed = len(protocols) == 1 and "" not in protocols
    one = Unit(
        (target, verdict), f"{target}\n{verdict}", protocols.pop() if keyed else "", ports if keyed else ()
    )
    return (one if one.port_count <= PORTS_MOST else Unit(one.lines, one.body),)


# ---- by port


def _keys(unit: Unit, slots: int) -> list[tuple[str, int]]:
    """Protocol and slot of each port that the unit concerns; empty: any."""
    if len(unit.ports) == 1 and unit.ports[0].first == unit.ports[0].last:
        return [(unit.protocol, unit.ports[0].first % slots)]
    found = {port % slots for ports in unit.ports for port in range(ports.first, ports.last + 1)}
    return [(unit.protocol, slot) for slot in sorted(found)]


def _slots(units: Sequence[Unit]) -> int:
    """How many, a power of two; 0 where a map is not worth what it costs."""
    if len(units) < _CUT_FROM:
        return 0
    keyed = [unit for unit in units if unit.protocol]
    anyway = len(units) - len(keyed)
    counts = [unit.port_count for unit in keyed]
    protocols = len({unit.protocol for unit in keyed})
    slots = min(_SLOTS_MOST, 1 << (len(keyed) // _SLOT_RULES).bit_length())
    while slots > 1:
        chains = min(slots * protocols, sum(counts))
        if sum(min(count, slots) for count in counts) + anyway * chains <= _COPIES_MOST * len(units):
            return slots
        slots //= 2
    return 0


# ---- by peer


class _Rows:
    def __init__(self, context: RuleContext, side: str) -> None:
        self.chains: list[Chain] = []
        self.unions: dict[str, tuple[str, ...]] = {}
        self._context = context
        self._side = side
        verdicts = context.marks.accept | context.marks.passed
        self._undecided = match.mark_clear(verdicts)
        self._verdict = match.rule(
            match.comment("Return on verdict"), match.mark_not_clear(verdicts), action.RETURN
        )

    def put(self, name: str, items: Sequence[_Item], first: tuple[str, ...] = ()) -> None:
        lines = list(first)
        guarded = False
        for has_peers, run in groupby(items, lambda item: bool(item.unit.peers)):
            held = list(run)
            if guarded:
                lines.append(self._verdict)
            guarded = has_peers and _is_worth_guards(held)
            if guarded:
                lines += [self._guard(name, node) for node in _cut(held)]
            else:
                lines += [line for item in held for line in item.unit.lines]
        self.chains.append(Chain(name, tuple(lines)))

    def _guard(self, root: str, run: _Run) -> str:
        """The run has a chain, named by its first rule: with one rule more inside, little is another."""
        told = f"{root} {run.level} ".encode() + run.seed
        uid = base64.b32encode(hashlib.sha224(told).digest())[:20].decode().lower()
        union = f"u:{uid}"
        chain = f"{root}-{uid}"
        self.unions[union] = tuple(sorted(run.peers))
        lines: list[str] = []
        for node in run.within:
            lines += [self._guard(root, node)] if isinstance(node, _Run) else node.unit.lines
        self.chains.append(Chain(chain, tuple(lines)))
        inside = match.in_set(self._context.set_name(union), self._side)
        return match.rule(self._undecided, inside, action.jump(chain))


def _is_worth_guards(items: Sequence[_Item]) -> bool:
    return len(items) >= _CUT_FROM and len({item.unit.peers for item in items}) > len(items) // 2


def _cut(items: list[_Item]) -> list[_Run]:
    """Runs of runs, until few are left. Where one begins depends on the items around only."""
    seeded = [(item, item.seed) for item in items]
    runs = [
        _Run(run[0][1], frozenset(item.unit.peers for item, _ in run), 0, [item for item, _ in run])
        for run in _runs(seeded, 0)
    ]
    level = 0
    while len(runs) > _RUN_MOST:
        level += 1
        runs = [
            _Run(
                held[0][1],
                frozenset().union(*(run.peers for run, _ in held)),
                level,
                [run for run, _ in held],
            )
            for held in _runs([(run, run.seed) for run in runs], level)
        ]
    return runs


def _runs(seeded: Sequence[tuple[T, bytes]], level: int) -> Iterator[list[tuple[T, bytes]]]:
    """Each level looks at another byte, or all that begin a run would begin one of the next level."""
    run: list[tuple[T, bytes]] = []
    for pair in seeded:
        if len(run) >= _RUN_MOST or (len(run) >= _RUN_LEAST and pair[1][level] % _RUN_ODDS == 0):
            yield run
            run = []
        run.append(pair)
    yield run
