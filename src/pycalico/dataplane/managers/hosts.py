"""Host endpoints: chains and dispatch in three tables."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from pycalico.calc.messages import HostEndpointRemove, HostEndpointUpdate
from pycalico.dataplane.managers.groups import Groups
from pycalico.dataplane.managers.host_match import match_interfaces
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged, Offers, Plane
from pycalico.dataplane.managers.sets import is_skipped
from pycalico.dataplane.rules import dispatch, endpoint
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.marks import EndpointMarks
from pycalico.dataplane.rules.name import ANY_INTERFACE

_KINDS = ("normal", "forward", "pre-DNAT", "untracked")


class HostEndpointManager:
    def __init__(self, plane: Plane, groups: Groups, marks: EndpointMarks) -> None:
        self._plane = plane
        self._groups = groups
        self._marks = marks
        self._offers = Offers(plane.tables)
        config = plane.context.config
        self._skipped = is_skipped(config.interface_prefixes, config.interface_exclude)
        self._known: dict[str, HostEndpointUpdate] = {}
        self._active: dict[str, HostEndpointUpdate] = {}
        self._dirty = True

    @property
    def handlers(self) -> Handlers:
        return {
            HostEndpointUpdate: self._on_update,
            HostEndpointRemove: self._on_remove,
            InterfacesChanged: self._on_interfaces,
        }

    @property
    def interfaces(self) -> list[str]:
        """Without the one that stands for all."""
        return [interface for interface in self._active if interface != ANY_INTERFACE]

    def _on_update(self, update: HostEndpointUpdate) -> None:
        self._known[update.name] = update
        self._dirty = True

    def _on_remove(self, remove: HostEndpointRemove) -> None:
        self._dirty |= self._known.pop(remove.name, None) is not None

    def _on_interfaces(self, change: InterfacesChanged) -> None:
        if self._known:
            self._dirty |= any(not self._skipped.search(item) for item in change.names)

    def regroup(self, users: AbstractSet[str]) -> None:
        self._dirty |= any(
            _user(kind, interface) in users for interface in self._active for kind in _KINDS if users
        )

    def _addresses(self, interface: str) -> frozenset[str]:
        found = self._plane.interfaces.get(interface)
        return found.addresses if found else frozenset()

    def resolve(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        candidates = sorted(i for i in self._plane.interfaces.names() if not self._skipped.search(i))
        matched = match_interfaces(self._known, candidates, self._addresses)
        before = self._active
        self._active = {interface: self._known[name] for interface, name in matched.items()}
        for interface in before.keys() - self._active.keys():
            self._forget(interface)
        for interface, update in self._active.items():
            self._program(interface, update)
        self._dispatch()

    def _forget(self, interface: str) -> None:
        for table in ("filter", "mangle", "raw"):
            self._offers.put(interface, table, ())
        for kind in _KINDS:
            self._groups.release(_user(kind, interface))
        self._marks.release(interface)

    def _program(self, interface: str, update: HostEndpointUpdate) -> None:
        context = self._plane.context
        normal = self._groups.of(_user("normal", interface), update.tiers)
        forward = self._groups.of(_user("forward", interface), update.forward_tiers, "forward")
        pre_dnat = self._groups.of(_user("pre-DNAT", interface), update.pre_dnat_tiers, "pre-DNAT")
        untracked = self._groups.of(_user("untracked", interface), update.untracked_tiers, "untracked")
        filter_chains = endpoint.host_filter_chains(context, interface, normal, forward, update.profiles)
        if context.config.kube_ipvs and interface != ANY_INTERFACE:
            mark = self._marks.assign(interface)
            filter_chains.append(endpoint.set_mark_chain(interface, mark, self._marks.block))
        mangle_chains = [endpoint.host_mangle_egress_chain(context, interface, normal[1], update.profiles)]
        if update.pre_dnat_tiers:
            mangle_chains.append(endpoint.host_mangle_ingress_chain(context, interface, pre_dnat[0]))
        raw_chains: list[Chain] = []
        if self._is_untracked(interface):
            raw_chains = endpoint.host_raw_chains(context, interface, *untracked)
        self._offers.put(interface, "filter", filter_chains)
        self._offers.put(interface, "mangle", mangle_chains)
        self._offers.put(interface, "raw", raw_chains)

    def _is_untracked(self, interface: str) -> bool:
        """Untracked policy does not apply to the endpoint of all interfaces."""
        return interface != ANY_INTERFACE and bool(self._active[interface].untracked_tiers)

    def _dispatch(self) -> None:
        context = self._plane.context
        named, wildcard = self.interfaces, ANY_INTERFACE in self._active
        pre_dnat = [i for i, update in self._active.items() if update.pre_dnat_tiers]
        untracked = [i for i in named if self._is_untracked(i)]
        self._put("filter", dispatch.host_filter_dispatch(context, named, wildcard))
        self._put(
            "mangle",
            (
                *dispatch.host_mangle_egress_dispatch(context, named, wildcard),
                *dispatch.host_mangle_ingress_dispatch(
                    context, [i for i in pre_dnat if i != ANY_INTERFACE], ANY_INTERFACE in pre_dnat
                ),
            ),
        )
        self._put("raw", dispatch.host_raw_dispatch(context, untracked))

    def _put(self, table: str, chains: Iterable[Chain]) -> None:
        self._offers.put("dispatch", table, chains)


def _user(kind: str, interface: str) -> str:
    return f"host {kind} {interface}"
