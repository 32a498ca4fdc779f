"""The order in which targets are written, and which of them may be written at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from pycalico.reconcile.reconciler import Reconciler

Job = Callable[[], bool]
#: Runs jobs, perhaps at the same time, and returns when all are done.
RunAll = Callable[[Sequence[Job]], list[bool]]


def one_by_one(jobs: Sequence[Job]) -> list[bool]:
    return [job() for job in jobs]


class Stage(msgspec.Struct):
    """Reconcilers that do not depend on each other. ``deletes`` False: another stage deletes later.

    While none has more than ``in_turn_most`` changes they are written one after another, the first one first: where
    the kernel takes them one by one anyway, none waits for another's.
    """

    label: str
    reconcilers: list[Reconciler[Any, Any, Any]]
    puts: bool = True
    deletes: bool = True
    in_turn_most: int = 0


class Pipeline:
    """Stages in order; a stage starts when the one before is done, whether or not all of it succeeded."""

    def __init__(self, stages: Iterable[Stage], run_all: RunAll = one_by_one) -> None:
        self.stages = list(stages)
        self._run_all = run_all

    def run(self, now_s: float, *, may_delete: bool) -> bool:
        """True when anything was written. Nothing is deleted unless ``may_delete``."""
        changed = False
        for stage in self.stages:
            due = [item for item in stage.reconcilers if _is_due(item, now_s)]
            jobs = [self._job(stage, item, now_s, may_delete) for item in due]
            if not jobs:
                continue
            most = stage.in_turn_most
            few = most > 0 and all(len(item.delta.dirty) <= most for item in due)
            changed |= any(one_by_one(jobs) if few else self._run_all(jobs))
        return changed

    @staticmethod
    def _job(stage: Stage, item: Reconciler[Any, Any, Any], now_s: float, may_delete: bool) -> Job:
        return lambda: item.run(now_s, puts=stage.puts, deletes=stage.deletes and may_delete)

    @property
    def reconcilers(self) -> list[Reconciler[Any, Any, Any]]:
        seen: dict[int, Reconciler[Any, Any, Any]] = {}
        for stage in self.stages:
            for item in stage.reconcilers:
                seen[id(item)] = item
        return list(seen.values())


def _is_due(item: Reconciler[Any, Any, Any], now_s: float) -> bool:
    due_s = item.due_s()
    return due_s is not None and due_s <= now_s
