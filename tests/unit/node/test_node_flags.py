import re
from pathlib import Path

import pytest

from pycalico.base import goflags
from pycalico.node import flags, main


def test_forms_of_flags():
    found = goflags.parse(
        flags.FLAGS,
        ["-confd", "--confd-run-once=true", "-confd-confdir=/x", "-threshold-time", "1m30s", "-felix=false"],
    )
    assert found.switches == {"confd", "confd-run-once"}
    assert found.texts["confd-confdir"] == "/x"
    assert main._threshold_s(found) == 90


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-nosuch"], "flag provided but not defined: -nosuch"),
        (["-confd-confdir"], "flag needs an argument: -confd-confdir"),
        (["-confd=maybe"], 'invalid boolean value "maybe" for -confd: parse error'),
        (["-threshold-time=soon"], 'invalid value "soon" for flag -threshold-time: parse error'),
    ],
)
def test_bad_flags(words, message, capsys):
    assert main.run(words) == 1
    assert message in capsys.readouterr().err


def test_outcomes_without_an_action(capsys):
    assert main.run(["-v"]) == 0
    assert capsys.readouterr().out == "v3.28.1\n"
    assert main.run(["-startup", "-confd"]) == 1
    assert capsys.readouterr().out == "More than one incompatible argument provided\n"
    assert main.run([]) == 1
    assert capsys.readouterr().out.startswith("No valid options provided. Usage:\n  -allocate-tunnel-addrs\n")


def test_help_is_asked_for_in_vain(capsys):
    """Upstream's exit code, though nothing is wrong."""
    assert main.run(["-h"]) == 1
    said = capsys.readouterr()
    assert said.out == "flag: help requested\n"
    assert said.err.startswith("Usage of Calico:\n  -allocate-tunnel-addrs\n")


def test_every_action_is_a_flag():
    assert set(main.ACTIONS) <= {flag.name for flag in flags.FLAGS}


#: `calico-node -h` of v3.28.1: flags of a kind of their own, and the switches.
UPSTREAM = {
    "confd-confdir": ("string", "/etc/calico/confd"),
    "threshold-time": ("duration", "30s"),
    **dict.fromkeys(
        [
            "allocate-tunnel-addrs",
            "allocate-tunnel-addrs-run-once",
            "best-effort",
            "bird-live",
            "bird-ready",
            "bird6-live",
            "bird6-ready",
            "bpf",
            "confd",
            "confd-keep-stage-file",
            "confd-run-once",
            "felix",
            "felix-live",
            "felix-ready",
            "hostpath-init",
            "init",
            "monitor-addresses",
            "monitor-token",
            "show-status",
            "shutdown",
            "startup",
            "status-reporter",
            "v",
        ],
        ("bool", ""),
    ),
}
#: What v3.28.1's start-up, services, confd, installer and datastore clients read, but for Windows' and Typha's.
VARIABLES = [
    "AS",
    "AUTODETECT_POLL_INTERVAL",
    "BGP_LOGSEVERITYSCREEN",
    "CALICO_ADVERTISE_CLUSTER_IPS",
    "CALICO_CNI_SERVICE_ACCOUNT",
    "CALICO_DISABLE_FELIX",
    "CALICO_DISABLE_FILE_LOGGING",
    "CALICO_K8S_NODE_REF",
    "CALICO_MANAGE_CNI",
    "CALICO_NETWORKING",
    "CALICO_NETWORKING_BACKEND",
    "CALICO_NODENAME_FILE",
    "CALICO_ROUTER_ID",
    "CALICO_SHUTDOWN_TIMESTAMP_FILE",
    "CALICO_STARTUP_LOGLEVEL",
    "CLUSTER_TYPE",
    "CNI_CONF_NAME",
    "CNI_NETWORK_CONFIG",
    "CNI_NETWORK_CONFIG_FILE",
    "CNI_NET_DIR",
    "CNI_OLD_CONF_NAME",
    "DATASTORE_TYPE",
    "DISABLE_NODE_IP_CHECK",
    "ETCD_AUTHORITY",
    "ETCD_CA_CERT_FILE",
    "ETCD_CERT_FILE",
    "ETCD_DISCOVERY_SRV",
    "ETCD_ENDPOINTS",
    "ETCD_KEY_FILE",
    "ETCD_PASSWORD",
    "ETCD_SCHEME",
    "ETCD_USERNAME",
    "FELIX_HEALTHHOST",
    "FELIX_HEALTHPORT",
    "FELIX_IPV6SUPPORT",
    "HOSTNAME",
    "IP",
    "IP6",
    "IP6_AUTODETECTION_METHOD",
    "IP_AUTODETECTION_METHOD",
    "K8S_API_ENDPOINT",
    "K8S_CA_FILE",
    "K8S_CERT_FILE",
    "K8S_CURRENT_CONTEXT",
    "K8S_DISABLE_NODE_POLL",
    "K8S_INSECURE_SKIP_TLS_VERIFY",
    "K8S_KEY_FILE",
    "KUBECONFIG",
    "NAMESPACE",
    "NODENAME",
    "NODE_USER_ID",
    "NO_DEFAULT_POOLS",
    "SKIP_CNI_BINARIES",
    "SLEEP",
    "TLS_ASSETS_DIR",
    "UPDATE_CNI_BINARIES",
    "USE_POD_CIDR",
    "WAIT_FOR_DATASTORE",
]
#: Of the default pools, by family.
ENDINGS = ["BLOCK_SIZE", "CIDR", "DISABLE_BGP_EXPORT", "IPIP", "NAT_OUTGOING", "NODE_SELECTOR", "VXLAN"]


def test_the_flags_are_upstreams():
    assert {flag.name: (flag.kind, flag.default) for flag in flags.FLAGS} == UPSTREAM


def test_every_variable_of_upstream_is_read():
    source = Path(__file__).parents[3] / "src/pycalico"
    files = [path for path in source.rglob("*") if path.suffix == ".py" or path.name == "run"]
    words = set(re.findall(r"[\"'${=](\w+)\b", "\n".join(path.read_text() for path in files)))
    assert [name for name in VARIABLES if name not in words] == []
    pools = (source / "node/pools.py").read_text()
    assert [ending for ending in ENDINGS if not re.search(rf"\w*_?{ending}\b", pools)] == []
