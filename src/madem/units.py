"""Numbers with units at the edges; SI floats inside."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from madem.errors import InputError

if TYPE_CHECKING:
    from pint import UnitRegistry


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry:
    from pint import UnitRegistry  # a fifth of a second: only where a number is parsed

    return UnitRegistry(cache_folder=None)


def parse(text: object, unit: str, field: str) -> float:
    """Return the SI value of ``text``, a number with a unit compatible with ``unit``.

    Raises ``InputError`` where the unit is missing, unknown or of another kind.

    >>> parse("150 uS", "siemens", "high")
    0.00015
    >>> parse("150", "siemens", "high")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: high: '150' needs a unit compatible with siemens, e.g. '150 siemens'
    """
    from pint.errors import PintError

    try:
        quantity = _registry().Quantity(str(text))
        value = quantity.to(unit)
        return float(f"{value.magnitude:.15g}")
    except (PintError, ValueError, TypeError, AssertionError, AttributeError):
        raise InputError(
            f"{field}: {str(text)!r} needs a unit compatible with {unit}, "
            f"e.g. '{str(text).split()[0] if str(text).split() else 1} {unit}'"
        ) from None
