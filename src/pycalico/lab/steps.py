"""The walkthrough as data: every command in its order, what to say about it, and what its output must be.

The tests run these steps against a lab, and ``docs/walkthrough.md`` is the transcript of such a run. ``{name}`` in a
command stands for something an earlier step found, or for the encapsulation's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pycalico.lab import plan
from pycalico.lab.checks import Check, conflist, grown, lines, only, table, words

#: output → facts for later steps.
Finder = Callable[[str], dict[str, str]]

M, W0, W1, W2 = "k8s-m", "k8s-w0", "k8s-w1", "k8s-w2"
_BIRD = "birdcl"
_CLOCK = r"\d\d:\d\d:\d\d(\.\d+)?"
BLOCKS = {M: "172.16.116.0", W0: "172.16.34.0", W1: "172.16.158.0", W2: "172.16.184.0"}


@dataclass(frozen=True)
class Step:
    """``within_s``: the output may need that long to become right. ``background``: started and left running."""

    name: str
    node: str
    command: str
    checks: tuple[Check, ...] = ()
    say: str = ""
    find: Finder | None = None
    within_s: float = 5.0
    background: bool = False
    shown_lines: int = 60


def remember(key: str) -> Finder:
    return lambda output: {key: output.strip()}


def _agents(output: str) -> dict[str, str]:
    """The calico-node pod of each node, as fact ``agent_m`` and so on, from ``kubectl get pod -o wide``."""
    found: dict[str, str] = {}
    for line in words(output):
        name = re.search(r"calico-node-\w+", line)
        for node in (M, W0, W1, W2):
            if name and node in line.split():
                found[f"agent_{node.rpartition('-')[2]}"] = name.group()
    return found


def _split(output: str) -> dict[str, str]:
    """Fact ``split``: rules that pod2's interface costs beyond its own.

    When the name of one other interface of k8s-w0 begins alike, both go to a new pair of dispatch chains, six lines.
    """
    alike = [row for row in words(output) if W0 in row.split() and re.search(r"\bcalib", row)]
    return {"split": "6" if len(alike) == 1 else "0"}


def _status(*peers: str) -> Check:
    heading = ("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO")
    rows = tuple((re.escape(peer), "node-to-node mesh", "up", _CLOCK, "Established") for peer in peers)
    return table(heading, *rows)


def _tunnel(node: str, say: str = "") -> Step:
    return Step(
        f"tunnel device of {node}",
        node,
        "ifconfig {tunnel}",
        (
            lines(
                r"{tunnel}: flags=\d+<UP,.*RUNNING.*> mtu {tunnel_mtu}",
                rf"inet {BLOCKS[node]} netmask 255\.255\.255\.255.*",
            ),
        ),
        say,
        within_s=20,
    )


_POOL = ("IP Pool", r"172\.16\.0\.0/16", "65536", r"{0} \(0%\)", r"{1} \(100%\)")
_IPAM = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE")


def _pool(used: int) -> tuple[str, ...]:
    return tuple(cell.format(used, 65536 - used) for cell in _POOL)


def _block(node: str, used: int, percent: str, free_percent: str) -> tuple[str, ...]:
    return (
        "Block",
        re.escape(BLOCKS[node]) + "/24",
        "256",
        rf"{used} \({percent}\)",
        rf"{256 - used} \({free_percent}\)",
    )


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


def _pod(name: str, node: str) -> str:
    """A pod that serves its own name on port 80."""
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": name,
                "image": "busybox:1.36",
                "command": ["sh", "-c", "hostname >index.html; exec busybox httpd -f -p 80 -h ."],
            }
        ],
    }
    return f"kubectl run {name} --image=busybox:1.36 --overrides='{json.dumps({'spec': spec})}'"


_SYSTEM_PODS = (
    (
        r"calico-kube-controllers-\w+-\w+",
        "172.16.34.1",
        "calico--kube--controllers",
        "calico-kube-controllers",
    ),
    (r"coredns-\w+-\w+", "172.16.34.2", "coredns", "coredns"),
    (r"coredns-\w+-\w+", "172.16.34.3", "coredns", "coredns"),
)
_HASHES = (
    ("ACCEPT", "XbY6-cDccVq4BXbw", "ctstate RELATED,ESTABLISHED"),
    ("DROP", "N4hE4yZtnqCjJbJL", "ctstate INVALID"),
    ("MARK", "9XJDTASzmA98NbgL", "MARK and 0xfffcffff"),
    (r"cali-pri-kns\.default", "B21wAo2MmHxTE20i", ""),
    ("RETURN", "z0vNGDZb9fZZTnBN", r"/\* Return if profile accepted \*/.*"),
    (r"cali-pri-ksa\.default\.default", "Xs37buFlu3zcQDO1", ""),
    ("RETURN", "TQSFKOw4Wln6EBF3", r"/\* Return if profile accepted \*/.*"),
    ("DROP", "GlPBajbc7Ht3AzxB", r"/\* Drop if no profiles matched \*/"),
)
_CHAIN = [
    rf"\d+ \d+ {target} (all|0) -- \* \* 0\.0\.0\.0/0 0\.0\.0\.0/0 /\* cali:{digest} \*/( {rest})?".replace(
        "( )?", ""
    )
    for target, digest, rest in _HASHES
]


def _counts(when: str, checks: Callable[[str], tuple[Check, ...]], say: str = "") -> list[Step]:
    return [
        Step(
            f"{table_name} rules {when}",
            W0,
            f"iptables -t {table_name} -S | grep cali | wc -l",
            checks(table_name),
            say if table_name == "filter" else "",
            remember(f"{table_name}_{when}"),
            within_s=10,
        )
        for table_name in ("filter", "nat")
    ]


def _tree() -> tuple[Check, ...]:
    """runsvdir, and below it a runsv for each service with its program."""
    services = {
        "node-status-reporter": r"calico-node -status-reporter",
        "bird6": r"bird6 -R -s /var/run/calico/bird6\.ctl -d -c /etc/calico/confd/config/bird6\.cfg",
        "bird": r"bird -R -s /var/run/calico/bird\.ctl -d -c /etc/calico/confd/config/bird\.cfg",
        "felix": r"calico-node -felix",
        "cni": r"calico-node -monitor-token",
        "confd": r"calico-node -confd",
        "monitor-addresses": r"calico-node -monitor-addresses",
        "allocate-tunnel-addrs": r"calico-node -allocate-tunnel-addrs",
    }
    rows = [r".* (\S*/)?runsvdir -P /etc/service/enabled"]
    rows += [rf".*\\_ runsv {service}" for service in services]
    rows += [rf".*\\_ (\S+ )?(\S*/)?{program}" for program in services.values()]
    return (lines(*rows),)


def walkthrough() -> list[Step]:
    peers = r"via {0} on eth0 \[Mesh_{1} {2}.*\] \* \(100/.*\) \[i\]"

    def learned(block: str, via: str, peer: str) -> str:
        return rf"{re.escape(block)}/24 " + peers.format(re.escape(via), peer, _CLOCK)

    wide = [
        rf"kube-system k8s--w0-k8s-{slug}--\w+--\w+-eth0 {name} k8s-w0 {re.escape(address)}/32 cali[0-9a-f]{{{{11}}}} "
        rf"kns\.kube-system,ksa\.kube-system\.{account}"
        for name, address, slug, account in _SYSTEM_PODS
    ]
    plain = [
        rf"kube-system {name} k8s-w0 {re.escape(address)}/32 cali[0-9a-f]{{{{11}}}}"
        for name, address, _, _ in _SYSTEM_PODS
    ]
    agents = [
        rf"(kube-system )?calico-node-\w+ 1/1 Running 0 \S+ {re.escape(node.address)} {node.name} <none> <none>"
        for node in plan.NODES
    ]
    chain = (
        r"Chain cali-tw-calibd2348b4f67 \(1 references\)",
        "pkts bytes target prot opt in out source destination",
    )
    return [
        Step(
            "version",
            M,
            "calicoctl version",
            (
                only(
                    r"Client Version: v3\.28\.1",
                    r"Git commit: \S+",
                    r"Cluster Version: v3\.28\.1",
                    "Cluster Type: k8s,bgp,kubeadm,kdd",
                ),
            ),
            "The cluster type names what is in use: Kubernetes, BGP routing, kubeadm, and the Kubernetes API as Calico's "
            "datastore (kdd).",
        ),
        Step(
            "daemon set",
            M,
            "kubectl get daemonset -n kube-system",
            (lines(r"calico-node 4 4 4 4 4 kubernetes\.io/os=linux \S+"),),
            "Each node runs calico-node.",
            within_s=60,
        ),
        Step(
            "agents",
            M,
            "kubectl get pod -n kube-system -l k8s-app=calico-node -o wide",
            (lines(*agents),),
            "Its pods have the nodes' own addresses, since they share the node's network namespace.",
            _agents,
            within_s=60,
        ),
        Step(
            "eth0 of k8s-m",
            M,
            "ifconfig eth0",
            (
                lines(
                    r"eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST> mtu 9001",
                    r"inet 192\.168\.10\.10 netmask .*",
                ),
            ),
        ),
        Step(
            "conflist",
            M,
            "cat /etc/cni/net.d/10-calico.conflist | jq",
            (conflist(M),),
            "The network configuration names the IPAM in use.",
        ),
        Step(
            "ipam show",
            M,
            "calicoctl ipam show",
            (table(_IPAM, _pool(7)),),
            "Seven addresses are in use: four of tunnels, three of pods.",
        ),
        Step(
            "pod CIDRs",
            M,
            "kubectl get nodes -o jsonpath='{.items[*].spec.podCIDR}' ;echo",
            (only(r"172\.16\.0\.0/24 172\.16\.1\.0/24 172\.16\.3\.0/24 172\.16\.2\.0/24"),),
            "The nodes' pod CIDRs are not what pods get: Calico's IPAM hands out blocks of its own.",
        ),
        Step(
            "blocks",
            M,
            "calicoctl ipam show --show-blocks",
            (
                table(
                    _IPAM,
                    _pool(7),
                    _block(M, 1, "0%", "100%"),
                    _block(W1, 1, "0%", "100%"),
                    _block(W2, 1, "0%", "100%"),
                    _block(W0, 4, "2%", "98%"),
                ),
            ),
        ),
        _tunnel(M, "The first address of a node's block is that of its tunnel."),
        _tunnel(W0),
        _tunnel(W1),
        _tunnel(W2),
        Step(
            "borrowed",
            M,
            "calicoctl ipam show --show-borrowed",
            (table(("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")),),
            "A node whose own blocks are full may borrow addresses of another's, unless StrictAffinity forbids it.",
        ),
        Step(
            "ipam configuration",
            M,
            "calicoctl ipam show --show-configuration",
            (
                table(
                    ("PROPERTY", "VALUE"),
                    ("StrictAffinity", "false"),
                    ("AutoAllocateBlocks", "true"),
                    ("MaxBlocksPerHost", "0"),
                ),
            ),
        ),
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
            (lines(*agents),),
            find=_agents,
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
                lines(*agents),
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
        Step(
            "pool",
            M,
            "calicoctl get ippool -o wide",
            (
                only(
                    "NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR",
                    r"default-ipv4-ippool 172\.16\.0\.0/16 true {ipip_mode} {vxlan_mode} false false all\(\)",
                ),
            ),
        ),
        Step(
            "endpoints wide",
            M,
            "calicoctl get wep -A -o wide",
            (lines("NAMESPACE NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS", *wide),),
            "The pods with an address from Calico; those in the host's network are not among them.",
            find=_split,
        ),
        Step(
            "pod addresses",
            M,
            "kubectl get pod -n kube-system -o wide | grep 172",
            (
                lines(
                    *(
                        rf"{name} 1/1 Running 0 \S+ {re.escape(address)} k8s-w0 <none> <none>"
                        for name, address, _, _ in _SYSTEM_PODS
                    )
                ),
            ),
            within_s=30,
        ),
        Step(
            "process tree", M, "ps axf", _tree(), "The processes of calico-node, under runit.", shown_lines=40
        ),
        Step(
            "first pod",
            M,
            _pod("pod1", W1),
            (lines("pod/pod1 created"),),
            "Add a pod on k8s-w1, then look at the rules of k8s-w0 before and after one is added there.",
        ),
        Step(
            "first pod ready",
            M,
            "kubectl wait --for=condition=Ready pod/pod1 --timeout=60s",
            (lines(".* condition met"),),
        ),
        *_counts("before", lambda _: (lines(r"[1-9]\d*"),), "Before:"),
        Step("second pod", M, _pod("pod2", W0), (lines("pod/pod2 created"),)),
        Step(
            "second pod ready",
            M,
            "kubectl wait --for=condition=Ready pod/pod2 --timeout=60s",
            (lines(".* condition met"),),
        ),
        *_counts(
            "after",
            lambda name: (
                grown("filter_before", 30, "split") if name == "filter" else grown("nat_before", 0),
            ),
            "After: thirty rules more in the filter table (36 where another interface's name begins with the same letter, "
            "for those share a dispatch chain), none in the nat table.",
        ),
        Step(
            "endpoints",
            M,
            "calicoctl get wep -A",
            (
                lines(
                    "NAMESPACE WORKLOAD NODE NETWORKS INTERFACE",
                    r"default pod1 k8s-w1 172\.16\.158\.1/32 calice0906292e2",
                    r"default pod2 k8s-w0 172\.16\.34\.4/32 calibd2348b4f67",
                    *plain,
                ),
            ),
        ),
        Step(
            "chain",
            W0,
            "iptables -v --numeric --table filter --list cali-tw-calibd2348b4f67",
            (only(*chain, *_CHAIN),),
            "The chain towards the new pod. A rule's comment holds the hash by which Felix knows it.",
        ),
        Step(
            "agent names",
            M,
            "kubectl get pod -n kube-system -l k8s-app=calico-node -o name",
            (only(*([r"pod/calico-node-\w+"] * 4)),),
            "What BIRD on k8s-w1 knows:",
        ),
        Step(
            "routes",
            W1,
            f"{_BIRD} show route",
            (
                lines(
                    r"BIRD \S+ ready\.",
                    rf"0\.0\.0\.0/0 via 192\.168\.10\.1 on eth0 \[kernel1 {_CLOCK}\] \* \(10\)",
                    learned("172.16.184.0", "192.168.10.102", "192_168_10_102"),
                    learned("172.16.116.0", "192.168.10.10", "192_168_10_10"),
                    rf"172\.16\.34\.0/24 via 192\.168\.10\.1 on eth0 \[Mesh_192_168_20_100 {_CLOCK} from 192\.168\.20\.100\] "
                    r"\* \(100/\?\) \[i\]",
                    rf"172\.16\.158\.0/24 blackhole \[static1 {_CLOCK}\] \* \(200\)",
                    rf"172\.16\.158\.1/32 dev calice0906292e2 \[kernel1 {_CLOCK}\] \* \(10\)",
                    rf"172\.16\.158\.0/32 dev {{tunnel}} \[direct1 {_CLOCK}\] \* \(240\)",
                    rf"192\.168\.10\.0/24 dev eth0 \[direct1 {_CLOCK}\] \* \(240\)",
                ),
            ),
        ),
        Step(
            "protocols",
            W1,
            f"{_BIRD} show protocols",
            (
                lines(
                    "name proto table state since info",
                    rf"static1 Static master up {_CLOCK}",
                    rf"kernel1 Kernel master up {_CLOCK}",
                    rf"device1 Device master up {_CLOCK}",
                    rf"direct1 Direct master up {_CLOCK}",
                    *(
                        rf"Mesh_{peer} BGP master up {_CLOCK} Established"
                        for peer in ("192_168_10_10", "192_168_20_100", "192_168_10_102")
                    ),
                ),
            ),
        ),
        Step(
            "routes in full",
            W1,
            f"{_BIRD} show route all",
            (
                lines(
                    "Type: BGP unicast univ",
                    "BGP.origin: IGP",
                    "BGP.as_path:",
                    r"BGP.next_hop: 192\.168\.10\.102",
                    "BGP.local_pref: 100",
                    "Kernel.source: 16",
                    "Kernel.metric: 100",
                    r"Kernel.prefsrc: 192\.168\.10\.101",
                ),
            ),
            shown_lines=30,
        ),
        Step(
            "BIRD status",
            W1,
            f"{_BIRD} show status",
            (
                lines(
                    r"BIRD \S+",
                    r"Router ID is 192\.168\.10\.101",
                    r"Current server time is .*",
                    r"Last reboot on .*",
                    r"Last reconfiguration on .*",
                    "Daemon is up and running",
                ),
            ),
        ),
        Step(
            "containers",
            M,
            "kubectl get pod -n kube-system --field-selector spec.nodeName=k8s-m",
            (lines(r"calico-node-\w+ 1/1 Running 0 \S+"),),
            "There is no container runtime to ask for containers; the API knows the node's pods.",
        ),
        Step(
            "BIRD process",
            M,
            "ps -ef | grep bird.cfg",
            (
                lines(
                    r"root \d+ .* bird -R -s /var/run/calico/bird\.ctl -d -c /etc/calico/confd/config/bird\.cfg"
                ),
            ),
        ),
        Step(
            "BIRD configuration file",
            M,
            "find /etc -name bird.cfg",
            (lines("/etc/calico/confd/config/bird\\.cfg"),),
        ),
        Step(
            "BIRD configuration",
            M,
            "cat /etc/calico/confd/config/bird.cfg",
            (
                lines(
                    r"router id 192\.168\.10\.10;",
                    r"protocol bgp Mesh_192_168_20_100 from bgp_template \{{",
                    r"neighbor 192\.168\.20\.100 as 64512;",
                    r"neighbor 192\.168\.10\.101 as 64512;",
                    r"neighbor 192\.168\.10\.102 as 64512;",
                    r"protocol bgp.*|local as 64512;",
                ),
            ),
            shown_lines=150,
        ),
    ]


def facts(*, ipip: bool) -> dict[str, str]:
    """The words that depend on the encapsulation."""
    overhead = 20 if ipip else 50
    return {
        "tunnel": "tunl0" if ipip else r"vxlan.calico",
        "tunnel_mtu": str(plan.NODE_MTU - overhead),
        "ipip_mode": "Always" if ipip else "Never",
        "vxlan_mode": "Never" if ipip else "Always",
    }


@dataclass
class Outcome:
    """What a step gave, after as many tries as it took."""

    step: Step
    command: str
    output: str
    problems: list[str] = field(default_factory=list)
