"""Scenario 4 with the full number of histories."""

import os
import time

import pytest
from test_syncer import any_delivery

EXAMPLES = int(os.environ.get("DELIVERIES", "10000"))


@pytest.mark.timeout(1200)
def test_scenario_04_ten_thousand_deliveries_end_in_the_lists_state():
    began = time.monotonic()
    any_delivery(EXAMPLES)()
    print(f"{EXAMPLES} histories in {time.monotonic() - began:.0f} s")
