"""The selector language: parsed once, evaluated often, printed canonically.

Grammar, canonical text and identifiers: Calico v3.28.1's, as recorded (``a == "v"``, ``has(a)``,
``a in {"x"}``, ``all()``, ``global()``, ``!``, ``&&``, ``||`` and brackets).
"""

from pycalico.api.selector.nodes import All, And, Compare, Global, Has, InSet, Labels, Not, Or, Selector
from pycalico.api.selector.parser import SelectorError, parse

__all__ = [
    "All",
    "And",
    "Compare",
    "Global",
    "Has",
    "InSet",
    "Labels",
    "Not",
    "Or",
    "Selector",
    "SelectorError",
    "parse",
]
