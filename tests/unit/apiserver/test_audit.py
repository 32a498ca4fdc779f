import json

import pytest

from pycalico.apiserver.audit import Audit, asked
from pycalico.apiserver.connection import Response, Stream
from pycalico.apiserver.http1 import Request


@pytest.mark.parametrize(
    ("method", "path", "watch", "verb", "reference"),
    [
        ("GET", "/api/v1/nodes", False, "list", {"resource": "nodes", "apiVersion": "v1"}),
        ("GET", "/api/v1/nodes", True, "watch", {"resource": "nodes", "apiVersion": "v1"}),
        ("GET", "/api/v1/nodes/a", False, "get", {"resource": "nodes", "name": "a", "apiVersion": "v1"}),
        ("PATCH", "/api/v1/nodes/a/status", False, "patch",
         {"resource": "nodes", "subresource": "status", "name": "a", "apiVersion": "v1"}),
        ("GET", "/api/v1/namespaces/kube-system", False, "get",
         {"resource": "namespaces", "name": "kube-system", "apiVersion": "v1"}),
        ("POST", "/api/v1/namespaces/x/serviceaccounts/y/token", False, "create",
         {"resource": "serviceaccounts", "subresource": "token", "namespace": "x", "name": "y", "apiVersion": "v1"}),
        ("DELETE", "/apis/crd.projectcalico.org/v1/ipamblocks/b", False, "delete",
         {"resource": "ipamblocks", "name": "b", "apiGroup": "crd.projectcalico.org", "apiVersion": "v1"}),
        ("DELETE", "/api/v1/namespaces/x/pods", False, "deletecollection",
         {"resource": "pods", "namespace": "x", "apiVersion": "v1"}),
        ("PUT", "/apis/apps/v1/namespaces/x/daemonsets/d", False, "update",
         {"resource": "daemonsets", "namespace": "x", "name": "d", "apiGroup": "apps", "apiVersion": "v1"}),
    ],
)  # fmt: skip
def test_verbs_and_references_are_those_of_rbac(method, path, watch, verb, reference):
    assert asked(method, path, watch=watch) == {"verb": verb, "objectRef": reference}


def test_what_is_no_resource_has_the_method_as_its_verb():
    assert asked("GET", "/version", watch=False) == {"verb": "get"}
    assert asked("GET", "/apis/apps/v1", watch=False) == {"verb": "get"}


def test_a_line_for_each_answer_and_no_bodies(tmp_path):
    audit = Audit(tmp_path / "deep/audit.log")
    answers = iter([Response(201, b"secret"), Response(200, b"", stream=Stream())])
    handle = audit.around(lambda _: next(answers))
    request = Request("POST", "/api/v1/namespaces/x/secrets", {}, {"user-agent": "kubectl"})
    request.user, request.body = "jane", b"secret"
    assert handle(request).status == 201
    handle(Request("GET", "/api/v1/pods", {"watch": "1"}, {}))
    audit.close()
    text = (tmp_path / "deep/audit.log").read_text()
    assert 'secret"' not in text.replace('"resource":"secrets"', "")
    first, second = map(json.loads, text.splitlines())
    assert first["user"] == {"username": "jane"}
    assert (first["verb"], first["responseStatus"], first["userAgent"]) == (
        "create",
        {"code": 201},
        "kubectl",
    )
    assert (second["verb"], second["stage"]) == ("watch", "ResponseStarted")


def test_a_full_disk_ends_the_log_and_not_the_server():
    audit = Audit.__new__(Audit)
    audit._file = open("/dev/full", "ab", buffering=0)
    handle = audit.around(lambda _: Response(200, b"ok"))
    for _ in range(2):
        assert handle(Request("GET", "/version", {}, {})).status == 200
    assert audit._file is None
