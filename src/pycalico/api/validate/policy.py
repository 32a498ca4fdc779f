"""Policies and profiles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pycalico.api.rule import Rule
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, NetworkPolicy
from pycalico.api.v3.profile import Profile
from pycalico.api.validate import metadata, rules, values
from pycalico.api.validate.faults import Faults

_POLICY_NAME = re.compile(rf"({values.LABEL})|((?:knp|ossg)\.default\.({values.SUBDOMAIN}))")
_NAME_RULE = f"name must consist of lower case alphanumeric characters or '-' (regex: {values.LABEL})"
_TYPES = values.one_of("Ingress", "Egress")
_HINTS = values.one_of("AssumeNeededOnEveryNode")


def network_policy(faults: Faults, policy: NetworkPolicy) -> None:
    spec = policy.spec
    _spec(faults, policy)
    _repeats(faults, "NetworkPolicySpec.Types", spec.types)
    _name(faults, policy, fits=_POLICY_NAME.fullmatch(policy.metadata.name) is not None)
    _egress(faults, spec.egress, "not allowed in egress rule")
    _ingress(faults, spec.ingress)
    for name, text in (
        ("Selector", spec.selector),
        ("ServiceAccountSelector", spec.service_account_selector),
    ):
        if rules.GLOBAL in text:
            faults.add(f"NetworkPolicySpec.{name}", text, rules.GLOBAL_ONLY_IN_NAMESPACES)


def global_policy(faults: Faults, policy: GlobalNetworkPolicy) -> None:
    spec = policy.spec
    _spec(faults, policy)
    _name(faults, policy, fits=values.is_label(policy.metadata.name))
    if spec.do_not_track and spec.pre_dnat:
        faults.add(
            "PolicySpec.PreDNAT",
            spec.pre_dnat,
            "PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec",
        )
    if spec.pre_dnat and spec.egress:
        faults.add("PolicySpec.Egress", spec.egress, "PreDNAT PolicySpec cannot have any Egress rules")
    if spec.pre_dnat and "Egress" in spec.types:
        faults.add("PolicySpec.Types", spec.types, "PreDNAT PolicySpec cannot have 'egress' Type")
    if not spec.apply_on_forward and (spec.do_not_track or spec.pre_dnat):
        faults.add(
            "PolicySpec.ApplyOnForward",
            spec.apply_on_forward,
            "ApplyOnForward must be true if either PreDNAT or DoNotTrack is true, for a given PolicySpec",
        )
    _repeats(faults, "GlobalNetworkPolicySpec.Types", spec.types)
    _egress(faults, spec.egress, "not allowed in egress rules")
    _ingress(faults, spec.ingress)
    # Beyond a namespace, a service's name alone does not tell which service.
    sides = [rule.destination for rule in spec.egress] + [rule.source for rule in spec.ingress]
    for side in sides:
        if side.services is not None and not side.services.namespace:
            faults.add("Namespace", "", "must specify a namespace")
    for name, text in (
        ("Selector", spec.selector),
        ("ServiceAccountSelector", spec.service_account_selector),
        ("NamespaceSelector", spec.namespace_selector),
    ):
        if rules.GLOBAL in text:
            faults.add(f"GlobalNetworkPolicySpec.{name}", spec.selector, rules.GLOBAL_ONLY_IN_NAMESPACES)


def profile(faults: Faults, found: Profile) -> None:
    for rule in (*found.spec.ingress, *found.spec.egress):
        rules.check(faults, rule)
    labels = found.spec.labels_to_apply
    if any(True for key in labels for _ in metadata.qualified_name(key)) or any(
        True for value in labels.values() for _ in metadata.label_value(value)
    ):
        faults.tag("LabelsToApply", labels, "labels")


def _spec(faults: Faults, policy: NetworkPolicy | GlobalNetworkPolicy) -> None:
    spec = policy.spec
    for rule in (*spec.ingress, *spec.egress):
        rules.check(faults, rule)
    faults.field("Selector", spec.selector, "selector", values.is_selector)
    faults.each("Types", spec.types, "policyType", _TYPES)
    faults.field("ServiceAccountSelector", spec.service_account_selector, "selector", values.is_selector)
    if isinstance(policy, GlobalNetworkPolicy):
        faults.field("NamespaceSelector", policy.spec.namespace_selector, "selector", values.is_selector)
    if len(set(spec.performance_hints)) != len(spec.performance_hints):
        faults.tag("PerformanceHints", spec.performance_hints, "unique")
    else:
        faults.each("PerformanceHints", spec.performance_hints, "oneof", _HINTS)


def _name(faults: Faults, policy: NetworkPolicy | GlobalNetworkPolicy, *, fits: bool) -> None:
    meta = policy.metadata
    metadata.name_length(faults, meta.name)
    if not fits:
        faults.add("Metadata.Name", meta.name, _NAME_RULE)
    metadata.check_annotations(faults, meta.annotations)
    metadata.check_labels(faults, meta.labels)


def _repeats(faults: Faults, field: str, types: Sequence[str]) -> None:
    for index, name in enumerate(types):
        if name in types[:index]:
            faults.add(field, types, f"'{name}' type specified more than once")


def _egress(faults: Faults, found: Sequence[Rule], http_reason: str) -> None:
    for rule in found:
        if rule.source.services is not None:
            faults.add("Services", rule.source.services, "not allowed in egress rule source")
        if rule.http is not None:
            faults.add("HTTP", rule.http, http_reason)


def _ingress(faults: Faults, found: Sequence[Rule]) -> None:
    for rule in found:
        if rule.destination.services is not None:
            faults.add("Services", rule.destination.services, "not allowed in ingress rule destination")
