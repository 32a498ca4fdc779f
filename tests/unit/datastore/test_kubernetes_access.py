import os

import pytest

from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import Invalid
from pycalico.datastore.open import kubernetes_access

NOBODY = 65534


def test_a_home_that_may_not_be_entered_is_passed_over(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    else:
        home.chmod(0)
    try:
        with pytest.raises(Invalid, match="no configuration has been provided"):
            kubernetes_access(DatastoreConfig(), {"HOME": str(home)})
    finally:
        if root:
            os.seteuid(0)
        home.chmod(0o700)
