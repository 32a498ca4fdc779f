import pytest

from pycalico.calicoctl import columns, grid, names


def test_columns_are_padded_to_their_widest_cell_and_three_blanks():
    assert columns.padded([["NAME", "A"], ["x" * 9, ""]]) == "NAME        A    \nxxxxxxxxx        \n"


def test_every_kind_on_the_command_line_has_columns_and_a_name_of_its_own():
    assert set(columns.COLUMNS) == set(names.KINDS) == {names.kind_named(kind) for kind in names.KINDS}
    for table in columns.COLUMNS.values():
        assert {*table.narrow, *table.wide} <= set(table.cells)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "<nil>"), (True, "true"), (1000.0, "1000"), (10.5, "10.5"), (64512, "64512")]
)
def test_values_look_as_go_prints_them(value, shown):
    assert columns.text(value) == shown


def test_joined_lists_are_cut():
    assert columns.joined(["10.0.0.0/8"] * 9, most=20) == "10.0.0.0/8,10.0.0..."
    assert columns.joined({"b": "2", "a": "1"}) == "a=1,b=2"


def test_cells_are_wrapped_evenly_within_30_characters():
    text = "Active Socket: Connection refused by the other side of it"
    assert grid.render(["a"], [[text], ["1"]]).splitlines() == [
        "+--------------------------------+",
        "|               A                |",
        "+--------------------------------+",
        "| Active Socket: Connection      |",
        "| refused by the other side of   |",
        "| it                             |",
        "|                              1 |",
        "+--------------------------------+",
    ]
