"""Numbers as Go prints them: the shortest decimal that reads back as the number, with or without an exponent."""

from __future__ import annotations

import math


def plain(value: float) -> str:
    """A number as Go writes it into JSON."""
    return _decimal(value, -6, 21).replace("e-0", "e-")


def general(value: float) -> str:
    """The shortest decimal that reads back as ``value``, as Go's ``%v`` prints it: ``999999``, ``1e+06``."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else _decimal(value, -4, 6)


def _decimal(value: float, least: int, end: int) -> str:
    """Without an exponent from 10 to the power of ``least`` up to below that of ``end``."""
    text = repr(abs(value))
    sign = "-" if math.copysign(1, value) < 0 else ""
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return sign + "0"
    if not least <= point - 1 < end:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[point:]}" if len(digits) > point else ""
    return sign + digits[:point].ljust(point, "0") + rest
