from pycalico.lab import scheduler


def node(name, *, ready=True, taints=(), labels=None, unschedulable=False):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def pod(*, owner="", where="", **spec):
    meta = {"ownerReferences": [{"uid": owner}]} if owner else {}
    return {"metadata": meta, "spec": {**spec, **({"nodeName": where} if where else {})}}


MASTER = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def test_an_unready_or_closed_node_gets_nothing():
    nodes = [node("a", ready=False), node("b", unschedulable=True)]
    assert scheduler.choose(pod(), nodes, []) == ""


def test_siblings_are_spread_before_pods_are_counted():
    nodes = [node("a"), node("b")]
    others = [pod(where="b"), pod(where="b"), pod(owner="x", where="a")]
    assert scheduler.choose(pod(owner="x"), nodes, others) == "b"
    assert scheduler.choose(pod(owner="y"), nodes, others) == "a"


def test_a_taint_needs_its_toleration():
    nodes = [node("m", taints=[MASTER])]
    assert scheduler.choose(pod(), nodes, []) == ""
    assert scheduler.choose(pod(tolerations=[{"operator": "Exists"}]), nodes, []) == "m"
    assert (
        scheduler.choose(pod(tolerations=[{"effect": "NoSchedule", "operator": "Exists"}]), nodes, []) == "m"
    )
    assert scheduler.choose(pod(tolerations=[{"effect": "NoExecute", "operator": "Exists"}]), nodes, []) == ""
    assert scheduler.choose(pod(tolerations=[{"key": MASTER["key"], "value": "x"}]), nodes, []) == ""


def test_a_preference_repels_nobody():
    assert (
        scheduler.choose(pod(), [node("a", taints=[{"key": "k", "effect": "PreferNoSchedule"}])], []) == "a"
    )


def test_every_wanted_label_counts():
    nodes = [node("a", labels={"x": "1"}), node("b", labels={"x": "1", "y": "2"})]
    assert scheduler.choose(pod(nodeSelector={"x": "1", "y": "2"}), nodes, []) == "b"
