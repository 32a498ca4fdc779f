"""The interfaces of this machine and their addresses, as last seen; shared between the monitor and its readers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from pycalico.kernel import netlink
from pycalico.kernel.netlink import Address, Link


class Interface(msgspec.Struct, frozen=True):
    link: Link
    addresses: frozenset[str]


class Interfaces:
    """Thread-safe. ``on_change`` is told the names of interfaces that changed, whoever noticed it."""

    def __init__(self, on_change: Callable[[set[str]], None] = lambda _: None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._by_name: dict[str, int] = {}
        self._addresses: dict[int, set[Address]] = {}

    def _tell(self, names: set[str]) -> None:
        if names:
            self._on_change(names)

    def load(self) -> None:
        """Reads everything. Raises NetlinkError."""
        links = {link.index: link for link in netlink.links()}
        addresses: dict[int, set[Address]] = {}
        for address in netlink.addresses():
            addresses.setdefault(address.index, set()).add(address)
        with self._lock:
            before = {name: self._get(name) for name in self._by_name}
            self._links = links
            self._addresses = addresses
            self._by_name = {link.name: index for index, link in links.items()}
            names = before.keys() | self._by_name.keys()
            changed = {name for name in names if before.get(name) != self._get(name)}
        self._tell(changed)

    def get(self, name: str) -> Interface | None:
        with self._lock:
            return self._get(name)

    def _get(self, name: str) -> Interface | None:
        index = self._by_name.get(name)
        if index is None:
            return None
        addresses = frozenset(address.address for address in self._addresses.get(index, ()))
        return Interface(self._links[index], addresses)

    def is_own(self, address: str) -> bool:
        """Whether it is on an interface of this machine."""
        with self._lock:
            return any(held.address == address for group in self._addresses.values() for held in group)

    def index_of(self, name: str) -> int:
        """0 when there is none of that name."""
        with self._lock:
            return self._by_name.get(name, 0)

    def name_of(self, index: int) -> str:
        with self._lock:
            link = self._links.get(index)
            return link.name if link else ""

    def names(self) -> list[str]:
        with self._lock:
            return list(self._by_name)

    def down(self) -> set[str]:
        """Those that their administrator has not set up."""
        with self._lock:
            return {link.name for link in self._links.values() if not link.admin_up}

    def with_address(self, address: str) -> Interface | None:
        """The interface that holds ``address``."""
        with self._lock:
            for index, held in self._addresses.items():
                if index in self._links and any(item.address == address for item in held):
                    return self._get(self._links[index].name)
        return None

    def prefix_lengths(self, name: str) -> dict[str, int]:
        """The interface's addresses and their prefix lengths."""
        with self._lock:
            index = self._by_name.get(name, 0)
            return {item.address: item.prefix_length for item in self._addresses.get(index, ())}

    def put_link(self, link: Link) -> None:
        with self._lock:
            old = self._links.get(link.index)
            if old == link:
                return
            changed = {link.name}
            if old and old.name != link.name:
                changed.add(old.name)
                if self._by_name.get(old.name) == link.index:
                    del self._by_name[old.name]
            self._links[link.index] = link
            self._by_name[link.name] = link.index
        self._tell(changed)

    def drop_link(self, index: int) -> None:
        with self._lock:
            old = self._links.pop(index, None)
            self._addresses.pop(index, None)
            if old is None:
                return
            if self._by_name.get(old.name) == index:
                del self._by_name[old.name]
        self._tell({old.name})

    def put_address(self, address: Address, present: bool) -> None:
        with self._lock:
            held = self._addresses.setdefault(address.index, set())
            if (address in held) == present:
                return
            (held.add if present else held.discard)(address)
            link = self._links.get(address.index)
        self._tell({link.name} if link else set())
