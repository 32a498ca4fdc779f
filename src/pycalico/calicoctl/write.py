"""``create``, ``apply``, ``replace`` and ``delete``: what each reports."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pycalico.calicoctl import batch, operations
from pycalico.calicoctl.batch import Outcome
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments


def create(arguments: Arguments) -> None:
    _report(batch.run(arguments, operations.create), "create", "created", "Hit error")


def apply(arguments: Arguments) -> None:
    _report(batch.run(arguments, operations.apply), "apply", "applied", "Hit error(s)")


def _report(outcome: Outcome, verb: str, done: str, hit: str) -> None:
    differences = getattr(outcome.client.driver, "differences", None) if outcome.client else None
    if differences is not None:
        sys.stdout.write(differences())
        done = f"{done} (dry run)"
    handled = len(outcome.answers)
    errors = _errors(outcome.errors)
    if not outcome.count:
        print("No resources specified")
    elif not outcome.errors:
        _success(outcome, done)
    elif not handled:
        kind = f" '{outcome.kind}'" if outcome.kind else ""
        what = f"{kind} resource" if outcome.count == 1 else f" any{kind} resources"
        raise Failure(f"Failed to {verb}{what}: {errors}")
    else:
        if handled > len(outcome.errors):
            _partly(outcome, done, handled)
        raise Failure(f"{hit}: {errors}")


def replace(arguments: Arguments) -> None:
    """Unlike the others it counts every resource that it tried, and reports the last failure only."""
    outcome = batch.run(arguments, operations.replace)
    handled = len(outcome.answers) + sum(not isinstance(each, operations.Refused) for each in outcome.errors)
    if not outcome.count:
        print("No resources specified")
    elif not outcome.errors:
        _success(outcome, "replaced")
    elif not handled:
        kind = f" '{outcome.kind}'" if outcome.kind else ""
        what = f"{kind} resource" if outcome.count == 1 else f" any{kind} resources"
        raise Failure(f"Failed to replace{what}: {outcome.errors[-1]}")
    else:
        _partly(outcome, "replaced", handled)
        raise Failure(f"Hit error: {outcome.errors[-1]}")


def delete(arguments: Arguments) -> None:
    outcome = batch.run(arguments, operations.delete)
    if not outcome.count:
        print("No resources specified")
    elif outcome.answers:
        _success(outcome, "deleted")
    if outcome.errors:
        kind = f" '{outcome.kind}'" if outcome.kind else ""
        raise Failure("".join(f"Failed to delete{kind} resource: {each}\n" for each in outcome.errors))


def _errors(errors: Sequence[Exception]) -> str:
    """A list as Go prints it."""
    return "[" + " ".join(map(str, errors)) + "]"


def _success(outcome: Outcome, done: str) -> None:
    kind = f"'{outcome.kind}' " if outcome.kind else ""
    print(f"Successfully {done} {len(outcome.answers)} {kind}resource(s)")


def _partly(outcome: Outcome, done: str, handled: int) -> None:
    kind = f"'{outcome.kind}' " if outcome.kind else ""
    sys.stdout.write(f"Partial success: {done} the first {handled} out of {outcome.count} {kind}resources:\n")
