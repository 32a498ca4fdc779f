"""Project Calico for Kubernetes networking and network policy, in Python.

Rooms are stacked, and each imports only from the storeys below it (docs/architecture.md draws them):
base, reconcile and kernel, api, datastore, calc / ipam / syncer, dataplane / bgp, the applications, lab.
"""

__version__ = "0.1.0"

#: The Calico release whose formats, names and messages this package speaks.
CALICO_VERSION = "v3.28.1"
