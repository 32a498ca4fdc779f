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


def env(*items):
    return environment.of({"env": list(items)}, FACTS, values)


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
