"""The table ``calico`` of one family: chains, verdict maps and sets, kept as wished by one transaction per change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from pycalico.dataplane.drivers.nft import compiler, members, refusals
from pycalico.dataplane.drivers.nft.changes import Changes
from pycalico.dataplane.drivers.nft.generation import Generation
from pycalico.dataplane.drivers.nft.members import Cover, NativeSet
from pycalico.dataplane.drivers.nft.objects import (
    CHAIN,
    MAP,
    MAP_KEYS,
    SET,
    TABLE,
    Content,
    NativeChain,
    NativeMap,
    Seen,
    SeenChain,
    SeenMap,
    SeenSet,
    map_text,
)
from pycalico.dataplane.drivers.nft.refusals import Denied
from pycalico.kernel import nftables
from pycalico.kernel.nfnetlink import Channel, NftablesError, Refusal
from pycalico.reconcile.target import Outcome, TargetError

log = logging.getLogger(__name__)

#: More new rules than this at once are written without asking for their handles, which then are read when needed.
_ECHO_MOST = 256
_RULE = 6
_ID = slice(5, 21)
_MARK = "cali:"
_ROUNDS_MOST = 200


class Held(msgspec.Struct, frozen=True):
    """How much is in the table."""

    chains: int
    rules: int
    maps: int
    sets: int


class NftTable:
    """A reconcile target whose keys are ``chain NAME``, ``map NAME`` and ``set NAME``.

    The table is ours as a whole: what is in it and not wished goes. A rule that the kernel refuses is replaced by
    one that drops all; a set or map that it refuses stays as it was.
    """

    def __init__(self, family: int, generation: Generation) -> None:
        self.family = family
        self.transactions = 0
        self.refusals = 0
        self.commit_s = 0.0
        """Seconds that all transactions took."""
        self.messages_written = 0
        self.rules_written = 0
        self.elements_written = 0
        self.reads = 0
        self.read_s = 0.0
        self.last_write_s: float | None = None
        self.wanted: Callable[[], dict[str, Content]] = dict
        """All wishes; set by who makes the reconciler."""
        self._generation = generation
        self._channel: Channel | None = None
        self._exists = False
        self._rebuild = False
        self._chains: dict[str, SeenChain] = {}
        self._maps: dict[str, SeenMap] = {}
        self._sets: dict[str, SeenSet] = {}

    @property
    def channel(self) -> Channel:
        """Made by the first thread that needs it, in that thread's network namespace."""
        if self._channel is None:
            self._channel = Channel()
        return self._channel

    @property
    def held(self) -> Held:
        """May be asked by any thread."""
        chains = list(self._chains.values())
        rules = sum(len(chain.ids) for chain in chains)
        return Held(len(chains), rules, len(self._maps), len(self._sets))

    def close(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None

    # ---- target

    def read(self) -> Mapping[str, Seen]:
        started = time.monotonic()
        try:
            found = self._read()
        except NftablesError as error:
            raise TargetError(f"nftables table {_title(self.family)}: {error.args[-1]}") from None
        self.reads += 1
        self.read_s = time.monotonic() - started
        return found

    def _read(self) -> dict[str, Seen]:
        channel, family = self.channel, self.family
        self._rebuild = False
        self._chains, self._maps, self._sets = {}, {}, {}
        self._exists = TABLE in nftables.tables(channel, family)
        if not self._exists:
            return {}
        ids: dict[str, list[str]] = {}
        handles: dict[str, list[int]] = {}
        hooks = nftables.chains(channel, family, TABLE)
        for rule in nftables.rules(channel, family, TABLE):
            ids.setdefault(rule.chain, []).append(_id_of(rule.comment))
            handles.setdefault(rule.chain, []).append(rule.handle)
        for name, hook in hooks.items():
            self._chains[name] = SeenChain(tuple(ids.get(name, ())), hook, handles.get(name, []))
        for seen in nftables.sets(channel, family, TABLE):
            listed = nftables.set_elements(channel, family, TABLE, seen.name)
            if seen.flags & nftables.MAP:
                of = next((of for of, key in MAP_KEYS.items() if key.type == seen.key_type), "")
                entries = {map_text(of, key): chain for key, _, chain in listed} if of else {}
                self._maps[seen.name] = SeenMap(entries, of)
                continue
            layout = members.layout_of(family, seen.key_type, interval=bool(seen.flags & nftables.INTERVAL))
            elements = members.parse(family, layout, listed) if layout else set()
            self._sets[seen.name] = SeenSet(layout, Cover(family), elements)
        every: dict[str, Seen] = {f"{CHAIN} {name}": chain for name, chain in self._chains.items()}
        every |= {f"{MAP} {name}": seen_map for name, seen_map in self._maps.items()}
        every |= {f"{SET} {name}": seen_set for name, seen_set in self._sets.items()}
        return every

    def same(self, want: Content, have: Seen) -> bool:
        if isinstance(want, NativeChain):
            return isinstance(have, SeenChain) and want.ids == have.ids and want.hook == have.hook
        if isinstance(want, NativeMap):
            return isinstance(have, SeenMap) and want.entries == have.entries and have.of == want.of
        if not isinstance(have, SeenSet):
            return False
        if have.elements is not None:
            if not members.fits(want.type, have.layout, has_nets=members.has_nets(want.members)):
                return False
            have.cover.load(want.members)
            if have.cover.top(want.members) != have.elements:
                return False
            # From now on the wisher's notes tell what differs; what was read need not be kept.
            have.elements = None
            want.touched = set()
        return not want.touched and want.touched is not None

    def apply(self, puts: Mapping[str, Content], deletes: AbstractSet[str]) -> Outcome[str, Seen]:
        """One transaction; when it is refused, one for all but the refused objects, which are in the failures."""
        doing = dict(puts)
        going = set(deletes)
        refused: dict[str, str] = {}
        denied: Denied = {}
        try:
            for attempt in range(_ROUNDS_MOST):
                every = self._with_users(doing)
                changes = self._plan(every, going, refused, denied)
                answer = self._commit(changes)
                if not answer:
                    self._note(changes, every, going, refused, denied)
                    return Outcome(self._now(puts, refused), refused)
                # What we believe to be there may be wrong: somebody else wrote. Only a refusal after a fresh look
                # is the object's own fault.
                self._forget_and_read(doing)
                if attempt:
                    culprits = self._culprits(changes, answer, doing, denied)
                    refusals.set_aside(culprits, doing, going, refused, denied)
        except NftablesError as error:
            raise TargetError(f"nftables table {_title(self.family)}: {error.args[-1]}") from None
        raise TargetError(f"nftables table {_title(self.family)}: the kernel refuses too much of it")

    def _now(self, puts: Mapping[str, Content], refused: Mapping[str, str]) -> dict[str, Seen]:
        now: dict[str, Seen] = {}
        for key in puts:
            kind, _, name = key.partition(" ")
            held = (self._chains if kind == CHAIN else self._maps if kind == MAP else self._sets).get(name)
            if key not in refused and held is not None:
                now[key] = held
        return now

    # ---- planning

    def _plan(
        self, puts: Mapping[str, Content], deletes: AbstractSet[str], refused: dict[str, str], denied: Denied
    ) -> Changes:
        """Raises NftablesError when the kernel must be asked and cannot be."""
        changes = Changes(self.family, exists=self._exists, rebuild=self._rebuild)
        echo = sum(len(w.ids) for w in puts.values() if isinstance(w, NativeChain)) <= _ECHO_MOST
        changes.echo = echo
        for key, want in puts.items():
            kind, _, name = key.partition(" ")
            changes.owner = key
            try:
                if isinstance(want, NativeChain):
                    self._plan_chain(changes, name, refusals.standing_in(want, denied.get(key)))
                elif isinstance(want, NativeMap):
                    have = None if self._rebuild else self._maps.get(name)
                    changes.put_map(name, want.entries, have.entries if have else None, want.of)
                else:
                    self._plan_set(changes, name, want)
            except ValueError as error:
                refused[key] = str(error)
                changes.drop(key)
                log.error("nftables: cannot program %s: %s; nothing passes it", key, error)
                if isinstance(want, NativeChain):
                    wrong = {text for text in want.rules if not self._compiles(name, text)}
                    denied.setdefault(key, set()).update(wrong)
                    self._plan_chain(changes, name, refusals.standing_in(want, denied[key]))
        for key in deletes:
            kind, _, name = key.partition(" ")
            changes.owner = key
            if not self._rebuild:
                changes.remove(kind, name, self._chains.get(name), self._maps.get(name))
        return changes

    def _compiles(self, chain: str, text: str) -> bool:
        try:
            compiler.compile_rule(self.family, chain.partition("-")[0], text)
        except ValueError:
            return False
        return True

    def _conflicts(self, key: str, want: Content) -> bool:
        """What is there under the name is of another make: only a table made anew can hold what is wished."""
        name = key.partition(" ")[2]
        if isinstance(want, NativeChain):
            chain = self._chains.get(name)
            return chain is not None and chain.hook != want.hook
        other = self._sets if isinstance(want, NativeMap) else self._maps
        if name in other:
            return True
        if isinstance(want, NativeMap):
            seen_map = self._maps.get(name)
            return seen_map is not None and seen_map.of != want.of
        seen_set = self._sets.get(name)
        return seen_set is not None and not members.fits(want.type, seen_set.layout, has_nets=False)

    def _plan_chain(self, changes: Changes, name: str, want: NativeChain) -> None:
        have = None if self._rebuild else self._chains.get(name)
        if have is not None and have.handles is None and have.ids:
            seen = list(nftables.rules(self.channel, self.family, TABLE, name))
            have = self._chains[name] = SeenChain(
                tuple(_id_of(rule.comment) for rule in seen), have.hook, [rule.handle for rule in seen]
            )
        changes.put_chain(name, want.rules, have, want.ids, want.hook)

    def _plan_set(self, changes: Changes, name: str, want: NativeSet) -> None:
        have = None if self._rebuild else self._sets.get(name)
        if have is not None and have.elements is None and want.touched is None:
            listed = nftables.set_elements(self.channel, self.family, TABLE, name)
            have.elements = members.parse(self.family, have.layout, listed)
        if have is None or self._outgrown(have, want):
            if have is not None:
                changes.remove_set(name)
            cover = Cover(self.family)
            cover.load(want.members)
            layout = members.layout_for(want.type, has_nets=members.has_nets(want.members))
            changes.put_set(name, layout, cover.top(want.members), (), make=True)
            changes.made[name] = SeenSet(layout, cover, None)
            return
        if have.elements is not None:
            have.cover.load(want.members)
            top = have.cover.top(want.members)
            changes.put_set(name, have.layout, top - have.elements, have.elements - top, make=False)
            return
        touched = want.touched or set()
        moves = have.cover.changes(want.members, touched & want.members, touched - want.members)
        added = [member for member, put in moves.items() if put]
        removed = [member for member, put in moves.items() if not put]
        changes.put_set(name, have.layout, added, removed, make=False)

    @staticmethod
    def _outgrown(have: SeenSet, want: NativeSet) -> bool:
        """The set holds addresses only, and now there is a net."""
        if have.layout != members.ADDRESS:
            return False
        news = want.members if have.elements is not None else (want.touched or set()) & want.members
        return members.has_nets(news)

    def _with_users(self, puts: Mapping[str, Content]) -> dict[str, Content]:
        """``puts``, and the chains whose rules look into sets that must be made anew: those rules are written again.

        All wishes where the table itself must be made anew.
        """
        if any(self._conflicts(key, want) for key, want in puts.items()):
            self._rebuild = True
        if self._rebuild:
            return self.wanted() | dict(puts)
        outgrown = []
        for key, want in puts.items():
            have = self._sets.get(key.partition(" ")[2]) if isinstance(want, NativeSet) else None
            if have is not None and isinstance(want, NativeSet) and self._outgrown(have, want):
                outgrown.append(f"--match-set {want.text} ")
        if not outgrown:
            return dict(puts)
        found = dict(puts)
        for key, want in (self.wanted() | dict(puts)).items():
            seen = self._chains.get(key.partition(" ")[2])
            if not isinstance(want, NativeChain) or seen is None:
                continue
            stale = {rule_id for text, rule_id in _pairs(want) if any(needle in text for needle in outgrown)}
            if stale:
                ids = tuple("" if rule_id in stale else rule_id for rule_id in seen.ids)
                self._chains[key.partition(" ")[2]] = SeenChain(ids, seen.hook, seen.handles)
                found[key] = want
        return found

    # ---- writing

    def _commit(self, changes: Changes) -> tuple[Refusal, ...]:
        given = changes.messages()
        if not given:
            return ()
        started = time.monotonic()
        answer = self.channel.commit(given)
        if answer.refusals:
            self.refusals += 1
            return answer.refusals
        self._generation.count_own()
        self.transactions += 1
        self.commit_s += time.monotonic() - started
        self.messages_written += len(given)
        self.rules_written += changes.rules_count
        self.elements_written += changes.elements_count
        self.last_write_s = time.monotonic()
        changes.echoed = [nftables.parse_rule(body) for kind, body in answer.echoes if kind == _RULE]
        return ()

    def _note(
        self,
        changes: Changes,
        puts: Mapping[str, Content],
        deletes: AbstractSet[str],
        refused: Mapping[str, str],
        denied: Denied,
    ) -> None:
        """What is there now."""
        if changes.rebuild:
            self._chains, self._maps, self._sets = {}, {}, {}
        self._rebuild = False
        self._exists = True
        handles = changes.new_handles()
        for key, want in puts.items():
            name = key.partition(" ")[2]
            if isinstance(want, NativeChain):
                written = refusals.standing_in(want, denied.get(key))
                self._chains[name] = SeenChain(written.ids, want.hook, handles.get(name))
            elif isinstance(want, NativeMap):
                self._maps[name] = SeenMap(dict(want.entries), want.of)
            elif key not in refused:
                made = changes.made.get(name)
                if made is not None:
                    self._sets[name] = made
                self._sets[name].elements = None
                want.touched = set()
        for key in deletes:
            kind, _, name = key.partition(" ")
            held: dict[str, SeenChain] | dict[str, SeenMap] | dict[str, SeenSet]
            held = {CHAIN: self._chains, MAP: self._maps, SET: self._sets}[kind]  # type: ignore[assignment]
            held.pop(name, None)

    def _forget_and_read(self, doing: Mapping[str, Content]) -> None:
        """Notes of wishers tell differences to what was believed; from a fresh read all is compared anew."""
        for want in doing.values():
            if isinstance(want, NativeSet):
                want.touched = None
        self._read()

    def _culprits(
        self, changes: Changes, refused: tuple[Refusal, ...], doing: Mapping[str, Content], denied: Denied
    ) -> refusals.Culprits:
        found = refusals.named(changes, refused, doing)
        if found:
            return found
        culprit = refusals.halved(doing, denied, lambda some: self._lands_without(some, doing, denied))
        reason = refused[0].reason
        if culprit is None:
            raise TargetError(f"nftables table {_title(self.family)} is refused as a whole: {reason}")
        key, text = culprit
        return {key: (reason, {text})}

    def _lands_without(
        self, suspects: list[tuple[str, str]], doing: Mapping[str, Content], denied: Denied
    ) -> bool:
        trial = {key: set(rules) for key, rules in denied.items()}
        for key, text in suspects:
            trial.setdefault(key, set()).add(text)
        ignored: dict[str, str] = {}
        changes = self._plan(doing, set(), ignored, trial)
        if self._commit(changes):
            return False
        self._note(changes, doing, set(), ignored, trial)
        return True


def _pairs(want: NativeChain) -> zip[tuple[str, str]]:
    return zip(want.rules, want.ids, strict=True)


def _id_of(comment: str) -> str:
    return comment[_ID] if comment.startswith(_MARK) else ""


def _title(family: int) -> str:
    return f"{'ip' if family == 4 else 'ip6'} {TABLE}"
