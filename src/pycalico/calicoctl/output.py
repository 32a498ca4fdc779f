"""Resources as JSON and YAML, in the form and order of upstream's encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pycalico.api.meta import API_VERSION, Resource, ResourceList
from pycalico.calicoctl.operations import Answer

#: Go's encoder escapes what HTML would take for markup.
_ESCAPED = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)
#: Whole numbers below this are written in full.
_EXPONENT_FROM = 1e21
#: Metadata that is written after the creation time.
_LATER = (
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
)  # fmt: skip


def plain(answer: Answer, kind: str) -> dict[str, Any]:
    """The wire form, maps in the order of their keys, with what Go always writes; ``kind`` is that of a list's items."""
    if isinstance(answer, Resource):
        return _object(answer)
    return {
        "kind": f"{kind}List",
        "apiVersion": API_VERSION,
        "metadata": {"resourceVersion": answer.revision} if answer.revision else {},
        "items": [_object(item) for item in answer.items],
    }


def _object(resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(resource, order="deterministic")
    if "creationTimestamp" not in found["metadata"]:
        meta: dict[str, Any] = found["metadata"]
        late = {name: meta.pop(name) for name in _LATER if name in meta}
        found["metadata"] = {**meta, "creationTimestamp": None, **late}
    spec = found.get("spec")
    if (
        isinstance(spec, dict)
        and isinstance(spec.get("order"), float)
        and spec["order"].is_integer()
        and abs(spec["order"]) < _EXPONENT_FROM
    ):
        spec["order"] = int(spec["order"])
    return found


def whole(answers: Sequence[tuple[Answer, str]]) -> Any:
    """One answer as it is, several as a list, none as null."""
    if not answers:
        return None
    found = [plain(answer, kind) for answer, kind in answers]
    return found[0] if len(found) == 1 else found


def json_text(value: Any) -> str:
    """Two blanks deep, without a newline at the end."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    for sign, escape in _ESCAPED:
        if sign in text:
            text = text.replace(sign, escape)
    return text


def yaml_text(value: Any) -> str:
    from pycalico.calicoctl import yamltext  # noqa: PLC0415 (JSON does without)

    return yamltext.dump(value)


__all__ = ["ResourceList", "json_text", "plain", "whole", "yaml_text"]
