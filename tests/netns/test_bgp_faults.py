"""What goes wrong around confd and BIRD, done for real; what was working goes on working."""

import os
import signal
import time

import pytest
from bgp_events import Events
from bgp_rig import World, run, until
from bgp_topologies import configuration, mesh, peer

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import PrefixAdvertisement
from pycalico.api.v3.bgpfilter import BGPFilter, BGPFilterRule, BGPFilterSpec
from pycalico.api.v3.bgppeer import BGPPassword, SecretKeySelector
from pycalico.api.v3.node import Node
from pycalico.bgp import daemon, nodereport
from pycalico.confd.files import ConfigDirectory

pytestmark = pytest.mark.netns
SESSION = "Mesh_10_80_1_2"


class Passwords:
    """Stands for the API server's Secrets."""

    def __init__(self, **found):
        self.found = found

    def want(self, names):
        pass

    def ready(self):
        return True

    def values(self):
        return {name: {"key": text} for name, text in self.found.items()}


def with_password(name):
    return BGPPassword(secret_key_ref=SecretKeySelector(name=name, key="key"))


def report_of(node):
    return nodereport.gather(
        node.directory / "status.json", {4: node.birds[4].socket, 6: node.birds[4].socket}
    )


def test_passwords_that_change_go_missing_and_differ(tmp_path):
    plan = mesh(2)
    plan.resources = [configuration(node_mesh_password=with_password("mesh"))]
    secrets = Passwords(mesh="first")
    with World(plan, tmp_path, secrets) as world:
        events = Events(world)
        until(lambda: world.mesh_is_up() and events.well())
        one = world.nodes["n1"]
        assert 'password "first";' in (one.directory / "bird.cfg").read_text()
        assert (one.directory / "bird.cfg").stat().st_mode & 0o777 == 0o600
        # Changed: both nodes hear of it at once, and the session comes back.
        secrets.found = {"mesh": 'se"cret'}
        for node in world.nodes.values():
            node.loop.wake.set()
        until(lambda: any("the session has none" in text for text in report_of(one).problems))
        assert not any("cret" in text for text in report_of(one).problems), "a password is never shown"
        secrets.found = {"mesh": "second"}
        for node in world.nodes.values():
            node.loop.wake.set()
        until(lambda: 'password "second";' in (one.directory / "bird.cfg").read_text())
        until(lambda: world.mesh_is_up() and events.well(), 30)


def test_files_that_confd_did_not_finish_or_bird_did_not_read(tmp_path):
    with World(mesh(2), tmp_path) as world:
        events = Events(world)
        events.settled()
        one = world.nodes["n1"]
        until(lambda: not one.loop.status.families[4].pending)
        one.stop_confd()
        good = (one.directory / "bird_ipam.cfg").read_text()
        (one.directory / "bird_ipam.cfg").write_text(good[: len(good) // 2])
        (one.directory / ".staged-left").mkdir()
        assert "8002" in "\n".join(one.birds[4].ask("configure")), "BIRD refuses the half, and goes on"
        one.start_confd()
        until(lambda: (one.directory / "bird_ipam.cfg").read_text() == good)
        until(lambda: not one.loop.status.families[4].pending)
        assert not (one.directory / ".staged-left").exists()
        assert one.birds[4].starts(SESSION) == 1
        # Written, and then confd was killed: BIRD has to be asked by the next one.
        one.stop_confd()
        time.sleep(1.1)
        text = (one.directory / "bird.cfg").read_text()
        extra = "protocol bgp Node_10_80_1_99 from bgp_template { neighbor 10.80.1.99 as 64512; }\n"
        (one.directory / "bird.cfg").write_text(text + extra)
        one.birds[4].ask("configure")
        assert "Node_10_80_1_99" in one.birds[4].peers()
        time.sleep(1.1)
        (one.directory / "bird.cfg").write_text(text)
        one.start_confd()
        until(lambda: "Node_10_80_1_99" not in one.birds[4].peers())
        # A clock that has jumped leaves files of the future: one reload more, no loop.
        one.stop_confd()
        os.utime(one.directory / "bird.cfg", (time.time() + 5000, time.time() + 5000))
        one.start_confd()
        until(lambda: one.loop.status.renders and not one.loop.status.families[4].pending)
        assert one.loop.status.families[4].reloads == 1
        assert one.birds[4].starts(SESSION) == 1


def test_a_full_disk_leaves_whole_files_and_ends(tmp_path):
    place = tmp_path / "n1"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=96k", "none", place)
    try:
        with World(mesh(2), tmp_path) as world:
            events = Events(world)
            events.settled()
            one = world.nodes["n1"]
            until(lambda: not one.loop.status.families[4].pending)
            with (place / "filler").open("ab", buffering=0) as filler:
                while True:
                    try:
                        filler.write(b"x" * 4096)
                    except OSError:
                        break
            kept = {path.name: path.read_text() for path in place.glob("*.cfg")}
            world.client.create(peer("more", peer_ip="10.80.1.88", as_number=65000))
            until(lambda: "No space left" in one.loop.status.failure)
            for name, text in kept.items():
                assert (place / name).read_text() == text, "no file is half written"
            assert one.birds[4].established() == {SESSION}
            (place / "filler").unlink()
            until(lambda: "Global_10_80_1_88" in one.birds[4].peers())
            until(lambda: one.loop.status.failure == "")
            assert one.birds[4].starts(SESSION) == 1
    finally:
        run("umount", place)


def test_a_node_that_changes_its_address(tmp_path):
    with World(mesh(3), tmp_path) as world:
        events = Events(world)
        events.settled()
        two = world.nodes["n2"]
        began = time.monotonic()
        run("ip", "-n", two.namespace, "addr", "add", "10.80.1.22/24", "dev", "eth0")
        run("ip", "-n", two.namespace, "addr", "del", "10.80.1.2/24", "dev", "eth0")
        run("ip", "-n", two.namespace, "addr", "add", "10.80.1.22/24", "dev", "eth0", check=False)
        run("ip", "-n", two.namespace, "route", "replace", "default", "via", "10.80.1.254")
        stored = world.client.get(Node, "n2")
        stored.spec.bgp.ipv4_address = "10.80.1.22/24"
        world.client.update(stored)
        two.addresses[4] = "10.80.1.22"
        until(lambda: world.mesh_is_up() and events.well())
        assert time.monotonic() - began < 10
        assert world.nodes["n1"].birds[4].starts("Mesh_10_80_1_3") == 1


def test_bad_input_costs_only_itself(tmp_path):
    with World(mesh(2), tmp_path) as world:
        events = Events(world)
        events.settled()
        one = world.nodes["n1"]
        twin = world.client.get(Node, "n2")
        twin.metadata = ObjectMeta(name="twin")
        world.client.create(twin)
        missing = with_password("nosuch")
        for bad in (
            peer("no-address", peer_ip="ten.0.0.1", as_number=1),
            peer("no-as", peer_ip="10.80.1.90", as_number="9999999999"),
            peer("dotted", peer_ip="10.80.1.91", as_number="1.10"),
            peer("no-selector", peer_selector="has(", as_number=1),
            peer("no-gateway", peer_ip="10.80.1.92", as_number=1, reachable_by="fd00::1"),
            peer("no-secret", peer_ip="10.80.1.93", as_number=1, password=missing),
            BGPFilter(
                metadata=ObjectMeta(name="bad"),
                spec=BGPFilterSpec(
                    import_v4=[BGPFilterRule(cidr="10.0.0.0/99", match_operator="In", action="Accept")]
                ),
            ),
            configuration(
                prefix_advertisements=[PrefixAdvertisement(cidr="10.0.0.0/8", communities=["70000:1", "x"])],
                ignored_interfaces=['eth"0'],
            ),
        ):
            world.client.create(bad)
        until(lambda: {"Global_10_80_1_91", "Global_10_80_1_93"} <= set(one.birds[4].peers()))
        until(lambda: any("eth" in text for text in report_of(one).problems))
        said = "\n".join(report_of(one).problems)
        for words in ("no-address", "no-as", "no-selector", "no-gateway", "no secret for password nosuch", "10.0.0.0/99",
                      "70000:1", "that of node n2, too"):  # fmt: skip
            assert words in said, words
        assert set(one.birds[4].peers()) == {SESSION, "Global_10_80_1_91", "Global_10_80_1_93"}
        assert one.birds[4].starts(SESSION) == 1
        # A list of communities of a megabyte: taken or refused, but within bounds, and nothing else stands still.
        stored = world.client.get(type(configuration()), "default")
        many = [f"{number // 65536}:{number % 65536}" for number in range(100_000)]
        stored.spec.prefix_advertisements = [PrefixAdvertisement(cidr="10.0.0.0/8", communities=many)]
        world.client.update(stored)
        world.client.create(peer("later", peer_ip="10.80.1.94", as_number=1))
        until(lambda: "Global_10_80_1_94" in one.birds[4].peers(), 30)
        assert one.birds[4].starts(SESSION) == 1


def test_an_interface_that_vanishes_and_comes_back(tmp_path):
    with World(mesh(2), tmp_path) as world:
        events = Events(world)
        events.settled()
        two = world.nodes["n2"]
        port = world.port("n2")
        run("ip", "-n", world.fabric, "link", "del", port)
        time.sleep(0.5)
        run(
            "ip",
            "link",
            "add",
            port,
            "netns",
            world.fabric,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            two.namespace,
        )
        run("ip", "-n", world.fabric, "link", "set", port, "master", "rack1", "up")
        world.address(two.namespace, "rack1", two.addresses)
        assert events.settled() < 5


def test_a_bird_that_hangs_is_not_waited_for(tmp_path):
    with World(mesh(2), tmp_path) as world:
        Events(world).settled()
        one = world.nodes["n1"]
        one.birds[4].process.send_signal(signal.SIGSTOP)
        world.client.create(peer("more", peer_ip="10.80.1.88", as_number=65000))
        until(lambda: "Global_10_80_1_88" in (one.directory / "bird.cfg").read_text())
        began = time.monotonic()
        report = report_of(one)
        assert time.monotonic() - began < 6
        assert any("timed out" in problem for problem in report.problems)
        one.birds[4].process.send_signal(signal.SIGCONT)
        until(lambda: "Global_10_80_1_88" in one.birds[4].peers())


def test_a_bird_that_is_missing_or_unknown(tmp_path, monkeypatch):
    empty, foreign = tmp_path / "empty", tmp_path / "foreign"
    empty.mkdir()
    foreign.mkdir()
    (foreign / "bird").write_text("#!/bin/sh\necho 'BIRD 9: no such grammar' >&2\nexit 1\n")
    (foreign / "bird").chmod(0o755)
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(daemon.Missing, match="bird is not installed"):
        daemon.flavour()
    monkeypatch.setenv("PATH", f"{foreign}:/bin:/usr/bin")
    with pytest.raises(daemon.Refused, match="no such grammar"):
        daemon.flavour()
    names = [f"bird{six}{part}.cfg" for six in ("", "6") for part in ("_aggr", "_ipam", "")]
    outcome = ConfigDirectory(tmp_path / "config").apply(dict.fromkeys(names, "# text\n"))
    assert set(outcome.refused) == {4, 6}
    assert not list((tmp_path / "config").glob("*.cfg"))
