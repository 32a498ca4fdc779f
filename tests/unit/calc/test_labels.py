from hypothesis import given, settings
from hypothesis import strategies as st

from pycalico.api.selector import parse
from pycalico.calc.labels import LabelIndex, need_of, needs_of

KEYS, VALUES = ("a", "b", "c"), ("x", "y")
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
leaf = st.one_of(
    st.builds("{0} == '{1}'".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
    st.builds("{0} != '{1}'".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
    st.builds("has({0})".format, st.sampled_from(KEYS)),
    st.builds("{0} in {{'x','y'}}".format, st.sampled_from(KEYS)),
    st.builds("{0} not in {{'x'}}".format, st.sampled_from(KEYS)),
    st.just("all()"),
)
text = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds("({0}) && ({1})".format, inner, inner),
        st.builds("({0}) || ({1})".format, inner, inner),
        st.builds("!({0})".format, inner),
    ),
    max_leaves=4,
)
step = st.one_of(
    st.tuples(
        st.just("item"), st.integers(0, 3), labels, st.lists(st.sampled_from("PQ"), max_size=2, unique=True)
    ),
    st.tuples(st.just("remove"), st.integers(0, 3)),
    st.tuples(st.just("parent"), st.sampled_from("PQ"), labels),
    st.tuples(st.just("orphan"), st.sampled_from("PQ")),
    st.tuples(st.just("selector"), st.integers(0, 3), text),
    st.tuples(st.just("discard"), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(step, max_size=20))
def test_equals_a_whole_state_match(steps):
    index = LabelIndex()
    items, parents, selectors, told = {}, {}, {}, set()
    for action, *rest in steps:
        if action == "item":
            items[rest[0]] = (rest[1], tuple(rest[2]))
            events = index.put(rest[0], rest[1], tuple(rest[2]))
        elif action == "remove":
            items.pop(rest[0], None)
            events = index.remove(rest[0])
        elif action == "parent":
            parents[rest[0]] = rest[1]
            events = index.put_parent(*rest)
        elif action == "orphan":
            parents.pop(rest[0], None)
            events = index.remove_parent(rest[0])
        elif action == "selector":
            events = index.discard(rest[0])
            for match, item, _ in events:
                told.discard((match, item))
            selectors[rest[0]] = parse(rest[1])
            events = index.add(rest[0], selectors[rest[0]])
        else:
            selectors.pop(rest[0], None)
            events = index.discard(rest[0])
        for match, item, began in events:
            assert ((match, item) in told) is not began, "an event that changes nothing"
            (told.add if began else told.discard)((match, item))
        expected = set()
        for item, (own, names) in items.items():
            effective = dict(own)
            for name in names:
                for key, value in parents.get(name, {}).items():
                    effective.setdefault(key, value)
            expected |= {
                (match, item) for match, selector in selectors.items() if selector.matches(effective)
            }
        assert told == expected


@settings(max_examples=300, deadline=None)
@given(text, labels)
def test_a_need_is_needed(selector, own):
    tree = parse(selector)
    need = need_of(tree)
    if need is not None and tree.matches(own):
        assert need[0] in own
        assert need[1] is None or own[need[0]] in need[1]


@settings(max_examples=300, deadline=None)
@given(text, labels)
def test_needs_that_say_all_decide(selector, own):
    tree = parse(selector)
    needs, whole = needs_of(tree)
    has_all = all(key in own and (values is None or own[key] in values) for key, values in needs)
    assert tree.matches(own) == has_all if whole else has_all or not tree.matches(own)


def test_a_new_selector_looks_at_the_fewest_items_that_it_can():
    index = LabelIndex()
    for number in range(100):
        index.put(number, {"app": f"a{number % 2}", "projectcalico.org/namespace": f"n{number // 10}"}, ())
    index.add("one", parse("app == 'a1' && projectcalico.org/namespace in {'n3', 'n4'}"))
    assert set(index.items_of("one")) == {31, 33, 35, 37, 39, 41, 43, 45, 47, 49}
    assert (index.hits, index.misses) == (10, 0)
    assert index.searches == {"all": 0, "label": 0, "value": 0, "values": 1}
