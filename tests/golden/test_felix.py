"""Recorded scenarios: what Felix leaves in the kernel for them is what Calico v3.28.1 left, step by step.

Each runs the real program on the real kernel, in a namespace of its own, on an etcd of its own. A step changes
the datastore or the host; its state must come about and stay.
"""

import difflib
import json
import time
from pathlib import Path

import pytest
from felix_world import FelixWorld, state

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

SCENARIOS = sorted((Path(__file__).parent / "data" / "felix").glob("*.json"))
#: Scenario to the reason why it differs. Strict: one that no longer differs must leave this list.
KNOWN_DIFFERENCES: dict[str, str] = {}
#: A state that is right must stay so for this long: longer than a change takes from the datastore to the kernel.
_QUIET_S = 1.0
_TIMEOUT_S = 40.0
_POLL_S = 0.1


def _parameter(path):
    reason = KNOWN_DIFFERENCES.get(path.stem)
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(path, id=path.stem, marks=marks)


def differences(wanted, seen):
    found = []
    for key, value in wanted.items():
        if value != seen[key]:
            pair = [json.dumps(each, indent=1).splitlines() for each in (value, seen[key])]
            found += [f"{key}:", *difflib.unified_diff(*pair, "recorded", "seen", lineterm="", n=1)]
    return found


def await_state(world, wanted, interfaces):
    """Until the state is as recorded and has been so for a while; shows what differs after the timeout."""
    end = time.monotonic() + _TIMEOUT_S
    right_since = None
    while True:
        ready = world.ready()
        found = differences(wanted, state(interfaces)) if ready else ["Felix is not ready"]
        now = time.monotonic()
        if found:
            right_since = None
        elif right_since is None:
            right_since = now
        elif now - right_since >= _QUIET_S:
            return
        assert now < end, "\n".join([*found[:200], world.diagnosis()])
        time.sleep(_POLL_S)


def test_all_recordings_are_here():
    assert len(SCENARIOS) == 110
    assert set(KNOWN_DIFFERENCES) <= {path.stem for path in SCENARIOS}


@pytest.mark.parametrize("path", [_parameter(path) for path in SCENARIOS])
def test_scenario(path, tmp_path):
    scenario = json.loads(path.read_text())
    interfaces = scenario.get("interfaces", [])
    with netns.private():
        world = FelixWorld(tmp_path, scenario.get("env", {}))
        try:
            world.start_etcd()
            for command in scenario.get("before", []):
                world.run(command)
            for number, step in enumerate(scenario["steps"]):
                for raw in step.get("apply", []):
                    world.apply(raw)
                for raw in step.get("delete", []):
                    world.delete(raw)
                for key, value in step.get("etcd", []):
                    world.put(key, value)
                for command in step.get("shell", []):
                    world.run(command)
                world.supervise()
                try:
                    await_state(world, step["expect"], interfaces)
                except AssertionError as error:
                    raise AssertionError(f"step {number}: {error}") from None
        finally:
            world.close()


@pytest.fixture
def world(tmp_path):
    """On the first step of the plainest recording, with Felix not started yet."""
    scenario = json.loads((SCENARIOS[0].parent / "one-pod.json").read_text())
    with netns.private():
        world = FelixWorld(tmp_path, {"FELIX_IPTABLESPOSTWRITECHECKINTERVALSECS": "0.2"})
        try:
            world.start_etcd()
            for command in scenario["before"]:
                world.run(command)
            for raw in scenario["steps"][0]["apply"]:
                world.apply(raw)
            yield world
        finally:
            world.close()


def await_ready(world):
    end = time.monotonic() + 20
    while not world.ready():
        assert time.monotonic() < end, world.log()
        time.sleep(0.02)


def test_ready_means_programmed(world):
    world.supervise()
    await_ready(world)
    assert "cali-tw-caliacd53aa4120" in state([])["iptables"]["filter"]


def test_a_signal_ends_it_at_once_and_leaves_all_in_place(world):
    world.supervise()
    await_ready(world)
    before = state(["caliacd53aa4120"])
    started = time.monotonic()
    world.stop_felix()
    assert time.monotonic() - started < 1.5
    assert state(["caliacd53aa4120"]) == before


def test_a_changed_configuration_starts_it_over(world):
    world.supervise()
    await_ready(world)
    kind = {"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration"}
    world.apply({**kind, "metadata": {"name": "default"}, "spec": {"chainInsertMode": "append"}})
    assert world.exit_code(timeout_s=6) == 129
    world.run("iptables-legacy -A FORWARD -s 9.9.9.9 -j DROP")
    world.supervise()
    await_ready(world)
    rules = state([])["iptables"]["filter"]["FORWARD"]["rules"]
    assert [rule.rsplit(" ", 1)[-1] for rule in rules][:2] == ["DROP", "cali-FORWARD"]


@pytest.fixture
def reporting(tmp_path):
    scenario = json.loads((SCENARIOS[0].parent / "one-pod.json").read_text())
    settings = {
        "FELIX_REPORTINGINTERVALSECS": "1",
        "FELIX_ENDPOINTREPORTINGENABLED": "true",
        "FELIX_ENDPOINTREPORTINGDELAYSECS": "0.2",
    }
    with netns.private():
        world = FelixWorld(tmp_path, settings)
        try:
            world.start_etcd()
            for command in scenario["before"]:
                world.run(command)
            for raw in scenario["steps"][0]["apply"]:
                world.apply(raw)
            yield world, scenario
        finally:
            world.close()


def _reports(world):
    """What is there below /calico/felix, by key."""
    pages = world.client.driver.gateway.pages("/calico/felix/", 1000)
    return {found.key.decode(): json.loads(found.value) for page in pages for found in page.kvs}


def _await(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_etcd_is_told_of_felix_and_its_endpoints(reporting):
    world, scenario = reporting
    remains = "/calico/felix/v2/no-region/host/fx/workload/k8s/default%2fold/endpoint/eth0"
    others = remains.replace("/fx/", "/n2/")
    for key in (remains, others):
        world.put(key, {"status": "up"})
    host_endpoint = {"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint", "metadata": {"name": "h"},
                     "spec": {"node": "fx", "interfaceName": "eth0"}}  # fmt: skip
    world.apply(host_endpoint)
    world.supervise()
    await_ready(world)
    pod = next(raw for raw in scenario["steps"][0]["apply"] if raw["kind"] == "WorkloadEndpoint")
    prefix = "/calico/felix/v2/no-region/host/fx/"
    spec = pod["spec"]
    up = f"{prefix}workload/k8s/{pod['metadata']['namespace']}%2f{spec['pod']}/endpoint/{spec['endpoint']}"
    wanted = {
        up: {"status": "up"},
        others: {"status": "up"},
        "/calico/felix/v1/host/fx/endpoint/h": {"status": "up"},
    }

    def endpoints():
        return {key: value for key, value in _reports(world).items() if "status" not in key.rsplit("/", 1)[1]}

    _await(lambda: endpoints() == wanted, 10, endpoints)
    _await(lambda: f"{prefix}status" in _reports(world), 5, "Felix's own status")
    seen = _reports(world)
    assert seen[f"{prefix}status"].keys() == {"time", "uptime", "first_update"}
    assert seen[f"{prefix}last_reported_status"].keys() == {"time", "uptime", "first_update"}
    _await(lambda: _reports(world)[f"{prefix}status"]["first_update"] is False, 5, "the second report")
    assert _reports(world)[f"{prefix}status"]["uptime"] > seen[f"{prefix}status"]["uptime"]
    world.run(f"ip link set {spec['interfaceName']} down")
    _await(lambda: endpoints()[up] == {"status": "down"}, 5, "down")
    world.delete(pod)
    world.delete(host_endpoint)
    _await(lambda: endpoints() == {others: {"status": "up"}}, 5, endpoints)
