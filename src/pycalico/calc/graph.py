"""The calculation: updates of resources in, messages for the dataplane out. Its output depends on the present state only.

Whatever does not parse counts as deleted and is reported once by name, so that one bad object neither stops
the others nor leaves its old self in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pycalico.api.meta import Key, Resource
from pycalico.api.v3.bgpconfiguration import BGPConfiguration
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.api.v3.hostendpoint import HostEndpoint
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.kubernetes import KubernetesEndpointSlice
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, KubernetesNetworkPolicy, NetworkPolicy
from pycalico.api.v3.networkset import GlobalNetworkSet, NetworkSet
from pycalico.api.v3.node import Node
from pycalico.api.v3.profile import Profile
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.calc import endpoints, felixconfig, messages, network, policyrules
from pycalico.calc.messages import Message
from pycalico.calc.network import Network
from pycalico.calc.policies import HostFacts, Policies
from pycalico.calc.policyrules import convert_rules
from pycalico.calc.routes import Routes
from pycalico.calc.sequencer import Sequencer
from pycalico.calc.setmembers import SetMembers
from pycalico.calc.settings import CalcSettings
from pycalico.syncer.update import Update

log = logging.getLogger(__name__)

#: What a syncer must watch for the calculation. Blocks are left out where addresses come from PodCIDRs.
KINDS: tuple[type[Resource], ...] = (
    ClusterInformation,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    IPPool,
    Node,
    Profile,
    WorkloadEndpoint,
    NetworkPolicy,
    NetworkSet,
    HostEndpoint,
    BGPConfiguration,
    IPAMBlock,
)
#: Only Kubernetes has these: elsewhere policies are written in Calico's own form.
KUBERNETES_KINDS: tuple[type[Resource], ...] = (KubernetesNetworkPolicy, KubernetesEndpointSlice)
_GLOBAL = "default"
_COUNTED = {
    "NetworkPolicy": "policies",
    "GlobalNetworkPolicy": "policies",
    "KubernetesNetworkPolicy": "policies",
    "Profile": "profiles",
    "WorkloadEndpoint": "workload_endpoints",
    "HostEndpoint": "host_endpoints",
    "Node": "hosts",
}


class CalcGraph:
    """One node's calculation. Not thread-safe: one thread feeds and flushes it."""

    def __init__(self, settings: CalcSettings) -> None:
        self._settings = settings
        self._sequencer = Sequencer()
        self._sets = SetMembers(self._sequencer)
        self._policies = Policies(self._sequencer, self._sets)
        self._network = Network(self._sequencer, settings)
        self._routes = Routes(self._sequencer, settings.hostname, use_pod_cidrs=settings.use_pod_cidrs)
        self._workload_nets: dict[Key, tuple[str, tuple[str, ...]]] = {}
        self._config: dict[str, dict[str, str]] = {}
        self._refused: dict[Key, str] = {}
        self._known: dict[Key, None] = {}
        self._in_sync = self._told_in_sync = False
        #: Updates taken so far, by kind, and messages given.
        self.processed: dict[str, int] = {}
        self.events = 0
        self._handlers: dict[str, Callable[[Key, Any], None]] = {
            "ClusterInformation": self._on_cluster,
            "FelixConfiguration": self._on_config,
            "BGPConfiguration": self._on_bgp_configuration,
            "IPPool": self._on_pool,
            "IPAMBlock": self._on_block,
            "Node": self._on_node,
            "Profile": self._on_profile,
            "NetworkPolicy": self._on_policy,
            "KubernetesNetworkPolicy": self._on_policy,
            "GlobalNetworkPolicy": self._on_policy,
            "NetworkSet": self._on_network_set,
            "GlobalNetworkSet": self._on_network_set,
            "HostEndpoint": self._on_host_endpoint,
            "WorkloadEndpoint": self._on_workload,
            "KubernetesEndpointSlice": self._on_slice,
        }

    @property
    def refused(self) -> dict[Key, str]:
        """Objects that are left out now, with the reason."""
        return dict(self._refused)

    def counts(self) -> dict[str, int]:
        """How much of each there is, for metrics."""
        kinds = {"policies": 0, "profiles": 0, "workload_endpoints": 0, "host_endpoints": 0, "hosts": 0}
        for key in list(self._known):
            counted = _COUNTED.get(key.kind)
            if counted:
                kinds[counted] += 1
        index = self._sets.index
        endpoints, selectors = index.sizes()
        return {
            **kinds,
            "index_endpoints": endpoints,
            "index_selectors": selectors,
            "index_slow_selectors": index.slow_selectors,
            "index_hits": index.hits,
            "index_misses": index.misses,
            **{f"searches_{how}": count for how, count in index.searches.items()},
            "local_endpoints": self._policies.local_endpoints,
            "local_policies": self._policies.active_policies,
        }

    def update(self, update: Update) -> None:
        """Takes over the state of one key."""
        handler = self._handlers.get(update.key.kind)
        if handler is None:
            return
        self.processed[update.key.kind] = self.processed.get(update.key.kind, 0) + 1
        try:
            handler(update.key, update.value)
        except ValueError as error:
            if self._refused.get(update.key) != str(error):
                log.warning("%s is not valid: %s; it counts as deleted", update.key, error)
            self._refused[update.key] = str(error)
            self._known.pop(update.key, None)
            handler(update.key, None)
            return
        self._refused.pop(update.key, None)
        if update.value is None:
            self._known.pop(update.key, None)
        else:
            self._known[update.key] = None

    def set_in_sync(self) -> None:
        """All that existed at the start has been fed."""
        self._in_sync = True

    def flush(self) -> list[Message]:
        """What the dataplane has not been told yet. Nothing before everything that existed at the start is known."""
        if not self._in_sync:
            return []
        self._network.tell_encapsulation()
        self._policies.resolve()
        self._routes.resolve()
        found = list(self._sequencer.flush())
        if not self._told_in_sync:
            self._told_in_sync = True
            found.append(messages.InSync())
        self.events += len(found)
        return found

    # ---- one handler a kind; value None means gone

    def _on_workload(self, key: Key, value: WorkloadEndpoint | None) -> None:
        found = (
            endpoints.from_workload(value, spoofing_allowed=self._settings.spoofing_allowed)
            if value is not None
            else None
        )
        if found is None:
            self._sets.remove(key)
            self._policies.remove_local(key)
            self._routes.remove_workload(*self._workload_nets.pop(key, ("", ())))
            return
        endpoint, workload = found
        self._sets.put(key, endpoint.labels, endpoint.profiles, endpoint.contributor)
        node = value.spec.node if value is not None else ""
        local = node == self._settings.hostname
        before = self._workload_nets.pop(key, ("", ()))
        if local:
            self._policies.put_workload(key, endpoint, workload)
        else:
            self._policies.remove_local(key)
        if local or self._settings.workload_routes:
            self._workload_nets[key] = (node, workload.nets)
            self._routes.add_workload(node, workload.nets)
        self._routes.remove_workload(*before)

    def _on_host_endpoint(self, key: Key, value: HostEndpoint | None) -> None:
        if value is None:
            self._sets.remove(key)
            self._policies.remove_local(key)
            return
        endpoint = endpoints.from_host(value)
        self._sets.put(key, endpoint.labels, endpoint.profiles, endpoint.contributor)
        if value.spec.node == self._settings.hostname:
            expected = tuple(net.split("/")[0] for net in endpoint.contributor.nets)
            facts = HostFacts(key.name, value.spec.interface_name, expected)
            self._policies.put_host(key, endpoint, facts)
        else:
            self._policies.remove_local(key)

    def _on_network_set(self, key: Key, value: NetworkSet | GlobalNetworkSet | None) -> None:
        if value is None:
            self._sets.remove(key)
            return
        endpoint = endpoints.from_network_set(value)
        self._sets.put(key, endpoint.labels, endpoint.profiles, endpoint.contributor)

    def _on_policy(self, key: Key, value: NetworkPolicy | GlobalNetworkPolicy | None) -> None:
        if value is None:
            self._policies.remove_policy(key)
            return
        if isinstance(value, GlobalNetworkPolicy):
            model = policyrules.from_global_policy(value)
        else:
            model = policyrules.from_network_policy(value)
        self._policies.put_policy(key, model)
        decides_all = not (model.untracked or model.pre_dnat)
        if decides_all and any(policyrules.only_logs(rules) for rules in (model.inbound, model.outbound)):
            # Many expect that what is only logged passes.
            log.warning("%s has rules that log and allows nothing: what it selects is denied", model.name)
        if any(rule.http for rule in model.inbound):
            log.warning(
                "%s allows by HTTP, which is not looked into: the rest of the rule decides", model.name
            )

    def _on_profile(self, key: Key, value: Profile | None) -> None:
        if value is None:
            self._sets.remove_profile(key.name)
            self._policies.remove_profile(key.name)
            return
        # Rules that do not parse refuse the whole profile, which then denies.
        convert_rules(value.spec.ingress, "")
        convert_rules(value.spec.egress, "")
        self._sets.put_profile_labels(key.name, value.spec.labels_to_apply)
        self._policies.put_profile(value)

    def _on_slice(self, key: Key, value: KubernetesEndpointSlice | None) -> None:
        if value is None:
            self._sets.remove_slice(key)
        else:
            self._sets.put_slice(value)

    def _on_pool(self, key: Key, value: IPPool | None) -> None:
        if value is not None:
            network.pool_facts(value)
        self._network.remove_pool(key.name)
        if value is not None:
            self._network.put_pool(value)
        self._routes.put_pools(self._network.pools())

    def _on_node(self, key: Key, value: Node | None) -> None:
        if value is None:
            self._network.remove_node(key.name)
            self._routes.remove_node(key.name)
            found = {}
        else:
            facts = network.node_facts(value)
            self._network.put_node(facts)
            self._routes.put_node(facts)
            found = tunnel_parameters(facts)
        if key.name == self._settings.hostname:
            self._put_config("node", found)

    def _on_block(self, key: Key, value: IPAMBlock | None) -> None:
        if self._settings.workload_routes:
            return
        if value is None or value.spec.deleted:
            self._routes.remove_block(key.name)
        else:
            self._routes.put_block(key.name, value)

    def _on_cluster(self, key: Key, value: ClusterInformation | None) -> None:
        if key.name != _GLOBAL:
            return
        ready = value is not None and value.spec.datastore_ready is not False
        self._sequencer.put("ready", "", messages.ReadyFlag(ready))
        self._put_config("cluster", felixconfig.cluster_parameters(value) if value is not None else {})

    def _on_config(self, key: Key, value: FelixConfiguration | None) -> None:
        if key.name in (_GLOBAL, f"node.{self._settings.hostname}"):
            self._put_config(key.name, felixconfig.parameters(value) if value is not None else {})

    def _put_config(self, source: str, parameters: dict[str, str]) -> None:
        self._config[source] = parameters
        everywhere = {**self._config.get("cluster", {}), **self._config.get(_GLOBAL, {})}
        own = f"node.{self._settings.hostname}"
        here = {**self._config.get("node", {}), **self._config.get(own, {})}
        self._sequencer.put("config", "", messages.ConfigUpdate(everywhere, here))

    def _on_bgp_configuration(self, key: Key, value: BGPConfiguration | None) -> None:
        if key.name == _GLOBAL:
            self._network.put_bgp_configuration(value)


def tunnel_parameters(facts: network.NodeFacts) -> dict[str, str]:
    """What Felix takes from its own Node object."""
    values = {
        "IpInIpTunnelAddr": facts.ipip,
        "IPv4VXLANTunnelAddr": facts.vxlan4,
        "IPv6VXLANTunnelAddr": facts.vxlan6,
        "VXLANTunnelMACAddr": facts.mac4 if facts.vxlan4 else "",
        "VXLANTunnelMACAddrV6": facts.mac6 if facts.vxlan6 else "",
    }
    return {name: value for name, value in values.items() if value}
