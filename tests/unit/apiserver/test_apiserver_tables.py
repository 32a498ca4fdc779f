import pytest

from pycalico.apiserver import ages, kinds, printercolumns, tables


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (700, "11m"), (10800, "3h"), (11100, "3h5m"),
     (90000, "25h"), (4 * 86400 + 3600, "4d1h"), (9 * 86400, "9d"), (800 * 86400, "2y70d")],
)  # fmt: skip
def test_duration(seconds, text):
    assert ages.duration(seconds) == text


def cells(resource_id, obj, wide=True):
    table = tables.render(kinds.BY_ID[resource_id], [obj], {}, "None")
    names = [c["name"] for c in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


def test_a_pod_row():
    row = cells("pods", {
        "metadata": {"name": "p"},
        "spec": {"containers": [{}, {}], "nodeName": "n"},
        "status": {"phase": "Pending", "containerStatuses": [
            {"ready": True, "restartCount": 2}, {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
    })  # fmt: skip
    assert (
        row | {"Ready": "1/2", "Status": "CrashLoopBackOff", "Restarts": "2", "Node": "n", "IP": "<none>"}
        == row
    )


def test_an_odd_object_still_has_a_row():
    assert cells("services", {"metadata": {"name": "s"}})["Type"] == "<none>"
    assert cells("pods", {"metadata": {"name": "p"}})["Ready"] == "<unknown>"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.a", [1]),
        (".spec.list[1].x", ["c"]),
        (".spec.list[*].x", ["b", "c"]),
        ('.spec.list[?(@.x=="c")].y', ["d"]),
        (r".metadata.annotations.ex\.com/k", ["v"]),
        (".metadata.annotations['ex.com/k']", ["v"]),
        (".spec.none.deeper", []),
    ],
)
def test_json_path(path, expected):
    obj = {
        "spec": {"a": 1, "list": [{"x": "b"}, {"x": "c", "y": "d"}]},
        "metadata": {"annotations": {"ex.com/k": "v"}},
    }
    assert printercolumns.json_path(path)(obj) == expected
