import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.apiserver import patching
from pycalico.apiserver.mergekeys import shape_of
from pycalico.apiserver.patching import PatchError

POD = shape_of("pods")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def pod(**spec):
    return {"metadata": {"name": "p"}, "spec": spec}


def smp(target, patch, shape=POD):
    before = copy.deepcopy(target)
    result = patching.strategic_merge_patch(target, patch, shape)
    assert target == before, "the target was changed in place"
    return result


def test_merge_patch_examples_of_rfc_7386():
    cases = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, expected in cases:
        assert patching.merge_patch(target, patch) == expected


@given(JSON, JSON)
def test_merge_patch_leaves_no_null_of_the_patch_and_settles(target, patch):
    once = patching.merge_patch(target, patch)
    assert patching.merge_patch(once, patch) == once


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2], "b": {}}),
        ([{"op": "add", "path": "/a/-", "value": 9}], {"a": [1, 2, 9], "b": {}}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2], "b": {}}),
        ([{"op": "replace", "path": "/a/0", "value": 7}], {"a": [7, 2], "b": {}}),
        ([{"op": "move", "from": "/a", "path": "/b/x"}], {"b": {"x": [1, 2]}}),
        ([{"op": "copy", "from": "/a/1", "path": "/c"}], {"a": [1, 2], "b": {}, "c": 2}),
        ([{"op": "add", "path": "/b/x~1y~0z", "value": 1}], {"a": [1, 2], "b": {"x/y~z": 1}}),
        ([{"op": "test", "path": "/a/0", "value": 1}, {"op": "remove", "path": "/b"}], {"a": [1, 2]}),
    ],
)
def test_json_patch(operations, expected):
    target = {"a": [1, 2], "b": {}}
    assert patching.json_patch(target, operations) == expected
    assert target == {"a": [1, 2], "b": {}}


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        [{"op": "test", "path": "/a/0", "value": 2}],
        [{"op": "remove", "path": "/x"}],
        [{"op": "replace", "path": "/x", "value": 1}],
        [{"op": "add", "path": "/a/7", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/a"}],
        [{"op": "frob", "path": "/a", "value": 1}],
        [{"op": "add", "path": "/a/0/b", "value": 1}],
        ["x"],
    ],
)
def test_json_patch_refuses(operations):
    with pytest.raises(PatchError):
        patching.json_patch({"a": [1, 2]}, operations)


def test_strategic_merges_containers_by_name_and_env_by_name():
    target = pod(
        containers=[{"name": "a", "image": "i", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]
    )
    patch = pod(containers=[{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]}])
    containers = smp(target, patch)["spec"]["containers"]
    assert containers == [
        {"name": "a", "image": "i", "env": [{"name": "X", "value": "3"}, {"name": "Y", "value": "2"}]},
        {"name": "b"},
    ]


def test_strategic_deletes_and_replaces_by_directive():
    target = pod(containers=[{"name": "a"}, {"name": "b"}], volumes=[{"name": "v"}, {"name": "w"}])
    patch = pod(
        containers=[{"name": "a", "$patch": "delete"}],
        volumes=[{"$patch": "replace"}, {"name": "z"}],
        securityContext={"$patch": "replace", "runAsUser": 1},
    )
    assert smp(target, patch)["spec"] == {
        "containers": [{"name": "b"}],
        "volumes": [{"name": "z"}],
        "securityContext": {"runAsUser": 1},
    }


def test_strategic_keeps_tolerations_atomic_and_finalizers_a_set():
    target = {"metadata": {"finalizers": ["a", "b"]}, "spec": {"tolerations": [{"key": "x"}]}}
    patch = {
        "metadata": {"finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]},
        "spec": {"tolerations": [{"key": "y"}]},
    }
    result = smp(target, patch)
    assert sorted(result["metadata"]["finalizers"]) == ["a", "c"]
    assert result["spec"]["tolerations"] == [{"key": "y"}]


def test_strategic_orders_elements_and_retains_keys():
    target = pod(volumes=[{"name": "v", "emptyDir": {}}, {"name": "w", "hostPath": {"path": "/"}}])
    patch = {
        "spec": {
            "$setElementOrder/volumes": [{"name": "w"}, {"name": "v"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}],
        }
    }
    assert smp(target, patch)["spec"]["volumes"] == [
        {"name": "w", "hostPath": {"path": "/"}},
        {"name": "v", "hostPath": {"path": "/x"}},
    ]


def test_strategic_merges_conditions_and_addresses_by_type():
    target = {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Disk"}]}}
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    merged = smp(target, patch, shape_of("nodes"))["status"]["conditions"]
    assert merged == [{"type": "Ready", "status": "True"}, {"type": "Disk"}]


def test_strategic_reaches_into_a_deployments_template():
    target = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}}}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "2"}]}}}}
    merged = smp(target, patch, shape_of("deployments.apps"))["spec"]["template"]["spec"]["containers"]
    assert merged == [{"name": "a", "image": "2"}, {"name": "b"}]


def test_strategic_refuses_an_element_without_its_key():
    with pytest.raises(PatchError, match="merge key: name"):
        smp(pod(containers=[]), pod(containers=[{"image": "x"}]))


def test_apply_merges_by_all_keys_of_a_list():
    ports = [{"containerPort": 53, "protocol": "TCP"}]
    target = pod(containers=[{"name": "a", "ports": ports}])
    applied = pod(containers=[{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}])
    merged = patching.apply_merge(target, applied, POD)["spec"]["containers"][0]["ports"]
    assert merged == [*ports, {"containerPort": 53, "protocol": "UDP"}]
