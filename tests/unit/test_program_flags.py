"""Flags of the programs that take Go's kind: answers and exit codes as upstream's."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from pycalico.controllers import main as controllers

PROGRAMS = Path(sys.executable).parent
CALICO = "Usage of Calico:\n  -t\tTest datastore connection\n  -v\tDisplay version\n"
IPAM = "Usage of calico-ipam:\n  -upgrade\n    \tUpgrade from host-local\n  -v\tDisplay version\n"
FELIX = "Usage:\n  calico-felix [options]\n"


def run(*argv):
    done = subprocess.run(
        [PROGRAMS / argv[0], *argv[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["calico", "-v"], (0, "v3.28.1\n", "")),
        (["calico", "--v=true", "more"], (0, "v3.28.1\n", "")),
        (["calico-ipam", "-v"], (0, "v3.28.1\n", "")),
        (["calico", "-h"], (0, "", CALICO)),
        (["calico", "-x"], (2, "", f"flag provided but not defined: -x\n{CALICO}")),
        (["calico", "-v=maybe"], (2, "", f'invalid boolean value "maybe" for -v: parse error\n{CALICO}')),
        (["calico-ipam", "--help"], (0, "", IPAM)),
        (["calico-ipam", "-t"], (2, "", f"flag provided but not defined: -t\n{IPAM}")),
        (["calico-felix", "-x"], (1, "", f"calico-felix: unrecognized arguments: -x\n{FELIX}")),
        (
            ["calico-felix", "-c"],
            (1, "", f"calico-felix: argument -c/--config-file: expected one argument\n{FELIX}"),
        ),
    ],
)
def test_answers(argv, answer):
    assert run(*argv) == answer


@pytest.mark.parametrize(("program", "title"), [("calico", "CNI plugin"), ("calico-ipam", "CNI IPAM")])
def test_a_person_is_told_what_a_plugin_is(program, title):
    versions = "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0"
    said = f"Calico {title} v3.28.1\nCNI protocol versions supported: {versions}\n"
    assert run(program, "foo") == run(program) == (0, "", said)


def test_felix_says_its_version():
    code, output, _ = run("calico-felix", "--version")
    assert code == 0
    assert output.splitlines()[0] == "Version:            v3.28.1"


@pytest.mark.parametrize(
    ("words", "code"), [(["-version"], 0), (["-h"], 0), (["-v"], 2), (["-status-file"], 2), (["--nosuch"], 2)]
)
def test_kube_controllers(words, code, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert controllers.run(words, {}) == code
    said = capsys.readouterr()
    assert said.out == ("v3.28.1\n" if words == ["-version"] else "")
    assert "Usage of kube-controllers:\n  -status-file string\n" in said.err or words == ["-version"]
