import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.apiserver import errors, protobuf


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(version, kind, raw):
    return b"k8s\x00" + field(1, field(1, version) + field(2, kind)) + field(2, raw) + field(3, "")


def test_a_node():
    metadata = (
        field(1, "n") + field(2, "") + field(7, 0) + field(8, b"") + field(12, field(1, "k") + field(2, "v"))
    )
    condition = field(1, "Ready") + field(2, "True") + field(3, field(1, 1700000000))
    status = field(1, field(1, "cpu") + field(2, field(1, "2"))) + field(4, condition)
    node = protobuf.decode(body("v1", "Node", field(1, metadata) + field(2, field(4, 0)) + field(3, status)))
    assert node == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "annotations": {"k": "v"}},
        "status": {
            "capacity": {"cpu": "2"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2023-11-14T22:13:20Z"}],
        },
    }


def test_a_pointer_to_zero_is_kept():
    options = protobuf.decode(body("v1", "DeleteOptions", field(1, 0) + field(2, field(1, "u"))))
    assert options["gracePeriodSeconds"] == 0
    assert options["preconditions"] == {"uid": "u"}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{}", 400),
        (b"k8s\x00\xff", 400),
        (body("apps/v1", "Unheard", b""), 415),
        (body("v1", "Node", b"\x0a\x7f"), 400),
    ],
)
def test_refused(data, code):
    with pytest.raises(errors.StatusError) as caught:
        protobuf.decode(data)
    assert caught.value.code == code


@given(st.binary(max_size=80), st.sampled_from(["Node", "Pod", "Service", "Event", "DeleteOptions"]))
def test_garbage_never_crashes(data, kind):
    with contextlib.suppress(errors.StatusError):
        assert protobuf.decode(body("v1", kind, data))["kind"] == kind


def test_inlined_messages_empty_pointers_and_int_or_string():
    volume = field(1, "v") + field(2, field(2, b""))
    container = (
        field(1, "c")
        + field(2, "image")
        + field(10, field(1, field(2, field(1, "/") + field(2, field(1, 1) + field(3, "web")))))
    )
    pod = protobuf.decode(body("v1", "Pod", field(2, field(1, volume) + field(2, container) + field(4, 0))))
    assert pod["spec"] == {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [
            {"name": "c", "image": "image", "livenessProbe": {"httpGet": {"path": "/", "port": "web"}}}
        ],
        "terminationGracePeriodSeconds": 0,
    }
    port = field(3, 80) + field(4, field(1, 0) + field(2, 8080))
    service = protobuf.decode(body("v1", "Service", field(2, field(1, port))))
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": 8080}]


def test_a_definition_with_its_schema():
    """Maps to messages, a schema or a list or a boolean, any JSON, floating point."""
    number = varint(11 << 3 | 1) + struct.pack("<d", 0.5)
    items = field(1, field(5, "string"))
    inner = field(5, "array") + field(24, items) + field(8, field(1, '["x"]')) + number
    schema = field(5, "object") + field(29, field(1, "names") + field(2, inner)) + field(30, field(1, 1))
    version = field(1, "v1") + field(2, 1) + field(3, 1) + field(4, field(1, schema))
    spec = field(1, "example.org") + field(4, "Cluster") + field(7, version)
    found = protobuf.decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(2, spec)))
    version = found["spec"]["versions"][0]
    assert (version["served"], version["storage"], found["spec"]["group"]) == (True, True, "example.org")
    schema = version["schema"]["openAPIV3Schema"]
    names = {"type": "array", "items": {"type": "string"}, "default": ["x"], "minimum": 0.5}
    assert schema == {"type": "object", "properties": {"names": names}, "additionalProperties": True}
