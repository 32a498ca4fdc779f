from pycalico.lab import proxy, services

LABELS = {"app": "web"}


def pod(name, ip, *, ready=True, port=80, **meta):
    return {
        "metadata": {"name": name, "namespace": "d", "uid": name, "labels": LABELS, **meta},
        "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def service(**spec):
    ports = [{"port": 8080, "targetPort": "http", "protocol": "TCP"}]
    return {
        "metadata": {"name": "web", "namespace": "d"},
        "spec": {"selector": LABELS, "clusterIP": "10.96.0.9", "ports": ports, **spec},
    }


def reconcile(*pods, of=None, there=()):
    slices = [item for item in there if item["kind"] == "EndpointSlice"]
    endpoints = [item for item in there if item["kind"] == "Endpoints"]
    return services.reconcile([of or service()], pods, slices, endpoints)


def of_kind(items, kind):
    return [item for item in items if item["kind"] == kind]


def test_ready_pods_serve_and_others_are_told_of():
    made = reconcile(pod("a", "1.1.1.1"), pod("b", "1.1.1.2", ready=False), pod("c", "")).create
    (slice_,) = of_kind(made, "EndpointSlice")
    assert slice_["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    assert [(each["addresses"], each["conditions"]["ready"]) for each in slice_["endpoints"]] == [
        (["1.1.1.1"], True),
        (["1.1.1.2"], False),
    ]
    (endpoints,) = of_kind(made, "Endpoints")
    (subset,) = endpoints["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == ["1.1.1.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["1.1.1.2"]


def test_pods_that_name_another_port_have_a_slice_of_their_own():
    made = reconcile(pod("a", "1.1.1.1"), pod("b", "1.1.1.2", port=81)).create
    assert [[port["port"] for port in item["ports"]] for item in of_kind(made, "EndpointSlice")] == [
        [80],
        [81],
    ]


def test_only_what_differs_is_written():
    made = reconcile(pod("a", "1.1.1.1")).create
    assert reconcile(pod("a", "1.1.1.1"), there=made) == ([], [], [])
    more = reconcile(pod("a", "1.1.1.1"), pod("b", "1.1.1.2"), there=made)
    assert (more.create, more.delete) == ([], [])
    assert [set(part) for _, part in more.change] == [{"endpoints"}, {"subsets"}]
    gone = services.reconcile([], [], of_kind(made, "EndpointSlice"), of_kind(made, "Endpoints"))
    assert gone.delete == made


def test_what_others_wrote_is_left_alone():
    theirs = {"kind": "EndpointSlice", "metadata": {"name": "x", "namespace": "d", "labels": {}}}
    own = {"kind": "Endpoints", "metadata": {"name": "x", "namespace": "d"}}
    assert services.reconcile([], [], [theirs], [own]) == ([], [], [])


def test_the_api_server_has_an_endpoint():
    kubernetes = {"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"ports": []}}
    made = services.reconcile([kubernetes], [], [], []).create
    assert made[0]["endpoints"][0]["addresses"] == ["192.168.10.10"]


def rules(*pods, **spec):
    made = reconcile(*pods).create
    return proxy.rules([service(**spec)], of_kind(made, "EndpointSlice"))


def test_each_backend_has_its_share():
    found = rules(pod("a", "1.1.1.1"), pod("b", "1.1.1.2"), pod("c", "1.1.1.3"))
    shares = [line.split("--probability ")[1].split()[0] for line in found if "--probability" in line]
    assert shares == ["0.3333333333", "0.5000000000"]
    assert [line.rpartition(" ")[2] for line in found if "DNAT" in line] == [
        "1.1.1.1:80",
        "1.1.1.2:80",
        "1.1.1.3:80",
    ]


def test_who_waits_gets_nothing_and_node_ports_lead_there_too():
    found = rules(pod("a", "1.1.1.1"), pod("b", "1.1.1.2", ready=False), ports=[
        {"port": 8080, "targetPort": "http", "nodePort": 30001}
    ])  # fmt: skip
    assert sum("DNAT" in line for line in found) == 1
    assert [line for line in found if "--dport 30001 -j KUBE-SVC-" in line]


def test_headless_services_have_no_rules():
    assert not [line for line in rules(pod("a", "1.1.1.1"), clusterIP="None") if "SVC" in line]
