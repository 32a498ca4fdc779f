import pytest

from pycalico.apiserver import errors, selectors


def labelled(**labels):
    return {"metadata": {"name": "x", "labels": labels}}


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("a=b", {"a": "b"}, {"a": "c"}),
        ("a==b", {"a": "b"}, {}),
        ("a!=b", {}, {"a": "b"}),
        ("a", {"a": ""}, {}),
        ("!a", {"b": "1"}, {"a": "1"}),
        ("a in (x, y),b", {"a": "y", "b": ""}, {"a": "y"}),
        ("a notin (x,y)", {}, {"a": "x"}),
        ("example.com/a=b", {"example.com/a": "b"}, {"a": "b"}),
        ("a>3", {"a": "4"}, {"a": "x"}),
        ("a=", {"a": ""}, {"a": "1"}),
    ],
)
def test_labels(text, yes, no):
    matches = selectors.parse_labels(text)
    assert matches(labelled(**yes))
    assert not matches(labelled(**no))


def test_no_labels_selects_all():
    assert selectors.parse_labels(" ") is None


@pytest.mark.parametrize("text", ["a=b,", "a in x", "-a=b", "a b", "a in (x", "(", "a=b=c", ","])
def test_labels_refused(text):
    with pytest.raises(errors.StatusError) as caught:
        selectors.parse_labels(text)
    assert caught.value.code == 400


def test_fields_pin_a_name_and_read_nested_values():
    matches, name = selectors.parse_fields("metadata.name=x,spec.nodeName!=n1", ("spec.nodeName",))
    assert name == "x"
    assert matches({"metadata": {"name": "x"}, "spec": {"nodeName": "n2"}})
    assert matches({"metadata": {"name": "x"}})
    assert not matches({"metadata": {"name": "x"}, "spec": {"nodeName": "n1"}})


def test_field_that_cannot_be_selected_by():
    with pytest.raises(errors.StatusError, match=r"field label not supported: spec\.x"):
        selectors.parse_fields("spec.x=1", ())
