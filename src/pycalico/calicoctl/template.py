"""``-o go-template``: the text templates of Go, as far as they make sense for reading resources.

Actions: fields and chains, pipelines, variables, if/else/with/range/end, comments, trimming, comparisons, and,
or, not, len, index, print, printf, println, join, joinAndTruncate, config. The data is the list of answers; fields
carry Go's names (``.Spec.NATOutgoing``). Left out: define, template, block, method calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pycalico.calicoctl.templates import functions, parser, values
from pycalico.calicoctl.templates.errors import TemplateError
from pycalico.calicoctl.templates.interpreter import Interpreter

__all__ = ["TemplateError", "render"]


def render(text: str, answers: Sequence[tuple[Any, str]], cluster_asn: Callable[[], str]) -> str:
    """``answers`` with the kinds of their objects. Raises TemplateError, which holds what was written before the fault."""
    known = functions.known(cluster_asn)
    tree = parser.parse(text, frozenset(known))
    return Interpreter(known).run(tree, [values.answer(*each) for each in answers])
