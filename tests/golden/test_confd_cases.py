"""Recorded datastore contents, and what the configuration written for them means (Calico v3.28.1)."""

import json
import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from pycalico.api.kinds import KINDS
from pycalico.api.v3.ipam import BlockAffinitySpec
from pycalico.bgp.inputs import Inputs, Settings
from pycalico.bgp.render import render
from pycalico.bgp.routing import routing

CASES = json.loads((Path(__file__).parent / "data" / "confd" / "cases.json").read_text())
_PLACES = {
    "Node": "nodes",
    "IPPool": "pools",
    "BGPConfiguration": "configurations",
    "BGPPeer": "peers",
    "BGPFilter": "filters",
}
_TWO_WORDS = (
    "source", "local", "next", "gateway", "ttl", "add", "graceful", "connect", "error", "rr", "import", "export",
    "allow", "missing", "hold", "multihop",
)  # fmt: skip


def inputs_of(case):
    inputs = Inputs()
    for raw in case["resources"]:
        resource = msgspec.convert(raw, KINDS[raw["kind"]].type, strict=False)
        whole = resource if raw["kind"] == "Node" else resource.spec
        getattr(inputs, _PLACES[raw["kind"]])[resource.metadata.name] = whole
    for key, value in case.get("etcd", []):
        match = re.fullmatch(r"/calico/ipam/v2/host/([^/]+)/ipv[46]/block/(.+)-(\d+)", key)
        if match:
            cidr = f"{match[2]}/{match[3]}"
            state = (json.loads(value) if isinstance(value, str) else value).get("state", "")
            inputs.affinities[key] = BlockAffinitySpec(state=state, node=match[1], cidr=cidr)
    return inputs


def statements(body):
    """Statements and blocks of a configuration's top level, without comments."""
    body = re.sub(r"#[^\n]*", " ", body)
    found, depth, current, quoted = [], 0, "", False
    for char in body:
        current += char
        if char == '"':
            quoted = not quoted
        if quoted:
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0 and not re.match(r"\s*(import|export)\s+(filter|where)\b", current):
                found.append(current)
                current = ""
        elif char == ";" and depth == 0:
            found.append(current)
            current = ""
    return [" ".join(text.strip().rstrip(";").split()) for text in found if text.strip(" \n\t;")]


def options(body):
    found = []
    for text in statements(body):
        if text.startswith(("import ", "export ")):
            found.append(text.split()[0] + " is set")
        elif not text.startswith("description"):
            found.append(text)
    return found


def option_key(text):
    words = text.split()
    return " ".join(words[:2]) if words[0] in _TWO_WORDS else words[0]


def meaning(main, aggr):
    templates = {}
    found = {"router_id": None, "listen": [], "bgp": {}, "protocols": set()}
    for text in statements(main):
        if text.startswith("router id"):
            found["router_id"] = text.split()[-1]
        elif text.startswith("listen"):
            found["listen"].append(text)
        elif match := re.match(r"template bgp (\w+) \{(.*)\}$", text):
            templates[match[1]] = options(match[2])
        elif match := re.match(r"protocol bgp '?([\w.]+)'?(?: from (\w+))? \{(.*)\}$", text):
            effective = {option_key(o): o for o in templates.get(match[2], []) + options(match[3])}
            found["bgp"][match[1]] = sorted(effective.values())
        elif match := re.match(r"protocol (\w+)", text):
            found["protocols"].add(match[1])
    found["protocols"] = sorted(found["protocols"])
    found["static"] = sorted(re.findall(r"\broute\s+(\S+\s+\w+[^;]*);", re.sub(r"#[^\n]*", "", aggr)))
    return found


@pytest.mark.parametrize("felix_routes", [True, False], ids=["felix", "bird"])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case, felix_routes, tmp_path):
    settings = Settings(
        node="n1", router_id=case["env"].get("CALICO_ROUTER_ID", ""), felix_routes=felix_routes
    )
    inputs = inputs_of(case)
    files = render(routing(inputs, settings), inputs, settings)
    assert meaning(files["bird.cfg"], files["bird_aggr.cfg"]) == case["expect"]["v4"]
    assert meaning(files["bird6.cfg"], files["bird6_aggr.cfg"]) == case["expect"]["v6"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    # Debian's BIRD lacks the tunnel statement, so it can judge only the flavour written for it.
    for program, name in (
        (("bird", "bird.cfg"), ("bird6", "bird6.cfg")) if felix_routes else (("bird6", "bird6.cfg"),)
    ):
        run = subprocess.run(
            [program, "-p", "-c", tmp_path / name], capture_output=True, text=True, timeout=10
        )
        assert run.returncode == 0, run.stderr
