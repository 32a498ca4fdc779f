"""The commands of ``calicoctl node`` and how each is called."""

from __future__ import annotations

from pycalico.calicoctl.commands import CONFIG, MISMATCH, Command, group
from pycalico.calicoctl.syntax import Option, Syntax

_LOG_DIR = Option("--log-dir", "Directory of Calico's logs.", value="<LOG_DIR>", default="/var/log/calico")

RUN = Command(
    "node.run:run",
    Syntax(
        usage="""Usage:
  calicoctl node run [--ip=<IP>] [--ip6=<IP6>] [--as=<AS_NUM>]
                     [--name=<NAME>]
                     [--ip-autodetection-method=<IP_AUTODETECTION_METHOD>]
                     [--ip6-autodetection-method=<IP6_AUTODETECTION_METHOD>]
                     [--log-dir=<LOG_DIR>]
                     [--node-image=<DOCKER_IMAGE_NAME>]
                     [--backend=(bird|none)]
                     [--config=<CONFIG>]
                     [--felix-config=<CONFIG>]
                     [--no-default-ippools]
                     [--dryrun]
                     [--init-system]
                     [--allow-version-mismatch]""",
        summary="Start the node's container with docker.",
        options=(
            Option("--name", "The node's name (otherwise the host's).", value="<NAME>"),
            Option("--as", "AS number of this node.", value="<AS_NUM>"),
            Option("--ip", "IPv4 address of this node, or autodetect.", value="<IP>"),
            Option("--ip6", "IPv6 address of this node, or autodetect.", value="<IP6>"),
            Option(
                "--ip-autodetection-method",
                "first-found, can-reach=HOST, interface=REGEX,... or skip-interface=REGEX,...",
                value="<IP_AUTODETECTION_METHOD>",
                default="first-found",
            ),
            Option(
                "--ip6-autodetection-method",
                "The same for IPv6.",
                value="<IP6_AUTODETECTION_METHOD>",
                default="first-found",
            ),
            _LOG_DIR,
            Option(
                "--node-image",
                "Image to run.",
                value="<DOCKER_IMAGE_NAME>",
                default="calico/node:latest",
            ),
            Option("--backend", "bird, or none for policy alone.", value="(bird|none)", default="bird"),
            Option("--dryrun", "Show the command instead of running it."),
            Option("--init-system", "Run in the foreground, for an init system."),
            Option("--no-default-ippools", "Do not create pools where there are none."),
            CONFIG,
            Option("--felix-config", "Felix's configuration file.", value="<CONFIG>"),
            MISMATCH,
        ),
    ),
)
STATUS = Command(
    "node.status:run",
    Syntax(
        usage="Usage:\n  calicoctl node status [--allow-version-mismatch]",
        summary="Show whether Calico runs on this host, and its BGP sessions.",
        options=(MISMATCH,),
    ),
)
DIAGS = Command(
    "node.diags:run",
    Syntax(
        usage="Usage:\n  calicoctl node diags [--log-dir=<LOG_DIR>] [--allow-version-mismatch]",
        summary="Collect logs and the state of this host's network into one archive.",
        options=(_LOG_DIR, MISMATCH),
    ),
)
CHECKSYSTEM = Command(
    "node.checksystem:run",
    Syntax(
        usage="Usage:\n  calicoctl node checksystem [--kernel-config=<kernel-config>] [--allow-version-mismatch]",
        summary="Check that this host's kernel has what Calico needs.",
        options=(
            Option("--kernel-config", "Kernel configuration to read.", short="-f", value="<kernel-config>"),
            MISMATCH,
        ),
    ),
)

GROUP = group(
    "node",
    "Run and examine this node.",
    {"run": RUN, "status": STATUS, "diags": DIAGS, "checksystem": CHECKSYSTEM},
)
