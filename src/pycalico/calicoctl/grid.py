"""Tables with rules around, as ``ipam`` and ``node status`` print them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

#: Cells are broken between words beyond this.
_MOST = 30
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")


def render(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Headings in capitals and centred; numbers to the right, all else to the left."""
    cells = [[_wrapped(cell) for cell in row] for row in rows]
    widths = [
        max(len(heading), *(_width(row[at], cells[index][at]) for index, row in enumerate(rows)), 0)
        for at, heading in enumerate(headings)
    ]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    text = [
        rule,
        _line([_centred(h.upper(), width) for h, width in zip(headings, widths, strict=True)]),
        rule,
    ]
    for row in cells:
        for at in range(max(map(len, row))):
            lines = [cell[at] if at < len(cell) else "" for cell in row]
            text.append(_line([_aligned(line, width) for line, width in zip(lines, widths, strict=True)]))
    return "".join([*text, rule])


def _width(text: str, lines: Sequence[str]) -> int:
    """A cell that was broken keeps the full width, however short its lines came out."""
    return max(min(len(text), _MOST), *map(len, lines), 0)


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " for cell in cells) + "|\n"


def _centred(text: str, width: int) -> str:
    left = (width - len(text)) // 2
    return " " * left + text.ljust(width - left)


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if _NUMBER.fullmatch(text) else text.ljust(width)


def _wrapped(text: str) -> list[str]:
    """Lines of at most thirty characters (or one long word), as even as can be: least squares of what is left."""
    words = text.split()
    most = max([_MOST, *map(len, words)])
    #: For each word: the best cost of the lines from here on, and where the next line begins.
    best: list[tuple[int, int]] = [(0, len(words))] * (len(words) + 1)
    for start in range(len(words) - 1, -1, -1):
        best[start] = min(_breaks(words, start, most, best))
    lines: list[str] = []
    start = 0
    while start < len(words):
        end = best[start][1]
        lines.append(" ".join(words[start:end]))
        start = end
    return lines or [""]


def _breaks(
    words: Sequence[str], start: int, most: int, best: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Cost and end of every line that may begin at ``start``; the last line costs nothing."""
    length = -1
    for end in range(start + 1, len(words) + 1):
        length += 1 + len(words[end - 1])
        if length > most:
            return
        left = 0 if end == len(words) else most - length
        yield left * left + best[end][0], end
