"""Kernel settings that must hold a value: set where they differ, never put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from pycalico.kernel import sysctl
from pycalico.reconcile.target import Outcome


class Setting(msgspec.Struct, frozen=True):
    """``required`` False: a kernel without it is fine."""

    value: str
    required: bool = True


class Settings:
    """A reconcile target whose keys are paths under /proc/sys; ``wanted`` lists those to look at."""

    def __init__(self) -> None:
        self.wanted: Callable[[], Iterable[str]] = tuple

    def read(self) -> Mapping[str, str]:
        found = {key: sysctl.read(key) for key in self.wanted()}
        return {key: value for key, value in found.items() if value is not None}

    def same(self, want: Setting, have: str) -> bool:
        return want.value == have or (not want.required and have == "")

    def apply(self, puts: Mapping[str, Setting], deletes: AbstractSet[str]) -> Outcome[str, str]:  # noqa: ARG002
        now: dict[str, str] = {}
        failures: dict[str, str] = {}
        for key, want in puts.items():
            try:
                sysctl.write(key, want.value)
                now[key] = want.value
            except OSError as error:
                if want.required:
                    failures[key] = f"cannot set {key.replace('/', '.')}={want.value}: {error.strerror}"
                else:
                    now[key] = ""
        return Outcome(now, failures)
