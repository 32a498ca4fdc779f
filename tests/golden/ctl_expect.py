"""Whether what a program did is what was recorded. Recorded texts hold ``<UID>`` and the like for what differs
from run to run, and ``<REV+n>`` for the n-th revision of a run, which is compared exactly."""

import json
import re

_DIGITS = r"[0-9a-f]"
_VARIABLE = {
    "<UID>": rf"{_DIGITS}{{8}}-{_DIGITS}{{4}}-{_DIGITS}{{4}}-{_DIGITS}{{4}}-{_DIGITS}{{12}}",
    "<TIME>": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d| [+-]\d{4} UTC)",
    "<HEX32>": rf"{_DIGITS}{{32}}",
    "<COMMIT>": r"\S+",
}
_PLACEHOLDER = re.compile("|".join(_VARIABLE))
_REVISION = re.compile(r"<REV\+(\d+)>")


class Recording:
    """``fixed`` are placeholders with a value known beforehand; ``base`` the revision before seeding."""

    def __init__(self, base, fixed):
        self._base = base
        self._fixed = fixed

    def text(self, recorded):
        for placeholder, value in self._fixed.items():
            recorded = recorded.replace(placeholder, value)
        return _REVISION.sub(lambda match: str(self._base + int(match[1])), recorded)

    def same_text(self, recorded, found, mode="exact"):
        recorded = self.text(recorded)
        if mode == "exact":
            return self._pattern(recorded).fullmatch(found) is not None
        if mode == "firstline":
            return recorded.split("\n", 1)[0] == found.split("\n", 1)[0]
        split = {"sorted-lines": lambda text: text.split("\n"), "sorted-words": _words}[mode]
        return sorted(split(recorded)) == sorted(split(found))

    def same_value(self, recorded, found):
        if isinstance(recorded, dict) and isinstance(found, dict):
            keys = {self.text(key): value for key, value in recorded.items()}
            return keys.keys() == found.keys() and all(self.same_value(keys[key], found[key]) for key in keys)
        if isinstance(recorded, list) and isinstance(found, list):
            return len(recorded) == len(found) and all(map(self.same_value, recorded, found))
        if isinstance(recorded, str) and isinstance(found, str):
            return self.same_text(recorded, found)
        return recorded == found and isinstance(recorded, bool) == isinstance(found, bool)

    def _pattern(self, recorded):
        parts, position = [], 0
        for match in _PLACEHOLDER.finditer(recorded):
            parts += [re.escape(recorded[position : match.start()]), _VARIABLE[match[0]]]
            position = match.end()
        return re.compile("".join([*parts, re.escape(recorded[position:])]))


def _words(text):
    return re.findall(r"[^\s,]+", text)


def parsed(text):
    """JSON where it is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def difference(before, after):
    """Changed keys with their new values; None for those that went."""
    return {
        key: parsed(after[key]) if key in after else None
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }
