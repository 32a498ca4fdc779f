import copy

from pycalico.lab import workloads

TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c"}]}}


def owner(kind, name="own", **spec):
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
    return {"kind": kind, "metadata": meta, "spec": {"template": copy.deepcopy(TEMPLATE), **spec}}


def node(name):
    return {"metadata": {"name": name, "labels": {}}, "spec": {}}


def ready(pod, flag=True):
    return {**pod, "status": {"conditions": [{"type": "Ready", "status": str(flag)}]}}


def ending(item):
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": "now"}}


def test_a_daemonset_wants_one_pod_on_each_node():
    ds = owner("DaemonSet")
    first = workloads.daemonset(ds, [node("a"), node("b")], [])
    assert sorted(pod["spec"]["nodeName"] for pod in first.create) == ["a", "b"]
    assert first.status["desiredNumberScheduled"] == 2
    then = workloads.daemonset(ds, [node("a"), node("b")], [ready(pod) for pod in first.create])
    assert (then.create, then.delete) == ([], [])
    assert then.status["numberReady"] == then.status["updatedNumberScheduled"] == 2


def test_an_ending_pod_is_replaced_and_a_lost_nodes_pod_removed():
    ds = owner("DaemonSet")
    pods = workloads.daemonset(ds, [node("a"), node("b")], []).create
    plan = workloads.daemonset(ds, [node("a")], [ending(pods[0]), pods[1]])
    assert [pod["spec"]["nodeName"] for pod in plan.create] == ["a"]
    assert plan.delete == [pods[1]]


def test_a_changed_template_replaces_the_daemonsets_pods():
    ds = owner("DaemonSet")
    pods = workloads.daemonset(ds, [node("a")], []).create
    ds["spec"]["template"]["spec"]["containers"][0]["image"] = "new"
    assert workloads.daemonset(ds, [node("a")], pods).delete == pods


def test_a_deployment_has_one_replicaset_of_its_present_template():
    item = owner("Deployment", replicas=2, selector={"matchLabels": {"app": "x"}})
    made = workloads.deployment(item, []).create[0]
    assert made["metadata"]["name"] == f"own-{workloads.template_hash(item)}"
    assert made["spec"]["selector"]["matchLabels"]["pod-template-hash"] == workloads.template_hash(item)
    made["metadata"]["uid"] = "rs"
    assert workloads.deployment(item, [made]).create == []
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "new"
    plan = workloads.deployment(item, [made])
    assert plan.delete == [made]
    assert plan.create[0]["metadata"]["name"] != made["metadata"]["name"]


def test_a_deployments_size_reaches_its_replicaset():
    item = owner("Deployment", replicas=1, selector={})
    made = workloads.deployment(item, []).create[0]
    assert workloads.scaled(item, [made]) == []
    item["spec"]["replicas"] = 3
    assert workloads.scaled(item, [made]) == [(made, 3)]


def test_a_replicaset_keeps_its_number_and_parts_with_unready_ones_first():
    item = owner("ReplicaSet", replicas=2)
    pods = workloads.replicaset(item, []).create
    assert len(pods) == 2
    third = workloads.make_pod(item, item["spec"]["template"], {})
    assert workloads.replicaset(item, [ready(pods[0]), third, ready(pods[1])]).delete == [third]
    assert len(workloads.replicaset(item, [ending(pods[0]), pods[1]]).create) == 1


def test_names_are_made_as_kubernetes_makes_them():
    item = owner("ReplicaSet", name="coredns-55cb58b774")
    name = workloads.make_pod(item, item["spec"]["template"], {})["metadata"]["name"]
    assert name.startswith("coredns-55cb58b774-")
    assert len(name) == len("coredns-55cb58b774-") + 5
