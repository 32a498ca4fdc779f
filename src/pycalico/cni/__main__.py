"""The whole plugin in one process: ``python -m pycalico.cni PROGRAM [FLAG...]``; PROGRAM's name says which one."""

import sys

if __name__ == "__main__":
    del sys.argv[0]
    if sys.argv[0].rpartition("/")[2] == "calico-ipam":
        from pycalico.cni.ipam_plugin import main
    else:
        from pycalico.cni.plugin import main
    main()
