"""Which items match which selectors, kept up to date change by change.

An item has labels of its own and inherits those of its parents (profiles) for keys that it does not have,
earlier parents first. A change costs in proportion to what it touches: items are found by the labels that a
selector cannot match without, selectors by the labels that an item has.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from pycalico.api.selector import And, Compare, Has, InSet, Or, Selector

Item = TypeVar("Item", bound=Hashable)
Match = TypeVar("Match", bound=Hashable)
Place = TypeVar("Place", bound=Hashable)
#: A label that must be there, with the values it may have (None: any).
Need = tuple[str, frozenset[str] | None]


def needs_of(selector: Selector) -> tuple[tuple[Need, ...], bool]:
    """Labels without any one of which ``selector`` matches nothing; True where it asks for nothing else."""
    if isinstance(selector, Compare):
        if selector.operator == "==":
            return ((selector.key, frozenset((selector.value,))),), True
        return (() if selector.operator == "!=" else ((selector.key, None),)), False
    if isinstance(selector, InSet):
        return (
            () if selector.negated else ((selector.key, frozenset(selector.values)),)
        ), not selector.negated
    if isinstance(selector, Has):
        return ((selector.key, None),), True
    if isinstance(selector, And):
        found = [needs_of(operand) for operand in selector.operands]
        return tuple(need for needs, _ in found for need in needs), all(whole for _, whole in found)
    if isinstance(selector, Or):
        need = _common([need_of(operand) for operand in selector.operands])
        return ((need,) if need else ()), False
    return (), False


def need_of(selector: Selector) -> Need | None:
    """The one of `needs_of` that most likely few items have."""
    return min(needs_of(selector)[0], key=_breadth, default=None)


def _breadth(need: Need) -> tuple[int, bool]:
    # A pod's namespace says less than its other labels, since whole namespaces share it.
    common = need[0].startswith("projectcalico.org/")
    return (len(need[1]) if need[1] is not None else 1 << 30, common)


def _common(needs: list[Need | None]) -> Need | None:
    values: set[str] = set()
    key: str | None = None
    unbounded = False
    for need in needs:
        if need is None or (key is not None and need[0] != key):
            return None
        key = need[0]
        if need[1] is None:
            unbounded = True
        else:
            values |= need[1]
    return None if key is None else (key, None if unbounded else frozenset(values))


class _Record(Generic[Match]):
    __slots__ = ("effective", "matches", "own", "parents")

    def __init__(self, own: Mapping[str, str], parents: tuple[str, ...]) -> None:
        self.own = own
        self.parents = parents
        self.effective: dict[str, str] = {}
        self.matches: set[Match] = set()


class LabelIndex(Generic[Item, Match]):
    """Items by ``Item``, selectors by ``Match``. Methods yield (match, item, began) for each match begun or ended."""

    def __init__(self) -> None:
        self._items: dict[Item, _Record[Match]] = {}
        self._children: dict[str, dict[Item, None]] = {}
        self._parents: dict[str, Mapping[str, str]] = {}
        self._with_value: dict[tuple[str, str], dict[Item, None]] = {}
        self._with_key: dict[str, dict[Item, None]] = {}
        self._selectors: dict[Match, Selector] = {}
        self._matching: dict[Match, dict[Item, None]] = {}
        self._wanting_value: dict[tuple[str, str], dict[Match, None]] = {}
        self._wanting_key: dict[str, dict[Match, None]] = {}
        self._wanting_anything: dict[Match, None] = {}
        #: How often a selector was held against labels: in vain, and with a match.
        self.misses = self.hits = 0
        #: How the items for a new selector were found, and how often.
        self.searches = {"all": 0, "label": 0, "value": 0, "values": 0}

    def items_of(self, match: Match) -> Iterable[Item]:
        return self._matching.get(match, {}).keys()

    def matches_of(self, item: Item) -> Iterable[Match]:
        record = self._items.get(item)
        return record.matches if record is not None else ()

    def sizes(self) -> tuple[int, int]:
        """How many items and how many selectors."""
        return len(self._items), len(self._selectors)

    @property
    def slow_selectors(self) -> int:
        """Selectors that every item is held against."""
        return len(self._wanting_anything)

    def __contains__(self, item: Item) -> bool:
        return item in self._items

    # ---- items

    def put(
        self, item: Item, labels: Mapping[str, str], parents: tuple[str, ...]
    ) -> list[tuple[Match, Item, bool]]:
        old = self._items.get(item)
        if old is not None and old.own == labels and old.parents == parents:
            return []
        record = old or _Record(labels, parents)
        if old is not None:
            for parent in old.parents:
                self._children[parent].pop(item, None)
        record.own, record.parents = labels, parents
        self._items[item] = record
        for parent in parents:
            self._children.setdefault(parent, {})[item] = None
        return list(self._relabel(item, record))

    def remove(self, item: Item) -> list[tuple[Match, Item, bool]]:
        record = self._items.pop(item, None)
        if record is None:
            return []
        for parent in record.parents:
            self._children[parent].pop(item, None)
        self._unindex(item, record.effective)
        for match in record.matches:
            self._matching[match].pop(item, None)
        return [(match, item, False) for match in record.matches]

    def put_parent(self, parent: str, labels: Mapping[str, str]) -> list[tuple[Match, Item, bool]]:
        if self._parents.get(parent, {}) == labels:
            return []
        self._parents[parent] = labels
        return self._relabel_children(parent)

    def remove_parent(self, parent: str) -> list[tuple[Match, Item, bool]]:
        if not self._parents.pop(parent, None):
            return []
        return self._relabel_children(parent)

    def _relabel_children(self, parent: str) -> list[tuple[Match, Item, bool]]:
        return [
            event
            for item in list(self._children.get(parent, ()))
            for event in self._relabel(item, self._items[item])
        ]

    def _relabel(self, item: Item, record: _Record[Match]) -> Iterator[tuple[Match, Item, bool]]:
        effective = dict(record.own)
        for parent in record.parents:
            for key, value in self._parents.get(parent, {}).items():
                effective.setdefault(key, value)
        before = record.effective
        if effective == before and item in self._items and record.matches:
            return
        self._unindex(item, before)
        record.effective = effective
        for key, value in effective.items():
            self._with_value.setdefault((key, value), {})[item] = None
            self._with_key.setdefault(key, {})[item] = None
        candidates = self._candidates(effective)
        now = {match for match in candidates if self._selectors[match].matches(effective)}
        self.hits += len(now)
        self.misses += len(candidates) - len(now)
        for match in record.matches - now:
            self._matching[match].pop(item, None)
            yield match, item, False
        for match in now - record.matches:
            self._matching[match][item] = None
            yield match, item, True
        record.matches = now

    def _unindex(self, item: Item, labels: Mapping[str, str]) -> None:
        for key, value in labels.items():
            _drop(self._with_value, (key, value), item)
            _drop(self._with_key, key, item)

    def _candidates(self, labels: Mapping[str, str]) -> set[Match]:
        found = set(self._wanting_anything)
        for key, value in labels.items():
            found.update(self._wanting_key.get(key, ()))
            found.update(self._wanting_value.get((key, value), ()))
        return found

    # ---- selectors

    def add(self, match: Match, selector: Selector) -> list[tuple[Match, Item, bool]]:
        """Starts to follow ``selector`` under the name ``match``, which must be new."""
        self._selectors[match] = selector
        matching = self._matching[match] = {}
        need = need_of(selector)
        for place in self._places(need):
            place[match] = None
        events = []
        needs, whole = needs_of(selector)
        searched = self._searched(needs)
        for item in searched:
            record = self._items[item]
            if whole or selector.matches(record.effective):
                record.matches.add(match)
                matching[item] = None
                events.append((match, item, True))
        self.hits += len(events)
        self.misses += len(searched) - len(events)
        return events

    def discard(self, match: Match) -> list[tuple[Match, Item, bool]]:
        selector = self._selectors.pop(match, None)
        if selector is None:
            return []
        for place in self._places(need_of(selector)):
            place.pop(match, None)
        gone = self._matching.pop(match)
        for item in gone:
            self._items[item].matches.discard(match)
        return [(match, item, False) for item in gone]

    def _places(self, need: Need | None) -> list[dict[Match, None]]:
        if need is None:
            return [self._wanting_anything]
        key, values = need
        if values is None:
            return [self._wanting_key.setdefault(key, {})]
        return [self._wanting_value.setdefault((key, value), {}) for value in values]

    def _searched(self, needs: Sequence[Need]) -> list[Item]:
        """Items that have all of ``needs``; starts from the one that fewest have."""
        found = sorted(((need, self._having(need)) for need in needs), key=_population)
        if not found:
            self.searches["all"] += 1
            return list(self._items)
        (rarest, places), *others = found
        self.searches[_search(rarest)] += 1
        # An item has one value of a label: no item is in two of the places.
        items = [item for place in places for item in place]
        for _, places in others:
            if len(places) == 1:
                (place,) = places
                items = [item for item in items if item in place]
            else:
                items = [item for item in items if any(item in place for place in places)]
        return items

    def _having(self, need: Need) -> list[dict[Item, None]]:
        key, values = need
        if values is None:
            return [self._with_key.get(key, {})]
        return [self._with_value.get((key, value), {}) for value in values]


def _population(found: tuple[Need, list[dict[Item, None]]]) -> int:
    return sum(map(len, found[1]))


def _search(need: Need) -> str:
    if need[1] is None:
        return "label"
    return "value" if len(need[1]) == 1 else "values"


def _drop(index: dict[Place, dict[Item, None]], place: Place, item: Item) -> None:
    listed = index[place]
    listed.pop(item, None)
    if not listed:
        del index[place]
