"""BGP between the nodes, also while one of them is made anew."""

from __future__ import annotations

import re

from pycalico.lab.chapters.agents import AGENTS, find_agents
from pycalico.lab.checks import Check, lines, table
from pycalico.lab.step import CLOCK, W1, M, Step


def _status(*peers: str) -> Check:
    heading = ("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO")
    rows = tuple((re.escape(peer), "node-to-node mesh", "up", CLOCK, "Established") for peer in peers)
    return table(heading, *rows)


def _status_steps() -> list[Step]:
    text = ("Calico process is running\\.", "IPv4 BGP status", "IPv6 BGP status", "No IPv6 peers found\\.")
    return [
        Step(
            "sessions of k8s-m",
            M,
            "calicoctl node status",
            (lines(*text), _status("192.168.20.100", "192.168.10.101", "192.168.10.102")),
            "BIRD speaks BGP with every other node; each is a peer of the node-to-node mesh.",
            within_s=60,
        ),
        Step(
            "sessions of k8s-w1",
            W1,
            "calicoctl node status",
            (lines(*text), _status("192.168.10.10", "192.168.20.100", "192.168.10.102")),
            within_s=60,
        ),
    ]


def steps() -> list[Step]:
    return [
        *_status_steps(),
        Step(
            "BGP port",
            W1,
            "netstat -tnlp | grep bird",
            (lines(r"tcp 0 0 0\.0\.0\.0:179 0\.0\.0\.0:\* LISTEN \d+/bird"),),
            "BGP uses TCP port 179.",
        ),
        Step(
            "eth0 of k8s-w1",
            W1,
            "ifconfig eth0",
            (
                lines(
                    r"eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST> mtu 9001",
                    r"inet 192\.168\.10\.101 netmask .*",
                ),
            ),
        ),
        Step(
            "capture",
            W1,
            "tcpdump -i eth0 'tcp port 179' -vvv -U -w /tmp/bgp_update_capture.pcap",
            (),
            "Record what BIRD says while the calico-node pod of k8s-w2 is deleted and made anew.",
            background=True,
        ),
        Step(
            "agents before",
            M,
            "kubectl get pod -A -o wide | grep calico-node",
            (lines(*AGENTS),),
            find=find_agents,
        ),
        Step(
            "delete an agent",
            M,
            "kubectl delete pod {agent_w2} -n kube-system --force",
            (lines(r'pod "{agent_w2}" force deleted.*'),),
        ),
        Step(
            "agents after",
            M,
            "kubectl get pod -A -o wide | grep calico-node",
            (
                lines(*AGENTS),
                lambda output, facts: "the old pod is there" if facts["agent_w2"] in output else "",
            ),
            within_s=90,
        ),
        Step(
            "sessions after",
            W1,
            "calicoctl node status",
            (_status("192.168.10.10", "192.168.20.100", "192.168.10.102"),),
            within_s=90,
        ),
        Step(
            "messages",
            W1,
            "tshark -r /tmp/bgp_update_capture.pcap -Y bgp -T fields -e ip.src -e ip.dst -e _ws.col.Info 2>/dev/null",
            (
                lines(r".*OPEN Message.*"),
                lines(r".*KEEPALIVE Message.*"),
                lines(r".*UPDATE Message.*"),
                lines(r"192\.168\.10\.102 192\.168\.10\.101 .*NOTIFICATION Message.*"),
            ),
            "OPEN introduces a speaker, UPDATE carries routes, KEEPALIVE says that it lives, NOTIFICATION ends a session.",
            within_s=30,
        ),
        Step(
            "AS number",
            W1,
            "tshark -r /tmp/bgp_update_capture.pcap -Y 'bgp.type == 1' -T fields -e ip.src -e bgp.open.myas 2>/dev/null",
            (lines(r"192\.168\.10\.102 64512.*"),),
            "The AS number is 64512 unless configured.",
        ),
    ]
