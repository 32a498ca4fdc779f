"""What nodes go through: names that are late, API servers that are away, calls that come twice or make no sense.

Numbers are those of the scenarios that the project promises to survive.
"""

import hashlib
import json
import threading

import pytest
from node_world import NODE, PROGRAMS, World, held, nothing_is_left

from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.datastore.kubernetes.rest import path_of

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module", params=["agent", "alone"])
def world(request, tmp_path_factory):
    there = World(tmp_path_factory.mktemp("node"))
    if request.param == "agent":
        there.start_agent()
    yield there
    there.close()


def test_21_a_missing_nodename_is_waited_for_and_then_tried_again(world):
    pod = world.pod("late")
    config = {"nodename": None, "nodename_file": "/var/lib/calico/late", "cniVersion": "1.1.0"}
    status = world.call("STATUS", config=config)
    assert (status.code, status.object["code"]) == (1, 50)
    threading.Timer(2.0, lambda: world.sh(f"printf {NODE} > /var/lib/calico/late")).start()
    added = world.call("ADD", pod, config=config)
    assert added.code == 0, added.text
    assert 1.5 < added.seconds < 5
    assert world.call("STATUS", config=config).code == 0
    assert world.call("DEL", pod, config=config).code == 0
    nothing_is_left(world, pod)


def test_22_a_refused_token_is_read_again_once_and_then_told(world):
    pod = world.pod("token")
    text = world.kubeconfig.read_text()
    token = next(line.split()[-1].strip('"') for line in text.splitlines() if "token:" in line)
    own = world.directory / "own-kubeconfig"
    own.write_text(text.replace(token, "no-longer-good"))
    config = {"kubernetes": {"kubeconfig": str(own)}}
    refused = world.call("ADD", pod, config=config)
    assert refused.code == 1
    assert "unauthorized" in refused.object["msg"].lower()
    assert token not in refused.text + refused.error
    assert refused.seconds < 5
    nothing_is_left(world, pod)
    own.write_text(text)
    assert world.call("ADD", pod, config=config).code == 0
    assert world.call("DEL", pod, config=config).code == 0


def test_25_a_stale_container_harms_nobody(world):
    pod = world.pod("sandbox")
    first = world.call("ADD", pod, container="old")
    second = world.call("ADD", pod, container="new")
    assert second.code == 0
    assert world.call("DEL", pod, container="old", CNI_NETNS="/run/netns/none").code == 0
    assert held(world)["net.new"] == second.addresses
    assert "net.old" not in held(world)
    (endpoint,) = [item for item in world.list(WorkloadEndpoint) if item.spec.pod == pod]
    assert endpoint.spec.container_id == "new"
    assert [item.split("/")[0] for item in endpoint.spec.ip_networks] == second.addresses
    assert world.sh(f"ip route get {second.addresses[0]} | grep -c {endpoint.spec.interface_name}") == "1"
    assert first.addresses != second.addresses
    assert world.call("DEL", pod, container="new").code == 0


@pytest.mark.parametrize(
    ("path", "word"),
    [("/run/netns/absent", "absent"), ("/etc/hostname", "hostname"), ("/run/netns", "netns")],
)
def test_26_a_namespace_that_is_none(world, path, word):
    pod = world.pod(f"odd-{word}")
    refused = world.call("ADD", pod, CNI_NETNS=path)
    assert refused.code == 1
    assert path in refused.object["msg"]
    nothing_is_left(world, pod)
    assert world.call("DEL", pod, CNI_NETNS=path).code == 0


def test_26_a_link_to_a_namespace_is_one(world):
    pod = world.pod("linked")
    world.sh(f"ln -s /run/netns/{pod} /run/link")
    assert world.call("ADD", pod, CNI_NETNS="/run/link").code == 0
    assert world.call("DEL", pod, CNI_NETNS="/run/link").code == 0
    nothing_is_left(world, pod)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (b"", 6),
        (b" " * 10_000_000, 6),
        (b"\xff\xfe{", 6),
        (b'{"name": "net", "cniVersion": "9.1.0"}', 1),
        (b'{"name": "../net", "cniVersion": "0.3.1"}', 7),
        (b'{"name": "", "cniVersion": "0.3.1"}', 7),
        (b'{"name": 7}', 6),
        (b"[" * 100_000, 6),
    ],
    ids=["empty", "large", "bytes", "version", "path as name", "no name", "wrong type", "deep"],
)
def test_27_input_that_makes_no_sense(world, given, code):
    refused = world.call("ADD", "x", given=given)
    assert (refused.code, refused.object["code"]) == (1, code)
    assert "Traceback" not in refused.text + refused.error
    assert refused.seconds < 10  # a busy machine; a quiet one takes a tenth of a second


def test_27_variables_that_are_missing_are_named(world):
    refused = world.call("ADD", "x", CNI_NETNS=None, CNI_IFNAME=None)
    assert refused.object["code"] == 4
    assert "CNI_NETNS" in refused.object["msg"]
    assert "CNI_IFNAME" in refused.object["msg"]


@pytest.mark.parametrize("container", ["../../etc/x", "a/b", "a\nb", "-x", "x" * 300 + "/"])
def test_names_meant_to_break_out_are_refused(world, container):
    refused = world.call("ADD", "x", container=container)
    assert (refused.code, refused.object["code"]) == (1, 4)


def test_30_only_an_interface_of_ours_is_replaced(world):
    pod = world.pod("taken")
    assert world.call("ADD", pod).code == 0
    (endpoint,) = [item for item in world.list(WorkloadEndpoint) if item.spec.pod == pod]
    assert world.call("DEL", pod).code == 0
    world.sh(f"ip link add {endpoint.spec.interface_name} type veth peer name other", check=True)
    added = world.call("ADD", pod)
    assert added.code == 0, added.text
    assert "other" not in world.links()
    assert world.call("DEL", pod).code == 0
    bad = world.pod("hardware", {"cni.projectcalico.org/hwAddr": "no address"})
    refused = world.call("ADD", bad)
    assert "failed to parse MAC address no address" in refused.object["msg"]
    # The interface stays, as with upstream: the DEL that follows takes it.
    assert "net.c-hardware" not in held(world)


def test_30_the_mtu_that_felix_wrote_is_used(world):
    pod = world.pod("mtu")
    world.sh("printf 1380 > /var/lib/calico/mtu")
    try:
        assert world.call("ADD", pod).code == 0
        assert json.loads(world.sh(f"ip -j -n {pod} link show eth0"))[0]["mtu"] == 1380
        assert world.call("DEL", pod).code == 0
    finally:
        world.sh("rm /var/lib/calico/mtu")


def test_32_a_policy_that_never_comes_lets_the_pod_go_after_its_time(world):
    pod = world.pod("policy")
    added = world.call("ADD", pod, config={"policy_setup_timeout_seconds": 2})
    assert added.code == 0
    assert 1.5 < added.seconds < 3.5
    assert world.call("DEL", pod).code == 0


def test_gc_gives_back_what_no_container_has_and_nothing_else(world):
    pods = [world.pod(f"gc-{number}") for number in range(3)]
    config = {"cniVersion": "1.1.0"}
    for pod in pods:
        assert world.call("ADD", pod, config=config).code == 0
    elsewhere = {"name": "other"}
    assert world.call("ADD", pods[0], container="foreign", config=elsewhere).code == 0
    valid = [{"containerID": f"c-{pods[1]}", "ifname": "eth0"}]
    refused = world.call("GC", config=config, CNI_CONTAINERID=None)
    assert refused.code == 1
    assert set(held(world)) >= {f"net.c-{pod}" for pod in pods}
    collected = world.call("GC", config={**config, "cni.dev/valid-attachments": valid}, CNI_CONTAINERID=None)
    assert collected.code == 0, collected.text
    left = set(held(world))
    assert f"net.c-{pods[1]}" in left
    assert "other.foreign" in left
    assert not left & {f"net.c-{pods[0]}", f"net.c-{pods[2]}"}
    world.call("DEL", pods[1])
    world.call("DEL", pods[0], container="foreign", config=elsewhere)


def test_a_readiness_gate_is_asked(world):
    pod = world.pod("gate")
    gate = world.start(
        [PROGRAMS / "python", "-m", "http.server", "8099", "--directory", world.directory / "data"]
    )
    try:
        world.until(lambda: world.sh("ss -Hltn sport = :8099"))
        assert world.call("ADD", pod, config={"readiness_gates": ["http://127.0.0.1:8099/"]}).code == 0
    finally:
        gate.kill()
        gate.wait()
    refused = world.call("ADD", pod, config={"readiness_gates": ["nonsense"]})
    assert "invalid URL set for ReadinessGates:nonsense" in refused.object["msg"]
    assert world.call("DEL", pod).code == 0


@pytest.mark.parametrize(
    ("verb", "config", "said"),
    [
        (
            "ADD",
            {"ipam": {"type": "calico-ipam", "ipv4_pools": ["fd00::/64"]}},
            '"fd00::" isn\'t a IPv4 address',
        ),
        (
            "ADD",
            {"ipam": {"type": "calico-ipam", "assign_ipv4": "false"}},
            "IPAM plugin returned missing IP config",
        ),
        (
            "ADD",
            {"readiness_gates": ["no-url"]},
            'invalid URL set for ReadinessGates:no-url Error:parse "no-url": invalid URI for request',
        ),
        ("DEL", {"dataplane_options": {"type": "odd"}}, "Invalid dataplane type: odd"),
    ],
)
def test_31_configurations_that_upstream_refuses(world, verb, config, said):
    pod = world.pod("refused-" + hashlib.sha256(said.encode()).hexdigest()[:8])
    answer = world.call(verb, pod, config=config)
    assert (answer.code, answer.object["code"], answer.object["msg"]) == (1, 999, said)
    nothing_is_left(world, pod)


@pytest.mark.parametrize("queues", [None, 1, 3])
def test_31_queues_of_both_ends(world, queues):
    pod = world.pod(f"queues-{queues or 0}")
    assert world.call("ADD", pod, config={"num_queues": queues}).code == 0
    (host,) = [name for name in world.links() if name.startswith("cali")][-1:]
    for where, name in ((f"-n {pod}", "eth0"), ("", host)):
        (link,) = json.loads(world.sh(f"ip -j -d {where} link show {name}"))
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (queues or 1, queues or 1)
    assert world.call("DEL", pod).code == 0


def test_a_floating_ip_is_of_a_pool(world):
    config = {"feature_control": {"floating_ips": True}}
    for name, wanted, said in (
        ("floats-away", "192.0.2.1", "the floating IP 192.0.2.1 is in no IP pool"),
        ("floats-x", "x", "invalid IP format: x"),
    ):
        pod = world.pod(name, {"cni.projectcalico.org/floatingIPs": json.dumps([wanted])})
        refused = world.call("ADD", pod, config=config)
        assert (refused.code, refused.object["code"]) == (1, 999)
        assert said in refused.object["msg"]
        nothing_is_left(world, pod)
    pod = world.pod("floats", {"cni.projectcalico.org/floatingIPs": '["172.16.200.1"]'})
    assert world.call("ADD", pod, config=config).code == 0
    (endpoint,) = [item for item in world.list(WorkloadEndpoint) if item.spec.pod == pod]
    assert [nat.external_ip for nat in endpoint.spec.ip_nats] == ["172.16.200.1"]
    assert world.call("DEL", pod, config=config).code == 0


def test_a_pod_that_was_edited_into_nonsense_can_still_end(world):
    pod = world.pod("edited")
    assert world.call("ADD", pod).code == 0
    broken = {"metadata": {"annotations": {"cni.projectcalico.org/allowedSourcePrefixes": '["10.1.0.0/99"]'}}}
    path = path_of("v1", "pods", "default", pod)
    world.api(lambda client: client.rest.patch(path, broken, dict))
    assert world.call("DEL", pod).code == 0
    nothing_is_left(world, pod)
