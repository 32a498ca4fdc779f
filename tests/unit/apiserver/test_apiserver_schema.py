import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.apiserver import schema

SPEC = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cidr"],
            "properties": {
                "cidr": {"type": "string", "pattern": r"^\d+\.\d+\.\d+\.\d+/\d+$"},
                "mode": {"type": "string", "enum": ["Always", "Never"], "default": "Never"},
                "size": {"type": "integer", "minimum": 20, "maximum": 32},
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "rules": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {
                    "n": {"type": "integer", "default": 7}}}},
                "maybe": {"type": "string", "nullable": True},
            },
        }
    },
}  # fmt: skip


def faults(**spec):
    return [cause[0] + ": " + cause[2] for cause in schema.validate({"spec": spec}, SPEC)]


def test_a_good_object_passes():
    assert (
        faults(cidr="1.2.3.4/5", size=24, port="http", labels={"a": "b"}, maybe=None, rules=[{"n": 1}]) == []
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "spec.cidr: Required value"),
        (
            {"cidr": 5},
            'spec.cidr: Invalid value: "integer": spec.cidr in body must be of type string: "integer"',
        ),
        ({"cidr": "x"}, "should match"),
        ({"cidr": "1.1.1.1/1", "mode": "No"}, 'Unsupported value: "No": supported values: "Always", "Never"'),
        ({"cidr": "1.1.1.1/1", "size": 33}, "should be less than or equal to 32"),
        ({"cidr": "1.1.1.1/1", "size": True}, "must be of type integer"),
        ({"cidr": "1.1.1.1/1", "port": 1.5}, "integer,string"),
        ({"cidr": "1.1.1.1/1", "labels": {"a": 1}}, "spec.labels.a"),
        ({"cidr": "1.1.1.1/1", "rules": [{}, {}, {}]}, "must have at most 2 items"),
        ({"cidr": "1.1.1.1/1", "rules": [{"n": "x"}]}, "spec.rules[0].n"),
    ],
)
def test_faults(spec, expected):
    assert any(expected in fault for fault in faults(**spec)), faults(**spec)


def test_pruning_names_what_it_drops_and_keeps_what_is_free():
    obj = {
        "apiVersion": "v1",
        "kind": "K",
        "metadata": {"anything": 1},
        "spec": {
            "cidr": "x",
            "typo": 1,
            "free": {"a": {"b": 1}},
            "labels": {"z": "z"},
            "rules": [{"n": 1, "m": 2}],
        },
        "other": {},
    }
    assert sorted(schema.prune(obj, SPEC)) == ["other", "spec.rules[0].m", "spec.typo"]
    assert obj["spec"] == {"cidr": "x", "free": {"a": {"b": 1}}, "labels": {"z": "z"}, "rules": [{"n": 1}]}
    assert obj["metadata"] == {"anything": 1}


def test_defaults_reach_into_lists_and_replace_null():
    obj = {"spec": {"mode": None, "rules": [{}, {"n": 1}]}}
    schema.set_defaults(obj, SPEC)
    assert obj == {"spec": {"mode": "Never", "rules": [{"n": 7}, {"n": 1}]}}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner:
       st.lists(inner) | st.dictionaries(st.sampled_from(["spec", "cidr", "rules", "n", "port", "x"]), inner)))  # fmt: skip
def test_any_json_is_judged_and_pruning_settles(value):
    list(schema.validate(value, SPEC))
    schema.prune(value, SPEC)
    assert schema.prune(value, SPEC) == []
