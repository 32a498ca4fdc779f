import pytest

from pycalico.api.selector import SelectorError, parse


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "all()"),
        ("a=='b'", 'a == "b"'),
        ("a in { 'y', \"x\",'y' }", 'a in {"x", "y"}'),
        ("a not in {}", "a not in {}"),
        ("! ! has(a)", "has(a)"),
        ("((a == 'b') && (has(c) || !has(d)))", '(a == "b" && (has(c) || !has(d)))'),
        ("((a=='1') && (b=='2' && c=='3'))", '(a == "1" && (b == "2" && c == "3"))'),
        ("a starts with 'x' && b ends with 'y'", '(a starts with "x" && b ends with "y")'),
        ("""a == 'say "hi"'""", """a == 'say "hi"'"""),
        ("inside == 'x'", 'inside == "x"'),
        ("in in {'x'}", 'in in {"x"}'),
    ],
)
def test_canonical_text(text, canonical):
    assert parse(text).text == canonical
    assert parse(canonical).text == canonical


@pytest.mark.parametrize(
    "text",
    ["a ==", "a = 'b'", "has(", "has()", "a in 'x'", "(a == 'b'", "a == 'b' x", "&& a", "a =='b\n'\n", "("],
)
def test_refused(text):
    with pytest.raises(SelectorError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a != 'x'", {}, True),
        ("a not in {'x'}", {}, True),
        ("a in {'x'}", {}, False),
        ("a contains 'b'", {"a": "abc"}, True),
        ("global()", {}, True),
        ("a == 'x' || b == 'y' && c == 'z'", {"a": "x"}, True),
        ("!(a == 'x')", {"a": "x"}, False),
    ],
)
def test_matches(text, labels, expected):
    assert parse(text).matches(labels) is expected


def test_identifier_is_the_recorded_one():
    assert (
        parse("projectcalico.org/namespace == 'default' && app == 'a'").unique_id[:24]
        == "s:HboVejMrnMusrZVBSVogl_"
    )
