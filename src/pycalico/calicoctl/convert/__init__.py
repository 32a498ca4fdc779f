"""``calicoctl convert``: manifests of Calico v1, and Kubernetes network policies, to projectcalico.org/v3.

``legacy`` holds the structs of v1, ``faults`` what they may hold, ``resources`` and ``rules`` turn them into v3.
"""
