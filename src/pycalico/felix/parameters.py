"""Felix's parameters: their types and defaults, and the sources that set them.

Sources, strongest first: environment (``FELIX_<NAME>``, any case), the file, the datastore for this host,
the datastore for all, the default. A value that does not parse gives the default and a line in the log; an
empty one counts as not given; ``none`` sets the zero value. Table and rules: Calico v3.28.1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pycalico.dataplane.config import FAILSAFE_IN, FAILSAFE_OUT
from pycalico.felix import inifile, values

log = logging.getLogger(__name__)

DEFAULT_FILE = "/etc/calico/felix.cfg"
_PREFIX = "felix_"


class ParameterError(Exception):
    """A parameter that Felix cannot start without has an unusable value."""


class Parameter(msgspec.Struct, frozen=True):
    """``zero`` is what the value ``none`` means, which a ``required`` one cannot be.

    ``vital``: Felix does not go on with a value that does not parse. ``local``: never taken from the datastore.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    zero: Any = None
    required: bool = False
    vital: bool = False
    local: bool = False


_SWITCHES: dict[str, bool | None] = {
    "Ipv6Support": True,
    "DisableConntrackInvalidCheck": False,
    "RemoveExternalRoutes": True,
    "RouteSyncDisabled": False,
    "IpInIpEnabled": None,
    "VXLANEnabled": None,
    "AllowVXLANPacketsFromWorkloads": False,
    "AllowIPIPPacketsFromWorkloads": False,
    "WireguardEnabled": False,
    "WireguardEnabledV6": False,
    "WireguardHostEncryptionEnabled": False,
    "HealthEnabled": False,
    "PrometheusMetricsEnabled": False,
    "PrometheusGoMetricsEnabled": True,
    "PrometheusProcessMetricsEnabled": True,
    "PrometheusWireGuardMetricsEnabled": True,
    "EndpointReportingEnabled": False,
    "UsageReportingEnabled": True,
    "BPFEnabled": False,
}
_NUMBERS = {
    "ConnectionPruningPerSecond": 100,
    "DeviceRouteProtocol": 3,
    "IpInIpMtu": 0,
    "VXLANMTU": 0,
    "VXLANMTUV6": 0,
    "VXLANPort": 4789,
    "VXLANVNI": 4096,
    "WireguardListeningPort": 51820,
    "WireguardListeningPortV6": 51821,
    "WireguardRoutingRulePriority": 99,
    "WireguardMTU": 0,
    "WireguardMTUV6": 0,
}
_PORTS = {"HealthPort": 9099, "PrometheusMetricsPort": 9091}
_SECONDS = {
    "IptablesRefreshInterval": 180.0,
    "NftablesRefreshInterval": 180.0,
    "IptablesPostWriteCheckIntervalSecs": 5.0,
    "IptablesLockTimeoutSecs": 0.0,
    "IptablesLockProbeIntervalMillis": 50.0,
    "RouteRefreshInterval": 90.0,
    "InterfaceRefreshInterval": 90.0,
    "IpsetsRefreshInterval": 10.0,
    "ReportingIntervalSecs": 30.0,
    "ReportingTTLSecs": 90.0,
    "EndpointReportingDelaySecs": 1.0,
    "DataplaneWatchdogTimeout": 90.0,
    "NetlinkTimeoutSecs": 10.0,
    "WireguardPersistentKeepAlive": 0.0,
}
_TEXTS = {
    "VXLANTunnelMACAddr": "",
    "VXLANTunnelMACAddrV6": "",
    "EndpointStatusPathPrefix": "",
    "IptablesLockFilePath": "/run/xtables.lock",
    "LogFilePath": "/var/log/calico/felix.log",
    "ClusterGUID": "",
    "ClusterType": "",
    "CalicoVersion": "",
}
_ADDRESSES = {
    "NATOutgoingAddress": 4,
    "DeviceRouteSourceAddress": 4,
    "DeviceRouteSourceAddressIPv6": 6,
    "IpInIpTunnelAddr": 4,
    "IPv4VXLANTunnelAddr": 4,
    "IPv6VXLANTunnelAddr": 6,
}
#: One of several words; the first is the default.
_CHOICES = {
    "IptablesBackend": ("auto", "legacy", "nft"),
    "ServiceLoopPrevention": ("Drop", "Reject", "Disabled"),
    "WorkloadSourceSpoofing": ("Disabled", "Any"),
    "FloatingIPs": ("Disabled", "Enabled"),
    "RouteSource": ("CalicoIPAM", "WorkloadIPs"),
    "NFTablesMode": ("Auto", "Enabled", "Disabled"),
    "ConnectionPruning": ("Disabled", "Enabled"),
    "ProgramClusterRoutes": ("Disabled", "Enabled"),
    "LogSeverityScreen": ("INFO", "DEBUG", "WARNING", "ERROR", "FATAL"),
}
_VITAL_CHOICES = {
    "ChainInsertMode": ("insert", "append"),
    "DefaultEndpointToHostAction": ("DROP", "RETURN", "ACCEPT"),
    "IptablesFilterAllowAction": ("ACCEPT", "RETURN"),
    "IptablesMangleAllowAction": ("ACCEPT", "RETURN"),
    "IptablesFilterDenyAction": ("DROP", "REJECT"),
    "NftablesFilterAllowAction": ("ACCEPT", "RETURN"),
    "NftablesMangleAllowAction": ("ACCEPT", "RETURN"),
    "NftablesFilterDenyAction": ("DROP", "REJECT"),
}
_MASK = 0xFFFF0000
_OTHERS = (
    Parameter(
        "DatastoreType",
        values.one_of("kubernetes", "etcdv3"),
        "etcdv3",
        required=True,
        vital=True,
        local=True,
    ),
    Parameter("EtcdAddr", values.authority, "127.0.0.1:2379", "", local=True),
    Parameter("EtcdScheme", values.one_of("http", "https"), "http", "", local=True),
    Parameter("EtcdEndpoints", values.items, (), (), local=True),
    *(Parameter(f"Etcd{name}File", values.text_line, "", "", local=True) for name in ("Key", "Cert", "Ca")),
    Parameter("FelixHostname", values.host_name, "", "", required=True, vital=True, local=True),
    Parameter("IptablesMarkMask", values.mark_mask, _MASK, required=True, vital=True),
    Parameter("NftablesMarkMask", values.mark_mask, _MASK, required=True, vital=True),
    Parameter("MaxIpsetSize", values.integer, 1048576, required=True),
    Parameter("InterfacePrefix", values.interface_prefixes, ("cali",), required=True, vital=True),
    Parameter("InterfaceExclude", values.interface_patterns, ("kube-ipvs0",), ()),
    Parameter("MTUIfacePattern", values.pattern, r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)", ""),
    Parameter("IptablesNATOutgoingInterfaceFilter", values.interface_filter, "", ""),
    Parameter("WireguardInterfaceName", values.interface_filter, "wireguard.cali", required=True),
    Parameter("WireguardInterfaceNameV6", values.interface_filter, "wg-v6.cali", required=True),
    Parameter("LogPrefix", values.log_prefix, "calico-packet", ""),
    Parameter("FailsafeInboundHostPorts", values.failsafe_ports, FAILSAFE_IN, (), vital=True),
    Parameter("FailsafeOutboundHostPorts", values.failsafe_ports, FAILSAFE_OUT, (), vital=True),
    Parameter("KubeNodePortRanges", values.port_ranges, ((30000, 32767),), ()),
    Parameter("NATPortRange", values.port_range, None),
    Parameter("RouteTableRanges", values.table_ranges, None, vital=True),
    Parameter("RouteTableRange", values.table_range, None, vital=True),
    Parameter("ExternalNodesCIDRList", values.cidrs_v4, (), (), vital=True),
    Parameter("FeatureDetectOverride", values.switches, {}, {}),
    Parameter("HealthTimeoutOverrides", values.timeouts, {}, {}),
    Parameter("HealthHost", values.host_address, "localhost", ""),
    Parameter("PrometheusMetricsHost", values.host_address, "", ""),
    Parameter("MetadataAddr", values.host_name, "127.0.0.1", "", vital=True),
    Parameter("MetadataPort", values.port, 8775, 0, vital=True),
    Parameter("OpenstackRegion", values.region, "", "", vital=True),
)


def _choice(name: str, words: tuple[str, ...], *, vital: bool) -> Parameter:
    return Parameter(name, values.one_of(*words), words[0], "", required=vital, vital=vital)


TABLE: dict[str, Parameter] = {
    parameter.name.lower(): parameter
    for parameter in (
        *(
            Parameter(name, values.boolean, default, None if default is None else False)
            for name, default in _SWITCHES.items()
        ),
        *(Parameter(name, values.integer, default, 0) for name, default in _NUMBERS.items()),
        *(Parameter(name, values.port, default, 0) for name, default in _PORTS.items()),
        *(Parameter(name, values.number, default, 0.0) for name, default in _SECONDS.items()),
        *(Parameter(name, values.text_line, default, "") for name, default in _TEXTS.items()),
        *(Parameter(name, values.address(family), "", "") for name, family in _ADDRESSES.items()),
        *(_choice(name, words, vital=False) for name, words in _CHOICES.items()),
        *(_choice(name, words, vital=True) for name, words in _VITAL_CHOICES.items()),
        *_OTHERS,
    )
}
#: A change of these needs no restart: nothing that is programmed depends on them.
HARMLESS = frozenset({"CalicoVersion", "ClusterGUID", "ClusterType", "HealthTimeoutOverrides"})


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name[len(_PREFIX) :]: value for name, value in environ.items() if name.lower().startswith(_PREFIX)
    }


def from_file(path: str) -> dict[str, str]:
    """A missing file is fine. Raises ParameterError for one that does not parse."""
    try:
        return inifile.parse(Path(path).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ParameterError(f"cannot read {path}: {error}") from error


class Parameters:
    """The outcome. ``weigh`` takes sources from the weakest to the strongest."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def differences(self, other: Parameters) -> list[str]:
        return [name for name, value in self._values.items() if other[name] != value]


def weigh(
    *,
    everywhere: Mapping[str, str],
    here: Mapping[str, str],
    file: Mapping[str, str],
    environ: Mapping[str, str],
) -> Parameters:
    """Raises ParameterError when a vital value is unusable, even where a stronger source has a good one."""
    found = {parameter.name: parameter.default for parameter in TABLE.values()}
    for source, given in (
        ("datastore", everywhere),
        ("datastore (per host)", here),
        ("file", file),
        ("environment", environ),
    ):
        for name, text in given.items():
            parameter = TABLE.get(name.lower())
            if parameter is None or not text or (parameter.local and source.startswith("datastore")):
                continue
            found[parameter.name] = _parsed(parameter, text, source)
    return Parameters(found)


def _parsed(parameter: Parameter, text: str, source: str) -> Any:
    name = parameter.name
    if text.lower() == "none":
        if parameter.required:
            raise ParameterError(f"{name}={text} from the {source}: it cannot be set to none")
        return parameter.zero
    try:
        return parameter.parse(text)
    except (ValueError, re.error) as error:
        if parameter.vital:
            raise ParameterError(f"{name}={text!r} from the {source} is not valid: {error}") from error
        log.warning(
            "%s=%r from the %s is not valid (%s); using the default %r",
            name,
            text,
            source,
            error,
            parameter.default,
        )
        return parameter.default
