"""additionalPrinterColumns of CRDs: columns given by a JSONPath."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from pycalico.apiserver.ages import age
from pycalico.apiserver.columns import Column

Obj = dict[str, Any]

_STEP: Final = re.compile(
    r"""\.?(?:
        \[\?\(@\.(?P<field>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]
      | \[(?P<index>\d+|\*)\]
      | \[["'](?P<quoted>[^"']+)["']\]
      | (?P<name>(?:[^.\[\]\\]|\\.)+)
    )""",
    re.VERBOSE,
)


def json_path(path: str) -> Callable[[Any], list[Any]]:
    """Compile the JSONPath subset of printer columns; the result gives all values found."""
    steps = [match.groupdict() for match in _STEP.finditer(path.strip("{}"))]

    def find(obj: Any) -> list[Any]:
        found = [obj]
        for step in steps:
            found = [item for value in found for item in _walk(value, step)]
        return found

    return find


def _walk(value: Any, step: dict[str, str | None]) -> list[Any]:
    name = step["quoted"] or (re.sub(r"\\(.)", r"\1", step["name"]) if step["name"] else None)
    if name is not None:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if not isinstance(value, list):
        return []
    if step["field"] is not None:
        return [
            item for item in value if isinstance(item, dict) and str(item.get(step["field"])) == step["value"]
        ]
    if step["index"] == "*":
        return value
    index = int(step["index"] or 0)
    return value[index : index + 1]


def make_column(column: Obj) -> Column:
    find = json_path(str(column.get("jsonPath", "")))
    kind = str(column.get("type", "string"))

    def value(obj: Obj) -> Any:
        found = find(obj)
        if not found:
            return None
        first = found[0]
        if kind == "date":
            return age(str(first))
        if kind == "string" and not isinstance(first, str):
            return json.dumps(first) if isinstance(first, dict | list | bool) else str(first)
        return first

    return str(column.get("name", "")), kind, int(column.get("priority", 0)), value
