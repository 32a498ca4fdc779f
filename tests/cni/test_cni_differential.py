"""Scenario 31: the same calls to our plugins and to upstream's, each on a node of their own, and what both leave.

Runs where UPSTREAM_BIN names the folder that holds upstream's ``calico`` and ``calico-ipam``. What upstream answers is also
recorded (tests/golden/test_cni.py); here are combinations that no recording has.
"""

import json
import os
import re
from pathlib import Path

import pytest
from node_world import PROGRAMS, World

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.kubernetes.rest import path_of

UPSTREAM = os.environ.get("UPSTREAM_BIN", "")

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not (Path(UPSTREAM) / "calico-ipam").exists(), reason="UPSTREAM_BIN names no plugins"),
]

ANNOTATION = "cni.projectcalico.org/"
DUAL = {"ipam": {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}}
FEATURES = {"feature_control": {"ip_addrs_no_ipam": True, "floating_ips": True}}
HOST_LOCAL = {"type": "host-local", "subnet": "10.77.0.0/24", "dataDir": "/run/host-local"}

#: name → (what the conflist has besides, the pod's annotations, CNI variables)
CALLS = {
    **{f"version-{v}".replace(".", "-"): ({"cniVersion": v}, {}, {}) for v in ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")},
    **{f"dual-{v}".replace(".", "-"): ({"cniVersion": v, **DUAL}, {}, {}) for v in ("0.2.0", "0.3.1", "0.4.0", "1.0.0")},
    "no-version": ({"cniVersion": None}, {}, {}),
    "version-9": ({"cniVersion": "9.0.0"}, {}, {}),
    "ipv6-only": ({"ipam": {"type": "calico-ipam", "assign_ipv4": "false", "assign_ipv6": "true"}}, {}, {}),
    "mtu": ({"mtu": 1234}, {}, {}),
    "forwarding": ({"container_settings": {"allow_ip_forwarding": True}}, {}, {}),
    "forwarding-dual": ({"container_settings": {"allow_ip_forwarding": True}, **DUAL}, {}, {}),
    "no-policy": ({"policy": None}, {}, {}),
    "pools-by-name": ({"ipam": {"type": "calico-ipam", "ipv4_pools": ["second"]}}, {}, {}),
    "pools-by-cidr": ({"ipam": {"type": "calico-ipam", "ipv4_pools": ["10.66.0.0/24"]}}, {}, {}),
    "pools-unknown": ({"ipam": {"type": "calico-ipam", "ipv4_pools": ["none"]}}, {}, {}),
    "pools-of-no-pool": ({"ipam": {"type": "calico-ipam", "ipv4_pools": ["10.99.0.0/24"]}}, {}, {}),
    "asked-pools": ({}, {"ipv4pools": '["second"]'}, {}),
    "asked-pools-broken": ({}, {"ipv4pools": "second"}, {}),
    "asked-address": ({}, {"ipAddrs": '["10.66.0.77"]'}, {}),
    "asked-addresses": (DUAL, {"ipAddrs": '["10.66.0.78", "fd00:66::78"]'}, {}),
    "asked-two-of-a-kind": ({}, {"ipAddrs": '["10.66.0.1", "10.66.0.2"]'}, {}),
    "asked-nothing": ({}, {"ipAddrs": "[]"}, {}),
    "asked-nonsense": ({}, {"ipAddrs": '["x"]'}, {}),
    "asked-outside": ({}, {"ipAddrs": '["192.0.2.1"]'}, {}),
    "asked-both": ({}, {"ipAddrs": '["10.66.0.9"]', "ipAddrsNoIpam": '["10.66.0.9"]'}, {}),
    "without-ipam": (FEATURES, {"ipAddrsNoIpam": '["192.0.2.7"]'}, {}),
    "without-ipam-off": ({}, {"ipAddrsNoIpam": '["192.0.2.7"]'}, {}),
    "floating": (FEATURES, {"floatingIPs": '["10.66.0.200"]'}, {}),
    "floating-outside": (FEATURES, {"floatingIPs": '["192.0.2.1"]'}, {}),
    "floating-off": ({}, {"floatingIPs": '["10.66.0.200"]'}, {}),
    "floating-nonsense": (FEATURES, {"floatingIPs": '["x"]'}, {}),
    "mac": ({}, {"hwAddr": "0a:0b:0c:0d:0e:0f"}, {}),
    "mac-nonsense": ({}, {"hwAddr": "nonsense"}, {}),
    "sources": ({}, {"allowedSourcePrefixes": '["10.1.0.0/16", "fd01::/64"]'}, {}),
    "sources-nonsense": ({}, {"allowedSourcePrefixes": '["10.1.0.0/99"]'}, {}),
    "host-local": ({"ipam": HOST_LOCAL}, {}, {}),
    "host-local-routes": ({"ipam": {**HOST_LOCAL, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.5.0.0/16"}]}}, {}, {}),
    "host-local-default": ({"ipam": {**HOST_LOCAL, "routes": [{"dst": "0.0.0.0/0"}]}, "include_default_routes": True}, {}, {}),
    "host-local-asked": ({"ipam": HOST_LOCAL}, {"ipAddrs": '["10.66.0.9"]'}, {}),
    "plugin-unknown": ({"ipam": {"type": "no-such-plugin"}}, {}, {}),
    "no-ipam": ({"ipam": {}}, {}, {}),
    "interface-name": ({}, {}, {"CNI_IFNAME": "net1"}),
    "interface-name-long": ({}, {}, {"CNI_IFNAME": "a-very-long-interface-name"}),
    "address-in-args": ({}, {}, {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=@pod;IP=10.66.0.99"}),
    "log-level": ({"log_level": "debug"}, {}, {}),
    "prev-result": ({"prevResult": {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.9.9.9/32"}]}}, {}, {}),
}  # fmt: skip
#: Where ours is to differ: name → exit codes of ADD and DEL, and what ADD says.
OURS = {
    # Upstream panics.
    "floating-nonsense": ([1, 0], "invalid IP format: x"),
    # Upstream lets a pod claim any address.
    "floating-outside": ([1, 0], "the floating IP 192.0.2.1 is in no IP pool"),
    # Upstream's DEL fails as its ADD does, for ever.
    "sources-nonsense": (
        [1, 0],
        "failed to parse '10.1.0.0/99' as a CIDR: invalid CIDR address: 10.1.0.0/99",
    ),
    "no-ipam": ([1, 0], "no plugin name provided"),
    # The text alone.
    "host-local-default": ([1, 0], "via 169.254.1.1: file exists"),
    # Upstream's DEL leaves the annotations of a pod whose interface is not eth0.
    "interface-name": ([0, 0], ""),
    # The paths differ.
    "plugin-unknown": ([1, 1], 'failed to find plugin "no-such-plugin" in path ['),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    both = []
    try:
        for name, programs in (("ours", PROGRAMS), ("theirs", UPSTREAM)):
            world = World(tmp_path_factory.mktemp(name))
            both.append((world, programs))
            world.api(_more_pools)
        both[0][0].start_agent()
        yield both
    finally:
        for world, _ in both:
            world.close()


def _more_pools(client):
    for name, cidr in (("second", "10.66.0.0/24"), ("sixth", "fd00:66::/64")):
        client.create(
            IPPool(metadata=ObjectMeta(name=name), spec=IPPoolSpec(cidr=cidr, node_selector="all()"))
        )


# The others first: they compare addresses, and a difference makes the next ones differ.
@pytest.mark.parametrize("name", sorted(CALLS, key=OURS.__contains__))
def test_31_both_leave_the_same(worlds, name):
    ours, theirs = (_left(world, programs, name) for world, programs in worlds)
    if name in OURS:
        codes, said = OURS[name]
        assert ours["codes"] == codes
        assert said in ours["ADD"].get("msg", "")
        assert ours["after"] == ["lo"]
        assert ours != theirs
        return
    assert {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]} == {}


def _left(world, programs, name):
    config, annotations, variables = CALLS[name]
    pod = world.pod(name, {ANNOTATION + key: value for key, value in annotations.items()})
    variables = {key: value.replace("@pod", pod) for key, value in variables.items()}
    options = {"config": config, "programs": programs, **variables}
    added = world.call("ADD", pod, **options)
    found = {
        "ADD": _object(added),
        "codes": [added.code],
        "links": _ip(world, pod, "link"),
        "addresses": _ip(world, pod, "addr"),
        "routes": [_ip(world, pod, f"{family} route show table all") for family in ("-4", "-6")],
        "neighbours": _ip(world, pod, "neigh"),
        "settings": world.sh(f"ip netns exec {pod} sysctl -a -r 'net.ipv[46].conf.(eth0|all|net1).(forwarding|disable_ipv6)'"),
        "host routes": _host_routes(world),
        "annotations": world.api(_annotations, pod),
    }  # fmt: skip
    deleted = world.call("DEL", pod, **options)
    found["DEL"], found["after"] = _object(deleted), world.links(pod)
    found["codes"].append(deleted.code)
    found["annotations after"] = world.api(_annotations, pod)
    world.sh(f"ip netns del {pod}")
    return found


def _host_routes(world):
    """But for the link's own, which the kernel makes when it gets round to the new carrier."""
    lines = world.sh("ip route show; ip -6 route show").splitlines()
    return sorted(line for line in lines if not line.startswith("fe80::/64 "))


def _annotations(client, pod):
    return client.rest.get(path_of("v1", "pods", "default", pod), dict)["metadata"].get("annotations") or {}


def _object(answer):
    """What stdout holds; the container's own MAC address is random unless asked for."""
    return json.loads(_settled(json.dumps(answer.object))) if answer.object is not None else None


def _settled(text):
    return re.sub(
        r"[0-9a-f]{2}(:[0-9a-f]{2}){5}",
        lambda found: found[0] if found[0][:5] in ("ee:ee", "0a:0b") else "MAC",
        text,
    )


def _ip(world, pod, what):
    """As the kernel tells it, but for indexes, counters and link-local addresses, which follow the MAC address."""
    dropped = {
        "ifindex",
        "link_index",
        "link_netnsid",
        "stats64",
        "inet6_addr_gen_mode",
        "flags",
        "operstate",
    }
    found = json.loads(_settled(world.sh(f"ip -n {pod} -j {what}")) or "[]")
    for item in found:
        item["addr_info"] = [one for one in item.get("addr_info", []) if one.get("scope") != "link"]
    kept = [{key: value for key, value in item.items() if key not in dropped} for item in found]
    texts = [json.dumps(item, sort_keys=True) for item in kept]
    return sorted(text for text in texts if "fe80" not in text and "ff00::/8" not in text)
