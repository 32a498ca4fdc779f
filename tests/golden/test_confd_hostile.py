"""Hostile datastore contents: every line written is one of the forms below, and the real BIRD accepts the whole."""

import os
import re
import subprocess
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import (
    BGPConfigurationSpec,
    Community,
    PrefixAdvertisement,
    ServiceIPBlock,
)
from pycalico.api.v3.bgpfilter import BGPFilterRule, BGPFilterSpec
from pycalico.api.v3.bgppeer import BGPPassword, BGPPeerSpec, SecretKeySelector
from pycalico.api.v3.ipam import BlockAffinitySpec
from pycalico.api.v3.ippool import IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec, NodeStatus
from pycalico.bgp.inputs import Inputs, Settings
from pycalico.bgp.render import render
from pycalico.bgp.routing import routing

NET = r"[0-9a-f.:]+/\d{1,3}"
ADDRESS = r"[0-9a-f.:]+"
CALL = r"'bgp_[A-Za-z0-9._-]{1,45}_(?:import|export)FilterV[46]'\(\)"
CONDITION = (
    rf"\((?:net (?:=|!=|~|!~) {NET}|\(defined\(source\)\)&&\(source ~ \[ RTS_BGP \]\)"
    r'|\(defined\(ifname\)\)&&\(ifname ~ "[A-Za-z0-9._:@+=*?-]{1,64}"\))\)'
)
#: All that may ever stand on a line, once its comment is gone.
FORMS = [
    r"",
    r"[{}]|\};",
    r"function (?:apply_communities|reject_disabled_pools|reject_tunnel_routes|calico_aggr) \(\)(?: \{)?",
    r"function calico_export_to_bgp_peers\(bool internal_peer\) \{",
    rf"function {CALL} \{{",
    r"filter calico_kernel_programming \{",
    r'include "bird6?_(?:aggr|ipam)\.cfg";',
    r"router id \d+\.\d+\.\d+\.\d+;",
    rf"listen bgp(?: address {ADDRESS})?(?: port \d+)?;",
    r"protocol (?:kernel|device|direct|static) \{",
    r"template bgp bgp_template \{",
    r"protocol bgp (?:Mesh|Global|Node)_[0-9a-f_]+(?:_port_\d+)? from bgp_template \{",
    r"learn;|persist;|scan time 2;|graceful restart;|merge paths on;|import all;|passive on;|rr client;",
    r"add paths on;|gateway recursive;|next hop keep;|debug all;|debug \{ states \};",
    r"connect delay time 2;|connect retry time 5;|error wait time 5,30;",
    r"export filter calico_kernel_programming;|(?:import|export) filter \{|accept;|reject;",
    r"import filter \{ if \(defined\(krt_source\) && \(krt_source = 80\)\) then reject; accept; \};",
    r'description "Connection to BGP peer";',
    r'interface (?:-"[A-Za-z0-9._:@+=*?-]{1,64}", )*"\*";',
    r"local as \d+;|ttl security (?:on|off);|multihop(?: \d+)?;|allow local as \d+;|graceful restart time \d+;",
    rf"neighbor {ADDRESS} (?:port \d+ )?as \d+;|source address {ADDRESS};|rr cluster id \d+\.\d+\.\d+\.\d+;",
    r'password "[^"\\]{1,80}";',
    rf"{CALL};|calico_export_to_bgp_peers\((?:true|false)\);",
    rf"route {NET} blackhole;|route {NET} via {ADDRESS};",
    rf"if \( ?net [~=] {NET} ?\) then \{{(?: (?:accept|reject); \}})?",
    r"bgp_community\.add\(\(\d+, \d+\)\);|bgp_large_community\.add\(\(\d+, \d+, \d+\)\);",
    r"if \(internal_peer\) then \{ reject_tunnel_routes\(\); \}|if \(defined\(ifname\)\) then \{",
    r'if \(\(ifname ~ "\*\.cali"\) \|\| \(ifname ~ "\*\.calico"\)(?: \|\| \(ifname ~ "tunl\*"\))?\) then \{ reject; \}',
    r"(?:reject_disabled_pools|apply_communities|calico_aggr)\(\);",
    rf"if \({CONDITION}(?:&&{CONDITION})*\) then \{{ (?:accept|reject); \}}",
]
#: The same, with channels and with where to listen in each session.
FORMS_OF_BIRD_2 = [
    *FORMS,
    r"ipv[46] \{|ipv[46];|strict bind on;",
    rf"local(?: {ADDRESS})?(?: port \d+)? as \d+;",
]
#: With upstream's BIRD, which routes into tunnels.
FORMS_OF_THE_PATCHED = [
    *FORMS,
    r'krt_tunnel = "(?:tunl0)?";',
    rf"if defined\(bgp_next_hop\) && \( bgp_next_hop ~ {NET} \) then",
    r"else",
]
ROOT = Path(__file__).parents[2]


def allowed(forms):
    return re.compile("|".join(f"(?:{form})" for form in forms))


INJECTIONS = [
    '"; include "/etc/passwd"; #',
    '"; } protocol static evil { route 6.6.6.6/32 blackhole; } #',
    "}\nprotocol static evil { route 6.6.6.6/32 blackhole; }\n",
    "x'() { accept; } function 'y",
    "10.0.0.0/8; accept",
    "10.0.0.0/8 ) then { accept; } if ( net ~ 0.0.0.0/0",
    'eth0", -"*',
    "*/ evil /*",
    "64512; passive on",
    "1:2)); accept; bgp_community.add((3,4",
    "a\x00b", "\u2028protocol", "\x85evil", "é" * 41, "x" * 5000, "${HOME}", "%s", "\\", "٣",
    "10.0.0.2\n", "fd00::1%eth0", "10.0.0.1/24\n",
]  # fmt: skip
GOOD = ["0.0.0.0", "::", "fe80::1", "ff02::1", "255.255.255.255", "9999h", "10.7.0.0/16", "10.0.0.7", "fd00:7::/64", "fd00::7", "10.0.0.9:179", "[fd00::9]:179", "eth*", "1.5",
        "64512", "65001:70", "1:2:3", "Always", "name", "Reject", "Accept", "In", "1h", "all()", "RemotePeers"]  # fmt: skip

texts = st.one_of(st.sampled_from(INJECTIONS), st.sampled_from(GOOD), st.text(max_size=30))
numbers = st.integers(-5, 2**33) | st.sampled_from([-1, 0, 1, 256, 65536, 2**31, 2**32])
rules = st.lists(
    st.builds(BGPFilterRule, cidr=texts, source=texts, interface=texts, match_operator=texts, action=texts),
    max_size=2,
)
password = (
    st.builds(BGPPassword, secret_key_ref=st.just(SecretKeySelector(name="secret", key="key"))) | st.none()
)
peers = st.builds(
    BGPPeerSpec,
    node=st.sampled_from(["", "n1"]) | texts,
    node_selector=st.sampled_from(["", "all()"]) | texts,
    peer_ip=texts,
    as_number=texts | numbers,
    peer_selector=st.sampled_from(["", "all()"]) | texts,
    keep_original_next_hop=st.booleans(),
    password=password,
    source_address=texts,
    max_restart_time=texts,
    num_allowed_local_as_numbers=numbers | st.none(),
    ttl_security=numbers | st.none(),
    reachable_by=texts,
    filters=st.lists(texts, max_size=2),
)
configurations = st.builds(
    BGPConfigurationSpec,
    log_severity_screen=texts,
    as_number=texts | numbers,
    listen_port=numbers,
    bind_mode=st.sampled_from(["NodeIP", None]) | texts,
    communities=st.lists(st.builds(Community, name=texts, value=texts), max_size=2),
    prefix_advertisements=st.lists(
        st.builds(PrefixAdvertisement, cidr=texts, communities=st.lists(texts, max_size=2)), max_size=2
    ),
    ignored_interfaces=st.lists(texts, max_size=2),
    service_cluster_ips=st.lists(st.builds(ServiceIPBlock, cidr=texts), max_size=2),
    service_load_balancer_ips=st.lists(st.builds(ServiceIPBlock, cidr=texts), max_size=1),
    node_mesh_max_restart_time=texts,
    node_mesh_password=password,
)


@st.composite
def worlds(draw):
    nodes = {
        "n1": Node(spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address="10.0.0.1/24", ipv6_address="fd00::1/64")))
    }
    for name in draw(st.lists(texts, max_size=2)):
        bgp = draw(
            st.builds(
                NodeBGPSpec,
                ipv4_address=texts,
                ipv6_address=texts,
                as_number=texts | numbers,
                route_reflector_cluster_id=texts | st.just("1.0.0.1"),
            )
        )
        status = NodeStatus(pod_cidrs=draw(st.lists(texts, max_size=1)))
        nodes[name or "x"] = Node(metadata=ObjectMeta(name=name), spec=NodeSpec(bgp=bgp), status=status)
    return Inputs(
        nodes=nodes,
        configurations=draw(st.dictionaries(st.sampled_from(["default", "node.n1"]), configurations)),
        peers=draw(st.dictionaries(texts, peers, max_size=2)),
        filters=draw(
            st.dictionaries(texts, st.builds(BGPFilterSpec, rules, rules, rules, rules), max_size=2)
        ),
        pools=draw(
            st.dictionaries(
                texts,
                st.builds(IPPoolSpec, cidr=texts, ipip_mode=texts, vxlan_mode=texts,
                          disable_bgp_export=st.booleans()),
                max_size=2,
            )
        ),
        affinities=draw(
            st.dictionaries(
                texts, st.builds(BlockAffinitySpec, state=texts, node=st.just("n1"), cidr=texts), max_size=2
            )
        ),
        secrets={"secret": {"key": draw(texts)}},
    )  # fmt: skip


#: ``make soak`` tries more.
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def fuzzed(examples):
    def decorate(test):
        given_all = given(inputs=worlds(), router_id=texts, ranges=texts, bird_6_is_felixs=st.booleans())(
            test
        )
        return settings(
            max_examples=examples * TIMES, deadline=None, suppress_health_check=list(HealthCheck)
        )(given_all)

    return decorate


def rendered(forms, inputs, **chosen):
    """The files, each line one of the forms."""
    pattern = allowed(forms)
    settings_ = Settings(node="n1", **chosen)
    files = render(routing(inputs, settings_), inputs, settings_)
    for name, text in files.items():
        for line in text.split("\n"):
            # Characters that Unicode does not know yet may stand in a password; what ends a line may not.
            assert not {unicodedata.category(one) for one in line} & {"Cc", "Cs", "Zl", "Zp"}, (
                name,
                line,
            )
            statement = line if "password" in line else line.partition("#")[0]
            assert pattern.fullmatch(statement.strip()), (name, line)
    return files


def taken_by(programs, files):
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files.items():
            Path(directory, name).write_text(text)
        for name, program in programs.items():
            command = [program, "-p", "-c", Path(directory, name)]
            run = subprocess.run(command, capture_output=True, text=True, timeout=10)
            assert run.returncode == 0, run.stderr


@fuzzed(100)
def test_only_known_statements_are_written_and_bird_takes_them(inputs, router_id, ranges, bird_6_is_felixs):
    files = rendered(
        FORMS, inputs, router_id=router_id, advertise_cluster_ips=ranges, felix_routes=True, felix_ipv6=bird_6_is_felixs
    )  # fmt: skip
    taken_by({"bird.cfg": "bird", "bird6.cfg": "bird6"}, files)


@pytest.fixture(scope="module")
def bird_2():
    done = subprocess.run([ROOT / "tools/neighbours.sh"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return ROOT / ".neighbours/usr/sbin/bird"


@fuzzed(40)
def test_likewise_in_the_grammar_of_bird_2(bird_2, inputs, router_id, ranges, bird_6_is_felixs):
    files = rendered(
        FORMS_OF_BIRD_2, inputs, router_id=router_id, advertise_cluster_ips=ranges, felix_routes=True,
        felix_ipv6=bird_6_is_felixs, bird=2,
    )  # fmt: skip
    taken_by({"bird.cfg": bird_2, "bird6.cfg": bird_2}, files)


@fuzzed(40)
def test_likewise_for_the_bird_that_routes_into_tunnels(inputs, router_id, ranges, bird_6_is_felixs):
    files = rendered(
        FORMS_OF_THE_PATCHED, inputs, router_id=router_id, advertise_cluster_ips=ranges, felix_routes=False,
        felix_ipv6=bird_6_is_felixs,
    )  # fmt: skip
    # Debian's takes all but what upstream's is patched for.
    plain = re.compile(
        r'^ *(krt_tunnel = "(?:tunl0)?";|if defined\(bgp_next_hop\).* then|else)$', re.MULTILINE
    )
    taken_by(
        {"bird.cfg": "bird", "bird6.cfg": "bird6"},
        {name: plain.sub("", text) for name, text in files.items()},
    )
