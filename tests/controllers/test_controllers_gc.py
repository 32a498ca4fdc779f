"""Garbage collection by the real program against a real API server."""

from controllers_lab import until

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from pycalico.controllers.clusterinformation import ensure_initialized
from pycalico.datastore.errors import NotFound


def addresses(cluster, handle):
    try:
        return cluster.allocator.ips_by_handle(handle)
    except NotFound:
        return []


def lock(cluster, *, ready):
    ensure_initialized(cluster.client, kdd=True)
    info = cluster.client.get(ClusterInformation, "default")
    info.spec.datastore_ready = ready
    cluster.client.update(info)


def grace(cluster, text):
    cluster.configure(lambda spec: setattr(spec.controllers.node, "leak_grace_period", text))


def test_a_deleted_node_leaves_nothing_behind(cluster):
    for node in ("n1", "n2"):
        cluster.node(node)
        cluster.take_tunnel(node)
    kept = cluster.take("alive", "n2")
    cluster.pod("alive", "n2", [kept])
    cluster.take("dead", "n1")
    controllers = cluster.start()
    controllers.says("in sync")
    cluster.delete_node("n1")
    until(lambda: [b.spec.affinity for b in cluster.client.list(IPAMBlock).items] == ["host:n2"])
    until(lambda: [a.spec.node for a in cluster.client.list(BlockAffinity).items] == ["n2"])
    assert sorted(h.spec.handle_id for h in cluster.client.list(IPAMHandle).items) == [
        "ipip-tunnel-addr-n2",
        "net.alive",
    ]
    assert addresses(cluster, "net.alive") == [kept]
    assert controllers.end() == 0


def test_a_leak_on_a_living_node_is_released_after_the_grace_period(cluster):
    cluster.node("n1")
    leaked = cluster.take("gone", "n1")
    used = cluster.take("alive", "n1")
    cluster.pod("alive", "n1", [used])
    stale = cluster.take("moved", "n1")
    cluster.pod("moved", "n1", ["10.10.200.200"])
    starting = cluster.take("starting", "n1")
    cluster.pod("starting", "n1")
    grace(cluster, "2s")
    controllers = cluster.start()
    until(lambda: not addresses(cluster, "net.gone") and not addresses(cluster, "net.moved"))
    assert addresses(cluster, "net.alive") == [used]
    assert addresses(cluster, "net.starting") == [starting]
    text = controllers.text()
    for ip in (leaked, stale):
        assert (
            f'Garbage collecting leaked IP address handle="net.{"gone" if ip == leaked else "moved"}"' in text
        )
    metrics = until(lambda: [m for m in controllers.metrics() if "reclamations" in m])
    assert metrics == ['ipam_allocations_gc_reclamations{ippool="pool",node="n1"} 2.0']


def test_nothing_is_released_before_the_grace_period_or_without_one(cluster):
    cluster.node("n1")
    leaked = cluster.take("gone", "n1")
    grace(cluster, "0s")
    controllers = cluster.start()
    until(lambda: 'ipam_allocations_gc_candidates{ippool="pool",node="n1"} 1.0' in controllers.metrics())
    assert addresses(cluster, "net.gone") == [leaked]


def test_one_living_address_keeps_all_of_its_handle(cluster):
    cluster.node("n1")
    first = cluster.take("pair", "n1", handle="net.pair")
    second = cluster.take("other", "n1", handle="net.pair")
    cluster.pod("pair", "n1", [first])
    cluster.take("gone", "n1")
    grace(cluster, "1s")
    cluster.start().says("Garbage collecting")
    until(lambda: not addresses(cluster, "net.gone"))
    assert sorted(addresses(cluster, "net.pair")) == sorted([first, second])


def test_a_locked_datastore_is_left_alone(cluster):
    cluster.node("n1")
    held = cluster.take("gone", "n1")
    cluster.delete_node("n1")
    lock(cluster, ready=False)
    controllers = cluster.start()
    controllers.says("datastore is locked, skipping ipam sync")
    assert addresses(cluster, "net.gone") == [held]
    lock(cluster, ready=True)
    until(lambda: not addresses(cluster, "net.gone"))


def test_spare_empty_blocks_go_and_the_last_one_stays(cluster):
    cluster.node("n1")
    for cidr in ("10.10.1.0/26", "10.10.2.0/26", "10.10.3.0/26"):
        cluster.allocator.claim_affinity(cidr, "n1")
    grace(cluster, "1s")
    controllers = cluster.start()
    until(lambda: len(cluster.client.list(IPAMBlock).items) == 1)
    assert controllers.text().count("Releasing affinity for empty block") == 2
    assert "(node has 3 total blocks)" in controllers.text()
    assert "(node has 2 total blocks)" in controllers.text()
    assert len(cluster.client.list(BlockAffinity).items) == 1
