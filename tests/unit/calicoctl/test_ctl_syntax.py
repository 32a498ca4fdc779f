import pytest

from pycalico.calicoctl import commands, syntax
from pycalico.calicoctl.syntax import Form, HelpWanted, Option, Syntax, UsageError

TOOL = Syntax(
    usage="Usage:\n  calicoctl tool",
    summary="A tool.",
    options=(
        Option("--output", "", short="-o", value="<O>", default="ps"),
        Option("--filename", "", short="-f", value="<F>"),
        Option("--from", "", value="<R>", repeats=True),
        Option("--all", "", short="-A"),
        Option("--recursive", "", short="-R"),
    ),
    forms=(Form(words=("KIND", "NAME...")), Form(needs=("--filename",), takes=("--recursive",))),
)


@pytest.mark.parametrize(
    "argv", [["-oyaml"], ["-o", "yaml"], ["--output", "yaml"], ["--out=yaml"], ["-Ao", "yaml"]]
)
def test_every_spelling_of_an_option_and_its_value(argv):
    assert syntax.parse(TOOL, ["node", *argv]).texts["--output"] == "yaml"


def test_words_options_and_defaults():
    found = syntax.parse(TOOL, ["node", "a", "-A", "b", "--from=x", "--from", "y"])
    assert (found.words, found.names) == ({"KIND": "node"}, ["a", "b"])
    assert found.texts == {"--output": "ps"}
    assert found.lists == {"--from": ["x", "y"]}
    assert found.switches == {"--all"}


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], ""),
        (["node", "--bogus"], ""),
        (["--bogus", "-f"], "-f requires argument"),
        (["node", "-x"], ""),
        (["node", "-o", "yaml", "-o", "json"], ""),
        (["node", "-A", "-A"], ""),
        (["node", "-f", "x"], ""),
        (["node", "-R"], ""),
        (["node", "-o"], "-o requires argument"),
        (["node", "--output"], "--output requires argument"),
        (["node", "--all=x"], "--all must not have an argument"),
        (["node", "--f=x"], "--f is not a unique prefix: --filename, --from?"),
    ],
)
def test_a_wrong_call_is_refused_with_the_complaint(argv, complaint):
    with pytest.raises(UsageError) as caught:
        syntax.parse(TOOL, argv)
    assert caught.value.complaint == complaint


def test_help_wins_over_missing_words_but_not_over_a_missing_value():
    with pytest.raises(HelpWanted):
        syntax.parse(TOOL, ["--help"])
    with pytest.raises(UsageError):
        syntax.parse(TOOL, ["--help", "-o"])


def test_the_program_stops_at_the_first_word():
    found = syntax.parse(commands.TOP, ["-l", "info", "get", "-o", "yaml", "--context", "x"])
    assert found.words == {"COMMAND": "get"}
    assert found.names == ["-o", "yaml", "--context", "x"]


def test_after_two_dashes_everything_is_a_word_the_dashes_too():
    assert syntax.parse(TOOL, ["--", "-A"]).words["KIND"] == "--"
