"""``pycalico bgp watch`` and ``bgp status`` beside real BIRDs."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bgp_rig import Member, Plan, World, run, until
from bgp_topologies import peer

from pycalico.bgp import nodereport

pytestmark = pytest.mark.netns
PYCALICO = Path(sys.executable).with_name("pycalico")


def test_a_session_from_its_first_word_to_its_last(tmp_path):
    with World(Plan({"rack1": 1}, [Member("n1", "rack1", 1)]), tmp_path) as world:
        node = world.nodes["n1"]
        command = ["ip", "netns", "exec", node.namespace, PYCALICO, "bgp", "watch", "eth0"]
        with (tmp_path / "live").open("w") as shown:
            live = subprocess.Popen([*command, "-o", "json"], stdout=shown)
        dump = subprocess.Popen(
            ["ip", "netns", "exec", node.namespace, "tcpdump", "-U", "--immediate-mode", "-i", "eth0", "-w", tmp_path / "a.pcap", "tcp port 179"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert "listening" in dump.stderr.readline()
        time.sleep(1.0)
        other = world.add(Member("n2", "rack1", 2))
        until(world.blocks_are_known)
        node.birds[4].ask("reload in Mesh_10_80_1_2")  # asks for the routes again
        time.sleep(0.3)
        other.birds[4].kill(15)
        # On a busy machine the decoder is behind; the last word tells that it has caught up.
        until(lambda: "NOTIFICATION" in (tmp_path / "live").read_text())
        time.sleep(0.5)
        for process in (live, dump):
            process.terminate()
            process.communicate(timeout=10)
        heard = [json.loads(line) for line in (tmp_path / "live").read_text().splitlines()]
        recorded = subprocess.run(
            [PYCALICO, "bgp", "watch", "--pcap", tmp_path / "a.pcap", "-o", "json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        text = subprocess.run(
            [PYCALICO, "bgp", "watch", "--pcap", tmp_path / "a.pcap", "--no-keepalives"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    by_type = {}
    for item in heard:
        by_type.setdefault(item["type"], []).append(item)
    assert set(by_type) == {"OPEN", "KEEPALIVE", "UPDATE", "ROUTE-REFRESH", "NOTIFICATION"}
    ours, theirs = "10.80.1.1", "10.80.1.2"
    assert {item["source"]["address"] for item in by_type["OPEN"]} == {ours, theirs}
    assert all(item["as_number"] == 64512 for item in by_type["OPEN"])
    names = {capability["name"] for item in by_type["OPEN"] for capability in item["capabilities"]}
    assert {"multiprotocol", "graceful restart", "four-octet AS", "add path"} <= names
    announced = [
        prefix
        for item in by_type["UPDATE"]
        for prefix in item["announced"]
        if item["source"]["address"] == theirs
    ]
    assert announced[0].startswith("172.16.2.0/24 (path ")
    assert any(item["end_of_rib"] == "IPv4 unicast" for item in by_type["UPDATE"])
    assert by_type["NOTIFICATION"][0]["meaning"] == "Cease: administrative shutdown"

    def kinds(items):
        return [(item["source"], item["type"], item["length"]) for item in items]

    assert kinds(map(json.loads, recorded.stdout.splitlines())) == kinds(heard)
    assert f"{theirs} > {ours} NOTIFICATION 6/2: Cease: administrative shutdown" in text
    assert "KEEPALIVE" not in text


def test_why_a_session_is_down(tmp_path):
    """Each cause as BIRD really words it."""
    plan = Plan({"rack1": 1}, [Member("n1", "rack1", 1)])
    plan.resources = [
        peer("refused", peer_ip="10.80.1.200", as_number=65000),
        peer("nobody", peer_ip="10.80.1.77", as_number=65000),
        peer("wrong-as", peer_ip="10.80.1.201", as_number=65001),
        peer("hostile", peer_ip="10.80.1.5; }", as_number=65001),
    ]
    with World(plan, tmp_path) as world:
        node = world.nodes["n1"]
        base = "router id {address}; protocol device { } protocol bgp x { local as 65002; passive on; neighbor 10.80.1.1 as 64512; }"
        world.router("closed", "rack1", 200, base.replace("neighbor", "disabled; neighbor")).kill()
        world.router("other", "rack1", 201, base)

        def causes():
            report = nodereport.gather(
                node.directory / "status.json", {4: node.birds[4].socket, 6: node.birds[4].socket}
            )
            found = {item.peer: f"{item.last_error}: {item.cause}" for item in report.sessions if item.cause}
            wanted = {
                "10.80.1.200": "nothing listens",
                "10.80.1.77": "does not answer",
                "10.80.1.201": "AS number",
            }
            return all(text in found.get(address, "") for address, text in wanted.items()) and report

        report, _ = until(causes, 25)
        assert not report.healthy
        assert any("hostile" in problem for problem in report.problems)
        assert report.confd.families[4].running == report.confd.families[4].wanted
        run("ip", "-n", node.namespace, "addr", "add", "10.80.1.3/24", "dev", "eth0")
        run("ip", "-n", node.namespace, "addr", "del", "10.80.1.1/24", "dev", "eth0")
        run("ip", "-n", node.namespace, "addr", "replace", "10.80.1.3/24", "dev", "eth0")

        code = "import sys, pathlib; from pycalico.bgp import nodereport; print(nodereport.gather(pathlib.Path(sys.argv[1])).problems)"
        command = ["ip", "netns", "exec", node.namespace, sys.executable, "-c", code]
        said = run(*command, node.directory / "status.json")
        assert "the node's BGP address 10.80.1.1 is on no interface here" in said
        text = nodereport.as_text(report)
        assert (
            "problem: BGPPeer hostile: peerIP '10.80.1.5; }' is no node's address; the peer is left out"
            in text
        )


def test_what_cannot_be_watched_is_one_line(tmp_path):
    (tmp_path / "x").write_text("nonsense")
    for words in (
        ["nosuch0"],
        ["--pcap", tmp_path / "none"],
        ["--pcap", tmp_path / "x"],
        ["eth0", "--pcap", "x"],
        ["-o", "xml"],
    ):
        done = subprocess.run([PYCALICO, "bgp", "watch", *words], capture_output=True, text=True)
        assert done.returncode == 1, words
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr
