"""One table of one family, kept equal to wished chains by the smallest iptables-restore input."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import nullcontext

import msgspec

from pycalico.dataplane.drivers.backend import Programs
from pycalico.dataplane.drivers.chains import OUR_CHAIN, Content, KernelChain, OwnChain, own_chain
from pycalico.dataplane.drivers.table_dump import FOREIGN, SeenChain, TableParser
from pycalico.dataplane.drivers.xtables_lock import LockHeld, XtablesLock
from pycalico.dataplane.rules import action
from pycalico.dataplane.rules.chain import Chain, programmed
from pycalico.kernel import command
from pycalico.reconcile.target import Outcome, TargetError

log = logging.getLogger(__name__)

_SAVE_TRIES, _SAVE_WAIT_S = 3, 0.1
_RESTORE_TRIES, _RESTORE_WAIT_S = 10, 0.001
_LINE = re.compile(r"\bline:? (\d+)")
BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


class Options(msgspec.Struct, frozen=True):
    """``insert``: our rules stand before others' in kernel chains, else behind. Empty ``wait``: no --wait.

    A dump that takes longer than ``save_timeout_s`` counts as failed: three of them end before the watchdog does.
    """

    insert: bool = True
    wait: tuple[str, ...] = ()
    lock: XtablesLock | None = None
    save_timeout_s: float = 25.0


class Table:
    """A reconcile target whose keys are chains. Deletes and puts go into one transaction.

    Legacy iptables takes single rules by number; the nft variant rewrites a changed chain as a whole, as its
    numbering is not to be trusted in a batch (upstream does so too), and deletes chains in a second transaction.
    """

    def __init__(self, name: str, programs: Programs, options: Options) -> None:
        self.name = name
        self.programs = programs
        self.inputs = 0
        self.lines_written = 0
        self.slowest_save_s = 0.0
        self.slowest_restore_s = 0.0
        self.last_write_s: float | None = None
        #: Process numbers of the last programs that wrote for us.
        self.writers: deque[int] = deque(maxlen=20)
        self._options = options
        self._parser = TableParser(name, lambda chain: bool(OUR_CHAIN.match(chain)))
        self._seen: dict[str, SeenChain] = {}

    # ---- target

    def read(self) -> Mapping[str, SeenChain]:
        """Our chains, and the kernel chains with whatever is ours in them."""
        self._seen = self._dump()
        built_in = BUILT_IN[self.name]
        # In nft a table that nobody uses yet has no chains at all.
        for chain in built_in:
            self._seen.setdefault(chain, SeenChain(()))
        return {chain: seen for chain, seen in self._seen.items() if self._concerns_us(chain, seen)}

    @staticmethod
    def _concerns_us(chain: str, seen: SeenChain) -> bool:
        return bool(OUR_CHAIN.match(chain)) or bool(seen.lines)

    def same(self, want: Content, have: SeenChain) -> bool:
        return self._expected(want, have) == have.ids

    def _expected(self, want: Content, have: SeenChain | None) -> tuple[str, ...]:
        if isinstance(want, OwnChain):
            return want.ids
        foreign = (FOREIGN,) * (have.ids.count(FOREIGN) if have else 0)
        first, last = (want.inserted.ids, foreign) if self._options.insert else (foreign, want.inserted.ids)
        return (*first, *last, *want.appended.ids)

    def apply(self, puts: Mapping[str, Content], deletes: AbstractSet[str]) -> Outcome[str, SeenChain]:
        """A chain that iptables refuses is left as it is, or made to drop all when it is new; others go on."""
        doing = dict(puts)
        refused: dict[str, str] = {}
        wait_s = _RESTORE_WAIT_S
        tries_left = _RESTORE_TRIES
        while True:
            text, now = self._input(doing, deletes)
            refusal, line = self._restore(text) if text else ("", "")
            if not refusal:
                break
            culprit = _chain_of(line)
            tries_left -= 1
            if (
                tries_left < _RESTORE_TRIES - 1
                and isinstance(doing.get(culprit), OwnChain)
                and culprit not in refused
            ):
                log.error("%s -t %s refuses chain %s: %s", self.programs.restore, self.name, culprit, refusal)
                refused[culprit] = refusal
                self._set_aside(culprit, doing)
                tries_left += 1
            elif not tries_left:
                raise TargetError(f"{self.programs.restore} refused table {self.name}: {refusal}")
            else:
                log.warning("%s -t %s failed, trying again: %s", self.programs.restore, self.name, refusal)
                time.sleep(wait_s)
                wait_s *= 2
            # Perhaps somebody changed the rules under our feet: numbers and texts may be others now.
            self.read()
        self._seen.update(now)
        for chain in [chain for chain in deletes if OUR_CHAIN.match(chain)]:
            self._seen.pop(chain, None)
        return Outcome({chain: seen for chain, seen in now.items() if chain in puts}, refused)

    def _set_aside(self, chain: str, doing: dict[str, Content]) -> None:
        """What worked keeps working; where nothing is yet, nothing may pass."""
        if chain in self._seen:
            del doing[chain]
        else:
            doing[chain] = own_chain(Chain(chain, (action.DROP,)))

    # ---- input

    def _input(
        self, puts: Mapping[str, Content], deletes: AbstractSet[str]
    ) -> tuple[str, dict[str, SeenChain]]:
        """The restore input and what each written chain will hold; no text when there is nothing to do."""
        nft = self.programs.variant == "nft"
        references: list[str] = []
        rules: list[str] = []
        hooks: list[str] = []
        now: dict[str, SeenChain] = {}
        gone = [chain for chain in sorted(deletes) if OUR_CHAIN.match(chain) and chain in self._seen]
        for chain in sorted(puts):
            want, have = puts[chain], self._seen.get(chain)
            if isinstance(want, KernelChain):
                now[chain] = self._rehang(chain, want, have, hooks)
            else:
                now[chain] = SeenChain(want.ids)
                if have is None or (nft and have.ids != want.ids):
                    references.append(f":{chain} - -")
                    have = None
                rules += _edits(chain, want, have.ids if have else ())
        for chain in sorted(deletes - set(gone)):
            # Our leftovers in a kernel chain that we hang nothing in any more.
            now[chain] = self._rehang(chain, None, self._seen.get(chain), hooks)
        flushed = [f":{chain} - -" for chain in gone]
        removed = [f"--delete-chain {chain}" for chain in gone]
        if nft:
            first = [*references, *flushed, *rules, *hooks]
            return self._transaction(first) + self._transaction([*flushed, *removed] if gone else []), now
        return self._transaction([*references, *flushed, *rules, *hooks, *removed]), now

    def _transaction(self, lines: list[str]) -> str:
        return "\n".join([f"*{self.name}", *lines, "COMMIT", ""]) if lines else ""

    def _rehang(
        self, chain: str, want: KernelChain | None, have: SeenChain | None, hooks: list[str]
    ) -> SeenChain:
        """Takes all our rules out of a kernel chain and puts the wished ones in; others' keep their order."""
        if have:
            hooks += [f"-D{line[2:]}" for line in have.lines.values()]
        if want is None:
            return SeenChain((FOREIGN,) * (have.ids.count(FOREIGN) if have else 0))
        inserted = [f"{chain} {programmed(i, r)}" for i, r in _pairs(want.inserted)]
        appended = [f"{chain} {programmed(i, r)}" for i, r in _pairs(want.appended)]
        # Each insertion goes to the top, so the last one is written first.
        hooks += (
            [f"-I {line}" for line in reversed(inserted)]
            if self._options.insert
            else [f"-A {line}" for line in inserted]
        )
        hooks += [f"-A {line}" for line in appended]
        ids = self._expected(want, have)
        ours = iter([*inserted, *appended])
        return SeenChain(
            ids, {index: f"-A {next(ours)}" for index, rule_id in enumerate(ids) if rule_id != FOREIGN}
        )

    # ---- programs

    def _dump(self) -> dict[str, SeenChain]:
        wait_s = _SAVE_WAIT_S
        for tries_left in reversed(range(_SAVE_TRIES)):
            try:
                done = command.check(
                    [self.programs.save, "-t", self.name], timeout_s=self._options.save_timeout_s
                )
                self.slowest_save_s = max(self.slowest_save_s, done.took_s)
                return self._parser.parse(done.out)
            except (command.CommandError, TargetError) as error:
                if not tries_left:
                    raise TargetError(str(error)) from None
                time.sleep(wait_s)
                wait_s *= 2
        raise AssertionError

    def _restore(self, text: str) -> tuple[str, str]:
        """The refusal's reason and the line of the input that it names; both empty when it worked."""
        argv = [self.programs.restore, "--noflush", "--verbose", *self._options.wait]
        lock = self._options.lock
        try:
            with lock.writing() if lock else nullcontext():
                done = command.run(argv, text, on_start=self.writers.append)
        except (command.CommandError, LockHeld) as error:
            return str(error), ""
        if done.code:
            return _reason(done.err or done.out, text)
        self.inputs += 1
        self.lines_written += text.count("\n")
        self.slowest_restore_s = max(self.slowest_restore_s, done.took_s)
        self.last_write_s = time.monotonic()
        return "", ""


def _pairs(chain: OwnChain) -> list[tuple[str, str]]:
    return list(zip(chain.ids, chain.rules, strict=True))


def _edits(chain: str, want: OwnChain, have: tuple[str, ...]) -> list[str]:
    """Replacements by number, then appended rules, then surplus ones deleted from the first surplus number on."""
    lines = []
    for index, (rule_id, text) in enumerate(_pairs(want)):
        if index >= len(have):
            lines.append(f"-A {chain} {programmed(rule_id, text)}")
        elif have[index] != rule_id:
            lines.append(f"-R {chain} {index + 1} {programmed(rule_id, text)}")
    surplus = len(have) - len(want.ids)
    return lines + [f"-D {chain} {len(want.ids) + 1}"] * max(surplus, 0)


def _reason(error: str, given: str) -> tuple[str, str]:
    """What iptables says, and the line of the input that it means."""
    reason = next((line.strip() for line in error.splitlines() if line.strip()), "no message")
    found = _LINE.search(error)
    lines = given.splitlines()
    index = int(found.group(1)) - 1 if found else -1
    line = lines[index] if 0 <= index < len(lines) else ""
    return (f"{reason[:200]} (in: {line[:200]})" if line else reason[:200]), line


def _chain_of(line: str) -> str:
    words = line.split(" ", 2)
    return words[1] if len(words) > 1 and words[0] in {"-A", "-R"} else ""
