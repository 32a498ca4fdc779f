"""The Kubernetes datastore: CRDs of crd.projectcalico.org/v1, and kinds derived from core objects.

``access`` and ``rest`` are a small Kubernetes client that other rooms may use for core objects;
``client`` is the datastore.Client over it, made of one store per kind; ``convert`` is pure.
"""
