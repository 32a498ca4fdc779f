"""The interfaces of this machine and their addresses, as last seen; shared between the monitor and its readers."""

from __future__ import annotations

import threading

import msgspec

from pycalico.kernel import netlink
from pycalico.kernel.netlink import Address, Link


class Interface(msgspec.Struct, frozen=True):
    link: Link
    addresses: frozenset[str]


class Interfaces:
    """Thread-safe. Updates return the names of the interfaces that changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._by_name: dict[str, int] = {}
        self._addresses: dict[int, set[Address]] = {}

    def load(self) -> set[str]:
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
            return {name for name in names if before.get(name) != self._get(name)}

    def get(self, name: str) -> Interface | None:
        with self._lock:
            return self._get(name)

    def _get(self, name: str) -> Interface | None:
        index = self._by_name.get(name)
        if index is None:
            return None
        addresses = frozenset(address.address for address in self._addresses.get(index, ()))
        return Interface(self._links[index], addresses)

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

    def put_link(self, link: Link) -> set[str]:
        with self._lock:
            old = self._links.get(link.index)
            if old == link:
                return set()
            changed = {link.name}
            if old and old.name != link.name:
                changed.add(old.name)
                if self._by_name.get(old.name) == link.index:
                    del self._by_name[old.name]
            self._links[link.index] = link
            self._by_name[link.name] = link.index
            return changed

    def drop_link(self, index: int) -> set[str]:
        with self._lock:
            old = self._links.pop(index, None)
            self._addresses.pop(index, None)
            if old is None:
                return set()
            if self._by_name.get(old.name) == index:
                del self._by_name[old.name]
            return {old.name}

    def put_address(self, address: Address, present: bool) -> set[str]:
        with self._lock:
            held = self._addresses.setdefault(address.index, set())
            if (address in held) == present:
                return set()
            (held.add if present else held.discard)(address)
            link = self._links.get(address.index)
            return {link.name} if link else set()
