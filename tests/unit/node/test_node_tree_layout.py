import os
import subprocess

import pytest

from pycalico.node import nodename, tree


@pytest.mark.parametrize(
    ("environ", "services"),
    [
        (
            {},
            {
                "felix",
                "monitor-addresses",
                "allocate-tunnel-addrs",
                "node-status-reporter",
                "bird",
                "bird6",
                "confd",
                "cni",
                "cni-agent",
            },
        ),
        (
            {"CALICO_NETWORKING_BACKEND": "vxlan"},
            {
                "felix",
                "monitor-addresses",
                "allocate-tunnel-addrs",
                "node-status-reporter",
                "cni",
                "cni-agent",
            },
        ),
        (
            {"CALICO_NETWORKING_BACKEND": "none", "CALICO_MANAGE_CNI": "false"},
            {"felix", "allocate-tunnel-addrs", "node-status-reporter"},
        ),
        (
            {"CALICO_DISABLE_FELIX": "true", "CALICO_NETWORKING_BACKEND": "none"},
            {"allocate-tunnel-addrs", "node-status-reporter", "cni", "cni-agent"},
        ),
    ],
)
def test_services(environ, services, tmp_path):
    tree.lay_out(environ, tmp_path)
    assert set(os.listdir(tmp_path / "enabled")) == services
    assert len(os.listdir(tmp_path / "available")) == 9
    for name in services:
        for script in (tmp_path / "enabled" / name / script for script in ("run", "finish", "log/run")):
            assert os.access(script, os.X_OK)
            assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_without_file_logging_and_after_a_change(tmp_path):
    tree.lay_out({}, tmp_path)
    tree.lay_out({"CALICO_DISABLE_FILE_LOGGING": "true", "CALICO_NETWORKING_BACKEND": "vxlan"}, tmp_path)
    assert not (tmp_path / "enabled" / "felix" / "log").exists()
    assert not (tmp_path / "enabled" / "bird").exists()


def test_old_variable(capsys):
    environ = {"CALICO_NETWORKING": "false"}
    tree.backend_of(environ)
    assert environ["CALICO_NETWORKING_BACKEND"] == "none"
    assert "deprecated" in capsys.readouterr().out


def test_names(tmp_path, monkeypatch):
    file = tmp_path / "nodename"
    environ = {"CALICO_NODENAME_FILE": str(file), "HOSTNAME": " Host-A "}
    assert nodename.determine({**environ, "NODENAME": " Upper "}) == "Upper"
    assert nodename.determine(environ) == "host-a"
    nodename.write("from-file", environ)
    assert file.read_text() == "from-file"
    assert nodename.determine(environ) == "from-file"
    file.unlink()
    monkeypatch.setattr("socket.gethostname", lambda: "SYSTEM")
    assert nodename.determine({**environ, "HOSTNAME": ""}) == "system"


@pytest.mark.parametrize(("arguments", "how"), [(["1", "256"], "exit code 1"), (["-1", "9"], "signal 9")])
def test_how_a_service_ended_is_said(tmp_path, arguments, how):
    tree.lay_out({}, tmp_path)
    done = subprocess.run(
        [tmp_path / "enabled" / "felix" / "finish", *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"calico-node: service felix ended: {how}\n"
