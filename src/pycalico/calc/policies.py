"""Which policies and profiles this node needs, and which of them apply to each local endpoint, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pycalico.api.meta import Key
from pycalico.api.v3.profile import Profile
from pycalico.calc import messages
from pycalico.calc.endpoints import Endpoint, Workload
from pycalico.calc.labels import LabelIndex
from pycalico.calc.messages import PolicyID, PolicyLists
from pycalico.calc.policyrules import PolicyModel, convert_rules
from pycalico.calc.scanner import SetDefinition, scan
from pycalico.calc.sequencer import Sequencer
from pycalico.calc.setmembers import SetMembers

TIER = "default"
#: A profile that an endpoint names but nobody has made must not let anything pass.
_MISSING = (messages.Rule(action="deny"),)


class _Local:
    """A local endpoint: exactly one of ``workload`` and ``host`` is set."""

    __slots__ = ("host", "profiles", "workload")

    def __init__(self, profiles: tuple[str, ...], workload: Workload | None, host: HostFacts | None) -> None:
        self.profiles = profiles
        self.workload = workload
        self.host = host


class HostFacts:
    """A local host endpoint's own facts."""

    __slots__ = ("expected", "interface", "name")

    def __init__(self, name: str, interface: str, expected: tuple[str, ...]) -> None:
        self.name = name
        self.interface = interface
        self.expected = expected


class Policies:
    """Active policies and profiles, and the policy lists of local endpoints."""

    def __init__(self, sequencer: Sequencer, sets: SetMembers) -> None:
        self._sequencer = sequencer
        self._sets = sets
        self._index: LabelIndex[Key, Key] = LabelIndex()
        self._models: dict[Key, PolicyModel] = {}
        self._active: dict[Key, list[str]] = {}
        self._local: dict[Key, _Local] = {}
        self._profiles: dict[str, Profile] = {}
        self._profile_users: dict[str, int] = {}
        self._profile_sets: dict[str, list[str]] = {}
        self._dirty: dict[Key, None] = {}
        self._changed: dict[Key, None] = {}

    # ---- policies

    def put_policy(self, key: Key, model: PolicyModel) -> None:
        before = self._models.get(key)
        if before == model:
            return
        self._models[key] = model
        if before is None or before.selector != model.selector:
            if before is not None:
                self._follow(self._index.discard(key))
            self._follow(self._index.add(key, model.selector))
        elif before.sort_key != model.sort_key or _reach(before) != _reach(model):
            self._dirty.update(dict.fromkeys(self._index.items_of(key)))
        self._activate(key)

    def remove_policy(self, key: Key) -> None:
        if key not in self._models:
            return
        self._follow(self._index.discard(key))
        model = self._models.pop(key)
        self._deactivate(key, model)

    def _follow(self, events: Iterable[tuple[Key, Key, bool]]) -> None:
        for policy, endpoint, _ in events:
            self._dirty[endpoint] = None
            self._changed[policy] = None

    def _activate(self, key: Key) -> None:
        """Tells of a policy that some local endpoint needs, and takes away one that none needs any more."""
        model = self._models[key]
        if not (model.everywhere or any(True for _ in self._index.items_of(key))):
            self._deactivate(key, model)
            return
        inbound, needed_in = scan(model.inbound)
        outbound, needed_out = scan(model.outbound)
        self._swap_sets(self._active, key, needed_in | needed_out)
        update = messages.PolicyUpdate(
            id=PolicyID(TIER, model.name),
            inbound=inbound,
            outbound=outbound,
            original_selector=model.selector.text,
            namespace=model.namespace,
            untracked=model.untracked,
            pre_dnat=model.pre_dnat,
        )
        self._sequencer.put("policy", update.id, update)

    def _deactivate(self, key: Key, model: PolicyModel) -> None:
        used = self._active.pop(key, None)
        if used is None:
            return
        identity = PolicyID(TIER, model.name)
        self._sequencer.remove("policy", identity, messages.PolicyRemove(identity))
        for set_id in used:
            self._sets.drop(set_id)

    def _swap_sets(self, users: dict[Key, list[str]], key: Key, needed: Mapping[str, SetDefinition]) -> None:
        before = users.get(key, [])
        for definition in needed.values():
            self._sets.use(definition)
        users[key] = list(needed)
        for set_id in before:
            self._sets.drop(set_id)

    # ---- profiles

    def put_profile(self, profile: Profile) -> None:
        self._profiles[profile.metadata.name] = profile
        self._follow(self._index.put_parent(profile.metadata.name, profile.spec.labels_to_apply))
        self._render_profile(profile.metadata.name)

    def remove_profile(self, name: str) -> None:
        self._profiles.pop(name, None)
        self._follow(self._index.remove_parent(name))
        self._render_profile(name)

    def _render_profile(self, name: str) -> None:
        if not self._profile_users.get(name):
            if name in self._profile_sets:
                self._sequencer.remove("profile", name, messages.ProfileRemove(name))
                for set_id in self._profile_sets.pop(name):
                    self._sets.drop(set_id)
            return
        profile = self._profiles.get(name)
        needed: dict[str, SetDefinition] = {}
        inbound = outbound = _MISSING
        if profile is not None:
            try:
                inbound, needed_in = scan(convert_rules(profile.spec.ingress, ""))  # type: ignore[assignment]
                outbound, needed_out = scan(convert_rules(profile.spec.egress, ""))  # type: ignore[assignment]
                needed = needed_in | needed_out
            except ValueError:
                inbound = outbound = _MISSING
        before = self._profile_sets.get(name, [])
        for definition in needed.values():
            self._sets.use(definition)
        self._profile_sets[name] = list(needed)
        for set_id in before:
            self._sets.drop(set_id)
        self._sequencer.put("profile", name, messages.ProfileUpdate(name, inbound, outbound))

    # ---- local endpoints

    def put_workload(self, key: Key, endpoint: Endpoint, workload: Workload) -> None:
        self._put_local(key, endpoint, _Local(endpoint.profiles, workload, None))

    def put_host(self, key: Key, endpoint: Endpoint, host: HostFacts) -> None:
        self._put_local(key, endpoint, _Local(endpoint.profiles, None, host))

    def _put_local(self, key: Key, endpoint: Endpoint, local: _Local) -> None:
        before = self._local.get(key)
        if (
            before is not None
            and before.workload
            and local.workload
            and before.workload.id != local.workload.id
        ):
            self.remove_local(key)
            before = None
        self._local[key] = local
        self._use_profiles(before.profiles if before else (), local.profiles)
        self._follow(self._index.put(key, endpoint.labels, endpoint.profiles))
        self._dirty[key] = None

    def remove_local(self, key: Key) -> None:
        local = self._local.pop(key, None)
        if local is None:
            return
        self._follow(self._index.remove(key))
        self._use_profiles(local.profiles, ())
        self._dirty.pop(key, None)
        if local.workload is not None:
            identity = local.workload.id
            self._sequencer.remove("workload", identity, messages.WorkloadEndpointRemove(identity))
        elif local.host is not None:
            name = local.host.name
            self._sequencer.remove("host_endpoint", name, messages.HostEndpointRemove(name))

    def _use_profiles(self, before: tuple[str, ...], now: tuple[str, ...]) -> None:
        for name in now:
            self._profile_users[name] = self._profile_users.get(name, 0) + 1
        for name in before:
            self._profile_users[name] -= 1
        for name in dict.fromkeys((*before, *now)):
            if bool(self._profile_users[name]) != (name in self._profile_sets):
                self._render_profile(name)
            if not self._profile_users[name]:
                del self._profile_users[name]

    # ---- resolution

    def resolve(self) -> None:
        """Works out everything that changed since the last time; called before each flush."""
        for key in list(self._changed):
            if key in self._models:
                active = key in self._active
                wanted = self._models[key].everywhere or any(True for _ in self._index.items_of(key))
                if wanted != active:
                    self._activate(key)
        self._changed.clear()
        for key in self._dirty:
            local = self._local.get(key)
            if local is None:
                continue
            models = [
                self._models[policy] for policy in self._index.matches_of(key) if policy in self._models
            ]
            models.sort(key=lambda model: model.sort_key)
            if local.workload is not None:
                self._sequencer.put("workload", local.workload.id, _workload_update(local, models))
            elif local.host is not None:
                self._sequencer.put("host_endpoint", local.host.name, _host_update(local, models))
        self._dirty.clear()


def _reach(model: PolicyModel) -> tuple[bool, ...]:
    return (model.ingress, model.egress, model.untracked, model.pre_dnat, model.apply_on_forward)


def _lists(models: list[PolicyModel]) -> tuple[PolicyLists, ...]:
    ingress = tuple(model.name for model in models if model.ingress)
    egress = tuple(model.name for model in models if model.egress)
    return (PolicyLists(TIER, ingress, egress),) if ingress or egress else ()


def _workload_update(local: _Local, models: list[PolicyModel]) -> messages.WorkloadEndpointUpdate:
    workload = local.workload
    assert workload is not None  # noqa: S101 - narrows the type; the caller looked
    normal = [model for model in models if not (model.untracked or model.pre_dnat)]
    return messages.WorkloadEndpointUpdate(
        id=workload.id,
        interface=workload.interface,
        mac=workload.mac,
        profiles=local.profiles,
        ipv4_nets=workload.of_family(ipv6=False),
        ipv6_nets=workload.of_family(ipv6=True),
        tiers=_lists(normal),
        ipv4_nats=workload.nats_of(ipv6=False),
        ipv6_nats=workload.nats_of(ipv6=True),
        allow_spoofed_source_prefixes=workload.spoofed,
    )


def _host_update(local: _Local, models: list[PolicyModel]) -> messages.HostEndpointUpdate:
    host = local.host
    assert host is not None  # noqa: S101 - narrows the type; the caller looked
    normal = [model for model in models if not (model.untracked or model.pre_dnat)]
    pre_dnat = [model for model in models if model.pre_dnat]
    return messages.HostEndpointUpdate(
        name=host.name,
        interface=host.interface,
        profiles=local.profiles,
        expected_ipv4=tuple(item for item in host.expected if ":" not in item),
        expected_ipv6=tuple(item for item in host.expected if ":" in item),
        tiers=_lists(normal),
        untracked_tiers=_lists([model for model in models if model.untracked]),
        pre_dnat_tiers=tuple(
            PolicyLists(tier.tier, tier.ingress) for tier in _lists(pre_dnat) if tier.ingress
        ),
        forward_tiers=_lists([model for model in normal if model.apply_on_forward]),
    )
