import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pycalico.api import goyaml
from pycalico.calicoctl import yamltext

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"),
    max_size=120,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT.filter(lambda key: len(key) < 100), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_reads_back(value):
    assert goyaml.parse(yamltext.dump(value)) == value


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("", '""'),
        ("true", '"true"'),
        ("y", '"y"'),
        ("~", '"~"'),
        ("12", '"12"'),
        ("1_000", '"1_000"'),
        ("0x1F", '"0x1F"'),
        ("1:30", '"1:30"'),
        ("1.5e3", '"1.5e3"'),
        (".5", '".5"'),
        ("2024-07-01T00:41:00Z", '"2024-07-01T00:41:00Z"'),
        ("2024-07-01", '"2024-07-01"'),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("80:90", "80:90"),
        ("fd00::1", "fd00::1"),
        ('zone == "west"', 'zone == "west"'),
        ("!x", "'!x'"),
        ("a: b", "'a: b'"),
        ("a #b", "'a #b'"),
        ("it's: so", "'it''s: so'"),
        ("a:", "'a:'"),
        (" a", "' a'"),
        ("- a", "'- a'"),
        ("-a", "-a"),
        ("@x", "'@x'"),
        ("tab\there", '"tab\\there"'),
        ("caf\u00e9", "caf\u00e9"),
        ("a\nb", "|-\n  a\n  b"),
        ("a\nb\n", "|\n  a\n  b"),
    ],
)  # fmt: skip
def test_scalars_are_quoted_as_go_yaml_does(value, line):
    assert yamltext.dump({"k": value}) == f"k: {line}\n"


def test_lists_stand_below_their_key_and_empty_ones_beside_it():
    value = {"b": [{"x": 1, "a": [1, [2, 3]]}], "a": {}, "c": [], "d": [[]]}
    assert yamltext.dump(value) == "a: {}\nb:\n- a:\n  - 1\n  - - 2\n    - 3\n  x: 1\nc: []\nd:\n- []\n"
    assert yaml.safe_load(yamltext.dump(value)) == value


def test_keys_are_in_natural_order():
    assert yamltext.dump(dict.fromkeys(["a10", "a2", "a", "b/c", "b.c", "ab"], 1)).split(": 1\n")[:-1] == [
        "a", "a2", "a10", "ab", "b.c", "b/c",
    ]  # fmt: skip


def test_long_lines_are_broken_at_single_blanks_beyond_80_columns():
    text = " ".join(["selector-term"] * 9)
    assert yamltext.dump({"k": text}) == (
        "k: selector-term selector-term selector-term selector-term selector-term selector-term\n"
        "  selector-term selector-term selector-term\n"
    )
