"""Watches: order, selectors, resuming, bookmarks, compaction."""

import json
import threading

MERGE = "application/merge-patch+json"


def maps(namespace):
    return f"/api/v1/namespaces/{namespace}/configmaps"


def version(server):
    return server.call("GET", "/api/v1/nodes")[1]["metadata"]["resourceVersion"]


def take(events, count):
    return [(e["type"], e["object"]["metadata"]["name"]) for _, e in zip(range(count), events, strict=False)]


def test_changes_come_in_order_after_a_version(server, namespace):
    start = version(server)
    path = maps(namespace)
    events = server.watch(f"{path}?watch=1&resourceVersion={start}&fieldSelector=metadata.name%3Da")
    server.call("POST", path, {"metadata": {"name": "a"}})
    server.call("POST", path, {"metadata": {"name": "b"}})
    server.call("PATCH", path + "/a", {"data": {"x": "1"}}, content_type=MERGE)
    server.call("DELETE", path + "/a")
    seen = [next(events) for _ in range(3)]
    assert [e["type"] for e in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in seen]
    assert versions == sorted(set(versions))
    assert versions[0] > int(start)


def test_without_a_version_a_watch_begins_with_what_is(server, namespace):
    path = maps(namespace)
    for name in ("a", "b"):
        server.call("POST", path, {"metadata": {"name": name, "labels": {"w": ""}}})
    events = server.watch(path + "?watch=1&labelSelector=w")
    assert take(events, 2) == [("ADDED", "a"), ("ADDED", "b")]


def test_steps_across_the_edge_of_a_selector(server, namespace):
    path = maps(namespace)
    events = server.watch(f"{path}?watch=1&labelSelector=w%3Din&resourceVersion={version(server)}")
    server.call("POST", path, {"metadata": {"name": "a", "labels": {"w": "out"}}})
    for value in ("in", "in", "out", "in"):
        patch = {"metadata": {"labels": {"w": value}}, "data": {"n": value + str(id(value))}}
        server.call("PATCH", path + "/a", patch, content_type=MERGE)
    server.call("PATCH", path + "/a", {"data": {"more": "1"}}, content_type=MERGE)
    server.call("DELETE", path + "/a")
    seen = [next(events) for _ in range(5)]
    assert [e["type"] for e in seen] == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
    left = seen[1]["object"]["metadata"]
    assert left["labels"] == {"w": "in"}  # the state that last matched, with the version of the step
    assert int(left["resourceVersion"]) > int(seen[0]["object"]["metadata"]["resourceVersion"])


def test_initial_events_end_with_a_bookmark(server, namespace):
    path = maps(namespace)
    server.call("POST", path, {"metadata": {"name": "a", "labels": {"w": ""}}})
    query = "watch=1&labelSelector=w&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    events = server.watch(f"{path}?{query}")
    first, mark = next(events), next(events)
    assert (first["type"], mark["type"], mark["object"]["kind"]) == ("ADDED", "BOOKMARK", "ConfigMap")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_bookmark_comes_before_the_timeout_and_the_stream_then_ends(server):
    events = list(server.watch("/api/v1/nodes?watch=1&allowWatchBookmarks=true&timeoutSeconds=2"))
    assert events[-1]["type"] == "BOOKMARK"
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) > 1


def test_a_connection_serves_on_after_its_watch_ended(server):
    connection = server.connect()
    head = {"Authorization": f"Bearer {server.token}"}
    connection.request("GET", "/api/v1/nodes?watch=1&timeoutSeconds=1", headers=head)
    connection.getresponse().read()
    assert server.call("GET", "/api/v1/nodes", connection=connection)[0] == 200


def test_many_watchers_see_every_change_of_many_writers(server, namespace):
    path = maps(namespace)
    start = version(server)
    watches = [server.watch(f"{path}?watch=1&resourceVersion={start}&labelSelector=w") for _ in range(20)]

    def write(writer):
        connection = server.connect()
        for index in range(25):
            name = f"w{writer}-{index}"
            server.call(
                "POST", path, {"metadata": {"name": name, "labels": {"w": ""}}}, connection=connection
            )

    seen = [[] for _ in watches]

    def read(index):
        seen[index] = [next(watches[index])["object"]["metadata"] for _ in range(100)]

    threads = [threading.Thread(target=read, args=(i,)) for i in range(20)]
    threads += [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(len(one) == 100 for one in seen)
    for one in seen:
        versions = [int(m["resourceVersion"]) for m in one]
        assert versions == sorted(set(versions))
        assert one == seen[0]


def test_table_and_metadata_watches(server, namespace):
    path = maps(namespace) + f"?watch=1&resourceVersion={version(server)}"
    connection = server.connect()
    head = {"Authorization": f"Bearer {server.token}"}
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    connection.request("GET", path, headers={**head, "Accept": accept})
    server.call("POST", maps(namespace), {"metadata": {"name": "a"}, "data": {"x": "y"}})
    event = json.loads(connection.getresponse().readline())
    while event["object"]["rows"][0]["cells"][0] != "a":  # kube-root-ca.crt may come first
        event = json.loads(connection.getresponse().readline())
    assert event["object"]["kind"] == "Table"
    connection = server.connect()
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    _, found = server.call("GET", maps(namespace), headers={"Accept": accept})
    assert found["kind"] == "PartialObjectMetadataList"
    assert all("data" not in item for item in found["items"])


def test_410_after_compaction(make_server):
    server = make_server("--history-events", "20")
    path = maps("default")
    start = version(server)
    for index in range(60):
        server.call("POST", path, {"metadata": {"name": f"a{index}"}})
    event = next(server.watch(f"{path}?watch=1&resourceVersion={start}"))
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    recent = int(version(server)) - 3
    assert take(server.watch(f"{path}?watch=1&resourceVersion={recent}"), 3) == [
        ("ADDED", "a57"), ("ADDED", "a58"), ("ADDED", "a59")]  # fmt: skip
    future = next(server.watch(f"{path}?watch=1&resourceVersion={recent + 1000}"))
    assert (future["type"], future["object"]["code"]) == ("ERROR", 410)
