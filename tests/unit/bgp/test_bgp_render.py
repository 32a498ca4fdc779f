import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import (
    BGPConfigurationSpec,
    Community,
    PrefixAdvertisement,
    ServiceIPBlock,
)
from pycalico.api.v3.bgpfilter import BGPFilterRule, BGPFilterSpec
from pycalico.api.v3.bgppeer import BGPPeerSpec
from pycalico.api.v3.ipam import BlockAffinitySpec
from pycalico.api.v3.ippool import IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.bgp.inputs import Inputs, Settings
from pycalico.bgp.render import render
from pycalico.bgp.routing import UnknownNode, routing


def node(name, address, **bgp):
    return Node(metadata=ObjectMeta(name=name), spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address=address, **bgp)))


def inputs_of(*nodes, **tables):
    return Inputs(nodes={item.metadata.name: item for item in nodes}, **tables)


def files_of(inputs, **changes):
    chosen = Settings(**{"node": "n1", **changes})
    found = routing(inputs, chosen)
    return render(found, inputs, chosen), found.problems


POOLS = {
    "ipip": IPPoolSpec(cidr="172.16.0.0/16", ipip_mode="Always"),
    "cross": IPPoolSpec(cidr="172.17.0.0/16", ipip_mode="CrossSubnet"),
    "plain": IPPoolSpec(cidr="172.18.0.0/16", ipip_mode="Never"),
    "vxlan": IPPoolSpec(cidr="172.19.0.0/16", vxlan_mode="Always"),
    "hidden": IPPoolSpec(cidr="172.20.0.0/16", disable_bgp_export=True),
}


def test_where_bird_can_write_tunnel_routes_it_does():
    text = files_of(inputs_of(node("n1", "10.0.0.1/24"), pools=POOLS))[0]["bird_ipam.cfg"]
    assert text.count('krt_tunnel = "tunl0";') == 2
    assert "( bgp_next_hop ~ 10.0.0.0/24 )" in text
    assert "if ( net ~ 172.19.0.0/16 ) then { reject; }" in text
    assert "tunl*" not in text


def test_where_felix_writes_them_bird_keeps_off_the_pools_and_passes_none_on():
    inputs = inputs_of(node("n1", "10.0.0.1/24"), pools=POOLS)
    files, _ = files_of(inputs, felix_routes=True)
    kernel = files["bird_ipam.cfg"].partition("filter calico_kernel_programming")[2]
    assert kernel.count("Cluster routes are handled by Felix.") == len(POOLS)
    assert "krt_tunnel" not in kernel
    assert '(ifname ~ "tunl*")' in files["bird_ipam.cfg"]
    assert "(krt_source = 80)" in files["bird.cfg"]
    # With the mesh off, routes that Felix wrote may have to reach other neighbours.
    inputs.configurations["default"] = BGPConfigurationSpec(node_to_node_mesh_enabled=False)
    assert "krt_source" not in files_of(inputs, felix_routes=True)[0]["bird.cfg"]


def test_ipv6_is_felixs_only_where_felix_handles_it():
    inputs = inputs_of(
        node("n1", "10.0.0.1/24", ipv6_address="fd00::1/64"), pools={"six": IPPoolSpec(cidr="fd00:10::/48")}
    )
    for felix_ipv6 in (False, True):
        files, _ = files_of(inputs, felix_routes=True, felix_ipv6=felix_ipv6)
        assert ("Cluster routes are handled by Felix." in files["bird6_ipam.cfg"]) == felix_ipv6


def test_the_smaller_address_connects_compared_as_text():
    inputs = inputs_of(node("n1", "10.0.0.10/24"), node("n2", "10.0.0.9/24"))
    assert "passive on;" in files_of(inputs)[0]["bird.cfg"]
    assert "passive on;" not in files_of(inputs, node="n2")[0]["bird.cfg"]


def test_reflectors_leave_the_mesh():
    inputs = inputs_of(
        node("n1", "10.0.0.1/24"), node("n2", "10.0.0.2/24", route_reflector_cluster_id="1.0.0.1")
    )
    assert "protocol bgp Mesh_" not in files_of(inputs)[0]["bird.cfg"]
    assert "protocol bgp Mesh_" not in files_of(inputs, node="n2")[0]["bird.cfg"]


def test_pending_blocks_stay_unheard_of_and_others_nodes_too():
    states = {
        "172.16.1.0/26": "confirmed",
        "172.16.2.0/26": "pending",
        "172.16.3.0/26": "pendingDeletion",
        "172.16.4.1/32": "",
    }
    affinities = {
        cidr: BlockAffinitySpec(state=state, node="n1", cidr=cidr) for cidr, state in states.items()
    }
    affinities["foreign"] = BlockAffinitySpec(state="confirmed", node="n2", cidr="172.16.9.0/26")
    text = files_of(inputs_of(node("n1", "10.0.0.1/24"), affinities=affinities))[0]["bird_aggr.cfg"]
    assert re.findall(r"route (\S+) blackhole", text) == ["172.16.1.0/26", "172.16.3.0/26"]
    assert re.findall(r"net = (\S+) ", text) == ["172.16.1.0/26", "172.16.4.1/32"]
    assert "172.16.2.0" not in text
    assert "172.16.9.0" not in text


def test_communities_of_the_node_win_and_names_are_resolved():
    spec = BGPConfigurationSpec(
        communities=[Community(name="std", value="100:2"), Community(name="large", value="1:2:3")],
        prefix_advertisements=[
            PrefixAdvertisement(cidr="10.0.0.0/8", communities=["std", "100:2", "large", "unknown"])
        ],
    )
    inputs = inputs_of(node("n1", "10.0.0.1/24"), configurations={"default": spec})
    text = files_of(inputs)[0]["bird.cfg"]
    # Sorted as text, each once.
    assert re.findall(r"bgp_\w+\.add\(\(.*\)\);", text) == [
        "bgp_community.add((100, 2));",
        "bgp_large_community.add((1, 2, 3));",
    ]
    inputs.configurations["node.n1"] = BGPConfigurationSpec(
        prefix_advertisements=[PrefixAdvertisement(cidr="11.0.0.0/8", communities=["7:7"])]
    )
    text = files_of(inputs)[0]["bird.cfg"]
    assert re.findall(r"net ~ (\S+) ", text) == ["11.0.0.0/8"]


def test_without_ipv4_the_files_still_say_so():
    inputs = inputs_of(node("n1", "", ipv6_address="fd00::1/64"))
    files, problems = files_of(inputs, router_id="10.10.10.10")
    assert "# IPv4 disabled on this node." in files["bird.cfg"]
    assert "router id 10.10.10.10;" in files["bird6.cfg"]
    assert not problems
    _, problems = files_of(inputs)
    assert "router id" in problems[0]


def test_an_unknown_node_is_not_rendered():
    with pytest.raises(UnknownNode, match="n1"):
        files_of(inputs_of(node("n2", "10.0.0.2/24")))


def test_two_nodes_with_one_address_cost_only_the_second():
    inputs = inputs_of(
        node("n1", "10.0.0.1/24"), *(node(f"n{n}", "10.0.0.2/24") for n in (2, 3)), node("n4", "10.0.0.1/24")
    )
    files, problems = files_of(inputs)
    assert files["bird.cfg"].count("protocol bgp Mesh_10_0_0_2 ") == 1
    assert problems == [
        "Node n3: its address 10.0.0.2 is that of node n2, too; it is not peered with",
        "Node n4: its address 10.0.0.1 is that of node n1, too; it is not peered with",
    ]


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "255.255.255.255", "224.0.0.5", "::", "fe80::1", "ff02::1", "nonsense"]
)
def test_what_no_session_can_be_with_is_left_out(address):
    inputs = inputs_of(node("n1", "10.0.0.1/24", ipv6_address="fd00::1/64"))
    inputs.peers = {
        "bad": BGPPeerSpec(peer_ip=address, as_number=1),
        "good": BGPPeerSpec(peer_ip="10.0.0.9", as_number=1),
    }
    files, problems = files_of(inputs)
    assert re.findall(r"protocol bgp (\w+)", files["bird.cfg"] + files["bird6.cfg"]) == ["Global_10_0_0_9"]
    assert problems == [f"BGPPeer bad: peerIP {address!r} is no node's address; the peer is left out"]


def test_numbers_beyond_what_bird_can_hold():
    inputs = inputs_of(node("n1", "10.0.0.1/24"))
    inputs.peers = {
        "p": BGPPeerSpec(
            peer_ip="10.0.0.9",
            as_number=1,
            ttl_security=-1,
            max_restart_time="2h",
            num_allowed_local_as_numbers=2**40,
        )
    }
    files, problems = files_of(inputs)
    assert "multihop 1;" in files["bird.cfg"]
    assert "graceful restart time 4095;" in files["bird.cfg"]
    assert "allow local as 2147483647;" in files["bird.cfg"]
    assert len(problems) == 2


def test_a_nodes_name_is_a_comment_at_most():
    inputs = inputs_of(
        node("n1", "10.0.0.1/24"), node("x\nprotocol evil", "", route_reflector_cluster_id="1.0.0.1")
    )
    assert "\nprotocol evil" not in files_of(inputs)[0]["bird.cfg"]


def test_the_grammar_of_bird_2():
    inputs = inputs_of(
        node("n1", "10.0.0.1/24", ipv6_address="fd00::1/64"), node("n2", "10.0.0.2/24", ipv6_address="fd00::2/64"),
        configurations={"default": BGPConfigurationSpec(listen_port=1790, bind_mode="NodeIP")},
        peers={"p": BGPPeerSpec(peer_ip="10.0.0.9", as_number=65001, keep_original_next_hop=True)},
    )  # fmt: skip
    files, _ = files_of(inputs, felix_routes=True, bird=2)
    for family, name in ((4, "bird.cfg"), (6, "bird6.cfg")):
        text = " ".join(files[name].split())
        assert "listen bgp" not in text
        assert (
            f"port 1790 as 64512; strict bind on; ipv{family} {{ gateway recursive; add paths on; }};" in text
        )
        assert f"protocol direct {{ debug {{ states }}; ipv{family};" in text
    text = " ".join(files["bird.cfg"].split())
    assert "local 10.0.0.1 port 1790 as 64512;" in text
    assert "calico_export_to_bgp_peers(false); reject; }; next hop keep; };" in text


hostile = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            '"; include "/etc/passwd"; #',
            "}\nprotocol static evil { route 6.6.6.6/32 blackhole; }",
            "x' } evil {",
            "a\x00b",
            "10.0.0.0/8; evil",
            "*/ evil",
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(text=hostile, name=hostile)
def test_no_text_becomes_a_statement(text, name):
    """Whatever the datastore holds, the statements are those of the same configuration without it."""
    nodes = [node("n1", "10.0.0.1/24"), node(name or "x", text, route_reflector_cluster_id=text)]
    if name == "n1":
        return
    inputs = inputs_of(
        *nodes,
        pools={"p": IPPoolSpec(cidr=text, ipip_mode=text)},
        peers={
            name: BGPPeerSpec(peer_ip=text, as_number=text),
            "f": BGPPeerSpec(
                peer_ip="10.9.9.9",
                as_number=1,
                filters=[name, text],
                source_address=text,
                reachable_by=text,
                max_restart_time=text,
                peer_selector="",
            ),
        },
        filters={
            name: BGPFilterSpec(
                import_v4=[BGPFilterRule(cidr=text, match_operator="In", interface=text, action="Accept")]
            )
        },
        affinities={
            "a": BlockAffinitySpec(state=text, node="n1", cidr="10.1.0.0/26"),
            "b": BlockAffinitySpec(node="n1", cidr=text),
        },
        configurations={
            "default": BGPConfigurationSpec(
                ignored_interfaces=[text],
                bind_mode=text,
                log_severity_screen=text,
                service_cluster_ips=[ServiceIPBlock(cidr=text)],
                communities=[Community(name=name, value=text)],
                prefix_advertisements=[PrefixAdvertisement(cidr="10.0.0.0/8", communities=[name, text])],
            )
        },
    )
    files, _ = files_of(inputs)
    for content in files.values():
        code = "\n".join(line.partition("#")[0] for line in content.split("\n"))
        assert "evil" not in code
        assert "passwd" not in code
        assert "\x00" not in content
        assert code.count("{") == code.count("}")
        assert code.count('"') % 2 == 0
