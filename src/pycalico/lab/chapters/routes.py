"""What BIRD knows and how it runs."""

from __future__ import annotations

import re

from pycalico.lab.checks import lines, only
from pycalico.lab.step import CLOCK, W1, M, Step


def steps() -> list[Step]:
    peers = r"via {0} on eth0 \[Mesh_{1} {2}.*\] \* \(100/.*\) \[i\]"

    def learned(block: str, via: str, peer: str) -> str:
        return rf"{re.escape(block)}/24 " + peers.format(re.escape(via), peer, CLOCK)

    return [
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
            "birdcl show route",
            (
                lines(
                    r"BIRD \S+ ready\.",
                    rf"0\.0\.0\.0/0 via 192\.168\.10\.1 on eth0 \[kernel1 {CLOCK}\] \* \(10\)",
                    learned("172.16.184.0", "192.168.10.102", "192_168_10_102"),
                    learned("172.16.116.0", "192.168.10.10", "192_168_10_10"),
                    rf"172\.16\.34\.0/24 via 192\.168\.10\.1 on eth0 \[Mesh_192_168_20_100 {CLOCK} from 192\.168\.20\.100\] "
                    r"\* \(100/\?\) \[i\]",
                    rf"172\.16\.158\.0/24 blackhole \[static1 {CLOCK}\] \* \(200\)",
                    rf"172\.16\.158\.1/32 dev calice0906292e2 \[kernel1 {CLOCK}\] \* \(10\)",
                    rf"172\.16\.158\.0/32 dev {{tunnel}} \[direct1 {CLOCK}\] \* \(240\)",
                    rf"192\.168\.10\.0/24 dev eth0 \[direct1 {CLOCK}\] \* \(240\)",
                ),
            ),
        ),
        Step(
            "protocols",
            W1,
            "birdcl show protocols",
            (
                lines(
                    "name proto table state since info",
                    rf"static1 Static master up {CLOCK}",
                    rf"kernel1 Kernel master up {CLOCK}",
                    rf"device1 Device master up {CLOCK}",
                    rf"direct1 Direct master up {CLOCK}",
                    *(
                        rf"Mesh_{peer} BGP master up {CLOCK} Established"
                        for peer in ("192_168_10_10", "192_168_20_100", "192_168_10_102")
                    ),
                ),
            ),
        ),
        Step(
            "routes in full",
            W1,
            "birdcl show route all",
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
            "birdcl show status",
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
