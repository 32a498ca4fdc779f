from pycalico.lab import checks
from pycalico.lab.chapters import facts, walkthrough

TABLE = """\
+------+-------+
| NAME | VALUE |
+------+-------+
| a    | 1     |
| b    | 2     |
+------+-------+
"""


def test_lines_ignore_blanks_and_order():
    check = checks.lines(r"b  ?\d", "a")
    assert check("  a\n\n b   7 \nmore", {}) == ""
    assert check("a\nb x", {}) == "no line matches 'b  ?\\\\d'"


def test_only_is_about_all_lines():
    check = checks.only("a", r"b{{2}}")
    assert check("a\nbb\n", {}) == ""
    assert check("a\nb", {}) == "'b' does not match 'b{2}'"
    assert check("a\nbb\nc", {}) == "3 lines instead of 2"


def test_patterns_know_the_facts():
    assert checks.lines("pod {name}")("pod x", {"name": "x"}) == ""
    assert checks.lines("pod {name}")("pod y", {"name": "x"}) != ""


def test_a_table_has_these_rows_and_no_more():
    assert checks.table(("NAME", "VALUE"), ("b", r"\d"), ("a", "1"))(TABLE, {}) == ""
    assert checks.table(("NAME", "VALUE"), ("a", "1"))(TABLE, {}) == "2 rows instead of 1"
    assert checks.table(("NAME", "VALUE"), ("a", "2"), ("b", "2"))(TABLE, {}) == "no row ('a', '2')"
    assert checks.table(("NAME",))("nothing", {}) == "the heading is missing"


def test_growth_is_from_the_earlier_number():
    assert checks.grown("before", 30)("147\n", {"before": "117"}) == ""
    assert checks.grown("before", 30)("146\n", {"before": "117"}) == "146 instead of 117 + 30"


def test_a_conflist_is_compared_by_field():
    assert checks.conflist("n")('{"name": "x", "plugins": [{}]}', {}).startswith("differs in type")


def test_every_step_has_a_name_of_its_own_and_checks():
    steps = walkthrough()
    names = [step.name for step in steps]
    assert len(names) == len(set(names))
    assert all(step.checks or step.background for step in steps)


def test_no_check_is_satisfied_by_silence():
    known = {**facts(ipip=True), "agent_w2": "x", "filter_before": "1", "nat_before": "1", "split": "0"}
    for step in walkthrough():
        for check in step.checks:
            try:
                wrong = check("", known)
            except ValueError:
                wrong = "unreadable"
            assert wrong or step.name == "agents after"


def test_facts_follow_the_encapsulation():
    assert facts(ipip=True)["tunnel"] == "tunl0"
    assert facts(ipip=True)["tunnel_mtu"] == "8981"
    assert facts(ipip=False)["tunnel_mtu"] == "8951"
