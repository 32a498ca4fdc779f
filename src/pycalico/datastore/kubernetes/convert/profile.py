"""Namespaces and service accounts as profiles."""

from __future__ import annotations

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.rule import Rule
from pycalico.api.v3.profile import Profile, ProfileSpec
from pycalico.datastore.kubernetes.convert import uid
from pycalico.datastore.kubernetes.core import Namespace, ServiceAccount

NAMESPACE_LABEL_PREFIX = "pcns."
SERVICE_ACCOUNT_LABEL_PREFIX = "pcsa."
DEFAULT_ALLOW = "projectcalico-default-allow"


def from_namespace(namespace: Namespace) -> Profile:
    """``kns.<name>``: allows everything, and lends the namespace's labels to its endpoints."""
    meta = namespace.metadata
    labels = {NAMESPACE_LABEL_PREFIX + key: value for key, value in meta.labels.items()}
    labels[NAMESPACE_LABEL_PREFIX + "projectcalico.org/name"] = meta.name
    return Profile(
        metadata=_metadata(meta, names.namespace_profile(meta.name), f"{meta.resource_version}/"),
        spec=ProfileSpec(
            ingress=[Rule(action="Allow")], egress=[Rule(action="Allow")], labels_to_apply=labels
        ),
    )


def from_service_account(account: ServiceAccount) -> Profile:
    """``ksa.<namespace>.<name>``: no rules, the account's labels."""
    meta = account.metadata
    labels = {SERVICE_ACCOUNT_LABEL_PREFIX + key: value for key, value in meta.labels.items()}
    labels[SERVICE_ACCOUNT_LABEL_PREFIX + "projectcalico.org/name"] = meta.name
    return Profile(
        metadata=_metadata(
            meta, names.service_account_profile(meta.namespace, meta.name), f"/{meta.resource_version}"
        ),
        spec=ProfileSpec(labels_to_apply=labels),
    )


def default_allow() -> Profile:
    """The profile that exists without being stored."""
    return Profile(
        metadata=ObjectMeta(name=DEFAULT_ALLOW, resource_version="0"),
        spec=ProfileSpec(ingress=[Rule(action="Allow")], egress=[Rule(action="Allow")]),
    )


def _metadata(meta: ObjectMeta, name: str, revision: str) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        uid=uid.reverse(meta.uid) if meta.uid else "",
        creation_timestamp=meta.creation_timestamp,
        resource_version=revision,
    )
