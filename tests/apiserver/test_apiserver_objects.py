"""The API over HTTP, as any client sees it."""

import base64
import concurrent.futures
import time

import pytest

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def pod(name="p", **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "busybox:1"}], **spec}}


def maps(namespace):
    return f"/api/v1/namespaces/{namespace}/configmaps"


def wait_gone(server, path):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if server.call("GET", path)[0] == 404:
            return
        time.sleep(0.02)
    pytest.fail(f"{path} is still there")


def test_every_cluster_has_its_namespaces_service_and_accounts(server):
    _, found = server.call("GET", "/api/v1/namespaces")
    names = {item["metadata"]["name"] for item in found["items"]}
    assert names >= {"default", "kube-system", "kube-public", "kube-node-lease"}
    status, service = server.call("GET", "/api/v1/namespaces/default/services/kubernetes")
    assert (status, service["spec"]["clusterIP"]) == (200, "10.96.0.1")
    assert server.call("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200
    _, bundle = server.call("GET", maps("default") + "/kube-root-ca.crt")
    assert "BEGIN CERTIFICATE" in bundle["data"]["ca.crt"]


@pytest.mark.parametrize(
    ("method", "path", "code", "reason", "message"),
    [
        ("GET", "/api/v1/namespaces/default/pods/x", 404, "NotFound", 'pods "x" not found'),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/x", 404, "NotFound", 'deployments.apps "x" not found'),
        ("GET", "/apis/nope/v1/things", 404, "NotFound", "the server could not find the requested resource"),
        ("GET", "/api/v1/pods/x", 404, "NotFound", "the server could not find the requested resource"),
        ("PUT", "/api/v1/pods", 405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
        ("GET", "/api/v1/pods?labelSelector=a+b", 400, "BadRequest", "unable to parse requirement: 'a b' is no label selector"),
        ("GET", "/api/v1/pods?fieldSelector=spec.x%3D1", 400, "BadRequest", "field label not supported: spec.x"),
    ],
)  # fmt: skip
def test_refusals_have_kubernetes_shape(server, method, path, code, reason, message):
    status, body = server.call(method, path, {} if method == "PUT" else None)
    assert (status, body["kind"], body["status"]) == (code, "Status", "Failure")
    assert (body["code"], body["reason"], body["message"]) == (code, reason, message)


def test_not_found_names_group_and_kind(server):
    _, body = server.call("GET", "/apis/apps/v1/namespaces/default/deployments/x")
    assert body["details"] == {"name": "x", "group": "apps", "kind": "deployments"}


def test_create_fills_metadata_and_refuses_a_second(server, namespace):
    status, made = server.call("POST", maps(namespace), {"metadata": {"name": "a"}, "data": {"k": "v"}})
    assert status == 201
    assert made["metadata"]["namespace"] == namespace
    assert {"uid", "creationTimestamp", "resourceVersion"} <= made["metadata"].keys()
    status, body = server.call("POST", maps(namespace), {"metadata": {"name": "a"}})
    assert (status, body["reason"], body["message"]) == (
        409,
        "AlreadyExists",
        'configmaps "a" already exists',
    )
    status, made = server.call("POST", maps(namespace), {"metadata": {"generateName": "b-"}})
    assert status == 201
    assert len(made["metadata"]["name"]) == 7


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        ({"kind": "Pod", "metadata": {"name": "x"}}, 400),
        ({"apiVersion": "v2", "metadata": {"name": "x"}}, 400),
        ({"metadata": "x"}, 400),
        ({"metadata": {"name": 5}}, 400),
        ({"metadata": {"name": "x", "labels": {"a": 1}}}, 400),
        ({"metadata": {"name": "x", "namespace": "other"}}, 400),
        ({"metadata": {}}, 422),
        ({"metadata": {"name": "UPPER"}}, 422),
        ({"metadata": {"name": "a" * 254}}, 422),
        ({"metadata": {"name": "x", "labels": {"a": "b c"}}}, 422),
        ({"metadata": {"name": "x", "resourceVersion": "7"}}, 400),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, 400),
    ],
)
def test_bad_bodies(server, namespace, body, code):
    status, answer = server.call("POST", maps(namespace), body)
    assert (status, answer["code"]) == (code, code), answer
    assert "\n" not in answer["message"]


def test_namespace_must_exist(server):
    status, body = server.call("POST", maps("missing"), {"metadata": {"name": "x"}})
    assert (status, body["message"]) == (404, 'namespaces "missing" not found')


def test_two_concurrent_updates_give_one_conflict(server, namespace):
    _, made = server.call("POST", maps(namespace), {"metadata": {"name": "a"}})

    def write(value):
        return server.call("PUT", maps(namespace) + "/a", {**made, "data": {"by": value}})

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(write, ["one", "two"]))
    assert sorted(status for status, _ in answers) == [200, 409]
    conflict = next(body for status, body in answers if status == 409)
    assert conflict["reason"] == "Conflict"
    assert conflict["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_update_that_changes_nothing_keeps_the_version(server, namespace):
    _, made = server.call("POST", maps(namespace), {"metadata": {"name": "a"}})
    _, again = server.call("PUT", maps(namespace) + "/a", made)
    assert again == made


def test_patches_and_their_content_types(server, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    server.call("POST", path, pod())
    for content_type, patch in [
        (MERGE, {"metadata": {"labels": {"a": "1"}}}),
        (STRATEGIC, {"spec": {"containers": [{"name": "c", "image": "busybox:2"}]}}),
        (JSON_PATCH, [{"op": "add", "path": "/metadata/labels/b", "value": "2"}]),
        (APPLY, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"c": "3"}}}),
    ]:
        status, body = server.call("PATCH", path + "/p", patch, content_type=content_type)
        assert status == 200, body
    assert body["metadata"]["labels"] == {"a": "1", "b": "2", "c": "3"}
    assert [c["image"] for c in body["spec"]["containers"]] == ["busybox:2"]
    assert server.call("PATCH", path + "/p", {}, content_type="application/json")[0] == 415
    failing = [{"op": "test", "path": "/metadata/labels/a", "value": "9"}]
    assert server.call("PATCH", path + "/p", failing, content_type=JSON_PATCH)[0] == 422
    stale = {"metadata": {"resourceVersion": "1", "labels": {"z": "z"}}}
    assert server.call("PATCH", path + "/p", stale, content_type=STRATEGIC)[0] == 409
    other = {"metadata": {"uid": "11111111-1111-1111-1111-111111111111"}}
    assert server.call("PATCH", path + "/p", other, content_type=STRATEGIC)[0] == 409


def test_status_and_spec_are_written_apart(server, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    _, made = server.call("POST", path, {**pod(), "status": {"phase": "Running"}})
    assert made["status"]["phase"] == "Pending"
    assert made["spec"]["serviceAccountName"] == "default"
    assert made["spec"]["restartPolicy"] == "Always"
    _, body = server.call("PATCH", path + "/p", {"status": {"phase": "Running"}}, content_type=MERGE)
    assert body["status"]["phase"] == "Pending"
    patch = {
        "status": {"podIP": "1.2.3.4"},
        "spec": {"nodeName": "n"},
        "metadata": {"annotations": {"a": "b"}},
    }
    _, body = server.call("PATCH", path + "/p/status", patch, content_type=STRATEGIC)
    assert body["status"]["podIP"] == "1.2.3.4"
    assert "nodeName" not in body["spec"]
    assert body["metadata"]["annotations"] == {"a": "b"}


def test_generation_counts_changes_of_the_spec(server, namespace):
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    _, made = server.call("POST", path, {"metadata": {"name": "d"}, "spec": spec})
    assert (made["metadata"]["generation"], made["spec"]["replicas"]) == (1, 1)
    _, body = server.call("PATCH", path + "/d", {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
    assert body["metadata"]["generation"] == 1
    status, scale = server.call("PATCH", path + "/d/scale", {"spec": {"replicas": 3}}, content_type=MERGE)
    assert (status, scale["kind"], scale["spec"]["replicas"]) == (200, "Scale", 3)
    _, body = server.call("GET", path + "/d")
    assert (body["metadata"]["generation"], body["spec"]["replicas"]) == (2, 3)
    bad = {"metadata": {"name": "e"}, "spec": {**spec, "selector": {"matchLabels": {"a": "c"}}}}
    assert server.call("POST", path, bad)[0] == 422


def test_dry_run_changes_nothing(server, namespace):
    status, body = server.call("POST", maps(namespace) + "?dryRun=All", {"metadata": {"name": "a"}})
    assert (status, body["metadata"]["name"]) == (201, "a")
    assert server.call("GET", maps(namespace) + "/a")[0] == 404
    server.call("POST", maps(namespace), {"metadata": {"name": "a"}})
    assert server.call("DELETE", maps(namespace) + "/a?dryRun=All")[0] == 200
    assert server.call("GET", maps(namespace) + "/a")[0] == 200
    assert server.call("POST", maps(namespace) + "?dryRun=Some", {"metadata": {"name": "b"}})[0] == 400


def test_paging_shows_one_moment(server, namespace):
    for index in range(5):
        server.call("POST", maps(namespace), {"metadata": {"name": f"a{index}", "labels": {"mine": ""}}})
    query = maps(namespace) + "?labelSelector=mine&limit=2"
    _, first = server.call("GET", query)
    assert [i["metadata"]["name"] for i in first["items"]] == ["a0", "a1"]
    assert first["metadata"]["remainingItemCount"] == 3
    server.call("DELETE", maps(namespace) + "/a2")
    token = first["metadata"]["continue"]
    _, second = server.call("GET", f"{query}&continue={token}")
    assert [i["metadata"]["name"] for i in second["items"]] == ["a2", "a3"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    _, third = server.call("GET", f"{query}&continue={second['metadata']['continue']}")
    assert [i["metadata"]["name"] for i in third["items"]] == ["a4"]
    assert "continue" not in third["metadata"]
    old = base64.urlsafe_b64encode(b'{"page":"nope"}').decode()
    assert server.call("GET", f"{query}&continue={old}")[0] == 410
    assert server.call("GET", f"{query}&continue=%%%")[0] == 400


def test_list_at_a_resource_version(server):
    _, found = server.call("GET", "/api/v1/nodes")
    version = int(found["metadata"]["resourceVersion"])
    path = "/api/v1/nodes?resourceVersion="
    assert server.call("GET", f"{path}{version}&resourceVersionMatch=NotOlderThan")[0] == 200
    assert server.call("GET", f"{path}1&resourceVersionMatch=Exact")[0] == 410
    status, body = server.call("GET", f"{path}{version + 1000}")
    assert (status, body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    assert server.call("GET", f"{path}abc")[0] == 400


def test_delete_preconditions(server, namespace):
    _, made = server.call("POST", maps(namespace), {"metadata": {"name": "a"}})
    for wrong in ({"uid": "x"}, {"resourceVersion": "1"}):
        assert server.call("DELETE", maps(namespace) + "/a", {"preconditions": wrong})[0] == 409
    right = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    status, body = server.call("DELETE", maps(namespace) + "/a", {"preconditions": right})
    assert (status, body["status"], body["details"]["uid"]) == (200, "Success", made["metadata"]["uid"])


def test_a_running_pod_stays_until_its_kubelet_is_done(server, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    server.call("POST", path, pod("placed", nodeName="n1"))
    server.call("POST", path, pod("waiting"))
    _, body = server.call("DELETE", path + "/waiting")
    assert server.call("GET", path + "/waiting")[0] == 404
    _, body = server.call("DELETE", path + "/placed", {"gracePeriodSeconds": 7})
    assert body["metadata"]["deletionGracePeriodSeconds"] == 7
    _, body = server.call("GET", path + "/placed")
    assert body["metadata"]["deletionTimestamp"]
    assert server.call("DELETE", path + "/placed", {"gracePeriodSeconds": 0})[0] == 200
    assert server.call("GET", path + "/placed")[0] == 404


def test_finalizers_hold_an_object(server, namespace):
    server.call("POST", maps(namespace), {"metadata": {"name": "a", "finalizers": ["ex.com/x"]}})
    _, body = server.call("DELETE", maps(namespace) + "/a")
    assert body["metadata"]["deletionTimestamp"]
    server.call("PATCH", maps(namespace) + "/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert server.call("GET", maps(namespace) + "/a")[0] == 404


def owned(name, owner, **extra):
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner["metadata"]["uid"]}
    return {"metadata": {"name": name, "ownerReferences": [{**reference, **extra}]}}


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_garbage_collection(server, namespace, policy):
    path = maps(namespace)
    _, owner = server.call("POST", path, {"metadata": {"name": "o"}})
    server.call("POST", path, owned("d", owner, blockOwnerDeletion=True))
    server.call("DELETE", path + "/o", {"propagationPolicy": policy})
    wait_gone(server, path + "/o")
    if policy == "Orphan":
        status, body = server.call("GET", path + "/d")
        assert (status, body["metadata"].get("ownerReferences")) == (200, [])
    else:
        wait_gone(server, path + "/d")


def test_deleting_a_namespace_deletes_what_is_in_it(server, namespace):
    pods = f"/api/v1/namespaces/{namespace}/pods"
    server.call("POST", maps(namespace), {"metadata": {"name": "a"}})
    server.call("POST", pods, pod("placed", nodeName="n1"))
    _, body = server.call("DELETE", f"/api/v1/namespaces/{namespace}")
    assert body["status"]["phase"] == "Terminating"
    assert server.call("GET", maps(namespace) + "/a")[0] == 200  # not before the pods are gone
    status, body = server.call("POST", maps(namespace), {"metadata": {"name": "b"}})
    assert (status, body["reason"]) == (403, "Forbidden")
    assert body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    assert server.call("DELETE", pods + "/placed", {"gracePeriodSeconds": 0})[0] == 200
    wait_gone(server, f"/api/v1/namespaces/{namespace}")


def test_delete_collection_by_selector(server, namespace):
    for name, label in [("a", "x"), ("b", "x"), ("c", "y")]:
        server.call("POST", maps(namespace), {"metadata": {"name": name, "labels": {"l": label}}})
    status, body = server.call("DELETE", maps(namespace) + "?labelSelector=l%3Dx")
    assert (status, len(body["items"])) == (200, 2)
    _, left = server.call("GET", maps(namespace) + "?labelSelector=l")
    assert [i["metadata"]["name"] for i in left["items"]] == ["c"]


def test_binding_and_eviction(server, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    server.call("POST", path, pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n1"},
    }
    assert server.call("POST", path + "/p/binding", binding)[0] == 201
    _, body = server.call("GET", path + "/p")
    assert body["spec"]["nodeName"] == "n1"
    assert [c["type"] for c in body["status"]["conditions"]] == ["PodScheduled"]
    status, body = server.call("POST", path + "/p/binding", binding)
    assert (status, 'is already assigned to node "n1"' in body["message"]) == (409, True)
    _, found = server.call("GET", path + "?fieldSelector=spec.nodeName%3Dn1,status.phase%3DPending")
    assert len(found["items"]) == 1
    assert server.call("POST", path + "/p/eviction", {"metadata": {"name": "p"}})[0] == 201
    assert server.call("GET", path + "/p")[1]["metadata"]["deletionTimestamp"]


def test_service_addresses(server, namespace):
    path = f"/api/v1/namespaces/{namespace}/services"
    spec = {"ports": [{"port": 80}]}
    given = [
        server.call("POST", path, {"metadata": {"name": f"s{i}"}, "spec": spec})[1]["spec"] for i in range(2)
    ]
    assert given[0]["clusterIP"] != given[1]["clusterIP"]
    assert given[0]["clusterIP"].startswith("10.")
    assert given[0]["clusterIPs"] == [given[0]["clusterIP"]]
    taken = {"metadata": {"name": "t"}, "spec": {**spec, "clusterIP": given[0]["clusterIP"]}}
    assert server.call("POST", path, taken)[0] == 422
    status, body = server.call("POST", path, {"metadata": {"name": "h"}, "spec": {"clusterIP": "None"}})
    assert (status, body["spec"]["clusterIP"]) == (201, "None")
    _, body = server.call("POST", path, {"metadata": {"name": "n"}, "spec": {**spec, "type": "NodePort"}})
    assert 30000 <= body["spec"]["ports"][0]["nodePort"] < 32768


def test_authentication(server, namespace):
    status, body = server.call("GET", "/api/v1/pods", headers={"Authorization": "Bearer wrong"})
    assert (status, body["reason"]) == (401, "Unauthorized")
    assert server.call("GET", "/api/v1/pods", headers={"Authorization": ""})[0] == 401
    assert server.call("GET", "/healthz", headers={"Authorization": ""})[0] == 200
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    server.call("POST", accounts, {"metadata": {"name": "a"}})
    status, request = server.call("POST", accounts + "/a/token", {"spec": {"expirationSeconds": 700}})
    assert status == 201
    bearer = {"Authorization": f"Bearer {request['status']['token']}"}
    assert server.call("GET", "/api/v1/pods", headers=bearer)[0] == 200
    _, review = server.call(
        "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": request["status"]["token"]}}
    )
    assert review["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:a"
    head, claims, signature = request["status"]["token"].split(".")
    forged = {"Authorization": f"Bearer {head}.{claims[:-2]}AA.{signature}"}
    assert server.call("GET", "/api/v1/pods", headers=forged)[0] == 401
    assert server.call("POST", accounts + "/a/token", {"spec": {"expirationSeconds": 5}})[0] == 422
    server.call("DELETE", accounts + "/a")
    assert server.call("GET", "/api/v1/pods", headers=bearer)[0] == 401


def test_a_client_certificate_is_enough(server):
    import http.client

    context = server.context()
    pki = server.directory / "data/pki"
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 201
    assert b"kubernetes-admin" in response.read()
