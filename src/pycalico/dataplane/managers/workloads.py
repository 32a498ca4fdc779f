"""Workload endpoints: chains, dispatch, routes, permanent neighbours and settings of their interfaces."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Set as AbstractSet

from pycalico.calc.messages import (
    WorkloadEndpointID,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.drivers.routes import WantedRoute
from pycalico.dataplane.drivers.settings import Setting
from pycalico.dataplane.managers.groups import Groups
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged, Offers, Plane
from pycalico.dataplane.managers.services import floating_ips
from pycalico.dataplane.rules.dispatch import workload_dispatch
from pycalico.dataplane.rules.endpoint import set_mark_chain, workload_chains
from pycalico.dataplane.rules.marks import EndpointMarks
from pycalico.dataplane.rules.static_raw import rpf_skip_chain
from pycalico.kernel import sysctl

log = logging.getLogger(__name__)

_ACTIVE = "active"


class WorkloadManager:
    """Where two endpoints name one interface the lower identifier holds it; the other waits for its turn."""

    def __init__(self, plane: Plane, groups: Groups, marks: EndpointMarks) -> None:
        self._plane = plane
        self._groups = groups
        self._marks = marks
        self._offers = Offers(plane.tables)
        self._known: dict[WorkloadEndpointID, WorkloadEndpointUpdate] = {}
        self._claims: dict[str, set[WorkloadEndpointID]] = {}
        self._active: dict[str, WorkloadEndpointUpdate] = {}
        self._neighbours: dict[str, set[str]] = {}
        self._settings: dict[str, set[str]] = {}
        self._dirty: set[str] = set()
        self._links: set[str] = set()
        self._names_changed = True
        self._default_rp_filter = sysctl.read("net/ipv4/conf/default/rp_filter") or "1"
        plane.tables["raw"].update([rpf_skip_chain(plane.context, ())])

    @property
    def handlers(self) -> Handlers:
        return {
            WorkloadEndpointUpdate: self._on_update,
            WorkloadEndpointRemove: self._on_remove,
            InterfacesChanged: self._on_interfaces,
        }

    @property
    def interfaces(self) -> list[str]:
        return list(self._active)

    def _on_update(self, update: WorkloadEndpointUpdate) -> None:
        before = self._known.get(update.id)
        if before and before.interface != update.interface:
            self._unclaim(before)
        self._known[update.id] = update
        self._claims.setdefault(update.interface, set()).add(update.id)
        self._dirty.add(update.interface)

    def _on_remove(self, remove: WorkloadEndpointRemove) -> None:
        before = self._known.pop(remove.id, None)
        if before:
            self._unclaim(before)

    def _unclaim(self, before: WorkloadEndpointUpdate) -> None:
        claims = self._claims[before.interface]
        claims.discard(before.id)
        if not claims:
            del self._claims[before.interface]
        self._dirty.add(before.interface)

    def _on_interfaces(self, change: InterfacesChanged) -> None:
        self._links |= change.names

    def regroup(self, users: AbstractSet[str]) -> None:
        """Policies of these users of groups changed their selectors, so their groups may be others."""
        if users:
            self._dirty |= {interface for interface in self._active if _user(interface) in users}

    def resolve(self) -> None:
        """True to the last message of each endpoint, whatever came between."""
        for interface in sorted(self._dirty):
            claims = self._claims.get(interface)
            try:
                if claims:
                    self._program(interface, self._known[min(claims)])
                else:
                    self._forget(interface)
            except ValueError as error:
                log.error("cannot program the endpoint of %s: %s", interface, error)
        prefixes = self._plane.context.config.interface_prefixes
        touched = self._dirty | {name for name in self._links if name.startswith(prefixes)}
        for interface in touched:
            self._update_settings(interface)
        if self._dirty:
            self._update_spoofing()
        self._dirty = set()
        self._links = set()
        if self._names_changed:
            self._names_changed = False
            dispatch = workload_dispatch(self._plane.context, self._active)
            self._offers.put("dispatch", "filter", dispatch)

    # ---- one endpoint

    def _program(self, interface: str, update: WorkloadEndpointUpdate) -> None:
        context = self._plane.context
        if interface not in self._active:
            self._names_changed = True
        self._active[interface] = update
        ingress, egress = self._groups.of(_user(interface), update.tiers)
        up = update.state == _ACTIVE
        chains = workload_chains(context, interface, up, ingress, egress, update.profiles)
        if context.config.kube_ipvs:
            chains.append(set_mark_chain(interface, self._marks.assign(interface), self._marks.block))
        self._offers.put(interface, "filter", chains)
        self._update_routes(interface, update, up)

    def _forget(self, interface: str) -> None:
        if self._active.pop(interface, None) is None:
            return
        self._names_changed = True
        self._offers.put(interface, "filter", ())
        self._groups.release(_user(interface))
        self._marks.release(interface)
        self._plane.routes.replace(_owner(interface), {})
        for address in self._neighbours.pop(interface, set()):
            self._plane.neighbours.unwant((interface, address))

    def _update_routes(self, interface: str, update: WorkloadEndpointUpdate, up: bool) -> None:
        config = self._plane.context.config
        v4 = self._plane.family == 4
        nets = update.ipv4_nets if v4 else update.ipv6_nets
        whole = "/32" if v4 else "/128"
        # As the kernel prints them, or what is there would never look as wished.
        cidrs = [str(ipaddress.ip_network(net, strict=False)) for net in nets]
        cidrs += [
            str(ipaddress.ip_network(nat.external + whole)) for nat in floating_ips(self._plane, update)
        ]
        source = config.route_source(self._plane.family)
        route = WantedRoute(interface, config.route_protocol, source=source)
        self._plane.routes.replace(_owner(interface), dict.fromkeys(cidrs, route) if up else {})
        # A neighbour goes with the route; where routes are another's, so are neighbours.
        has_neighbours = up and v4 and update.mac and config.route_sync
        addresses = {cidr.partition("/")[0] for cidr in cidrs} if has_neighbours else set()
        for address in self._neighbours.get(interface, set()) - addresses:
            self._plane.neighbours.unwant((interface, address))
        for address in addresses:
            self._plane.neighbours.want((interface, address), update.mac.lower())
        self._neighbours[interface] = addresses

    def _update_settings(self, interface: str) -> None:
        """Of links that are up, endpoint or not: CNI may be ahead of us. The kernel forgets them with the link."""
        found = self._plane.interfaces.get(interface)
        wanted = self._wanted_settings(interface) if found and found.link.up else {}
        for key in self._settings.get(interface, set()) - wanted.keys():
            self._plane.settings.unwant(key)
        for key, setting in wanted.items():
            self._plane.settings.want(key, setting)
        self._settings[interface] = set(wanted)
        if not wanted:
            del self._settings[interface]

    def _wanted_settings(self, interface: str) -> dict[str, Setting]:
        if self._plane.family == 6:
            return {
                f"net/ipv6/conf/{interface}/proxy_ndp": Setting("1"),
                f"net/ipv6/conf/{interface}/forwarding": Setting("1"),
            }
        update = self._active.get(interface)
        spoofs = update is not None and bool(update.allow_spoofed_source_prefixes)
        return {
            # A pod must not become the host's IPv6 router, even where IPv6 is not used.
            f"net/ipv6/conf/{interface}/accept_ra": Setting("0", required=False),
            f"net/ipv4/conf/{interface}/route_localnet": Setting("1"),
            f"net/ipv4/neigh/{interface}/proxy_delay": Setting("0", required=False),
            f"net/ipv4/conf/{interface}/proxy_arp": Setting("1"),
            f"net/ipv4/conf/{interface}/forwarding": Setting("1"),
            f"net/ipv4/conf/{interface}/rp_filter": Setting("0" if spoofs else self._default_rp_filter),
        }

    def _update_spoofing(self) -> None:
        pairs = [
            (interface, prefix)
            for interface, update in self._active.items()
            for prefix in update.allow_spoofed_source_prefixes
        ]
        self._plane.tables["raw"].update([rpf_skip_chain(self._plane.context, pairs)])


def _user(interface: str) -> str:
    return f"workload {interface}"


def _owner(interface: str) -> str:
    """Workloads come before all other owners of a route; of two workloads the lower interface wins."""
    return f"1 workload {interface}"
