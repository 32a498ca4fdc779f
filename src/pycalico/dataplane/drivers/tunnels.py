"""The tunnels' own links: tunl0 and the VXLAN devices."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from pycalico.kernel import command, offload, rtnetlink
from pycalico.kernel.interfaces import Interface, Interfaces
from pycalico.kernel.netlink import NetlinkError
from pycalico.reconcile.target import Outcome, TargetError

log = logging.getLogger(__name__)

IPIP = "tunl0"
VXLAN = {4: "vxlan.calico", 6: "vxlan-v6.calico"}
NAMES = (IPIP, *VXLAN.values())


class VXLANSettings(msgspec.Struct, frozen=True):
    vni: int
    port: int
    local: str
    parent: str
    mac: str


class Tunnel(msgspec.Struct, frozen=True):
    """``address`` (may be empty) is the only one of its family that the link keeps. No ``vxlan``: IPIP."""

    mtu: int
    address: str
    vxlan: VXLANSettings | None = None
    up: bool = True


class Tunnels:
    """A reconcile target whose keys are names in NAMES.

    A VXLAN device that is not wished is deleted, but those of ``kept``: while its address is not known its pods' traffic
    goes on. tunl0 stays (the kernel gives each namespace one) without addresses, and only where ``ipip_clean_up`` says
    that it was ours.
    """

    def __init__(
        self,
        interfaces: Interfaces,
        ipip_clean_up: bool,
        checksum_offload_broken: bool,
        kept: frozenset[str] = frozenset(),
    ) -> None:
        self._interfaces = interfaces
        self._kept = kept
        self._ipip_clean_up = ipip_clean_up
        self._checksum_offload_broken = checksum_offload_broken
        self._told: dict[str, str] = {}

    def read(self) -> Mapping[str, Tunnel]:
        try:
            self._interfaces.load()
            found = {name: self._describe(name) for name in NAMES if self._interfaces.get(name)}
        except (NetlinkError, OSError) as error:
            raise TargetError(f"cannot read the tunnels' links: {error}") from None
        tunl0 = found.get(IPIP)
        if tunl0 and not tunl0.address and not tunl0.up:
            # Nobody uses it: the kernel makes it along with the module.
            del found[IPIP]
        if tunl0 and not self._ipip_clean_up and not tunl0.address:
            found.pop(IPIP, None)
        return found

    def same(self, want: Tunnel, have: Tunnel) -> bool:
        return want == have

    def apply(self, puts: Mapping[str, Tunnel], deletes: AbstractSet[str]) -> Outcome[str, Tunnel]:
        now: dict[str, Tunnel] = {}
        failures: dict[str, str] = {}
        for name in deletes - self._kept:
            try:
                self._remove(name)
            except OSError as error:
                failures[name] = f"cannot remove {name}: {error.strerror or error}"
        for name in (name for name in NAMES if name in puts):
            try:
                self._make(name, puts[name])
                self._interfaces.load()
                now[name] = self._describe(name)
                self._told.pop(name, None)
            except (OSError, NetlinkError, command.CommandError) as error:
                failures[name] = f"cannot set up {name}: {getattr(error, 'strerror', None) or error}"
                if self._told.get(name) != failures[name]:
                    self._told[name] = failures[name]
                    log.warning("%s: going on without it, and trying again", failures[name])
        return Outcome(now, failures)

    # ---- read

    def _describe(self, name: str) -> Tunnel:
        interface = self._interfaces.get(name)
        if interface is None:
            raise OSError(0, f"{name} is gone")
        held = sorted(self._addresses(name))
        # More than one address is a difference too: no wish equals the joined text.
        vxlan = None if name == IPIP else self._vxlan_settings(interface)
        return Tunnel(interface.link.mtu, ",".join(held), vxlan, interface.link.admin_up)

    def _addresses(self, name: str) -> set[str]:
        """Of the tunnel's family, without link-local ones."""
        interface = self._interfaces.get(name)
        v6 = name == VXLAN[6]
        held = interface.addresses if interface else frozenset()
        return {item for item in held if (":" in item) == v6 and not item.startswith("fe80:")}

    def _vxlan_settings(self, interface: Interface) -> VXLANSettings | None:
        details = rtnetlink.link_details(interface.link.index)
        if details["kind"] != "vxlan":
            return None
        if (
            details.get("IFLA_VXLAN_GROUP")
            or details.get("IFLA_VXLAN_L2MISS")
            or details.get("IFLA_VXLAN_GBP")
        ):
            return None
        return VXLANSettings(
            details.get("IFLA_VXLAN_ID", 0),
            details.get("IFLA_VXLAN_PORT", 0),
            details.get("IFLA_VXLAN_LOCAL") or details.get("IFLA_VXLAN_LOCAL6") or "",
            self._interfaces.name_of(details.get("IFLA_VXLAN_LINK") or 0),
            interface.link.mac,
        )

    # ---- write

    def _remove(self, name: str) -> None:
        interface = self._interfaces.get(name)
        if interface is None:
            return
        if name == IPIP:
            self._set_address(name, interface.link.index, "")
            return
        log.info("removing %s, which is not needed any more", name)
        rtnetlink.delete_link(interface.link.index)
        self._interfaces.drop_link(interface.link.index)

    def _make(self, name: str, want: Tunnel) -> None:
        interface = self._interfaces.get(name)
        if want.vxlan:
            interface = self._recreated(name, want.vxlan, interface)
        elif interface is None:
            # Loads the module too, where there is one.
            command.check(["ip", "tunnel", "add", IPIP, "mode", "ipip"])
            self._interfaces.load()
            interface = self._interfaces.get(name)
        if interface is None:
            raise OSError(0, f"{name} did not appear")
        index = interface.link.index
        self._set_address(name, index, want.address)
        changes: dict[str, Any] = {}
        if interface.link.mtu != want.mtu:
            changes["mtu"] = want.mtu
        if want.vxlan and interface.link.mac != want.vxlan.mac:
            changes["address"] = want.vxlan.mac
        if not interface.link.admin_up:
            changes["state"] = "up"
        if changes:
            rtnetlink.set_link(index, **changes)

    def _recreated(self, name: str, want: VXLANSettings, interface: Interface | None) -> Interface | None:
        """The link, made afresh when what cannot be changed in place differs; the MAC can."""
        if interface is not None:
            have = self._vxlan_settings(interface)
            if have and msgspec.structs.replace(have, mac=want.mac) == want:
                return interface
            log.info("recreating %s: its settings differ", name)
            rtnetlink.delete_link(interface.link.index)
        parent = self._interfaces.index_of(want.parent)
        if not parent:
            raise OSError(0, f"its parent {want.parent} is absent")
        local = "vxlan_local6" if ":" in want.local else "vxlan_local"
        rtnetlink.add_link(
            ifname=name,
            kind="vxlan",
            vxlan_id=want.vni,
            vxlan_port=want.port,
            vxlan_link=parent,
            vxlan_learning=0,
            address=want.mac,
            **{local: want.local},
        )
        if self._checksum_offload_broken:
            try:
                offload.disable_tx_checksum(name)
            except OSError as error:
                log.warning("cannot switch off checksum offload of %s: %s", name, error.strerror)
        self._interfaces.load()
        return self._interfaces.get(name)

    def _set_address(self, name: str, index: int, address: str) -> None:
        lengths = self._interfaces.prefix_lengths(name)
        for held in self._addresses(name):
            if held != address:
                rtnetlink.delete_address(index, held, lengths[held])
        if address and address not in self._addresses(name):
            rtnetlink.add_address(index, address, 128 if ":" in address else 32)
