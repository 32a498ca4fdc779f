"""What a request says besides its path: content type, body, query parameters."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pycalico.apiserver import errors, protobuf
from pycalico.apiserver.connection import JSON
from pycalico.apiserver.http1 import Request
from pycalico.apiserver.verbs import DeleteOptions, Options

Obj = dict[str, Any]
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


def content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise errors.bad_request(f"the body is not valid JSON: {e}") from None


def body(request: Request) -> Obj:
    """The object in the body; 400 or 415 where there is none."""
    form = content_type(request)
    if form in ("application/yaml", APPLY_PATCH):
        import yaml  # noqa: PLC0415 (75 ms that most servers never need)

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            found = yaml.load(request.body, Loader=loader)  # noqa: S506 (a safe loader)
        except yaml.YAMLError as e:
            raise errors.bad_request(f"the body is not valid YAML: {str(e).splitlines()[0]}") from None
    elif form == protobuf.CONTENT_TYPE:
        found = protobuf.decode(request.body)
    elif form in (JSON, "", "text/json"):
        found = decode(request.body)
    else:
        raise errors.unsupported_media_type(form, "application/json, application/yaml")
    if not isinstance(found, dict):
        raise errors.bad_request("the body of the request must be an object")
    return found


def true(text: str | None) -> bool:
    return text is not None and text.lower() in ("true", "1", "")


def number(text: str | None, name: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise errors.bad_request(f"{name} must be a number, not {text!r}") from None


def version(text: str | None) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise errors.bad_request(f"resourceVersion: Invalid value: {text!r}: must be a number")
    return int(text)


def options(request: Request) -> Options:
    return Options(
        dry_run=_dry_run(request.query.get("dryRun")),
        field_validation=request.query.get("fieldValidation") or "Warn",
    )


def _dry_run(value: str | None) -> bool:
    if value not in (None, "", "All"):
        raise errors.bad_request(f'dryRun: Unsupported value: {value!r}: supported values: "All"')
    return value == "All"


def delete_options(request: Request) -> DeleteOptions:
    given = body(request) if request.body.strip() else {}
    query = request.query
    preconditions = given.get("preconditions") or {}
    grace = given.get("gracePeriodSeconds")
    if grace is None:
        grace = number(query.get("gracePeriodSeconds"), "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or grace < 0):
        raise errors.bad_request("gracePeriodSeconds must be a number that is not negative")
    policy = given.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
    if given.get("orphanDependents") is True:
        policy = "Orphan"
    if policy not in ("Background", "Foreground", "Orphan"):
        raise errors.bad_request(f"propagationPolicy {policy!r} is not known")
    dry_run = given.get("dryRun") or []
    return DeleteOptions(
        dry_run="All" in dry_run or _dry_run(query.get("dryRun")),
        grace_s=grace,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        propagation=policy,
    )
