"""One lab per kernel for all tests of this directory, brought up as a newcomer does."""

import pytest
from running_lab import Running, pycalico


@pytest.fixture(scope="session", params=["host", "uml"])
def running(request):
    lab = Running(request.param)
    yield lab
    lab.walk.__exit__()
    pycalico("lab", "down", "--name", lab.name)
