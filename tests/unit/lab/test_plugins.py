import json
import subprocess

import pytest

from pycalico.lab import plugins

ATTACHMENT = plugins.Attachment("cid", "/var/run/netns/x", "ns", "pod", "uid")
DOCUMENT = {
    "name": "net",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "first", "capabilities": {"portMappings": True}},
        {"type": "second", "capabilities": {"portMappings": True}},
    ],
}


class Runner:
    """Records each call and answers as told."""

    def __init__(self, *answers):
        self.calls = []
        self._answers = list(answers)

    def __call__(self, argv, env, stdin):
        self.calls.append((argv[0], env, json.loads(stdin)))
        code, out = self._answers.pop(0) if self._answers else (0, "{}")
        return subprocess.CompletedProcess(argv, code, out.encode(), b"on stderr")


def test_add_chains_the_results_in_order():
    run = Runner((0, '{"ips": [1]}'), (0, '{"ips": [2]}'))
    assert plugins.PluginList(DOCUMENT, run).add(ATTACHMENT) == {"ips": [2]}
    (first, env, conf), (second, _, chained) = run.calls
    assert (first, second) == ("first", "second")
    assert conf == {"type": "first", "name": "net", "cniVersion": "0.3.1"}
    assert chained["prevResult"] == {"ips": [1]}
    assert env["CNI_COMMAND"] == "ADD"
    assert env["CNI_IFNAME"] == "eth0"
    assert (
        "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=cid;K8S_POD_UID=uid"
        in env["CNI_ARGS"]
    )


def test_delete_goes_backwards_with_the_last_result():
    run = Runner()
    plugins.PluginList(DOCUMENT, run).delete(ATTACHMENT, {"ips": [2]})
    assert [name for name, _, _ in run.calls] == ["second", "first"]
    assert all(conf["prevResult"] == {"ips": [2]} for _, _, conf in run.calls)
    assert {env["CNI_COMMAND"] for _, env, _ in run.calls} == {"DEL"}


def test_port_mappings_go_to_those_who_can():
    run = Runner()
    mapped = plugins.Attachment("c", "n", "ns", "p", "u", port_mappings=[{"hostPort": 1, "containerPort": 2}])
    plugins.PluginList(DOCUMENT, run).add(mapped)
    assert run.calls[0][2]["runtimeConfig"] == {"portMappings": [{"hostPort": 1, "containerPort": 2}]}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((1, '{"code": 11, "msg": "try again", "details": "later"}'), "first ADD: try again later"),
        ((1, "no json"), "first ADD: on stderr"),
        ((0, "no json"), "first ADD: its result is not JSON: b'no json'"),
    ],
)
def test_a_refusal_is_one_line(answer, text):
    with pytest.raises(plugins.PluginError) as error:
        plugins.PluginList(DOCUMENT, Runner(answer)).add(ATTACHMENT)
    assert str(error.value) == text


def test_a_type_is_a_name_not_a_path():
    with pytest.raises(plugins.PluginError, match="is no plugin type"):
        plugins.PluginList({"name": "n", "plugins": [{"type": "../x"}]}, Runner()).add(ATTACHMENT)


def test_the_first_file_by_name_counts(tmp_path):
    assert plugins.load(tmp_path / "none", Runner()) is None
    assert plugins.load(tmp_path, Runner()) is None
    (tmp_path / "20-b.conflist").write_text("broken")
    (tmp_path / "10-a.conf").write_text('{"name": "single", "type": "x"}')
    loaded = plugins.load(tmp_path, Runner())
    assert loaded is not None
    assert loaded.name == "single"
    (tmp_path / "10-a.conf").unlink()
    with pytest.raises(plugins.PluginError, match=r"20-b\.conflist: not a usable network configuration"):
        plugins.load(tmp_path, Runner())
