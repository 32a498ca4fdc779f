"""All recorded calls of calicoctl that mean something with Kubernetes behind it (730 and more; two minutes)."""

import pytest
import test_calicoctl_on_kubernetes as replayed
from test_calicoctl_on_kubernetes import cluster

__all__ = ["cluster"]


@pytest.mark.parametrize(("group", "case"), replayed.cases(1))
def test_call(group, case, cluster, tmp_path):
    replayed.check(group, case, cluster, tmp_path)
