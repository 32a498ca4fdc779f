"""Durable objects with a history, on SQLite.

Everything lives in memory for reading; SQLite holds the same as an append-only table of revisions, one
row a change, so that a restart brings back the objects *and* the recent history: a watcher resumes where
it was, without a new list. Rows that a compaction made unneeded are deleted.

Durability: journal WAL, ``synchronous=NORMAL``, one transaction a change, finished before the change is
answered or seen by any watcher. So what was answered survives the death of this process at any moment
(kill -9); after a power cut the database is whole but may lack the last seconds, at most the time between
two checkpoints (which do fsync, from a thread of their own, `CHECKPOINT_S`). One commit of 1.5 kB took 22 µs on the
machine of development, which is why it runs on the event loop.

Stored dicts are never changed in place: every reader and watcher shares them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

ADDED: Final = "ADDED"
MODIFIED: Final = "MODIFIED"
DELETED: Final = "DELETED"
_TYPES: Final = (ADDED, MODIFIED, DELETED)
CHECKPOINT_S: Final = 5.0
Key = tuple[str, str]  # namespace ("" for cluster scope), name


class StoreError(Exception):
    """The database cannot be opened or written; the text is one line for the operator."""


class Entry:
    """One version of one object, as dict and as the JSON sent to clients."""

    __slots__ = ("key", "obj", "raw", "rv")

    def __init__(self, key: Key, rv: int, obj: dict[str, Any], raw: bytes) -> None:
        self.key = key
        self.rv = rv
        self.obj = obj
        self.raw = raw


class Change:
    """A step of history. ``entry`` of a DELETED is the last state with the deletion's resourceVersion."""

    __slots__ = ("at", "entry", "prev", "resource", "rv", "type", "wire")

    def __init__(self, rv: int, kind: str, resource: str, entry: Entry, prev: Entry | None) -> None:
        self.rv = rv
        self.type = kind
        self.resource = resource
        self.entry = entry
        self.prev = prev
        self.at = time.monotonic()
        self.wire: bytes | None = None  # the watch event as an HTTP chunk, made once for all watchers


class Table:
    """The objects of one resource and the part of the history that concerns them."""

    __slots__ = ("_order", "entries", "log")

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.log: deque[Change] = deque()
        self._order: list[Key] | None = None

    def ordered(self) -> list[Key]:
        if self._order is None:
            self._order = sorted(self.entries)
        return self._order

    def replace(self, change: Change) -> None:
        key = change.entry.key
        if change.type == DELETED:
            self.entries.pop(key, None)
            self._order = None
        else:
            if key not in self.entries:
                self._order = None
            self.entries[key] = change.entry


class Store:
    """Objects by resource id. Not thread-safe: belongs to one event loop.

    Args:
        directory: holds ``state.db``; made if absent; locked against a second server.
        history_s: how long a watch can be resumed, in seconds.
        history_max: bound on the number of changes kept for that.

    Raises:
        StoreError: the directory or database cannot be used.
    """

    def __init__(self, directory: Path, history_s: float = 600.0, history_max: int = 20_000) -> None:
        self.tables: dict[str, Table] = {}
        self.rv = 1
        self.compacted = 1
        self.on_change: Callable[[Change], None] = lambda _: None
        self._history_s = history_s
        self._history_max = history_max
        self._log: deque[Change] = deque()
        self._path = directory / "state.db"
        self._closing = threading.Event()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise StoreError(f"cannot use data directory {directory}: {e.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreError(f"data directory {directory} is in use by another API server") from None
        try:
            self._db = self._open()
            self._load()
        except (sqlite3.Error, msgspec.DecodeError) as e:
            os.close(self._lock)
            raise StoreError(f"cannot use database {self._path}: {e}") from None
        self._checkpointer = threading.Thread(target=self._checkpoint_loop, name="checkpoint", daemon=True)
        self._checkpointer.start()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._path.chmod(0o600)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute(
            "CREATE TABLE IF NOT EXISTS revision (rv INTEGER PRIMARY KEY, type INTEGER NOT NULL, "
            "resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL)"
        )
        db.execute("CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, rv INTEGER NOT NULL)")
        return db

    def _load(self) -> None:
        marks = dict(self._db.execute("SELECT name, rv FROM mark"))
        self.compacted = marks.get("compacted", 1)
        self.rv = max(self.compacted, marks.get("last", 1))
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        rows = self._db.execute("SELECT rv, type, resource, namespace, name, value FROM revision ORDER BY rv")
        for rv, kind, resource, namespace, name, value in rows:
            table = self.table(resource)
            key = (namespace, name)
            prev = table.entries.get(key)
            change = Change(rv, _TYPES[kind], resource, Entry(key, rv, decode(value), value), prev)
            table.replace(change)
            if rv > self.compacted:
                table.log.append(change)
                self._log.append(change)
            self.rv = max(self.rv, rv)

    def table(self, resource: str) -> Table:
        table = self.tables.get(resource)
        if table is None:
            table = self.tables[resource] = Table()
        return table

    def get(self, resource: str, key: Key) -> Entry | None:
        table = self.tables.get(resource)
        return table.entries.get(key) if table else None

    def entries(self, resource: str) -> Iterator[Entry]:
        """All objects of a resource, as they are at the call (safe against changes while iterating)."""
        return iter(list(self.table(resource).entries.values()))

    def put(self, resource: str, key: Key, obj: dict[str, Any]) -> Entry:
        """Store a new state; gives it the next resourceVersion. Takes over ``obj``."""
        prev = self.table(resource).entries.get(key)
        return self._commit(ADDED if prev is None else MODIFIED, resource, key, obj, prev)

    def remove(self, resource: str, key: Key, last: dict[str, Any] | None = None) -> Entry:
        """Remove an object; ``last`` is the state its watchers see go, if not the stored one."""
        prev = self.table(resource).entries[key]
        obj = {**(last or prev.obj)}
        obj["metadata"] = dict(obj["metadata"])
        return self._commit(DELETED, resource, key, obj, prev)

    def _commit(self, kind: str, resource: str, key: Key, obj: dict[str, Any], prev: Entry | None) -> Entry:
        rv = self.rv + 1
        obj["metadata"]["resourceVersion"] = str(rv)
        raw = msgspec.json.encode(obj)
        try:
            self._db.execute(
                "INSERT INTO revision VALUES (?,?,?,?,?,?)",
                (rv, _TYPES.index(kind), resource, key[0], key[1], raw),
            )
        except sqlite3.Error as e:
            raise StoreError(f"cannot write {self._path}: {e}") from None
        self.rv = rv
        entry = Entry(key, rv, obj, raw)
        change = Change(rv, kind, resource, entry, prev)
        table = self.table(resource)
        table.replace(change)
        table.log.append(change)
        self._log.append(change)
        if len(self._log) > self._history_max * 5 // 4 + 10:
            self.compact()
        self.on_change(change)
        return entry

    def since(self, resource: str, rv: int) -> list[Change]:
        """The changes of a resource after ``rv``, oldest first; ``rv`` is not before `compacted`."""
        found: list[Change] = []
        for change in reversed(self.table(resource).log):
            if change.rv <= rv:
                break
            found.append(change)
        found.reverse()
        return found

    def compact(self) -> None:
        """Forget history that is too old or too much, in memory and on disk."""
        oldest = time.monotonic() - self._history_s
        dead: list[tuple[int]] = []
        while self._log and (self._log[0].at < oldest or len(self._log) > self._history_max):
            change = self._log.popleft()
            self.tables[change.resource].log.popleft()
            self.compacted = change.rv
            if change.prev is not None:
                dead.append((change.prev.rv,))
            if change.type == DELETED:
                dead.append((change.rv,))
        if not dead:
            return
        try:
            self._db.execute("BEGIN")
            self._db.executemany("DELETE FROM revision WHERE rv=?", dead)
            self._db.execute("INSERT OR REPLACE INTO mark VALUES ('compacted', ?)", (self.compacted,))
            self._db.execute("INSERT OR REPLACE INTO mark VALUES ('last', ?)", (self.rv,))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            # A full disk: the rows stay, which costs room but loses nothing; the next start reads them.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _checkpoint_loop(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        while not self._closing.wait(CHECKPOINT_S):
            with contextlib.suppress(sqlite3.Error):
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        db.close()

    def close(self) -> None:
        self._closing.set()
        self._checkpointer.join()
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        os.close(self._lock)
