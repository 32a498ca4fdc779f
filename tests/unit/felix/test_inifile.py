import pytest

from pycalico.felix import inifile


def test_sections_are_merged_and_may_be_missing():
    text = """
    A = 1
    [global]
    # a remark
    b: two words
      ; another
      C = "x # y"
    d = x # a remark
    A = 2
    e =
    f = one \\
        two
    """
    found = inifile.parse(text)
    assert found == {"A": "2", "b": "two words", "C": "x # y", "d": "x", "e": "", "f": "one two"}


@pytest.mark.parametrize("text", ["just words", "[open"])
def test_what_is_no_ini_is_refused(text):
    with pytest.raises(ValueError, match=text.strip("[")):
        inifile.parse(text)
