"""confd's loop over a real API server: passwords from Secrets, routes from Services."""

import base64
import threading
import time

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, ServiceIPBlock
from pycalico.api.v3.bgppeer import BGPPassword, BGPPeer, BGPPeerSpec, SecretKeySelector
from pycalico.bgp.inputs import Settings
from pycalico.confd.files import ConfigDirectory
from pycalico.confd.loop import Loop
from pycalico.confd.reload import Reloader
from pycalico.confd.secrets import Secrets
from pycalico.datastore.kubernetes.rest import MERGE_PATCH

SECRETS = "/api/v1/namespaces/kube-system/secrets"


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def until(what, seconds=10):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def rest(kubernetes):
    rest = kubernetes.rest
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "c1", "annotations": {"projectcalico.org/IPv4Address": "10.0.0.1/24"}},
    }
    rest.create("/api/v1/nodes", node, dict)
    yield rest
    rest.delete("/api/v1/nodes/c1")


@pytest.fixture
def confd(kubernetes, rest, tmp_path):
    sockets = {4: str(tmp_path / "none"), 6: str(tmp_path / "none")}
    loop = Loop(
        kubernetes,
        Settings(node="c1", endpoint_node="c1", felix_routes=True),
        ConfigDirectory(tmp_path),
        Reloader(sockets),
        service_client=kubernetes,
    )
    loop.use_secrets(Secrets(rest, "kube-system", loop.wake.set))
    thread = threading.Thread(target=loop.run)
    thread.start()
    until((tmp_path / "bird.cfg").exists)
    yield tmp_path
    loop.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_password_follows_its_secret(kubernetes, rest, confd, caplog):
    main = confd / "bird.cfg"
    reference = BGPPassword(secret_key_ref=SecretKeySelector(name="bgp-keys", key="tor"))
    kubernetes.create(
        BGPPeer(
            metadata=ObjectMeta(name="tor"),
            spec=BGPPeerSpec(peer_ip="10.9.9.9", as_number=64600, password=reference),
        )
    )
    until(lambda: "Global_10_9_9_9" in main.read_text())
    assert "password" not in main.read_text()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bgp-keys"},
        "data": {"tor": encoded("first-s3cret")},
    }
    rest.create(SECRETS, secret, dict)
    until(lambda: 'password "first-s3cret";' in main.read_text())
    assert main.stat().st_mode & 0o777 == 0o600
    patch = {"data": {"tor": encoded("second-s3cret")}}
    rest.patch(f"{SECRETS}/bgp-keys", patch, dict, MERGE_PATCH)
    until(lambda: 'password "second-s3cret";' in main.read_text())
    rest.delete(f"{SECRETS}/bgp-keys")
    until(lambda: "password" not in main.read_text())
    kubernetes.delete(BGPPeer, "tor")
    until(lambda: "Global_" not in main.read_text())
    assert "s3cret" not in caplog.text


def test_a_local_service_is_announced_while_it_has_an_endpoint_here(kubernetes, rest, confd):
    aggregates = confd / "bird_aggr.cfg"
    ranges = [ServiceIPBlock(cidr="10.96.0.0/12")]
    spec = BGPConfigurationSpec(service_cluster_ips=ranges)
    kubernetes.create(BGPConfiguration(metadata=ObjectMeta(name="default"), spec=spec))
    until(lambda: "route 10.96.0.0/12 blackhole;" in aggregates.read_text())
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.0.77",
            "externalTrafficPolicy": "Local",
            "ports": [{"port": 80}],
        },
    }
    rest.create("/api/v1/namespaces/default/services", service, dict)
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["172.16.1.5"], "nodeName": "c1", "conditions": {"ready": True}}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    rest.create(path, piece, dict)
    until(lambda: "route 10.96.0.77/32 blackhole;" in aggregates.read_text())
    assert "if ( net ~ 10.96.0.0/12 ) then { reject; }" in (confd / "bird_ipam.cfg").read_text()
    rest.delete(f"{path}/web-1")
    until(lambda: "10.96.0.77" not in aggregates.read_text())
    rest.delete("/api/v1/namespaces/default/services/web")
    kubernetes.delete(BGPConfiguration, "default")
    until(lambda: "10.96.0.0" not in aggregates.read_text())
