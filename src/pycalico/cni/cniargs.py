"""CNI_ARGS: ``key=value`` pairs with semicolons between them, as the CNI library of upstream's plugins reads them."""

from __future__ import annotations

from collections.abc import Mapping

from pycalico.cni.errors import CNIError

_TRUE, _FALSE = ("1", "true"), ("0", "false")
#: What a plugin that is not told to ignore others knows.
_KUBERNETES = frozenset(("IP", "K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_INFRA_CONTAINER_ID"))
_IPAM = frozenset(("IP",))


def parse(text: str) -> dict[str, str]:
    """Raises CNIError for what is no pair, and for a value that does not fit its key."""
    pairs: dict[str, str] = {}
    for item in text.split(";") if text else ():
        key, mark, value = item.partition("=")
        if not mark or "=" in value:
            raise CNIError(f'ARGS: invalid pair "{item}"')
        if key == "IgnoreUnknown" and value.lower() not in _TRUE + _FALSE:
            raise CNIError(
                f'ARGS: error parsing value of pair "{item}": boolean unmarshal error: invalid input {value}'
            )
        if key == "IP" and value and not _is_address(value):
            raise CNIError(f'ARGS: error parsing value of pair "{item}": invalid IP address: {value}')
        pairs[key] = value
    return pairs


def check_known(environ: Mapping[str, str], *, assigns: bool) -> None:
    """calico-ipam refuses what it does not know unless IgnoreUnknown is set, as runtimes do; and where it ``assigns``,
    it knows IP only. Raises CNIError.
    """
    text = environ.get("CNI_ARGS", "")
    if parse(text).get("IgnoreUnknown", "").lower() in _TRUE:
        return
    items = text.split(";") if text else []
    for known in (_KUBERNETES, _IPAM) if assigns else (_KUBERNETES,):
        unknown = [item for item in items if item.partition("=")[0] not in {*known, "IgnoreUnknown"}]
        if unknown:
            shown = " ".join(f'"{item}"' for item in unknown)
            raise CNIError(f"ARGS: unknown args [{shown}]")


def _is_address(text: str) -> bool:
    from pycalico.api.validate import values  # noqa: PLC0415 - few calls have one

    return values.address(text) is not None
