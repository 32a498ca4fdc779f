"""The whole plugin in one process: ``python -m pycalico.cni PROGRAM [FLAG...]``; PROGRAM's name says which one."""

import sys


def main() -> None:
    """``sys.argv`` is that of the plugin."""
    if sys.argv[0].rpartition("/")[2] == "calico-ipam":
        from pycalico.cni.ipam_plugin import main as run  # noqa: PLC0415 - each loads what it needs
    else:
        from pycalico.cni.plugin import main as run  # noqa: PLC0415
    run()


if __name__ == "__main__":
    del sys.argv[0]
    main()
