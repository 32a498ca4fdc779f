"""The kinds served without a CustomResourceDefinition: one row each.

Facts (names, short names, sub-resources) as a kube-apiserver lists them in its discovery documents.
"""

from __future__ import annotations

from typing import Any

import msgspec

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Resource(msgspec.Struct, frozen=True, eq=False):
    """One served resource in one version. ``schema`` and ``columns`` come from a CRD, else None."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    generation: bool = False  # metadata.generation counts changes of the desired state
    extra: tuple[tuple[str, str], ...] = ()  # further sub-resources: (name, kind)
    verbs: tuple[str, ...] = ALL_VERBS
    custom: bool = False
    singular: str = ""
    list_kind: str = ""
    schema: dict[str, Any] | None = None
    columns: tuple[dict[str, Any], ...] | None = None
    selectable: tuple[str, ...] = ()  # fields beyond metadata.name and metadata.namespace
    storage_version: str = ""

    @property
    def id(self) -> str:
        """``pods``, ``deployments.apps``: the key of the store and the name in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def wire_list_kind(self) -> str:
        return self.list_kind or self.kind + "List"

    @property
    def wire_singular(self) -> str:
        return self.singular or self.kind.lower()


_POD_FIELDS = ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
               "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName")  # fmt: skip
_EVENT_FIELDS = (
    "reason", "reportingComponent", "source", "type",
    *(f"involvedObject.{field}" for field in
      ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")),
)  # fmt: skip
_RBAC = "rbac.authorization.k8s.io"
_CREATE = ("create",)
R = Resource

BUILT_IN: tuple[Resource, ...] = (
    R("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",), status=True,
      extra=(("finalize", "Namespace"),), selectable=("status.phase",)),
    R("", "v1", "nodes", "Node", namespaced=False, short=("no",), status=True,
      selectable=("spec.unschedulable",)),
    R("", "v1", "pods", "Pod", short=("po",), categories=("all",), status=True, selectable=_POD_FIELDS,
      extra=(("binding", "Binding"), ("eviction", "Eviction"))),
    R("", "v1", "services", "Service", short=("svc",), categories=("all",), status=True,
      selectable=("spec.clusterIP", "spec.type")),
    R("", "v1", "endpoints", "Endpoints", short=("ep",)),
    R("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",), extra=(("token", "TokenRequest"),)),
    R("", "v1", "configmaps", "ConfigMap", short=("cm",)),
    R("", "v1", "secrets", "Secret", selectable=("type",)),
    R("", "v1", "events", "Event", short=("ev",), selectable=_EVENT_FIELDS),
    R("", "v1", "limitranges", "LimitRange", short=("limits",)),
    R("", "v1", "resourcequotas", "ResourceQuota", short=("quota",), status=True),
    R("", "v1", "replicationcontrollers", "ReplicationController", short=("rc",), categories=("all",),
      status=True, scale=True, generation=True),
    R("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",), status=True),
    R("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",), status=True),
    R("apps", "v1", "daemonsets", "DaemonSet", short=("ds",), categories=("all",), status=True,
      generation=True),
    R("apps", "v1", "deployments", "Deployment", short=("deploy",), categories=("all",), status=True,
      scale=True, generation=True),
    R("apps", "v1", "replicasets", "ReplicaSet", short=("rs",), categories=("all",), status=True,
      scale=True, generation=True, selectable=("status.replicas",)),
    R("apps", "v1", "statefulsets", "StatefulSet", short=("sts",), categories=("all",), status=True,
      scale=True, generation=True),
    R("apps", "v1", "controllerrevisions", "ControllerRevision"),
    R("batch", "v1", "jobs", "Job", categories=("all",), status=True, generation=True),
    R("batch", "v1", "cronjobs", "CronJob", short=("cj",), categories=("all",), status=True,
      generation=True),
    R("coordination.k8s.io", "v1", "leases", "Lease"),
    R("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", generation=True),
    R("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", short=("netpol",), generation=True),
    R("networking.k8s.io", "v1", "ingresses", "Ingress", short=("ing",), status=True, generation=True),
    R("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False, generation=True),
    R("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",), status=True,
      generation=True),
    R("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False, short=("pc",),
      generation=True),
    R("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False, short=("sc",)),
    R("storage.k8s.io", "v1", "csidrivers", "CSIDriver", namespaced=False),
    R(_RBAC, "v1", "roles", "Role"),
    R(_RBAC, "v1", "rolebindings", "RoleBinding"),
    R(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    R(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    R("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition",
      namespaced=False, short=("crd", "crds"), categories=("api-extensions",), status=True,
      generation=True),
    R("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False, status=True,
      categories=("api-extensions",)),
    R("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations",
      "ValidatingWebhookConfiguration", namespaced=False, generation=True),
    R("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations",
      "MutatingWebhookConfiguration", namespaced=False, generation=True),
    R("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False, verbs=_CREATE),
    R("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False,
      verbs=_CREATE),
    R("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview",
      namespaced=False, verbs=_CREATE),
    R("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False,
      verbs=_CREATE),
    R("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview",
      namespaced=False, verbs=_CREATE),
)  # fmt: skip

BY_ID = {resource.id: resource for resource in BUILT_IN}
CRD = BY_ID["customresourcedefinitions.apiextensions.k8s.io"]
NAMESPACE = BY_ID["namespaces"]
POD = BY_ID["pods"]
NODE = BY_ID["nodes"]
SERVICE = BY_ID["services"]
SERVICE_ACCOUNT = BY_ID["serviceaccounts"]
