import pytest

from pycalico.lab import environment, images

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
FACTS = {
    "hostname": "pod",
    "api.host": "192.168.10.10",
    "api.port": "6443",
    "spec.nodeName": "k8s-m",
    "status.podIP": "172.16.1.1",
}


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"image": "busybox:1.36"}, ["sh"]),
        ({"image": "docker.io/library/busybox:1.36", "args": ["sleep", "9"]}, ["sleep", "9"]),
        ({"image": "whatever", "command": ["sh", "-c"], "args": ["true"]}, ["sh", "-c", "true"]),
        ({"image": "busybox", "command": ["httpd", "-f"]}, ["busybox", "httpd", "-f"]),
        ({"image": "localhost:5000/x/y", "command": ["sh"]}, ["sh"]),
        (
            {"image": "pycalico/pycalico:v1", "command": ["/bin/sh", "-c"], "args": ["x"]},
            ["/bin/sh", "-c", "x"],
        ),
    ],
)
def test_an_image_is_a_program_of_the_machine(container, words):
    assert images.argv(container, PATH) == words


@pytest.mark.parametrize(
    ("container", "text"),
    [
        ({"image": "nginx:1"}, 'image "nginx:1" has no program in the lab'),
        (
            {"image": "x", "command": ["no-such-program"]},
            'command "no-such-program" of image "x" is not on this machine',
        ),
    ],
)
def test_an_unknown_image_says_so(container, text):
    with pytest.raises(images.UnknownImage) as error:
        images.argv(container, PATH)
    assert str(error.value).startswith(text)


def values(kind, name, key):
    return {("ConfigMap", "cm", "k"): "v", ("Secret", "s", "k"): "w"}.get((kind, name, key))


def wholes(kind, name):
    return {("ConfigMap", "cm"): {"k": "v", "A": "whole"}, ("Secret", "s"): {"k": "w"}}.get((kind, name))


def env(*items):
    return environment.of({"env": list(items)}, FACTS, values, wholes)


def source(kind, **body):
    return {"name": "A", "valueFrom": {kind: body}}


def test_variables_come_from_all_their_sources():
    assert env({"name": "A", "value": "1"})["A"] == "1"
    assert env({"name": "A"})["A"] == ""
    assert env(source("fieldRef", fieldPath="spec.nodeName"))["A"] == "k8s-m"
    assert env(source("configMapKeyRef", name="cm", key="k"))["A"] == "v"
    assert env(source("secretKeyRef", name="s", key="k"))["A"] == "w"
    assert "A" not in env(source("configMapKeyRef", name="cm", key="none", optional=True))
    assert env()["KUBERNETES_SERVICE_HOST"] == "192.168.10.10"


@pytest.mark.parametrize(
    "item",
    [
        source("configMapKeyRef", name="cm", key="none"),
        source("fieldRef", fieldPath="hostname"),
        source("resourceFieldRef", resource="limits.cpu"),
    ],
)
def test_a_missing_source_is_named(item):
    with pytest.raises(environment.NoSource, match=r"^env A: "):
        env(item)


def test_whole_maps_come_first_and_single_variables_win():
    whole = {"envFrom": [{"configMapRef": {"name": "cm"}}, {"secretRef": {"name": "s"}, "prefix": "S_"}]}
    container = {**whole, "env": [{"name": "A", "value": "own"}]}
    found = environment.of(container, FACTS, values, wholes)
    assert (found["k"], found["S_k"], found["A"]) == ("v", "w", "own")
    gone = {"configMapRef": {"name": "none", "optional": True}}
    assert "k" not in environment.of({"envFrom": [gone]}, FACTS, values, wholes)
    with pytest.raises(environment.NoSource, match="ConfigMap none is not there"):
        environment.of({"envFrom": [{"configMapRef": {"name": "none"}}]}, FACTS, values, wholes)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/opt/cni/bin/install"], ["calico", "install"]),
        (["/opt/cni/bin/calico-ipam", "-upgrade"], ["calico-ipam", "-upgrade"]),
        (["/bin/calico-node", "-felix-live"], ["calico-node", "-felix-live"]),
        (["/usr/bin/check-status", "-r"], ["check-status", "-r"]),
        (["test", "-d", "/x"], ["test", "-d", "/x"]),
        ([], []),
    ],
)
def test_programs_of_the_images_are_those_of_the_machine(command, words):
    assert images.here(command) == words
