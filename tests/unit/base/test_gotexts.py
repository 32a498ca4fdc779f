"""Numbers, durations and times in the words of Go."""

import pytest

from pycalico.base import decimals, duration, rfc3339


@pytest.mark.parametrize(
    ("value", "general", "plain"),
    [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (10.5, "10.5", "10.5"),
        (999999.0, "999999", "999999"),
        (1e6, "1e+06", "1000000"),
        (1000000.5, "1.0000005e+06", "1000000.5"),
        (1e20, "1e+20", "100000000000000000000"),
        (1e21, "1e+21", "1e+21"),
        (1e-4, "0.0001", "0.0001"),
        (1.5e-6, "1.5e-06", "0.0000015"),
        (1e-7, "1e-07", "1e-7"),
        (-123456.75, "-123456.75", "-123456.75"),
    ],
)
def test_numbers(value, general, plain):
    assert (decimals.general(value), decimals.plain(value)) == (general, plain)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1x", 'time: unknown unit "x" in duration "1x"'),
        ("5S", 'time: unknown unit "S" in duration "5S"'),
        ("1s2min", 'time: unknown unit "min" in duration "1s2min"'),
        ("5", 'time: missing unit in duration "5"'),
        ("2562048h", 'time: invalid duration "2562048h"'),
        ("s", 'time: invalid duration "s"'),
        ("", 'time: invalid duration ""'),
    ],
)
def test_no_durations(text, complaint):
    with pytest.raises(duration.DurationError) as error:
        duration.parse_ns(text)
    assert str(error.value) == complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'),
        (
            "2020-01-01",
            'parsing time "2020-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"',
        ),
        ("2020-13-01T00:00:00Z", 'parsing time "2020-13-01T00:00:00Z": month out of range'),
        ("2021-02-29T00:00:00Z", 'parsing time "2021-02-29T00:00:00Z": day out of range'),
        ("2020-01-01T00:00:00Z ", 'parsing time "2020-01-01T00:00:00Z ": extra text: " "'),
    ],
)
def test_no_times(text, complaint):
    with pytest.raises(rfc3339.TimeError) as error:
        rfc3339.check(text)
    assert str(error.value) == complaint


@pytest.mark.parametrize("text", ["2020-02-29T23:59:59Z", "2020-01-01T00:00:00.5+02:00"])
def test_times(text):
    rfc3339.check(text)
