"""The profile that exists in every datastore without being stored."""

from __future__ import annotations

from pycalico.api.meta import ObjectMeta
from pycalico.api.rule import Rule
from pycalico.api.v3.profile import Profile, ProfileSpec

NAME = "projectcalico-default-allow"
REFUSAL = f'The profile "{NAME}" is a default provided by Calico and cannot be {{}}'


def profile() -> Profile:
    return Profile(
        metadata=ObjectMeta(name=NAME, resource_version="0"),
        spec=ProfileSpec(ingress=[Rule(action="Allow")], egress=[Rule(action="Allow")]),
    )
