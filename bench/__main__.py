"""``python -m bench [NAME...]``: all benchmarks, or those named."""

import importlib
import os
import sys

from bench import world

NAMES = (
    "bgp", "calicoctl", "cni", "controllers", "felix", "ipam", "ipamcheck", "leaks", "node", "packets", "scale", "watch",
)  # fmt: skip


def main() -> int:
    wanted = sys.argv[1:] or list(NAMES)
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        print(
            f"bench: no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr
        )
        return 2
    if os.geteuid() != 0:
        print("bench: namespaces need root: run this as root", file=sys.stderr)
        return 1
    load = os.getloadavg()
    if not world.is_inside():
        print(f"{os.cpu_count()} cores; load before: {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}", flush=True)
    for name in wanted:
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
