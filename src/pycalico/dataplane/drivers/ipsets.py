"""IP sets of one family, written with ``ipset restore`` in one batch."""

from __future__ import annotations

import ipaddress
import itertools
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from pycalico.kernel import command, ipsetchange, ipsetdump
from pycalico.reconcile.target import Outcome, TargetError

log = logging.getLogger(__name__)

_OURS = {
    4: re.compile(r"^(cali4|felix-4|felix-masq-ipam-pools|felix-all-ipam-pools)"),
    6: re.compile(r"^(cali6|felix-6)"),
}
_TRIES, _WAIT_S = 10, 0.001
#: Up to so many members come and go without a program.
_FEW, _MEMBER_VERBS = 100, ("add", "del")
_WHOLE_ADDRESS = {4: "/32", 6: "/128"}


class IPSet(msgspec.Struct):
    """``members`` is shared with the wisher, who changes it in place and wishes the set again.

    ``type`` is ipset's (hash:net, hash:ip, hash:ip,port); members are spelled as ipset prints them: see `canonical`.
    A wisher that notes in ``touched`` what differs from ``base``, which is what was last seen of the kernel's, spares
    the comparison of all members; None: nobody notes.
    """

    type: str
    most: int
    members: set[str]
    touched: set[str] | None = None
    base: IPSet | None = None

    def toggle(self, members: set[str]) -> None:
        """What was in goes, what was not comes."""
        self.members ^= members
        if self.touched is not None:
            self.touched ^= members

    def difference(self, have: IPSet) -> set[str]:
        """Members of one of the two only."""
        if self.touched is None:
            return self.members ^ have.members
        if self.base is not have:
            self.base, self.touched = have, self.members ^ have.members
        return self.touched


def canonical(family: int, member: str) -> Iterator[str]:
    """The member as ipset prints it. A zero-length CIDR, which ipset has not, becomes its two halves.

    Raises ValueError for what is no address.
    """
    address, comma, port = member.partition(",")
    whole = address.removesuffix(_WHOLE_ADDRESS[family])
    if family == 4 and "/" not in whole:
        yield f"{whole}{comma}{port}"
        return
    net = ipaddress.ip_network(address, strict=False)
    for part in net.subnets() if net.prefixlen == 0 else (net,):
        yield f"{str(part).removesuffix(_WHOLE_ADDRESS[family])}{comma}{port}"


class IPSets:
    """A reconcile target whose keys are the sets' names in the kernel."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.lines_written = 0
        self.calls = 0
        self._have: dict[str, IPSet] = {}
        self._fingerprint = b""
        self._temporary = (f"cali{family}t{n}" for n in itertools.count())

    def read(self) -> Mapping[str, IPSet]:
        """Asks the kernel whether anything is another than last time before it reads all of it."""
        seen = ipsetdump.fingerprint(_OURS[self.family].match)
        if not seen or seen != self._fingerprint:
            before, self._have = self._have, self._list()
            # Members that are as before keep their one copy in memory.
            self._have |= {name: have for name, have in before.items() if self._have.get(name) == have}
            self._fingerprint = seen
        return dict(self._have)

    def same(self, want: IPSet, have: IPSet) -> bool:
        return _is_alike(want, have) and not want.difference(have)

    def apply(self, puts: Mapping[str, IPSet], deletes: AbstractSet[str]) -> Outcome[str, IPSet]:
        now, failures = self._put(puts) if puts else ({}, {})
        for set_name in deletes:
            reason = self._destroy(set_name)
            if reason:
                failures[set_name] = reason
            else:
                self._have.pop(set_name, None)
        return Outcome(now, failures)

    def _put(self, puts: Mapping[str, IPSet]) -> tuple[dict[str, IPSet], dict[str, str]]:
        """All in one batch; when that fails for good each set by itself, so that one bad set harms no other."""
        wait_s = _WAIT_S
        for _ in range(_TRIES):
            refusal = self._write(puts)
            if not refusal:
                return self._done(puts), {}
            log.warning("ipset restore failed, trying again: %s", refusal)
            time.sleep(wait_s)
            wait_s *= 2
            self.read()
        failures = {set_name: self._write({set_name: want}) for set_name, want in puts.items()}
        failures = {set_name: reason for set_name, reason in failures.items() if reason}
        if failures:
            self.read()
        return self._done({key: want for key, want in puts.items() if key not in failures}), failures

    def _done(self, puts: Mapping[str, IPSet]) -> dict[str, IPSet]:
        for key, want in puts.items():
            have = self._have.get(key)
            if have and _is_alike(want, have):
                have.members ^= want.difference(have)
            else:
                have = self._have[key] = IPSet(want.type, want.most, set(want.members))
            if want.touched is not None:
                want.base, want.touched = have, set()
        return {key: self._have[key] for key in puts}

    def _write(self, puts: Mapping[str, IPSet]) -> str:
        """The refusal's reason; empty when it worked."""
        leftovers: list[str] = []
        lines = [
            line for set_name in sorted(puts) for line in self._lines(set_name, puts[set_name], leftovers)
        ]
        refusal = self._restore(lines) if lines else ""
        if not refusal:
            for set_name in leftovers:
                self._destroy(set_name)
        return refusal

    def _lines(self, set_name: str, want: IPSet, leftovers: list[str]) -> Iterator[str]:
        """Deletions come before additions, so that a full set has room."""
        have = self._have.get(set_name)
        if have and _is_alike(want, have):
            touched = want.difference(have)
            yield from (f"del {set_name} {member} --exist" for member in sorted(touched - want.members))
            yield from _additions(set_name, touched & want.members)
            return
        family = "inet" if self.family == 4 else "inet6"
        fresh = set_name
        if have:
            # The type of a set that rules refer to cannot change; its name can.
            fresh = next(name for name in self._temporary if name not in self._have)
            leftovers.append(fresh)
        yield f"create {fresh} {want.type} family {family} maxelem {want.most}"
        yield from _additions(fresh, want.members)
        if have:
            yield f"swap {set_name} {fresh}"

    def _restore(self, lines: list[str]) -> str:
        self.calls += 1
        self.lines_written += len(lines)
        if self._is_done_directly(lines):
            return ""
        try:
            done = command.run(["ipset", "restore"], "\n".join([*lines, "COMMIT", ""]))
        except command.CommandError as error:
            raise TargetError(str(error)) from None
        return command.last_line(done.err or done.out) if done.code else ""

    def _is_done_directly(self, lines: list[str]) -> bool:
        words = [line.split(" ") for line in lines[: _FEW + 1]]
        if len(words) > _FEW or any(each[0] not in _MEMBER_VERBS for each in words):
            return False
        return ipsetchange.change(self.family, [(each[0], each[1], each[2]) for each in words])

    @staticmethod
    def _destroy(set_name: str) -> str:
        try:
            done = command.run(["ipset", "destroy", set_name])
        except command.CommandError as error:
            return str(error)
        if not done.code or "does not exist" in done.err:
            return ""
        return command.last_line(done.err or done.out)

    def _list(self) -> dict[str, IPSet]:
        try:
            return self._parse(command.check(["ipset", "save"]).out.splitlines())
        except command.CommandError as error:
            log.info("cannot list all IP sets at once, listing them one by one: %s", error)
        try:
            names = command.check(["ipset", "list", "-name"]).out.split()
        except command.CommandError as error:
            raise TargetError(str(error)) from None
        found: dict[str, IPSet] = {}
        for set_name in filter(_OURS[self.family].match, names):
            try:
                found.update(self._parse(command.check(["ipset", "save", set_name]).out.splitlines()))
            except command.CommandError as error:
                # Made by a newer kernel interface, say: it is ours, and not as wished, so it will be replaced.
                log.warning("cannot list IP set %s: %s", set_name, error)
                found[set_name] = IPSet("unknown", 0, set())
        return found

    def _parse(self, lines: Iterable[str]) -> dict[str, IPSet]:
        ours = _OURS[self.family]
        found: dict[str, IPSet] = {}
        for line in lines:
            words = line.split(" ")
            if len(words) < 3 or not ours.match(words[1]):
                continue
            if words[0] == "create":
                most = words[words.index("maxelem") + 1] if "maxelem" in words else "0"
                found[words[1]] = IPSet(words[2], int(most), set())
            elif words[0] == "add":
                found[words[1]].members.add(words[2])
        return found


def _is_alike(want: IPSet, have: IPSet) -> bool:
    return want.type == have.type and want.most == have.most


def _additions(set_name: str, members: Iterable[str]) -> Iterator[str]:
    return (f"add {set_name} {member}" for member in sorted(members))
