"""The manifests against the types that lightkube-models makes of a current Kubernetes release's OpenAPI."""

import importlib
from importlib.metadata import version

import msgspec
import pytest
from roles import MANIFESTS, objects


def model(item):
    """The type that the release has for the object: lightkube names its modules by group and version."""
    group, _, release = item["apiVersion"].rpartition("/")
    module = f"{group.partition('.')[0] or 'core'}_{release}"
    return getattr(importlib.import_module(f"lightkube.models.{module}"), item["kind"])


def faults(item):
    """What the release would refuse or silently leave out of the object."""
    try:
        read = msgspec.convert(item, model(item))
    except msgspec.ValidationError as error:
        return str(error)
    kept = msgspec.to_builtins(read)
    return "" if kept == item else f"not in the release's schema: {difference(item, kept)}"


def difference(given, kept, path="$"):
    if isinstance(given, dict) and isinstance(kept, dict):
        found = [difference(given[key], kept.get(key), f"{path}.{key}") for key in given]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        found = [difference(*pair, f"{path}[{at}]") for at, pair in enumerate(zip(given, kept, strict=True))]
    else:
        found = [] if given == kept else [path]
    return " ".join(filter(None, found))


def test_the_release_is_a_current_one():
    # 1.30 is the oldest that upstream's own manifest of v3.28 is tested with.
    assert tuple(map(int, version("lightkube-models").split(".")[:2])) >= (1, 30)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_object_is_one_that_the_release_takes_as_it_is(path):
    assert {item["metadata"]["name"]: faults(item) for item in objects(path) if faults(item)} == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pod: pod.update(hostnetwork=True), "hostnetwork"),
        (lambda pod: pod["containers"][0].pop("name"), "missing required field `name`"),
        (lambda pod: pod.update(terminationGracePeriodSeconds="0"), "terminationGracePeriodSeconds"),
        (lambda pod: pod["containers"][0]["env"].append({"key": "A", "name": "A"}), "key"),
    ],
)
def test_a_mistake_would_be_seen(change, said):
    [daemons] = [item for item in objects() if item["kind"] == "DaemonSet"]
    change(daemons["spec"]["template"]["spec"])
    assert said in faults(daemons)
