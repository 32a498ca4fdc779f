"""calico-kube-controllers: keeps Calico's records true to Kubernetes.

The node controller (IPAM garbage collection, clean-up after deleted nodes, automatic host endpoints, labels)
works for both datastores; the mirrors (policies, namespaces, service accounts, pods) only for etcd. Decisions
(``leaks``, ``ipamview``, ``runconfig``, ``hostendpoints``) are pure; ``main`` wires them to threads.
"""
