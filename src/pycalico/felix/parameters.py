"""Felix's parameters: their types and defaults, and the sources that set them.

Sources, strongest first: environment (``FELIX_<NAME>``, any case), the file, the datastore for this host,
the datastore for all, the default. A value that does not parse gives the default and a line in the log; an
empty one counts as not given; ``none`` sets the zero value. Table and rules: Calico v3.28.1.
"""

from __future__ import annotations

import configparser
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pycalico.dataplane.config import FAILSAFE_IN, FAILSAFE_OUT, FailsafePort

log = logging.getLogger(__name__)

DEFAULT_FILE = "/etc/calico/felix.cfg"
_PREFIX = "felix_"
#: The kernel counts tables in 32 bits; default, main and local are 253 to 255.
_TABLES_LAST = 0xFFFFFFFF
_TABLES_RESERVED = range(253, 256)


class ParameterError(Exception):
    """A parameter that Felix cannot start without has an unusable value."""


def _boolean(text: str) -> bool:
    lower = text.lower()
    if lower in ("true", "1", "yes", "y", "t"):
        return True
    if lower in ("false", "0", "no", "n", "f"):
        return False
    raise ValueError("use true or false")


def _number(text: str) -> int:
    return int(text, 0)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _one_of(*options: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for option in options:
            if option.lower() == text.lower():
                return option
        raise ValueError(f"use one of {', '.join(options)}")

    return parse


def _ports(text: str) -> tuple[FailsafePort, ...]:
    """``port``, ``proto:port``, ``proto:cidr:port`` or ``proto:[v6cidr]:port``."""
    found = []
    for item in _list(text):
        match = re.fullmatch(r"(?:(tcp|udp):)?(?:\[([^\]]+)\]:|([0-9./]+):)?([0-9]+)", item, re.IGNORECASE)
        if not match:
            raise ValueError(f"{item} is no port")
        found.append(FailsafePort((match[1] or "tcp").lower(), int(match[4]), match[2] or match[3] or ""))
    return tuple(found)


def _port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_port_range(item) for item in _list(text))


def _port_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    low, high = int(first), int(last or first)
    if not 0 <= low <= high <= 65535:
        raise ValueError("ports are 0 to 65535, in ascending order")
    return low, high


def _overrides(text: str) -> dict[str, bool]:
    pairs = (item.partition("=") for item in _list(text))
    return {name.strip(): _boolean(value.strip()) for name, _, value in pairs}


def _interfaces(text: str) -> tuple[str, ...]:
    if not re.fullmatch(r"[a-zA-Z0-9:._+-]{1,15}(,[a-zA-Z0-9:._+-]{1,15})*", text):
        raise ValueError("use interface names or prefixes, joined by commas")
    return _list(text)


def _table_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    found = int(first), int(last)
    if not 1 <= found[0] <= found[1] <= _TABLES_LAST or found[0] in _TABLES_RESERVED:
        raise ValueError("use the kernel's table numbers as FIRST-LAST, without 253 to 255")
    return found


def _table_ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_table_range(item.strip()) for item in text.split(","))


def _log_prefix(text: str) -> str:
    # The text ends up in rules and in the kernel's log.
    if not re.fullmatch(r"[ -~]{1,27}", text) or '"' in text:
        raise ValueError("use up to 27 printable characters without quotes")
    return text


def _pattern(text: str) -> str:
    re.compile(text)
    return text


class Parameter(msgspec.Struct, frozen=True):
    """``zero`` is what the value ``none`` means. ``local``: never taken from the datastore."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    zero: Any = None
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
    "IptablesMarkMask": 0xFFFF0000,
    "NftablesMarkMask": 0xFFFF0000,
    "MaxIpsetSize": 1048576,
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
    "HealthPort": 9099,
    "PrometheusMetricsPort": 9091,
    "MetadataPort": 8775,
}
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
    "NATOutgoingAddress": "",
    "DeviceRouteSourceAddress": "",
    "DeviceRouteSourceAddressIPv6": "",
    "IptablesNATOutgoingInterfaceFilter": "",
    "IpInIpTunnelAddr": "",
    "IPv4VXLANTunnelAddr": "",
    "IPv6VXLANTunnelAddr": "",
    "VXLANTunnelMACAddr": "",
    "VXLANTunnelMACAddrV6": "",
    "WireguardInterfaceName": "wireguard.cali",
    "WireguardInterfaceNameV6": "wg-v6.cali",
    "HealthHost": "localhost",
    "PrometheusMetricsHost": "",
    "EndpointStatusPathPrefix": "",
    "IptablesLockFilePath": "/run/xtables.lock",
    "LogFilePath": "/var/log/calico/felix.log",
    "LogSeverityScreen": "INFO",
    "ClusterGUID": "",
    "ClusterType": "",
    "CalicoVersion": "",
    "MetadataAddr": "127.0.0.1",
    "OpenstackRegion": "",
}
_OTHERS = (
    Parameter("FelixHostname", str, "", "", local=True),
    Parameter("InterfacePrefix", _interfaces, ("cali",)),
    Parameter("InterfaceExclude", _list, ("kube-ipvs0",), ()),
    Parameter("MTUIfacePattern", _pattern, r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"),
    Parameter("IptablesBackend", _one_of("auto", "legacy", "nft"), "auto"),
    Parameter("ChainInsertMode", _one_of("insert", "append"), "insert"),
    Parameter("DefaultEndpointToHostAction", _one_of("DROP", "RETURN", "ACCEPT"), "DROP"),
    Parameter("IptablesFilterAllowAction", _one_of("ACCEPT", "RETURN"), "ACCEPT"),
    Parameter("IptablesMangleAllowAction", _one_of("ACCEPT", "RETURN"), "ACCEPT"),
    Parameter("NFTablesMode", _one_of("Enabled", "Disabled", "Auto"), "Auto"),
    Parameter("NftablesFilterAllowAction", _one_of("ACCEPT", "RETURN"), "ACCEPT"),
    Parameter("NftablesMangleAllowAction", _one_of("ACCEPT", "RETURN"), "ACCEPT"),
    Parameter("NftablesFilterDenyAction", _one_of("DROP", "REJECT"), "DROP"),
    Parameter("IptablesFilterDenyAction", _one_of("DROP", "REJECT"), "DROP"),
    Parameter("LogPrefix", _log_prefix, "calico-packet"),
    Parameter("ServiceLoopPrevention", _one_of("Drop", "Reject", "Disabled"), "Drop"),
    Parameter("WorkloadSourceSpoofing", _one_of("Disabled", "Any"), "Disabled"),
    Parameter("FloatingIPs", _one_of("Disabled", "Enabled"), "Disabled"),
    Parameter("ConnectionPruning", _one_of("Disabled", "Enabled"), "Disabled"),
    Parameter("RouteSource", _one_of("WorkloadIPs", "CalicoIPAM"), "CalicoIPAM"),
    Parameter("ProgramClusterRoutes", _one_of("Enabled", "Disabled"), "Disabled"),
    Parameter("FailsafeInboundHostPorts", _ports, FAILSAFE_IN, ()),
    Parameter("FailsafeOutboundHostPorts", _ports, FAILSAFE_OUT, ()),
    Parameter("KubeNodePortRanges", _port_ranges, ((30000, 32767),), ()),
    Parameter("NATPortRange", _port_range, None),
    Parameter("RouteTableRanges", _table_ranges, None),
    Parameter("RouteTableRange", _table_range, None),
    Parameter("ExternalNodesCIDRList", _list, (), ()),
    Parameter("FeatureDetectOverride", _overrides, {}, {}),
)
_ZERO = {bool: False, int: 0, float: 0.0, str: ""}

TABLE: dict[str, Parameter] = {
    parameter.name.lower(): parameter
    for parameter in (
        *(Parameter(name, _boolean, default, False) for name, default in _SWITCHES.items()),
        *(Parameter(name, _number, default, 0) for name, default in _NUMBERS.items()),
        *(Parameter(name, float, default, 0.0) for name, default in _SECONDS.items()),
        *(Parameter(name, str, default, "") for name, default in _TEXTS.items()),
        *_OTHERS,
    )
}
#: A change of these needs no restart: nothing that is programmed depends on them.
HARMLESS = frozenset({"CalicoVersion", "ClusterGUID", "ClusterType"})


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name[len(_PREFIX) :]: value for name, value in environ.items() if name.lower().startswith(_PREFIX)
    }


def from_file(path: str) -> dict[str, str]:
    """All sections of an INI file, merged; a missing file is fine. Raises ParameterError for one that does not parse."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(Path(path).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, configparser.Error) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"cannot read {path}: {reason}") from error
    return {name: value for section in parser.sections() for name, value in parser.items(section)}


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
    values = {parameter.name: parameter.default for parameter in TABLE.values()}
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
            values[parameter.name] = _parsed(parameter, text.strip(), source)
    return Parameters(values)


def _parsed(parameter: Parameter, text: str, source: str) -> Any:
    if text.lower() == "none":
        return parameter.zero if parameter.zero is not None else parameter.default
    try:
        return parameter.parse(text)
    except (ValueError, re.error) as error:
        log.error(
            "%s=%r from the %s is not valid (%s); using the default %r",
            parameter.name,
            text,
            source,
            error,
            parameter.default,
        )
        return parameter.default
