"""CustomResourceDefinitions: served at once, with their schema."""

import pytest

MERGE = "application/merge-patch+json"


def crd(plural="widgets", **version):
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    return {
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural[:-1].capitalize(), "shortNames": [plural[:2]]},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
                 "additionalPrinterColumns": columns, **version},
            ],
        },
    }  # fmt: skip


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


@pytest.fixture
def widgets(server):
    status, body = server.call("POST", CRDS, crd(subresources={"status": {}}))
    assert status == 201, body
    assert {c["type"]: c["status"] for c in body["status"]["conditions"]} == {
        "NamesAccepted": "True", "Established": "True"}  # fmt: skip
    yield
    server.call("DELETE", CRDS + "/widgets.example.com")
    assert server.call("GET", CRDS + "/widgets.example.com")[0] == 404
    assert server.call("GET", WIDGETS)[0] == 404


def test_defaults_pruning_and_validation(server, widgets):
    status, made = server.call("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 1, "typo": 2}})
    assert (status, made["spec"]) == (201, {"size": 1, "mode": "A"})
    assert (made["kind"], made["apiVersion"], made["metadata"]["generation"]) == (
        "Widget",
        "example.com/v1",
        1,
    )
    status, body = server.call("POST", WIDGETS, {"metadata": {"name": "v"}, "spec": {"mode": "C"}})
    assert (status, body["reason"]) == (422, "Invalid")
    assert 'Widget.example.com "v" is invalid' in body["message"]
    assert {c["field"] for c in body["details"]["causes"]} == {"spec.size", "spec.mode"}
    strict = WIDGETS + "?fieldValidation=Strict"
    status, body = server.call("POST", strict, {"metadata": {"name": "v"}, "spec": {"size": 1, "typo": 2}})
    assert (status, 'unknown field "spec.typo"' in body["message"]) == (400, True)


def test_status_subresource_and_generation(server, widgets):
    server.call("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 1}, "status": {"x": 1}})
    patch = {"spec": {"size": 2}, "status": {"x": 2}}
    _, body = server.call("PATCH", WIDGETS + "/w", patch, content_type=MERGE)
    assert "status" not in body
    assert body["metadata"]["generation"] == 2
    patch = {"spec": {"size": 3}, "status": {"x": 3}, "metadata": {"labels": {"a": "b"}}}
    _, body = server.call("PATCH", WIDGETS + "/w/status", patch, content_type=MERGE)
    assert (body["status"], body["spec"]["size"], body["metadata"]["generation"]) == ({"x": 3}, 2, 2)
    assert "labels" not in body["metadata"]
    status, _ = server.call(
        "PATCH", WIDGETS + "/w", {}, content_type="application/strategic-merge-patch+json"
    )
    assert status == 415
    del body["metadata"]["resourceVersion"]
    assert server.call("PUT", WIDGETS + "/w", body)[0] == 422


def test_table_has_the_printer_columns(server, widgets):
    server.call("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 5}})
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    _, table = server.call("GET", WIDGETS, headers=accept)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 5]


def test_a_schema_may_change_in_place(server, widgets):
    _, current = server.call("GET", CRDS + "/widgets.example.com")
    version = current["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] = {"type": "string"}
    assert server.call("PUT", CRDS + "/widgets.example.com", current)[0] == 200
    _, made = server.call("POST", WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 1, "extra": "e"}})
    assert made["spec"]["extra"] == "e"


def test_every_version_serves_the_same_objects(server):
    document = crd("gadgets")
    schema = document["spec"]["versions"][0]["schema"]
    document["spec"]["versions"].append({"name": "v2", "served": True, "storage": False, "schema": schema})
    assert server.call("POST", CRDS, document)[0] == 201
    v2 = "/apis/example.com/v2/namespaces/default/gadgets"
    status, made = server.call("POST", v2, {"metadata": {"name": "g"}, "spec": {"size": 1}})
    assert (status, made["apiVersion"]) == (201, "example.com/v2")
    assert server.call("GET", v2.replace("v2", "v1") + "/g")[1]["apiVersion"] == "example.com/v1"
    status, body = server.call("PATCH", v2 + "/g", {"spec": {"size": 2}}, content_type=MERGE)
    assert (status, body["apiVersion"], body["spec"]["size"]) == (200, "example.com/v2", 2)
    server.call("DELETE", CRDS + "/gadgets.example.com")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d["metadata"].update(name="x.example.com"), "metadata.name"),
        (lambda d: d["spec"].pop("group"), "spec.group"),
        (lambda d: d["spec"].update(scope="Other"), "spec.scope"),
        (lambda d: d["spec"]["versions"][0].update(storage=False), "spec.versions"),
        (lambda d: d["spec"]["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema"),
        (lambda d: d.pop("spec"), "spec"),
    ],
)
def test_bad_definitions(server, change, field):
    document = crd("bolts")
    change(document)
    status, body = server.call("POST", CRDS, document)
    assert (status, field in [c["field"] for c in body["details"]["causes"]]) == (422, True), body
