"""What upstream calls the types of fields, which refusals name; and which fields have a decoder of their own.

Keys are wire names, where needed after the struct's name. Facts of v3.28.1, observed and read.
"""

from __future__ import annotations

#: Wire names of the fields that hold a duration, wherever they appear.
DURATIONS = frozenset(
    [
        "bpfKubeProxyMinSyncPeriod",
        "dataplaneWatchdogTimeout",
        "debugSimulateCalcGraphHangAfter",
        "debugSimulateDataplaneApplyDelay",
        "debugSimulateDataplaneHangAfter",
        "endpointReportingDelay",
        "etcdV3CompactionPeriod",
        "interfaceRefreshInterval",
        "ipsetsRefreshInterval",
        "iptablesLockProbeInterval",
        "iptablesLockTimeout",
        "iptablesPostWriteCheckInterval",
        "iptablesRefreshInterval",
        "leakGracePeriod",
        "maxRestartTime",
        "netlinkTimeout",
        "nodeMeshMaxRestartTime",
        "reconcilerPeriod",
        "reportingInterval",
        "reportingTTL",
        "routeRefreshInterval",
        "timeout",
        "usageReportingInitialDelay",
        "usageReportingInterval",
        "wireguardKeepAlive",
        "xdpRefreshInterval",
    ]
)
#: Integers that are not Go's ``int``: name of the type, least and most value.
SIZED = {
    "listenPort": ("uint16", 0, 65535), "port": ("uint16", 0, 65535), "hostPort": ("uint16", 0, 65535),
    "ttlSecurity": ("uint8", 0, 255), "numAllowedLocalASNumbers": ("int32", -(2**31), 2**31 - 1),
    "iptablesMarkMask": ("uint32", 0, 2**32 - 1), "nftablesMarkMask": ("uint32", 0, 2**32 - 1),
    "updatePeriodSeconds": ("uint32", 0, 2**32 - 1),
    "debugProfilePort": ("int32", -(2**31), 2**31 - 1), "maxBlocksPerHost": ("int32", -(2**31), 2**31 - 1),
    "deletionGracePeriodSeconds": ("int64", -(2**63), 2**63 - 1), "generation": ("int64", -(2**63), 2**63 - 1),
}  # fmt: skip
INT = ("int", -(2**63), 2**63 - 1)
#: Texts that are a type of their own.
NAMED = {
    "allowedUses": "v3.IPPoolAllowedUse",
    "awsSrcDstCheck": "v3.AWSSrcDstCheckOption",
    "bindMode": "v3.BindMode",
    "bpfConnectTimeLoadBalancing": "v3.BPFConnectTimeLBType",
    "bpfHostNetworkedNATWithoutCTLB": "v3.BPFHostNetworkedNATType",
    "floatingIPs": "v3.FloatingIPType",
    "ipipMode": "v3.IPIPMode",
    "iptablesBackend": "v3.IptablesBackend",
    "matchOperator": "v3.BGPFilterMatchOperator",
    "performanceHints": "v3.PolicyPerformanceHint",
    "source": "v3.BGPFilterMatchSource",
    "sourceAddress": "v3.SourceAddress",
    "types": "v3.PolicyType",
    "vxlanMode": "v3.VXLANMode",
    "windowsManageFirewallRules": "v3.WindowsManageFirewallRulesMode",
    "BGPFilterRuleV4.action": "v3.BGPFilterAction",
    "BGPFilterRuleV6.action": "v3.BGPFilterAction",
    "IPIPConfiguration.mode": "v3.EncapMode",
    "ObjectMeta.uid": "types.UID",
    "OwnerReference.uid": "types.UID",
    "Rule.action": "v3.Action",
}
#: Structs that are several upstream: one for each field that holds it.
STRUCTS = {
    "exportV4": "BGPFilterRuleV4",
    "exportV6": "BGPFilterRuleV6",
    "importV4": "BGPFilterRuleV4",
    "importV6": "BGPFilterRuleV6",
    "policy": "PolicyControllerConfig",
    "routeTableRanges": "RouteTableIDRange",
    "serviceAccount": "ServiceAccountControllerConfig",
    "serviceClusterIPs": "ServiceClusterIPBlock",
    "serviceExternalIPs": "ServiceExternalIPBlock",
    "serviceLoadBalancerIPs": "ServiceLoadBalancerIPBlock",
    "workloadEndpoint": "WorkloadEndpointControllerConfig",
    "ControllersConfig.namespace": "NamespaceControllerConfig",
}
#: Structs that are of another package than resources.
PACKAGES = {"CalicoAPIConfig": "apiconfig", "CalicoAPIConfigSpec": "apiconfig"}
#: Structs that are Kubernetes' own.
KUBERNETES = frozenset(
    ("ListMeta", "ManagedFieldsEntry", "ObjectMeta", "OwnerReference", "SecretKeySelector")
)
#: Lists that are a type of their own.
LISTS = {"routeTableRanges": "v3.RouteTableRanges"}
#: Fields, or all of a struct, for which upstream's decoder takes nothing but a text.
EXACT = frozenset(("SecretKeySelector.name", "CalicoAPIConfig", "CalicoAPIConfigSpec"))
#: Times in RFC 3339.
TIMES = frozenset(("creationTimestamp", "deletionTimestamp", "time"))


def named(struct: str, field: str, names: dict[str, str]) -> str:
    """What ``names`` has for the field of the struct, or for the field wherever it is; empty when nothing."""
    return names.get(f"{struct}.{field}") or names.get(field, "")
