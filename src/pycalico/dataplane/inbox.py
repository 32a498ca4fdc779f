"""Where all threads leave what the dataplane's loop is to know."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

import msgspec

from pycalico.calc.messages import Message
from pycalico.dataplane.drivers.chains import OUR_CHAIN
from pycalico.dataplane.drivers.iptables import BUILT_IN
from pycalico.dataplane.managers.plane import TABLES
from pycalico.kernel.netlink import Route
from pycalico.kernel.nftmonitor import Change

#: (family, table, process): the program.
TableChanges = dict[tuple[int, str, int], str]
#: A process that the kernel did not name.
_NOBODY = 0


class News(msgspec.Struct):
    """``interfaces`` are those that changed; ``is_gap``: of routes and links there was more than the kernel told.

    ``routes`` come with whether they are there now.
    """

    messages: list[Message]
    interfaces: set[str]
    routes: deque[tuple[Route, bool]]
    is_gap: bool
    tables: TableChanges


class Inbox:
    """Each method may be called from any thread."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._interfaces: set[str] = set()
        self._routes: deque[tuple[Route, bool]] = deque()
        self._is_gap = False
        self._tables: TableChanges = {}
        self._wake = threading.Condition()

    def put(self, messages: Iterable[Message]) -> None:
        with self._wake:
            self._messages.extend(messages)
            self._wake.notify()

    def interfaces_changed(self, names: set[str]) -> None:
        with self._wake:
            self._interfaces |= names
            self._wake.notify()

    def route_changed(self, route: Route, present: bool) -> None:
        with self._wake:
            self._routes.append((route, present))
            self._wake.notify()

    def events_lost(self) -> None:
        with self._wake:
            self._is_gap = True
            self._wake.notify()

    def tables_changed(self, changes: list[Change]) -> None:
        """Those of iptables' tables that concern our chains, or where these hang."""
        with self._wake:
            for change in changes:
                ours = change.table in BUILT_IN and (not change.chain or OUR_CHAIN.match(change.chain))
                if ours or change.chain in BUILT_IN.get(change.table, ()):
                    self._tables[change.family, change.table, change.pid] = change.program
            self._wake.notify()

    def table_changes_lost(self) -> None:
        with self._wake:
            self._tables |= {(family, table, _NOBODY): "" for family in (4, 6) for table in TABLES}
            self._wake.notify()

    def wait(self, stop: threading.Event, at_most_s: float) -> None:
        """Until there are news; a `put` of nothing has it look at ``stop``."""
        with self._wake:
            self._wake.wait_for(lambda: stop.is_set() or self._has_news(), at_most_s)

    def take(self, most: int) -> News:
        """All that is there, but of the messages at most so many."""
        with self._wake:
            messages = [self._messages.popleft() for _ in range(min(most, len(self._messages)))]
            news = News(messages, self._interfaces, self._routes, self._is_gap, self._tables)
            self._interfaces, self._routes, self._is_gap, self._tables = set(), deque(), False, {}
        return news

    def _has_news(self) -> bool:
        return bool(self._messages or self._routes or self._interfaces or self._is_gap or self._tables)
