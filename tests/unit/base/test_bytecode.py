"""Byte code in one file: used when it fits, and never when it does not. The plugins are what it is tried with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import pycalico
from pycalico.base import bytecode
from pycalico.calicoctl import starter
from pycalico.cni import launch

PYTHON = os.path.realpath(sys.executable)
CALL = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c",
    "CNI_NETNS": "/none",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pycalico of its own, whose sources may change; the plugin, and its byte code."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(
        Path(pycalico.__file__).parent, place / "pycalico", ignore=shutil.ignore_patterns("__pycache__")
    )
    return place


@pytest.fixture
def plugin(place):
    code = place / "plugin.code"
    places = [str(place), str(Path(msgspec.__file__).parents[1])]
    bytecode.write(code, launch.MODULES, places)
    lines = launch.text(str(code)).splitlines(keepends=True)
    lines = [f"PATH = {':'.join(places)!r}\n" if line.startswith("PATH = ") else line for line in lines]
    (place / "calico").write_text(
        "".join([f"#!{PYTHON} -IS\n", *lines]).replace("/var/run/calico/cni-agent.sock", str(place / "none"))
    )
    (place / "calico").chmod(0o755)
    return place / "calico"


def answer(plugin):
    done = subprocess.run(
        [plugin], input=b'{"name": "n", "cniVersion": "9.9.9"}', env=CALL, capture_output=True
    )
    assert (done.returncode, done.stderr) == (1, b"")
    return json.loads(done.stdout)["msg"]


def opened(plugin):
    """The files of Python code that a call opens."""
    script = f"import sys; sys.argv = [{str(plugin)!r}]; exec(open(sys.argv[0]).read())"
    hook = (
        "import sys; sys.addaudithook(lambda e, a: e == 'open' and print(a[0], file=sys.stderr, flush=True));"
    )
    done = subprocess.run([PYTHON, "-IS", "-c", hook + script], input=b"{", env=CALL, capture_output=True)
    assert done.returncode == 1
    return [line for line in done.stderr.decode().splitlines() if line.endswith((".py", ".pyc"))]


def _module(path):
    """What it is of: ``…/__pycache__/finder.cpython-311.pyc``, ``…/base/__init__.py``."""
    path = Path(path.replace("__pycache__/", ""))
    name = path.name.partition(".")[0]
    return path.parent.name if name == "__init__" else name


#: Without them the file is not found.
FIRST = {"pycalico", "base", "finder"}


def test_a_call_opens_no_other_file_of_code(plugin):
    assert {_module(path) for path in opened(plugin) if "pycalico" in path or "msgspec" in path} == FIRST
    assert answer(plugin) == "incompatible CNI versions"


def test_a_changed_source_is_what_runs(plugin, place):
    netconf = place / "pycalico/cni/netconf.py"
    before = netconf.read_text()
    assert "incompatible CNI versions" in before
    netconf.write_text(before.replace("incompatible CNI versions", "changed"))
    assert answer(plugin) == "changed"
    assert {_module(path) for path in opened(plugin) if "pycalico" in path} == FIRST | {"netconf"}
    netconf.write_text(before)


@pytest.mark.parametrize("harm", ["missing", "short", "long", "empty", "of another Python"])
def test_a_file_that_does_not_fit_is_left_alone(plugin, place, harm):
    code = place / "plugin.code"
    content = code.read_bytes()
    first, _, rest = content.partition(b"\n")
    if harm == "missing":
        code.unlink()
    else:
        words = first.split()
        words[2] = b"%08x" % (sys.hexversion ^ 0x10000)
        harmed = {"short": content[:-1], "long": content + b"x", "empty": b"", "of another Python": b" ".join(words) + b"\n" + rest}  # fmt: skip
        code.write_bytes(harmed[harm])
    assert answer(plugin) == "incompatible CNI versions"
    assert {_module(path) for path in opened(plugin)} > FIRST


def test_calicoctl_is_put_in_its_place(tmp_path):
    starter.write(tmp_path)
    (program,) = tmp_path.iterdir()
    for arguments, word in ((["--version"], "calicoctl version"), (["get", "--help"], "Usage")):
        done = subprocess.run([program, *arguments], env={}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert word in done.stdout
