"""v3 metadata inside a CRD object.

Kubernetes keeps name, namespace, revision and uid; all else lies as JSON in one annotation, so that labels of
v3 objects do not act on the CRD object. Labels and annotations that are Calico's own stand on both.
"""

from __future__ import annotations

import msgspec

from pycalico.api.meta import API_VERSION, CRD_API_VERSION, ObjectMeta, OwnerReference, R
from pycalico.base import shapes
from pycalico.datastore.kubernetes.convert import uid

ANNOTATION = "projectcalico.org/metadata"
#: IPAM's records are written without metadata of their own.
_IPAM = ("BlockAffinity", "IPAMBlock", "IPAMConfig", "IPAMHandle")
_OURS = ("projectcalico.org/", "operator.tigera.io/")


def is_ours(key: str) -> bool:
    return any(mark in key for mark in _OURS)


def to_crd(resource: R) -> R:
    """A copy of ``resource`` in the form that is written to the API server."""
    meta = resource.metadata
    kept = ObjectMeta() if resource.kind in _IPAM else meta
    kept = msgspec.structs.replace(
        kept,
        name="",
        namespace="",
        uid="",
        resource_version="",
        owner_references=[_to_crd_owner(owner) for owner in kept.owner_references],
    )
    # Upstream's encoder always writes creationTimestamp.
    stored = {"creationTimestamp": None} | msgspec.to_builtins(kept)
    annotations = {key: value for key, value in meta.annotations.items() if is_ours(key)}
    annotations[ANNOTATION] = msgspec.json.encode(stored).decode()
    written = ObjectMeta(
        name=meta.name,
        namespace=meta.namespace,
        resource_version=meta.resource_version,
        uid=uid.reverse(meta.uid) if meta.uid else "",
        labels={key: value for key, value in meta.labels.items() if is_ours(key)},
        annotations=annotations,
    )
    return msgspec.structs.replace(resource, api_version=CRD_API_VERSION, metadata=written)


def from_crd(resource: R) -> R:
    """Restores the v3 form, in place. Raises ValueError when the annotation is not JSON metadata."""
    real = resource.metadata
    resource.api_version = API_VERSION
    real.uid = uid.reverse(real.uid) if real.uid else ""
    text = real.annotations.pop(ANNOTATION, None)
    if text is None:
        real.generation = 0
        return resource
    meta = shapes.decode(text, ObjectMeta)
    meta.name, meta.namespace = real.name, real.namespace
    meta.uid, meta.resource_version = real.uid, real.resource_version
    meta.labels = {**{k: v for k, v in real.labels.items() if is_ours(k)}, **meta.labels}
    meta.annotations = {**{k: v for k, v in real.annotations.items() if is_ours(k)}, **meta.annotations}
    meta.creation_timestamp = meta.creation_timestamp or real.creation_timestamp
    meta.owner_references = [_from_crd_owner(owner) for owner in meta.owner_references]
    resource.metadata = meta
    return resource


def _to_crd_owner(owner: OwnerReference) -> OwnerReference:
    if owner.api_version != API_VERSION:
        return owner
    return msgspec.structs.replace(owner, api_version=CRD_API_VERSION, uid=uid.reverse(owner.uid))


def _from_crd_owner(owner: OwnerReference) -> OwnerReference:
    if owner.api_version != CRD_API_VERSION:
        return owner
    return msgspec.structs.replace(owner, api_version=API_VERSION, uid=uid.reverse(owner.uid))
