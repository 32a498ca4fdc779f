"""Parameters are taken and refused as Calico v3.28.1 takes and refuses them (observed with its program)."""

import pytest

from pycalico.dataplane.config import FailsafePort
from pycalico.felix import settings
from pycalico.felix.parameters import ParameterError, weigh


def weighed(everywhere=(), here=(), file=(), **environ):
    return weigh(everywhere=dict(everywhere), here=dict(here), file=dict(file), environ=environ)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("DeviceRouteProtocol", "010", 8),
        ("DeviceRouteProtocol", "0x10", 16),
        ("DeviceRouteProtocol", "bird", 3),
        ("VXLANMTU", "99999999999", 0),
        ("DisableConntrackInvalidCheck", " true", False),
        ("DisableConntrackInvalidCheck", "Y", True),
        ("IptablesMarkMask", "255", 255),
        ("DeviceRouteSourceAddress", "fd10::1", ""),
        ("DeviceRouteSourceAddressIPv6", "fd10::0:1", "fd10::1"),
        ("InterfaceExclude", "/[/", ("kube-ipvs0",)),
        ("InterfaceExclude", "/^up.*/,eth0", ("/^up.*/", "eth0")),
        ("InterfaceExclude", "none", ()),
        ("NATPortRange", "99:5", None),
        ("NATPortRange", "1-500", None),
        ("ExternalNodesCIDRList", "1.2.3.4, 5.6.7.8/24", ("1.2.3.4/32", "5.6.7.0/24")),
        ("RouteTableRanges", "1-400", ((1, 400),)),
        ("FeatureDetectOverride", "MASQFullyRandom=false,,A=bogus, B=1", {"MASQFullyRandom": False, "B": True}),
        ("FeatureDetectOverride", "MASQFullyRandom:false", {}),
        ("HealthTimeoutOverrides", "CalculationGraph=1m30s", {"CalculationGraph": 90.0}),
        ("HealthPort", "99999", 9099),
        ("ServiceLoopPrevention", "maybe", "Drop"),
        ("ServiceLoopPrevention", "none", ""),
        ("MaxIpsetSize", "big", 1048576),
        ("LogPrefix", "a prefix that iptables will cut to what fits", "a prefix that iptables will cut to what fits"),
        ("IptablesRefreshInterval", "10s", 180.0),
        ("IptablesRefreshInterval", "", 180.0),
        ("FailsafeInboundHostPorts", "none", ()),
        (
            "FailsafeInboundHostPorts",
            "tcp:10.0.0.5/8:22,UDP:[fd00::1]:68, 443,tcp:1.2.3.4:9",
            (
                FailsafePort("tcp", 22, "10.0.0.0/8"),
                FailsafePort("udp", 68, "fd00::1/128"),
                FailsafePort("tcp", 443),
                FailsafePort("tcp", 9, "1.2.3.4/32"),
            ),
        ),
    ],
)  # fmt: skip
def test_a_value_that_does_not_parse_is_the_default(name, text, value):
    assert weighed(**{name.lower(): text})[name] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ChainInsertMode", "sideways"),
        ("ChainInsertMode", "none"),
        ("InterfacePrefix", "cali, tap"),
        ("InterfacePrefix", "none"),
        ("IptablesMarkMask", "0x1ffffffff"),
        ("IptablesMarkMask", "0x10"),
        ("MaxIpsetSize", "none"),
        ("FailsafeInboundHostPorts", "sctp:22"),
        ("FailsafeOutboundHostPorts", "tcp:70000"),
        ("ExternalNodesCIDRList", "fd00::/64"),
        ("RouteTableRanges", "0-20"),
        ("RouteTableRange", "1-300"),
        ("MetadataPort", "70000"),
        ("FelixHostname", "fx y"),
    ],
)
def test_some_values_must_parse(name, text):
    with pytest.raises(ParameterError, match=name):
        weighed(**{name: text})


def test_a_vital_value_must_parse_where_a_stronger_source_has_a_good_one():
    with pytest.raises(ParameterError):
        weighed(everywhere={"ChainInsertMode": "sideways"}, chaininsertmode="append")


def test_stronger_sources_win():
    sources = {"here": {"LogPrefix": "host"}, "everywhere": {"LogPrefix": "all"}}
    assert weighed(**sources)["LogPrefix"] == "host"
    assert weighed(file={"logprefix": "file"}, **sources)["LogPrefix"] == "file"
    assert (
        weighed(file={"logprefix": "file"}, LOGPREFIX="environment", **sources)["LogPrefix"] == "environment"
    )


@pytest.mark.parametrize(
    ("ranges", "table"), [("100-110,10-20", 10), ("253-255", 0), ("254-300", 256), ("none", 1)]
)
def test_wireguard_has_the_lowest_table_that_is_not_reserved(ranges, table):
    assert settings._first_table(weighed(routetableranges=ranges)) == table
