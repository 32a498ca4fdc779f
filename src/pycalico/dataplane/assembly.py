"""Puts planes, targets and the order of writing together."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers import backend, choice, detours, leftovers, tunnels
from pycalico.dataplane.drivers.chains import Chains
from pycalico.dataplane.drivers.conntrack import ConntrackCleaner
from pycalico.dataplane.drivers.ipsets import IPSets
from pycalico.dataplane.drivers.iptables import Options, Table
from pycalico.dataplane.drivers.leftovers import Leftovers
from pycalico.dataplane.drivers.neighbours import Entries
from pycalico.dataplane.drivers.nft.generation import Generation
from pycalico.dataplane.drivers.nft.table import NftTable
from pycalico.dataplane.drivers.nft.wishes import NativeChains
from pycalico.dataplane.drivers.routes import Ownership, Routes
from pycalico.dataplane.drivers.settings import Setting, Settings
from pycalico.dataplane.drivers.status_files import StatusFiles
from pycalico.dataplane.drivers.tunnels import Tunnel, Tunnels
from pycalico.dataplane.drivers.wireguard import Devices, OnKey, Peers
from pycalico.dataplane.drivers.xtables_lock import XtablesLock
from pycalico.dataplane.managers.native_sets import NativeSetWishes
from pycalico.dataplane.managers.plane import TABLES, MTUs, Plane, Sets, SetWishes, WireguardWishes
from pycalico.dataplane.managers.vxlan import cluster_protocol
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.marks import allocate
from pycalico.kernel import features, wireguard
from pycalico.kernel.interfaces import Interfaces
from pycalico.reconcile.desired import Desired
from pycalico.reconcile.pipeline import Stage
from pycalico.reconcile.reconciler import Reconciler

log = logging.getLogger(__name__)

_LOCK_TIMEOUT_S = 10
#: The kernel has one lock for nf_tables, so threads help with what there is to compile only.
_IN_TURN_MOST = 200


class Assembly(msgspec.Struct):
    """All that the engine drives. ``tables`` and ``routes`` are in no order of writing: that is ``stages``.

    ``natives`` are nftables' tables; where there are any, ``tables`` and ``sets``, which are iptables', are empty.
    ``note`` is of the choice between them, ``remark`` tells what else is not as asked for; ``encrypts``: WireGuard is
    asked for and there is one.
    """

    planes: list[Plane]
    stages: list[Stage]
    tables: list[Reconciler[Any, Any, Any]]
    sets: list[Reconciler[Any, Any, Any]]
    routes: dict[int, Reconciler[Any, Any, Any]]
    links: list[Reconciler[Any, Any, Any]]
    natives: list[Reconciler[Any, Any, Any]]
    channels: ExitStack
    generation: Generation
    leftovers: Leftovers
    status_files: Reconciler[Any, Any, Any] | None
    cleaner: ConntrackCleaner
    backend: str
    note: str
    lock: XtablesLock | None
    remark: str
    encrypts: bool

    @property
    def rules(self) -> list[Reconciler[Any, Any, Any]]:
        """Whatever holds rules and sets."""
        return [*self.natives, *self.tables, *self.sets]

    def has_failed_setting(self, interface: str) -> bool:
        """Whether one of the link's sysctls could not be written."""
        return any(f"/{interface}/" in key for key in self.planes[0].settings.failures)

    def close(self) -> None:
        self.cleaner.close()
        self.channels.close()


def families(config: DataplaneConfig) -> tuple[int, ...]:
    """IPv6 only where it is wished and the kernel has it."""
    if not config.ipv6:
        return (4,)
    if not os.path.exists("/proc/sys/net/ipv6"):  # noqa: PTH110
        log.warning("the kernel has no IPv6: going on with IPv4 only")
        return (4,)
    return (4, 6)


def assemble(config: DataplaneConfig, interfaces: Interfaces, mtus: MTUs, on_key: OnKey) -> Assembly:
    """Raises ValueError for a configuration that cannot work, NftablesUnfit (one too) where the kernel lacks it."""
    found = features.detect(config.feature_overrides)
    wanted = families(config)
    chosen = choice.choose(config.nftables_mode, wanted)
    config = config.for_nftables() if chosen.native else config
    variant = "nftables" if chosen.native else backend.choose(config.iptables_backend, wanted)
    lock = _lock(config) if variant == "legacy" else None
    generation = Generation()
    channels = ExitStack()
    channels.callback(generation.close)
    cleaner = ConntrackCleaner()
    enabled = {4: config.vxlan, 6: config.vxlan_v6}
    tunnel_target = Tunnels(
        interfaces,
        config.ipip_clean_up,
        config.feature_overrides.get("ChecksumOffloadBroken", True),
        frozenset(tunnels.VXLAN[family] for family, on in enabled.items() if on),
    )
    tunnel_links: Reconciler[str, Tunnel, Tunnel] = Reconciler("tunnels", tunnel_target)
    setting_target = Settings()
    settings: Reconciler[str, Setting, str] = Reconciler("settings", setting_target)
    setting_target.wanted = lambda: list(settings.delta.wanted)
    settings.want("net/ipv4/ip_forward", Setting("1"))
    if 6 in wanted:
        settings.want("net/ipv6/conf/all/forwarding", Setting("1"))
    if config.wireguard and config.wireguard_host_encryption:
        settings.want("net/ipv4/conf/all/src_valid_mark", Setting("1"))

    if config.connection_pruning:
        # Else what the other side still sends would open a cut connection again, from its side.
        settings.want("net/netfilter/nf_conntrack_tcp_loose", Setting("0", required=False))

    planes: list[Plane] = []
    tables: list[Reconciler[Any, Any, Any]] = []
    sets: list[Reconciler[Any, Any, Any]] = []
    routes: dict[int, Reconciler[Any, Any, Any]] = {}
    entries: list[Reconciler[Any, Any, Any]] = []
    ciphers: list[WireguardWishes] = []
    natives: list[Reconciler[Any, Any, Any]] = []
    for family in wanted:
        context = RuleContext(
            config,
            allocate(config.mark_mask, config.wireguard or config.wireguard_v6),
            family,
            found.snat_fully_random,
            found.masquerade_fully_random,
            native=chosen.native,
        )
        if chosen.native:
            chains, set_wishes = _use_nftables(context, generation, natives, channels)
        else:
            options = Options(
                config.chain_insert_mode.lower() == "insert",
                _wait(config, variant, found.restore_waits),
                lock,
            )
            chains, set_wishes = _use_iptables(context, variant, options, tables, sets)
        cipher = _wireguard(context, interfaces, on_key)
        ciphers.append(cipher)
        plane = _plane(context, interfaces, mtus, cleaner, tunnel_links, settings, cipher, chains, set_wishes)
        planes.append(plane)
        routes[family] = plane.route_reconciler
        entries += [plane.neighbours, plane.tunnel_neighbours, plane.forwarding]

    files: Reconciler[Any, Any, Any] | None = None
    if config.endpoint_status_path:
        files = Reconciler("status files", StatusFiles(config.endpoint_status_path))
    written = [*routes.values(), *(item.routes for item in ciphers)] if config.route_sync else []
    lacks = wireguard.lacks() if config.wireguard or config.wireguard_v6 else ""
    watched = (
        [each for item in ciphers for each in item.all] if config.wireguard or config.wireguard_v6 else []
    )
    stages = [
        Stage("links", [tunnel_links, settings, *(item.devices for item in ciphers)]),
        Stage("nftables", natives, in_turn_most=_IN_TURN_MOST),
        Stage("IP sets", sets, deletes=False),
        Stage("routes", [*entries, *(item.peers for item in ciphers), *written]),
        # Packets go there once there is a way on.
        Stage("rules", [item.rules for item in ciphers]),
        Stage("iptables", tables),
        # A set can go once no rule names it.
        Stage("IP set removal", sets, puts=False),
    ]
    return Assembly(
        planes,
        stages,
        tables,
        sets,
        routes,
        [tunnel_links, settings, *entries, *watched],
        natives,
        channels,
        generation,
        leftovers.of_iptables(wanted) if chosen.native else leftovers.of_nftables(wanted),
        files,
        cleaner,
        variant,
        chosen.note,
        lock,
        _remark(lacks),
        not lacks,
    )


def _remark(lacks: str) -> str:
    """The rules are as with it; the device and its routes are not made."""
    if not lacks:
        return ""
    note = f"WireGuard is off: {lacks}"
    log.warning("%s", note)
    return note


def _wireguard(context: RuleContext, interfaces: Interfaces, on_key: OnKey) -> WireguardWishes:
    config, family = context.config, context.family
    v4 = family == 4
    name = config.wireguard_interface if v4 else config.wireguard_interface_v6
    devices = Devices(
        name,
        family,
        interfaces,
        on_key,
        suspect=config.wireguard_host_encryption,
        published=config.wireguard_key if v4 else config.wireguard_key_v6,
    )
    routes = detours.TableRoutes(family, config.wireguard_table, name, config.route_protocol, interfaces)
    return WireguardWishes(
        Reconciler(f"WireGuard device v{family}", devices),
        Reconciler(f"WireGuard peers v{family}", Peers(name, interfaces)),
        Reconciler(f"WireGuard routes v{family}", routes),
        Reconciler(f"WireGuard rules v{family}", detours.DetourRules(family, config.wireguard_table)),
    )


def _use_nftables(
    context: RuleContext,
    generation: Generation,
    natives: list[Reconciler[Any, Any, Any]],
    channels: ExitStack,
) -> tuple[dict[str, Chains], Sets]:
    """Adds to ``natives`` and, what is to be closed, to ``channels``."""
    target = NftTable(context.family, generation)
    channels.callback(target.close)
    native: Reconciler[Any, Any, Any] = Reconciler(f"nftables v{context.family}", target)
    target.wanted = lambda: native.delta.wanted
    natives.append(native)
    return {table: NativeChains(native, table) for table in TABLES}, NativeSetWishes(context, native)


def _use_iptables(
    context: RuleContext,
    variant: str,
    options: Options,
    tables: list[Reconciler[Any, Any, Any]],
    sets: list[Reconciler[Any, Any, Any]],
) -> tuple[dict[str, Chains], Sets]:
    """Adds to ``tables`` and ``sets``."""
    programs = backend.programs(context.family, variant)
    chains = {}
    for table in TABLES:
        reconciler: Reconciler[Any, Any, Any] = Reconciler(
            f"iptables {table} v{context.family}", Table(table, programs, options)
        )
        tables.append(reconciler)
        chains[table] = Chains(reconciler)
    held: Reconciler[Any, Any, Any] = Reconciler(f"IP sets v{context.family}", IPSets(context.family))
    sets.append(held)
    return chains, SetWishes(context, held)


def _plane(
    context: RuleContext,
    interfaces: Interfaces,
    mtus: MTUs,
    cleaner: ConntrackCleaner,
    tunnel_links: Reconciler[str, Tunnel, Tunnel],
    settings: Reconciler[str, Setting, str],
    cipher: WireguardWishes,
    chains: dict[str, Chains],
    set_wishes: Sets,
) -> Plane:
    config, family = context.config, context.family
    owns = Ownership(
        config.interface_prefixes,
        (*tunnels.VXLAN.values(), tunnels.IPIP),
        config.route_protocol,
        cluster_protocol(config.route_protocol),
        config.remove_external_routes,
        config.route_grace_s,
    )
    target = Routes(family, interfaces, owns, cleaner)
    routes: Reconciler[Any, Any, Any] = Reconciler(f"routes v{family}", target)
    target.wanted = _wants(routes)
    devices = (tunnels.VXLAN[family],)
    prefixes = "^(" + "|".join(config.interface_prefixes) + ")"
    workload_entries = Entries(family, interfaces, (), only_added=prefixes)
    neighbours: Reconciler[Any, Any, Any] = Reconciler(f"neighbours v{family}", workload_entries)
    workload_entries.wanted = _wants(neighbours)
    return Plane(
        context=context,
        interfaces=interfaces,
        tables=chains,
        sets=set_wishes,
        routes=Desired(routes.want, routes.unwant),
        route_reconciler=routes,
        neighbours=neighbours,
        tunnel_neighbours=Reconciler(f"tunnel neighbours v{family}", Entries(family, interfaces, devices)),
        forwarding=Reconciler(f"forwarding v{family}", Entries(family, interfaces, devices, forwarding=True)),
        tunnels=tunnel_links,
        settings=settings,
        wireguard=cipher,
        mtus=mtus,
        unions=set_wishes if isinstance(set_wishes, NativeSetWishes) else None,
    )


def _wants(reconciler: Reconciler[Any, Any, Any]) -> Callable[[Any], bool]:
    return lambda key: key in reconciler.delta.wanted


def _lock(config: DataplaneConfig) -> XtablesLock:
    return XtablesLock(
        config.iptables_lock_file, _lock_timeout_s(config), config.iptables_lock_probe_interval_s
    )


def _lock_timeout_s(config: DataplaneConfig) -> float:
    return config.iptables_lock_timeout_s if config.iptables_lock_timeout_s > 0 else _LOCK_TIMEOUT_S


def _wait(config: DataplaneConfig, variant: str, supported: bool) -> tuple[str, ...]:
    """The nft variant has no lock to wait for."""
    if variant == "nft" or not supported:
        return ()
    timeout_s = _lock_timeout_s(config)
    interval_us = int(config.iptables_lock_probe_interval_s * 1_000_000)
    return ("--wait", str(int(timeout_s)), "--wait-interval", str(interval_us))
