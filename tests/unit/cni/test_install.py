import json
import os
import stat

import pytest

from pycalico.cni import hostfiles, install
from pycalico.cni.errors import CNIError
from pycalico.cni.secretcopy import SecretCopy


@pytest.fixture
def host(tmp_path):
    (tmp_path / "host/opt/cni/bin").mkdir(parents=True)
    (tmp_path / "host/etc/cni/net.d").mkdir(parents=True)
    return install.Host(tmp_path / "host")


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "programs"
    directory.mkdir()
    for name in install.PLUGINS:
        (directory / name).write_text(f"#!/bin/sh\necho {name}\n")
        (directory / name).chmod(0o755)
    return directory


def secrets_of(tmp_path, host):
    return SecretCopy(tmp_path / "secrets", host.net_directory / "calico-tls")


def test_plugins_are_copied_with_their_mode_into_each_writable_directory(host, source):
    install.install_plugins({}, host, source)
    target = host.bin_directories[0] / "calico"
    assert target.read_text() == "#!/bin/sh\necho calico\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert sorted(os.listdir(host.bin_directories[0])) == ["calico", "calico-ipam"]
    assert not host.bin_directories[1].exists()


def test_no_directory_at_all_is_an_error(tmp_path, source):
    with pytest.raises(CNIError, match="no writeable directory"):
        install.install_plugins({}, install.Host(tmp_path / "nothing"), source)


def test_a_link_in_the_way_is_replaced_and_its_target_kept(host, source, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (host.bin_directories[0] / "calico").symlink_to(victim)
    (host.bin_directories[0] / "calico.tmp").symlink_to(victim)
    install.install_plugins({}, host, source)
    assert victim.read_text() == "precious"
    assert not (host.bin_directories[0] / "calico").is_symlink()


def test_skipped_and_kept_plugins(host, source):
    kept = host.bin_directories[0] / "calico-ipam"
    kept.write_text("older")
    install.install_plugins({"SKIP_CNI_BINARIES": "calico", "UPDATE_CNI_BINARIES": "false"}, host, source)
    assert kept.read_text() == "older"
    assert not (host.bin_directories[0] / "calico").exists()


def test_an_equal_file_is_left_alone(host, source):
    install.install_plugins({}, host, source)
    target = host.bin_directories[0] / "calico"
    before = target.stat().st_ino
    assert not hostfiles.copy(source / "calico", target)
    target.chmod(0o700)
    assert hostfiles.copy(source / "calico", target)
    assert target.stat().st_ino != before


def test_the_configuration_is_filled_checked_and_replaces_the_old_one(host, tmp_path, capsys):
    old = host.net_directory / "10-old.conflist"
    old.write_text("{}")
    environ = {
        "CNI_CONF_NAME": "10-calico.conflist",
        "CNI_OLD_CONF_NAME": old.name,
        "KUBERNETES_NODE_NAME": "k8s-m",
        "CNI_MTU": "1480",
    }
    install.write_configuration(environ, host, secrets_of(tmp_path, host))
    path = host.net_directory / "10-calico.conflist"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    calico = json.loads(path.read_text())["plugins"][0]
    assert (calico["nodename"], calico["mtu"], calico["log_file_max_size"]) == ("k8s-m", 1480, 100)
    assert calico["kubernetes"]["kubeconfig"] == "/etc/cni/net.d/calico-kubeconfig"
    assert not old.exists()
    assert json.loads(capsys.readouterr().out) == json.loads(path.read_text())


@pytest.mark.parametrize("template", ["not json", "[]", '{"mtu": __CNI_MTU__'])
def test_a_bad_template_leaves_the_old_file(host, tmp_path, template):
    path = host.net_directory / "10-calico.conflist"
    path.write_text("{}")
    with pytest.raises(CNIError, match="CNI_NETWORK_CONFIG"):
        install.write_configuration({"CNI_NETWORK_CONFIG": template}, host, secrets_of(tmp_path, host))
    assert path.read_text() == "{}"


def test_a_file_wins_over_the_variable_and_unknown_placeholders_stay(host, tmp_path):
    file = tmp_path / "template"
    file.write_text('{"a": "__UNKNOWN_THING__", "etcd": "__ETCD_CA_CERT_FILE__", "t": "__ETCD_KEY_FILE__"}')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/etcd-ca").write_text("PEM")
    copy = secrets_of(tmp_path, host)
    copy.replace()
    environ = {"CNI_NETWORK_CONFIG": "{}", "CNI_NETWORK_CONFIG_FILE": str(file)}
    install.write_configuration(environ, host, copy)
    assert json.loads((host.net_directory / "10-calico.conflist").read_text()) == {
        "a": "__UNKNOWN_THING__",
        "etcd": "/etc/cni/net.d/calico-tls/etcd-ca",
        "t": "",
    }


def test_a_wrong_truth_value_is_said_in_one_line(host, tmp_path, capsys, monkeypatch):
    assert install.run({"SLEEP": "perhaps", "TLS_ASSETS_DIR": str(tmp_path)}, host) == 1
    assert "SLEEP must be true or false" in capsys.readouterr().out


def test_a_container_has_the_host_under_its_own_directory(tmp_path):
    host = install.Host(tmp_path)
    assert host.net_directory == tmp_path / "etc/cni/net.d"
    assert [str(path) for path in host.bin_directories] == [
        f"{tmp_path}/opt/cni/bin",
        f"{tmp_path}/secondary-bin-dir",
    ]
