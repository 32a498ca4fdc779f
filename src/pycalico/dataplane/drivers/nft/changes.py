"""One transaction in the making: what goes first, then what comes, in an order that the kernel takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pycalico.dataplane.drivers.nft import members
from pycalico.dataplane.drivers.nft.compiler import AnonymousSet, compile_rule, rule_id
from pycalico.dataplane.drivers.nft.objects import (
    CHAIN,
    INTERFACES,
    MAP,
    MAP_KEYS,
    TABLE,
    SeenChain,
    SeenMap,
    SeenSet,
    map_key,
)
from pycalico.kernel import nftables, nftexpr
from pycalico.kernel.nfnetlink import Message
from pycalico.kernel.nftables import ANONYMOUS, CONSTANT, Hook, SeenRule

#: References are taken back before what they refer to goes; what is referred to is made before the references.
_UNREFER, _REMOVE, _MAKE, _FILL, _REFER, _DISPATCH = range(6)


class Changes:
    """``owner`` is the key that messages added from now on belong to."""

    def __init__(self, family: int, *, exists: bool, rebuild: bool, table: str = TABLE) -> None:
        self.family = family
        self.table = table
        self.rebuild = rebuild and exists
        self.owner = ""
        self.echo = False
        self.echoed: list[SeenRule] = []
        self.made: dict[str, SeenSet] = {}
        self.rules_count = 0
        self.elements_count = 0
        self._phases: list[list[tuple[str, str, Message]]] = [[] for _ in range(6)]
        self._owners: list[tuple[str, str]] = []
        self._head: list[Message] = []
        self._layouts: dict[str, tuple[list[int] | None, int, int]] = {}
        self._set_id = 0
        if self.rebuild:
            self._head.append(nftables.delete_table(family, self.table))
        if self.rebuild or not exists:
            self._head.append(nftables.new_table(family, self.table))

    def _add(self, phase: int, *given: Message, rule: str = "") -> None:
        self._phases[phase] += [(self.owner, rule, message) for message in given]

    def drop(self, owner: str) -> None:
        """Takes back all that belongs to ``owner``."""
        self._phases = [[part for part in phase if part[0] != owner] for phase in self._phases]

    def messages(self) -> list[Message]:
        """In order. A table that is to be made is no change if nothing goes into it."""
        parts = [part for phase in self._phases for part in phase]
        if not parts and not self.rebuild:
            return []
        self._owners = [("", "")] * len(self._head) + [(owner, rule) for owner, rule, _ in parts]
        return [*self._head, *(message for _, _, message in parts)]

    def owner_of(self, index: int) -> tuple[str, str]:
        """The key that the message belongs to, and the text of the rule that it is for, if any."""
        return self._owners[index] if index < len(self._owners) else ("", "")

    # ---- chains

    def put_chain(
        self,
        name: str,
        rules: Sequence[str],
        have: SeenChain | None,
        ids: Sequence[str] | None = None,
        hook: Hook | None = None,
    ) -> None:
        """Only rules that differ are written: what is equal at both ends of the chain stays. Raises CompileError."""
        ids = [rule_id(text) for text in rules] if ids is None else ids
        held = have.ids if have else ()
        handles = (have.handles or []) if have else []
        first = _common(held, ids)
        last = _common(held[first:][::-1], ids[first:][::-1])
        before = handles[len(held) - last] if last else 0
        new = [
            (text, list(self._rule_messages(name, text, before))) for text in rules[first : len(rules) - last]
        ]
        if have is None:
            self._add(_MAKE, nftables.new_chain(self.family, self.table, name, hook))
        if have is not None and not first and not last and held:
            self._add(_UNREFER, nftables.flush_chain(self.family, self.table, name))
        else:
            gone = handles[first : len(held) - last]
            self._add(_UNREFER, *(nftables.delete_rule(self.family, self.table, name, one) for one in gone))
        for text, messages in new:
            self._add(_REFER, *messages, rule=text)
        self._layouts[name] = (handles if len(handles) == len(held) else None, first, last)

    def _rule_messages(self, chain: str, text: str, before: int) -> Iterator[Message]:
        table = chain.partition("-")[0]
        compiled = compile_rule(self.family, table, text)
        expressions = b""
        for part in compiled.parts:
            if isinstance(part, AnonymousSet):
                yield from self._anonymous(part)
                expressions += nftexpr.lookup("__set%d", negated=part.negated, set_id=self._set_id)
            else:
                expressions += part
        self.rules_count += 1
        yield nftables.new_rule(
            self.family, self.table, chain, expressions, compiled.comment, before=before, echo=self.echo
        )

    def _anonymous(self, part: AnonymousSet) -> Iterator[Message]:
        self._set_id += 1
        yield nftables.new_set(
            self.family,
            self.table,
            "__set%d",
            part.key,
            self._set_id,
            flags=ANONYMOUS | CONSTANT,
            size=len(part.elements),
        )
        yield from nftables.elements(self.family, self.table, "__set%d", part.elements, set_id=self._set_id)

    def new_handles(self) -> dict[str, list[int]]:
        """The handles of each written chain's rules, as far as the kernel told them."""
        told: dict[str, list[int]] = {}
        for rule in self.echoed:
            told.setdefault(rule.chain, []).append(rule.handle)
        found: dict[str, list[int]] = {}
        for name, (handles, first, last) in self._layouts.items():
            if handles is not None and (self.echo or not self.rules_count):
                found[name] = [*handles[:first], *told.get(name, ()), *handles[len(handles) - last :]]
        return found

    # ---- maps

    def put_map(
        self, name: str, wanted: Mapping[str, str], have: Mapping[str, str] | None, of: str = INTERFACES
    ) -> None:
        if have is None:
            self._set_id += 1
            made = nftables.new_set(self.family, self.table, name, MAP_KEYS[of], self._set_id, verdicts=True)
            self._add(_MAKE, made)
        have = have or {}
        gone = [item for item in have.items() if wanted.get(item[0]) != item[1]]
        new = [item for item in wanted.items() if have.get(item[0]) != item[1]]
        self._add(_UNREFER, *self._map_elements(name, of, gone, delete=True))
        self._add(_DISPATCH, *self._map_elements(name, of, new, delete=False))

    def _map_elements(
        self, name: str, of: str, entries: Iterable[tuple[str, str]], *, delete: bool
    ) -> Iterator[Message]:
        listed = [
            nftables.element(map_key(of, text), verdict=(nftexpr.GOTO, chain)) for text, chain in entries
        ]
        self.elements_count += len(listed)
        return nftables.elements(self.family, self.table, name, listed, delete=delete)

    # ---- sets

    def put_set(
        self, name: str, layout: str, added: Iterable[str], removed: Iterable[str], *, make: bool
    ) -> None:
        """Raises ValueError for what is no member."""
        if make:
            self._set_id += 1
            key = members.key_of(self.family, layout)
            self._add(_MAKE, nftables.new_set(self.family, self.table, name, key, self._set_id))
        self._add(_FILL, *self._set_elements(name, layout, removed, delete=True))
        self._add(_FILL, *self._set_elements(name, layout, added, delete=False))

    def _set_elements(
        self, name: str, layout: str, given: Iterable[str], *, delete: bool
    ) -> Iterator[Message]:
        listed = [item for member in given for item in members.elements(self.family, layout, member)]
        self.elements_count += len(listed)
        return nftables.elements(self.family, self.table, name, listed, delete=delete)

    def remove_set(self, name: str) -> None:
        """Before one of the same name is made."""
        self._add(_REMOVE, nftables.delete_set(self.family, self.table, name))

    # ---- what goes

    def remove(self, kind: str, name: str, chain: SeenChain | None, seen_map: SeenMap | None) -> None:
        if kind == CHAIN:
            if chain and chain.ids:
                self._add(_UNREFER, nftables.flush_chain(self.family, self.table, name))
            self._add(_REMOVE, nftables.delete_chain(self.family, self.table, name))
            return
        if kind == MAP and seen_map and seen_map.entries:
            self._add(_UNREFER, nftables.flush_set(self.family, self.table, name))
        # Maps refer to chains, so they go before them.
        self._phases[_REMOVE].insert(0, (self.owner, "", nftables.delete_set(self.family, self.table, name)))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many are equal at the start; what is nobody's is equal to nothing."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right or not left:
            break
        count += 1
    return count
