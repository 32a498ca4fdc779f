"""The parsed form of a selector: a tree of frozen nodes that match labels and print themselves."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import cached_property

import msgspec

Labels = Mapping[str, str]


class Selector(msgspec.Struct, frozen=True, dict=True):
    """A node of the tree; the root stands for the whole selector. Equal canonical text means equal selector."""

    def matches(self, labels: Labels) -> bool:
        raise NotImplementedError

    def render(self) -> str:
        raise NotImplementedError

    def rename(self, change: Callable[[str], str]) -> Selector:
        """The same tree with every label key passed through ``change``."""
        raise NotImplementedError

    @cached_property
    def text(self) -> str:
        """The canonical text, from which identifiers are made."""
        return self.render()

    @cached_property
    def unique_id(self) -> str:
        """``s:`` and the unpadded base64url SHA-224 of ``s:`` + canonical text (Felix's IP set identifier)."""
        import hashlib  # noqa: PLC0415 (loads OpenSSL, which only Felix needs)

        digest = hashlib.sha224(b"s:" + self.text.encode()).digest()
        return "s:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def __str__(self) -> str:
        return self.text


def quote(value: str) -> str:
    """Double quotes, unless the value holds one; the language has no escapes."""
    return f"'{value}'" if '"' in value else f'"{value}"'


class All(Selector, frozen=True):
    def matches(self, labels: Labels) -> bool:  # noqa: ARG002
        return True

    def render(self) -> str:
        return "all()"

    def rename(self, change: Callable[[str], str]) -> Selector:  # noqa: ARG002
        return self


class Global(Selector, frozen=True):
    """Like ``all()`` for labels; it gains a meaning when a rule's namespaceSelector is converted."""

    def matches(self, labels: Labels) -> bool:  # noqa: ARG002
        return True

    def render(self) -> str:
        return "global()"

    def rename(self, change: Callable[[str], str]) -> Selector:  # noqa: ARG002
        return self


class Has(Selector, frozen=True):
    key: str

    def matches(self, labels: Labels) -> bool:
        return self.key in labels

    def render(self) -> str:
        return f"has({self.key})"

    def rename(self, change: Callable[[str], str]) -> Selector:
        return Has(change(self.key))


#: operator → whether it holds for a present value; an absent label satisfies only ``!=``.
_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "==": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
    "contains": lambda have, want: want in have,
    "starts with": lambda have, want: have.startswith(want),
    "ends with": lambda have, want: have.endswith(want),
}


class Compare(Selector, frozen=True):
    key: str
    operator: str
    value: str

    def matches(self, labels: Labels) -> bool:
        have = labels.get(self.key)
        if have is None:
            return self.operator == "!="
        return _COMPARISONS[self.operator](have, self.value)

    def render(self) -> str:
        return f"{self.key} {self.operator} {quote(self.value)}"

    def rename(self, change: Callable[[str], str]) -> Selector:
        return Compare(change(self.key), self.operator, self.value)


class InSet(Selector, frozen=True):
    """``values`` are sorted and unique. An absent label is ``not in`` every set."""

    key: str
    values: tuple[str, ...]
    negated: bool = False

    def matches(self, labels: Labels) -> bool:
        have = labels.get(self.key)
        if have is None:
            return self.negated
        return (have in self.values) != self.negated

    def render(self) -> str:
        word = "not in" if self.negated else "in"
        return f"{self.key} {word} {{{', '.join(map(quote, self.values))}}}"

    def rename(self, change: Callable[[str], str]) -> Selector:
        return InSet(change(self.key), self.values, self.negated)


class Not(Selector, frozen=True):
    operand: Selector

    def matches(self, labels: Labels) -> bool:
        return not self.operand.matches(labels)

    def render(self) -> str:
        return f"!{self.operand.render()}"

    def rename(self, change: Callable[[str], str]) -> Selector:
        return Not(self.operand.rename(change))


class And(Selector, frozen=True):
    operands: tuple[Selector, ...]

    def matches(self, labels: Labels) -> bool:
        return all(operand.matches(labels) for operand in self.operands)

    def render(self) -> str:
        return "(" + " && ".join(operand.render() for operand in self.operands) + ")"

    def rename(self, change: Callable[[str], str]) -> Selector:
        return And(tuple(operand.rename(change) for operand in self.operands))


class Or(Selector, frozen=True):
    operands: tuple[Selector, ...]

    def matches(self, labels: Labels) -> bool:
        return any(operand.matches(labels) for operand in self.operands)

    def render(self) -> str:
        return "(" + " || ".join(operand.render() for operand in self.operands) + ")"

    def rename(self, change: Callable[[str], str]) -> Selector:
        return Or(tuple(operand.rename(change) for operand in self.operands))
