"""An empty file for each endpoint that is up: CNI waits for it before it lets a pod start."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from pycalico.reconcile.target import Outcome, TargetError


class StatusFiles:
    """A reconcile target whose keys are file names in ``<prefix>/endpoint-status``."""

    def __init__(self, prefix: str) -> None:
        self._folder = Path(prefix) / "endpoint-status"

    def read(self) -> Mapping[str, bool]:
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            return {entry.name: True for entry in self._folder.iterdir() if entry.is_file()}
        except OSError as error:
            raise TargetError(f"cannot read {self._folder}: {error.strerror}") from None

    def same(self, want: bool, have: bool) -> bool:
        return want == have

    def apply(self, puts: Mapping[str, bool], deletes: AbstractSet[str]) -> Outcome[str, bool]:
        now: dict[str, bool] = {}
        failures: dict[str, str] = {}
        for file_name in deletes:
            try:
                (self._folder / file_name).unlink(missing_ok=True)
            except OSError as error:
                failures[file_name] = error.strerror or str(error)
        for file_name in puts:
            try:
                (self._folder / file_name).touch()
                now[file_name] = True
            except OSError as error:
                failures[file_name] = error.strerror or str(error)
        return Outcome(now, failures)
