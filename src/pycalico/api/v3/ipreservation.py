from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class IPReservationSpec(Struct):
    """CIDRs or single addresses that automatic assignment leaves alone."""

    reserved_cidrs: list[str] = []


class IPReservation(Resource):
    kind: str = kind_field("IPReservation")
    spec: IPReservationSpec = msgspec.field(default_factory=IPReservationSpec)
