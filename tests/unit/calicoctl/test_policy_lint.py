"""Policies that may not do what was meant, by data."""

import json

import msgspec
import pytest
from typer.testing import CliRunner

from pycalico.api.v3.networkpolicy import NetworkPolicy
from pycalico.calc.lint import findings
from pycalico.cli import app

_ALLOW, _DENY, _LOG, _PASS = ({"action": action} for action in ("Allow", "Deny", "Log", "Pass"))
_WEB = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}
_LOGS = "it selects endpoints and only logs: their ingress traffic is denied"


def _policy(spec):
    meta = {"name": "default.p", "namespace": "ns"}
    return {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"ingress": [_WEB]}, []),
        ({"ingress": [_LOG, _WEB]}, []),
        ({"ingress": [_PASS]}, []),
        ({"ingress": [_LOG]}, [_LOGS]),
        ({"types": ["Ingress"], "ingress": [_LOG, _LOG]}, [_LOGS]),
        ({"ingress": [_DENY]}, ["it selects endpoints and allows nothing: their ingress traffic is denied"]),
        ({}, ["it selects endpoints and allows nothing: all of their ingress traffic is denied"]),
        (
            {"types": ["Ingress", "Egress"], "ingress": [_ALLOW]},
            ["it selects endpoints and allows nothing: all of their egress traffic is denied"],
        ),
        (
            {"types": ["Ingress"], "ingress": [_ALLOW], "egress": [_ALLOW]},
            ["its egress rules do nothing: types does not list Egress"],
        ),
        ({"egress": [_ALLOW]}, []),
        (
            {"ingress": [_LOG, _ALLOW, _WEB]},
            ["ingress rules after the 2. are never reached: it takes everything"],
        ),
        ({"ingress": [_WEB, {**_DENY, "metadata": {"annotations": {"a": "b"}}}]}, []),
        (
            {"ingress": [{**_ALLOW, "metadata": {"annotations": {"a": "b"}}, "source": {}}, _DENY]},
            ["ingress rules after the 1. are never reached: it takes everything"],
        ),
    ],
)
def test_findings(spec, wanted):
    assert list(findings(msgspec.convert(_policy(spec), NetworkPolicy))) == wanted


def test_the_command(tmp_path):
    bad, good = tmp_path / "bad.json", tmp_path / "good.json"
    bad.write_text(json.dumps(_policy({"ingress": [_LOG]})))
    good.write_text(json.dumps(_policy({"ingress": [_WEB]})))
    done = CliRunner().invoke(app, ["lint", "-f", str(tmp_path)])
    assert done.output.splitlines() == [f"NetworkPolicy ns/p: {_LOGS}", "2 policies, 1 findings"]
    assert done.exit_code == 1
    assert CliRunner().invoke(app, ["lint", "-f", str(good)]).exit_code == 0
    bad.write_text("{")
    done = CliRunner().invoke(app, ["lint", "-f", str(bad)])
    assert done.exit_code == 2
    assert "bad.json" in done.output
    assert len(done.output.splitlines()) == 1
