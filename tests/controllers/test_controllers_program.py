"""The program's outside: configuration, status file, check-status, metrics, signals."""

import os
import signal
import subprocess

import pytest
from controllers_lab import BIN, until

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.hostendpoint import HostEndpoint, HostEndpointSpec
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.kubecontrollersconfiguration import KubeControllersConfiguration


def configuration(cluster):
    return cluster.client.get(KubeControllersConfiguration, "default")


def test_status_shows_what_runs_and_a_change_ends_the_program_cleanly(cluster):
    controllers = cluster.start(AUTO_HOST_ENDPOINTS="enabled")
    until(lambda: configuration(cluster).status.environment_vars)
    status = cluster.rest.get("/apis/crd.projectcalico.org/v1/kubecontrollersconfigurations/default", dict)[
        "status"
    ]
    assert status == {
        "environmentVars": {
            "AUTO_HOST_ENDPOINTS": "enabled",
            "DATASTORE_TYPE": "kubernetes",
            "ENABLED_CONTROLLERS": "node",
        },
        "runningConfig": {
            "controllers": {
                "node": {
                    "hostEndpoint": {"autoCreate": "Enabled"},
                    "leakGracePeriod": "15m0s",
                    "syncLabels": "Disabled",
                }
            },
            "etcdV3CompactionPeriod": "10m0s",
            "healthChecks": "Enabled",
            "logSeverityScreen": "Info",
        },
    }
    controllers.says("Started")
    # The environment overrides this one: nothing changes, nothing ends.
    cluster.configure(lambda spec: setattr(spec.controllers, "policy", None))
    # A status that others overwrite is repaired.
    broken = configuration(cluster)
    broken.status.environment_vars = {"nonsense": "1"}
    cluster.client.update(broken)
    until(lambda: "nonsense" not in configuration(cluster).status.environment_vars)
    assert controllers.process.poll() is None
    cluster.configure(lambda spec: setattr(spec, "log_severity_screen", "Warning"))
    assert controllers.process.wait(10) == 0
    assert "configuration changed; restarting" in controllers.text()


def test_deleted_configuration_comes_back_and_cluster_information_is_completed(cluster):
    controllers = cluster.start()
    controllers.says("Started")
    info = cluster.client.get(ClusterInformation, "default").spec
    assert (info.cluster_type, info.datastore_ready, len(info.cluster_guid)) == ("k8s,kdd", True, 32)
    cluster.client.delete(KubeControllersConfiguration, "default")
    # Created anew it has the standard port, which is a change.
    assert controllers.process.wait(10) == 0
    assert configuration(cluster).spec.prometheus_metrics_port == 9094


def test_check_status_follows_the_api_server(cluster):
    controllers = cluster.start()
    until(lambda: controllers.check() == (0, "Ready"))
    assert set(controllers.status()) == {"Startup", "CalicoDatastore", "KubeAPIServer"}
    assert controllers.status()["Startup"] == {"Ready": True, "Reason": ""}
    assert controllers.status_file.stat().st_mode & 0o777 == 0o644
    cluster.server.stop()
    code, text = until(lambda: (found := controllers.check("-r"))[0] and found, 30)
    assert code == 1
    # A restart would not bring the API server back: it is alive, as long as it says so.
    assert controllers.check("-l") == (0, f"Live; not ready: {text}")
    # One that says nothing any more, as it would be if it hung.
    controllers.process.send_signal(signal.SIGSTOP)
    os.utime(controllers.status_file, (0, 0))
    assert controllers.check("-l")[0] == 1
    controllers.process.send_signal(signal.SIGCONT)
    assert "Error verifying datastore: cannot reach" in text
    assert "; Error reaching apiserver: cannot reach" in text
    cluster.server.start()
    until(lambda: controllers.check() == (0, "Ready"), 30)
    # It went on where it was.
    cluster.node("late")
    until(lambda: 'ipam_allocations_in_use{ippool="pool",node="late"} 0.0' in controllers.metrics(), 30)
    assert controllers.end() == 0


def test_check_status_without_a_file_or_a_question(tmp_path):
    def check(*arguments):
        done = subprocess.run([BIN / "check-status", *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout.strip()

    missing = tmp_path / "none.json"
    assert check("-r", "-f", str(missing)) == (
        1,
        f"Failed to read status file {missing}: open {missing}: no such file or directory",
    )
    assert check() == (1, "No command specified to check-status")
    assert check("-v") == (0, "v3.28.1")
    missing.write_text('{"Readiness":{}}')
    assert check("-r", "-f", str(missing))[0] == 1


def test_metrics_have_upstreams_names_and_labels(cluster):
    for node in ("n1", "n2"):
        cluster.node(node)
    cluster.take_tunnel("n1")
    controllers = cluster.start()
    wanted = {
        'ipam_allocations_in_use{ippool="pool",node="n1"} 1.0',
        'ipam_allocations_in_use{ippool="pool",node="n2"} 0.0',
        'ipam_allocations_borrowed{ippool="pool",node="n1"} 0.0',
        'ipam_allocations_borrowed{ippool="pool",node="n2"} 0.0',
        'ipam_allocations_gc_candidates{ippool="pool",node="n1"} 0.0',
        'ipam_allocations_gc_candidates{ippool="pool",node="n2"} 0.0',
        'ipam_blocks{ippool="pool",node="n1"} 1.0',
        'ipam_allocations_per_node{node="n1"} 1.0',
        'ipam_blocks_per_node{node="n1"} 1.0',
        'ipam_ippool_size{ippool="pool"} 65536.0',
    }
    until(lambda: set(controllers.metrics()) == wanted)
    cluster.client.delete(IPPool, "pool")
    until(lambda: 'ipam_blocks{ippool="no_ippool",node="n1"} 1.0' in controllers.metrics())
    assert not [line for line in controllers.metrics() if 'ippool="pool"' in line]


def test_automatic_host_endpoints_come_follow_and_go(cluster):
    address = {"projectcalico.org/IPv4Address": "192.168.1.1/24"}
    cluster.node("n1", labels={"rack": "a"}, annotations=address)
    foreign = HostEndpoint(metadata=ObjectMeta(name="n2-auto-hep"), spec=HostEndpointSpec(node="n2"))
    cluster.client.create(foreign)
    cluster.node("n2")
    controllers = cluster.start(AUTO_HOST_ENDPOINTS="enabled")

    def endpoints():
        return {item.metadata.name: item for item in cluster.client.list(HostEndpoint).items}

    made = until(lambda: endpoints().get("n1-auto-hep"))
    assert made.spec == HostEndpointSpec(
        node="n1",
        interface_name="*",
        expected_ips=["192.168.1.1"],
        profiles=["projectcalico-default-allow"],
    )
    assert made.metadata.labels["rack"] == "a"
    assert made.metadata.labels["projectcalico.org/created-by"] == "calico-kube-controllers"
    tunnel = {"metadata": {"annotations": {"projectcalico.org/IPv4IPIPTunnelAddr": "10.10.0.1"}}}
    cluster.rest.patch("/api/v1/nodes/n1", tunnel, dict)
    until(lambda: endpoints()["n1-auto-hep"].spec.expected_ips == ["192.168.1.1", "10.10.0.1"])
    cluster.client.delete(HostEndpoint, "n1-auto-hep")
    until(lambda: "n1-auto-hep" in endpoints())
    cluster.delete_node("n1")
    cluster.delete_node("n2")
    until(lambda: list(endpoints()) == ["n2-auto-hep"])
    assert controllers.end() == 0
    cluster.node("n3")
    controllers = cluster.start(AUTO_HOST_ENDPOINTS="Enabled")
    until(lambda: "n3-auto-hep" in endpoints())
    assert controllers.end() == 0
    cluster.start(AUTO_HOST_ENDPOINTS="disabled")
    until(lambda: list(endpoints()) == ["n2-auto-hep"])


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ENABLED_CONTROLLERS", "node,nonsense", "Invalid controller 'nonsense' provided."),
        (
            "ENABLED_CONTROLLERS",
            "node,flannelmigration",
            "flannelmigration must be the only controller running",
        ),
        ("LOG_LEVEL", "loud", "invalid environment variable value"),
        ("RECONCILER_PERIOD", "5 minutes", "invalid environment variable value"),
        ("HEALTH_ENABLED", "yes", "invalid environment variable value"),
        ("KUBECONFIG", "/nonexistent", "/nonexistent"),
    ],
)
def test_a_bad_environment_is_one_line_and_exit_1(variable, value, message, tmp_path):
    environ = {"PATH": os.environ["PATH"], "DATASTORE_TYPE": "kubernetes", variable: value}
    done = subprocess.run(
        [BIN / "calico-kube-controllers", "-status-file", str(tmp_path / "status")],
        env=environ,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert message in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1
