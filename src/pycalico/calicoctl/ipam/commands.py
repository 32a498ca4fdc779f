"""The commands of ``calicoctl ipam`` and how each is called."""

from __future__ import annotations

from pycalico.calicoctl.commands import CONFIG, MISMATCH, Command, group
from pycalico.calicoctl.syntax import Form, Option, Syntax

_IP_HELP = "Address to look up."

SHOW = Command(
    "ipam.show:run",
    Syntax(
        usage="""Usage:
  calicoctl ipam show [--ip=<IP> | --show-blocks | --show-borrowed | --show-configuration] [--config=<CONFIG>] [--allow-version-mismatch]""",
        summary="Show how the pools are used, or who holds an address.",
        options=(
            Option("--ip", _IP_HELP, value="<IP>"),
            Option("--show-blocks", "Show the blocks of each pool as well."),
            Option("--show-borrowed", "Show addresses used by another node than the block's owner."),
            Option("--show-configuration", "Show the configuration."),
            CONFIG,
            MISMATCH,
        ),
        forms=(Form(one_of=("--ip", "--show-blocks", "--show-borrowed", "--show-configuration")),),
    ),
)
CHECK = Command(
    "ipam.check:run",
    Syntax(
        usage="""Usage:
  calicoctl ipam check [--config=<CONFIG>] [--show-all-ips] [--show-problem-ips] [-o <FILE>] [--allow-version-mismatch]""",
        summary="Compare what is allocated with what is in use.",
        options=(
            Option("--output", "Write a report for ipam release to this file.", short="-o", value="<FILE>"),
            Option("--show-all-ips", "Show every address."),
            Option("--show-problem-ips", "Show leaked addresses and those without an allocation."),
            Option(
                "--repair", "Show how to repair what was found, and do it once agreed (not in upstream's)."
            ),
            Option("--yes", "Agree to the repair without being asked (not in upstream's)."),
            CONFIG,
            MISMATCH,
        ),
    ),
)
RELEASE = Command(
    "ipam.release:run",
    Syntax(
        usage="""Usage:
  calicoctl ipam release [--ip=<IP>] [--from-report=<REPORT>]... [--config=<CONFIG>] [--force] [--allow-version-mismatch]""",
        summary="Release an address, or what reports of ipam check show as leaked.",
        options=(
            Option("--ip", "Address to release.", value="<IP>"),
            Option(
                "--from-report",
                "Release what leaked according to this report; with several, according to all of them.",
                value="<REPORT>",
                repeats=True,
            ),
            Option(
                "--force", "Do so although the datastore is not locked or the report is of another version."
            ),
            CONFIG,
            MISMATCH,
        ),
    ),
)
CONFIGURE = Command(
    "ipam.configure:run",
    Syntax(
        usage="""Usage:
  calicoctl ipam configure --strictaffinity=<true/false> [--config=<CONFIG>] [--allow-version-mismatch]""",
        summary="Change the configuration.",
        options=(
            Option("--strictaffinity", "Whether nodes may not borrow addresses.", value="<true/false>"),
            CONFIG,
            MISMATCH,
        ),
        forms=(Form(needs=("--strictaffinity",)),),
    ),
)
SPLIT = Command(
    "ipam.split:run",
    Syntax(
        usage="""Usage:
  calicoctl ipam split <NUMBER> [--cidr=<CIDR>] [--name=<POOL_NAME>] [--config=<CONFIG>] [--allow-version-mismatch]""",
        summary="Replace a pool by smaller ones; NUMBER is a power of two.",
        options=(
            Option("--cidr", "CIDR of the pool.", value="<CIDR>"),
            Option("--name", "Name of the pool.", value="<POOL_NAME>"),
            CONFIG,
            MISMATCH,
        ),
        forms=(Form(words=("NUMBER",)),),
    ),
)

GROUP = group(
    "ipam",
    "Look after IP address management.",
    {"check": CHECK, "release": RELEASE, "show": SHOW, "configure": CONFIGURE, "split": SPLIT},
)
