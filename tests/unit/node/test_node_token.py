from pycalico.datastore.kubernetes.plugintoken import Token
from pycalico.node import token


def test_it_is_renewed_well_before_its_end():
    assert token.next_wait_s(Token("t", 1000.0 + 86400), 1000.0) == 21600
    assert token.next_wait_s(Token("t", 1000.0), 1000.0) == 5.0
