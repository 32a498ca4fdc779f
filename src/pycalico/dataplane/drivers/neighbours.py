"""Permanent neighbour and forwarding entries."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from pycalico.kernel import netlink, routerequests, rtnetlink
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import NetlinkError
from pycalico.reconcile.target import Outcome, TargetError

_BRIDGE = 7
#: (interface, address); for forwarding entries the address is the MAC.
Entry = tuple[str, str]


class Entries:
    """A reconcile target: (interface, address) to MAC, or in ``forwarding`` mode (interface, MAC) to remote host.

    Only permanent entries count. On interfaces that match ``only_added`` entries are set but never taken away
    (upstream leaves those of workloads to the kernel, which drops them with the link); ``wanted`` tells which. Those
    of links that are down at the start are set as well, as upstream does; of others not before the link is up.
    """

    def __init__(
        self,
        family: int,
        interfaces: Interfaces,
        devices: tuple[str, ...],
        only_added: str = "",
        forwarding: bool = False,
    ) -> None:
        self.wanted: Callable[[Entry], bool] = lambda _: False
        self._family = _BRIDGE if forwarding else family
        self._v6 = family == 6
        self._forwarding = forwarding
        self._interfaces = interfaces
        self._devices = devices
        self._only_added = re.compile(only_added) if only_added else None
        self._down_at_start: set[str] | None = None

    def read(self) -> Mapping[Entry, str]:
        try:
            found = netlink.neighbours(self._family)
        except NetlinkError as error:
            raise TargetError(f"cannot read neighbours: {error}") from None
        if self._down_at_start is None:
            self._down_at_start = self._interfaces.down() if self._only_added else set()
        seen: dict[Entry, str] = {}
        for item in found:
            if not item.state & netlink.PERMANENT or (":" in item.address) != self._v6:
                continue
            interface = self._interfaces.name_of(item.index)
            key, value = (item.mac, item.address) if self._forwarding else (item.address, item.mac)
            if interface in self._devices or (self._only_added and self.wanted((interface, key))):
                seen[interface, key] = value
        return seen

    def same(self, want: str, have: str) -> bool:
        return want == have

    def apply(self, puts: Mapping[Entry, str], deletes: AbstractSet[Entry]) -> Outcome[Entry, str]:
        now: dict[Entry, str] = {}
        failures: dict[Entry, str] = {}
        for entry in deletes:
            interface, key = entry
            index = self._interfaces.index_of(interface)
            if index and interface in self._devices:
                try:
                    self._delete(index, key)
                except OSError as error:
                    failures[entry] = error.strerror or str(error)
        write = routerequests.set_forwarding if self._forwarding else routerequests.set_neighbour
        requests = {}
        down_at_start = self._down_at_start or set()
        for entry, value in puts.items():
            interface, key = entry
            found = self._interfaces.get(interface)
            if found and found.link.admin_up:
                down_at_start.discard(interface)
            elif found is None or interface not in down_at_start:
                failures[entry] = f"interface {interface} is absent or down"
                continue
            requests[entry] = write(found.link.index, key, value)
        for entry, code in zip(requests, rtnetlink.run([*requests.values()]), strict=True):
            if code:
                failures[entry] = os.strerror(code)
            else:
                now[entry] = puts[entry]
        return Outcome(now, failures)

    def _delete(self, index: int, key: str) -> None:
        for item in netlink.neighbours(self._family):
            if item.index != index or key not in {item.mac, item.address}:
                continue
            if self._forwarding:
                rtnetlink.do(routerequests.delete_forwarding(index, item.mac, item.address), rtnetlink.ABSENT)
            elif item.address == key:
                rtnetlink.do(routerequests.delete_neighbour(index, item.address), rtnetlink.ABSENT)
