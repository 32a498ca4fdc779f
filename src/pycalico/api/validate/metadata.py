"""Names, labels and annotations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pycalico.api.meta import ObjectMeta
from pycalico.api.validate import values
from pycalico.api.validate.faults import Faults

_ANNOTATIONS_BYTES = 256 * 1024
_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_PART_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_PART}')"
)
_VALUE = rf"({_PART})?"
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    f"validation is '{_VALUE}')"
)
_PREFIX_RULE = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def check(faults: Faults, meta: ObjectMeta) -> None:
    name_length(faults, meta.name)
    if not values.is_name(meta.name):
        faults.add(
            "Metadata.Name",
            meta.name,
            f"name must consist of lower case alphanumeric characters, '-' or '.' (regex: {values.SUBDOMAIN})",
        )
    check_annotations(faults, meta.annotations)
    check_labels(faults, meta.labels)


def name_length(faults: Faults, name: str) -> None:
    excess = len(name.encode()) - values.LONGEST_NAME
    if excess > 0:
        faults.add("Metadata.Name", name, f"name is too long by {excess} bytes")


def check_annotations(faults: Faults, found: Mapping[str, str]) -> None:
    size = 0
    for key, value in found.items():
        for reason in qualified_name(key.lower()):
            faults.add("Metadata.Annotations (key)", key, reason)
        size += len(key.encode()) + len(value.encode())
    if size > _ANNOTATIONS_BYTES:
        faults.add(
            "Metadata.Annotations (key)",
            dict(found),
            f"total size of annotations is too large by {size - _ANNOTATIONS_BYTES} bytes",
        )


def check_labels(faults: Faults, found: Mapping[str, str]) -> None:
    for key, value in found.items():
        for reason in qualified_name(key):
            faults.add("Metadata.Labels (label)", key, reason)
        for reason in label_value(value):
            faults.add("Metadata.Labels (value)", value, reason)


def qualified_name(text: str) -> Iterator[str]:
    """What is wrong with a label's key, in Kubernetes' words."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        if "/" in prefix:
            yield (
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and "
                "end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used "
                f"for validation is '{_PART}') with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')"
            )
            return
        if not prefix:
            yield "prefix part must be non-empty"
        elif not values.is_name(prefix):
            yield _PREFIX_RULE
        elif len(prefix) > values.LONGEST_NAME:
            yield f"prefix part must be no more than {values.LONGEST_NAME} characters"
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 characters"
    if not re.fullmatch(_PART, name):
        yield _PART_RULE


def label_value(text: str) -> Iterator[str]:
    if len(text) > 63:
        yield "must be no more than 63 characters"
    if not re.fullmatch(_VALUE, text):
        yield _VALUE_RULE
