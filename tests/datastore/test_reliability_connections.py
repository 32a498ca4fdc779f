"""What must survive of connections: servers stopped, links that swallow, revisions too old, watches cut.

Real servers, followed by processes of their own. Minutes are seconds here; `make soak` takes the minutes.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from faults import Cutter, run
from follower import Follower
from stores import NAMES, listed, network_set, open_store

from pycalico.api.v3.networkset import GlobalNetworkSet
from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.etcd.client import EtcdClient
from pycalico.syncer import pulse
from pycalico.syncer.syncer import Syncer, WatchSpec

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
KINDS = ("GlobalNetworkSet", "IPPool", "GlobalNetworkPolicy", "BGPPeer")


def check_server_stopped(store, follow, outage_s):
    client = store.client()
    for number in range(20):
        client.create(network_set(f"n{number}", number))
    client.close()
    follower = follow(*KINDS)
    store.kill()
    # The first half second is for finding out.
    time.sleep(0.5)
    cpu_s, batches = follower.cpu_s(), len(follower.batches)
    time.sleep(outage_s)
    share = (follower.cpu_s() - cpu_s) / outage_s
    assert share < 0.02, f"{share:.1%} of a core while the server is away"
    assert len(follower.batches) == batches
    assert len(follower.picture) == 20
    store.start()
    client = store.client()
    client.create(network_set("after"))
    expected = listed(client)
    client.close()
    follower.until(lambda it: it.picture == expected, 5, "after its return")
    assert follower.in_sync


def test_scenario_01_server_stopped(store, follow):
    check_server_stopped(store, follow, 3)


def check_black_hole(name, wire, folder, tcp, detected_s):
    store = open_store(
        name, folder, address=wire.server, enter=wire.enter_server, client_enter=wire.enter_client
    )

    def apply(label):
        manifest = f"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: {label}}}\n"
        environ = store.process.environ()
        run(*wire.enter_client, PROGRAM, "create", "-f", "-", input=manifest, env=environ)

    follower = None
    try:
        apply("before")
        follower = Follower(store.where, enter=wire.enter_client, tcp=tcp).synced()
        follower.until(lambda it: len(it.picture) == 1, 5)
        wire.swallow()
        began = time.monotonic()
        follower.until(
            lambda it: any("watch" in text or "reach" in text for _, text in it.log), detected_s, "found out"
        )
        detected = follower.log[0][0] - began
        time.sleep(1)
        wire.release()
        apply("after")
        again = follower.until(lambda it: len(it.picture) == 2, 8, "connected again")
        return detected, again
    finally:
        if follower:
            follower.close()
        store.close()


@pytest.mark.netns
@pytest.mark.parametrize("name", NAMES)
def test_scenario_02_connection_black_holed(name, wire, tmp_path):
    """The kernel's timers are cut to a sixth: 4 s instead of 25."""
    detected, _ = check_black_hole(name, wire, tmp_path, (2, 1, 2, 4), 6)
    assert detected > 1, "the hole was none"


def test_scenario_02_a_member_that_hangs_is_left(tmp_path, monkeypatch):
    """Its kernel still acknowledges what is sent to it, so that no connection ever breaks."""
    monkeypatch.setattr(pulse, "_PATIENCE_S", 0.5)
    etcd = open_store("etcd", tmp_path)
    host, _, port = etcd.process.url.removeprefix("http://").partition(":")
    members = [Cutter(host, int(port)) for _ in range(2)]
    urls = ",".join(f"http://127.0.0.1:{member.port}" for member in members)
    client = EtcdClient(DatastoreConfig(datastore_type="etcdv3", etcd_endpoints=urls))
    syncer = Syncer(client, [WatchSpec(GlobalNetworkSet)], silence_s=0.5)
    try:
        syncer.start()
        end = time.monotonic() + 10
        while not syncer.in_sync:
            syncer.take(0.2)
            assert time.monotonic() < end
        members[0].flows.clear()
        direct = etcd.client()
        direct.create(network_set("after"))
        direct.close()
        found = []
        while not found:
            found = syncer.take(0.2).updates
            assert time.monotonic() < end, "the watch hangs"
        assert found[0].key.name == "after"
        assert syncer.cut_off_s() == 0
    finally:
        members[0].flows.set()
        syncer.stop()
        client.close()
        for member in members:
            member.close()
        etcd.close()


class Gone(BaseHTTPRequestHandler):
    """Lists twice, with an object less the second time; all else is answered with 410."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if "watch=true" in self.path:
            self.server.watches.append(time.monotonic())
            gone = {
                "type": "ERROR",
                "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
            }
            self._answer(200, gone)
            return
        lists = self.server.lists
        lists.append(time.monotonic())
        if len(lists) in (1, self.server.again):
            names = ("a", "b") if len(lists) == 1 else ("b",)
            items = [{"metadata": {"name": name, "resourceVersion": "5"}, "spec": {}} for name in names]
            self._answer(200, {"metadata": {"resourceVersion": "5"}, "items": items})
        else:
            self._answer(410, {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})

    def _answer(self, status, body):
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True


def test_scenario_03_a_revision_too_old_on_list_and_on_watch():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gone)
    server.lists, server.watches, server.again = [], [], 4
    threading.Thread(target=server.serve_forever, daemon=True).start()
    follower = Follower(
        {"datastore_type": "kubernetes", "k8s_api_endpoint": f"http://127.0.0.1:{server.server_address[1]}"}
    )
    try:
        follower.until(lambda it: it.in_sync, 10, "the first list")
        assert len(follower.picture) == 2
        follower.until(lambda it: len(it.picture) == 1, 10, "what vanished is deleted")
        time.sleep(2.5)
    finally:
        follower.close()
        server.shutdown()
        server.server_close()
    pauses = [after - before for before, after in zip(server.lists, server.lists[1:], strict=False)]
    assert min(pauses) >= 0.99, pauses
    assert max(pauses) < 1.4, pauses
    assert len({round(pause, 3) for pause in pauses}) > 1, "no jitter"
    assert len(server.watches) == 2


def check_watch_cut(store, follow, cut_s, seconds, tmp_path):
    """Memory and sockets of a follower whose watches never live longer than ``cut_s``."""
    if store.where["datastore_type"] == "etcdv3":
        cutter = Cutter("127.0.0.1", store.process.port, cut_s)
        where = {**store.where, "etcd_endpoints": f"http://127.0.0.1:{cutter.port}"}
    else:
        text = store.process.kubeconfig.read_text()
        port = store.process._port
        cutter = Cutter("127.0.0.1", port, cut_s)
        config = tmp_path / "through"
        config.write_text(text.replace(f":{port}", f":{cutter.port}"))
        where = {**store.where, "kubeconfig": str(config)}
    client = store.client()
    for number in range(50):
        client.create(network_set(f"n{number}", number))
    follower = follow(where=where)
    time.sleep(seconds / 4)
    rss_kib, most = follower.rss_kib(), 0
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        most = max(most, follower.sockets())
        number += 1
        made = client.get(GlobalNetworkSet, f"n{number % 50}")
        made.metadata.labels["turn"] = str(number)
        client.update(made)
        time.sleep(0.05)
    grown_kib = follower.rss_kib() - rss_kib
    expected = listed(client)
    follower.until(lambda it: it.picture == expected, 10, "every change")
    client.close()
    cutter.close()
    return cutter.cuts, most, grown_kib


def test_scenario_06_watch_cut_again_and_again(store, follow, tmp_path):
    cuts, sockets, grown_kib = check_watch_cut(store, follow, 0.2, 3, tmp_path)
    assert cuts >= 2
    assert sockets <= 2
    assert grown_kib < 512
