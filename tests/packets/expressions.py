"""Selectors, as the reference documentation describes them, for the reference evaluator alone.

Deliberately a second implementation: what is wrong here and right in ``pycalico.api.selector`` shows as a
disagreement.
"""

import functools
import re

_TOKEN = re.compile(
    r"\s*(?:(?P<word>has|all|global|in|not\s+in|contains|starts\s+with|ends\s+with)(?=[\s({'\"]|$)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>==|!=|&&|\|\||[!(){},])|(?P<label>[A-Za-z0-9_./-]+))"
)


@functools.lru_cache(maxsize=4096)
def predicate(text, everything=None):
    """A function from labels to truth. The empty selector is true for everything.

    ``everything`` is the label that ``all()`` asks for where it is said of namespaces or service accounts: all
    of those, not also what has none.
    """
    tokens = []
    position = 0
    text = text.strip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found, f"{text!r} at {position}"
        kind = found.lastgroup
        tokens.append((kind, " ".join(found.group(kind).split())))
        position = found.end()
    if not tokens:
        return lambda labels: True
    parser = _Parser(tokens, everything)
    result = parser.either()
    assert not parser.tokens, text
    return result


class _Parser:
    def __init__(self, tokens, everything):
        self.tokens = list(tokens)
        self.everything = everything

    def peek(self):
        return self.tokens[0][1] if self.tokens else None

    def take(self, wanted=None):
        kind, value = self.tokens.pop(0)
        assert wanted is None or value == wanted, (wanted, value)
        return value if kind != "text" else value[1:-1]

    def either(self):
        parts = [self.both()]
        while self.peek() == "||":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda labels: any(part(labels) for part in parts)

    def both(self):
        parts = [self.single()]
        while self.peek() == "&&":
            self.take()
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else lambda labels: all(part(labels) for part in parts)

    def single(self):
        first = self.peek()
        if first == "!":
            self.take()
            inner = self.single()
            return lambda labels: not inner(labels)
        if first == "(":
            self.take()
            inner = self.either()
            self.take(")")
            return inner
        if first in ("all", "global", "has"):
            self.take()
            self.take("(")
            label = self.take() if first == "has" else self.everything if first == "all" else None
            self.take(")")
            if first == "global":
                return lambda labels: "projectcalico.org/namespace" not in labels
            return (lambda labels: label in labels) if label else (lambda labels: True)
        label = self.take()
        operator = self.take()
        if operator in ("in", "not in"):
            self.take("{")
            values = set()
            while self.peek() != "}":
                if self.peek() == ",":
                    self.take()
                else:
                    values.add(self.take())
            self.take("}")
            if operator == "in":
                return lambda labels: labels.get(label) in values
            return lambda labels: labels.get(label) not in values
        value = self.take()
        return {
            "==": lambda labels: labels.get(label) == value,
            "!=": lambda labels: labels.get(label) != value,
            "contains": lambda labels: value in labels.get(label, "") if label in labels else False,
            "starts with": lambda labels: label in labels and labels[label].startswith(value),
            "ends with": lambda labels: label in labels and labels[label].endswith(value),
        }[operator]
