"""FelixConfiguration's fields for nftables: what users write reaches the dataplane, and nobody else sees them."""

import msgspec
import pytest

from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.api.validate import felix as validation
from pycalico.api.validate.faults import Faults
from pycalico.calc import felixconfig
from pycalico.calc.messages import Encapsulation
from pycalico.felix import parameters, settings

FIELDS = {
    "nftablesMode": "Enabled",
    "nftablesRefreshInterval": "1m30s",
    "nftablesFilterAllowAction": "Return",
    "nftablesMangleAllowAction": "Return",
    "nftablesFilterDenyAction": "Reject",
    "nftablesMarkMask": 0xFF000000,
}


def _resource(annotations=None, **spec):
    metadata = {"name": "default", "annotations": annotations or {}}
    return msgspec.convert({"metadata": metadata, "spec": spec}, FelixConfiguration)


def _dataplane(resource):
    found = parameters.weigh(everywhere=felixconfig.parameters(resource), here={}, file={}, environ={})
    return settings.dataplane(found, "node", Encapsulation(False, False, False), kube_ipvs=False)


def test_fields_reach_the_dataplane():
    config = _dataplane(_resource(**FIELDS))
    assert config.nftables_mode == "Enabled"
    assert config.nftables_refresh_s == 90
    native = config.for_nftables()
    assert native.mark_mask == 0xFF000000
    assert native.filter_allow_action == native.mangle_allow_action == "RETURN"
    assert native.filter_deny_action == "REJECT"
    # Iptables' own are others' business.
    assert config.filter_deny_action == "DROP"


def test_where_definitions_lack_the_fields_annotations_say_the_same():
    config = _dataplane(_resource({"config.projectcalico.org/NFTablesMode": "Enabled"}))
    assert config.nftables_mode == "Enabled"


def test_a_configuration_without_them_is_written_as_v3_28_1_does():
    written = msgspec.json.encode(_resource(logSeverityScreen="Info"))
    assert b"nftables" not in written
    assert (
        msgspec.to_builtins(_resource(**FIELDS))["spec"] | FIELDS
        == msgspec.to_builtins(_resource(**FIELDS))["spec"]
    )


@pytest.mark.parametrize("field", ["nftablesMode", "nftablesFilterAllowAction", "nftablesFilterDenyAction"])
def test_a_word_that_is_none_is_refused_by_name(field):
    faults = Faults()
    validation.configuration(faults, _resource(**{field: "Sometimes"}))
    assert field.lower() in str(faults.found).lower()
    assert "Sometimes" in str(faults.found)
