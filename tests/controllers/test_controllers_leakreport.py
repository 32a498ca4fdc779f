"""What an operator is told of leaks, and garbage collection that only says what it would do."""

import json
import subprocess
import time

from controllers_lab import BIN, until
from test_controllers_gc import addresses, grace


def leaks(controllers):
    """The report's table, by address."""
    done = subprocess.run(
        [BIN / "check-status", "--leaks", "-f", str(controllers.status_file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_report_says_why_since_when_and_until_when(cluster):
    cluster.node("n1")
    gone = cluster.take("gone", "n1")
    moved = cluster.take("moved", "n1")
    cluster.pod("moved", "n1", ["10.10.200.200"])
    kept = cluster.take("pair", "n1", handle="net.pair")
    also = cluster.take("other", "n1", handle="net.pair")
    cluster.pod("other", "n1", [also])
    grace(cluster, "4s")
    controllers = cluster.start()
    until(controllers.status_file.with_name("leaks.json").exists)
    text = leaks(controllers)
    lines = {line.split()[0]: line for line in text.splitlines()[1:-1]}
    assert "pod default/gone does not exist" in lines[gone]
    assert "pod default/moved has another address: 10.10.200.200" in lines[moved]
    assert set(lines) == {gone, moved, kept}
    report = json.loads(controllers.status_file.with_name("leaks.json").read_text())
    found = {leak["address"]: leak for leak in report["leaks"]}[gone]
    assert (found["pool"], found["node"], found["pod"], found["kept"]) == ("pool", "n1", "default/gone", "")
    times = [time.mktime(time.strptime(found[field], "%Y-%m-%dT%H:%M:%SZ")) for field in ("since", "freed")]
    assert 3 <= times[1] - times[0] <= 5
    until(lambda: not addresses(cluster, "net.gone"), 10)
    # When it said, not a period later.
    assert time.time() + time.timezone - times[1] < 2.5
    assert set(addresses(cluster, "net.pair")) == {kept, also}
    until(lambda: f"not: its handle has {also} as well" in leaks(controllers))
    assert gone not in leaks(controllers)
    # A report of nothing says so.
    cluster.allocator.release_ips([kept])
    until(lambda: leaks(controllers).startswith("No address is thought leaked"))


def test_a_dry_run_looks_at_everything_and_releases_nothing(cluster):
    for node in ("n1", "n2"):
        cluster.node(node)
        cluster.take_tunnel(node)
    leaked = cluster.take("gone", "n1")
    cluster.take("lost", "n2")
    cluster.allocator.claim_affinity("10.10.250.0/26", "n1")
    cluster.delete_node("n2")
    before = contents(cluster)
    grace(cluster, "1s")
    controllers = cluster.start(IPAM_GC_DRY_RUN="true")
    controllers.says('Would release leaked IP address (dry run) handle="net.gone"')
    controllers.says('Would release leaked IP address (dry run) handle="ipip-tunnel-addr-n2"')
    time.sleep(2)
    assert contents(cluster) == before
    assert f"{leaked}" in leaks(controllers)
    assert "not: dry run" in leaks(controllers)
    # Said once, not at every look.
    assert controllers.text().count('dry run) handle="net.gone"') == 1
    assert controllers.end() == 0
    # The same without: it was right.
    cluster.start()
    until(lambda: not addresses(cluster, "net.gone") and not addresses(cluster, "net.lost"))


def contents(cluster):
    from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle

    return {
        item.key: item.metadata.resource_version
        for kind in (IPAMBlock, BlockAffinity, IPAMHandle)
        for item in cluster.client.list(kind).items
    }


def test_without_a_report_it_says_so(tmp_path):
    done = subprocess.run(
        [BIN / "check-status", "--leaks", "-f", str(tmp_path / "status.json")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.startswith("There is no report of leaks")
