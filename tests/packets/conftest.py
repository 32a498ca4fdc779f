import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("golden", "apiserver")]
from dataplanes import CHOSEN, DATAPLANES


@pytest.fixture(params=CHOSEN)
def dataplane(request):
    """Felix's environment for one dataplane."""
    return DATAPLANES[request.param]
