"""One client interface over two datastores: Kubernetes (CRDs and views of core objects) and etcd v3.

``client`` is the interface, ``open`` makes a client from the environment or a calicoctl.cfg, ``memory`` is a
client without a server for tests and dry runs. Rooms above use ``Client`` and the typed errors only.
"""
