import pytest

from pycalico.calicoctl.patch import merge

STORED = {"spec": {"order": 5, "types": ["Ingress", "Egress"], "rules": [{"a": 1}]}, "labels": {"a": "b"}}


@pytest.mark.parametrize(
    ("change", "spec"),
    [
        ({}, {"order": 5, "types": ["Ingress", "Egress"], "rules": [{"a": 1}]}),
        ({"order": None, "rules": [{"b": 2}]}, {"types": ["Ingress", "Egress"], "rules": [{"b": 2}]}),
        ({"$patch": "delete"}, {}),
        ({"$patch": "replace", "order": 7}, {"order": 7}),
        ({"$retainKeys": ["order"], "order": 7}, {"order": 7}),
        ({"$deleteFromPrimitiveList/types": ["Egress"]}, {"order": 5, "types": ["Ingress"], "rules": [{"a": 1}]}),
        ({"$setElementOrder/types": ["Egress"], "types": None, "rules": None}, {"order": 5}),
    ],
)  # fmt: skip
def test_directives_of_strategic_patches(change, spec):
    """What v3.28.1 made of the same patches."""
    assert merge(STORED, {"spec": change}) == {"spec": spec, "labels": {"a": "b"}}
    assert STORED["spec"]["order"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"$patch": "nonsense"}, "unknown patch type: nonsense in map: map[$patch:nonsense]"),
        ({"$retainKeys": ["order"], "types": []}, "invalid patch format of retainKeys"),
    ],
)
def test_wrong_directives_are_refused(change, message):
    with pytest.raises(ValueError) as caught:
        merge(STORED, {"spec": change})
    assert str(caught.value) == message
