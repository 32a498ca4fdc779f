import stat
from pathlib import Path

import yaml

from pycalico.datastore.kubernetes import access, plugintoken
from pycalico.datastore.kubernetes.access import Access


def test_kubeconfig_is_roots_alone_and_reads_back(tmp_path):
    path = tmp_path / "calico-kubeconfig"
    path.write_text("old")
    path.chmod(0o644)
    plugintoken.write(path, Access(server="https://10.96.0.1:443", ca=b"PEM"), 'to"ken')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = yaml.safe_load(path.read_text())
    assert document["current-context"] == "calico-context"
    assert document["clusters"][0]["name"] == "local"
    assert document["users"][0] == {"name": "calico", "user": {"token": 'to"ken'}}
    found = access.from_kubeconfig(path.read_bytes(), str(path), "")
    assert (found.server, found.ca, found.token) == ("https://10.96.0.1:443", b"PEM", 'to"ken')
    assert [Path(p).name for p in tmp_path.iterdir()] == ["calico-kubeconfig"]
