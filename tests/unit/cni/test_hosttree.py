import hashlib
import json

import pytest

from pycalico.cni import hosttree, install
from pycalico.cni.errors import CNIError
from pycalico.cni.ipam_plugin import upgrade


def tree_in(directory, name, content="python"):
    """A plugin directory as an image has it, with a small tree."""
    tree = directory / hosttree.DIRECTORY / name
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/python3").write_text(content)
    listed = {"bin/python3": hashlib.sha256(content.encode()).hexdigest()}
    (tree / "files.json").write_text(json.dumps(listed))
    for plugin in hosttree.PROGRAMS:
        (directory / plugin).write_text(f"#!/bin/sh\nexec {name}\n")
        (directory / plugin).chmod(0o755)
    return tree


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image").mkdir()
    return tmp_path / "image"


@pytest.fixture
def host(tmp_path):
    (tmp_path / "host/opt/cni/bin").mkdir(parents=True)
    return install.Host(tmp_path / "host")


def trees(directory):
    return sorted(path.name for path in (directory / hosttree.DIRECTORY).iterdir())


def test_the_tree_is_copied_before_the_scripts_and_once_only(image, host):
    tree_in(image, "a1")
    target = host.bin_directories[0]
    install.install_plugins({}, host, image)
    assert hosttree.is_whole(target / hosttree.DIRECTORY / "a1")
    assert (target / "calico").read_text().endswith("exec a1\n")
    before = (target / hosttree.DIRECTORY / "a1").stat().st_ino
    install.install_plugins({}, host, image)
    assert (target / hosttree.DIRECTORY / "a1").stat().st_ino == before


def test_a_damaged_tree_is_made_again(image, host):
    tree_in(image, "a1")
    target = host.bin_directories[0]
    install.install_plugins({}, host, image)
    damaged = target / hosttree.DIRECTORY / "a1/bin/python3"
    damaged.write_text("pyth")
    assert hosttree.install(image, target)
    assert damaged.read_text() == "python"


def test_a_new_version_keeps_the_one_before_it_and_removes_older_ones(tmp_path, host):
    target = host.bin_directories[0]
    for version in ("v1", "v2", "v3"):
        image = tmp_path / version
        image.mkdir()
        tree_in(image, version, version)
        install.install_plugins({}, host, image)
    assert trees(target) == ["v2", "v3"]
    assert (target / "calico").read_text().endswith("exec v3\n")


def test_without_updates_the_tree_of_the_old_scripts_stays(tmp_path, host):
    target = host.bin_directories[0]
    for version in ("v1", "v2", "v3"):
        image = tmp_path / version
        image.mkdir()
        tree_in(image, version, version)
        install.install_plugins({"UPDATE_CNI_BINARIES": "false"}, host, image)
    assert "v1" in trees(target)
    assert (target / "calico").read_text().endswith("exec v1\n")


def test_an_image_that_is_not_whole_is_refused(image, host):
    tree_in(image, "a1")
    (image / hosttree.DIRECTORY / "a1/bin/python3").write_text("other")
    with pytest.raises(CNIError, match="Failed to verify"):
        install.install_plugins({}, host, image)
    assert not (host.bin_directories[0] / "calico").exists()


def test_upgrade_lets_pass_what_host_local_never_touched(tmp_path, capsys):
    assert upgrade(tmp_path / "none") == 0
    (tmp_path / "lock").touch()
    (tmp_path / "last_reserved_ip.0").touch()
    assert upgrade(tmp_path) == 0
    (tmp_path / "10.0.0.7").touch()
    assert upgrade(tmp_path) == 1
    assert "drain the node" in capsys.readouterr().err
