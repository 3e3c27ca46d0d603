"""Numbers with units at the edges; SI floats inside."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from madem.errors import InputError

if TYPE_CHECKING:
    from pint import Quantity, UnitRegistry


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry[float]:
    from pint import UnitRegistry  # a fifth of a second: only where a number is parsed

    return UnitRegistry(cache_folder=None)


def parse(text: object, unit: str, field: str = "") -> float:
    """Return the SI value of ``text``, a number with a unit compatible with ``unit``.

    Raises ``InputError`` where the unit is missing, unknown or of another kind, or the number is
    not finite; ``field`` says in it what the number was for.

    >>> parse("150 uS", "siemens")
    0.00015
    >>> parse("150", "siemens", "high")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: high: '150' needs a unit compatible with siemens, e.g. '150 siemens'
    """
    from pint.errors import PintError

    where = f"{field}: " if field else ""
    try:
        quantity: Quantity[float] = _registry().Quantity(str(text))
        value = float(f"{quantity.to(unit).magnitude:.15g}")
    except (PintError, ValueError, TypeError, AssertionError, AttributeError):
        number = (str(text).split() or ["1"])[0]
        raise InputError(
            f"{where}{str(text)!r} needs a unit compatible with {unit}, e.g. '{number} {unit}'"
        ) from None
    if not math.isfinite(value):
        raise InputError(f"{where}{str(text)!r} is not finite")
    return value
