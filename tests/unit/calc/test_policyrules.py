"""The text of policies' selectors, which identifiers of chains are made of."""

import msgspec
import pytest

from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy
from pycalico.calc.policyrules import from_global_policy

NS, SA = "has(projectcalico.org/namespace)", "has(projectcalico.org/serviceaccount)"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"selector": "all()"}, "all()"),
        ({"selector": "app == 'a'", "namespaceSelector": "team == 'b'"}, '(app == "a" && pcns.team == "b")'),
        # Host endpoints are in no namespace: a policy for a namespace must not reach them by its all().
        ({"selector": "all()", "namespaceSelector": "team == 'b'"}, f'({NS} && pcns.team == "b")'),
        ({"namespaceSelector": "all()"}, NS),
        ({"selector": "all()", "serviceAccountSelector": "role == 'x'"}, f'({SA} && pcsa.role == "x")'),
        (
            {"selector": "all()", "namespaceSelector": "all()", "serviceAccountSelector": "all()"},
            f"(({NS} && {NS}) && {SA})",
        ),
    ],
)
def test_selector_of_a_global_policy(spec, text):
    policy = msgspec.convert({"metadata": {"name": "default.p"}, "spec": spec}, GlobalNetworkPolicy)
    assert from_global_policy(policy).selector.text == text
