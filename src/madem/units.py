"""Numbers with units at the edges; SI floats inside."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from madem.errors import InputError, shown

if TYPE_CHECKING:
    from pint import UnitRegistry

QUANTITY = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s?"
    r"([A-Za-z\u00b5\u03bc\u2126\u03a9%]+|1/[A-Za-z\u00b5\u03bc]+(?:\*\*2)?|)",
    re.ASCII,
)
"""One number and one unit; an inverse unit is written ``1/uS`` or ``1/uS**2``."""

PLAIN = ("dimensionless", "percent", "bit")
"""Units without a dimension: only themselves will do, since a bit is not a percentage."""

RANGES = {
    "siemens": (1e-18, 1.0),
    "volt": (1e-9, 1e3),
    "ampere": (1e-30, 1e3),
    "ohm": (1e-9, 1e12),
    "second": (1e-18, 1e12),
    "hertz": (1e-12, 1e15),
    "farad": (1e-24, 1.0),
    "joule": (1e-30, 1e3),
    "watt": (1e-24, 1e6),
    "meter": (1e-15, 1e3),
    "hour": (1e-6, 1e5),
    "1/hour": (1e-12, 1e9),
    "percent": (1e-9, 1e4),
    "bit": (1.0, 64.0),
    "dimensionless": (1e-12, 1e6),
    "1/siemens": (1e-9, 1e15),
    "1/siemens**2": (1e-9, 1e24),
}
"""The smallest and the largest size, apart from zero, of anything on a chip, in each unit."""

EXAMPLES = {
    "siemens": "uS", "ampere": "uA", "second": "ns", "hertz": "Hz", "farad": "fF", "joule": "pJ",
    "watt": "mW", "volt": "V", "1/siemens": "1/uS", "1/siemens**2": "1/uS**2",
    "meter": "um", "hour": "h", "1/hour": "1/h",
}  # fmt: skip
"""Units of the size that a chip has, for messages."""

PREFIXES = {"k": 1e-3, "": 1.0, "m": 1e3, "u": 1e6, "n": 1e9, "p": 1e12, "f": 1e15,
            "a": 1e18}  # fmt: skip
"""What a number is multiplied by in front of each SI prefix."""


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry[float]:
    from pint import UnitRegistry  # a fifth of a second: only where a number is parsed

    return UnitRegistry(cache_folder=None)


def parse(text: object, unit: str, field: str = "") -> float:
    """Return the SI value of ``text``: one number, and one unit compatible with ``unit``.

    Raises ``InputError`` for anything else, and for a size outside ``RANGES``; ``field`` says in
    it what the number was for.

    >>> parse("150 uS", "siemens")
    0.00015
    >>> parse("150", "siemens", "high")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: high: '150' needs a unit compatible with siemens, e.g. '150 uS'
    """
    where, given = f"{field}: " if field else "", str(text).strip()
    usual = f" {EXAMPLES.get(unit, unit)}" if unit != "dimensionless" else ""
    found = QUANTITY.fullmatch(given) if len(given) <= 60 and not isinstance(text, bool) else None
    if found is None:
        raise InputError(f"{where}{shown(text)} is not one number and one unit, such as '1{usual}'")
    value = _converted(float(found[1]), found[2], unit)
    if value is None:
        wanted = f"needs a unit compatible with {unit}, e.g. '{found[1]}{usual}'"
        raise InputError(f"{where}{given!r} {wanted if usual else 'must have no unit'}")
    if not math.isfinite(value):
        raise InputError(f"{where}{given!r} is not finite")
    least, most = RANGES.get(unit, (0.0, math.inf))
    if value and not least <= abs(value) <= most:
        raise InputError(f"{where}{given!r} is not between {least:g} and {most:g} {unit}")
    return value


def _converted(number: float, given: str, unit: str) -> float | None:
    """Return ``number`` of the unit ``given`` in ``unit``, None where it is of another kind."""
    from pint.errors import PintError

    if not given:
        return number if unit == "dimensionless" else None
    try:
        units, wanted = (_registry().parse_units(each) for each in (given, unit))
        if unit in PLAIN and units != wanted:
            return None
        return float(f"{_registry().Quantity(number, units).to(wanted).magnitude:.15g}")
    except (PintError, ValueError, TypeError, AssertionError, AttributeError, OverflowError):
        return None


def scaled(value: float, unit: str) -> tuple[float, str]:
    """Return factor and unit, with its SI prefix, that make ``value`` a number to read.

    >>> scaled(3e-6, "J"), scaled(0.0, "s")
    ((1000000.0, 'uJ'), (1.0, 's'))
    """
    fitting = (p for p, factor in PREFIXES.items() if abs(value) * factor >= 1)
    prefix = next(fitting, "")
    return PREFIXES[prefix], prefix + unit


def si(value: float, unit: str) -> str:
    """Return ``value`` with an SI prefix.

    >>> si(1.234e-5, "J")
    '12.3 uJ'
    """
    factor, name = scaled(value, unit)
    return f"{value * factor:.3g} {name}"
