"""Watches: history and live changes, filtered per watcher, written to its stream.

An event is encoded and framed once and the same bytes go to all watchers that see the object as stored;
only tables, partial metadata and steps across a selector's edge are made for one watcher.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from pycalico.apiserver import connection, errors, store
from pycalico.apiserver.selectors import Predicate

BOOKMARK_S: Final = 55.0
Shown = Callable[[store.Entry], bytes]


def _event(kind: str, raw: bytes) -> bytes:
    return connection.frame(b'{"type":"%b","object":%b}\n' % (kind.encode(), raw))


class Filter:
    """What of a resource a list or watch sees: a namespace ("" for all), a name, two selectors."""

    __slots__ = ("_fields", "_labels", "_name", "_namespace", "all")

    def __init__(
        self, namespace: str, name: str | None, labels: Predicate | None, fields: Predicate | None
    ) -> None:
        self._namespace = namespace
        self._name = name
        self._labels = labels
        self._fields = fields
        self.all = not namespace and name is None and labels is None and fields is None

    def selects(self, entry: store.Entry) -> bool:
        if self._namespace and entry.key[0] != self._namespace:
            return False
        if self._name is not None and entry.key[1] != self._name:
            return False
        if self._labels is not None and not self._labels(entry.obj):
            return False
        return self._fields is None or self._fields(entry.obj)


class Watcher:
    """One watch. ``shown`` renders an entry where the stored JSON will not do (else None)."""

    __slots__ = ("bookmarks", "filter", "kind", "shown", "stream")

    def __init__(self, seen: Filter, shown: Shown | None, bookmarks: Mapping[str, Any] | None) -> None:
        self.filter = seen
        self.shown = shown
        self.bookmarks = bookmarks  # the apiVersion and kind of bookmark objects, None: not wanted
        self.stream = connection.Stream()

    def initial(self, entry: store.Entry) -> bytes:
        return _event(store.ADDED, self.shown(entry) if self.shown else entry.raw)

    def render(self, change: store.Change) -> bytes | None:
        """The framed event of a change, or None where this watcher does not see it."""
        kind, entry, prev = change.type, change.entry, change.prev
        if not self.filter.all:
            new = kind != store.DELETED and self.filter.selects(entry)
            old = prev is not None and self.filter.selects(prev)
            if not new and not old:
                return None
            wanted = store.DELETED if not new else (store.MODIFIED if old else store.ADDED)
            if wanted != kind:
                if wanted == store.DELETED and prev is not None:
                    entry = _as_of(prev, change.rv)
                return _event(wanted, self.shown(entry) if self.shown else entry.raw)
        if self.shown:
            return _event(kind, self.shown(entry))
        if change.wire is None:
            change.wire = _event(kind, entry.raw)
        return change.wire

    def bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(rv), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return _event("BOOKMARK", msgspec.json.encode({**(self.bookmarks or {}), "metadata": metadata}))


def _as_of(entry: store.Entry, rv: int) -> store.Entry:
    obj = {**entry.obj, "metadata": {**entry.obj["metadata"], "resourceVersion": str(rv)}}
    return store.Entry(entry.key, rv, obj, msgspec.json.encode(obj))


class Hub:
    """All watchers, by resource id; hears every change of the store."""

    def __init__(self, objects: store.Store) -> None:
        self._store = objects
        self._watchers: dict[str, set[Watcher]] = {}

    def publish(self, change: store.Change) -> None:
        for watcher in tuple(self._watchers.get(change.resource, ())):
            chunk = watcher.render(change)
            if chunk is not None:
                watcher.stream.send(chunk)

    def open(
        self, resource: str, watcher: Watcher, since: int | None, timeout_s: float, *, mark_initial: bool
    ) -> connection.Response:
        """Begin a watch.

        Args:
            resource: the resource id.
            watcher: filters and renders; its stream is the response's.
            timeout_s: when the server ends the watch.
            since: the resourceVersion to resume after; None: begin with all objects as ADDED.
            mark_initial: follow those by a bookmark that says so.
        """
        first: list[bytes] = []
        if since is None:
            table = self._store.table(resource)
            entries = (table.entries[key] for key in table.ordered())
            first = [watcher.initial(e) for e in entries if watcher.filter.selects(e)]
            if mark_initial:
                first.append(watcher.bookmark(self._store.rv, initial_end=True))
        elif since < self._store.compacted or since > self._store.rv:
            return self._refuse(since)
        else:
            rendered = (watcher.render(change) for change in self._store.since(resource, since))
            first = [chunk for chunk in rendered if chunk is not None]
        watchers = self._watchers.setdefault(resource, set())
        watchers.add(watcher)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout_s, watcher.stream.end)
        ticker: list[asyncio.TimerHandle] = []

        def tick() -> None:
            watcher.stream.send(watcher.bookmark(self._store.rv))
            ticker[0] = loop.call_later(BOOKMARK_S, tick)

        if watcher.bookmarks is not None:
            # Just before the end too, so that the next watch resumes from a fresh version.
            delay = min(BOOKMARK_S * random.uniform(0.8, 1.0), max(timeout_s - 1.0, 0.1))  # noqa: S311
            ticker.append(loop.call_later(delay, tick))

        def closed() -> None:
            watchers.discard(watcher)
            timer.cancel()
            for handle in ticker:
                handle.cancel()

        watcher.stream.on_close = closed
        return connection.Response(200, b"".join(first), stream=watcher.stream)

    def _refuse(self, since: int) -> connection.Response:
        error = errors.gone(f"too old resource version: {since} ({self._store.compacted})")
        if since > self._store.rv:
            error = errors.gone(f"resource version {since} is ahead of this server ({self._store.rv})")
        body = b'{"type":"ERROR","object":%b}\n' % msgspec.json.encode(error.to_wire())
        return connection.Response(200, body)
