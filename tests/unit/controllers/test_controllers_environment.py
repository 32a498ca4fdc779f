"""Values that make no sense are named and refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.api.v3.kubecontrollersconfiguration import NodeControllerConfig
from pycalico.controllers import runconfig
from pycalico.controllers.environment import BadEnvironment, parse_environment

VARIABLES = [
    "AUTO_HOST_ENDPOINTS", "COMPACTION_PERIOD", "ENABLED_CONTROLLERS", "HEALTH_ENABLED", "IPAM_GC_DRY_RUN",
    "LEADER_ELECTION", "LOG_LEVEL", "NODE_WORKERS", "POLICY_WORKERS", "PROFILE_WORKERS", "RECONCILER_PERIOD",
    "SYNC_NODE_LABELS", "WORKLOAD_ENDPOINT_WORKERS",
]  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", ["", "nonsense", "-", "1x", "ja", "\0"])
def test_nonsense_is_refused_by_name(name, value):
    with pytest.raises(BadEnvironment) as refused:
        parse_environment({name: value})
    assert name in str(refused.value) or str(refused.value) == f"Invalid controller '{value}' provided."
    assert "\n" not in str(refused.value)


@given(st.sampled_from(VARIABLES), st.text(max_size=20))
def test_any_text_is_taken_or_refused(name, value):
    with contextlib.suppress(BadEnvironment):
        assert parse_environment({name: value}).shown.get(name, value) == value


@pytest.mark.parametrize("text", ["15 minutes", "", "1h-", "-"])
def test_nonsense_in_the_configuration_object_is_told_and_replaced_by_the_default(text, caplog):
    spec = runconfig.default_configuration().spec
    spec.log_severity_screen = "loud"
    spec.etcd_v3_compaction_period = text
    spec.controllers.node = NodeControllerConfig(leak_grace_period=text)
    spec.controllers.policy.reconciler_period = text
    config, _ = runconfig.merge(parse_environment({}), spec, kdd=False)
    assert (config.log_level, config.compaction_period_s) == ("Info", 600.0)
    assert config.node.leak_grace_s == 900.0
    assert config.mirrors["policy"].reconciler_period_s == 300.0
    for told in ("leakGracePeriod", "etcdV3CompactionPeriod", "policy reconcilerPeriod", "loud"):
        assert told in caplog.text
